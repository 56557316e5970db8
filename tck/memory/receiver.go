package memory

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// receiver implements spi.Receiver, spi.Leaser, spi.Nacker, spi.DeadLetterer and
// spi.Assignee.
type receiver struct {
	conn  *conn
	group *group
	queue string // as the caller names it
	lease time.Duration
	life
	membership
}

func (r *receiver) Receive(ctx context.Context, max int) (got []spi.Received, err error) {
	const op = "receive"
	err = r.conn.s.enter(ctx, &r.life, op, r.queue, func() bool {
		if max < 1 {
			return true
		}
		got = r.take(max)
		return len(got) > 0
	})
	if err != nil {
		return nil, err
	}
	r.conn.s.mu.Unlock()
	if max < 1 {
		return nil, om.NewError(om.CodeBadParameter, op, r.queue, "%d messages cannot be received; ask for 1 at least", max)
	}
	return got, nil
}

// take leases up to max messages that are ready.
func (r *receiver) take(max int) (got []spi.Received) {
	now := time.Now()
	for _, m := range r.group.ready(now, max, r.serves) {
		rc, delivery := r.group.hand(m, r, now)
		partition, offset := r.group.q.place(m.partition, m.offset)
		got = append(got, spi.Received{
			Message: r.group.q.deliver(m.message, r.queue, m.partition, delivery),
			Receipt: rc, Partition: partition, Offset: offset, LeaseUntil: rc.until,
		})
	}
	return got
}

func (r *receiver) Ack(ctx context.Context, receipts []spi.Receipt) ([]error, error) {
	if err := r.begin(ctx, "", "ack"); err != nil {
		return nil, err
	}
	defer r.conn.s.mu.Unlock()
	return r.settle(om.Ack, receipts, r.group.ack)
}

func (r *receiver) Nack(ctx context.Context, receipts []spi.Receipt, delay time.Duration) ([]error, error) {
	if err := r.begin(ctx, om.CapNack, "nack"); err != nil {
		return nil, err
	}
	defer r.conn.s.mu.Unlock()
	if delay < 0 {
		return nil, om.NewError(om.CodeBadParameter, "nack", r.queue, "the delay %v is negative", delay)
	}
	return r.settle(om.Nack, receipts, func(rc *receipt) {
		wait := delay
		if wait == 0 {
			wait = r.group.settings.Backoff.After(rc.state.deliveries)
		}
		r.group.giveBack(rc, wait)
	})
}

func (r *receiver) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) ([]error, error) {
	if err := r.begin(ctx, om.CapLease, "extend"); err != nil {
		return nil, err
	}
	defer r.conn.s.mu.Unlock()
	if lease <= 0 {
		return nil, om.NewError(om.CodeBadParameter, "extend", r.queue, "the lease %v is not positive", lease)
	}
	until := time.Now().Add(lease)
	return r.settle(om.Extend, receipts, func(rc *receipt) { r.group.lease(rc, until) })
}

func (r *receiver) Reject(ctx context.Context, receipts []spi.Receipt, reason string) ([]error, error) {
	if err := r.begin(ctx, om.CapDeadLetter, "reject"); err != nil {
		return nil, err
	}
	defer r.conn.s.mu.Unlock()
	return r.settle(om.Reject, receipts, func(rc *receipt) { r.group.bury(rc, reason) })
}

// begin is conn.begin for an operation of the receiver.
func (r *receiver) begin(ctx context.Context, needs om.Capability, op string) error {
	return r.conn.s.begin(ctx, &r.life, needs, op, r.queue)
}

// own returns the receipts as those of this system.
func (r *receiver) own(a om.Action, receipts []spi.Receipt) ([]*receipt, error) {
	rcs := make([]*receipt, len(receipts))
	for i, v := range receipts {
		rc, ok := v.(*receipt)
		if !ok {
			return nil, om.NewError(om.CodeBadParameter, a.String(), r.queue, "receipt %d is not one of this system", i)
		}
		rcs[i] = rc
	}
	return rcs, nil
}

// holds reports whether a delivery's lease is its receipt. An action that the
// receipt has had before is no error (G22).
func (r *receiver) holds(a om.Action, rc *receipt) (bool, error) {
	atMostOnce := rc.message.m.QoS == om.AtMostOnce && (a == om.Ack || a == om.Extend)
	switch {
	case rc.r == r && rc.state.lease == rc:
		return true, nil
	case rc.r == r && (rc.ended == a || atMostOnce):
		return false, nil
	}
	return false, om.NewError(om.CodeStaleReceipt, a.String(), r.queue,
		"the delivery of partition %d, offset %d has ended and settles nothing any more; use a longer lease or extend it", rc.partition, rc.offset)
}

// settle has do end, or extend, each delivery whose lease is its receipt.
func (r *receiver) settle(a om.Action, receipts []spi.Receipt, do func(*receipt)) ([]error, error) {
	rcs, err := r.own(a, receipts)
	if err != nil {
		return nil, err
	}
	errs, failed := make([]error, len(rcs)), false
	for i, rc := range rcs {
		held, err := r.holds(a, rc)
		if held {
			do(rc)
			if a != om.Extend {
				rc.ended = a
			}
		}
		errs[i], failed = err, failed || err != nil
	}
	if !failed {
		return nil, nil
	}
	return errs, nil
}

func (r *receiver) Close(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.conn.s.mu.Lock()
	defer r.conn.s.mu.Unlock()
	r.conn.s.advance(time.Now())
	r.shut(&ending{om.CodeClosed, "the receiver is closed"})
	delete(r.conn.receivers, r)
	return nil
}

// shut ends the receiver and gives back what it holds.
func (r *receiver) shut(why *ending) {
	r.end = why
	delete(r.group.receivers, r)
	r.group.q.used = time.Now()
	if r.isMember() {
		r.leave()
	}
	r.giveBackAll()
	r.conn.s.wake()
}
func (r *receiver) giveBackAll() {
	for _, p := range r.group.parts {
		for _, st := range p.states {
			if st.lease != nil && st.lease.r == r {
				r.group.giveBack(st.lease, 0)
			}
		}
	}
}
