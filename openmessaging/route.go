package openmessaging

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
)

// Operator is a step of a route. Make one with [SetProperties] or
// [DropProperties].
type Operator struct {
	Type       OperatorType
	Properties Properties // of OperatorSet
	Keys       []string   // of OperatorDrop
}

// SetProperties returns an operator that sets properties, in place of those
// with the same keys. p is not copied.
func SetProperties(p Properties) Operator { return Operator{Type: OperatorSet, Properties: p} }

// DropProperties returns an operator that removes properties.
func DropProperties(keys ...string) Operator { return Operator{Type: OperatorDrop, Keys: keys} }
