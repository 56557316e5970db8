package openmessaging

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind is the type of a [Value]: the property types of the specification (§1)
// plus Boolean, which the Java API has (C13).
type Kind uint8

// The kinds of a property value. The zero Value has KindInvalid.
const (
	KindInvalid Kind = iota
	KindString       // valid UTF-8
	KindBinary       // any bytes
	KindShort        // 16-bit signed
	KindInteger      // 32-bit signed
	KindLong         // 64-bit signed
	KindFloat        // IEEE 754 binary32
	KindDouble       // IEEE 754 binary64 (C14)
	KindBool
	KindObject // nested Properties; capability CapNested
)

var kindNames = [...]string{"Invalid", "String", "Binary", "Short", "Integer", "Long", "Float", "Double", "Bool", "Object"}

// String returns the specification's name of the kind, for example "Short".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// Value is an immutable typed property value. The kind and every bit of the
// value reach the consumer as they were set (R001, R002). Values are compared
// with [Value.Equal].
type Value struct {
	kind Kind
	num  uint64
	str  string
	obj  Properties
}

// String makes a value of KindString. The text must be valid UTF-8, or sending
// the message fails with the message-format class (G15).
func String(s string) Value { return Value{kind: KindString, str: s} }

// Binary makes a value of KindBinary; b is copied.
func Binary(b []byte) Value { return Value{kind: KindBinary, str: string(b)} }

// BinaryString makes a value of KindBinary from the bytes of s, without a copy.
func BinaryString(s string) Value { return Value{kind: KindBinary, str: s} }

// Short makes a value of KindShort.
func Short(n int16) Value { return Value{kind: KindShort, num: uint64(n)} }

// Integer makes a value of KindInteger.
func Integer(n int32) Value { return Value{kind: KindInteger, num: uint64(n)} }

// Long makes a value of KindLong.
func Long(n int64) Value { return Value{kind: KindLong, num: uint64(n)} }

// Float makes a value of KindFloat; every bit pattern is kept, NaN included (G17).
func Float(f float32) Value { return Value{kind: KindFloat, num: uint64(math.Float32bits(f))} }

// FloatFromBits makes a value of KindFloat from its IEEE 754 bit pattern.
func FloatFromBits(bits uint32) Value { return Value{kind: KindFloat, num: uint64(bits)} }

// Double makes a value of KindDouble; every bit pattern is kept, NaN included (G17).
func Double(f float64) Value { return Value{kind: KindDouble, num: math.Float64bits(f)} }

// Bool makes a value of KindBool (G16).
func Bool(b bool) Value {
	v := Value{kind: KindBool}
	if b {
		v.num = 1
	}
	return v
}

// Object makes a value of KindObject that holds a deep copy of p (R006).
// Drivers without CapNested refuse it as unsupported.
func Object(p Properties) Value { return Value{kind: KindObject, obj: p.Clone()} }

// Kind reports the kind of v.
func (v Value) Kind() Kind { return v.kind }

// Text returns the string of a KindString value; ok is false for other kinds.
func (v Value) Text() (s string, ok bool) {
	if v.kind != KindString {
		return "", false
	}
	return v.str, true
}

// Bytes returns a copy of a KindBinary value; ok is false for other kinds.
func (v Value) Bytes() (b []byte, ok bool) {
	if v.kind != KindBinary {
		return nil, false
	}
	return []byte(v.str), true
}

// RawBytes returns the bytes of a KindBinary value as a string, without a copy;
// ok is false for other kinds.
func (v Value) RawBytes() (s string, ok bool) {
	if v.kind != KindBinary {
		return "", false
	}
	return v.str, true
}

// Int64 returns the number of a KindShort, KindInteger or KindLong value; ok
// is false for other kinds.
func (v Value) Int64() (n int64, ok bool) {
	switch v.kind {
	case KindShort, KindInteger, KindLong:
		return int64(v.num), true
	}
	return 0, false
}

// Float64 returns the number of a KindFloat or KindDouble value; ok is false
// for other kinds.
func (v Value) Float64() (f float64, ok bool) {
	switch v.kind {
	case KindFloat:
		return float64(math.Float32frombits(uint32(v.num))), true
	case KindDouble:
		return math.Float64frombits(v.num), true
	}
	return 0, false
}

// FloatBits returns the IEEE 754 bit pattern of a KindFloat (32 bits) or
// KindDouble (64 bits) value; ok is false for other kinds. Codecs use it to
// keep signalling NaNs, which a conversion between float types would alter.
func (v Value) FloatBits() (bits uint64, ok bool) {
	switch v.kind {
	case KindFloat, KindDouble:
		return v.num, true
	}
	return 0, false
}

// Bool returns the truth value of a KindBool value; ok is false for other kinds.
func (v Value) Bool() (b, ok bool) {
	if v.kind != KindBool {
		return false, false
	}
	return v.num == 1, true
}

