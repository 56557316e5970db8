package broker

import (
	"context"
	"errors"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/compression"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// AnyPartition in an Append lets the broker choose.
const AnyPartition = -1

// Append is a chunk on its way into a partition.
type Append struct {
	Queue *Queue
	// Partition is a number or AnyPartition. For AnyPartition the broker
	// chooses by producer and sequence number, so that a chunk that is sent
	// again goes to the same partition, and sets what it has chosen.
	Partition int32
	Chunk     []byte // see package chunk; not kept and not changed

	// Foreign says that the chunk was made by another process. It is checked
	// whole: structure, texts, limits, and that it asks for nothing that the
	// broker does not do.
	Foreign bool
	// Idempotent says that the chunk may be sent again. One of the same
	// producer, partition, sequence number and count that was stored lately is
	// not stored again; Base tells where it lies. See MaxRecent and RecentAge.
	Idempotent bool

	// Base and Err are set by Publish: the offset of the chunk's first
	// message, -1 for a chunk with delays, or why it was refused.
	Base int64
	Err  error
}

// Publish stores chunks and returns when all of them are durable or refused.
// Chunks of one partition keep their order. The error is ctx's when it ends
// first; then any of the chunks may or may not be stored, and the chunks'
// memory must not be used again.
func (b *Broker) Publish(ctx context.Context, appends []Append) error {
	p, err := b.Begin(ctx, appends)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// Publication is chunks on their way: see Begin.
type Publication struct {
	b        *Broker
	appends  []Append
	commands []publish
}

// Begin hands chunks over to be stored and returns without waiting for that,
// but blocks while too many wait. Chunks keep the order of calls of Begin. The
// caller must call Wait once. The error is ctx's when it had ended before.
func (b *Broker) Begin(ctx context.Context, appends []Append) (Publication, error) {
	if err := ctx.Err(); err != nil {
		return Publication{}, err
	}
	p := Publication{b: b, appends: appends, commands: make([]publish, len(appends))}
	for i := range appends {
		a, c := &appends[i], &p.commands[i]
		h, parts, err := b.admit(a)
		if err == nil {
			err = b.pending.Acquire(ctx, int64(h.Size))
		}
		if err != nil {
			a.Err = err
			continue
		}
		*c = publish{
			queue: a.Queue, partition: int(a.Partition), chunk: a.Chunk, count: h.Count,
			parts: parts, priorities: h.Flags&chunk.HasPriority != 0, idempotent: a.Idempotent, producer: h.Producer, sequence: h.Sequence,
		}
		c.pending = pending{cmd: c, bytes: h.Size, done: make(chan error, 1)}
		b.commits.enqueue(&c.pending)
	}
	return p, nil
}

// Wait returns when all chunks are durable or refused, and has set their
// results. The error is ctx's when it ends first; see Publish.
func (p *Publication) Wait(ctx context.Context) error {
	for i := range p.commands {
		c := &p.commands[i]
		if c.done == nil {
			continue
		}
		select {
		case err := <-c.done:
			p.b.pending.Release(int64(c.bytes))
			p.appends[i].Err, p.appends[i].Base = err, c.base
		case <-ctx.Done():
			go p.b.abandon(p.commands[i:])
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

// admit checks an append before it becomes a command.
func (b *Broker) admit(a *Append) (h chunk.Header, parts []delayed, err error) {
	h, err = chunk.Parse(a.Chunk)
	switch {
	case err != nil:
		return h, nil, om.NewError(om.CodeMalformedMessage, "send", a.Queue.name, "%w", err)
	case h.Size != len(a.Chunk):
		return h, nil, om.NewError(om.CodeMalformedMessage, "send", a.Queue.name, "%d bytes follow the chunk", len(a.Chunk)-h.Size)
	case h.Count > MaxChunkMessages:
		return h, nil, om.NewError(om.CodeBadParameter, "send", a.Queue.name, "a chunk of %d messages; %d are the most", h.Count, MaxChunkMessages)
	}
	if a.Foreign {
		if err := checkForeign(a, h); err != nil {
			return h, nil, err
		}
	}
	if h.Flags&chunk.HasDelay != 0 {
		if parts, err = divideDelayed(a.Queue.name, a.Chunk, h); err != nil {
			return h, nil, err
		}
	}
	if a.Partition == AnyPartition {
		a.Partition = a.Queue.spread(h.Producer, h.Sequence)
	}
	p, err := a.Queue.partition("send", a.Partition)
	if err == nil && a.Idempotent {
		err = b.recall(a.Queue, p)
	}
	return h, parts, err
}

// lastYear is the end of the year 9999, in milliseconds since 1970 UTC.
const lastYear = 253402300799999

func checkForeign(a *Append, h chunk.Header) error {
	refuse := func(code om.Code, format string, args ...any) error {
		return om.NewError(code, "send", a.Queue.name, format, args...)
	}
	e, err := chunk.Validate(a.Chunk, h)
	switch {
	case err != nil:
		return refuse(om.CodeMalformedMessage, "%w", err)
	case h.FirstBorn < 0 || h.LastBorn > lastYear:
		return refuse(om.CodeMalformedMessage, "its messages are born at %d to %d ms since 1970, which is not in the years 1970 to 9999", h.FirstBorn, h.LastBorn)
	case e.Body > MaxBody:
		return refuse(om.CodeBodyTooLarge, "a body has %d bytes, %d are the most", e.Body, MaxBody)
	case e.Properties > MaxProperties:
		return refuse(om.CodePropertiesTooLarge, "the properties of a message have %d bytes, %d are the most", e.Properties, MaxProperties)
	case e.Header > MaxHeader:
		return refuse(om.CodeHeaderTooLarge, "the header of a message has %d bytes, %d are the most", e.Header, MaxHeader)
	}
	if h.Flags&chunk.HasCompression != 0 {
		return checkCompressed(a, h)
	}
	return nil
}

// checkCompressed refuses bodies that their receivers could not decompress.
func checkCompressed(a *Append, h chunk.Header) error {
	ms := make([]om.Message, h.Count)
	if _, err := chunk.Decode(a.Chunk, h, 0, ms); err != nil {
		return om.NewError(om.CodeMalformedMessage, "send", a.Queue.name, "%w", err)
	}
	for i := range ms {
		m := &ms[i]
		if m.Compression == "" {
			continue
		}
		if !compression.Known(m.Compression) {
			return om.NewError(om.CodeUnsupported, "send", a.Queue.name, "there is no compression %q; use %q or %q", m.Compression, compression.Gzip, compression.Zstd)
		}
		switch err := compression.Check(m.Compression, m.Body, MaxBody); {
		case errors.Is(err, compression.ErrTooLarge):
			return om.NewError(om.CodeBodyTooLarge, "send", a.Queue.name, "%w", err)
		case err != nil:
			return om.NewError(om.CodeMalformedMessage, "send", a.Queue.name, "%w", err)
		}
	}
	return nil
}

// publish appends a chunk to a partition.
type publish struct {
	pending
	queue     *Queue
	partition int
	chunk     []byte
	count     int
	parts     []delayed // of a chunk with delays

	priorities         bool
	idempotent         bool
	producer, sequence uint64

	base int64 // the answer
}

func (c *publish) apply(b *Broker, tx *transaction) error {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return notFound("send", q.name)
	}
	p := q.partitions[c.partition]
	if c.priorities && !q.record.Priorities {
		q.urgent, q.record.Priorities = true, true
		tx.batch.Put(q.record.key(), encode(q.record))
	}
	if c.parts != nil {
		return c.postpone(b, tx, p)
	}
	if c.idempotent {
		base, found, err := b.recent.find(c, p.log)
		if found || err != nil {
			c.base = base
			return err
		}
		b.recent.add(producerLog{c.producer, p.log}, recentChunk{c.sequence, p.next, c.count}, tx.now)
	}
	c.base = q.append(tx, p, c.count, c.chunk)
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
