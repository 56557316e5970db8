package openmessaging

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// QoS is the quality of service a message asks for, by the specification's
// numbers (§2.3.4, C4). MQTT numbers them differently: use the names.
type QoS int8

// Qualities of service.
const (
	AtLeastOnce QoS = 0 // delivered at least once; the default (R018, R019)
	AtMostOnce  QoS = 1 // never delivered twice (capability CapQoS1, R020)
	// ExactlyOnce takes effect once (capability CapQoS2, R021): a Send stores the
	// message once however often it is tried on the way, and only the last
	// delivery can be acknowledged. A Send that fails by timeout may or may not
	// have stored it, and a handler whose acknowledgement is refused must undo
	// what it did.
	ExactlyOnce QoS = 2
)

// String returns the name of the quality, for example "at-least-once".
func (q QoS) String() string {
	switch q {
	case AtLeastOnce:
		return "at-least-once"
	case AtMostOnce:
		return "at-most-once"
	case ExactlyOnce:
		return "exactly-once"
	}
	return fmt.Sprintf("QoS(%d)", int8(q))
}

// Header holds the message's required attributes (§2.3). The fields marked
// "set on send" are overwritten by the provider: a caller's value is ignored.
type Header struct {
	// MessageID names the message uniquely. Set on send (R012–R015, C7).
	MessageID string
	// Destination is the queue the message goes to, and on receipt the queue
	// it resides in, as "queue" in the access point's namespace or as
	// "namespace://queue". Required (R023, R024).
	Destination string
	// BornAt is when the message was sent, to the millisecond, UTC. Set on
	// send (R016).
	BornAt time.Time
	// BornHost is the host the message was sent from. Set on send (R017, C8).
	BornHost string
	// QoS is the asked quality of service; the zero value is AtLeastOnce.
	QoS QoS
	// Compression names how the body is to be compressed on its way, in lower
	// case ("gzip", "zstd"; C6). Empty means not at all. Capability
	// CapCompression (R022).
	Compression string
}

// ExtensionHeader holds the optional attributes of the specification's
// extension header. A driver refuses fields whose capability it does not
// declare (R028); the zero value of every field means unset.
type ExtensionHeader struct {
	// Partition asks for a partition of the queue, and on receipt tells it
	// (R042, G20).
	Partition Opt[int32]
	// CorrelationID ties messages together, for example a reply to its request.
	CorrelationID string
	// TransactionID names the transaction of a prepared message. Set by the
	// provider (R038).
	TransactionID string
	// StoredAt is when the provider stored the message. Set by the provider (R029).
	StoredAt time.Time
	// StoreHost is where the provider stored the message. Set by the provider (R030).
	StoreHost string
	// MessageKey groups messages: equal keys share a partition (R033).
	MessageKey string
	// TraceID is carried for tracing.
	TraceID string
	// Delay postpones the first delivery, counted from BornAt (R034). Not negative.
	Delay time.Duration
	// ExpireAt is the instant from which the message is not delivered any more
	// (R036, C1); see ExpireAfter. It must lie in the future on send (C2).
	ExpireAt time.Time
	// Priority is 1 (lowest) to 10; 0 is unset and counts as 5. Values outside
	// are ignored (R040).
	Priority int8
	// DeliveryCount is 1 on the first delivery and grows by one with each
	// redelivery (R039, C15). Set by the provider; 0 where it does not count.
	DeliveryCount int
}

// ExpireAfter returns the ExpireAt of a message that expires d from now.
func ExpireAfter(d time.Duration) time.Time { return time.Now().Add(d) }

// Message is what producers send and consumers receive: version, header,
// extension header, properties and body (§2.2, C19). It is a plain value; a
// message must not be changed while a call that was given it runs.
type Message struct {
	// Version is the specification version the message follows. Set on send (R008).
	Version string
	Header
	// Ext is the extension header.
	Ext ExtensionHeader
	// Properties are the application's typed properties; never nil on receipt.
	Properties Properties
	// Body is the payload, kept byte for byte (R010). It may be empty (R011).
	Body []byte
}

// NewMessage returns a message for a queue with empty properties. The body is
// not copied.
func NewMessage(queue string, body []byte) *Message {
	return &Message{Header: Header{Destination: queue}, Properties: Properties{}, Body: body}
}

// Clone returns a copy that shares no memory with m. Messages received
// together share one buffer, so clone what you keep long while dropping the rest.
func (m *Message) Clone() *Message {
	c := *m
	for _, s := range [...]*string{&c.Version, &c.MessageID, &c.Destination, &c.BornHost, &c.Compression,
		&c.Ext.CorrelationID, &c.Ext.TransactionID, &c.Ext.StoreHost, &c.Ext.MessageKey, &c.Ext.TraceID} {
		*s = strings.Clone(*s)
	}
	c.Properties = m.Properties.Clone()
	c.Body = bytes.Clone(m.Body)
	return &c
}

// Validate checks what every driver demands and returns nil or an *[Error] with
// operation op: a destination (R023, 1404), a known QoS (G18, 1418), no
// negative delay (G19, 1418), an expiry after now (C2, 1418), and valid UTF-8
// in names and properties (G15, message-format class). Package oms calls it
// before a driver sees the message.
func (m *Message) Validate(op string, now time.Time) error {
	if m.Destination == "" {
		return NewError(CodeDestinationNotFound, op, "", "the message has no destination; set Header.Destination to a queue's name")
	}
	bad := func(format string, args ...any) error {
		return NewError(CodeBadParameter, op, m.Destination, format, args...)
	}
	switch {
	case m.QoS < AtLeastOnce || m.QoS > ExactlyOnce:
		return bad("QoS %d is not one of 0 (at least once), 1 (at most once), 2 (exactly once)", int8(m.QoS))
	case m.Ext.Delay < 0:
		return bad("the delay %v is negative", m.Ext.Delay)
	case !m.Ext.ExpireAt.IsZero() && !m.Ext.ExpireAt.After(now):
		return bad("ExpireAt %v is not in the future; leave it zero for a message that never expires", m.Ext.ExpireAt)
	}
	if p, ok := m.Ext.Partition.Get(); ok && p < 0 {
		return bad("partition %d is negative", p)
	}
	malformed := func(format string, args ...any) error {
		return NewError(CodeMalformedMessage, op, m.Destination, format, args...)
	}
	for _, s := range [...]string{m.Destination, m.Compression, m.Ext.CorrelationID, m.Ext.MessageKey, m.Ext.TraceID} {
		if s != "" && !utf8.ValidString(s) {
			return malformed("header text %q is not valid UTF-8", s)
		}
	}
	if len(m.Properties) == 0 {
		return nil // ranging over an empty map costs more than all of the above
	}
	for k, v := range m.Properties {
		if !utf8.ValidString(k) {
			return malformed("property key %q is not valid UTF-8", k)
		}
		if err := v.validate(k, 1); err != nil {
			return malformed("%w", err)
		}
	}
	return nil
}

// Opt is an optional value, for fields whose zero is a value of its own. The
// zero Opt is unset; encoding/json's omitzero leaves it out.
type Opt[T any] struct {
	value T
	set   bool
}

// Some returns a set Opt.
func Some[T any](v T) Opt[T] { return Opt[T]{v, true} }

// Get returns the value and whether it is set.
func (o Opt[T]) Get() (T, bool) { return o.value, o.set }

// IsZero reports whether o is unset.
func (o Opt[T]) IsZero() bool { return !o.set }
