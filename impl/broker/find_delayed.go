package broker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
)

// Delayed messages of all queues lie in the same slots. Looking for those of one
// goes through the slots in the order of their beginnings, the coarser one first:
// what moves goes into finer slots that come later, so that nothing is missed.

// order compares slots as they are gone through.
func (id slotID) order(other slotID) int {
	return cmp.Or(cmp.Compare(id.start, other.start), cmp.Compare(other.level, id.level))
}

// slotView is a slot as it was at a moment.
type slotView struct {
	slotID
	slot      *slot
	log       uint64
	cancelled bool  // there were cancellations
	end       int64 // offset behind the last entry
}

// slotSpot is where a call goes on among delayed messages.
type slotSpot struct {
	slotID
	offset int64 // of the entry
	number int   // of the message in its chunk
}

func (s slotSpot) text() string {
	return fmt.Sprintf("%d/%d/%d/%d", s.start, s.level, s.offset, s.number)
}

func (f *finder) parseSlot() (s slotSpot, err error) {
	if f.want.After == "" {
		return s, nil
	}
	n, err := fmt.Sscanf(f.want.After, "%d/%d/%d/%d", &s.start, &s.level, &s.offset, &s.number)
	if err != nil || n != 4 || s.text() != f.want.After || s.offset < 0 || s.number < 0 {
		return s, f.badAfter()
	}
	return s, nil
}

// runDelayed looks among the messages of the queue that are not due yet.
func (f *finder) runDelayed(ctx context.Context) (next string, err error) {
	if f.want.ID != "" {
		return "", f.delayedByID()
	}
	after, err := f.parseSlot()
	if err != nil {
		return "", err
	}
	targets := f.targets()
	for _, v := range f.slots(after.slotID) {
		at := slotSpot{slotID: v.slotID}
		if v.slotID == after.slotID {
			at = after
		}
		if more, err := f.slot(ctx, &v, &at, targets); err != nil {
			return "", err
		} else if more {
			return at.text(), nil
		}
	}
	return "", nil
}

// targets are the queue's partitions by their logs.
func (f *finder) targets() map[uint64]int32 {
	targets := make(map[uint64]int32)
	for i, p := range f.q.list() {
		targets[p.log] = int32(i)
	}
	return targets
}

// slots returns the slots to go through, from one on.
func (f *finder) slots(from slotID) (all []slotView) {
	t := f.q.b.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, s := range t.slots {
		if f.want.After != "" && id.order(from) < 0 || id.start >= f.to || id.start+id.width() <= f.from {
			continue
		}
		all = append(all, slotView{id, s, s.record.Log, s.record.Cancels != 0, s.next})
	}
	slices.SortFunc(all, func(a, b slotView) int { return a.order(b.slotID) })
	return all
}