// Object returns a deep copy of a KindObject value; ok is false for other kinds.
func (v Value) Object() (p Properties, ok bool) {
	if v.kind != KindObject {
		return nil, false
	}
	return v.obj.Clone(), true
}

// String formats the value for people; it does not tell the kind.
func (v Value) String() string {
	switch v.kind {
	case KindString:
		return v.str
	case KindBinary:
		return fmt.Sprintf("%x", v.str)
	case KindShort, KindInteger, KindLong:
		return strconv.FormatInt(int64(v.num), 10)
	case KindFloat:
		f, _ := v.Float64()
		return strconv.FormatFloat(f, 'g', -1, 32)
	case KindDouble:
		f, _ := v.Float64()
		return strconv.FormatFloat(f, 'g', -1, 64)
	case KindBool:
		return strconv.FormatBool(v.num == 1)
	case KindObject:
		return fmt.Sprint(map[string]Value(v.obj))
	}
	return "<invalid>"
}

// Equal reports whether both values have the same kind and the same bits.
func (v Value) Equal(w Value) bool {
	return v.kind == w.kind && v.num == w.num && v.str == w.str && v.obj.Equal(w.obj)
}

// validate refuses what no driver may store; path names the property.
func (v Value) validate(path string, depth int) error {
	switch v.kind {
	case KindInvalid:
		return fmt.Errorf("property %q has no value; make one with openmessaging.String, Long, …", path)
	case KindString:
		if !utf8.ValidString(v.str) {
			return fmt.Errorf("the string of property %q is not valid UTF-8; use openmessaging.Binary for bytes", path)
		}
	case KindObject:
		if depth >= MaxNesting {
			return fmt.Errorf("property %q is nested more than %d deep", path, MaxNesting)
		}
		for k, w := range v.obj {
			if !utf8.ValidString(k) {
				return fmt.Errorf("a key in property %q is not valid UTF-8", path)
			}
			if err := w.validate(path+"."+k, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// MaxNesting is how deep properties may be nested, the message's own counted:
// MaxNesting-1 Object values in each other are accepted, one more is refused
// with the message-format class.
const MaxNesting = 16

// Properties are the typed application properties of a message, and the
// attributes of an access point. Keys are any valid UTF-8 text and are kept
// exactly (R005). A nil map is an empty one for reading. Like every Go map it
// must not be written by two goroutines at once.
type Properties map[string]Value

// GetString returns the text under key, or def when the key is absent or of
// another kind (R007).
func (p Properties) GetString(key, def string) string {
	if s, ok := p[key].Text(); ok {
		return s
	}
	return def
}

// GetBytes returns a copy of the bytes under key, or def when the key is
// absent or of another kind (R007).
func (p Properties) GetBytes(key string, def []byte) []byte {
	if b, ok := p[key].Bytes(); ok {
		return b
	}
	return def
}

// GetInt64 returns the Short, Integer or Long under key, or def when the key
// is absent or of another kind (R007).
func (p Properties) GetInt64(key string, def int64) int64 {
	if n, ok := p[key].Int64(); ok {
		return n
	}
	return def
}

// GetFloat64 returns the Float or Double under key, or def when the key is
// absent or of another kind (R007).
func (p Properties) GetFloat64(key string, def float64) float64 {
	if f, ok := p[key].Float64(); ok {
		return f
	}
	return def
}

// GetBool returns the truth value under key, or def when the key is absent or
// of another kind (R007).
func (p Properties) GetBool(key string, def bool) bool {
	if b, ok := p[key].Bool(); ok {
		return b
	}
	return def
}

// Keys returns the keys in ascending order.
func (p Properties) Keys() []string { return slices.Sorted(maps.Keys(p)) }

// Size returns about how many bytes the properties take: their keys, texts and
// binary data, and 8 for each other value. Limits and batches are measured by it.
func (p Properties) Size() (n int) {
	if len(p) == 0 {
		return 0 // cheaper than a range over nothing
	}
	for k, v := range p {
		n += len(k)
		switch v.kind {
		case KindString, KindBinary:
			n += len(v.str)
		case KindObject:
			n += v.obj.Size()
		default:
			n += 8
		}
	}
	return n
}

// Clone returns a copy that shares no memory with p. The clone of nil is nil.
func (p Properties) Clone() Properties {
	if p == nil {
		return nil
	}
	c := make(Properties, len(p))
	for k, v := range p {
		v.str = strings.Clone(v.str)
		v.obj = v.obj.Clone()
		c[strings.Clone(k)] = v
	}
	return c
}

// Equal reports whether both hold the same keys with equal values; nil equals
// empty.
func (p Properties) Equal(q Properties) bool { return maps.EqualFunc(p, q, Value.Equal) }
