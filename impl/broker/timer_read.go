package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
)

// openSlot begins to read a slot: what is cancelled or added from then on is
// noted in memory.
type openSlot struct {
	slot     *slot
	now      int64
	withOpen bool // otherwise it is only watched

	readTo, cancelsTo int64
	ok                bool
}

func (c *openSlot) apply(b *Broker, tx *transaction) error {
	t, s := b.timers, c.slot
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slots[s.slotID] != s || c.withOpen && s.opens() > max(c.now, tx.now) {
		return nil
	}
	c.ok = true
	if !s.watched {
		s.watched, s.cancelled = true, make(map[int64]ranges)
		c.cancelsTo = s.nextCancel
	}
	s.open = s.open || c.withOpen
	c.readTo = s.next
	return nil
}

// prepare makes a slot ready to be read and returns the offset to read to; ok is
// false when there is nothing to do.
func (s *slot) prepare(ctx context.Context, b *Broker, withOpen bool) (readTo int64, ok bool, err error) {
	c := &openSlot{slot: s, now: time.Now().UnixMilli(), withOpen: withOpen}
	if err := b.submit(ctx, c); err != nil || !c.ok {
		return 0, false, err
	}
	if c.cancelsTo == 0 {
		return c.readTo, true, nil
	}
	if err := s.readCancels(b, c.cancelsTo); err != nil {
		b.timers.mu.Lock()
		s.watched = false
		b.timers.mu.Unlock()
		return 0, false, err
	}
	return c.readTo, true, nil
}

// readCancels takes up what was cancelled before the slot was watched.
func (s *slot) readCancels(b *Broker, to int64) error {
	at, _, _, err := b.store.Bounds(s.record.Cancels)
	if err != nil {
		return err
	}
	for at < to {
		rec, err := b.store.Read(s.record.Cancels, at)
		if err != nil {
			return err
		}
		b.timers.mu.Lock()
		for data := rec.Data; len(data) >= cancelSize; data = data[cancelSize:] {
			s.cancel(int64(binary.BigEndian.Uint64(data[1:])), int64(binary.BigEndian.Uint32(data[9:])))
		}
		b.timers.mu.Unlock()
		at = rec.End()
	}
	return nil
}

// slotBegin returns the first offset of a slot that can be read: retention drops
// what was exposed.
func (b *Broker) slotBegin(s *slot) (int64, error) {
	begin, _, _, err := b.store.Bounds(s.record.Log)
	b.timers.mu.Lock()
	defer b.timers.mu.Unlock()
	return max(begin, s.record.Begin), err
}

// CheckRecord tells whether a record of a log can be decoded, for checking a
// store.
func CheckRecord(_ uint64, r store.Record) error {
	n := 0
	for data := r.Data; len(data) > 0; {
		switch data[0] {
		case entryChunk:
			e, rest, err := parseEntry(data)
			if err != nil {
				return err
			}
			if _, err := checkChunk(e.chunk); err != nil {
				return err
			}
			n, data = n+1, rest
		case entryCancel:
			if len(data) < cancelSize {
				return fmt.Errorf("%w: %d bytes are no cancellation", store.ErrCorrupt, len(data))
			}
			n, data = n+1, data[cancelSize:]
		case entryIDs:
			_, _, rest, err := parseIDs(data)
			if err != nil {
				return err
			}
			n, data = n+1, rest
		default:
			h, err := checkChunk(data)
			if err != nil {
				return err
			}
			n, data = n+h.Count, data[h.Size:]
		}
	}
	if n != r.Count {
		return fmt.Errorf("%w: %d messages where the record says %d", store.ErrCorrupt, n, r.Count)
	}
	return nil
}

func checkChunk(data []byte) (chunk.Header, error) {
	h, err := chunk.Parse(data)
	if err == nil {
		_, err = chunk.Validate(data, h)
	}
	return h, err
}
