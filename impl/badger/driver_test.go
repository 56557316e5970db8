package badger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tryOpen(t *testing.T, url string) (spi.Conn, error) {
	t.Helper()
	u, err := om.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return Driver{}.Open(t.Context(), spi.Config{URL: u, Logger: slog.New(slog.DiscardHandler)})
}

const memory = "oms:badger://local/test?memory=true"

func withQueue(t *testing.T, url string, partitions int) spi.Conn {
	t.Helper()
	c := openConn(t, url)
	ok(t, power[spi.Admin](t, c).CreateQueue(t.Context(), om.QueueConfig{Name: "q", Partitions: partitions}))
	return c
}

func power[T any](t *testing.T, v any) T {
	t.Helper()
	p, found := spi.As[T](v)
	if !found {
		t.Fatalf("%T lacks an interface", v)
	}
	return p
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func message(body string) *om.Message {
	m := om.NewMessage("q", []byte(body))
	m.Version, m.BornAt, m.BornHost = om.SpecVersion, time.Now().UTC().Truncate(time.Millisecond), "here"
	return m
}

func send(t *testing.T, c spi.Conn, ms ...*om.Message) []spi.Outcome {
	t.Helper()
	s, err := c.NewSender(t.Context(), spi.SenderConfig{})
	ok(t, err)
	out, err := s.Send(t.Context(), ms)
	ok(t, err)
	ok(t, s.Close(t.Context()))
	return out
}

func receiverOf(t *testing.T, c spi.Conn) spi.Receiver {
	t.Helper()
	r, err := c.NewReceiver(t.Context(), spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
	ok(t, err)
	return r
}

func TestG40_capability_honest(t *testing.T) {
	for _, url := range []string{memory, URL(t.TempDir())} {
		c := withQueue(t, url, 1)
		caps := c.Capabilities()
		if caps.Has(om.CapPersistent) != (url != memory) {
			t.Errorf("%s: persistent is %v", url, caps.Has(om.CapPersistent))
		}
		r := receiverOf(t, c)
		power[spi.Admin](t, c)
		power[spi.Describer](t, c)
		power[spi.Seeker](t, c)
		power[spi.Streamer](t, c)
		power[spi.Nacker](t, r)
		power[spi.Leaser](t, r)
		ok(t, power[spi.Pinger](t, c).Ping(t.Context()))
		var b *broker.Broker
		if !power[spi.Asser](t, c).As(&b) || b == nil || power[spi.Asser](t, c).As(new(int)) {
			t.Error("As")
		}
	}
}

func TestR028_unsupported_is_said_per_message(t *testing.T) {
	c := withQueue(t, memory, 2)
	for name, change := range map[string]func(*om.Message){
		"compression": func(m *om.Message) { m.Compression = "lz4" },
	} {
		bad := message(name)
		change(bad)
		out := send(t, c, message("a"), bad, message("b"))
		if out[0].Err != nil || out[2].Err != nil || !errors.Is(out[1].Err, om.ErrUnsupported) {
			t.Errorf("%s: %v", name, out)
		}
		if out[0].MessageID == out[2].MessageID || out[0].Partition != out[2].Partition || out[2].Offset != out[0].Offset+1 {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

func TestR026_size_limits(t *testing.T) {
	c := withQueue(t, memory, 1)
	header, properties := message(""), message("")
	header.Ext.TraceID = strings.Repeat("x", broker.MaxHeader+1)
	properties.Properties["k"] = om.String(strings.Repeat("x", broker.MaxProperties))
	body, most := message(""), message("")
	body.Body = make([]byte, broker.MaxBody+1)
	most.Body = make([]byte, broker.MaxBody)
	out := send(t, c, header, properties, body, most)
	for i, code := range []om.Code{om.CodeHeaderTooLarge, om.CodePropertiesTooLarge, om.CodeBodyTooLarge, 0} {
		if om.CodeOf(out[i].Err) != code {
			t.Errorf("%d: %v", i, out[i].Err)
		}
	}
	ds, err := receiverOf(t, c).Receive(t.Context(), 10)
	if err != nil || len(ds) != 1 || len(ds[0].Message.Body) != broker.MaxBody {
		t.Errorf("%d messages, %v", len(ds), err)
	}
}

func TestG20_R042_R033_R052_where_messages_go(t *testing.T) {
	c := withQueue(t, memory, 4)
	at := func(p int32) *om.Message {
		m := message("p")
		m.Ext.Partition = om.Some(p)
		return m
	}
	lost := message("x")
	lost.Destination = "nowhere"
	out := send(t, c, at(3), at(0), at(4), lost, at(3))
	if out[0].Partition != 3 || out[1].Partition != 0 || out[4].Partition != 3 || out[4].Offset != 1 {
		t.Errorf("%+v", out)
	}
	if !errors.Is(out[2].Err, om.CodeBadParameter) || !errors.Is(out[3].Err, om.ErrDestination) {
		t.Errorf("%v, %v", out[2].Err, out[3].Err)
	}
	byKey := map[string]int32{}
	used := map[int32]bool{}
	for i := range 200 {
		m := message("k")
		m.Ext.MessageKey = fmt.Sprint("key-", i%50)
		p := send(t, c, m)[0].Partition
		if before, seen := byKey[m.Ext.MessageKey]; seen && before != p {
			t.Fatalf("%s went to %d and %d", m.Ext.MessageKey, before, p)
		}
		byKey[m.Ext.MessageKey] = p
		used[p] = true
	}
	if len(used) != 4 {
		t.Errorf("50 keys use %d of 4 partitions", len(used))
	}
	turns := map[int32]int{}
	for range 8 {
		turns[send(t, c, message("t"), message("t"))[1].Partition]++
	}
	for p, n := range turns {
		if n != 2 {
			t.Errorf("partition %d got %d of 8 calls", p, n)
		}
	}
}

func TestMessageArrivesWhole(t *testing.T) {
	c := withQueue(t, memory, 1)
	m := message("body")
	m.Ext.CorrelationID, m.Ext.MessageKey, m.Ext.TraceID = "c", "k", "t"
	m.Properties["felt"] = om.Integer(3)
	sent := m.Clone()
	out := send(t, c, m)[0]
	m.Body[0], m.Properties["felt"] = 'X', om.Long(1) // G01
	began := time.Now()
	ds, err := receiverOf(t, c).Receive(t.Context(), 1)
	ok(t, err)
	d := ds[0]
	got := d.Message
	if got.MessageID != out.MessageID || got.MessageID == "" || d.Partition != 0 || d.Offset != 0 || d.LeaseUntil.Before(began.Add(30*time.Second)) {
		t.Errorf("%+v", d)
	}
	if string(got.Body) != "body" || !got.Properties.Equal(sent.Properties) || got.Destination != "q" || !got.BornAt.Equal(sent.BornAt) ||
		got.BornHost != "here" || got.Version != om.SpecVersion || got.QoS != om.AtLeastOnce {
		t.Errorf("%+v", got)
	}
	if e := got.Ext; e.CorrelationID != "c" || e.MessageKey != "k" || e.TraceID != "t" || e.DeliveryCount != 1 || e.StoreHost == "" ||
		e.StoredAt.Before(sent.BornAt) || e.Partition != om.Some(int32(0)) {
		t.Errorf("%+v", e)
	}
}

func TestSharing(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	c := withQueue(t, URL(real), 1)
	link := filepath.Join(dir, "link")
	ok(t, os.Symlink(real, link))
	t.Chdir(dir)
	for _, path := range []string{real, link, "real", "./link/../real/."} {
		other := openConn(t, URL(path))
		send(t, other, message(path))
	}
	infos, err := power[spi.Describer](t, c).Partitions(t.Context(), "q")
	if err != nil || infos[0].End != 4 {
		t.Errorf("%+v %v", infos, err)
	}
	if _, err := tryOpen(t, URL(real, "retain_bytes", "1GB")); !errors.Is(err, om.CodeBadParameter) {
		t.Errorf("other options: %v", err)
	}
	a := withQueue(t, memory, 1)
	b := openConn(t, "oms:badger://local/other?memory=true")
	if _, err := power[spi.Describer](t, b).Partitions(t.Context(), "q"); !errors.Is(err, om.ErrDestination) {
		t.Errorf("regions share a broker in memory: %v", err)
	}
	ok(t, a.Close(t.Context()))
	again := openConn(t, memory)
	if _, err := power[spi.Describer](t, again).Partitions(t.Context(), "q"); !errors.Is(err, om.ErrDestination) {
		t.Errorf("memory was not forgotten: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(file, nil, 0o600))
	for options, part := range map[string]string{
		"x=1":                         "no such option",
		"memory=maybe":                "memory=maybe",
		"memory=false":                "say either",
		"path=a&memory=true":          "say either",
		"path=":                       "no name",
		"path=a&path=b":               "occurs 2 times",
		"path=a&retain_bytes=1":       "the least is 64 MiB",
		"path=a&retain_bytes=lots":    "not a size",
		"path=a&retain_age=1s":        "the least is 1m",
		"path=a&retain_age=yesterday": "retain_age=yesterday",
		"path=a&reserve=1MB":          "the least is 128 MiB",
	} {
		if _, err := tryOpen(t, "oms:badger://local/r?"+options); !errors.Is(err, om.CodeMalformedURL) || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", options, err)
		}
	}
	for _, url := range []string{"oms:badger://a,b/r?memory=true", "oms:badger://me@a/r?memory=true", "oms:badger://a/r"} {
		if _, err := tryOpen(t, url); !errors.Is(err, om.CodeMalformedURL) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := tryOpen(t, URL(file)); err == nil {
		t.Error("a file is a folder")
	}
}

func TestG10_G11_close(t *testing.T) {
	c := withQueue(t, memory, 1)
	s, err := c.NewSender(t.Context(), spi.SenderConfig{})
	ok(t, err)
	r := receiverOf(t, c)
	send(t, c, message("a"))
	ds, err := r.Receive(t.Context(), 1)
	ok(t, err)
	waits := make(chan error)
	go func() {
		_, err := r.Receive(context.Background(), 1)
		waits <- err
	}()
	ok(t, c.Close(t.Context()))
	ok(t, c.Close(t.Context()))
	if err := <-waits; !errors.Is(err, om.ErrClosed) {
		t.Errorf("the blocked receive: %v", err)
	}
	_, e1 := s.Send(t.Context(), []*om.Message{message("b")})
	_, e2 := r.Receive(t.Context(), 1)
	_, e3 := r.Ack(t.Context(), []spi.Receipt{ds[0].Receipt})
	_, e4 := c.NewSender(t.Context(), spi.SenderConfig{})
	_, e5 := c.NewReceiver(t.Context(), spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
	e6 := power[spi.Admin](t, c).DeleteQueue(t.Context(), "q")
	e7 := power[spi.Pinger](t, c).Ping(t.Context())
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7} {
		if !errors.Is(err, om.ErrClosed) {
			t.Errorf("%d: %v", i+1, err)
		}
	}
	ok(t, r.Close(t.Context()))
	ok(t, s.Close(t.Context()))
}

func TestG03_context_cancelled_first(t *testing.T) {
	c := withQueue(t, memory, 1)
	s, err := c.NewSender(t.Context(), spi.SenderConfig{})
	ok(t, err)
	r := receiverOf(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, e1 := s.Send(ctx, []*om.Message{message("b")})
	_, e2 := r.Receive(ctx, 1)
	_, e3 := r.Ack(ctx, nil)
	e4 := power[spi.Admin](t, c).CreateQueue(ctx, om.QueueConfig{Name: "other"})
	for i, err := range []error{e1, e2, e3, e4} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d: %v", i+1, err)
		}
	}
	infos, err := power[spi.Describer](t, c).Partitions(t.Context(), "q")
	if err != nil || infos[0].End != 0 {
		t.Errorf("%+v %v", infos, err)
	}
}

func TestG33_G34_persistence(t *testing.T) {
	url := URL(t.TempDir())
	c := withQueue(t, url, 1)
	var last int64 = -1
	for i := range 5 {
		out := send(t, c, message(fmt.Sprint(2*i)), message(fmt.Sprint(2*i+1)))
		if out[0].Offset != last+1 || out[1].Offset != last+2 {
			t.Fatalf("offsets %d, %d after %d", out[0].Offset, out[1].Offset, last)
		}
		last = out[1].Offset
		r := receiverOf(t, c)
		ds, err := r.Receive(t.Context(), 10)
		ok(t, err)
		// Unacknowledged from before, and the two new ones: keep one for next time.
		var receipts []spi.Receipt
		for _, d := range ds[:len(ds)-1] {
			receipts = append(receipts, d.Receipt)
		}
		errs, err := r.Ack(t.Context(), receipts)
		if err != nil || errs != nil || len(ds) != 2+min(1, i) || string(ds[len(ds)-1].Message.Body) != fmt.Sprint(2*i+1) {
			t.Fatalf("round %d: %d messages, %v %v", i, len(ds), errs, err)
		}
		ok(t, c.Close(t.Context()))
		c = openConn(t, url)
		groups, err := power[spi.Describer](t, c).Groups(t.Context(), "q")
		if err != nil || groups[0].Lag != 1 || groups[0].Partitions[0].Cursor != last {
			t.Fatalf("after round %d: %+v %v", i, groups, err)
		}
	}
}

func TestForeignReceipt(t *testing.T) {
	c := withQueue(t, memory, 1)
	if _, err := receiverOf(t, c).Ack(t.Context(), []spi.Receipt{"x"}); !errors.Is(err, om.CodeBadParameter) {
		t.Error(err)
	}
}
