package lines

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// value draws any property value.
func value(depth int) *rapid.Generator[om.Value] {
	kinds := []*rapid.Generator[om.Value]{
		rapid.Map(rapid.String(), om.String),
		rapid.Map(rapid.SliceOf(rapid.Byte()), om.Binary),
		rapid.Map(rapid.Int16(), om.Short),
		rapid.Map(rapid.Int32(), om.Integer),
		rapid.Map(rapid.Int64(), om.Long),
		rapid.Map(rapid.Uint32(), om.FloatFromBits),
		rapid.Map(rapid.Uint64(), func(bits uint64) om.Value { return om.Double(math.Float64frombits(bits)) }),
		rapid.SampledFrom([]om.Value{om.Double(math.NaN()), om.Double(math.Inf(-1)), om.Double(math.Copysign(0, -1)), om.Double(4), om.Float(1e20), om.Bool(true), om.Bool(false)}),
	}
	if depth > 0 {
		kinds = append(kinds, rapid.Map(properties(depth-1), om.Object))
	}
	return rapid.OneOf(kinds...)
}

func properties(depth int) *rapid.Generator[om.Properties] {
	return rapid.Map(rapid.MapOf(rapid.String(), value(depth)), func(m map[string]om.Value) om.Properties { return m })
}

// TestNothingIsLost checks that what a sender sets survives a line of JSON.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := om.NewMessage("orders", rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) })).Draw(t, "body"))
		m.Properties = properties(3).Draw(t, "properties")
		m.Ext.MessageKey = rapid.String().Draw(t, "key")
		m.Ext.CorrelationID = rapid.String().Draw(t, "correlation")
		m.Ext.TraceID = rapid.String().Draw(t, "trace")
		m.Compression = rapid.String().Draw(t, "compression")
		m.QoS = om.QoS(rapid.IntRange(0, 2).Draw(t, "qos"))
		m.Ext.Priority = rapid.Int8().Draw(t, "priority")
		m.Ext.Delay = time.Duration(rapid.Int64Range(0, maxDelay).Draw(t, "delay")) * time.Millisecond
		if rapid.Bool().Draw(t, "expires") {
			m.Ext.ExpireAt = time.UnixMilli(rapid.Int64Range(1, 4e12).Draw(t, "expiry")).UTC()
		}
		d := om.NewDelivery(m.Clone(), 3, 42, nil)
		d.MessageID, d.BornHost = "an id", "a host"
		line, err := FromDelivery(&d).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(line), "\n") != 1 {
			t.Fatalf("not one line: %q", line)
		}
		got, err := Parse(line, "orders")
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if string(got.Body) != string(m.Body) || !got.Properties.Equal(m.Properties) || got.Header.QoS != m.QoS ||
			got.Compression != m.Compression || got.Destination != "orders" || got.MessageID != "" || got.Ext != m.Ext {
			t.Fatalf("%+v\nis not\n%+v\n%s", got, m, line)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for line, part := range map[string]string{
		`{"body":"a"`:                               "no message",
		`[1]`:                                       "no message",
		`{"body":"a"} {}`:                           "follows",
		`{"body":"a","body_base64":"YQ=="}`:         "both",
		`{"body_base64":"?"}`:                       "body_base64",
		`{"text":"a"}`:                              `"text"`,
		`{"properties":{"a":null}}`:                 `"a"`,
		`{"properties":{"a":[1]}}`:                  `"a"`,
		`{"properties":{"a":99999999999999999999}}`: "64 bits",
		`{"properties":{"a":70000},"property_types":{"a":"short"}}`:                          "16 bits",
		`{"properties":{"a":1},"property_types":{"a":"int"}}`:                                "no type",
		`{"properties":{"a":1},"property_types":{"a":7}}`:                                    "no text",
		`{"properties":{},"property_types":{"a":"short"}}`:                                   `"a"`,
		`{"properties":{"a":{"b":1}},"property_types":{"a":"x"}}`:                            "object",
		`{"properties":` + strings.Repeat(`{"a":`, 20) + `1` + strings.Repeat(`}`, 20) + `}`: "nested",
		`{"expire_at":"soon"}`: "RFC 3339",
		`{"delay_ms":-1}`:      "delay_ms",
		"{\"body\":\"\xff\"}":  "UTF-8",
		`{"priority":1000}`:    "priority",
	} {
		if m, err := Parse([]byte(line), "q"); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, %v", line, m, err)
		}
	}
}

