package openmessaging

import (
	"context"
	"time"
)

// SendResult tells what became of a sent message.
type SendResult struct {
	// MessageID is the id the provider gave the message (R012–R015).
	MessageID string
	// Partition is the partition the message lies in, -1 where the driver has
	// no partitions.
	Partition int32
	// Offset is the message's offset in that partition, -1 where the driver
	// has none.
	Offset int64
	// Duplicate says that the message was not stored, because the queue has
	// another one with the same id: the result names that one. See [Deduplication].
	Duplicate bool
}

// Sender is the small, stable interface for code that only sends.
type Sender interface {
	// Send sends one message and returns when the provider has accepted and,
	// where it is persistent, durably stored it (R051). It fills the message's
	// fields marked "set on send". It blocks while the provider works and
	// while the producer's buffer is full; ctx bounds that. Retryable failures
	// are retried within the producer's retry settings, so a message may be
	// stored twice where the provider does not deduplicate. After a failure by
	// timeout the message may or may not be stored. Send does not keep the
	// message or anything it refers to (G01).
	//
	// Errors: the destination class for a queue that is not there (R052), the
	// message-format class, 1418 for bad values, the timeout class, ErrClosed,
	// and whatever the driver documents.
	Send(ctx context.Context, m *Message) (SendResult, error)
}

// Producer sends messages. All methods may be called concurrently (G02).
// Messages that one goroutine sends keep their order per queue and message
// key, whichever of the methods it uses, as long as none of them fails.
type Producer interface {
	Sender
	Lifecycle

	// SendAsync hands a message to the producer and returns at once with the
	// future of its result (R055); it blocks only while the buffer is full and
	// the producer is set to block. The message must not be changed until the
	// future is done. What is known locally (closed, invalid, buffer full)
	// comes by the future as well.
	SendAsync(ctx context.Context, m *Message) *Future[SendResult]

	// SendOneway hands a message to the producer without waiting for the
	// provider and without telling its answer (R057). The error tells only
	// what is known locally: closed, invalid, buffer full. The message is
	// copied.
	SendOneway(ctx context.Context, m *Message) error

	// SendBatch sends many messages and returns one result for each, in their
	// order, when all are accepted or have failed. Where some failed the error
	// is a *[BatchError] and the results of the others are valid (G27). An
	// empty batch is a no-op (G28). Inside one queue and key the batch keeps
	// its order (G29). Otherwise like Send.
	SendBatch(ctx context.Context, ms []*Message) ([]SendResult, error)

	// SendBatchAsync is SendBatch with a future. Neither the slice nor the
	// messages may be changed until the future is done.
	SendBatchAsync(ctx context.Context, ms []*Message) *Future[[]SendResult]

	// SendBatchOneway is SendOneway for many messages.
	SendBatchOneway(ctx context.Context, ms []*Message) error

	// SendTransacted sends messages to any queues and acknowledges deliveries,
	// of consumers of the same access point, as one: when it returns without an
	// error all of it is durable, and nobody has seen a part of it. After an
	// error nothing has happened and the deliveries are as they were, except
	// after one of the timeout class, when it is not known. Nobody waits for a
	// transaction that is not decided: its messages take their places in their
	// queues when it is stored. The results are in the order of ms; either list
	// may be empty. It is retried as Send is, and stored once all the same.
	// Capability CapTransacted.
	//
	// Errors are those of Send, for the first message that is refused, and those
	// of Delivery.Ack: CodeStaleReceipt for a delivery whose lease has ended.
	SendTransacted(ctx context.Context, ms []*Message, acks ...*Delivery) ([]SendResult, error)

	// Request sends a message and blocks for its reply. It sends a copy with the
	// property [PropertyReplyTo] and, where m has none, a correlation id that
	// nobody can guess; m stays as it is. A correlation id of your own must be
	// new for each request, or a late reply would be taken for another's; one
	// that is under way gives 1418. Any number of requests may be under way.
	//
	// When ctx ends first the error is that of Receive, of the timeout class for
	// a deadline; the request may still be answered, and a reply that comes then
	// goes to OnLateReply. Without a deadline it may block for ever: the
	// SendTimeout bounds the sending only. What carries an unknown correlation
	// id is dropped in the same way.
	//
	// The reply is settled when it is handed out. A reply that says why there is
	// none, see [SetReplyFailure], gives an error of the operation "answer".
	// Otherwise errors are those of Send; CodeNotRunning or ErrClosed when the
	// producer is stopped meanwhile; and the timeout class when the reply queue
	// goes meanwhile.
	//
	// The first request makes the producer's reply queue: see [ReplyQueuePrefix].
	// Stop deletes it, and when the process dies it expires. CapRequestReply.
	Request(ctx context.Context, m *Message) (*Message, error)

	// Prepare stores a message that stays hidden until its transaction is
	// committed (R079). It needs CapTransaction and a producer made
	// [WithTransactionChecker]; without the checker it gives the transaction
	// class (R082).
	Prepare(ctx context.Context, m *Message, opts ...PrepareOption) (Transaction, error)

	// Flush blocks until everything handed over before the call has been
	// answered or ctx ends. It returns no errors of the messages.
	Flush(ctx context.Context) error

	// AddInterceptor adds an interceptor behind the ones that are there and
	// returns the function that removes it again (R060). Messages whose
	// sending began before keep the interceptors they began with.
	AddInterceptor(i SendInterceptor) (remove func())
}

