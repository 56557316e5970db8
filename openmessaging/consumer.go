package openmessaging

import (
	"context"
	"iter"
	"time"
)

// Handler handles one delivery of a push consumer. nil acknowledges it; an
// error or a panic gives it back for redelivery (G31). With [WithManualAck]
// the handler settles by itself and its result only goes to the interceptors.
// ctx ends when the consumer's Stop is cut off.
type Handler func(ctx context.Context, d *Delivery) error

// BatchHandler handles many deliveries at once. nil acknowledges what the
// handler did not settle by itself; an error or a panic gives that back.
type BatchHandler func(ctx context.Context, b *Batch) error

// Consumer is what all consumers have.
type Consumer interface {
	Lifecycle
	// Queues returns the bound queues, sorted; nil when there are none (R064).
	Queues() []string
	// AddInterceptor adds an interceptor behind the ones that are there and
	// returns the function that removes it again.
	AddInterceptor(i ReceiveInterceptor) (remove func())
}

// PushConsumer calls handlers for the messages of the queues bound to it. All
// methods may be called concurrently.
type PushConsumer interface {
	Consumer

	// Bind has h called for every message of the queues (R066, R072, R077). It
	// blocks until the provider knows the queues; ctx bounds only that (G05).
	// A queue that is not there gives the destination class (R065), a queue
	// bound already 1418, and then none of the call's queues is bound.
	Bind(ctx context.Context, h Handler, queues ...string) error

	// BindBatch is Bind for a handler of batches.
	BindBatch(ctx context.Context, h BatchHandler, queues ...string) error

	// Unbind ends deliveries of the queues: it lets running handlers finish
	// and gives prefetched messages back. When it returns no handler of these
	// queues is called any more (R063). Queues that are not bound are passed over.
	Unbind(ctx context.Context, queues ...string) error

	// Suspend stops deliveries for d, or until Resume when d is 0; nothing is
	// lost (R074, R075). Running handlers go on. On a consumer that is not
	// started it gives [CodeNotRunning] (R076).
	Suspend(ctx context.Context, d time.Duration) error

	// Resume ends a suspension; without one it gives [CodeNotSuspended] (R076).
	Resume(ctx context.Context) error

	// Suspended reports whether the consumer is suspended.
	Suspended() bool
}

// Receiver is the small, stable interface for code that only receives.
type Receiver interface {
	// Receive blocks until a message of one of the bound queues is there and
	// returns it (R067). When ctx ends first it returns an error of the
	// timeout class for a deadline and loses nothing (R068, C10); when the
	// consumer is stopped meanwhile, CodeNotRunning or ErrClosed (R069). The
	// message may be changed by the receiver (G01).
	Receive(ctx context.Context, opts ...ReceiveOption) (*Delivery, error)
}

// PullConsumer hands out messages when asked. All methods may be called
// concurrently.
type PullConsumer interface {
	Receiver
	Consumer

	// Bind adds queues to receive from (C11). Errors as of PushConsumer.Bind.
	Bind(ctx context.Context, queues ...string) error

	// Unbind removes queues; messages that were not handed out are given back.
	Unbind(ctx context.Context, queues ...string) error

	// ReceiveBatch is Receive for one to max messages: it returns as soon as
	// one is there, with what there is (R070). max must be 1 to 65536.
	ReceiveBatch(ctx context.Context, max int, opts ...ReceiveOption) ([]*Delivery, error)

	// All iterates over messages until the loop breaks, ctx ends or an error
	// occurs. The error comes once and last (G14). Breaking releases the
	// iterator; what was not acknowledged is delivered again (G13).
	All(ctx context.Context) iter.Seq2[*Delivery, error]

	// Ack acknowledges many deliveries in one step. A failure of some is a
	// *[BatchError] by their index.
	Ack(ctx context.Context, ds ...*Delivery) error
}

// ReceiveInterceptor holds the hooks around the handling of each delivery.
// Any may be nil. Before hooks run in the order of registration, After hooks
// in the reverse (G30, R078). Hooks may run concurrently for different
// deliveries.
type ReceiveInterceptor struct {
	// Before runs before the handler of a push consumer is called, or before a
	// pull consumer hands the delivery out. The context it returns is given to
	// the handler and to After. An error counts as the handler's error; the
	// handler is not called.
	Before func(ctx context.Context, d *Delivery) (context.Context, error)
	// After runs once after the handler, before its result settles the
	// delivery; err is the handler's error. Pull consumers do not call it.
	After func(ctx context.Context, d *Delivery, err error)
}

