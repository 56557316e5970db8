package chunk_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"math"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var born = time.Date(2026, 11, 23, 1, 2, 3, 4_000_000, time.UTC)

func encode(ms ...*om.Message) []byte {
	var b chunk.Builder
	b.Reset(0xabc, 41, "host", om.SpecVersion, born)
	for _, m := range ms {
		b.Add(m)
	}
	return bytes.Clone(b.Finish())
}

func decode(tb testing.TB, data []byte) []om.Message {
	tb.Helper()
	h, err := chunk.Parse(data)
	if err == nil {
		_, err = chunk.Validate(data, h)
	}
	if err != nil {
		tb.Fatal(err)
	}
	ms := make([]om.Message, h.Count)
	if n, err := chunk.Decode(data, h, 0, ms); n != h.Count || err != nil {
		tb.Fatal(n, err)
	}
	return ms
}

var opts = cmp.Options{cmp.AllowUnexported(om.Opt[int32]{})}

// messages draws messages as a sender would have them after stamping.
func messages(t *rapid.T) []*om.Message {
	text := rapid.OneOf(rapid.Just(""), rapid.String())
	var value func(depth int) *rapid.Generator[om.Value]
	value = func(depth int) *rapid.Generator[om.Value] {
		return rapid.Custom(func(t *rapid.T) om.Value {
			switch rapid.IntRange(0, 8-min(1, depth/3)).Draw(t, "kind") {
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
				return om.Double(math.Float64frombits(rapid.Uint64().Draw(t, "double")))
			case 7:
				return om.Bool(rapid.Bool().Draw(t, "bool"))
			}
			return om.Object(rapid.MapOfN(rapid.String(), value(depth+1), 0, 3).Draw(t, "object"))
		})
	}
	message := rapid.Custom(func(t *rapid.T) *om.Message {
		m := om.NewMessage("", rapid.SliceOf(rapid.Byte()).Draw(t, "body"))
		m.Version, m.BornHost = om.SpecVersion, "host"
		m.BornAt = born.Add(time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "later")) * time.Millisecond)
		m.QoS = om.QoS(rapid.IntRange(0, 2).Draw(t, "qos"))
		m.Compression = text.Draw(t, "compression")
		m.Ext.CorrelationID, m.Ext.MessageKey, m.Ext.TraceID = text.Draw(t, "correlation"), text.Draw(t, "key"), text.Draw(t, "trace")
		m.Ext.TransactionID = text.Draw(t, "transaction")
		m.Ext.Delay = time.Duration(rapid.Int64Range(0, 1e10).Draw(t, "delay")) * time.Millisecond
		m.Ext.Priority = int8(rapid.IntRange(0, 10).Draw(t, "priority"))
		if rapid.Bool().Draw(t, "expires") {
			m.Ext.ExpireAt = m.BornAt.Add(time.Hour)
		}
		m.Properties = rapid.MapOfN(rapid.String(), value(0), 0, 20).Draw(t, "properties")
		return m
	})
	return rapid.SliceOfN(message, 1, 20).Draw(t, "messages")
}

func TestDecodeReturnsWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := messages(t)
		data := encode(ms...)
		got := decode(&fatal{t: t}, data)
		for i, m := range ms {
			m.MessageID = string(chunk.AppendID(nil, 0xabc, 41+uint64(i)))
			if d := cmp.Diff(*m, got[i], opts, cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })); d != "" {
				t.Fatal(d)
			}
		}
		skip := rapid.IntRange(0, len(ms)-1).Draw(t, "skip")
		h, _ := chunk.Parse(data)
		part := make([]om.Message, 3)
		n, err := chunk.Decode(data, h, skip, part)
		if err != nil || n != min(3, len(ms)-skip) || part[0].MessageID != got[skip].MessageID || !bytes.Equal(part[0].Body, got[skip].Body) {
			t.Fatalf("from %d on: %d %v", skip, n, err)
		}
		d := chunk.NewDecoder(data, h)
		for at := rapid.IntRange(0, 3).Draw(t, "first"); at < len(ms); at += rapid.IntRange(2, 5).Draw(t, "step") {
			n, err := d.Decode(at, part[:2])
			if err != nil || n != min(2, len(ms)-at) || part[0].MessageID != got[at].MessageID || !bytes.Equal(part[n-1].Body, got[at+n-1].Body) {
				t.Fatalf("run from %d on: %d %v", at, n, err)
			}
		}
	})
}

// fatal lets a rapid.T stand for a testing.TB.
type fatal struct {
	testing.TB
	t *rapid.T
}

