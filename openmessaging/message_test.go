package openmessaging_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	. "github.com/openmessaging/openmessaging-go/openmessaging"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestValidate(t *testing.T) {
	deep := Properties{"x": Long(1)}
	for range MaxNesting + 1 {
		deep = Properties{"x": Object(deep)}
	}
	for name, c := range map[string]struct {
		change func(*Message)
		code   Code
		part   string
	}{
		"R023_destination_required": {func(m *Message) { m.Destination = "" }, CodeDestinationNotFound, "no destination"},
		"G18_qos_range":             {func(m *Message) { m.QoS = 3 }, CodeBadParameter, "QoS 3"},
		"G18_qos_negative":          {func(m *Message) { m.QoS = -1 }, CodeBadParameter, "QoS -1"},
		"G19_bad_delay":             {func(m *Message) { m.Ext.Delay = -1 }, CodeBadParameter, "negative"},
		"C2_expiry_past":            {func(m *Message) { m.Ext.ExpireAt = now.Add(-time.Hour) }, CodeBadParameter, "not in the future"},
		"C2_expiry_now":             {func(m *Message) { m.Ext.ExpireAt = now }, CodeBadParameter, "not in the future"},
		"G20_partition_negative":    {func(m *Message) { m.Ext.Partition = Some(int32(-1)) }, CodeBadParameter, "partition -1"},
		"G15_bad_key":               {func(m *Message) { m.Properties["\xff"] = Long(1) }, CodeMalformedMessage, "UTF-8"},
		"G15_bad_string":            {func(m *Message) { m.Properties["k"] = String("\xff") }, CodeMalformedMessage, `"k"`},
		"G15_bad_nested":            {func(m *Message) { m.Properties["k"] = Object(Properties{"i": String("\xff")}) }, CodeMalformedMessage, "k.i"},
		"G15_bad_trace":             {func(m *Message) { m.Ext.TraceID = "\xff" }, CodeMalformedMessage, "UTF-8"},
		"G15_bad_message_key":       {func(m *Message) { m.Ext.MessageKey = "\xff" }, CodeMalformedMessage, "UTF-8"},
		"G15_bad_correlation":       {func(m *Message) { m.Ext.CorrelationID = "\xff" }, CodeMalformedMessage, "UTF-8"},
		"G15_bad_compression":       {func(m *Message) { m.Compression = "\xff" }, CodeMalformedMessage, "UTF-8"},
		"G15_bad_destination":       {func(m *Message) { m.Destination = "\xff" }, CodeMalformedMessage, "UTF-8"},
		"G15_bad_nested_key":        {func(m *Message) { m.Properties["k"] = Object(Properties{"\xff": Long(1)}) }, CodeMalformedMessage, `"k"`},
		"no_value":                  {func(m *Message) { m.Properties["k"] = Value{} }, CodeMalformedMessage, "no value"},
		"too_deep":                  {func(m *Message) { m.Properties["k"] = Object(deep) }, CodeMalformedMessage, "nested"},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMessage("q", nil)
			c.change(m)
			err := m.Validate("send", now)
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || e.Op != "send" || e.Resource != m.Destination || !strings.Contains(err.Error(), c.part) {
				t.Errorf("%v", err)
			}
			if strings.HasPrefix(name, "G15") && !errors.Is(err, ErrMessageFormat) {
				t.Errorf("not of the message-format class: %v", err)
			}
		})
	}
	m := NewMessage("q", nil)
	m.Properties["any \x00 key / ."] = String("é\U0001F600")
	m.Ext.ExpireAt = now.Add(time.Millisecond)
	m.QoS = ExactlyOnce
	if err := m.Validate("send", now); err != nil {
		t.Error(err)
	}
}

// TestNestingLimit holds the limit to the number in the documentation.
func TestNestingLimit(t *testing.T) {
	m := NewMessage("q", nil)
	v := Long(1)
	for objects := 1; objects <= MaxNesting; objects++ {
		v = Object(Properties{"x": v})
		m.Properties["k"] = v
		if err := m.Validate("send", now); (err == nil) != (objects < MaxNesting) {
			t.Errorf("%d objects in each other: %v", objects, err)
		}
	}
}

func TestExpireAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := ExpireAfter(time.Hour); !got.Equal(time.Now().Add(time.Hour)) {
			t.Error(got)
		}
		m := NewMessage("q", nil)
		m.Ext.Delay, m.Ext.ExpireAt = 2*time.Hour, ExpireAfter(time.Hour)
		if err := m.Validate("send", time.Now()); err != nil {
			t.Errorf("G19: a delay beyond the expiry is the broker's to discard, not to refuse: %v", err)
		}
		time.Sleep(time.Hour)
		if err := m.Validate("send", time.Now()); !errors.Is(err, CodeBadParameter) {
			t.Errorf("C2: %v", err)
		}
	})
}

func TestCloneSharesNothing(t *testing.T) {
	m := NewMessage("q", []byte("body"))
	m.Properties["b"] = Binary([]byte("x"))
	c := m.Clone()
	if d := cmp.Diff(m, c, cmp.AllowUnexported(Opt[int32]{})); d != "" {
		t.Error(d)
	}
	c.Body[0], c.Properties["b"], c.Destination = 'B', Long(1), "other"
	if string(m.Body) != "body" || !m.Properties["b"].Equal(Binary([]byte("x"))) || m.Destination != "q" {
		t.Errorf("the clone shares memory: %+v", m)
	}
	if (&Message{}).Clone().Properties != nil {
		t.Error("the clone of no properties has some")
	}
}

func TestOpt(t *testing.T) {
	if v, ok := (Opt[int32]{}).Get(); v != 0 || ok || !(Opt[int32]{}).IsZero() {
		t.Error("the zero Opt is set")
	}
	if v, ok := Some(int32(0)).Get(); v != 0 || !ok || Some(int32(0)).IsZero() {
		t.Error("Some(0) is not set")
	}
}

func TestQoSNames(t *testing.T) {
	for q, want := range map[QoS]string{AtLeastOnce: "at-least-once", AtMostOnce: "at-most-once", ExactlyOnce: "exactly-once", 9: "QoS(9)"} {
		if q.String() != want {
			t.Errorf("%d is %q", int8(q), q.String())
		}
	}
	if AtLeastOnce != 0 || AtMostOnce != 1 || ExactlyOnce != 2 {
		t.Error("C4: the specification's numbers have changed")
	}
}

func TestStates(t *testing.T) {
	var names []string
	for s := Initialized; s <= Stopped+1; s++ {
		names = append(names, s.String())
	}
	if got := strings.Join(names, " "); got != "INITIALIZED STARTING STARTED STOPPING STOPPED UNKNOWN" {
		t.Error(got)
	}
}

func TestCapabilities(t *testing.T) {
	c := Capabilities{CapAdmin, CapSeek}
	if !c.Has(CapSeek) || c.Has(CapLease) || Capabilities(nil).Has(CapSeek) {
		t.Error(c)
	}
}
