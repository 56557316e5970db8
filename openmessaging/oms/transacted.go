package oms

import (
	"context"
	"errors"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

func (p *producer) SendTransacted(ctx context.Context, ms []*om.Message, acks ...*om.Delivery) ([]om.SendResult, error) {
	const op = "send"
	r, err := p.current(ctx, op, "")
	if err != nil {
		return nil, err
	}
	if !p.ap.caps.Has(om.CapTransacted) {
		return nil, unsupported(op, "", om.CapTransacted)
	}
	sender, ok := spi.As[spi.TransactedSender](r.sender)
	if !ok {
		return nil, notHonest(op, "", om.CapTransacted, "TransactedSender")
	}
	t := r.direct.enter()
	if t == nil {
		return nil, om.NewError(om.CodeNotRunning, op, "", "the producer is stopping")
	}
	defer r.direct.leave(t)
	settled, err := p.settledBy(acks)
	defer settled.leave()
	if err != nil || len(ms)+len(settled.open) == 0 {
		return nil, err
	}
	b := p.check(ctx, ms, false)
	if err := b.refuseAll(); err != nil {
		return nil, err
	}
	results, err := r.transact(ctx, sender, b.work, settled.acks)
	if err == nil && len(results) != len(b.work) {
		err = om.NewError(om.CodeServerError, op, "", "the driver returned %d results for %d messages", len(results), len(b.work))
	}
	if err != nil {
		for i := range b.work {
			b.end(i, om.SendResult{}, err)
		}
		return nil, err
	}
	for _, f := range settled.open {
		f.settled.Store(uint32(om.Ack))
	}
	out := make([]om.SendResult, len(ms))
	for i, result := range results {
		b.record(i, &spi.Outcome{SendResult: result}, out)
	}
	return out, nil
}

// refuseAll refuses the whole batch when a message of it is refused, and tells
// why.
func (b *batch) refuseAll() error {
	for i, err := range b.errs {
		if err != nil {
			b.refuseRest()
			return om.NewError(om.CodeOf(err), "send", queueOf(b.ms[i]), "nothing was sent, because message %d is refused: %w", i, err)
		}
	}
	return nil
}

// transact calls the driver, and again as long as that may help and cannot
// repeat anything.
func (r *sendRun) transact(ctx context.Context, s spi.TransactedSender, ms []*om.Message, acks []spi.TransactedAck) ([]om.SendResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(context.Cause(r.ctx)) })()
	if d := r.cfg.SendTimeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, sendTimeoutCut(d))
		defer cancel()
	}
	r.buffer.wait(ctx)
	if err := ended(ctx, "send", ""); err != nil {
		return nil, err
	}
	for pace := (backoff{policy: r.cfg.Retry}); ; {
		results, err := s.SendTransacted(ctx, ms, acks)
		if err == nil {
			return results, nil
		}
		err = r.failure(ctx, err, "")
		if !om.Retryable(err) || errors.Is(err, om.ErrTimeout) || pace.exhausted() {
			return nil, err
		}
		if !pace.pause(ctx) {
			return nil, cutShort(ctx, err, "")
		}
	}
}

// settledBy is deliveries that are acknowledged with messages.
type settledBy struct {
	open    []*inflight
	acks    []spi.TransactedAck
	running map[*source]*call
}

// settledBy finds the receivers of deliveries; those that are acknowledged
// already are passed over. leave must be called, after an error too.
func (p *producer) settledBy(ds []*om.Delivery) (s settledBy, err error) {
	places := make(map[*source]int)
	s.running = make(map[*source]*call)
	for i, d := range ds {
		var f *inflight
		if d != nil {
			f, _ = d.Settler().(*inflight)
		}
		if f == nil || f.src.c.ap != p.ap {
			return s, badParameter("ack", "", "delivery %d is not of a consumer of this access point", i)
		}
		switch before := om.Action(f.settled.Load()); before {
		case om.Ack:
			continue
		case 0:
		default:
			return s, om.NewError(om.CodeStaleReceipt, "ack", f.src.queue, "the delivery has been settled by %v before", before)
		}
		n, known := places[f.src]
		if !known {
			running := f.src.settling.enter()
			if running == nil {
				return s, f.src.closedError("ack")
			}
			s.running[f.src] = running
			n = len(s.acks)
			places[f.src] = n
			s.acks = append(s.acks, spi.TransactedAck{Receiver: f.src.receiver})
		}
		s.open = append(s.open, f)
		s.acks[n].Receipts = append(s.acks[n].Receipts, f.receipt)
	}
	return s, nil
}

// leave lets the receivers be closed.
func (s *settledBy) leave() {
	for src, running := range s.running {
		src.settling.leave(running)
	}
}