func (f *fatal) Helper()           {}
func (f *fatal) Fatal(args ...any) { f.t.Fatal(args...) }

// The judge is the library's own decoder.
func TestBytesAreMessagePack(t *testing.T) {
	m := om.NewMessage("q", []byte("body"))
	m.BornAt = born.Add(300 * time.Millisecond)
	m.Ext.MessageKey = "k"
	m.Properties = om.Properties{
		"s": om.String(strings.Repeat("x", 300)), "b": om.Binary([]byte{0, 1}), "n": om.Long(1), "i": om.Integer(-1),
		"h": om.Short(2), "f": om.Float(0.5), "d": om.Double(-0.25), "t": om.Bool(true), "o": om.Object(om.Properties{"x": om.Bool(false)}),
	}
	data := encode(m)
	d := msgpack.NewDecoder(bytes.NewReader(data[chunk.HeaderSize:]))
	d.SetMapDecoder(func(d *msgpack.Decoder) (any, error) { return d.DecodeUntypedMap() })
	for _, want := range []any{"host", om.SpecVersion} {
		if got, err := d.DecodeInterface(); got != want || err != nil {
			t.Fatalf("%v %v", got, err)
		}
	}
	got, err := d.DecodeInterface()
	if err != nil {
		t.Fatal(err)
	}
	list := got.([]any)
	if list[0] != uint16(300) || string(list[3].([]byte)) != "body" {
		t.Errorf("%#v", list)
	}
	if fields := list[1].(map[any]any); len(fields) != 1 || fields[int8(5)] != "k" {
		t.Errorf("%#v", fields)
	}
	want := map[any]any{
		"s": strings.Repeat("x", 300), "b": []byte{0, 1}, "n": int64(1), "i": int32(-1), "h": int16(2),
		"f": float32(0.5), "d": -0.25, "t": true, "o": map[any]any{"x": false},
	}
	if d := cmp.Diff(want, list[2]); d != "" {
		t.Error(d)
	}
	if _, err := d.DecodeInterface(); err == nil {
		t.Error("something follows the last message")
	}
}

func TestFlagsTellWhatIsInside(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*om.Message)
		want   chunk.Flags
	}{
		"nothing":     {func(*om.Message) {}, 0},
		"key":         {func(m *om.Message) { m.Ext.MessageKey = "k" }, chunk.HasKey},
		"delay":       {func(m *om.Message) { m.Ext.Delay = 1 }, chunk.HasDelay},
		"expiry":      {func(m *om.Message) { m.Ext.ExpireAt = born }, chunk.HasExpiry},
		"priority":    {func(m *om.Message) { m.Ext.Priority = 1 }, chunk.HasPriority},
		"properties":  {func(m *om.Message) { m.Properties["a"] = om.Long(1) }, chunk.HasProperties},
		"qos":         {func(m *om.Message) { m.QoS = om.AtMostOnce }, chunk.HasQoS},
		"compression": {func(m *om.Message) { m.Compression = "gzip" }, chunk.HasCompression},
	} {
		m := om.NewMessage("q", nil)
		c.change(m)
		h, err := chunk.Parse(encode(om.NewMessage("q", nil), m))
		if err != nil || h.Flags != c.want {
			t.Errorf("%s: %b, want %b, %v", name, h.Flags, c.want, err)
		}
	}
}

// A delay is never shorter than asked for, a message never lives longer.
func TestTimesAreRoundedSafely(t *testing.T) {
	m := om.NewMessage("q", nil)
	m.BornAt = born
	m.Ext.Delay = time.Millisecond + 1
	m.Ext.ExpireAt = born.Add(time.Millisecond + 1)
	got := decode(t, encode(m))[0]
	if got.Ext.Delay != 2*time.Millisecond || !got.Ext.ExpireAt.Equal(born.Add(time.Millisecond)) {
		t.Errorf("%v %v", got.Ext.Delay, got.Ext.ExpireAt)
	}
}

// resum gives a crafted chunk a right checksum.
func resum(data []byte) []byte {
	binary.BigEndian.PutUint32(data[12:], uint32(len(data)-chunk.HeaderSize))
	binary.BigEndian.PutUint32(data[4:], crc32.Checksum(data[8:], crc32.MakeTable(crc32.Castagnoli)))
	return data
}

// twice appends a map of 40 keys, the last of which is there before.
func twice(b ...byte) []byte {
	b = append(b, 0, 40)
	for i := range byte(39) {
		b = append(b, 0xa1, ' '+i, 0xc2)
	}
	return append(b, 0xa1, ' '+20, 0xc2, 0xc4, 0)
}

