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

	// Divided is how many partitions the queue had when the chunk's partition was
	// chosen by its messages' keys, 0 for AnyPartition. The queue may have more
	// now: then Known tells where each message is.
	Divided int

	// Epoch is that of the producer; zero for one without an id.
	Epoch Epoch

	// Base and Err are set by Publish: the offset of the first message that was
	// stored, -1 for a chunk with delays and when none was, or why the chunk was
	// refused. Known is set for queues that deduplicate: the messages that were
	// not stored, ascending. The others follow each other from Base on.
	Base  int64
	Known []Known
	Err   error
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
	ready := make([]*pending, 0, len(appends))
	for i := range appends {
		a, c := &appends[i], &p.commands[i]
		made, err := b.newPublish(a)
		if err == nil && !b.pending.TryAcquire(int64(len(a.Chunk))) {
			b.commits.enqueue(ready...)
			ready = ready[:0]
			err = b.pending.Acquire(ctx, int64(len(a.Chunk)))
		}
		if err != nil {
			a.Err = err
			continue
		}
		*c = made
		c.pending = pending{cmd: c, bytes: len(a.Chunk), done: make(chan error, 1)}
		ready = append(ready, &c.pending)
	}
	b.commits.enqueue(ready...)
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
			p.appends[i].Err, p.appends[i].Base, p.appends[i].Known = err, c.base, c.known
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

// newPublish makes the command of an append.
func (b *Broker) newPublish(a *Append) (publish, error) {
	h, parts, err := b.admit(a)
	if err != nil {
		return publish{}, err
	}
	ids, all, err := a.Queue.digests(a.Chunk, h)
	if err == nil && ids != nil {
		err = b.recallOnce(a.Queue)
	}
	c := publish{
		queue: a.Queue, partition: int(a.Partition), chunk: a.Chunk, count: h.Count, parts: parts, ids: ids, epoch: a.Epoch,
		keyed: h.Flags&chunk.HasKey != 0, divided: a.Divided,
		priorities: h.Flags&chunk.HasPriority != 0, idempotent: a.Idempotent && !all, producer: h.Producer, sequence: h.Sequence,
	}
	if err == nil && c.idempotent {
		err = b.recall(a.Queue, a.Queue.list()[a.Partition])
	}
	return c, err
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
	if !a.Queue.Had(a.Divided) {
		return h, nil, om.NewError(om.CodeServiceUnavailable, "send", a.Queue.name, "the queue never had %d partitions; divide the messages by the %d that it has", a.Divided, a.Queue.Partitions())
	}
	_, err = a.Queue.partition("send", a.Partition)
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
	ids       []digest  // for a queue that deduplicates
	epoch     Epoch

	priorities         bool
	keyed              bool
	divided            int  // see Append; -1 for not known
	idempotent         bool // and not known again by the ids of all its messages
	producer, sequence uint64

	base  int64 // the answer
	known []Known
}

func (c *publish) apply(b *Broker, tx *transaction) error {
	stored, err := c.check(b, tx)
	if !stored && err == nil {
		c.store(b, tx)
	}
	return err
}

// check tells whether the chunk was stored before, or why it is refused.
func (c *publish) check(b *Broker, tx *transaction) (stored bool, err error) {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return false, notFound("send", q.name)
	}
	if err := b.fenced(c.epoch, "send", q.name); err != nil {
		return false, err
	}
	log := q.list()[c.partition].log
	switch {
	case c.parts != nil:
		stored, err = c.checkDelayed(b, tx, log)
	case c.idempotent:
		c.base, stored, err = b.recent.find(c, log)
	}
	if stored && c.ids != nil {
		c.tellKnown(tx.now)
	}
	return stored, err
}

// store stores what check has found right.
func (c *publish) store(b *Broker, tx *transaction) {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.list()[c.partition]
	if c.priorities {
		q.prioritize(tx)
	}
	c.base = p.next
	moves := c.moves()
	if c.parts != nil || moves != nil {
		c.base = -1
	}
	if c.idempotent {
		b.recent.add(producerLog{c.producer, p.log}, recentChunk{c.sequence, c.base, c.count}, tx.now)
	}
	if moves != nil {
		c.storeMoved(b, tx, moves)
	} else if c.ids != nil {
		c.storeOnce(b, tx, p)
	} else {
		c.storeChunk(b, tx, p)
	}
}

func (c *publish) storeChunk(b *Broker, tx *transaction, p *partition) {
	if c.parts != nil {
		c.postpone(b, tx, p)
	} else {
		c.queue.append(tx, p, c.count, c.chunk)
	}
}

// reveal lets receivers see what was committed. It returns when there will be
// more to see that was committed ahead, 0 for never.
func (q *Queue) reveal(p *partition, now int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.note(aged{p.stored, p.next, now})
	p.stored, p.growing = p.next, false
	return q.show(p)
}
