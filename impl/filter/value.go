package filter

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// tri is a truth value of SQL. AND is the smaller, OR the larger of two, NOT
// the negative.
type tri int8

const (
	no      tri = -1
	unknown tri = 0
	yes     tri = 1
)

func truth(b bool) tri {
	if b {
		return yes
	}
	return no
}

func (t tri) String() string { return [...]string{"false", "unknown", "true"}[t+1] }

// valueKind is the type of a value in expressions.
type valueKind uint8

const (
	null        valueKind = iota
	boolean               // in num
	exact                 // in num
	approximate           // in float
	characters            // in text
	other                 // binary or an object: not null, and compares with nothing
)

// value is the value of a part of an expression.
type value struct {
	kind  valueKind
	min   bool // 1 << 63, which becomes a number by a minus only
	num   int64
	float float64
	text  string
}

func boolOf(t tri) value {
	switch t {
	case yes:
		return value{kind: boolean, num: 1}
	case no:
		return value{kind: boolean}
	}
	return value{}
}

// tri returns the truth of a boolean, unknown for everything else.
func (v value) tri() tri {
	if v.kind != boolean {
		return unknown
	}
	return truth(v.num != 0)
}

// valueOf converts a property.
func valueOf(v om.Value) value {
	switch v.Kind() {
	case om.KindString:
		s, _ := v.Text()
		return value{kind: characters, text: s}
	case om.KindShort, om.KindInteger, om.KindLong:
		n, _ := v.Int64()
		return value{kind: exact, num: n}
	case om.KindFloat:
		bits, _ := v.FloatBits()
		return value{kind: approximate, float: float64(math.Float32frombits(uint32(bits)))}
	case om.KindDouble:
		bits, _ := v.FloatBits()
		return value{kind: approximate, float: math.Float64frombits(bits)}
	case om.KindBool:
		b, _ := v.Bool()
		return boolOf(truth(b))
	case om.KindInvalid:
		return value{}
	}
	return value{kind: other}
}

func (v value) String() string {
	switch v.kind {
	case boolean:
		return strings.ToUpper(v.tri().String())
	case exact:
		return strconv.FormatInt(v.num, 10)
	case approximate:
		s := strconv.FormatFloat(v.float, 'g', -1, 64)
		if strings.Trim(s, "-0123456789") == "" {
			s += ".0"
		}
		return s
	case characters:
		return "'" + strings.ReplaceAll(v.text, "'", "''") + "'"
	case other:
		return "(binary or object)"
	}
	return "NULL"
}

func (v value) isNumber() bool { return v.kind == exact || v.kind == approximate }

func (v value) asFloat() float64 {
	if v.kind == exact {
		return float64(v.num)
	}
	return v.float
}

// toNumber is the number that a text stands for; null if it is none.
func (v value) toNumber() value {
	if v.kind != characters {
		return v
	}
	s := strings.TrimSpace(v.text)
	if len(s) == 0 || strings.Trim(s, "0123456789+-.eE") != "" {
		return value{} // strconv would allocate an error
	}
	if strings.Trim(s[1:], "0123456789") == "" {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return value{kind: exact, num: n}
		}
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return value{kind: approximate, float: f}
	}
	return value{}
}

// toBool is the truth value that a text stands for; null if it is none.
func (v value) toBool() value {
	switch {
	case v.kind != characters:
		return v
	case strings.EqualFold(v.text, "true"):
		return boolOf(yes)
	case strings.EqualFold(v.text, "false"):
		return boolOf(no)
	}
	return value{}
}

// convert makes two values comparable where one is a text and the other is not.
func convert(a, b value) (value, value) {
	switch {
	case a.kind == characters && b.isNumber():
		return a.toNumber(), b
	case a.isNumber() && b.kind == characters:
		return a, b.toNumber()
	case a.kind == characters && b.kind == boolean:
		return a.toBool(), b
	case a.kind == boolean && b.kind == characters:
		return a, b.toBool()
	}
	return a, b
}

// compare compares two values: -1, 0 or 1, or 2 for numbers of which one is
// NaN. known is false for values that do not compare.
func compare(a, b value) (order int, known bool) {
	switch {
	case a.kind == exact && b.kind == exact:
		return cmpOrdered(a.num, b.num), true
	case a.isNumber() && b.isNumber():
		return compareMixed(a, b), true
	case a.kind != b.kind:
		return 0, false
	case a.kind == characters:
		if a.text == b.text {
			return 0, true
		}
		return 2, true
	case a.kind == boolean:
		if a.num == b.num {
			return 0, true
		}
		return 2, true
	}
	return 0, false
}

// compareMixed compares numbers of which one is approximate, without rounding
// an exact one.
func compareMixed(a, b value) int {
	x, y := a.asFloat(), b.asFloat()
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	case x != y:
		return 2
	case a.kind == exact && math.Abs(x) >= 1<<53:
		return compareExact(a.num, y)
	case b.kind == exact && math.Abs(y) >= 1<<53:
		return -compareExact(b.num, x)
	}
	return 0
}

// compareExact compares where rounding n gives f.
func compareExact(n int64, f float64) int {
	if f >= 1<<63 {
		return -1
	}
	return cmpOrdered(n, int64(f))
}

func cmpOrdered[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// arithmetic calculates as Java does, except that an exact result that does
// not fit, and a division of exact numbers by 0, are unknown.
func arithmetic(op kind, a, b value) value {
	if a.kind == exact && b.kind == exact {
		n, ok := exactly(op, a.num, b.num)
		if !ok {
			return value{}
		}
		return value{kind: exact, num: n}
	}
	if !a.isNumber() || !b.isNumber() {
		return value{}
	}
	x, y := a.asFloat(), b.asFloat()
	switch op {
	case "+":
		x += y
	case "-":
		x -= y
	case "*":
		x *= y
	case "/":
		x /= y
	}
	return value{kind: approximate, float: x}
}

func exactly(op kind, a, b int64) (n int64, ok bool) {
	switch op {
	case "+":
		n = a + b
		return n, (n > a) == (b > 0)
	case "-":
		n = a - b
		return n, (n < a) == (b > 0)
	case "*":
		if a == 0 || b == 0 {
			return 0, true
		}
		n = a * b
		return n, n/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64)
	case "/":
		if b == 0 || a == math.MinInt64 && b == -1 {
			return 0, false
		}
		return a / b, true
	}
	panic(fmt.Sprintf("bug: no operator %q", op))
}
