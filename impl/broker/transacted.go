package broker

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Limits of what is stored as one; over them is CodeBadParameter.
const (
	MaxTransactedBytes    = 18 << 20 // of the chunks; a message of the largest size fits
	MaxTransactedChunks   = 4096
	MaxTransactedReceipts = 65536
	// maxTransactedProgresses bounds the partitions of groups whose deliveries
	// are settled: see settleAtOnce.
	maxTransactedProgresses = settleAtOnce
)

// Acknowledgement is deliveries of a group that are settled together with
// chunks.
type Acknowledgement struct {
	Queue, Group string
	Receipts     []Receipts
}

// Acknowledgement names deliveries of the receiver.
func (r *Receiver) Acknowledgement(rs []Receipts) Acknowledgement {
	return Acknowledgement{r.group.queue.name, r.group.name, rs}
}

// PublishTransacted stores chunks and settles deliveries as one: all of it, and
// nobody sees a part of it, or nothing, and then the deliveries stay with their
// receivers. It returns when that is durable. There is no open state: chunks get
// their offsets when all is decided, so nobody waits for them before.
//
// A receipt whose lease has ended gives CodeStaleReceipt; what was settled
// before is no error. The error says why nothing was done, and Err of the
// appends is not set; only after ctx's error it is not known, and then the
// chunks' memory must not be used again. See Append for sending it again.
func (b *Broker) PublishTransacted(ctx context.Context, appends []Append, acks []Acknowledgement) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &transacted{publishes: make([]publish, len(appends))}
	bytes := 0
	for i := range appends {
		var err error
		if c.publishes[i], err = b.newPublish(&appends[i]); err != nil {
			return err
		}
		bytes += len(appends[i].Chunk)
	}
	switch {
	case bytes > MaxTransactedBytes:
		return om.NewError(om.CodeBadParameter, "send", "", "messages of %d bytes are stored as one; %d are the most", bytes, MaxTransactedBytes)
	case len(appends) > MaxTransactedChunks:
		return om.NewError(om.CodeBadParameter, "send", "", "messages for %d partitions are stored as one; %d are the most", len(appends), MaxTransactedChunks)
	}
	if err := b.pending.Acquire(ctx, int64(bytes)); err != nil {
		return err
	}
	if err := c.take(b, acks); err != nil {
		return c.finish(b, bytes, err)
	}
	p := &pending{cmd: c, bytes: bytes, done: make(chan error, 1)}
	b.commits.enqueue(p)
	select {
	case err := <-p.done:
		for i := range appends {
			appends[i].Base, appends[i].Known = c.publishes[i].base, c.publishes[i].known
		}
		return c.finish(b, bytes, err)
	case <-ctx.Done():
		go func() { _ = c.finish(b, bytes, <-p.done) }()
		return ctx.Err()
	}
}

// finish ends what was answered.
func (c *transacted) finish(b *Broker, bytes int, err error) error {
	b.pending.Release(int64(bytes))
	if err != nil {
		c.giveBack()
	}
	return err
}

// transacted is the command: chunks and settled deliveries in one commit.
type transacted struct {
	publishes []publish
	taken     []taken
}

// taken is offsets of a partition that the command settles.
type taken struct {
	lease    *lease // out of which they are; nil for those that nobody holds
	offsets  ranges
	progress *progress
	// generation of the progress when they were taken.
	generation uint32
}

// take takes deliveries out of their leases. Those that nobody holds must be
// settled when the command is applied: by what was sent before, for example.
func (c *transacted) take(b *Broker, acks []Acknowledgement) error {
	receipts, mine := 0, make(map[*progress]*ranges)
	for _, a := range acks {
		if receipts += len(a.Receipts); receipts > MaxTransactedReceipts {
			return om.NewError(om.CodeBadParameter, "ack", a.Queue, "more than %d ranges of messages are acknowledged as one", MaxTransactedReceipts)
		}
		q, err := b.Queue("ack", a.Queue)
		if err != nil {
			return err
		}
		if err := c.takeOf(q, a, mine); err != nil {
			return err
		}
		if len(mine) > maxTransactedProgresses {
			return om.NewError(om.CodeBadParameter, "ack", q.name, "messages of more than %d partitions are acknowledged as one", maxTransactedProgresses)
		}
	}
	return nil
}

