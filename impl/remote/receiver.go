package remote

import (
	"context"
	"sync"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// receiver implements spi.Receiver, spi.Nacker, spi.Leaser, spi.DeadLetterer and
// spi.Assignee. It lives on a stream; when that breaks, the next call opens another.
type receiver struct {
	conn    *conn
	cfg     spi.ReceiverConfig
	opening chan struct{} // held while a stream is opened
	polls   chan struct{} // has room for half of the polls that the server allows; the rest may be unclaimed

	member membership

	mu        sync.Mutex
	link      *link // nil without a stream
	fenced    error // another member has its id
	unclaimed unclaimed
	ended     bool
	closing   chan struct{} // closed when Close begins
	closed    chan struct{} // closed when Close is done
}

func newReceiver(c *conn, cfg spi.ReceiverConfig) *receiver {
	return &receiver{
		conn: c, cfg: cfg, opening: make(chan struct{}, 1), polls: make(chan struct{}, max(1, c.limits.GetMaxPolls()/2)),
		closing: make(chan struct{}), closed: make(chan struct{}), member: membership{Member: batch.NewMember(cfg.Member)},
	}
}

func (r *receiver) begin(ctx context.Context, op string) error {
	if err := r.conn.begin(ctx, op, r.cfg.Queue); err != nil {
		return err
	}
	select {
	case <-r.closing:
		return r.errClosed(op)
	default:
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.fenced
	}
}

func (r *receiver) errClosed(op string) error {
	return om.NewError(om.CodeClosed, op, r.cfg.Queue, "the receiver is closed")
}

// open returns the stream, a new one where there is none.
func (r *receiver) open(ctx context.Context) (*link, error) {
	if l := r.current(); l != nil {
		return l, nil
	}
	select {
	case r.opening <- struct{}{}:
		defer func() { <-r.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.closing:
		return nil, r.errClosed("receive")
	}
	if l := r.current(); l != nil {
		return l, nil
	}
	l, err := openLink(ctx, r)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		l.cancel()
		return nil, r.errClosed("receive")
	}
	r.link = l
	return l, nil
}

// current returns the stream if there is one that works.
func (r *receiver) current() *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link != nil && r.link.isBroken() {
		r.link = nil
	}
	return r.link
}

func (r *receiver) Receive(ctx context.Context, limit int) ([]spi.Received, error) {
	if err := r.begin(ctx, "receive"); err != nil {
		return nil, err
	}
	select {
	case r.polls <- struct{}{}:
		defer func() { <-r.polls }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.closing:
		return nil, r.errClosed("receive")
	}
	limit = min(limit, int(r.conn.limits.GetMaxPollMessages()))
	for {
		kept, p, err := r.claim(ctx, limit)
		if err != nil || len(kept) > 0 {
			return kept, err
		}
		a, err := p.wait(ctx)
		if err == nil {
			err = r.fence(wire.FromError(a.batch.GetError()))
		}
		if err != nil {
			return nil, err
		}
		if len(a.batch.GetSpans()) > 0 {
			return r.handOut(p, a, limit)
		}
	}
}

// handOut decodes a batch. What is more than the limit is kept for the next call.
func (r *receiver) handOut(p *poll, a arrived, limit int) ([]spi.Received, error) {
	out, err := r.conn.decode(a.batch.GetSpans(), r.cfg.Queue, a.at.Add(wire.Duration(a.batch.GetLease())))
	switch {
	case err != nil:
		return nil, err
	case len(out) > limit:
		r.leave(nil, out[limit:])
		return out[:limit:limit], nil
	case len(out) >= max(p.limit, aheadFrom):
		r.pollAhead(p)
	}
	return out, nil
}

// decode decodes the spans of an answer.
func (c *conn) decode(spans []*wirepb.Span, queue string, ends time.Time) ([]spi.Received, error) {
	out := make([]batch.Span, len(spans))
	for i, s := range spans {
		h, err := chunk.ParseHeader(s.GetChunk())
		if err != nil {
			return nil, om.NewError(om.CodeServerError, "receive", queue, "partition %d, offset %d: %w", s.GetPartition(), s.GetBase(), err)
		}
		out[i] = batch.Span{
			Partition: s.GetPartition(), Lease: s.GetLease(), Ends: ends, Base: s.GetBase(), Count: h.Count,
			Delivery: int(s.GetDelivery()), StoredAt: s.GetStoredAt(), Chunk: s.GetChunk(),
		}
	}
	return batch.Decode(out, queue, c.host)
}

func (r *receiver) Ack(ctx context.Context, receipts []spi.Receipt) ([]error, error) {
	return r.settle(ctx, "ack", &wirepb.Settle{Action: wirepb.Action_ACTION_ACK}, receipts)
}

func (r *receiver) Nack(ctx context.Context, receipts []spi.Receipt, delay time.Duration) ([]error, error) {
	return r.settle(ctx, "nack", &wirepb.Settle{Action: wirepb.Action_ACTION_NACK, Millis: wire.Millis(delay)}, receipts)
}

func (r *receiver) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) ([]error, error) {
	return r.settle(ctx, "extend", &wirepb.Settle{Action: wirepb.Action_ACTION_EXTEND, Millis: wire.Millis(lease)}, receipts)
}

func (r *receiver) Reject(ctx context.Context, receipts []spi.Receipt, reason string) ([]error, error) {
	return r.settle(ctx, "reject", &wirepb.Settle{Action: wirepb.Action_ACTION_REJECT, Reason: text(reason)}, receipts)
}

// settle says of deliveries what q says.
func (r *receiver) settle(ctx context.Context, op string, q *wirepb.Settle, receipts []spi.Receipt) ([]error, error) {
	if err := r.begin(ctx, op); err != nil {
		return nil, err
	}
	return batch.Settle(op, r.cfg.Queue, receipts, func(ranges []batch.Range) ([]error, error) {
		l, err := r.open(ctx)
		if err != nil {
			return nil, err
		}
		q.Ranges = travelling(ranges)
		a, err := l.settle(ctx, op, q)
		if err == nil {
			err = r.fence(wire.FromError(a.GetError()))
		}
		if err != nil || len(a.GetErrors()) == 0 {
			return nil, err
		}
		errs := make([]error, len(ranges))
		for _, e := range a.GetErrors() {
			if i := int(e.GetIndex()); i >= 0 && i < len(errs) {
				errs[i] = wire.FromError(e.GetError())
			}
		}
		return errs, nil
	})
}

func (r *receiver) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		select {
		case <-r.closed:
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}
	r.ended = true
	close(r.closing)
	l := r.link
	r.mu.Unlock()
	r.dropUnclaimed()
	defer close(r.closed)
	r.conn.mu.Lock()
	delete(r.conn.receivers, r)
	r.conn.mu.Unlock()
	if l == nil {
		return nil // the server has given everything back when the stream broke
	}
	return l.close(ctx)
}