func TestCraftedChunksAreRefused(t *testing.T) {
	good := encode(om.NewMessage("q", []byte("a")), om.NewMessage("q", []byte("b")))
	change := func(f func(b []byte) []byte) []byte { return resum(f(bytes.Clone(good))) }
	body := func(messages ...byte) []byte {
		return change(func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[8:], 1)
			return append(append(b[:chunk.HeaderSize], 0xa1, 'h', 0xa1, 'v'), messages...)
		})
	}
	deep := []byte{0x94, 0, 0xc0}
	for range 40 {
		deep = append(deep, 0x81, 0xa1, 'k')
	}
	deep = append(deep, 0xc2, 0xc4, 0)
	for name, data := range map[string][]byte{
		"empty":            {},
		"short":            good[:30],
		"cut":              good[:len(good)-1],
		"magic":            change(func(b []byte) []byte { b[0] = 0; return b }),
		"version":          change(func(b []byte) []byte { b[1] = 2; return b }),
		"no messages":      change(func(b []byte) []byte { binary.BigEndian.PutUint32(b[8:], 0); return b }),
		"too few":          change(func(b []byte) []byte { binary.BigEndian.PutUint32(b[8:], 1); return b }),
		"too many":         change(func(b []byte) []byte { binary.BigEndian.PutUint32(b[8:], 3); return b }),
		"millions":         change(func(b []byte) []byte { binary.BigEndian.PutUint32(b[8:], 1<<31); return b }),
		"times backwards":  change(func(b []byte) []byte { binary.BigEndian.PutUint64(b[24:], 1); return b }),
		"sequence wraps":   change(func(b []byte) []byte { binary.BigEndian.PutUint64(b[40:], math.MaxUint64); return b }),
		"something after":  change(func(b []byte) []byte { return append(b, 0xc0) }),
		"flipped":          append(append(bytes.Clone(good[:60]), good[60]^1), good[61:]...),
		"no array":         body(0x93, 0, 0xc0, 0xc0),
		"long string":      body(0x94, 0, 0xc0, 0x81, 0xdb, 0xff, 0xff, 0xff, 0xff),
		"huge map":         body(0x94, 0, 0xc0, 0xdf, 0xff, 0xff, 0xff, 0xff),
		"huge body":        body(0x94, 0, 0xc0, 0xc0, 0xc6, 0xff, 0xff, 0xff, 0xff),
		"deep":             body(deep...),
		"twice the key":    body(0x94, 0, 0xc0, 0x82, 0xa1, 'k', 0xc2, 0xa1, 'k', 0xc2, 0xc4, 0),
		"bad UTF-8 key":    body(0x94, 0, 0xc0, 0x81, 0xa1, 0xff, 0xc2, 0xc4, 0),
		"bad UTF-8 value":  body(0x94, 0, 0xc0, 0x81, 0xa1, 'k', 0xa1, 0xff, 0xc4, 0),
		"nil value":        body(0x94, 0, 0xc0, 0x81, 0xa1, 'k', 0xc0, 0xc4, 0),
		"unknown field":    body(0x94, 0, 0x81, 99, 1, 0xc0, 0xc4, 0),
		"fields backwards": body(0x94, 0, 0x82, 5, 0xa1, 'k', 1, 1, 0xc0, 0xc4, 0),
		"bad QoS":          body(0x94, 0, 0x81, 1, 3, 0xc0, 0xc4, 0),
		"born too late":    body(0x94, 0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc0, 0xc0, 0xc4, 0),
		"late":             body(0x94, 7, 0xc0, 0xc0, 0xc4, 0),
		"false flags":      change(func(b []byte) []byte { b[3] |= byte(chunk.HasDelay); return b }),
		"hidden key":       body(0x94, 0, 0x81, 5, 0xa1, 'k', 0xc0, 0xc4, 0),
		"born earlier":     change(func(b []byte) []byte { b[31]++; return b }),
		"many keys, twice": body(twice(0x94, 0, 0xc0, 0xde)...),
	} {
		h, err := chunk.Parse(data)
		if err == nil {
			_, err = chunk.Validate(data, h)
		}
		if !errors.Is(err, chunk.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	m := om.NewMessage("q", []byte("body"))
	m.Properties["k"] = om.Object(om.Properties{"n": om.Long(1)})
	m.Ext.MessageKey = "k"
	f.Add(encode(m), true)
	f.Add(encode(om.NewMessage("q", nil), m), true)
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if mend && len(data) >= chunk.HeaderSize {
			data = resum(bytes.Clone(data))
		}
		h, err := chunk.Parse(data)
		if err != nil {
			return
		}
		extent, err := chunk.Validate(data, h)
		valid := err == nil
		ms := make([]om.Message, min(h.Count, 10_000))
		n, err := chunk.Decode(data, h, 0, ms)
		if valid && (err != nil || n != len(ms)) {
			t.Errorf("valid, but decoded %d of %d: %v", n, len(ms), err)
		}
		if valid {
			checkValid(t, data, h, extent, ms)
		}
	})
}

