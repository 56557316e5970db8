package openmessaging

import (
	"context"
	"time"
)

// Delivery is one delivery of a message to a consumer: the message, where it
// lies, and the receipt with which it is settled. A receipt belongs to this
// delivery alone: after the lease ended it settles nothing and says so with
// [CodeStaleReceipt] (G23). The methods may be called concurrently; reading
// the fields while another goroutine writes them may not.
type Delivery struct {
	*Message
	// Partition and Offset tell where the message lies; -1 where the driver
	// has no partitions or offsets.
	Partition int32
	Offset    int64
	settler   Settler
}

// Settler is what a Delivery settles through. Application code does not call
// it; it is exported for package oms and for tests that make deliveries.
type Settler interface {
	// Settle ends or extends the delivery as action says. delay is the pause
	// before redelivery for Nack and the new lease from now for Extend; reason
	// is for Reject.
	Settle(ctx context.Context, d *Delivery, action Action, delay time.Duration, reason string) error
}

// Action is how a delivery is settled.
type Action uint8

// Actions.
const (
	Ack    Action = iota + 1 // done: not delivered to the group again
	Nack                     // give back: delivered again
	Extend                   // keep: the lease lasts longer
	Reject                   // give up: to the dead-letter queue
)

// String returns the name, for example "ack".
func (a Action) String() string {
	switch a {
	case Ack:
		return "ack"
	case Nack:
		return "nack"
	case Extend:
		return "extend"
	case Reject:
		return "reject"
	}
	return "settle"
}

// NewDelivery returns a delivery that settles through s; the message is not
// copied. With a nil s its methods give unsupported.
func NewDelivery(m *Message, partition int32, offset int64, s Settler) Delivery {
	return Delivery{Message: m, Partition: partition, Offset: offset, settler: s}
}

// Settler returns what the delivery settles through, nil without one. Package
// oms finds its own deliveries by it.
func (d *Delivery) Settler() Settler { return d.settler }

func (d *Delivery) settle(ctx context.Context, a Action, delay time.Duration, reason string) error {
	if d.settler == nil {
		return NewError(CodeUnsupported, a.String(), d.Destination, "deliveries of a stream or without a consumer are not settled")
	}
	return d.settler.Settle(ctx, d, a, delay, reason)
}

// Ack tells the provider that the message is done (R062). It returns when that
// is durable where the provider is persistent. A second Ack is a no-op (G22).
func (d *Delivery) Ack(ctx context.Context) error { return d.settle(ctx, Ack, 0, "") }

// Nack gives the message back, to be delivered again after delay at the
// earliest (G24); with a delay of 0 the [Backoff] of the group holds. Capability
// CapNack.
func (d *Delivery) Nack(ctx context.Context, delay time.Duration) error {
	if delay < 0 {
		return NewError(CodeBadParameter, "nack", d.Destination, "the delay %v is negative", delay)
	}
	return d.settle(ctx, Nack, delay, "")
}

// Extend lets the lease end lease from now instead of earlier (G25). Push
// consumers extend by themselves while a handler runs. Capability CapLease.
func (d *Delivery) Extend(ctx context.Context, lease time.Duration) error {
	if lease <= 0 {
		return NewError(CodeBadParameter, "extend", d.Destination, "the lease %v is not positive", lease)
	}
	return d.settle(ctx, Extend, lease, "")
}

// Reject moves the message to the group's dead-letter queue at once.
// Capability CapDeadLetter.
func (d *Delivery) Reject(ctx context.Context, reason string) error {
	return d.settle(ctx, Reject, 0, reason)
}

// Acker is the small, stable interface of what can be acknowledged.
type Acker interface {
	Ack(ctx context.Context) error
}

// Batch is what a [BatchHandler] gets: deliveries of one queue, in the order
// in which they lie there.
type Batch struct {
	Deliveries []*Delivery
	settle     BatchSettler
}

// BatchSettler settles many deliveries at once; exported for package oms and
// for tests that make batches.
type BatchSettler func(ctx context.Context, ds []*Delivery) error

// NewBatch returns a batch that acknowledges through ack; the slice is kept.
func NewBatch(ds []*Delivery, ack BatchSettler) *Batch { return &Batch{Deliveries: ds, settle: ack} }

// Ack acknowledges the whole batch (R073). A failure of some is a *[BatchError]
// by their index.
func (b *Batch) Ack(ctx context.Context) error { return b.AckOnly(ctx, b.Deliveries...) }

// AckOnly acknowledges these deliveries of the batch and no others (R073).
func (b *Batch) AckOnly(ctx context.Context, ds ...*Delivery) error {
	if len(ds) == 0 {
		return nil
	}
	if b.settle == nil {
		return NewError(CodeUnsupported, "ack", ds[0].Destination, "the batch has no consumer")
	}
	return b.settle(ctx, ds)
}
