package nats_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

func TestOptionsAreRefused(t *testing.T) {
	for option, part := range map[string]string{
		"?retries=3": "no such option", "?replicas=2": "1, 3 or 5", "?storage=tape": "file or memory", "?ack_wait=1ms": "the least is 1s",
		"?sync=sometimes": "always", "?retain_bytes=much": "not a size", "?tls_cert=x": "need each other", "?dedup=2m&dedup=3m": "occurs 2 times",
		"?nkey=/no/such/file": "no such file",
	} {
		_, err := oms.Open(t.Context(), urlOf("127.0.0.1:4222", option))
		is(t, err, false, om.CodeMalformedURL)
		contains(t, err.Error(), part)
	}
}

// TestNames shows that every name can be a queue's, a namespace's and a group's.
func TestNames(t *testing.T) {
	t.Parallel()
	ap := open(t, urlOf(natsserver.Address(start(t, nil)), "?sync=always"))
	ctx := t.Context()
	names := []string{"orders", "or.ders", "or*ders", "or>ders", "or ders", "or/ders", "or=2Eders", "Orders", "or~ders", "заказы", "%|$~._-",
		strings.Repeat("long", 50), strings.Repeat("long", 50) + "r", "\\:\x01"}
	for _, n := range names {
		ok(t, ap.Resources().CreateNamespace(ctx, "n"+n))
		ok(t, ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: om.JoinQueueName("n"+n, n), Description: n}))
	}
	p := producer(t, ap)
	for _, n := range names {
		q := om.JoinQueueName("n"+n, n)
		send(t, p, q, n)
		same(t, "messages of "+n, receive(t, pull(t, ap, q, om.WithGroup(n)), 1), []string{n})
		groups, err := ap.Resources().Groups(ctx, q)
		ok(t, err)
		if len(groups) != 1 || groups[0].Group != n || groups[0].Lag != 0 || groups[0].Partitions[0].Cursor != 1 {
			t.Errorf("groups of %q: %+v", n, groups)
		}
		qs, err := ap.Resources().Namespace("n" + n).Queues(ctx)
		ok(t, err)
		if len(qs) != 1 || qs[0].Name != q || qs[0].Description != n {
			t.Errorf("queues of namespace %q: %v", n, qs)
		}
	}
	spaces, err := ap.Resources().Namespaces(ctx)
	ok(t, err)
	if len(spaces) != len(names)+1 {
		t.Errorf("namespaces: %v", spaces)
	}
	is(t, ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: strings.Repeat("x", 256)}), false, om.CodeBadParameter)
	is(t, ap.Resources().DeleteNamespace(ctx, "norders"), false, om.CodeBadParameter) // it has a queue
}

// TestOtherClients sends and receives beside plain clients of NATS.
func TestOtherClients(t *testing.T) {
	address := natsserver.Address(start(t, nil))
	ap := open(t, urlOf(address, "?sync=always"))
	createQueue(t, ap, "q", 1)
	m := om.NewMessage("q", []byte("readable"))
	m.Ext.MessageKey, m.Ext.TraceID = "customer-7", "näh\r\n: "
	m.Properties["big"] = om.Binary(make([]byte, 100<<10))
	m.Properties["nan"] = om.Double(math.Float64frombits(0x7ff0000000000001))
	m.Properties["object"] = om.Object(om.Properties{"": om.Float(float32(math.Copysign(0, -1)))})
	_, err := producer(t, ap).Send(t.Context(), m)
	ok(t, err)
	send(t, producer(t, ap), "q", "readable")

	nc, js := native(t, address)
	s, err := js.Stream(t.Context(), "oms~test~default~q")
	ok(t, err)
	got, err := s.GetMsg(t.Context(), 2)
	ok(t, err)
	if string(got.Data) != "readable" || got.Header.Get(nats.MsgIdHdr) == "" {
		t.Errorf("a plain client reads %q %v", got.Data, got.Header)
	}
	foreign := &nats.Msg{Subject: "oms.test.default.q.0", Data: []byte("foreign"), Header: nats.Header{"Color": {"red"}}}
	_, err = js.PublishMsg(t.Context(), foreign)
	ok(t, err)
	ok(t, nc.Publish("oms.test.default.q.0", nil))
	ok(t, nc.Flush())

	c := pull(t, ap, "q")
	d, err := c.Receive(within(t, 10*time.Second))
	ok(t, err)
	if string(d.Body) != "readable" || !d.Properties.Equal(m.Properties) || d.Ext.MessageKey != "customer-7" || d.Ext.TraceID != m.Ext.TraceID {
		t.Errorf("%q, key %q, trace %q, %d properties", d.Body, d.Ext.MessageKey, d.Ext.TraceID, len(d.Properties))
	}
	receive(t, c, 1)
	d, err = c.Receive(within(t, 10*time.Second))
	ok(t, err)
	if string(d.Body) != "foreign" || d.Properties.GetString("Color", "") != "red" || d.MessageID == "" || d.BornHost == "" || d.Version == "" || d.BornAt.IsZero() {
		t.Errorf("from another client: %+v", d.Message)
	}
	d, err = c.Receive(within(t, 10*time.Second))
	ok(t, err)
	if len(d.Body) != 0 || d.Properties == nil || d.MessageID == "" {
		t.Errorf("an empty message of another client: %+v", d.Message)
	}
}