// checkValid compares what Validate said with the decoded messages.
func checkValid(t *testing.T, data []byte, h chunk.Header, told chunk.Extent, ms []om.Message) {
	if h.Count > len(ms) {
		return
	}
	var e chunk.Extent
	for i := range ms {
		m := &ms[i]
		m.Destination = "q"
		if err := m.Validate("send", time.Time{}); err != nil {
			t.Errorf("valid, but the client would refuse it: %v", err)
		}
		e.Body, e.Properties = max(e.Body, len(m.Body)), max(e.Properties, m.Properties.Size())
		e.QoS = max(e.QoS, m.QoS)
		e.Header = max(e.Header, len(m.Compression)+len(m.Ext.CorrelationID)+len(m.Ext.TransactionID)+len(m.Ext.MessageKey)+len(m.Ext.TraceID))
	}
	if e != told {
		t.Errorf("%+v, the messages have %+v", told, e)
	}
	for skip := range min(h.Count, 4) {
		checkViews(t, data, h, skip, ms)
		part, err := chunk.Cut(data, h, skip, h.Count-skip)
		if err != nil {
			t.Fatal(err)
		}
		ph, err := chunk.Parse(part)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]om.Message, ph.Count)
		if n, err := chunk.Decode(part, ph, 0, got); n != h.Count-skip || err != nil || got[0].MessageID != ms[skip].MessageID ||
			!bytes.Equal(got[0].Body, ms[skip].Body) || !got[0].BornAt.Equal(ms[skip].BornAt) {
			t.Errorf("cut at %d: %d %v", skip, n, err)
		}
	}
}

// checkViews compares views with the decoded messages.
func checkViews(t *testing.T, data []byte, h chunk.Header, skip int, ms []om.Message) {
	w := chunk.Walk(data, h, skip)
	var v chunk.View
	for i := skip; i < h.Count; i++ {
		if !w.Next(&v) {
			t.Fatalf("message %d: %v", i, w.Err())
		}
		m := &ms[i]
		got := om.Message{Version: v.Chunk.Version, Properties: om.Properties{}, Body: m.Body}
		got.Header = om.Header{
			MessageID: v.MessageID(), Destination: m.Destination, BornAt: time.UnixMilli(v.BornAt).UTC(), BornHost: v.Chunk.BornHost,
			QoS: v.QoS, Compression: v.Compression,
		}
		got.Ext = om.ExtensionHeader{
			CorrelationID: v.CorrelationID, TransactionID: v.TransactionID, MessageKey: v.MessageKey, TraceID: v.TraceID,
			Delay: time.Duration(v.Delay) * time.Millisecond, Priority: v.Priority,
		}
		if v.ExpireAt != 0 || !m.Ext.ExpireAt.IsZero() {
			got.Ext.ExpireAt = time.UnixMilli(v.ExpireAt).UTC()
		}
		for k, want := range m.Properties {
			if got.Properties[k] = want; len(m.Properties) > 64 {
				continue
			}
			p, ok := v.Property(k)
			if !ok || p.Kind() != want.Kind() || p.Kind() != om.KindObject && !p.Equal(want) {
				t.Errorf("property %q of message %d is %v, want %v", k, i, p, want)
			}
		}
		if _, ok := v.Property("not there\x00"); ok != (m.Properties["not there\x00"].Kind() != om.KindInvalid) {
			t.Error("a property that is not there")
		}
		if !reflect.DeepEqual(got, *m) {
			t.Errorf("message %d is shown as %+v, it is %+v", i, got, *m)
		}
	}
	if w.Next(&v) || w.Err() != nil {
		t.Error("more than there is", w.Err())
	}
}

