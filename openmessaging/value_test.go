package openmessaging_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	. "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestR002_numeric_extremes(t *testing.T) {
	for _, n := range []int64{math.MinInt64, math.MinInt32, math.MinInt16, -1, 0, 1, math.MaxInt16, math.MaxInt32, math.MaxInt64} {
		if got, ok := Long(n).Int64(); got != n || !ok {
			t.Errorf("Long(%d) = %d %v", n, got, ok)
		}
		if got, ok := Integer(int32(n)).Int64(); got != int64(int32(n)) || !ok {
			t.Errorf("Integer(%d) = %d %v", int32(n), got, ok)
		}
		if got, ok := Short(int16(n)).Int64(); got != int64(int16(n)) || !ok {
			t.Errorf("Short(%d) = %d %v", int16(n), got, ok)
		}
	}
	for _, bits := range []uint64{0, 1 << 63, 1, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000001, 0x7ff0000000000001, math.Float64bits(math.MaxFloat64)} {
		if got, ok := Double(math.Float64frombits(bits)).FloatBits(); got != bits || !ok {
			t.Errorf("Double of %x has bits %x %v", bits, got, ok)
		}
	}
	for _, bits := range []uint32{0, 1 << 31, 1, 0x7f800000, 0xff800000, 0x7fc00001, 0x7f800001} {
		if got, ok := FloatFromBits(bits).FloatBits(); got != uint64(bits) || !ok {
			t.Errorf("FloatFromBits(%x) has bits %x %v", bits, got, ok)
		}
	}
	if f, ok := Float(1.5).Float64(); f != 1.5 || !ok {
		t.Errorf("Float(1.5) = %v %v", f, ok)
	}
}

func TestG17_nan(t *testing.T) {
	if f, ok := Double(math.NaN()).Float64(); !math.IsNaN(f) || !ok {
		t.Errorf("Double(NaN) = %v %v", f, ok)
	}
	if !Double(math.NaN()).Equal(Double(math.NaN())) {
		t.Error("the same NaN is not equal to itself")
	}
}

func TestR001_kinds_do_not_mix(t *testing.T) {
	values := []Value{String("1"), Binary([]byte("1")), Short(1), Integer(1), Long(1), Float(1), Double(1), Bool(true), Object(Properties{"1": Long(1)}), {}}
	for i, v := range values {
		for j, w := range values {
			if v.Equal(w) != (i == j) {
				t.Errorf("%v %v equals %v %v", v.Kind(), v, w.Kind(), w)
			}
		}
		_, text := v.Text()
		_, bytes := v.Bytes()
		_, raw := v.RawBytes()
		_, number := v.Int64()
		_, float := v.Float64()
		_, truth := v.Bool()
		_, object := v.Object()
		count := 0
		for _, ok := range []bool{text, bytes, number, float, truth, object} {
			if ok {
				count++
			}
		}
		if want := min(1, int(v.Kind())); count != want || raw != bytes {
			t.Errorf("%v answers to %d kinds", v.Kind(), count)
		}
	}
}

func TestR002_every_number(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		short, integer, long := rapid.Int16().Draw(t, "short"), rapid.Int32().Draw(t, "integer"), rapid.Int64().Draw(t, "long")
		bits32, bits64 := rapid.Uint32().Draw(t, "float bits"), rapid.Uint64().Draw(t, "double bits")
		for _, c := range []struct {
			v    Value
			want int64
		}{{Short(short), int64(short)}, {Integer(integer), int64(integer)}, {Long(long), long}} {
			if got, ok := c.v.Int64(); got != c.want || !ok {
				t.Errorf("%v %v = %d %v", c.v.Kind(), c.want, got, ok)
			}
		}
		if got, _ := FloatFromBits(bits32).FloatBits(); got != uint64(bits32) {
			t.Errorf("float %x = %x", bits32, got)
		}
		if got, _ := Double(math.Float64frombits(bits64)).FloatBits(); got != bits64 {
			t.Errorf("double %x = %x", bits64, got)
		}
	})
}

func TestR002_zeros_have_signs(t *testing.T) {
	minus := math.Copysign(0, -1)
	if Double(0).Equal(Double(minus)) || Float(0).Equal(Float(float32(minus))) {
		t.Error("0 equals -0")
	}
	if f, _ := Double(minus).Float64(); !math.Signbit(f) {
		t.Error("-0 lost its sign")
	}
}

func TestR003_unicode_strings(t *testing.T) {
	for _, s := range []string{"", "plain", "e\u0301", "\u00e9", "\U0001F600\U0010FFFF", "\x00\t\r\n", "\uFEFF\u202E", strings.Repeat("\u65e5\u672c", 500_000)} {
		if got, ok := String(s).Text(); got != s || !ok {
			t.Errorf("%.20q = %.20q %v", s, got, ok)
		}
		if got := (Properties{"k": String(s)}).GetString("k", "default"); got != s {
			t.Errorf("%.20q = %.20q", s, got)
		}
	}
	if String("e\u0301").Equal(String("\u00e9")) {
		t.Error("strings are normalised")
	}
}

// oddKeys are keys that a sloppy store mixes up.
var oddKeys = []string{"", " ", "a", "A", "a ", "a.b", "a/b", "a\\b", `"a"`, "'a'", "a=b", "a\x00", "a\x00b", "\n", "e\u0301", "\u00e9", "$a", "{a}", "%61", "\U0001F600"}

