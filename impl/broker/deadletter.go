package broker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// deadMark is in the names of dead-letter queues only.
const deadMark = "//dlq//"

// buries reports whether messages of the queue can go to a dead-letter queue:
// those of dead-letter queues and of reply queues cannot.
func (q *Queue) buries() bool {
	return !strings.Contains(q.record.Name, deadMark) && !om.IsReplyQueue(q.record.Name)
}

// dead is messages on their way to the dead-letter queue: in nobody's hands.
type dead struct {
	progress   *progress
	generation uint32
	offsets    ranges
	last       int32 // deliveries that the progress does not count yet
	reason     string
	often      bool // they were delivered too often, which makes the reason
	expired    bool
}

// newDead returns messages that have expired.
func newDead(p *progress, expired ranges) dead {
	return dead{progress: p, generation: p.generation, offsets: expired, reason: om.DeadExpired, expired: true}
}

// buriesExpired reports whether expired messages of the queue go to a
// dead-letter queue.
func (q *Queue) buriesExpired() bool { return q.record.DeadLetterExpired && q.buries() }

// Reject moves deliveries to the group's dead-letter queue and returns when that
// is durable. Results as of Ack. Those of a dead-letter queue are refused.
func (r *Receiver) Reject(ctx context.Context, rs []Receipts, reason string) ([]error, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q := r.group.queue
	if !q.buries() {
		return nil, om.NewError(om.CodeUnsupported, "reject", q.name, "it is a dead-letter queue or a reply queue and has none of its own; acknowledge what is not needed")
	}
	if len(reason) > MaxDescription {
		return nil, om.NewError(om.CodeBadParameter, "reject", q.name, "the reason has %d bytes, %d are the most", len(reason), MaxDescription)
	}
	var ds []dead
	errs, err := r.each("reject", rs, func(l *lease, rc Receipts) {
		if left := l.left.within(rc.From, rc.To); len(left) > 0 {
			r.group.settleLease(l, rc.From, rc.To)
			counted, _ := l.progress.counted.at(left[0].From, left[0].To)
			ds = append(ds, dead{progress: l.progress, generation: l.progress.generation, offsets: left, last: 1 - counted, reason: reason})
		}
	})
	if err != nil {
		return nil, err
	}
	for _, d := range ds {
		if e := r.group.bury(d); e != nil && err == nil {
			err = storeError(e, "reject", q.name)
		}
	}
	return errs, err
}

// buryLater moves messages that were delivered too often; Queue.mu may be held.
func (g *group) buryLater(p *progress, offsets ranges) {
	d := dead{progress: p, generation: p.generation, offsets: offsets, often: true}
	g.queue.b.done.Go(func() { g.buryNow(d) })
}

// buryNow is bury for messages that nobody is told of.
func (g *group) buryNow(d dead) {
	b := g.queue.b
	if err := g.bury(d); err != nil && !b.isClosed() {
		b.log.Error("messages could not be moved to the dead-letter queue and are looked at again", "queue", g.queue.name, "group", g.name, "error", err)
	}
}

// buryAgain is how long expired messages wait that could not be buried: nobody
// else would hold up the next try.
const buryAgain = time.Second

// bury moves messages to the dead-letter queue and waits until that is durable.
// After an error they are ready again, or will be.
func (g *group) bury(d dead) error {
	c := &bury{dead: d, group: g, name: om.DeadLetterQueue(g.queue.record.Name, g.name)}
	err := c.fill()
	if err == nil {
		err = g.queue.b.submit(context.Background(), c)
	}
	if err != nil {
		g.queue.mu.Lock()
		defer g.queue.mu.Unlock()
		if d.generation == d.progress.generation && !g.removed {
			if d.expired {
				g.lease(d.progress, nil, d.progress.unsettled(d.offsets), time.Now().Add(buryAgain))
				return err
			}
			for _, s := range d.offsets {
				d.progress.again(s.From, s.To)
			}
			g.wakeForWork()
		}
	}
	return err
}

// bury is the command: the copies and the settling are one commit, so that each
// message is dead once.
type bury struct {
	dead
	group  *group
	name   string // of the dead-letter queue, without its namespace
	copies []copied
}

// fill reads the messages and makes what goes into the dead-letter queue.
func (c *bury) fill() error {
	q := c.group.queue
	partition := c.progress.partition
	var reader recordReader
	for _, run := range c.offsets {
		for at := run.From; at < run.To; {
			s, err := reader.span(q.b.store, q.list()[partition].log, at, run.To)
			if err != nil {
				return err
			}
			ms := make([]om.Message, s.Count)
			if _, err := chunk.Decode(s.Chunk, s.Header, s.Skip, ms); err != nil {
				return err
			}
			var b chunk.Builder
			b.Reset(s.Header.Producer, s.Header.Sequence+uint64(s.Skip), ms[0].BornHost, ms[0].Version, ms[0].BornAt)
			for i := range ms {
				c.mark(&ms[i], at+int64(i))
				b.Add(&ms[i])
			}
			c.copies = append(c.copies, copied{0, s.Count, b.Finish()})
			at += int64(s.Count)
		}
	}
	return nil
}

// mark says of a message why it is dead. What would make it expire goes.
func (c *bury) mark(m *om.Message, offset int64) {
	q := c.group.queue
	q.mu.Lock()
	count, _ := c.progress.counts.at(offset, offset+1)
	q.mu.Unlock()
	m.Ext.ExpireAt = time.Time{}
	count += c.last
	reason := c.reason
	if c.often {
		reason = fmt.Sprintf("delivered %d times and not acknowledged", count)
	}
	delete(m.Properties, om.PropertyRedriveGroup)
	m.Properties[om.PropertyDeadReason] = om.String(reason)
	m.Properties[om.PropertyDeadDeliveries] = om.Integer(count)
	m.Properties[om.PropertyDeadQueue] = om.String(q.name)
	m.Properties[om.PropertyDeadGroup] = om.String(c.group.name)
	m.Properties[om.PropertyDeadPartition] = om.Integer(int32(c.progress.partition))
	m.Properties[om.PropertyDeadOffset] = om.Long(offset)
}

func (c *bury) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	q, p := c.group.queue, c.progress
	if q.deleted || c.group.removed || c.generation != p.generation {
		return nil
	}
	full := om.JoinQueueName(q.record.Namespace, c.name)
	if b.queues[full] == nil {
		made := createQueue{Namespace: q.record.Namespace, Name: c.name, Partitions: 1, Description: "dead letters of the group " + c.group.name, Expires: q.record.Expires}
		if err := made.create(b, tx); err != nil {
			return err
		}
	}
	t := b.queues[full]
	q.mu.Lock()
	defer q.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range c.copies {
		t.append(tx, t.list()[0], k.count, k.chunk)
	}
	for _, s := range c.offsets {
		p.settle(s.From, s.To)
		if c.expired {
			p.expired += s.To - s.From
		}
	}
	tx.touch(p)
	c.group.wakeForWork()
	return nil
}