// ConsumerConfig is what [ConsumerOption] functions set. Zero values stand
// for the defaults that the fields name.
type ConsumerConfig struct {
	// Group is the consumer group: of several consumers of one group exactly
	// one gets each message (R097). Default "default".
	Group string
	// Start is where a group that is new to a queue starts. Default Begin.
	Start Position
	// Allocation makes the consumer a member of an assigned group; see
	// [WithAllocation]. Default: the group is shared.
	Allocation AllocationStrategy
	// Member is the consumer in an assigned group. The default ID is unique. One
	// that stays the same over restarts of a program gets its partitions back
	// where the strategy remembers owners. Of two consumers with one id in a group
	// and queue the later one takes over: the earlier one loses its partitions at
	// once, and its calls give [CodeMemberFenced].
	Member Member
	// Session is for how long a member of an assigned group may be silent before
	// it is put out: then its leases end and its partitions go to others. The
	// consumer sends heartbeats by itself. 100 ms to 1 hour. Default 10 s.
	Session time.Duration
	// Rebalance is told which partitions the consumer has in an assigned group.
	Rebalance RebalanceListener
	// Filter lets only matching messages reach the group; what does not match
	// counts as settled. All consumers of a group have the same filter: one
	// that binds with another is refused with 1418 while others are there, and
	// changes it for what comes next when it is alone. Capability CapFilter.
	// Default: all messages.
	Filter Filter
	// Lease is how long a delivery may stay unsettled before it is delivered
	// again. Default 30 s.
	Lease time.Duration
	// Concurrency is the most handlers that run at once for each bound queue
	// of a push consumer. Default 1, which keeps the order of a partition. In an
	// assigned group one handler at a time runs for each partition, so that any
	// number keeps it.
	Concurrency int
	// Prefetch is the most messages held ready for the handlers of each bound
	// queue. Default 256. Pull consumers do not prefetch.
	Prefetch int
	// HandlerBatch is the most messages in one call of a BatchHandler. Default 64.
	// In an assigned group they are of one partition.
	HandlerBatch int
	// NackDelay is the pause before a message whose handler failed is
	// delivered again. Default 0, which is as the group's Backoff says; needs
	// CapNack, otherwise the lease's end counts.
	NackDelay time.Duration
	// ManualAck leaves settling to the handler.
	ManualAck bool
	// NoAutoExtend leaves leases to the handler instead of extending them
	// while a handler runs.
	NoAutoExtend bool
	// Retry bounds the pauses between retries of failed receives; receives are
	// retried until the consumer stops.
	Retry RetryPolicy
	// OnError is told of errors that no call returns: failed receives, failed
	// automatic acknowledgements, failed extensions, handler panics. It may be
	// called concurrently. Default: they are logged with slog.
	OnError func(error)
	// Interceptors are the first interceptors, in their order.
	Interceptors []ReceiveInterceptor
}

// ConsumerOption sets something in a ConsumerConfig.
type ConsumerOption func(*ConsumerConfig)

// WithGroup sets the consumer group.
func WithGroup(name string) ConsumerOption { return func(c *ConsumerConfig) { c.Group = name } }

// WithStart sets where a group that is new to a queue starts.
func WithStart(p Position) ConsumerOption { return func(c *ConsumerConfig) { c.Start = p } }

// WithFilter lets only matching messages reach the group.
func WithFilter(f Filter) ConsumerOption { return func(c *ConsumerConfig) { c.Filter = f } }

// WithLease sets how long a delivery may stay unsettled.
func WithLease(d time.Duration) ConsumerOption { return func(c *ConsumerConfig) { c.Lease = d } }

// WithConcurrency sets the most handlers that run at once for each bound queue.
func WithConcurrency(n int) ConsumerOption { return func(c *ConsumerConfig) { c.Concurrency = n } }

// WithPrefetch sets the most messages held ready for the handlers of each
// bound queue.
func WithPrefetch(n int) ConsumerOption { return func(c *ConsumerConfig) { c.Prefetch = n } }

// WithHandlerBatch sets the most messages in one call of a BatchHandler.
func WithHandlerBatch(n int) ConsumerOption { return func(c *ConsumerConfig) { c.HandlerBatch = n } }

// WithNackDelay sets the pause before a message whose handler failed is
// delivered again.
func WithNackDelay(d time.Duration) ConsumerOption {
	return func(c *ConsumerConfig) { c.NackDelay = d }
}

// WithManualAck leaves settling to the handler.
func WithManualAck() ConsumerOption { return func(c *ConsumerConfig) { c.ManualAck = true } }

// WithoutAutoExtend leaves leases to the handler.
func WithoutAutoExtend() ConsumerOption { return func(c *ConsumerConfig) { c.NoAutoExtend = true } }

// WithReceiveRetry sets the pauses between retries of failed receives.
func WithReceiveRetry(p RetryPolicy) ConsumerOption { return func(c *ConsumerConfig) { c.Retry = p } }

// WithOnError sets who is told of errors that no call returns.
func WithOnError(f func(error)) ConsumerOption { return func(c *ConsumerConfig) { c.OnError = f } }

// WithReceiveInterceptor adds an interceptor.
func WithReceiveInterceptor(i ReceiveInterceptor) ConsumerOption {
	return func(c *ConsumerConfig) { c.Interceptors = append(c.Interceptors, i) }
}

// ReceiveConfig is what [ReceiveOption] functions set.
type ReceiveConfig struct {
	// Queue, Partition and Position ask for messages of one partition from a
	// position on, when Queue is not empty.
	Queue     string
	Partition int32
	Position  Position
}

// ReceiveOption sets something in a ReceiveConfig.
type ReceiveOption func(*ReceiveConfig)

// From receives from a position of one partition of a bound queue, beside the
// group's own progress: such deliveries are not leased and not settled (R071).
// Capability CapSeek.
func From(queue string, partition int32, p Position) ReceiveOption {
	return func(c *ReceiveConfig) { c.Queue, c.Partition, c.Position = queue, partition, p }
}
