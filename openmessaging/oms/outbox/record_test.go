package outbox

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func anyValue(depth int) *rapid.Generator[om.Value] {
	return rapid.Custom(func(t *rapid.T) om.Value {
		kinds := 8
		if depth > 0 {
			kinds = 9
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return om.String(rapid.String().Draw(t, "string"))
		case 1:
			return om.Binary(rapid.SliceOf(rapid.Byte()).Draw(t, "binary"))
		case 2:
			return om.Short(rapid.Int16().Draw(t, "short"))
		case 3:
			return om.Integer(rapid.Int32().Draw(t, "integer"))
		case 4:
			return om.Long(rapid.Int64().Draw(t, "long"))
		case 5:
			return om.FloatFromBits(rapid.Uint32().Draw(t, "float"))
		case 6:
			return om.Double(rapid.Float64().Draw(t, "double"))
		case 7:
			return om.Bool(rapid.Bool().Draw(t, "bool"))
		}
		return om.Object(anyProperties(depth-1).Draw(t, "object"))
	})
}

func anyProperties(depth int) *rapid.Generator[om.Properties] {
	return rapid.Map(rapid.MapOfN(rapid.String(), anyValue(depth), 0, 6), func(m map[string]om.Value) om.Properties { return m })
}

func anyMessage(t *rapid.T) *om.Message {
	text := rapid.String()
	m := om.NewMessage(text.Draw(t, "destination"), rapid.SliceOf(rapid.Byte()).Draw(t, "body"))
	m.QoS, m.Compression = om.QoS(rapid.IntRange(0, 2).Draw(t, "qos")), text.Draw(t, "compression")
	m.Ext.CorrelationID, m.Ext.MessageKey, m.Ext.TraceID = text.Draw(t, "correlation"), text.Draw(t, "key"), text.Draw(t, "trace")
	m.Ext.Delay = time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "delay"))
	m.Ext.Priority = rapid.Int8().Draw(t, "priority")
	if rapid.Bool().Draw(t, "expires") {
		m.Ext.ExpireAt = time.Unix(rapid.Int64Range(0, 200_000_000_000).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
	}
	if rapid.Bool().Draw(t, "partitioned") {
		m.Ext.Partition = om.Some(rapid.Int32().Draw(t, "partition"))
	}
	m.Properties = anyProperties(2).Draw(t, "properties")
	m.Properties[om.PropertyDeduplicationID] = om.String("id")
	return m
}

var same = cmp.Options{
	cmp.Comparer(om.Value.Equal),
	cmp.Comparer(func(a, b om.Opt[int32]) bool { return a == b }),
}

// TestRecordKeepsAll: what a sender can set comes out as it went in.
func TestRecordKeepsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMessage(t)
		header, err := encode(m, "unused")
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(header) {
			if header[i] >= 0x80 || header[i] == 0 {
				t.Fatalf("the header is not ASCII: %q", header)
			}
		}
		got, err := decode(header, m.Body)
		if err != nil {
			t.Fatalf("%v: %s", err, header)
		}
		if d := cmp.Diff(m, got, same); d != "" {
			t.Fatalf("%s\n%s", header, d)
		}
	})
}

func TestRecordNamesMessages(t *testing.T) {
	m := om.NewMessage("orders", nil)
	header, err := encode(m, "given")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(header, nil)
	if err != nil || om.DeduplicationID(got) != "given" {
		t.Error(om.DeduplicationID(got), err)
	}
	if len(m.Properties) != 0 {
		t.Error("the caller's message is changed")
	}
}

func TestRecordIsReadable(t *testing.T) {
	m := om.NewMessage("orders", nil)
	m.Ext.MessageKey = "k"
	m.Properties = om.Properties{"a": om.Long(7), "ü": om.Double(1.5), "nan": om.FloatFromBits(0x7fc00001)}
	got, err := encode(m, "x")
	want := `{"destination":"orders","messageKey":"k","properties":{"$deduplicationId":{"String":"x"},"a":{"Long":7},"nan":{"Float":"7fc00001"},"\u00fc":{"Double":1.5}}}`
	if got != want || err != nil {
		t.Errorf("%s\n%v", got, err)
	}
}

// FuzzDecode: no row makes the relay fail, and what can be read is stable.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"destination":"q","partition":1,"properties":{"a":{"Short":70000}}}`, `{"properties":{"a":{}}}`,
		`{"properties":{"a":{"Object":{"b":{"Binary":"AA=="}}},"c":{"Double":"7ff0000000000001"},"d":{"Float":1e300}}}`, `{"properties":{"a":null}}`, `[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := decode(s, nil)
		if err != nil {
			return
		}
		header, err := encode(m, "id")
		if err != nil {
			return // a property without a value, which is refused when it is sent
		}
		again, err := decode(header, nil)
		if err != nil {
			t.Fatalf("%v: %s", err, header)
		}
		if _, set := m.Properties[om.PropertyDeduplicationID]; !set {
			m.Properties[om.PropertyDeduplicationID] = om.String("id")
		}
		if d := cmp.Diff(m, again, same); d != "" {
			t.Error(d)
		}
	})
}
