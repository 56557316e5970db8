package openmessaging

import "time"

// RouteConfig describes a route: every message of the source that matches is
// copied to the target, once. Copies keep message id, born fields, key, body
// and, unless an operator says otherwise, properties; those of one partition
// and key keep their order. Several routes may have the same source.
type RouteConfig struct {
	// Name names the route; names are unique in a messaging system.
	Name string
	// Source and Target are queues, "queue" or "namespace://queue".
	Source string
	Target string
	// Filter selects messages of the source; the zero Filter takes all.
	Filter Filter
	// Start is where in the source the route begins. Default Begin: what is
	// stored there comes along. End takes only what is sent later.
	Start Position
	// Operators change the copies, one after the other.
	Operators []Operator
}

// OperatorType names what an [Operator] does.
type OperatorType string

// The types of operators.
const (
	OperatorSet  OperatorType = "set"  // sets properties
	OperatorDrop OperatorType = "drop" // drops properties
	// OperatorDeduplicate leaves out what was copied before.
	OperatorDeduplicate OperatorType = "deduplicate"
	// OperatorJoin makes one message of several.
	OperatorJoin OperatorType = "join"
)

// Operator is a step of a route. Make one with [SetProperties],
// [DropProperties], [Deduplicate] or [Join].
type Operator struct {
	Type       OperatorType
	Properties Properties    // of OperatorSet
	Keys       []string      // of OperatorDrop and OperatorDeduplicate
	Window     time.Duration // of OperatorDeduplicate and OperatorJoin
	Count      int           // of OperatorJoin
}

// SetProperties returns an operator that sets properties, in place of those
// with the same keys. p is not copied.
func SetProperties(p Properties) Operator { return Operator{Type: OperatorSet, Properties: p} }

// DropProperties returns an operator that removes properties.
func DropProperties(keys ...string) Operator { return Operator{Type: OperatorDrop, Keys: keys} }

// Deduplicate returns an operator that leaves a message out when one with the
// same value was copied in the time of window before, by the times at which they
// were stored. The value is that of a property, or of a header field by its
// name in filters, such as $messageKey; messages without it pass. It looks at
// the message as it was sent, whatever operators stand before. Providers bound
// the window and how many values they remember.
func Deduplicate(name string, window time.Duration) Operator {
	return Operator{Type: OperatorDeduplicate, Keys: []string{name}, Window: window}
}

// Join returns an operator that makes one message of count messages with the
// same correlation id: the header is that of the first, the properties are
// those of all, later ones in place of earlier ones, and the body is a
// MessagePack array of the bodies as binary data. Messages that are still too
// few when the first was stored window ago are copied as they are, and so are
// messages without a correlation id. An extended operator: providers that have
// routes need not have it.
func Join(count int, window time.Duration) Operator {
	return Operator{Type: OperatorJoin, Count: count, Window: window}
}
