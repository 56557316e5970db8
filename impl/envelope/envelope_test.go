package envelope_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/envelope"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var stored = time.UnixMilli(1_700_000_000_123).UTC()

func message(properties int) *om.Message {
	m := om.NewMessage("q", []byte("body"))
	m.Version, m.BornAt, m.BornHost = "1.0.0", time.UnixMilli(42).UTC(), "my host\r\nnäh"
	m.Ext.MessageKey, m.Ext.CorrelationID, m.Ext.TraceID = "k: ", "c\n", "заказ %"
	if properties >= 0 {
		m.Properties["blob"] = om.Binary(make([]byte, properties))
		m.Properties["nan"] = om.Double(math.Float64frombits(0x7ff0000000000001))
		m.Properties["object"] = om.Object(om.Properties{"": om.Float(float32(math.Copysign(0, -1)))})
	}
	return m
}

func TestPackAndUnpack(t *testing.T) {
	h := map[string][]string{"Own": {"x"}} // of all of them
	for _, properties := range []int{100_000, -1, 0, 1000, envelope.MaxHeader} {
		m := message(properties)
		if properties == 0 {
			m.Ext.TraceID = ""
		}
		body := envelope.Pack(m, h)
		if small := properties < 2000; small != bytes.Equal(body, m.Body) {
			t.Errorf("%d bytes of properties: other clients read %d bytes", properties, len(body))
		}
		for k, v := range h {
			if len(v) != 1 || strings.ContainsFunc(k+v[0], func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("the header %q is %q", k, v)
			}
		}
		got := &om.Message{}
		if err := envelope.Unpack(got, h, body, stored, "host", "Own"); err != nil {
			t.Fatal(err)
		}
		if got.Version != m.Version || !got.BornAt.Equal(m.BornAt) || got.BornHost != m.BornHost || got.Ext != m.Ext || !bytes.Equal(got.Body, m.Body) || !got.Properties.Equal(m.Properties) || got.Properties == nil {
			t.Errorf("%d bytes of properties: %+v instead of %+v", properties, got, m)
		}
	}
}

func TestOtherClients(t *testing.T) {
	m := &om.Message{}
	h := map[string][]string{"Color": {"red", "blue"}, "Sys-Id": {"1"}, "None": nil, "Bad": {"\xff"}}
	if err := envelope.Unpack(m, h, []byte("b"), stored, "host", "Sys-"); err != nil {
		t.Fatal(err)
	}
	want := om.Properties{"Color": om.String("red")}
	if m.Version != om.SpecVersion || !m.BornAt.Equal(stored) || m.BornHost != "host" || string(m.Body) != "b" || !m.Properties.Equal(want) {
		t.Errorf("%+v", m)
	}
}

func TestDamagedHeaders(t *testing.T) {
	for _, h := range []map[string][]string{
		{"Oms": {"1.0.0 today host"}}, {"Oms": {"1.0.0 1 %zz"}}, {"Oms": {"1.0.0 1 h"}, "Oms-Key": {"%"}}, {"Oms": {"1.0.0 1 h"}, "Oms-Prefix": {"99"}},
		{"Oms": {"1.0.0 1 h"}, "Oms-Prefix": {"-1"}}, {"Oms": {"1.0.0 1 h"}, "Oms-Prefix": {"x"}}, {"Oms": {"1.0.0 1 h"}, "Oms-Properties": {"!"}},
		{"Oms": {"1.0.0 1 h"}, "Oms-Properties": {"AAAA"}}, {"Oms": {"1.0.0 1 h"}, "Oms-Prefix": {"2"}},
	} {
		if err := envelope.Unpack(&om.Message{}, h, []byte("body"), stored, "host", "Sys-"); err == nil {
			t.Errorf("%v was taken", h)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, n := range []int{-1, 0, 100_000} {
		h := map[string][]string{}
		body := envelope.Pack(message(n), h)
		first := func(k string) string { return strings.Join(h[k], "") }
		f.Add(first(envelope.OMS), first(envelope.Key), first(envelope.Properties), first(envelope.Prefix), body)
	}
	f.Fuzz(func(t *testing.T, oms, key, properties, prefix string, body []byte) {
		h := map[string][]string{envelope.OMS: {oms}, envelope.Key: {key}, envelope.Properties: {properties}, envelope.Prefix: {prefix}}
		m := &om.Message{}
		if envelope.Unpack(m, h, body, stored, "host", "Sys-") != nil {
			return
		}
		again, h2 := &om.Message{}, map[string][]string{}
		if err := envelope.Unpack(again, h2, envelope.Pack(m, h2), stored, "host", "Sys-"); err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		if !bytes.Equal(again.Body, m.Body) || !again.Properties.Equal(m.Properties) || again.Ext != m.Ext || again.BornHost != m.BornHost {
			t.Fatalf("%+v instead of %+v", again, m)
		}
	})
}
