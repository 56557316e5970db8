package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Receipts names deliveries: the offsets From ≤ offset < To of a partition,
// all received under one lease.
type Receipts struct {
	Partition int32
	Lease     uint64
	From, To  int64
}

// Ack settles deliveries and returns when that is durable. The result is nil
// or has one error or nil for each of rs: what was settled before is no error
// (G22), a lease that has ended gives CodeStaleReceipt (G23).
func (r *Receiver) Ack(ctx context.Context, rs []Receipts) ([]error, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var done []settled
	errs, err := r.each("ack", rs, func(l *lease, rc Receipts) {
		for _, s := range l.left.within(rc.From, rc.To) {
			done = append(done, settled{progress: l.progress, generation: l.progress.generation, from: s.From, to: s.To, delivered: true})
		}
		r.group.settleLease(l, rc.From, rc.To)
	})
	if err != nil {
		return nil, err
	}
	var waits []*pending
	for part := range slices.Chunk(done, settleAtOnce) {
		waits = append(waits, r.group.queue.b.commits.submit(&settle{r.group, part}))
	}
	if len(waits) == 0 { // others settle the same, and may not be durable yet
		waits = append(waits, r.group.queue.b.commits.submit(&ping{}))
	}
	if err := await(ctx, waits); err != nil {
		return nil, err
	}
	return r.settledMeanwhile(rs, errs), nil
}

// settledMeanwhile takes back the errors of receipts whose messages are settled
// by now: another call had them in hand.
func (r *Receiver) settledMeanwhile(rs []Receipts, errs []error) []error {
	if errs == nil {
		return nil
	}
	r.group.queue.mu.Lock()
	defer r.group.queue.mu.Unlock()
	failed := false
	for i, err := range errs {
		if errors.Is(err, om.CodeStaleReceipt) && r.group.parts[rs[i].Partition].isSettled(rs[i].From, rs[i].To) {
			errs[i] = nil
		}
		failed = failed || errs[i] != nil
	}
	if !failed {
		return nil
	}
	return errs
}

// settleAtOnce bounds the progresses that one command changes.
const settleAtOnce = 64

// Nack gives deliveries back, to be delivered again after delay, or without one
// as the group's backoff says, and returns when that is durable. Results as of
// Ack.
func (r *Receiver) Nack(ctx context.Context, rs []Receipts, delay time.Duration) ([]error, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if delay == 0 {
		delay = byBackoff
	}
	var waits []*pending
	errs, err := r.each("nack", rs, func(l *lease, rc Receipts) {
		if left := l.left.within(rc.From, rc.To); len(left) > 0 {
			r.group.settleLease(l, rc.From, rc.To)
			waits = append(waits, r.group.giveBack(l.progress, left, delay))
		}
	})
	if err != nil {
		return nil, err
	}
	return errs, await(ctx, waits)
}

// Return gives deliveries back as if they had never been made: for those that
// nobody has seen. They are not counted and delivered again at once. Receipts
// that are not valid any more are passed over.
func (r *Receiver) Return(rs []Receipts) error {
	_, err := r.each("return", rs, func(l *lease, rc Receipts) {
		left := l.left.within(rc.From, rc.To)
		r.group.settleLease(l, rc.From, rc.To)
		for _, s := range left {
			l.progress.again(s.From, s.To)
		}
		r.group.wakeForWork()
	})
	return err
}

// Extend lets the leases of deliveries end duration from now. A lease is
// extended whole. Results as of Ack.
func (r *Receiver) Extend(ctx context.Context, rs []Receipts, duration time.Duration) ([]error, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ends := time.Now().Add(duration)
	return r.each("extend", rs, func(l *lease, _ Receipts) { r.group.extend(l, ends) })
}

// each calls f with the lease of each receipt that is valid, under the queue's
// lock, and returns the errors of the others.
func (r *Receiver) each(op string, rs []Receipts, f func(*lease, Receipts)) (errs []error, err error) {
	g := r.group
	q := g.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.closed {
		return nil, r.endErrorLocked()
	}
	fail := func(i int, err error) {
		if errs == nil {
			errs = make([]error, len(rs))
		}
		errs[i] = err
	}
	for i, rc := range rs {
		if _, err := q.partition(op, rc.Partition); err != nil {
			fail(i, err)
			continue
		}
		p := g.parts[rc.Partition]
		l := g.leases[rc.Lease]
		switch {
		case rc.From >= rc.To:
			fail(i, om.NewError(om.CodeBadParameter, op, q.name, "no offsets from %d to %d", rc.From, rc.To))
		case l != nil && l.progress == p && l.receiver == r:
			f(l, rc)
		case !p.isSettled(rc.From, rc.To):
			fail(i, staleReceipt(op, q.name, rc.Partition, rc.From))
		}
	}
	return errs, nil
}

func staleReceipt(op, queue string, partition int32, offset int64) error {
	return om.NewError(om.CodeStaleReceipt, op, queue,
		"the lease of partition %d, offset %d has ended and the message is delivered again; use a longer lease or extend it", partition, offset)
}

// settle marks offsets as done for a group.
type settle struct {
	group *group
	done  []settled
}

type settled struct {
	progress   *progress
	generation uint32
	from, to   int64
	expired    bool
	delivered  bool // by a delivery
}

func (c *settle) apply(_ *Broker, tx *transaction) error {
	g := c.group
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	if g.removed {
		return noGroup("ack", g.queue.name, g.name)
	}
	for _, d := range c.done {
		if d.generation == d.progress.generation {
			if d.expired {
				d.progress.expired += d.to - d.from
			}
			n := d.progress.settle(d.from, d.to)
			if d.delivered {
				g.settled.add(tx.now, n)
			}
			tx.touch(d.progress)
		}
	}
	g.wakeForWork()
	return nil
}
