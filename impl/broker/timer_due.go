package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// exposer puts what is due into its partitions.
type exposer struct {
	b       *Broker
	readers map[*slot]*slotReader // of the open slots of level 0
}

// runTimers exposes what is due until ctx ends.
func (b *Broker) runTimers(ctx context.Context) {
	x := &exposer{b: b, readers: make(map[*slot]*slotReader)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait, err := x.step(ctx)
		if errors.Is(err, store.ErrBeyond) {
			wait, err = maxPatience, nil // what is due is being committed
		}
		if err != nil && ctx.Err() == nil {
			b.log.Error("delayed messages cannot be delivered; it is tried again every second", "error", err)
			wait = time.Second
		}
		if wait <= 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-b.timers.changed:
		case <-ctx.Done():
		}
	}
}

// step does what is to do now and returns how long there is nothing more.
func (x *exposer) step(ctx context.Context) (time.Duration, error) {
	t := x.b.timers
	now := time.Now().UnixMilli()
	t.mu.Lock()
	s, next := t.nextSlot(now)
	t.mu.Unlock()
	switch {
	case s == nil:
		return time.Duration(next-now) * time.Millisecond, nil
	case !s.open:
		return 0, x.open(ctx, s)
	}
	return 0, x.expose(ctx, s, now)
}

// nextSlot returns the first slot of a second with something to do, or when
// there will be one.
func (t *timers) nextSlot(now int64) (first *slot, next int64) {
	next = now + time.Hour.Milliseconds()
	for _, s := range t.slots {
		if s.level != 0 {
			continue
		}
		at := s.opens()
		switch {
		case s.open && len(s.due) > 0:
			at = s.start + s.due[0].after()
		case s.open:
			at = s.start + s.width() // it can go then
		}
		if at <= now && (first == nil || s.start < first.start) {
			first = s
		}
		next = min(next, at)
	}
	return first, next
}

// open reads a slot.
func (x *exposer) open(ctx context.Context, s *slot) error {
	end, ok, err := s.prepare(ctx, x.b, true)
	if err != nil || !ok {
		return err
	}
	t := x.b.timers
	at, err := x.b.slotBegin(s)
	if err != nil {
		return err
	}
	r := &slotReader{log: s.record.Log}
	var due []dueKey
	for ; at < end; at++ {
		e, err := r.entry(x.b.store, at)
		if err != nil {
			return err
		}
		if !s.passed(e.due, at) {
			due = append(due, newDueKey(e.due-s.start, at))
		}
	}
	x.readers[s] = r
	t.mu.Lock()
	defer t.mu.Unlock()
	s.due = append(s.due, due...)
	slices.Sort(s.due)
	return nil
}

// exposeBytes bounds what one command exposes.
const exposeBytes = 1 << 20

// expose puts what is due in a slot into its partitions, or drops the slot.
func (x *exposer) expose(ctx context.Context, s *slot, now int64) error {
	t := x.b.timers
	t.mu.Lock()
	n, _ := slices.BinarySearch(s.due, newDueKey(now-s.start+1, 0))
	keys := slices.Clone(s.due[:min(n, moveEntries)])
	t.mu.Unlock()
	c := &exposeDue{slot: s, now: now}
	for bytes := 0; len(c.entries) < len(keys) && bytes < exposeBytes; {
		e, err := x.readers[s].entry(x.b.store, keys[len(c.entries)].offset())
		if err != nil {
			return err
		}
		c.entries = append(c.entries, e)
		bytes += e.size()
	}
	c.keys = keys[:len(c.entries)]
	if err := x.b.submit(ctx, c); err != nil {
		return err
	}
	if c.dropped {
		delete(x.readers, s)
	}
	return nil
}

// exposeDue puts entries into their partitions.
type exposeDue struct {
	slot    *slot
	now     int64 // nothing that is due later is among the entries
	keys    []dueKey
	entries []entry
	dropped bool // the answer: the slot is gone
}

func (c *exposeDue) apply(b *Broker, tx *transaction) error {
	s, t := c.slot, b.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Equal(s.due[:len(c.keys)], c.keys) {
		return nil // more came meanwhile that is due before
	}
	var due delivery
	for i, k := range c.keys {
		e := &c.entries[i]
		parts, err := s.left(k.offset(), e)
		if err != nil {
			return err
		}
		for _, d := range parts {
			due.add(e.target, d.chunk, d.Header)
		}
		t.count(tx, s, -1, -int64(e.size()))
		s.record.Due, s.record.Offset = e.due, k.offset()
		delete(s.cancelled, k.offset())
	}
	s.due = s.due[len(c.keys):]
	t.exposed = max(t.exposed, c.now)
	due.deliver(b, tx)
	if c.dropped = len(s.due) == 0 && t.exposed >= s.start+s.width(); c.dropped {
		t.drop(tx, s)
	}
	return nil
}
