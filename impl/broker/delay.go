package broker

import (
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// delayed is messages of a chunk that are due together.
type delayed struct {
	due   int64 // milliseconds since 1970 UTC; 0 is at once
	chunk []byte
	chunk.Header
}

// divideDelayed cuts a chunk into what is due together.
func divideDelayed(queue string, b []byte, h chunk.Header) (parts []delayed, err error) {
	refuse := func(format string, args ...any) error {
		return om.NewError(om.CodeBadParameter, "send", queue, format, args...)
	}
	if h.Count > MaxDelayedMessages || h.Count > 1 && h.Size > MaxDelayedBytes {
		return nil, refuse("%d messages in %d bytes; a chunk with delays has %d messages and %d bytes at most", h.Count, h.Size, MaxDelayedMessages, MaxDelayedBytes)
	}
	var runs []chunk.Run
	var v chunk.View
	w := chunk.Walk(b, h, 0)
	for i := 0; w.Next(&v); i++ {
		if v.Delay > MaxDelay.Milliseconds() {
			return nil, refuse("a delay of %v; the longest is %v", time.Duration(v.Delay)*time.Millisecond, MaxDelay)
		}
		due := v.BornAt + v.Delay
		if v.Delay == 0 {
			due = 0
		}
		if len(parts) == 0 || parts[len(parts)-1].due != due {
			parts = append(parts, delayed{due: due})
			runs = append(runs, chunk.Run{Skip: i})
		}
		runs[len(runs)-1].Count++
	}
	if err := w.Err(); err != nil {
		return nil, om.NewError(om.CodeMalformedMessage, "send", queue, "%w", err)
	}
	err = cutChunk(b, h, runs, func(i int, part []byte, h chunk.Header) { parts[i].chunk, parts[i].Header = part, h })
	return parts, err
}

// checkDelayed is check for a chunk with delays.
func (c *publish) checkDelayed(b *Broker, tx *transaction, log uint64) (stored bool, err error) {
	c.base = -1
	if c.idempotent {
		if stored, err := c.storedBefore(b, tx, log); stored || err != nil {
			return stored, err
		}
	}
	t := b.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.limit > 0 && t.bytes+int64(c.bytes) > t.limit {
		return false, om.NewError(om.CodeStorageBusy, "send", c.queue.name,
			"delayed messages take up %d bytes, half of what the store may hold; give it more or wait until some are due", t.bytes)
	}
	return false, nil
}

// postpone stores the parts of a chunk where they belong: in slots, or in the
// partition what is due already. Queue.mu is held.
func (c *publish) postpone(b *Broker, tx *transaction, p *partition) {
	t := b.timers
	t.mu.Lock()
	defer t.mu.Unlock()
	now := max(tx.now, t.exposed)
	for i := range c.parts {
		d := &c.parts[i]
		if d.due <= now {
			tx.due = d.due
			c.queue.appendHome(tx, c.partition, d.Header, d.chunk)
			tx.due = 0
			continue
		}
		t.add(b, tx, t.place(d.due, now), &entry{d.due, p.log, d.Header, d.chunk})
		c.queue.delayed += int64(d.Count)
		tx.delays(c.queue)
		c.queue.use(tx)
	}
}

// storedBefore tells whether the chunk is one that was stored and is sent again.
func (c *publish) storedBefore(b *Broker, tx *transaction, log uint64) (bool, error) {
	for i := range c.parts {
		if d := &c.parts[i]; d.due != 0 {
			_, r, err := b.findDelayed(tx, d.Producer, d.Sequence)
			if r != nil && r.Target == log || err != nil {
				return err == nil, err
			}
			break
		}
	}
	_, found, err := b.recent.find(c, log)
	return found, err
}

// append stores a chunk in a partition; q.mu is held.
func (q *Queue) append(tx *transaction, p *partition, count int, data []byte) (base int64) {
	base = p.next
	p.next += int64(count)
	tx.batch.Append(p.log, base, count, data)
	tx.grow(q, p)
	q.use(tx)
	p.hold(tx, base)
	q.published.add(tx.now, int64(count))
	q.bytes.add(tx.now, int64(len(data)))
	return base
}

// findDelayed looks an entry up by the number of one of its messages; r is nil
// when there is none.
func (b *Broker) findDelayed(tx *transaction, producer, sequence uint64) (key string, r *delayRecord, err error) {
	prefix := indexKeyOf(producer, 0)[:1+8]
	wanted := indexKeyOf(producer, sequence)
	accept := func(k string, value []byte) bool {
		var found delayRecord
		if err = decode("index "+k, value, &found); err != nil {
			return true
		}
		if sequence-sequenceOf(k) >= uint64(found.Count) {
			return false
		}
		key, r = k, &found
		return true
	}
	if k, value, ok := tx.batch.Floor(prefix, wanted); ok && accept(k, value) {
		return key, r, err
	}
	if _, e := b.store.Floor(prefix, wanted, accept); e != nil {
		err = e
	}
	return key, r, err
}
