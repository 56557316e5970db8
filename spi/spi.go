package spi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Driver opens connections to one kind of messaging system.
type Driver interface {
	// Info describes the driver. It does no I/O.
	Info() Info

	// Open connects to the system that cfg.URL names and returns when it is
	// known to be there; it may block until ctx ends. It refuses URL options
	// that it does not know with CodeMalformedURL, so that a mistyped option
	// never passes silently. The connection outlives ctx.
	Open(ctx context.Context, cfg Config) (Conn, error)
}

// Info describes a driver.
type Info struct {
	// Name is the driver's name in URLs.
	Name string
	// Version is the driver's own version.
	Version string
	// SpecVersion is the specification version it targets, X.Y.Z or X.Y.Z-pre
	// (R050). Drivers of this module's contract give openmessaging.SpecVersion.
	SpecVersion string
}

// Config is what Open gets.
type Config struct {
	// URL is the parsed access-point URL.
	URL om.URL
	// Credentials returns the secrets to connect with; nil when the user gave
	// none. Drivers ask again for each new connection, so that they can rotate.
	Credentials func(context.Context) (Credentials, error)
	// Logger gets what concerns no single call; never nil. Secrets and message
	// bodies are not logged.
	Logger *slog.Logger
}

// Secrets asks for the credentials. They are empty where the user gave none, and
// name the URL's account where they name no other and bring no token.
func (c Config) Secrets(ctx context.Context) (s Credentials, err error) {
	if c.Credentials != nil {
		s, err = c.Credentials(ctx)
	}
	if s.AccountID == "" && s.Token == "" {
		s.AccountID = c.URL.Account
	}
	return s, err
}

// SecretsWithin is Secrets for client libraries that ask for them by a function
// without context and error: it blocks up to limit, and logs an error.
func (c Config) SecretsWithin(limit time.Duration) Credentials {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s, err := c.Secrets(ctx)
	if err != nil {
		c.Logger.Warn("no credentials", "url", c.URL.String(), "error", err)
	}
	return s
}

// Credentials are the secrets of an account. Printed or logged they show the
// AccountID only (G39).
type Credentials struct {
	AccountID  string
	AccountKey string
	Token      string
}

// Format writes the AccountID, whatever the verb.
func (c Credentials) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.AccountID) }

// LogValue returns the AccountID.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.AccountID) }

// Conn is an open connection.
type Conn interface {
	// Capabilities returns what the driver declares beyond the core. It is the
	// same for the whole life of the connection and does no I/O.
	Capabilities() om.Capabilities

	// NewSender returns a sender for any number of queues.
	NewSender(ctx context.Context, cfg SenderConfig) (Sender, error)

	// NewReceiver returns a receiver of one queue for one consumer group. A
	// queue that is not there gives the destination class (R065).
	NewReceiver(ctx context.Context, cfg ReceiverConfig) (Receiver, error)

	// Close ends all senders and receivers, gives back what was received and
	// not acknowledged, and releases everything. It blocks until that is done
	// or ctx ends.
	Close(ctx context.Context) error
}

// SenderConfig is what NewSender gets.
type SenderConfig struct {
	// ProducerID fences off the senders that were made with it before: what they
	// send, prepare, commit or roll back is refused with CodeProducerFenced when
	// NewSender has returned, durably with CapPersistent, and their Checker is not
	// asked any more. Empty without one. Only drivers with CapFencing see one.
	ProducerID string
	// Group names the senders of which any with a Checker may be asked about a
	// transaction that one of them has left open; empty for this sender alone.
	Group string
	// Checker answers for transactions left open; nil without one. Only
	// drivers with CapTransaction see one, and Group.
	Checker om.TransactionChecker
}

