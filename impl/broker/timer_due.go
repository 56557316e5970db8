package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// runTimers puts what is due into its partitions until ctx ends.
func (b *Broker) runTimers(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		more := b.ahead.show()
		wait, err := b.timerStep(ctx)
		if errors.Is(err, store.ErrBeyond) {
			wait, err = maxPatience, nil // what is due is being committed
		}
		if err != nil {
			b.timerPause(err)
		}
		if wait = min(wait, more); wait <= 0 {
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

// timerPause logs an error and waits before the next try.
func (b *Broker) timerPause(err error) {
	if b.ctx.Err() != nil {
		return
	}
	b.log.Error("delayed messages cannot be delivered; it is tried again every second", "error", err)
	select {
	case <-time.After(time.Second):
	case <-b.ctx.Done():
	}
}

// timerStep does what is to do now and returns how long there is nothing more.
// Slots are opened beside it, so that others are not late for that.
func (b *Broker) timerStep(ctx context.Context) (time.Duration, error) {
	t := b.timers
	now := time.Now().UnixMilli()
	t.mu.Lock()
	s, next := t.nextSlot(now)
	opens := s != nil && s.reader == nil
	if opens {
		s.opening = true
	}
	t.mu.Unlock()
	switch {
	case s == nil:
		return until(next), nil
	case opens:
		b.done.Go(func() { b.open(ctx, s) })
		return 0, nil
	}
	return b.expose(s, now)
}

// open opens a slot and reads it.
func (b *Broker) open(ctx context.Context, s *slot) {
	if err := b.readDue(ctx, s); err != nil {
		b.timerPause(err)
	}
	b.timers.mu.Lock()
	s.opening = false
	b.timers.mu.Unlock()
	signal(b.timers.changed)
}

// nextSlot returns the first slot to be exposed that has something to do, or when
// there will be one.
func (t *timers) nextSlot(now int64) (first *slot, next int64) {
	next = now + time.Hour.Milliseconds()
	turn := t.turn(now)
	for _, s := range t.slots {
		if !s.exposed() || t.overdue(s) && s != turn {
			continue
		}
		at := s.opens()
		switch {
		case s.opening, s.commands == exposeAhead, s.commands > 0 && s.due.size == s.sent:
			continue
		case s.reader != nil && s.due.size > s.sent:
			at = s.start + s.due.some(s.sent, 1, anyDue)[0].after() - lead
		case s.reader != nil:
			at = s.end() // it can go then
		}
		if at <= now && (first == nil || s.start < first.start) {
			first = s
		}
		next = min(next, at)
	}
	return first, next
}

// readDue opens a slot and reads when its entries are due.
func (b *Broker) readDue(ctx context.Context, s *slot) error {
	end, ok, err := s.prepare(ctx, b, true)
	if err != nil || !ok {
		return err
	}
	at, err := b.slotBegin(s)
	if err != nil {
		return err
	}
	r := &slotReader{log: s.record.Log}
	due := make([]dueKey, 0, max(0, end-at))
	for ; at < end; at++ {
		e, err := r.entry(b.store, at)
		if err != nil {
			return err
		}
		if !s.passed(e.due, at) {
			due = append(due, newDueKey(e.due-s.start, at))
		}
	}
	b.timers.mu.Lock()
	defer b.timers.mu.Unlock()
	// Some of these are there already when an earlier try has failed.
	s.due = newDueList(append(due, s.due.some(0, s.due.size, anyDue)...))
	s.reader = r
	return nil
}

const (
	// exposeBytes bounds what one command exposes.
	exposeBytes = 1 << 20
	// exposeAhead is how many commands of a slot are on their way at once: what
	// becomes due while one is committed goes with the next commit.
	exposeAhead = 4
)

// expose has what is due in a slot put into its partitions, or the slot dropped.
// It returns how long that must wait.
func (b *Broker) expose(s *slot, now int64) (wait time.Duration, err error) {
	t := b.timers
	t.mu.Lock()
	keys := s.due.some(s.sent, moveEntries, newDueKey(min(now+leadMost-s.start+1, s.width()), 0))
	t.mu.Unlock()
	c := &exposeDue{slot: s, now: now}
	for bytes := 0; len(c.entries) < len(keys) && bytes < exposeBytes; {
		e, err := b.dueEntry(s, keys[len(c.entries)])
		if err != nil {
			return 0, err
		}
		if e.due > now && b.mixed(e.target, now) {
			if len(c.entries) == 0 {
				return until(e.due), nil
			}
			break
		}
		c.entries = append(c.entries, e)
		bytes += e.size()
	}
	c.keys = keys[:len(c.entries)]
	t.mu.Lock()
	s.sent += len(c.keys)
	s.commands++
	t.mu.Unlock()
	p := b.commits.submit(c)
	b.done.Go(func() {
		err := <-p.done
		t.mu.Lock()
		if !c.applied {
			s.sent -= len(c.keys)
		}
		t.mu.Unlock()
		if err != nil {
			b.timerPause(err)
		}
		t.mu.Lock()
		s.commands--
		t.mu.Unlock()
		signal(t.changed)
	})
	return 0, nil
}

// exposeDue puts entries into their partitions.
type exposeDue struct {
	slot    *slot
	now     int64 // when the command was made
	keys    []dueKey
	entries []entry
	applied bool
}

func (c *exposeDue) apply(b *Broker, tx *transaction) error {
	s, t := c.slot, b.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Equal(s.due.some(0, len(c.keys), anyDue), c.keys) || t.slots[s.slotID] != s {
		return nil // more came meanwhile that is due before, or a command before this one was refused
	}
	var due delivery
	for i, k := range c.keys {
		e := &c.entries[i]
		parts, err := s.left(k.offset(), e)
		if err != nil {
			return err
		}
		for _, d := range parts {
			due.add(e.target, d.due, d.chunk, d.Header)
		}
	}
	for i, k := range c.keys {
		e := &c.entries[i]
		t.count(tx, s, -1, -int64(e.size()))
		s.record.Due, s.record.Offset = e.due, k.offset()
		delete(s.cancelled, k.offset())
	}
	c.applied = true
	s.due.drop(len(c.keys))
	s.sent -= len(c.keys)
	t.exposed = max(t.exposed, s.record.Due)
	due.deliver(b, tx)
	if s.due.size == 0 && c.now >= s.end() {
		t.drop(tx, s)
	}
	return nil
}
