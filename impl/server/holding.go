package server

import (
	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// allowed refuses who has lost the right to consume.
func (r *subscription) allowed() error {
	return r.s.allow(r.ctx, wirepb.MessagingService_Receive_FullMethodName, r.wanted)
}

// take waits for messages, as many as the poll and the caller's quotas allow.
func (r *subscription) take(p *poll) ([]broker.Span, error) {
	c := callerOf(r.ctx)
	if c == nil {
		return r.receiver.Receive(p.ctx, p.limit)
	}
	if err := r.s.pay(p.ctx, 0, 0); err != nil { // what was delivered before
		return nil, err
	}
	limit := p.limit
	room, bounded := c.session.Room()
	if bounded && room < limit {
		r.release(int(r.receiver.InFlight())) // leases may have ended
		if room, _ = c.session.Room(); room == 0 {
			return nil, om.NewError(om.CodeMaxInFlight, "receive", r.queue, "the user %q has as many unsettled messages as its quota allows; settle some or raise the quota", c.principal.Name)
		}
		limit = min(limit, room)
	}
	spans, err := r.receiver.Receive(p.ctx, limit)
	if err != nil {
		return nil, err
	}
	messages, bytes := count(spans), 0
	for _, s := range spans {
		bytes += int(int64(len(s.Chunk)) * int64(s.Count) / int64(max(1, s.Header.Count)))
	}
	if bounded {
		if err := r.hold(messages); err != nil { // another connection was faster
			if lost := r.receiver.Return(receipts(spans)); lost != nil {
				err = lost
			}
			return nil, err
		}
	}
	_, _ = c.session.Take(messages, bytes) // the next poll waits for it
	return spans, nil
}

func (r *subscription) hold(n int) error {
	r.holding.Lock()
	defer r.holding.Unlock()
	if err := callerOf(r.ctx).session.Hold(n); err != nil {
		return err
	}
	r.held += n
	return nil
}

// release gives back to the quota what is not in flight any more.
func (r *subscription) release(inFlight int) {
	c := callerOf(r.ctx)
	if c == nil {
		return
	}
	r.holding.Lock()
	defer r.holding.Unlock()
	if r.held > inFlight {
		c.session.Release(r.held - inFlight)
		r.held = inFlight
	}
}

// released gives back to the quota what a settle has ended.
func (r *subscription) released() {
	r.holding.Lock()
	held := r.held
	r.holding.Unlock()
	if held > 0 {
		r.release(int(r.receiver.InFlight()))
	}
}

func count(spans []broker.Span) (messages int) {
	for i := range spans {
		messages += spans[i].Count
	}
	return messages
}

// receipts names the deliveries of spans.
func receipts(spans []broker.Span) []broker.Receipts {
	rs := make([]broker.Receipts, len(spans))
	for i, s := range spans {
		rs[i] = broker.Receipts{Partition: s.Partition, Lease: s.Lease, From: s.Base, To: s.Base + int64(s.Count)}
	}
	return rs
}
