//go:build unix

package stdio

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// everything has each kind of value with its extremes.
func everything() om.Properties {
	deep := om.Properties{"leaf": om.Long(1)}
	for range om.MaxNesting - 1 {
		deep = om.Properties{"o": om.Object(deep), "t": {}}
		delete(deep, "t")
	}
	p := om.Properties{
		"": om.String(""), "\x00": om.String("\x00\u2028<>&\"\\\U0001F600e\u0301"), "a.b/c d": om.String("x"), "A": om.String("A"), "a": om.String("a"),
		"id": om.String("id"), "t": om.String("long"), `"v"`: om.String(`{"t":"long"}`), "\U0001F600\n": om.String(strings.Repeat("ü", 5000)),
		"binary": om.Binary([]byte{0, 255, 10, 0}), "no bytes": om.Binary(nil),
		"short min": om.Short(math.MinInt16), "short max": om.Short(math.MaxInt16),
		"integer min": om.Integer(math.MinInt32), "integer max": om.Integer(math.MaxInt32),
		"long min": om.Long(math.MinInt64), "long max": om.Long(math.MaxInt64), "long odd": om.Long(1<<53 + 1),
		"true": om.Bool(true), "false": om.Bool(false),
		"object": om.Object(om.Properties{"": om.Object(nil), "x": om.Object(om.Properties{"n": om.Double(math.NaN())})}),
		"deep":   deep["o"],
		"nan":    om.FloatFromBits(0x7fa00001), "double nan": om.Double(math.Float64frombits(0xfff8000000000123)),
	}
	for name, f := range map[string]float64{
		"0": 0, "-0": math.Copysign(0, -1), "inf": math.Inf(1), "-inf": math.Inf(-1), "tenth": 0.1,
		"least": math.SmallestNonzeroFloat64, "most": math.MaxFloat64, "least 32": math.SmallestNonzeroFloat32, "most 32": math.MaxFloat32,
	} {
		p["double "+name], p["float "+name] = om.Double(f), om.Float(float32(f))
	}
	return p
}

func whole() *om.Message {
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	return &om.Message{
		Version: om.SpecVersion,
		Header: om.Header{
			MessageID: "id", Destination: "n://q", BornAt: at(0), BornHost: "h", QoS: om.ExactlyOnce, Compression: "gzip",
		},
		Ext: om.ExtensionHeader{
			Partition: om.Some(int32(0)), CorrelationID: "c", TransactionID: "t", StoredAt: at(-1), StoreHost: "s", MessageKey: "k",
			TraceID: "tr", Delay: time.Millisecond, ExpireAt: at(1 << 45), Priority: -3, DeliveryCount: 4,
		},
		Properties: everything(),
		Body:       []byte{0, 1, 255},
	}
}

