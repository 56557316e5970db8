package oms

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// source is the driver's receiver of one bound queue, from its opening to its
// closing.
type source struct {
	c        *consumer
	queue    string
	receiver spi.Receiver
	nacker   spi.Nacker       // nil where the driver cannot
	leaser   spi.Leaser       // nil where the driver cannot
	dead     spi.DeadLetterer // nil where the driver cannot
	member   *membership      // of an assigned group; nil in a shared one
	settling calls            // settlements that run; refused when the source is closed
}

func newSource(c *consumer, queue string, receiver spi.Receiver) *source {
	s := &source{c: c, queue: queue, receiver: receiver}
	if c.ap.caps.Has(om.CapNack) {
		s.nacker, _ = spi.As[spi.Nacker](receiver)
	}
	if c.ap.caps.Has(om.CapLease) {
		s.leaser, _ = spi.As[spi.Leaser](receiver)
	}
	if c.ap.caps.Has(om.CapDeadLetter) {
		s.dead, _ = spi.As[spi.DeadLetterer](receiver)
	}
	return s
}

// receive blocks for one to max deliveries and returns them in a slab.
func (s *source) receive(ctx context.Context, max int) (*slab, error) {
	if s.member != nil {
		return s.member.receive(ctx, max)
	}
	got, err := s.receiveNow(ctx, max)
	if err != nil {
		return nil, err
	}
	return s.slabOf(got), nil
}

// receiveNow calls the driver.
func (s *source) receiveNow(ctx context.Context, max int) ([]spi.Received, error) {
	got, err := s.receiver.Receive(ctx, max)
	if err == nil && len(got) == 0 {
		err = om.NewError(om.CodeServerError, "receive", s.queue, "the driver returned neither messages nor an error")
	}
	if err != nil {
		return nil, s.c.ap.errs.wrap(err, "receive", s.queue)
	}
	return got, nil
}

func (s *source) slabOf(got []spi.Received) *slab {
	now := time.Now()
	b := &slab{items: make([]inflight, len(got))}
	for i := range got {
		r, f := &got[i], &b.items[i]
		f.Delivery = om.NewDelivery(r.Message, r.Partition, r.Offset, f)
		f.src, f.receipt = s, r.Receipt
		f.lease.Store(leaseEnd(r.LeaseUntil, now, s.c.cfg.Lease).UnixNano())
	}
	return b
}

// settlement is what is to become of deliveries.
type settlement struct {
	action om.Action
	delay  time.Duration // of Nack, or the lease of Extend
	reason string        // of Reject
}

// settle settles deliveries of this source with one call of the driver. errs
// is nil when all succeeded, else one error or nil for each; whole is set when
// the call failed as a whole, and errs tells it too.
func (s *source) settle(ctx context.Context, what settlement, fs []*inflight) (errs []error, whole error) {
	op := what.action.String()
	if err := ended(ctx, op, s.queue); err != nil {
		return same(err, len(fs)), err
	}
	for i, f := range fs {
		if f.settled.Load() != 0 {
			return s.settleOpen(ctx, what, fs, i)
		}
	}
	t := s.settling.enter()
	if t == nil {
		err := s.closedError(op)
		return same(err, len(fs)), err
	}
	defer s.settling.leave(t)
	receipts := make([]spi.Receipt, len(fs))
	for i, f := range fs {
		receipts[i] = f.receipt
	}
	errs, whole = s.call(ctx, what, receipts)
	if whole == nil && errs != nil && len(errs) != len(fs) {
		whole = om.NewError(om.CodeServerError, op, s.queue, "the driver returned %d results for %d receipts", len(errs), len(fs))
	}
	if whole != nil {
		whole = s.c.ap.errs.wrap(whole, op, s.queue)
		return same(whole, len(fs)), whole
	}
	lease := time.Now().Add(what.delay).UnixNano()
	failed := false
	for i, f := range fs {
		switch {
		case errs != nil && errs[i] != nil:
			errs[i] = s.c.ap.errs.wrap(errs[i], op, s.queue)
			failed = true
		case what.action == om.Extend:
			f.lease.Store(lease)
		default:
			f.settled.Store(uint32(what.action))
			f.cameBack()
		}
	}
	if !failed {
		errs = nil
	}
	return errs, nil
}

// settleOpen is settle where some deliveries, from place first on, have been
// settled before: for them the same action again is a no-op (G22).
func (s *source) settleOpen(ctx context.Context, what settlement, fs []*inflight, first int) ([]error, error) {
	var open []*inflight
	var places []int
	errs := make([]error, len(fs))
	failed := false
	for i, f := range fs {
		switch before := om.Action(f.settled.Load()); {
		case i < first || before == 0:
			open, places = append(open, f), append(places, i)
		case before != what.action:
			errs[i] = om.NewError(om.CodeStaleReceipt, what.action.String(), s.queue, "the delivery has been settled by %v before", before)
			failed = true
		}
	}
	var whole error
	if len(open) > 0 {
		var some []error
		some, whole = s.settle(ctx, what, open)
		for k, err := range some {
			errs[places[k]] = err
			failed = failed || err != nil
		}
	}
	if !failed {
		return nil, nil
	}
	return errs, whole
}

func (s *source) call(ctx context.Context, what settlement, receipts []spi.Receipt) ([]error, error) {
	op := what.action.String()
	missing := func(c om.Capability, iface string) ([]error, error) {
		if s.c.ap.caps.Has(c) {
			return nil, notHonest(op, s.queue, c, iface)
		}
		return nil, unsupported(op, s.queue, c)
	}
	switch what.action {
	case om.Ack:
		return s.receiver.Ack(ctx, receipts)
	case om.Nack:
		if s.nacker == nil {
			return missing(om.CapNack, "Nacker")
		}
		return s.nacker.Nack(ctx, receipts, what.delay)
	case om.Extend:
		if s.leaser == nil {
			return missing(om.CapLease, "Leaser")
		}
		return s.leaser.Extend(ctx, receipts, what.delay)
	case om.Reject:
		if s.dead == nil {
			return missing(om.CapDeadLetter, "DeadLetterer")
		}
		return s.dead.Reject(ctx, receipts, what.reason)
	}
	return nil, badParameter(op, s.queue, "unknown action %d", what.action)
}

// closedError is the error of settlements after the source was closed.
func (s *source) closedError(op string) error {
	if s.c.closed.Load() {
		return om.NewError(om.CodeClosed, op, s.queue, "the consumer is closed")
	}
	return om.NewError(om.CodeStaleReceipt, op, s.queue, "the queue was unbound or the consumer stopped, which gave the message back")
}

// close lets settlements that run finish, unless limit ends, and closes the
// driver's receiver.
func (s *source) close(limit context.Context) error {
	if s.member != nil {
		s.member.end(limit)
	}
	s.settling.refuse()
	s.settling.wait(limit)
	return s.c.ap.errs.wrap(release(limit, s.receiver.Close), "unbind", s.queue)
}

func same(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}