func TestGuessedTypes(t *testing.T) {
	m, err := Parse([]byte(`{"properties":{"a":1,"b":1.0,"c":"x","d":true,"e":{"f":2}}}`), "q")
	want := om.Properties{"a": om.Long(1), "b": om.Double(1), "c": om.String("x"), "d": om.Bool(true), "e": om.Object(om.Properties{"f": om.Long(2)})}
	if err != nil || !m.Properties.Equal(want) {
		t.Errorf("%v: %v", m, err)
	}
}

func TestParseProperty(t *testing.T) {
	for text, want := range map[string]struct {
		name string
		v    om.Value
	}{
		"a=1":               {"a", om.String("1")},
		"a=b=c":             {"a", om.String("b=c")},
		"a=":                {"a", om.String("")},
		"mag:double=4.5":    {"mag", om.Double(4.5)},
		"n:short=-7":        {"n", om.Short(-7)},
		"n:integer=7":       {"n", om.Integer(7)},
		"n:long=7":          {"n", om.Long(7)},
		"f:float=0.5":       {"f", om.Float(0.5)},
		"b:bool=true":       {"b", om.Bool(true)},
		"x:binary=AAE=":     {"x", om.Binary([]byte{0, 1})},
		"a:double:string=z": {"a:double", om.String("z")},
		"a:other:string=z":  {"a:other", om.String("z")},
		":double=z":         {":double", om.String("z")},
	} {
		name, v, err := ParseProperty(text)
		if err != nil || name != want.name || !v.Equal(want.v) {
			t.Errorf("%s: %s, %v (%v), %v", text, name, v, v.Kind(), err)
		}
	}
	for _, text := range []string{"", "a", "=x", "a:double=x", "a:short=40000", "a:bool=yes", "a:binary=?", "a:long=1.5", "a:number=1", "a:=1", "http://x=1"} {
		if name, v, err := ParseProperty(text); err == nil {
			t.Errorf("%q is %s, %v", text, name, v)
		}
	}
}

func TestFormat(t *testing.T) {
	m := om.NewMessage("default://orders", []byte("body"))
	m.MessageID, m.BornAt = "id-1", time.Date(2018, 2, 7, 1, 2, 3, 4e6, time.UTC)
	m.Ext.MessageKey, m.Ext.DeliveryCount = "key", 2
	m.Properties = om.Properties{"b": om.Long(2), "a": om.String("x")}
	d := om.NewDelivery(m, 1, 42, nil)
	for text, want := range map[string]string{
		`%b\n`:                 "body\n",
		`%q %p/%o %k %i %S %d`: "default://orders 1/42 key id-1 4 2",
		`%t|%s|`:               "2018-02-07T01:02:03.004Z||",
		`%h|%{b}|%{c}|`:        "a=x,b=2|2||",
		`100%%\t\\%b%b`:        "100%\t\\bodybody",
		``:                     "",
	} {
		f, err := ParseFormat(text)
		if got := string(f.Append(nil, &d)); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`%`, `%z`, `%{a`, `\q`, `a%`} {
		if _, err := ParseFormat(text); err == nil {
			t.Errorf("%s is understood", text)
		}
	}
	for v := range verbs {
		if !strings.Contains(FormatHelp, "%"+string(v)+" ") {
			t.Errorf("the help does not tell of %%%c", v)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"body":"a","properties":{"a":1.5,"o":{"b":"x"}},"property_types":{"a":"float"},"delay_ms":7}`)
	f.Add(`{"body_base64":"AAE=","expire_at":"2018-02-07T00:00:00Z"}`)
	f.Fuzz(func(t *testing.T, line string) {
		m, err := Parse([]byte(line), "q")
		if err != nil {
			return
		}
		d := om.NewDelivery(m, 0, 0, nil)
		again, err := FromDelivery(&d).Append(nil)
		if err != nil || !json.Valid(again) {
			t.Fatalf("%s: %v", again, err)
		}
		if _, err := Parse(again, "q"); err != nil && m.Ext.ExpireAt.Year() < 9999 {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func FuzzFormat(f *testing.F) {
	f.Add(`%q %{a}\n%%`)
	f.Fuzz(func(_ *testing.T, text string) {
		if format, err := ParseFormat(text); err == nil {
			d := om.NewDelivery(om.NewMessage("q", nil), 0, 0, nil)
			format.Append(nil, &d)
		}
	})
}

func FuzzParseProperty(f *testing.F) {
	f.Add("a:double=1")
	f.Fuzz(func(t *testing.T, text string) {
		if name, v, err := ParseProperty(text); err == nil && (name == "" || v.Kind() == om.KindInvalid) {
			t.Errorf("%q: %q, %v", text, name, v)
		}
	})
}
