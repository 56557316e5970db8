package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// CancelDelayed takes a message back that is not due yet, and returns when that
// is durable. CodeMessageNotFound tells that there is no such message, or not
// any more: it is due, or was cancelled.
func (b *Broker) CancelDelayed(ctx context.Context, queue, id string) error {
	const op = "cancel"
	q, err := b.Queue(op, queue)
	if err != nil {
		return err
	}
	producer, sequence, err := chunk.ParseID(id)
	if err != nil {
		return noDelayed(q.name, id)
	}
	return b.submit(ctx, &cancelDelayed{q, id, producer, sequence})
}

func noDelayed(queue, id string) error {
	return om.NewError(om.CodeMessageNotFound, "cancel", queue, "no delayed message of the queue has the id %q; perhaps it is due already", id)
}

// cancelDelayed takes a message out of its slot.
type cancelDelayed struct {
	queue              *Queue
	id                 string
	producer, sequence uint64
}

func (c *cancelDelayed) apply(b *Broker, tx *transaction) error {
	key, r, err := b.findDelayed(tx, c.producer, c.sequence)
	if err != nil {
		return storeError(err, "cancel", c.queue.name)
	}
	q, t := c.queue, b.timers
	q.mu.Lock()
	defer q.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if r == nil || q.deleted || t.byLog[r.Slot] == nil || !slices.ContainsFunc(q.list(), func(p *partition) bool { return p.log == r.Target }) {
		return noDelayed(q.name, c.id)
	}
	s := t.byLog[r.Slot]
	gone, ok := unflat(r.Cancelled)
	if !ok {
		return storeError(damaged("index "+key, errors.New("ranges that cannot be")), "cancel", q.name)
	}
	n := int64(c.sequence - sequenceOf(key))
	if before, _ := gone.at(n, n+1); before != 0 || s.passed(r.Due, r.Offset) {
		return noDelayed(q.name, c.id)
	}
	gone.add(n, n+1)
	r.Cancelled = gone.flat()
	tx.batch.PutIndex(key, encode(*r))
	if s.record.Cancels == 0 {
		s.record.Cancels = b.newLog(tx)
	}
	tx.batch.Append(s.record.Cancels, s.nextCancel, 1, encodeCancel(r.Offset, n))
	s.nextCancel++
	t.count(tx, s, 0, 0)
	if s.watched {
		s.cancel(r.Offset, n)
	}
	q.delayed--
	tx.delays(q)
	return nil
}

// cancel notes that message n of an entry was cancelled.
func (s *slot) cancel(offset, n int64) {
	gone := s.cancelled[offset]
	gone.add(n, n+1)
	s.cancelled[offset] = gone
}

func encodeCancel(offset, n int64) []byte {
	b := append(make([]byte, 0, cancelSize), entryCancel)
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// left returns what is left of an entry after cancellations, in parts.
func (s *slot) left(offset int64, e *entry) (parts []delayed, err error) {
	gone := s.cancelled[offset]
	if len(gone) == 0 {
		return []delayed{{e.due, e.chunk, e.header}}, nil
	}
	var runs []chunk.Run
	for at := int64(0); at < int64(e.header.Count); {
		n, end := gone.at(at, int64(e.header.Count))
		if n == 0 {
			runs = append(runs, chunk.Run{Skip: int(at), Count: int(end - at)})
		}
		at = end
	}
	if len(runs) == 0 {
		return nil, nil
	}
	err = cutChunk(e.chunk, e.header, runs, func(_ int, part []byte, h chunk.Header) {
		parts = append(parts, delayed{e.due, part, h})
	})
	return parts, err
}
