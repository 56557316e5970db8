package memory

import (
	"cmp"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// value is a value of an SQL filter: string, int64, float64, bool, nil for
// NULL and unknown, or an om.Value of a kind that SQL does not have, which
// compares with nothing.
type value any

// lookup returns the value of a property, or else of a header field by its
// name in the specification; fields that are not set are NULL.
func lookup(m *om.Message, name string) value {
	v, ok := m.Properties[name]
	if !ok {
		return field(m, name)
	}
	switch v.Kind() {
	case om.KindString:
		s, _ := v.Text()
		return s
	case om.KindShort, om.KindInteger, om.KindLong:
		n, _ := v.Int64()
		return n
	case om.KindFloat, om.KindDouble:
		f, _ := v.Float64()
		return f
	case om.KindBool:
		b, _ := v.Bool()
		return b
	}
	return v
}

func field(m *om.Message, name string) value {
	texts := map[string]string{
		"messageId": m.MessageID, "destination": m.Destination, "bornHost": m.BornHost, "compression": m.Compression,
		"correlationId": m.Ext.CorrelationID, "transactionId": m.Ext.TransactionID,
		"messageKey": m.Ext.MessageKey, "traceId": m.Ext.TraceID,
	}
	instants := map[string]time.Time{"bornTimestamp": m.BornAt, "expireTime": m.Ext.ExpireAt}
	numbers := map[string]int64{
		"qos": int64(m.QoS), "priority": int64(priorityOf(m)), "delayTime": m.Ext.Delay.Milliseconds(),
	}
	if s := texts[name]; s != "" {
		return s
	}
	if t := instants[name]; !t.IsZero() {
		return t.UnixMilli()
	}
	if n, ok := numbers[name]; ok {
		return n
	}
	return nil
}

// Logic with three values: true, false, and nil for unknown.

func not(a value) value {
	if b, ok := a.(bool); ok {
		return !b
	}
	return nil
}

func and(a, b value) value {
	switch {
	case a == false || b == false:
		return false
	case a == true && b == true:
		return true
	}
	return nil
}

func or(a, b value) value { return not(and(not(a), not(b))) }

// compare is unknown for NULL, NaN, and values that are not of one sort.
// Truth values have no order.
func compare(op string, a, b value) value {
	switch x := a.(type) {
	case bool:
		if y, ok := b.(bool); ok && op == "=" {
			return x == y
		} else if ok && op == "<>" {
			return x != y
		}
	case string:
		if y, ok := b.(string); ok {
			return ordered(op, x, y)
		}
	case int64:
		switch y := b.(type) {
		case int64:
			return ordered(op, x, y)
		case float64:
			return ordered(op, float64(x), y)
		}
	case float64:
		switch y := b.(type) {
		case int64:
			return ordered(op, x, float64(y))
		case float64:
			return ordered(op, x, y)
		}
	}
	return nil
}

func ordered[T cmp.Ordered](op string, x, y T) value {
	if x != x || y != y { // NaN
		return nil
	}
	switch op {
	case "=":
		return x == y
	case "<>":
		return x != y
	case "<":
		return x < y
	case "<=":
		return x <= y
	case ">":
		return x > y
	}
	return x >= y
}
