package tck

import (
	"fmt"
	"math"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var valueCases = table{
	"R001": kindsRoundTrip,
	"R002": numericExtremes,
	"R003": unicodeStrings,
	"R004": binaryAnyByte,
	"R005": keyIdentity,
	"R006": nestedKeyValue,
	"R007": absentKey,
	"G15":  utf8Refused,
	"G16":  boolKind,
	"G17":  nan,
}

// properties sends a message with these properties and compares what arrives.
func (t *trial) properties(want om.Properties) {
	m := message(t.Queue(), "values")
	m.Properties = want
	got := t.RoundTrip(m).Properties
	for _, k := range want.Keys() {
		v, ok := got[k]
		switch {
		case !ok:
			t.Errorf("property %q is missing at the consumer", clip(k))
		case v.Kind() != want[k].Kind():
			t.Errorf("property %q was sent as %v and arrived as %v", clip(k), want[k].Kind(), v.Kind())
		case !v.Equal(want[k]):
			t.Errorf("property %q was sent as %v and arrived as %v", clip(k), clip(want[k].String()), clip(v.String()))
		}
	}
	for _, k := range got.Keys() {
		if _, ok := want[k]; !ok {
			t.Errorf("property %q arrived, but was not sent", clip(k))
		}
	}
}

func kindsRoundTrip(t *trial) {
	t.properties(om.Properties{
		"string": om.String("text"), "binary": om.Binary([]byte{1, 2}), "short": om.Short(-7), "integer": om.Integer(70_000),
		"long": om.Long(1 << 40), "float": om.Float(1.5), "double": om.Double(2.25),
	})
}

func numericExtremes(t *trial) {
	t.properties(om.Properties{
		"short min": om.Short(math.MinInt16), "short max": om.Short(math.MaxInt16),
		"int min": om.Integer(math.MinInt32), "int max": om.Integer(math.MaxInt32),
		"long min": om.Long(math.MinInt64), "long max": om.Long(math.MaxInt64), "long odd": om.Long(1<<53 + 1),
		"float zero": om.Float(0), "float -zero": om.FloatFromBits(1 << 31), "float tiny": om.Float(math.SmallestNonzeroFloat32),
		"float max": om.Float(math.MaxFloat32), "float inf": om.Float(float32(math.Inf(1))), "float -inf": om.Float(float32(math.Inf(-1))),
		"double zero": om.Double(0), "double -zero": om.Double(math.Copysign(0, -1)), "double tiny": om.Double(math.SmallestNonzeroFloat64),
		"double max": om.Double(math.MaxFloat64), "double inf": om.Double(math.Inf(1)), "double -inf": om.Double(math.Inf(-1)),
		"double third": om.Double(1.0 / 3),
	})
}

func unicodeStrings(t *trial) {
	t.properties(om.Properties{
		"empty": om.String(""), "combining": om.String("e\u0301 \u0928\u093f"), "composed": om.String("é"),
		"astral": om.String("𝄞 🌋 \U0010FFFF"), "NUL": om.String("a\x00b"), "right to left": om.String("שלום \u202eabc"),
		"line ends": om.String("a\r\nb\tc\u2028d"), "BOM": om.String("\ufeffx"), "long": om.String(strings.Repeat("ä🌍", 10_000)),
	})
}

func binaryAnyByte(t *trial) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	t.properties(om.Properties{
		"every": om.Binary(every), "zeros": om.Binary(make([]byte, 5)), "ones": om.Binary([]byte{0xff, 0xff}), "empty": om.Binary(nil),
	})
}

func keyIdentity(t *trial) {
	want := make(om.Properties)
	for i, k := range []string{"key", "KEY", "Key", "k.e.y", "k/e/y", " key", "key ", "k e y", `k"e"y`, "k'e'y", "k\ney", "k\x00ey",
		"ключ", "k:e=y;", "$key", "__key", "schlüssel", strings.Repeat("k", 200)} {
		want[k] = om.Integer(int32(i))
	}
	t.properties(want)
}

func nestedKeyValue(t *trial) {
	t.properties(om.Properties{
		"flat": om.String("x"),
		"object": om.Object(om.Properties{
			"inner": om.Long(1), "flat": om.String("y"),
			"deeper": om.Object(om.Properties{"bytes": om.Binary([]byte{0, 255}), "empty": om.Object(nil)}),
		}),
	})
}

func absentKey(t *trial) {
	m := message(t.Queue(), "values")
	m.Properties["there"] = om.String("x")
	got := t.target.Library.Properties(t.RoundTrip(m).Properties)
	for _, c := range []struct {
		what string
		get  func() any
		want any
	}{
		{"GetString of an absent key", func() any { return got.GetString("absent", "default") }, "default"},
		{"GetInt64 of an absent key", func() any { return got.GetInt64("absent", 7) }, int64(7)},
		{"GetFloat64 of an absent key", func() any { return got.GetFloat64("absent", 0.5) }, 0.5},
		{"GetBool of an absent key", func() any { return got.GetBool("absent", true) }, true},
		{"GetBytes of an absent key", func() any { return string(got.GetBytes("absent", []byte("b"))) }, "b"},
		{"GetString of a key that is there", func() any { return got.GetString("there", "") }, "x"},
	} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s panicked: %v", c.what, p)
				}
			}()
			equal(t, c.what, c.get(), c.want)
		}()
	}
}

func utf8Refused(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	for what, change := range map[string]func(*om.Message){
		"a property key that is no UTF-8":   func(m *om.Message) { m.Properties["k\xff"] = om.String("v") },
		"a property value that is no UTF-8": func(m *om.Message) { m.Properties["k"] = om.String("v\xff") },
	} {
		m := message(q, "bad")
		change(m)
		_, err := p.Send(t.ctx, m)
		t.Is(err, what, om.ErrMessageFormat)
	}
	t.Nothing(c, "what was refused must not be stored")
}

func boolKind(t *trial) { t.properties(om.Properties{"yes": om.Bool(true), "no": om.Bool(false)}) }

func nan(t *trial) {
	m := message(t.Queue(), "values")
	m.Properties["float"] = om.Float(float32(math.NaN()))
	m.Properties["double"] = om.Double(math.NaN())
	got := t.RoundTrip(m).Properties
	for _, k := range []string{"float", "double"} {
		f, ok := got[k].Float64()
		if !ok || !math.IsNaN(f) {
			t.Errorf("NaN as %s arrived as %s", k, fmt.Sprint(got[k]))
		}
	}
}