// Sender sends messages.
type Sender interface {
	// Send sends messages to the queues in their headers and returns one
	// outcome each, in their order. It returns when all are accepted and, with
	// CapPersistent, durable, or have failed (R051). Messages of one queue and
	// key, or of one queue and explicit partition, keep their order.
	//
	// The portable client has validated the messages and set Version, BornAt
	// (UTC, milliseconds) and BornHost. The driver chooses the message id:
	// MessageID is empty, except on a message that is sent again after an
	// outcome that named one (see Outcome). The driver refuses header fields outside its capabilities, message by message, with
	// the unsupported class (R028).
	//
	// The error is for what concerns no single message, such as a lost
	// connection; then the outcomes are nil and any of the messages may or may
	// not have been stored. The slice is never empty.
	Send(ctx context.Context, ms []*om.Message) ([]Outcome, error)

	// Close releases the sender.
	Close(ctx context.Context) error
}

// Outcome is what became of one message.
type Outcome struct {
	om.SendResult
	// Err is nil when the message was accepted. A driver that can recognise a
	// message by its id sets MessageID beside a retryable Err: the portable
	// client hands the message over with that id when it sends it again, and
	// the driver stores it once.
	Err error
}

// ReceiverConfig is what NewReceiver gets.
type ReceiverConfig struct {
	// Queue is the queue's name, "queue" or "namespace://queue".
	Queue string
	// Group is the consumer group. Each message goes to one receiver of a
	// group (R097); groups are independent of each other.
	Group string
	// Start is where the group starts if the queue does not know it yet.
	Start om.Position
	// Filter lets only matching messages reach the group; zero takes all. Only
	// drivers with CapFilter see one. A malformed expression gives 1418, and
	// so does a filter that is not that of the group's other receivers.
	Filter om.Filter
	// Lease is how long a message may stay unacknowledged before it is
	// delivered again.
	Lease time.Duration
	// Member makes the receiver a member of an assigned group; nil shares the
	// group. Only drivers with CapAssigned see one.
	Member *MemberConfig
}

// MemberConfig is a member of an assigned group.
type MemberConfig struct {
	om.Member
	// Strategy says who gets what. The driver runs it where its system wants it.
	Strategy om.AllocationStrategy
	// Session is for how long the member may be silent before it is put out.
	Session time.Duration
}

// Receiver receives messages of one queue for one group.
type Receiver interface {
	// Receive blocks until at least one message is there and returns up to max
	// (at least 1). It never returns an empty slice without an error. When ctx
	// ends first it returns ctx's error and no message is lost (R068).
	// Messages of one partition come in ascending order of offset, redelivered
	// ones excepted.
	Receive(ctx context.Context, max int) ([]Received, error)

	// Ack acknowledges deliveries: their messages are not delivered to the
	// group again (R062). It returns when that is durable, with CapPersistent; a
	// driver whose system writes progress later than it confirms it documents
	// by how much, and what a kill in between makes of it: a redelivery.
	// The result is nil when all succeeded, else one error or nil for each
	// receipt. A receipt acknowledged before is no error (G22); one whose
	// lease has ended gives CodeStaleReceipt (G23). The error is for what
	// concerns no single receipt.
	Ack(ctx context.Context, receipts []Receipt) ([]error, error)

	// Close gives back what was received and not acknowledged, for
	// redelivery, and releases the receiver (R061).
	Close(ctx context.Context) error
}

// Receipt names one delivery to the driver that made it. The portable client
// keeps it and gives it back unchanged; it must stay valid until the receiver
// is closed.
type Receipt any

// Received is one delivery.
type Received struct {
	// Message is complete: version, header, extension header as far as the
	// driver has it, properties (never nil), body. It belongs to the caller;
	// messages of one call may share a buffer.
	Message *om.Message
	// Receipt settles the delivery.
	Receipt Receipt
	// Partition and Offset tell where the message lies, -1 where unknown.
	Partition int32
	Offset    int64
	// LeaseUntil is when the message will be delivered again if it is not
	// acknowledged; zero where the driver does not know.
	LeaseUntil time.Time
}
