package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// record is a message without its body as it lies in the database: all that a
// sender can set. What is set on send, or by the provider, is set when the
// relay sends it.
type record struct {
	Destination   string           `json:"destination"`
	QoS           om.QoS           `json:"qos,omitempty"`
	Compression   string           `json:"compression,omitempty"`
	Partition     *int32           `json:"partition,omitempty"`
	CorrelationID string           `json:"correlationId,omitempty"`
	MessageKey    string           `json:"messageKey,omitempty"`
	TraceID       string           `json:"traceId,omitempty"`
	Delay         time.Duration    `json:"delayNanoseconds,omitempty"`
	ExpireAt      time.Time        `json:"expireAt,omitzero"`
	Priority      int8             `json:"priority,omitempty"`
	Properties    map[string]value `json:"properties,omitempty"`
}

// encode returns the header of m as JSON in ASCII. A message without a
// deduplication id gets the one given.
func encode(m *om.Message, id string) (string, error) {
	r := record{
		Destination: m.Destination, QoS: m.QoS, Compression: m.Compression,
		CorrelationID: m.Ext.CorrelationID, MessageKey: m.Ext.MessageKey, TraceID: m.Ext.TraceID,
		Delay: m.Ext.Delay, ExpireAt: m.Ext.ExpireAt, Priority: m.Ext.Priority,
		Properties: values(m.Properties),
	}
	if p, set := m.Ext.Partition.Get(); set {
		r.Partition = &p
	}
	if _, set := r.Properties[om.PropertyDeduplicationID]; !set {
		r.Properties[om.PropertyDeduplicationID] = value{om.String(id)}
	}
	b, err := json.Marshal(r)
	return ascii(b), err
}

// decode returns the message of a header and a body, which it keeps.
func decode(header string, body []byte) (*om.Message, error) {
	var r record
	if err := json.Unmarshal([]byte(header), &r); err != nil {
		return nil, err
	}
	m := om.NewMessage(r.Destination, body)
	m.QoS, m.Compression = r.QoS, r.Compression
	m.Ext = om.ExtensionHeader{
		CorrelationID: r.CorrelationID, MessageKey: r.MessageKey, TraceID: r.TraceID,
		Delay: r.Delay, ExpireAt: r.ExpireAt, Priority: r.Priority,
	}
	if r.Partition != nil {
		m.Ext.Partition = om.Some(*r.Partition)
	}
	m.Properties = properties(r.Properties)
	return m, nil
}

func values(p om.Properties) map[string]value {
	vs := make(map[string]value, len(p)+1)
	for k, v := range p {
		vs[k] = value{v}
	}
	return vs
}

func properties(vs map[string]value) om.Properties {
	p := make(om.Properties, len(vs))
	for k, v := range vs {
		p[k] = v.Value
	}
	return p
}

// value is a property's value in JSON: an object of one field that is named
// after the kind, such as {"Long":7}.
type value struct{ om.Value }

func (v value) MarshalJSON() ([]byte, error) {
	var content any
	switch v.Kind() {
	case om.KindString:
		content, _ = v.Text()
	case om.KindBinary:
		content, _ = v.Bytes()
	case om.KindShort, om.KindInteger, om.KindLong:
		content, _ = v.Int64()
	case om.KindFloat, om.KindDouble:
		content = number(v.Value)
	case om.KindBool:
		content, _ = v.Bool()
	case om.KindObject:
		p, _ := v.Object()
		content = values(p)
	default:
		return nil, errors.New("a property without a value")
	}
	return json.Marshal(map[string]any{v.Kind().String(): content})
}

// number returns what keeps every bit of a floating-point number: itself, or
// its bits in hexadecimal digits where JSON has no number for it.
func number(v om.Value) any {
	f, _ := v.Float64()
	if math.IsNaN(f) || math.IsInf(f, 0) {
		bits, _ := v.FloatBits()
		return strconv.FormatUint(bits, 16)
	}
	size := 64
	if v.Kind() == om.KindFloat {
		size = 32
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, size))
}

func (v *value) UnmarshalJSON(b []byte) error {
	var one map[string]json.RawMessage
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	if len(one) != 1 {
		return fmt.Errorf("a property has %d kinds", len(one))
	}
	var err error
	for kind, content := range one {
		v.Value, err = parse(kind, content)
	}
	return err
}

// parse returns the value of a kind from its JSON.
func parse(kind string, content json.RawMessage) (om.Value, error) {
	switch kind {
	case "String":
		return parsed(content, om.String)
	case "Binary":
		return parsed(content, om.Binary)
	case "Short":
		return parsed(content, om.Short)
	case "Integer":
		return parsed(content, om.Integer)
	case "Long":
		return parsed(content, om.Long)
	case "Float", "Double":
		return parseNumber(kind, content)
	case "Bool":
		return parsed(content, om.Bool)
	case "Object":
		return parsed(content, func(vs map[string]value) om.Value { return om.Object(properties(vs)) })
	}
	return om.Value{}, fmt.Errorf("a property of the unknown kind %q", kind)
}

func parsed[T any](content json.RawMessage, make func(T) om.Value) (om.Value, error) {
	var t T
	if err := json.Unmarshal(content, &t); err != nil {
		return om.Value{}, err
	}
	return make(t), nil
}

func parseNumber(kind string, content json.RawMessage) (om.Value, error) {
	size := 64
	if kind == "Float" {
		size = 32
	}
	var hex string
	if json.Unmarshal(content, &hex) == nil {
		bits, err := strconv.ParseUint(hex, 16, size)
		if size == 32 {
			return om.FloatFromBits(uint32(bits)), err
		}
		return om.Double(math.Float64frombits(bits)), err
	}
	f, err := strconv.ParseFloat(string(content), size)
	if size == 32 {
		return om.Float(float32(f)), err
	}
	return om.Double(f), err
}

// ascii returns JSON with escapes for all that is not ASCII.
func ascii(b []byte) string {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r < utf8.RuneSelf:
			out = append(out, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return string(out)
}