func TestMessageRoundTrip(t *testing.T) {
	for name, m := range map[string]*om.Message{"whole": whole(), "empty": {Properties: om.Properties{}}} {
		b, err := encode("send", m)
		ok(t, err)
		if name == "empty" && string(b) != "{}" {
			t.Errorf("fields that are unset are there: %s", b)
		}
		a, err := decode([]byte(`{"id":1,"message":` + string(b) + `}`))
		ok(t, err)
		got := a.Message.value()
		if !got.Properties.Equal(m.Properties) {
			for k, v := range m.Properties {
				if !got.Properties[k].Equal(v) {
					t.Errorf("%q: %v became %v", k, v, got.Properties[k])
				}
			}
		}
		want := *m
		want.Properties, got.Properties = nil, nil
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestMessageThroughAChild sends the message through a child that keeps JSON
// values as they are.
func TestMessageThroughAChild(t *testing.T) {
	c := opened(t, command("store"))
	_, err := sends(t, c).Send(t.Context(), []*om.Message{whole()})
	ok(t, err)
	got, err := receives(t, c).Receive(t.Context(), 1)
	ok(t, err)
	if m := got[0].Message; !m.Properties.Equal(everything()) || !bytes.Equal(m.Body, whole().Body) || m.Ext != whole().Ext || m.Header != whole().Header {
		t.Errorf("%+v", m)
	}
}

func TestValuesThatAreNone(t *testing.T) {
	for _, v := range []string{
		`null`, `{}`, `5`, `{"t":"long"}`, `{"t":"long","v":null}`, `{"t":"long","v":5}`, `{"t":"long","v":"9223372036854775808"}`,
		`{"t":"short","v":"32768"}`, `{"t":"integer","v":""}`, `{"t":"float","v":"7fc0000"}`, `{"t":"double","v":"+000000000000000"}`,
		`{"t":"binary","v":"a"}`, `{"t":"bool","v":"true"}`, `{"t":"bool","v":null}`, `{"t":"object","v":null}`, `{"t":"object","v":{"x":1}}`,
		`{"t":"Long","v":"1"}`, `{"t":"","v":"1"}`,
	} {
		if _, err := decode([]byte(`{"id":1,"message":{"properties":{"x":` + v + `}}}`)); err == nil {
			t.Errorf("%s is taken", v)
		}
	}
}

func TestLineReader(t *testing.T) {
	text := "one\n\nlonger than the others\r\n" + strings.Repeat("x", 70_000) + "\ntoo long " + strings.Repeat("y", 100_000) + "\n"
	lines := newLineReader(iotest.HalfReader(strings.NewReader(text)), 70_000)
	for _, want := range []string{"one", "", "longer than the others\r", strings.Repeat("x", 70_000)} {
		if got, err := lines.next(); err != nil || string(got) != want {
			t.Fatalf("%.20q, %v", got, err)
		}
	}
	if got, err := lines.next(); !errors.Is(err, errTooLong) || !strings.HasPrefix(string(got), "too long") || cap(lines.buf) > 200_000 {
		t.Errorf("%.20q, %v, %d", got, err, cap(lines.buf))
	}
	lines = newLineReader(strings.NewReader("a\nb"), 10)
	_, _ = lines.next()
	if got, err := lines.next(); !errors.Is(err, errUnfinished) || string(got) != "b" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := newLineReader(strings.NewReader(""), 10).next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestTail(t *testing.T) {
	var all strings.Builder
	l := tail{to: &all}
	for range 1000 {
		_, _ = l.Write([]byte("0123456789\n"))
	}
	_, _ = l.Write([]byte("the end \xff\n"))
	if s := l.String(); len(s) > tailSize+10 || !strings.HasPrefix(s, "…0123456789\n") || !strings.HasSuffix(s, "9\nthe end \uFFFD") {
		t.Errorf("%q", s)
	}
	if all.Len() != 1000*11+10 {
		t.Error(all.Len())
	}
}

// FuzzDecode feeds lines to the decoder: what it takes says the same when it
// is written and read again.
func FuzzDecode(f *testing.F) {
	b, err := encode("send", whole())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"id":1,"message":` + string(b) + `}`))
	f.Add([]byte(`{"id":2,"error":{"code":1404,"message":"m","resource":"q"}}`))
	f.Add([]byte(`{"ask":2,"op":"check","handle":3,"message":{}}`))
	f.Add([]byte(`{"id":3,"deliveries":[{"message":{"properties":{"a":{"t":"object","v":{}}}},"receipt":[1],"offset":"7"}]}`))
	f.Add([]byte(`{"id":4,"outcomes":[{"message_id":"x"},{"error":{}}],"errors":[null],"offset":null}`))
	f.Add([]byte("\xff[[["))
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := decode(line)
		if err != nil {
			return
		}
		if (a.ID == 0) == (a.Ask == 0) {
			t.Fatal("neither an answer nor a question")
		}
		_, _ = received(a.Deliveries, true)
		_ = a.Error.err("op", "")
		if a.Message == nil {
			return
		}
		m := a.Message.value()
		b, err := encode("send", m)
		if err != nil {
			t.Fatal(err)
		}
		var again message
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		if n := again.value(); !n.Properties.Equal(m.Properties) || !bytes.Equal(n.Body, m.Body) || n.Ext != m.Ext || n.Header != m.Header {
			t.Fatalf("%+v became %+v", m, n)
		}
	})
}