// TestRepeatedSendIsStoredOnce loses the answer of a send.
func TestRepeatedSendIsStoredOnce(t *testing.T) {
	s := start(t, nil)
	proxy := startProxy(t, natsserver.Address(s))
	ap := open(t, urlOf(proxy.address(), "?sync=always"))
	createQueue(t, ap, "q", 1)
	p := producer(t, ap)
	send(t, p, "q", "before")
	_, js := native(t, natsserver.Address(s))
	stored := func() uint64 {
		stream, err := js.Stream(t.Context(), "oms~test~default~q")
		ok(t, err)
		return stream.CachedInfo().State.LastSeq
	}
	proxy.holdAnswers(true)
	sent := p.SendAsync(t.Context(), om.NewMessage("q", []byte("once")))
	await(t, "the message is stored", func() bool { return stored() == 2 })
	proxy.cut()
	proxy.holdAnswers(false)
	r, err := sent.Wait(within(t, 20*time.Second))
	ok(t, err)
	if r.Offset != 1 || stored() != 2 {
		t.Errorf("offset %d, %d messages are stored", r.Offset, stored())
	}
	same(t, "messages", receive(t, pull(t, ap, "q"), 2), []string{"before", "once"})
}

// TestG23_fencing shows that an acknowledgement that NATS itself would take is
// refused when the lease is over, and that leases of any length are kept.
func TestG23_fencing(t *testing.T) {
	ap := open(t, urlOf(natsserver.Address(start(t, nil)), "?sync=always&ack_wait=1s"))
	createQueue(t, ap, "q", 1)
	send(t, producer(t, ap), "q", "long", "short")
	ctx := t.Context()
	long := pull(t, ap, "q", om.WithLease(time.Hour)) // 3,600 times what the server waits
	kept, err := long.Receive(within(t, 10*time.Second))
	ok(t, err)
	short := pull(t, ap, "q", om.WithLease(200*time.Millisecond))
	late, err := short.Receive(within(t, 10*time.Second))
	ok(t, err)
	again, err := pull(t, ap, "q", om.WithLease(time.Hour)).Receive(within(t, 10*time.Second))
	ok(t, err)
	if again.MessageID != late.MessageID || again.Ext.DeliveryCount != 2 {
		t.Fatalf("%q came, delivery %d", again.Body, again.Ext.DeliveryCount)
	}
	is(t, late.Ack(ctx), false, om.CodeStaleReceipt)
	is(t, late.Nack(ctx, 0), false, om.CodeStaleReceipt)
	if d, err := short.Receive(within(t, 2500*time.Millisecond)); err == nil { // two and a half times ack_wait
		t.Errorf("%q came, which others hold", d.Body)
	}
	ok(t, again.Ack(ctx))
	ok(t, kept.Extend(ctx, time.Hour))
	ok(t, kept.Ack(ctx))
	groups, err := ap.Resources().Groups(ctx, "q")
	ok(t, err)
	if groups[0].Lag != 0 {
		t.Errorf("lag %d after both were acknowledged", groups[0].Lag)
	}
}

// TestKeptMessagesAreGivenBack has a message on its way when the receiver stops
// waiting: it is given back soon, long before ack_wait is over.
func TestKeptMessagesAreGivenBack(t *testing.T) {
	t.Parallel()
	address := natsserver.Address(start(t, nil))
	proxy := startProxy(t, address)
	away, here := open(t, urlOf(proxy.address(), "?sync=always&ack_wait=1h")), open(t, urlOf(address, "?sync=always"))
	createQueue(t, here, "q", 1)
	first, second := pull(t, away, "q", om.WithLease(time.Hour)), pull(t, here, "q")
	nc, js := native(t, address)
	group := func() *jetstream.ConsumerInfo {
		c, err := js.Consumer(t.Context(), "oms~test~default~q", "default")
		ok(t, err)
		return c.CachedInfo()
	}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := first.Receive(ctx)
			got <- err
		}()
		await(t, "the receiver waits", func() bool { return group().NumWaiting == 1 })
		proxy.holdAnswers(true)
		ok(t, nc.Publish("oms.test.default.q.0", nil))
		await(t, "the message is on its way", func() bool { return group().NumAckPending == 1 })
		cancel()
		is(t, <-got, false, context.Canceled)
		proxy.holdAnswers(false)
		receive(t, second, 1)
	}
}