func TestR005_key_identity(t *testing.T) {
	p := Properties{}
	for i, k := range oddKeys {
		p[k] = Long(int64(i))
	}
	c := p.Clone()
	if d := cmp.Diff(p, c); d != "" {
		t.Error(d)
	}
	if len(c.Keys()) != len(oddKeys) {
		t.Errorf("%d of %d keys", len(c.Keys()), len(oddKeys))
	}
	for i, k := range oddKeys {
		if c.GetInt64(k, -1) != int64(i) {
			t.Errorf("key %q has another's value", k)
		}
	}
}

func TestPropertiesEqual(t *testing.T) {
	p := Properties{"a": Long(1), "o": Object(Properties{"i": Bool(true)})}
	for name, c := range map[string]struct {
		q    Properties
		want bool
	}{
		"clone":         {p.Clone(), true},
		"missing":       {Properties{"a": Long(1)}, false},
		"more":          {Properties{"a": Long(1), "o": Object(Properties{"i": Bool(true)}), "b": Long(1)}, false},
		"other kind":    {Properties{"a": Integer(1), "o": Object(Properties{"i": Bool(true)})}, false},
		"other key":     {Properties{"A": Long(1), "o": Object(Properties{"i": Bool(true)})}, false},
		"other in deep": {Properties{"a": Long(1), "o": Object(Properties{"i": Bool(false)})}, false},
		"nil":           {nil, false},
	} {
		if p.Equal(c.q) != c.want || c.q.Equal(p) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
	if !(Properties{}).Equal(nil) || !Properties(nil).Equal(Properties{}) {
		t.Error("nil does not equal empty")
	}
}

func TestR004_binary_any_byte(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	v := Binary(all)
	all[0] = 99
	got, ok := v.Bytes()
	if !ok || got[0] != 0 || got[255] != 255 || len(got) != 256 {
		t.Errorf("binary %v %v", got, ok)
	}
	got[1] = 99
	if again, _ := v.Bytes(); again[1] != 1 {
		t.Error("the value shares memory with what it returned")
	}
}

func TestR007_absent_key(t *testing.T) {
	for _, p := range []Properties{nil, {}, {"k": Object(Properties{})}} {
		if s := p.GetString("k", "d"); s != "d" {
			t.Errorf("GetString = %q", s)
		}
		if b := p.GetBytes("k", []byte("d")); string(b) != "d" {
			t.Errorf("GetBytes = %q", b)
		}
		if n := p.GetInt64("k", 7); n != 7 {
			t.Errorf("GetInt64 = %d", n)
		}
		if f := p.GetFloat64("k", 7); f != 7 {
			t.Errorf("GetFloat64 = %v", f)
		}
		if !p.GetBool("k", true) {
			t.Error("GetBool = false")
		}
	}
	p := Properties{"s": String("x"), "b": Binary([]byte("y")), "n": Short(3), "f": Float(0.5), "t": Bool(false)}
	if p.GetString("s", "") != "x" || string(p.GetBytes("b", nil)) != "y" || p.GetInt64("n", 0) != 3 || p.GetFloat64("f", 0) != 0.5 || p.GetBool("t", true) {
		t.Errorf("present keys give their defaults: %v", p)
	}
	if got := strings.Join(p.Keys(), ""); got != "bfnst" {
		t.Errorf("Keys = %s", got)
	}
}

func TestG16_bool_kind(t *testing.T) {
	for _, b := range []bool{true, false} {
		if got, ok := Bool(b).Bool(); got != b || !ok || Bool(b).Kind() != KindBool {
			t.Errorf("Bool(%v) = %v %v", b, got, ok)
		}
	}
}

func TestObjectIsCopied(t *testing.T) {
	inner := Properties{"a": Long(1)}
	v := Object(inner)
	inner["a"] = Long(2)
	got, _ := v.Object()
	if !got["a"].Equal(Long(1)) {
		t.Errorf("the value shares memory with its maker: %v", got)
	}
	got["a"] = Long(3)
	if again, _ := v.Object(); !again["a"].Equal(Long(1)) {
		t.Errorf("the value shares memory with what it returned: %v", again)
	}
}

func TestKindAndValueStrings(t *testing.T) {
	for v, want := range map[*Value]string{
		{}:                                    "Invalid <invalid>",
		ptr(String("x")):                      "String x",
		ptr(Binary([]byte{0xab})):             "Binary ab",
		ptr(Short(-1)):                        "Short -1",
		ptr(Float(0.1)):                       "Float 0.1",
		ptr(Double(0.1)):                      "Double 0.1",
		ptr(Bool(true)):                       "Bool true",
		ptr(Object(Properties{"a": Long(1)})): "Object map[a:1]",
	} {
		if got := v.Kind().String() + " " + v.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if Kind(77).String() != "Kind(77)" {
		t.Error(Kind(77).String())
	}
}

func ptr[T any](v T) *T { return &v }

func TestPropertiesSize(t *testing.T) {
	p := Properties{"ab": String("xyz"), "c": Binary([]byte{1}), "n": Long(1), "o": Object(Properties{"k": Bool(true)})}
	if got := p.Size(); got != 2+3+1+1+1+8+1+1+8 {
		t.Error(got)
	}
}