func TestCut(t *testing.T) {
	data := encode(benchMessage(true), benchMessage(false), benchMessage(true))
	h, err := chunk.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	part, err := chunk.Cut(data, h, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	ph, err := chunk.Parse(part)
	if err != nil || ph.Count != 1 || ph.Sequence != h.Sequence+1 || len(part) != ph.Size {
		t.Fatal(ph, err)
	}
	got := make([]om.Message, 1)
	if _, err := chunk.Decode(part, ph, 0, got); err != nil || got[0].MessageID != decode(t, data)[1].MessageID || len(got[0].Properties) != 0 {
		t.Error(got, err)
	}
	if whole, err := chunk.Cut(data, h, 0, 3); err != nil || &whole[0] != &data[0] {
		t.Error("the whole chunk is copied", err)
	}
	for _, c := range [][2]int{{-1, 1}, {0, 0}, {0, 4}, {3, 1}, {2, 2}} {
		if _, err := chunk.Cut(data, h, c[0], c[1]); err == nil {
			t.Errorf("cut %v", c)
		}
	}
}

// TestExampleInDocs reads the chunk that docs/wire.md shows.
func TestExampleInDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for _, line := range regexp.MustCompile(`(?m)^[0-9a-f]{2}( [0-9a-f]{2})*$`).FindAllString(string(page), -1) {
		bytes, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, bytes...)
	}
	m := decode(t, data)[0]
	if string(m.Body) != "hello" || m.Ext.MessageKey != "k1" || m.MessageID != "0102030405060708-0" || !strings.Contains(string(page), fmt.Sprintf("<%d bytes>", len(data))) {
		t.Errorf("%+v in %d bytes", m, len(data))
	}
}

func TestIDs(t *testing.T) {
	for _, c := range [][2]uint64{{0, 0}, {1, 15}, {math.MaxUint64, math.MaxUint64 - 20}, {0xabc, 1 << 40}} {
		chunk.IDs(c[0], c[1], 20, func(i int, id string) {
			producer, sequence, err := chunk.ParseID(id)
			if producer != c[0] || sequence != c[1]+uint64(i) || err != nil {
				t.Errorf("%s is %x %x %v", id, producer, sequence, err)
			}
		})
	}
	for _, id := range []string{"", "-", "0000000000000abc-", "abc-1", "0000000000000abc-01", "0000000000000ABC-1", "0000000000000abc-g"} {
		if _, _, err := chunk.ParseID(id); err == nil {
			t.Errorf("%q is an id", id)
		}
	}
}

// TestHashKey: clients in other languages compute it too.
func TestHashKey(t *testing.T) {
	for _, key := range []string{"", "a", "key-1", "\x00\xff", strings.Repeat("long ", 100)} {
		h := fnv.New64a()
		_, _ = h.Write([]byte(key))
		if got := chunk.HashKey(key); got != h.Sum64() || chunk.Partition(key, 7) != int32(h.Sum64()%7) {
			t.Errorf("%q: %x, partition %d", key, got, chunk.Partition(key, 7))
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("0000000000000abc-29")
	f.Fuzz(func(t *testing.T, id string) {
		if producer, sequence, err := chunk.ParseID(id); err == nil && string(chunk.AppendID(nil, producer, sequence)) != id {
			t.Errorf("%q is read as %x %x", id, producer, sequence)
		}
	})
}

func benchMessage(properties bool) *om.Message {
	m := om.NewMessage("q", make([]byte, 128))
	m.BornAt = born
	if properties {
		for _, k := range []string{"alpha", "beta", "gamma", "delta"} {
			m.Properties[k] = om.String("a value of some length")
		}
	}
	return m
}

func benchBoth(b *testing.B, f func(b *testing.B, m *om.Message)) {
	b.Run("plain", func(b *testing.B) { f(b, benchMessage(false)) })
	b.Run("properties", func(b *testing.B) { f(b, benchMessage(true)) })
}

func BenchmarkEncode(b *testing.B) {
	benchBoth(b, func(b *testing.B, m *om.Message) {
		b.ReportAllocs()
		var c chunk.Builder
		for i := 0; i < b.N; i++ {
			if i%1024 == 0 {
				c.Reset(1, 1, "host", om.SpecVersion, born)
			}
			c.Add(m)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	benchBoth(b, func(b *testing.B, m *om.Message) {
		var c chunk.Builder
		c.Reset(1, 1, "host", om.SpecVersion, born)
		for range 1024 {
			c.Add(m)
		}
		data := c.Finish()
		h, err := chunk.Parse(data)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += 1024 {
			ms := make([]om.Message, 1024)
			if _, err := chunk.Decode(data, h, 0, ms); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	benchBoth(b, func(b *testing.B, m *om.Message) {
		var c chunk.Builder
		c.Reset(1, 1, "host", om.SpecVersion, born)
		for range 1024 {
			c.Add(m)
		}
		data := c.Finish()
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += 1024 {
			h, err := chunk.Parse(data)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := chunk.Validate(data, h); err != nil {
				b.Fatal(err)
			}
		}
	})
}
