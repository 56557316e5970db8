package badger

import (
	"context"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/spi"
)

// receiver implements spi.Receiver, spi.Nacker, spi.Leaser, spi.DeadLetterer and
// spi.Assignee.
type receiver struct {
	conn   *conn
	broker *broker.Receiver
	queue  string // as the caller names it
	member *batch.Member
}

func (r *receiver) Receive(ctx context.Context, limit int) ([]spi.Received, error) {
	if err := r.conn.Begin(ctx, "receive", r.queue); err != nil {
		return nil, err
	}
	spans, err := r.broker.Receive(ctx, min(limit, broker.MaxReceive))
	if err != nil {
		return nil, err
	}
	return r.conn.decode(spans, r.queue)
}

func (c *conn) decode(spans []broker.Span, queue string) ([]spi.Received, error) {
	out := make([]batch.Span, len(spans))
	for i := range spans {
		s := &spans[i]
		out[i] = batch.Span{
			Partition: s.Partition, Lease: s.Lease, Ends: s.Ends, Base: s.Base, Skip: s.Skip, Count: s.Count,
			Delivery: s.Delivery, StoredAt: s.StoredAt, Chunk: s.Chunk,
		}
	}
	return batch.Decode(out, queue, c.broker.Host())
}

func (r *receiver) Ack(ctx context.Context, receipts []spi.Receipt) ([]error, error) {
	return r.settle(ctx, "ack", receipts, func(rs []broker.Receipts) ([]error, error) {
		return r.broker.Ack(ctx, rs)
	})
}

func (r *receiver) Nack(ctx context.Context, receipts []spi.Receipt, delay time.Duration) ([]error, error) {
	return r.settle(ctx, "nack", receipts, func(rs []broker.Receipts) ([]error, error) {
		return r.broker.Nack(ctx, rs, delay)
	})
}

func (r *receiver) Reject(ctx context.Context, receipts []spi.Receipt, reason string) ([]error, error) {
	return r.settle(ctx, "reject", receipts, func(rs []broker.Receipts) ([]error, error) {
		return r.broker.Reject(ctx, rs, reason)
	})
}

func (r *receiver) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) ([]error, error) {
	return r.settle(ctx, "extend", receipts, func(rs []broker.Receipts) ([]error, error) {
		return r.broker.Extend(ctx, rs, lease)
	})
}

func (r *receiver) settle(ctx context.Context, op string, receipts []spi.Receipt, f func([]broker.Receipts) ([]error, error)) ([]error, error) {
	if err := r.conn.Begin(ctx, op, r.queue); err != nil {
		return nil, err
	}
	return batch.Settle(op, r.queue, receipts, func(ranges []batch.Range) ([]error, error) {
		return f(receiptsOf(ranges))
	})
}

func (r *receiver) Heartbeat(ctx context.Context, held []int32) (spi.Assignment, error) {
	if err := r.conn.Begin(ctx, "heartbeat", r.queue); err != nil {
		return spi.Assignment{}, err
	}
	return r.member.Heartbeat(ctx, r.queue, held, func(ctx context.Context, h batch.Heartbeat) (batch.Membership, error) {
		m, err := r.broker.Heartbeat(ctx, broker.Heartbeat(h))
		return batch.Membership(m), err
	})
}

func receiptsOf(ranges []batch.Range) []broker.Receipts {
	rs := make([]broker.Receipts, len(ranges))
	for i, rg := range ranges {
		rs[i] = broker.Receipts(rg)
	}
	return rs
}

func (r *receiver) Close(ctx context.Context) error {
	r.conn.Disown(r)
	return r.broker.Close(ctx)
}