func (c *transacted) takeOf(q *Queue, a Acknowledgement, mine map[*progress]*ranges) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.groups[a.Group]
	if g == nil {
		return noGroup("ack", q.name, a.Group)
	}
	for _, rc := range a.Receipts {
		if _, err := q.partition("ack", rc.Partition); err != nil {
			return err
		}
		if rc.From >= rc.To {
			return om.NewError(om.CodeBadParameter, "ack", q.name, "no offsets from %d to %d", rc.From, rc.To)
		}
		p := g.parts[rc.Partition]
		if mine[p] == nil {
			mine[p] = new(ranges)
		}
		t := taken{progress: p, generation: p.generation, offsets: ranges{{rc.From, rc.To, 1}}}
		if l := g.leases[rc.Lease]; l != nil && l.progress == p && l.receiver != nil {
			held := taken{l, l.left.within(rc.From, rc.To), p, p.generation}
			for _, s := range held.offsets {
				mine[p].add(s.From, s.To)
			}
			g.settleLease(l, rc.From, rc.To)
			c.taken = append(c.taken, held)
		}
		for _, s := range mine[p].within(rc.From, rc.To) {
			t.offsets.remove(s.From, s.To)
		}
		if len(t.offsets) > 0 {
			c.taken = append(c.taken, t)
		}
	}
	return nil
}

// giveBack puts what was taken back into its leases.
func (c *transacted) giveBack() {
	for _, t := range c.taken {
		if t.lease != nil && len(t.offsets) > 0 {
			t.progress.group.restore(t.lease, t.generation, t.offsets)
		}
	}
}

// restore gives a lease back what was taken out of it. Offsets of a receiver
// that is gone, or of a lease that has ended meanwhile, are delivered again.
func (g *group) restore(l *lease, generation uint32, offsets ranges) {
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	p := l.progress
	switch {
	case g.removed || generation != p.generation:
		return
	case l.receiver.closed || !l.ends.After(time.Now()):
		g.giveBack(p, offsets, 0)
		return
	case g.leases[l.id] == nil:
		g.hold(l)
	}
	for _, s := range offsets {
		l.left.add(s.From, s.To)
	}
	l.count(offsets.count())
}

func (c *transacted) apply(b *Broker, tx *transaction) error {
	stored := make([]bool, len(c.publishes))
	for i := range c.publishes {
		var err error
		if stored[i], err = c.publishes[i].check(b, tx); err != nil {
			return err
		}
	}
	for _, t := range c.taken {
		if err := t.check(); err != nil {
			return err
		}
	}
	for i := range c.publishes {
		if !stored[i] {
			c.publishes[i].store(b, tx)
		}
	}
	for _, t := range c.taken {
		if t.lease != nil {
			t.settle(tx)
		}
	}
	return nil
}

// check tells why the offsets cannot be settled.
func (t *taken) check() error {
	g := t.progress.group
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	switch {
	case g.queue.deleted:
		return notFound("ack", g.queue.name)
	case g.removed:
		return noGroup("ack", g.queue.name, g.name)
	case t.lease != nil && t.generation == t.progress.generation:
		return nil
	}
	for _, s := range t.offsets {
		if t.generation != t.progress.generation || !t.progress.isSettled(s.From, s.To) {
			return staleReceipt("ack", g.queue.name, int32(t.progress.partition), s.From)
		}
	}
	return nil
}

func (t *taken) settle(tx *transaction) {
	g := t.progress.group
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	for _, s := range t.offsets {
		g.settled.add(tx.now, t.progress.settle(s.From, s.To))
	}
	tx.touch(t.progress)
	g.wakeForWork()
}
