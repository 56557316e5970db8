package badger

import (
	"context"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// receiver implements spi.Receiver, spi.Nacker and spi.Leaser.
type receiver struct {
	conn   *conn
	broker *broker.Receiver
	queue  string // as the caller names it
}

// receipt names one delivery; its address is the spi.Receipt.
type receipt struct {
	lease     uint64
	offset    int64
	partition int32
}

func (r *receiver) Receive(ctx context.Context, limit int) ([]spi.Received, error) {
	if err := r.conn.begin(ctx, "receive", r.queue); err != nil {
		return nil, err
	}
	spans, err := r.broker.Receive(ctx, min(limit, broker.MaxReceive))
	if err != nil {
		return nil, err
	}
	return decode(spans, r.queue, r.conn.broker.Host(), true)
}

// decode decodes spans into messages, with few allocations for all of them.
func decode(spans []broker.Span, queue, host string, leased bool) ([]spi.Received, error) {
	n := 0
	for _, s := range spans {
		n += s.Count
	}
	messages := make([]om.Message, n)
	out := make([]spi.Received, n)
	var receipts []receipt
	if leased {
		receipts = make([]receipt, n)
	}
	at := 0
	for _, s := range spans {
		h, err := chunk.Parse(s.Chunk)
		if err == nil {
			_, err = chunk.Decode(s.Chunk, h, s.Skip, messages[at:at+s.Count])
		}
		if err != nil {
			return nil, om.NewError(om.CodeStorageCorrupt, "receive", queue, "partition %d, offset %d: %w", s.Partition, s.Base, err)
		}
		stored := time.UnixMilli(s.StoredAt).UTC()
		partition := om.Some(s.Partition)
		for i := range s.Count {
			m := &messages[at+i]
			m.Destination = queue
			m.Ext.Partition = partition
			m.Ext.StoredAt, m.Ext.StoreHost = stored, host
			m.Ext.DeliveryCount = s.Delivery
			rec := &out[at+i]
			*rec = spi.Received{Message: m, Partition: s.Partition, Offset: s.Base + int64(i), LeaseUntil: s.Ends}
			if leased {
				receipts[at+i] = receipt{s.Lease, rec.Offset, s.Partition}
				rec.Receipt = &receipts[at+i]
			}
		}
		at += s.Count
	}
	return out, nil
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

func (r *receiver) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) ([]error, error) {
	return r.settle(ctx, "extend", receipts, func(rs []broker.Receipts) ([]error, error) {
		return r.broker.Extend(ctx, rs, lease)
	})
}

// settle joins receipts that follow each other into ranges and gives the
// result of each range to its receipts.
func (r *receiver) settle(ctx context.Context, op string, receipts []spi.Receipt, f func([]broker.Receipts) ([]error, error)) ([]error, error) {
	if err := r.conn.begin(ctx, op, r.queue); err != nil {
		return nil, err
	}
	var ranges []broker.Receipts
	var ends []int // for each range the index behind its last receipt
	for i, v := range receipts {
		rc, ok := v.(*receipt)
		if !ok {
			return nil, om.NewError(om.CodeBadParameter, op, r.queue, "receipt %d is not one of this driver", i)
		}
		if n := len(ranges); n > 0 {
			if last := &ranges[n-1]; last.Lease == rc.lease && last.To == rc.offset && last.Partition == rc.partition {
				last.To++
				ends[n-1] = i + 1
				continue
			}
		}
		ranges = append(ranges, broker.Receipts{Partition: rc.partition, Lease: rc.lease, From: rc.offset, To: rc.offset + 1})
		ends = append(ends, i+1)
	}
	if len(ranges) == 0 {
		return nil, nil
	}
	errs, err := f(ranges)
	if err != nil || errs == nil {
		return nil, err
	}
	out := make([]error, len(receipts))
	i := 0
	for n, end := range ends {
		for ; i < end; i++ {
			out[i] = errs[n]
		}
	}
	return out, nil
}

func (r *receiver) Close(ctx context.Context) error {
	r.conn.mu.Lock()
	delete(r.conn.receivers, r)
	r.conn.mu.Unlock()
	return r.broker.Close(ctx)
}
