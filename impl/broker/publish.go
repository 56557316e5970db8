package broker

import (
	"context"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Append is a chunk on its way into a partition.
type Append struct {
	Queue     *Queue
	Partition int32
	Chunk     []byte // see package chunk; not kept and not changed

	// Base and Err are set by Publish: the offset of the chunk's first
	// message, or why it was refused.
	Base int64
	Err  error
}

// Publish stores chunks and returns when all of them are durable or refused.
// Chunks of one partition keep their order. The error is ctx's when it ends
// first; then any of the chunks may or may not be stored, and the chunks'
// memory must not be used again.
func (b *Broker) Publish(ctx context.Context, appends []Append) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	commands := make([]publish, len(appends))
	for i := range appends {
		a, c := &appends[i], &commands[i]
		h, err := checkChunk(a)
		if err == nil {
			err = b.pending.Acquire(ctx, int64(h.Size))
		}
		if err != nil {
			a.Err = err
			continue
		}
		*c = publish{queue: a.Queue, partition: int(a.Partition), chunk: a.Chunk, count: h.Count}
		c.pending = pending{cmd: c, bytes: h.Size, done: make(chan error, 1)}
		b.commits.enqueue(&c.pending)
	}
	for i := range commands {
		c := &commands[i]
		if c.done == nil {
			continue
		}
		select {
		case err := <-c.done:
			b.pending.Release(int64(c.bytes))
			appends[i].Err, appends[i].Base = err, c.base
		case <-ctx.Done():
			go b.abandon(commands[i:])
			return ctx.Err()
		}
	}
	return nil
}

// abandon gives the room of chunks back once they are answered.
func (b *Broker) abandon(commands []publish) {
	for i := range commands {
		if c := &commands[i]; c.done != nil {
			<-c.done
			b.pending.Release(int64(c.bytes))
		}
	}
}

func checkChunk(a *Append) (chunk.Header, error) {
	if _, err := a.Queue.partition("send", a.Partition); err != nil {
		return chunk.Header{}, err
	}
	h, err := chunk.Parse(a.Chunk)
	switch {
	case err != nil:
		return h, om.NewError(om.CodeMalformedMessage, "send", a.Queue.name, "%w", err)
	case h.Size != len(a.Chunk):
		return h, om.NewError(om.CodeMalformedMessage, "send", a.Queue.name, "%d bytes follow the chunk", len(a.Chunk)-h.Size)
	case h.Count > MaxChunkMessages:
		return h, om.NewError(om.CodeBadParameter, "send", a.Queue.name, "a chunk of %d messages; %d are the most", h.Count, MaxChunkMessages)
	}
	return h, nil
}

// publish appends a chunk to a partition.
type publish struct {
	pending
	queue     *Queue
	partition int
	chunk     []byte
	count     int
	base      int64 // the answer
}

func (c *publish) apply(_ *Broker, tx *transaction) error {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return notFound("send", q.name)
	}
	p := q.partitions[c.partition]
	c.base = p.next
	p.next += int64(c.count)
	tx.batch.Append(p.log, c.base, c.count, c.chunk)
	tx.grow(q, p)
	return nil
}

// reveal lets receivers see what was committed.
func (q *Queue) reveal(p *partition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.end, p.growing = p.next, false
	for g := range q.waiting {
		g.wakeOne()
	}
	q.wakeReaders()
}