// Transaction is a prepared message that waits for its end. Its methods may be
// called concurrently; the first of Commit and Rollback counts, the other then
// gives the transaction class.
type Transaction interface {
	// ID returns the transaction id (R038).
	ID() string
	// MessageID returns the id of the prepared message.
	MessageID() string
	// Commit makes the message visible (R080). It blocks until that is durable.
	Commit(ctx context.Context) error
	// Rollback discards the message (R081). It blocks until that is durable.
	Rollback(ctx context.Context) error
}

// TxVerdict is a checker's answer about a transaction.
type TxVerdict int8

// Verdicts. The zero value is the careful one.
const (
	TxUnknown  TxVerdict = iota // ask again later (R084)
	TxCommit                    // the local transaction was committed
	TxRollback                  // the local transaction was rolled back
)

// TransactionChecker is asked what became of a transaction that was neither
// committed nor rolled back (R083). It may be called concurrently. It has 10 s,
// after which ctx ends; that, and a panic, count as TxUnknown. m is its own.
type TransactionChecker func(ctx context.Context, m *Message) TxVerdict

// SendInterceptor holds the hooks around the sending of each message. Any
// may be nil. Before hooks run in the order of registration, After and Failed
// hooks in the reverse (G30). Hooks may run concurrently for different
// messages and must not keep the message.
type SendInterceptor struct {
	// Before runs before the message is validated and encoded; it may change
	// the message (R059). The context it returns is given to the later hooks
	// of the message. An error ends the sending of this message.
	Before func(ctx context.Context, m *Message) (context.Context, error)
	// After runs once after the message was sent with success (R060).
	After func(ctx context.Context, m *Message, r SendResult)
	// Failed runs once after sending failed for good, in Before of a later
	// interceptor included.
	Failed func(ctx context.Context, m *Message, err error)
}

