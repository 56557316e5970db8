package stdio

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// value is a property value in the form {"t":kind,"v":text}. Every bit of it
// survives: numbers are text, floats the hexadecimal digits of their bits.
type value struct{ om.Value }

type properties map[string]value

type typed struct {
	T string          `json:"t"`
	V json.RawMessage `json:"v"`
}

var kindNames = map[om.Kind]string{
	om.KindString: "string", om.KindBinary: "binary", om.KindShort: "short", om.KindInteger: "integer",
	om.KindLong: "long", om.KindFloat: "float", om.KindDouble: "double", om.KindBool: "bool", om.KindObject: "object",
}

// MarshalJSON implements json.Marshaler.
func (v value) MarshalJSON() ([]byte, error) {
	var told any
	switch v.Kind() {
	case om.KindString:
		told, _ = v.Text()
	case om.KindBinary:
		told, _ = v.Bytes()
	case om.KindShort, om.KindInteger, om.KindLong:
		n, _ := v.Int64()
		told = strconv.FormatInt(n, 10)
	case om.KindFloat:
		bits, _ := v.FloatBits()
		told = fmt.Sprintf("%08x", bits)
	case om.KindDouble:
		bits, _ := v.FloatBits()
		told = fmt.Sprintf("%016x", bits)
	case om.KindBool:
		told, _ = v.Bool()
	case om.KindObject:
		p, _ := v.Object()
		told = toWire(p)
	default:
		return nil, errors.New("a property has no value")
	}
	raw, err := json.Marshal(told)
	if err != nil {
		return nil, err
	}
	return json.Marshal(typed{kindNames[v.Kind()], raw})
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *value) UnmarshalJSON(b []byte) error {
	var w typed
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	bad := func() error { return fmt.Errorf("%.120q is no property value of type %.20q", w.V, w.T) }
	switch w.T {
	case "bool":
		var t *bool
		if json.Unmarshal(w.V, &t) != nil || t == nil {
			return bad()
		}
		v.Value = om.Bool(*t)
		return nil
	case "object":
		var p properties
		if err := json.Unmarshal(w.V, &p); err != nil {
			return err
		}
		if p == nil {
			return bad()
		}
		v.Value = om.Object(p.value())
		return nil
	}
	var text *string
	if json.Unmarshal(w.V, &text) != nil || text == nil {
		return bad()
	}
	var err error
	if v.Value, err = parseValue(w.T, *text); err != nil {
		return bad()
	}
	return nil
}

// parseValue parses the kinds that are told as text.
func parseValue(kind, s string) (om.Value, error) {
	switch kind {
	case "string":
		return om.String(s), nil
	case "binary":
		b, err := base64.StdEncoding.DecodeString(s)
		return om.BinaryString(string(b)), err
	case "short":
		n, err := strconv.ParseInt(s, 10, 16)
		return om.Short(int16(n)), err
	case "integer":
		n, err := strconv.ParseInt(s, 10, 32)
		return om.Integer(int32(n)), err
	case "long":
		n, err := strconv.ParseInt(s, 10, 64)
		return om.Long(n), err
	case "float":
		bits, err := parseBits(s, 8)
		return om.FloatFromBits(uint32(bits)), err
	case "double":
		bits, err := parseBits(s, 16)
		return om.Double(math.Float64frombits(bits)), err
	}
	return om.Value{}, errors.New("unknown type")
}

func parseBits(s string, digits int) (uint64, error) {
	if len(s) != digits {
		return 0, errors.New("wrong number of digits")
	}
	return strconv.ParseUint(s, 16, 4*digits)
}

func toWire(p om.Properties) properties {
	w := make(properties, len(p))
	for k, v := range p {
		w[k] = value{v}
	}
	return w
}

func (w properties) value() om.Properties {
	p := make(om.Properties, len(w))
	for k, v := range w {
		p[k] = v.Value
	}
	return p
}

// checkText refuses text that JSON cannot carry. The portable client does so
// before; a caller of the driver may not.
func checkText(p om.Properties) error {
	for k, v := range p {
		if s, _ := v.Text(); !utf8.ValidString(k) || !utf8.ValidString(s) {
			return fmt.Errorf("the property %q is not valid UTF-8", k)
		}
		if v.Kind() == om.KindInvalid {
			return fmt.Errorf("the property %q has no value", k)
		}
		if o, ok := v.Object(); ok {
			if err := checkText(o); err != nil {
				return err
			}
		}
	}
	return nil
}
