package spi

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Unwrapper is implemented by wrappers around a driver's values, so that [As]
// finds optional interfaces behind them.
type Unwrapper interface {
	// Unwrap returns the wrapped value.
	Unwrap() any
}

// As returns v, or the first value that v's Unwrap methods lead to, that
// implements T. A wrapper that implements T itself is found before what it wraps.
func As[T any](v any) (T, bool) {
	for v != nil {
		if t, ok := v.(T); ok {
			return t, true
		}
		u, ok := v.(Unwrapper)
		if !ok {
			break
		}
		v = u.Unwrap()
	}
	var zero T
	return zero, false
}

// Admin is implemented by a Conn with CapAdmin. Errors are those of
// openmessaging.Resources. Names are "queue" in the default namespace or
// "namespace://queue"; queue configurations that are returned carry the long form.
type Admin interface {
	CreateNamespace(ctx context.Context, name string) error
	DeleteNamespace(ctx context.Context, name string) error
	Namespaces(ctx context.Context) ([]string, error)
	CreateQueue(ctx context.Context, c om.QueueConfig) error
	DeleteQueue(ctx context.Context, name string) error
	Queue(ctx context.Context, name string) (om.QueueConfig, error)
	// Queues lists the queues of one namespace, sorted by name.
	Queues(ctx context.Context, namespace string) ([]om.QueueConfig, error)
	DeleteGroup(ctx context.Context, queue, group string) error
}

// Describer is implemented by a Conn with CapMetadata.
type Describer interface {
	// Partitions lists the partitions of a queue, ascending.
	Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error)
	// Groups lists the groups that a queue knows, sorted by name.
	Groups(ctx context.Context, queue string) ([]om.GroupInfo, error)
}

// Seeker is implemented by a Conn with CapSeek.
type Seeker interface {
	// SeekGroup moves a group's progress in all partitions of a queue; it
	// makes the group when the queue does not know it. Receipts given out
	// before become stale.
	SeekGroup(ctx context.Context, queue, group string, p om.Position) error
}

// Streamer is implemented by a Conn with CapStream or CapSeek: reading by offset,
// without leases.
type Streamer interface {
	// Resolve returns the offset that a position stands for, clamped to the
	// nearest end of the partition (R099).
	Resolve(ctx context.Context, queue string, partition int32, p om.Position) (offset int64, err error)

	// ReadAt returns up to max messages of a partition in ascending order,
	// beginning with the first whose offset is at least offset. It does not
	// wait: the slice is empty where there is none. Receipts are nil.
	ReadAt(ctx context.Context, queue string, partition int32, offset int64, max int) ([]Received, error)

	// Await blocks until the partition holds a message whose offset is at
	// least offset, or ctx ends.
	Await(ctx context.Context, queue string, partition int32, offset int64) error
}

// Transactor is implemented by a Sender with CapTransaction.
type Transactor interface {
	// Prepare stores a message hidden and returns the transaction's id. The
	// sender's Checker is asked when neither Commit nor Rollback comes.
	Prepare(ctx context.Context, m *om.Message) (out Outcome, txID string, err error)
	// Commit makes the message visible; it returns when that is durable.
	Commit(ctx context.Context, txID string) error
	// Rollback discards the message; it returns when that is durable.
	Rollback(ctx context.Context, txID string) error
}

// Filterer is implemented by a Conn with CapFilter.
type Filterer interface {
	// SetFilter lets only matching messages be delivered from a queue; the
	// zero Filter removes it. A malformed expression gives 1418 and changes
	// nothing (G35).
	SetFilter(ctx context.Context, queue string, f om.Filter) error
}

// DelayCanceler is implemented by a Conn with CapCancelDelay.
type DelayCanceler interface {
	// CancelDelayed takes back a message of a queue that is not due yet, and
	// returns when that is durable. A message that is due, is not there or was
	// cancelled gives CodeMessageNotFound.
	CancelDelayed(ctx context.Context, queue, messageID string) error
}

// Router is implemented by a Conn with CapRouting.
type Router interface {
	// CreateRoute adds a route; one that makes a cycle gives 1418 (G36).
	CreateRoute(ctx context.Context, r om.RouteConfig) error
	// UpdateRoute changes target, filter and operators of a route.
	UpdateRoute(ctx context.Context, r om.RouteConfig) error
	DeleteRoute(ctx context.Context, name string) error
	Routes(ctx context.Context) ([]om.RouteConfig, error)
}

// Leaser is implemented by a Receiver with CapLease.
type Leaser interface {
	// Extend lets the leases end lease from now. Results as of Receiver.Ack.
	Extend(ctx context.Context, receipts []Receipt, lease time.Duration) ([]error, error)
}

// Nacker is implemented by a Receiver with CapNack.
type Nacker interface {
	// Nack gives deliveries back, to be delivered again after delay at the
	// earliest. Results as of Receiver.Ack.
	Nack(ctx context.Context, receipts []Receipt, delay time.Duration) ([]error, error)
}

// DeadLetterer is implemented by a Receiver with CapDeadLetter.
type DeadLetterer interface {
	// Reject moves deliveries to the group's dead-letter queue. Results as of
	// Receiver.Ack.
	Reject(ctx context.Context, receipts []Receipt, reason string) ([]error, error)
}

// Requester is implemented by a Conn with CapRequestReply.
type Requester interface {
	// Request sends a message and blocks for the reply that carries its
	// correlation id, which it sets where the message has none.
	Request(ctx context.Context, m *om.Message) (*om.Message, error)
}

// Pinger may be implemented by a Conn.
type Pinger interface {
	// Ping blocks until the system has given a sign of life.
	Ping(ctx context.Context) error
}

// Classifier may be implemented by a Conn whose methods return errors that are
// not *openmessaging.Error.
type Classifier interface {
	// Classify returns the status code of err, 0 for an error it does not know.
	Classify(err error) om.Code
}

// Asser may be implemented by a Conn to give access to what is its own.
type Asser interface {
	// As fills target, a pointer to a type the driver documents, and reports
	// whether it knows that type.
	As(target any) bool
}