// ProducerConfig is what [ProducerOption] functions set. Zero values stand
// for the defaults that the fields name.
type ProducerConfig struct {
	// BatchMessages is the most messages in one call to the driver. Default 1024.
	BatchMessages int
	// BatchBytes is the most body and property bytes in one call to the
	// driver; a single larger message goes alone. Default 1 MiB.
	BatchBytes int
	// Linger is how long a message may wait for others to share its batch.
	// Default 0: nothing waits while the driver is idle, and what comes while
	// it is busy shares the next batch.
	Linger time.Duration
	// BufferMessages is the most messages that wait for the driver. Default 65536.
	BufferMessages int
	// BufferBytes is the most bytes that wait for the driver. Default 64 MiB.
	BufferBytes int
	// FailWhenFull makes a full buffer an error with [CodeBufferFull] instead
	// of a wait.
	FailWhenFull bool
	// Retry bounds the retries of retryable failures.
	Retry RetryPolicy
	// SendTimeout bounds one message from its hand-over to its result where
	// the context has no earlier deadline. Default 30 s; negative: no bound.
	SendTimeout time.Duration
	// ID names the producer across its lives. When a producer with the same ID
	// starts, all earlier ones are fenced off: what they send, and what they do
	// with transactions, is refused with [CodeProducerFenced], so that a process
	// that was believed dead does no harm. Capability CapFencing. Default: none.
	ID string
	// Group names producers of which any may be asked about a transaction that
	// another one has left open, also after a restart. Default: this producer
	// alone. CapTransaction.
	Group string
	// Checker answers for transactions left open.
	Checker TransactionChecker
	// OnLateReply is told of replies that no Request waits for any more or ever
	// did. It may be called concurrently and must not block. Default: they are
	// counted and logged with slog, at level debug.
	OnLateReply func(*Message)
	// Interceptors are the first interceptors, in their order.
	Interceptors []SendInterceptor
}

// RetryPolicy bounds retries: pauses grow from Min to Max, doubled each time
// and spread at random by half.
type RetryPolicy struct {
	// Attempts is how often an operation is tried in all. Default 8; 1: never again.
	Attempts int
	// Min is the first pause. Default 10 ms.
	Min time.Duration
	// Max is the longest pause. Default 1 s.
	Max time.Duration
}

// ProducerOption sets something in a ProducerConfig.
type ProducerOption func(*ProducerConfig)

// WithBatch sets the most messages and bytes in one call to the driver; 0
// keeps a default.
func WithBatch(messages, bytes int) ProducerOption {
	return func(c *ProducerConfig) { c.BatchMessages, c.BatchBytes = messages, bytes }
}

// WithLinger sets how long a message may wait for others to share its batch.
func WithLinger(d time.Duration) ProducerOption { return func(c *ProducerConfig) { c.Linger = d } }

// WithBuffer sets how many messages and bytes may wait for the driver; 0 keeps
// a default. What comes on top blocks, or fails with [WithFailWhenFull].
func WithBuffer(messages, bytes int) ProducerOption {
	return func(c *ProducerConfig) { c.BufferMessages, c.BufferBytes = messages, bytes }
}

// WithFailWhenFull makes a full buffer an error instead of a wait.
func WithFailWhenFull() ProducerOption { return func(c *ProducerConfig) { c.FailWhenFull = true } }

// WithRetry sets the retries of retryable failures.
func WithRetry(p RetryPolicy) ProducerOption { return func(c *ProducerConfig) { c.Retry = p } }

// WithSendTimeout bounds one message from its hand-over to its result.
func WithSendTimeout(d time.Duration) ProducerOption {
	return func(c *ProducerConfig) { c.SendTimeout = d }
}

// WithProducerID names the producer across its lives and fences off earlier ones.
func WithProducerID(id string) ProducerOption { return func(c *ProducerConfig) { c.ID = id } }

// WithProducerGroup names producers of which any may be asked about transactions.
func WithProducerGroup(name string) ProducerOption {
	return func(c *ProducerConfig) { c.Group = name }
}

// WithTransactionChecker makes a producer that may Prepare messages.
func WithTransactionChecker(check TransactionChecker) ProducerOption {
	return func(c *ProducerConfig) { c.Checker = check }
}

// WithOnLateReply sets who is told of replies that nobody waits for.
func WithOnLateReply(f func(*Message)) ProducerOption {
	return func(c *ProducerConfig) { c.OnLateReply = f }
}

// WithSendInterceptor adds an interceptor.
func WithSendInterceptor(i SendInterceptor) ProducerOption {
	return func(c *ProducerConfig) { c.Interceptors = append(c.Interceptors, i) }
}
