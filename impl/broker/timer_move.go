package broker

import (
	"context"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
)

// moveBytes and moveEntries bound what one command moves.
const (
	moveBytes   = 256 << 10
	moveEntries = 1000
)

// runMoves moves the entries of slots that come near into finer slots, and
// those that retention is about to drop to the end of their log.
func (b *Broker) runMoves(ctx context.Context) {
	for ctx.Err() == nil {
		s, to, wait := b.timers.nextMove(time.Now().UnixMilli())
		if s == nil {
			select {
			case <-ctx.Done():
			case <-b.timers.moves:
			case <-time.After(wait):
			}
			continue
		}
		if err := b.move(ctx, s, to); err != nil && ctx.Err() == nil {
			b.log.Error("delayed messages cannot be moved; it is tried again every second", "slot", s.key(), "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// nextMove returns a slot to be moved and up to where, -1 for its end, or nil
// and how long there is none.
func (t *timers) nextMove(now int64) (s *slot, to int64, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := now + time.Hour.Milliseconds()
	turn := t.turn(now)
	for _, s := range t.slots {
		if begin := t.rescue[s.record.Log]; begin > s.record.Begin && !(s.exposed() && s.open) {
			return s, begin, 0
		}
		if s.exposed() || t.overdue(s) && s != turn {
			continue
		}
		if s.opens() <= now {
			return s, -1, 0
		}
		next = min(next, s.opens())
	}
	return nil, 0, time.Duration(next-now) * time.Millisecond
}

// clear reports whether retention may drop what is below starts; otherwise it
// has what is still needed moved first.
func (t *timers) clear(starts map[uint64]int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for log, s := range t.byLog {
		if s.record.Begin < starts[log] && s.record.Entries > 0 {
			t.rescue = starts
			signal(t.moves)
			return false
		}
	}
	t.rescue = nil
	return true
}

// move moves the entries of a slot below an offset; -1 is all of them, and the
// slot is left.
func (b *Broker) move(ctx context.Context, s *slot, to int64) error {
	end, ok, err := s.prepare(ctx, b, to < 0)
	if err != nil || !ok {
		return err
	}
	if to >= 0 {
		end = min(end, to)
	}
	r := slotReader{log: s.record.Log}
	for {
		at, err := b.slotBegin(s)
		if err != nil {
			return err
		}
		c := &moveSlot{slot: s, from: at, leave: to < 0}
		for bytes := 0; at < end && bytes < moveBytes && len(c.entries) < moveEntries; at++ {
			e, err := r.entry(b.store, at)
			if err != nil {
				return err
			}
			c.entries = append(c.entries, e)
			bytes += e.size()
		}
		if len(c.entries) == 0 && !c.leave {
			return nil
		}
		if err := b.submit(ctx, c); err != nil {
			return err
		}
		if c.left {
			return nil
		}
	}
}

// moveSlot takes entries out of a slot and stores them where they belong now.
type moveSlot struct {
	slot    *slot
	from    int64
	entries []entry
	leave   bool // the slot is dropped when nothing is left in it
	left    bool // the answer
}

func (c *moveSlot) apply(b *Broker, tx *transaction) error {
	s, t := c.slot, b.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slots[s.slotID] != s || s.exposed() && s.open {
		c.left = true // it is being exposed
		return nil
	}
	now := max(tx.now, t.exposed)
	parts := make([][]delayed, len(c.entries))
	for i := range c.entries {
		var err error
		if parts[i], err = s.left(c.from+int64(i), &c.entries[i]); err != nil {
			return err
		}
	}
	var due delivery
	for i := range c.entries {
		e := &c.entries[i]
		offset := c.from + int64(i)
		gone := s.passed(e.due, offset)
		s.record.Begin = offset + 1
		if gone {
			continue
		}
		t.count(tx, s, -1, -int64(e.size()))
		delete(s.cancelled, offset)
		if !b.has(e.target) {
			continue // its queue was deleted
		}
		for _, d := range parts[i] {
			into := s.slotID
			if c.leave || s.open {
				into = t.place(d.due, now)
			}
			if d.due > now || t.overdue(s) && t.waits(d.due, into) {
				t.add(b, tx, into, &entry{d.due, e.target, d.Header, d.chunk})
			} else {
				due.add(e.target, d.due, d.chunk, d.Header)
			}
		}
	}
	due.deliver(b, tx)
	if c.left = c.leave && s.record.Begin == s.next; c.left {
		t.drop(tx, s)
	}
	return nil
}

// has reports whether a log is that of a partition; otherwise its queue was
// deleted.
func (b *Broker) has(log uint64) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, ok := b.logs[log]
	return ok
}

// delivery is chunks that are due, on their way into their partitions.
type delivery struct {
	targets []uint64 // logs
	dues    []int64
	chunks  [][]byte
	headers []chunk.Header
}

func (d *delivery) add(target uint64, due int64, data []byte, h chunk.Header) {
	d.targets, d.dues, d.chunks, d.headers = append(d.targets, target), append(d.dues, due), append(d.chunks, data), append(d.headers, h)
}

// deliver stores the chunks in their partitions; those of deleted queues are
// gone.
func (d *delivery) deliver(b *Broker, tx *transaction) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for i, log := range d.targets {
		owner, ok := b.logs[log]
		if !ok {
			continue
		}
		q := owner.queue
		q.mu.Lock()
		tx.due = d.dues[i]
		q.appendHome(tx, owner.partition, d.headers[i], d.chunks[i])
		tx.due = 0
		q.delayed -= int64(d.headers[i].Count)
		tx.delays(q)
		q.mu.Unlock()
	}
}