// TestPartitionsShareASequence reads partitions whose offsets have gaps, and what
// another client has sent to no partition.
func TestPartitionsShareASequence(t *testing.T) {
	address := natsserver.Address(start(t, nil))
	ap := open(t, urlOf(address, "?sync=always"))
	createQueue(t, ap, "q", 3)
	p := producer(t, ap)
	want := map[int32][]string{}
	for i, partition := range []int32{0, 2, 2, 0, 0, 2} {
		m := om.NewMessage("q", []byte(fmt.Sprint(i)))
		m.Ext.Partition = om.Some(partition)
		r, err := p.Send(t.Context(), m)
		ok(t, err)
		if r.Partition != partition || r.Offset != int64(i) {
			t.Errorf("message %d lies in partition %d at %d", i, r.Partition, r.Offset)
		}
		want[partition] = append(want[partition], string(m.Body))
	}
	_, js := native(t, address)
	_, err := js.Publish(t.Context(), "oms.test.default.q.elsewhere", []byte("6"))
	ok(t, err)
	ps, err := ap.Resources().Partitions(t.Context(), "q")
	ok(t, err)
	streams, err := ap.NewStreamConsumer(t.Context())
	ok(t, err)
	for i, info := range ps {
		if info != (om.PartitionInfo{Queue: "default://q", Partition: int32(i), End: 7, Messages: int64(len(want[int32(i)]))}) {
			t.Errorf("%+v", info)
		}
		cursor, err := streams.Open(t.Context(), "q", info.Partition, om.End())
		ok(t, err)
		var got []string
		for d, err := range cursor.Backward(t.Context()) {
			ok(t, err)
			got = append([]string{string(d.Body)}, got...)
		}
		same(t, fmt.Sprintf("partition %d backward", i), got, want[info.Partition])
	}
	c := pull(t, ap, "q")
	for i := range 7 { // in the order of all
		d, err := c.Receive(within(t, 10*time.Second))
		ok(t, err)
		if string(d.Body) != fmt.Sprint(i) || (d.Partition == -1) != (i == 6) {
			t.Errorf("message %d: %q of partition %d", i, d.Body, d.Partition)
		}
	}
	groups, err := ap.Resources().Groups(t.Context(), "q")
	ok(t, err)
	if g := groups[0]; g.Lag != 7 || g.InFlight != 7 || len(g.Partitions) != 3 || g.Partitions[2] != (om.GroupPartition{Partition: 2, Lag: -1, InFlight: -1}) {
		t.Errorf("%+v", g)
	}
}

// TestSeekAndStart moves groups and starts them at positions.
func TestSeekAndStart(t *testing.T) {
	ap := open(t, urlOf(natsserver.Address(start(t, nil)), "?sync=always"))
	createQueue(t, ap, "q", 1)
	p := producer(t, ap)
	send(t, p, "q", "0", "1", "2")
	await(t, "the clock has gone on", func() func() bool {
		from := time.Now().Truncate(time.Millisecond)
		return func() bool { return time.Since(from) > 2*time.Millisecond }
	}())
	middle := time.Now()
	send(t, p, "q", "3", "4")
	ctx := t.Context()
	for at, want := range map[om.Position][]string{
		om.AtOffset(3): {"3", "4"}, om.AtTime(middle): {"3", "4"}, om.AtOffset(-5): {"0", "1", "2", "3", "4"}, om.AtTime(middle.Add(-time.Hour)): {"0", "1", "2", "3", "4"},
	} {
		same(t, at.String(), receive(t, pull(t, ap, "q", om.WithGroup(at.String()), om.WithStart(at)), len(want)), want)
	}
	c := pull(t, ap, "q")
	d, err := c.Receive(within(t, 10*time.Second))
	ok(t, err)
	ok(t, ap.Resources().SeekGroup(ctx, "q", "default", om.AtOffset(4)))
	is(t, d.Ack(ctx), false, om.CodeStaleReceipt)
	same(t, "after a seek", receive(t, c, 1), []string{"4"})
	ok(t, ap.Resources().SeekGroup(ctx, "q", "default", om.Begin()))
	same(t, "after a seek back", receive(t, c, 5), numbered(5))
	for _, end := range []om.Position{om.End(), om.AtOffset(1000), om.AtTime(time.Now().Add(time.Hour))} {
		ok(t, ap.Resources().SeekGroup(ctx, "q", "default", end))
		if d, err := c.Receive(within(t, 200*time.Millisecond)); err == nil {
			t.Errorf("%q came after a seek to %v", d.Body, end)
		}
	}
	send(t, p, "q", "5")
	same(t, "after a seek to the end", receive(t, c, 1), []string{"5"})
	ok(t, ap.Resources().DeleteGroup(ctx, "q", "default"))
	is(t, ap.Resources().DeleteGroup(ctx, "q", "default"), false, om.CodeGroupNotFound)
	_, err = c.Receive(within(t, 10*time.Second))
	is(t, err, false, om.CodeGroupNotFound)
}