// slot looks at a slot from a spot on, and reports whether there is more in it;
// then the spot is where the next call goes on.
func (f *finder) slot(ctx context.Context, v *slotView, at *slotSpot, targets map[uint64]int32) (more bool, err error) {
	begin, err := f.q.b.slotBegin(v.slot)
	if err != nil {
		return false, err
	}
	if at.offset < begin {
		at.offset, at.number = begin, 0
	}
	for at.offset < v.end {
		if f.full() {
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		rec, err := f.q.b.store.Read(v.log, at.offset)
		if errors.Is(err, store.ErrDropped) || errors.Is(err, store.ErrBeyond) {
			return false, nil // the slot is gone, or the rest is being committed
		}
		if err != nil {
			return false, err
		}
		f.read += len(rec.Data)
		if full, err := f.entries(rec, v, at, targets); full || err != nil {
			return full, err
		}
	}
	return false, nil
}

// entries looks at a record of a slot from a spot on, and reports whether enough
// was found before its end.
func (f *finder) entries(rec store.Record, v *slotView, at *slotSpot, targets map[uint64]int32) (full bool, err error) {
	rest := rec.Data
	for n := rec.Base; n < rec.End(); n++ {
		var e entry
		if e, rest, err = parseEntry(rest); err != nil {
			return false, err
		}
		if n < at.offset {
			continue
		}
		if partition, mine := targets[e.target]; mine && e.due >= f.from && e.due < f.to {
			if err := f.entry(v, at, &e, partition, rec.StoredAt); err != nil {
				return false, err
			}
			if at.number < e.header.Count {
				return true, nil
			}
		}
		at.offset, at.number = n+1, 0
	}
	return false, nil
}

// entry takes what matches of an entry that is still in its slot, from a message
// on, and sets the number of the first message that was not looked at.
func (f *finder) entry(v *slotView, at *slotSpot, e *entry, partition int32, storedAt int64) error {
	first := at.number
	at.number = e.header.Count
	t := f.q.b.timers
	t.mu.Lock()
	gone := t.slots[v.slotID] != v.slot || v.slot.passed(e.due, at.offset)
	t.mu.Unlock()
	if gone {
		return nil
	}
	var cancelled ranges
	if v.cancelled {
		r, gone, err := f.q.b.storedDelayed(e.header.Producer, e.header.Sequence)
		if err != nil || r == nil || r.Slot != v.log || r.Offset != at.offset {
			return err // it has moved, or is due
		}
		cancelled = gone
	}
	e.chunk = bytes.Clone(e.chunk) // for the caller
	var msg chunk.View
	w := chunk.Walk(e.chunk, e.header, first)
	for w.Next(&msg) {
		if gone, _ := cancelled.at(int64(msg.Number), math.MaxInt64); gone != 0 || f.want.Key != "" && msg.MessageKey != f.want.Key {
			continue
		}
		if f.found == f.want.Max {
			at.number = msg.Number
			return nil
		}
		f.takeDelayed(e, msg.Number, partition, storedAt)
	}
	return w.Err()
}

func (f *finder) takeDelayed(e *entry, number int, partition int32, storedAt int64) {
	f.found++
	f.spans = append(f.spans, Span{
		Queue: f.q.name, Partition: partition, Base: -1, Skip: number, Count: 1, StoredAt: storedAt, Header: e.header, Chunk: e.chunk,
	})
}

// storedDelayed looks an entry up by the number of one of its messages, and what
// was cancelled of it; r is nil when there is none.
func (b *Broker) storedDelayed(producer, sequence uint64) (r *delayRecord, cancelled ranges, err error) {
	key, r, err := b.findDelayed(&transaction{}, producer, sequence)
	if err != nil || r == nil {
		return nil, nil, err
	}
	cancelled, ok := unflat(r.Cancelled)
	if !ok {
		return nil, nil, damaged("index "+key, errors.New("ranges that cannot be"))
	}
	return r, cancelled, nil
}

// delayedByID looks one message up by the index of entries.
func (f *finder) delayedByID() error {
	b := f.q.b
	r, cancelled, err := b.storedDelayed(f.producer, f.sequence)
	if err != nil || r == nil || r.Due < f.from || r.Due >= f.to {
		return err
	}
	partition, mine := f.targets()[r.Target]
	t := b.timers
	t.mu.Lock()
	s := t.byLog[r.Slot]
	waits := s != nil && !s.passed(r.Due, r.Offset)
	t.mu.Unlock()
	if !mine || !waits {
		return nil
	}
	reader := slotReader{log: r.Slot}
	e, err := reader.entry(b.store, r.Offset)
	if errors.Is(err, store.ErrDropped) || errors.Is(err, store.ErrBeyond) {
		return nil // it is due, or has moved
	}
	if err != nil {
		return err
	}
	number := int(f.sequence - e.header.Sequence)
	var v chunk.View
	w := chunk.Walk(e.chunk, e.header, number)
	if gone, _ := cancelled.at(int64(number), math.MaxInt64); gone != 0 || !w.Next(&v) || f.want.Key != "" && v.MessageKey != f.want.Key {
		return w.Err()
	}
	f.takeDelayed(&e, number, partition, reader.last.StoredAt)
	return nil
}
