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
//
// CapRequestReply is on top: CreateQueue takes Expires, and names that begin with
// openmessaging.ReplyQueuePrefix. By that the portable client asks and answers.
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

// PartitionAdder is implemented by a Conn with CapAddPartitions.
type PartitionAdder interface {
	// AddPartitions gives a queue more partitions, total together. Errors and
	// what must hold are those of openmessaging.Resources.
	AddPartitions(ctx context.Context, queue string, total int) error
}

// Describer is implemented by a Conn with CapMetadata.
type Describer interface {
	// Partitions lists the partitions of a queue, ascending.
	Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error)
	// Groups lists the groups that a queue knows, sorted by name.
	Groups(ctx context.Context, queue string) ([]om.GroupInfo, error)
}

// StatsReader is implemented by a Conn with CapStats.
type StatsReader interface {
	// Stats tells how these queues are doing, in their order, or all queues of the
	// namespace, sorted by name, when there are none. A queue that is named and not
	// there gives the destination class.
	Stats(ctx context.Context, namespace string, queues []string) ([]om.QueueStats, error)
}

// Finder is implemented by a Conn with CapFind.
type Finder interface {
	// FindMessages returns messages without receipts, and from where the next call
	// goes on, empty at the end. See openmessaging.MessageQuery and its Complete;
	// an After that the driver has not made gives CodeBadParameter. One call does a
	// bounded amount of work and has no effect.
	FindMessages(ctx context.Context, queue string, q om.MessageQuery) (found []Received, next string, err error)
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
	// sender's Checker, or that of another sender of its Group, is asked when
	// neither Commit nor Rollback comes, as check says.
	Prepare(ctx context.Context, m *om.Message, check om.TransactionCheck) (out Outcome, txID string, err error)
	// Commit makes the message visible; it returns when that is durable.
	Commit(ctx context.Context, txID string) error
	// Rollback discards the message; it returns when that is durable.
	Rollback(ctx context.Context, txID string) error
}

// TransactionAdmin may be implemented by a Conn with CapTransaction.
type TransactionAdmin interface {
	// Transactions lists up to max transactions of a queue that have not ended,
	// of all queues when its name is empty, the oldest first.
	Transactions(ctx context.Context, queue string, max int) ([]om.TransactionInfo, error)
	// Transaction tells of one; one that is not there gives
	// CodeTransactionNotExists.
	Transaction(ctx context.Context, id string) (om.TransactionInfo, error)
	// EndTransaction commits or rolls back a transaction by hand, also one that
	// is parked. Errors are those of Transactor.
	EndTransaction(ctx context.Context, id string, verdict om.TxVerdict) error
}

// TransactedSender is implemented by a Sender with CapTransacted.
type TransactedSender interface {
	// SendTransacted stores messages and settles deliveries as one, and returns
	// when all of it is durable, with one result for each message in their
	// order. Nobody sees a part of it. An error says that nothing has happened,
	// except the context's and one of the timeout class; the portable client
	// repeats the call after a retryable error of another class, and it must
	// not be stored twice by that. A receipt that Receiver.Ack refuses is an
	// error here. Messages are as those of Send; either slice may be empty, not
	// both.
	SendTransacted(ctx context.Context, ms []*om.Message, acks []TransactedAck) ([]om.SendResult, error)
}

// TransactedAck is deliveries of a receiver of the sender's connection.
type TransactedAck struct {
	Receiver Receiver
	Receipts []Receipt
}

// Filterer is implemented by a Conn with CapFilter.
type Filterer interface {
	// SetFilter lets only matching messages be delivered from a queue; the
	// zero Filter removes it. A malformed expression gives 1418 and changes
	// nothing (G35).
	SetFilter(ctx context.Context, queue string, f om.Filter) error
}

// GroupConfigurer is implemented by a Conn with CapGroupConfig.
type GroupConfigurer interface {
	// ConfigureGroup sets the settings of a group; see openmessaging.GroupConfig.Complete.
	ConfigureGroup(ctx context.Context, queue, group string, c om.GroupConfig) error
	// Group returns them with the defaults filled in.
	Group(ctx context.Context, queue, group string) (om.GroupConfig, error)
}

// Redriver is implemented by a Conn with CapRedrive.
type Redriver interface {
	// Redrive moves dead letters of a group back to the queue; see
	// openmessaging.Redrive.
	Redrive(ctx context.Context, queue, group string, r om.Redrive) ([]om.Redriven, error)
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

// Assignee is implemented by a Receiver with CapAssigned; Heartbeat is called
// when it was made with a Member.
//
// A receiver whose group has others of another kind, without a Member or with
// another strategy, is refused with CodeBadParameter. Of two with one ID the later
// one takes over, and all calls of the earlier one give CodeMemberFenced.
type Assignee interface {
	// Heartbeat tells that the member lives and which partitions it holds,
	// ascending, and returns those that it is to hold. Receive delivers from
	// partitions only that were in held. The member begins with a partition by
	// its next Heartbeat with it in held, and gives one up by leaving it out: it
	// has finished with it, and what is unsettled in it goes back as if it had
	// never been delivered. No other member receives from it before.
	//
	// It blocks until the result is another than the last one, at most a third of
	// the session; when a partition is given up it returns at once. Once it has
	// returned without a partition that is held, Receive delivers nothing of that
	// any more. Calls do not overlap each other, and one that gives up
	// partitions does not overlap a Receive. When ctx ends, held counts or not.
	//
	// CodeMemberExpired says that the member's session had ended, by its silence
	// or with a connection: all that it held is lost, and its receipts are stale.
	// It joins again by calling with nothing held.
	Heartbeat(ctx context.Context, held []int32) (Assignment, error)
}

// Assignment is what a member is to hold.
type Assignment struct {
	Generation int64   // of the group: how often members or partitions have changed
	Partitions []int32 // ascending
}

// Leaser is implemented by a Receiver with CapLease.
type Leaser interface {
	// Extend lets the leases end lease from now. Results as of Receiver.Ack.
	Extend(ctx context.Context, receipts []Receipt, lease time.Duration) ([]error, error)
}

// Nacker is implemented by a Receiver with CapNack.
type Nacker interface {
	// Nack gives deliveries back, to be delivered again after delay at the
	// earliest, and with a delay of 0 after the group's backoff where the driver
	// has CapGroupConfig. Results as of Receiver.Ack.
	Nack(ctx context.Context, receipts []Receipt, delay time.Duration) ([]error, error)
}

// DeadLetterer is implemented by a Receiver with CapDeadLetter.
type DeadLetterer interface {
	// Reject moves deliveries to the group's dead-letter queue. Results as of
	// Receiver.Ack.
	Reject(ctx context.Context, receipts []Receipt, reason string) ([]error, error)
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

// Give sets target to v where it is a *T, and reports whether it is: what an
// Asser does for each type that it knows.
func Give[T any](target any, v T) bool {
	t, ok := target.(*T)
	if ok {
		*t = v
	}
	return ok
}