// TestSyncIsSaid reads what Open logs about syncing.
func TestSyncIsSaid(t *testing.T) {
	opened := func(s *server.Server, options string, opts ...oms.Option) string {
		said := new(log)
		open(t, urlOf(natsserver.Address(s), options), append(opts, oms.WithLogger(slog.New(slog.NewTextHandler(said, nil))))...)
		return said.String()
	}
	s := start(t, nil)
	contains(t, opened(s, ""), "cannot see", "sync_interval: always", "sync=always")
	if again := opened(s, ""); again != "" {
		t.Errorf("it is said twice: %s", again)
	}
	for interval, part := range map[string]string{"always": "", "2m": "acknowledges before it syncs"} {
		said := opened(start(t, func(o *server.Options) { seeing(t, o, interval) }), "", user("app", "secret"))
		if part == "" && said != "" {
			t.Errorf("it syncs, but the driver says %s", said)
		}
		contains(t, said, part)
	}
	if quiet := opened(start(t, nil), "?sync=always"); quiet != "" {
		t.Errorf("sync=always does not silence it: %s", quiet)
	}
	if quiet := opened(start(t, nil), "?storage=memory"); quiet != "" {
		t.Errorf("nothing is synced in memory, but it says %s", quiet)
	}
}

// seeing lets an account ask the server what its settings are.
func seeing(t testing.TB, o *server.Options, interval string) {
	conf := filepath.Join(t.TempDir(), "nats.conf")
	ok(t, os.WriteFile(conf, []byte(`
jetstream { store_dir: "`+o.StoreDir+`", sync_interval: "`+interval+`" }
system_account: SYS
accounts {
  SYS { exports: [ { service: "$SYS.REQ.SERVER.PING.VARZ", response: stream } ] }
  APP { jetstream: enabled, users: [ { user: app, password: secret } ], imports: [ { service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.VARZ" } } ] }
}`), 0o600))
	o.StoreDir, o.SyncAlways = "", false
	ok(t, o.ProcessConfigFile(conf))
}

func user(name, key string) oms.Option {
	return oms.WithCredentials(func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{AccountID: name, AccountKey: key}, nil
	})
}

func TestStorageInMemoryIsNotPersistent(t *testing.T) {
	address := natsserver.Address(start(t, nil))
	if open(t, urlOf(address, "?storage=memory")).Capabilities().Has(om.CapPersistent) {
		t.Error("memory declares persistent")
	}
	if !open(t, urlOf(address, "?sync=always")).Capabilities().Has(om.CapPersistent) {
		t.Error("file does not declare persistent")
	}
}

func TestOpenGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := oms.Open(ctx, urlOf("127.0.0.1:4222", ""))
	is(t, err, false, context.Canceled)
	_, err = oms.Open(t.Context(), "oms:nats://127.0.0.1/test")
	is(t, err, true, om.CodeServiceUnavailable)
	contains(t, err.Error(), "write :4222")
}

// TestWithoutJetStream opens a server that has none.
func TestWithoutJetStream(t *testing.T) {
	s := start(t, func(o *server.Options) { o.JetStream = false })
	_, err := oms.Open(t.Context(), urlOf(natsserver.Address(s), ""))
	is(t, err, true, om.CodeServiceUnavailable)
	contains(t, err.Error(), "jetstream not enabled")
}

// TestUnreadableMessage has a message whose headers are not what they should be.
func TestUnreadableMessage(t *testing.T) {
	address := natsserver.Address(start(t, nil))
	ap := open(t, urlOf(address, "?sync=always"))
	createQueue(t, ap, "q", 1)
	_, js := native(t, address)
	for _, h := range []nats.Header{{"Oms": {"1.0.0 today host"}}, {"Oms": {"1.0.0 1 host"}, "Oms-Prefix": {"99"}}, {"Oms": {"1.0.0 1 host"}, "Oms-Properties": {"!"}}} {
		_, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "oms.test.default.q.0", Header: h})
		ok(t, err)
	}
	c := pull(t, ap, "q")
	_, err := c.Receive(within(t, 10*time.Second))
	is(t, err, false, om.CodeStorageCorrupt)
	send(t, producer(t, ap), "q", "good")
	ds, err := c.ReceiveBatch(within(t, 10*time.Second), 10)
	ok(t, err)
	if len(ds) != 1 || string(ds[0].Body) != "good" {
		t.Errorf("%d messages beside unreadable ones", len(ds))
	}
}
