package memory_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

func TestG40_capabilities_and_interfaces(t *testing.T) {
	bubble(t, func(f *fixture) {
		for _, c := range []om.Capability{om.CapAtomicBatch, om.CapAuth} {
			if f.conn.Capabilities().Has(c) {
				t.Errorf("%s is declared", c)
			}
		}
		if n := len(f.conn.Capabilities()); n != 36 {
			t.Errorf("%d capabilities are declared", n)
		}
		as[spi.Admin](f, f.conn)
		as[spi.Describer](f, f.conn)
		as[spi.Seeker](f, f.conn)
		as[spi.Streamer](f, f.conn)
		as[spi.Filterer](f, f.conn)
		as[spi.Router](f, f.conn)
		as[spi.Transactor](f, f.sender)
		as[spi.TransactedSender](f, f.sender)
		r := f.receiver("q", "g")
		as[spi.Leaser](f, r)
		as[spi.Nacker](f, r)
		as[spi.DeadLetterer](f, r)
		as[spi.Assignee](f, r)
		f.ok(as[spi.Pinger](f, f.conn).Ping(f.Context()))
		var sys *memory.System
		if !as[spi.Asser](f, f.conn).As(&sys) || sys != f.sys {
			t.Error("As does not give the system")
		}
	})
}

func TestR096_undeclared_is_unsupported(t *testing.T) {
	bubble(t, func(f *fixture) {
		ctx, r := f.Context(), f.receiver("q", "g")
		for name, err := range map[string]error{
			"delay":       f.refused(msg("", delay(time.Second))),
			"expire":      f.refused(msg("", expire(time.Second))),
			"priority":    f.refused(msg("", priority(3))),
			"qos1":        f.refused(msg("", qos(om.AtMostOnce))),
			"qos2":        f.refused(msg("", qos(om.ExactlyOnce))),
			"compression": f.refused(msg("", func(m *om.Message) { m.Compression = "gzip" })),
			"partition":   f.refused(msg("", partition(0))),
			"key":         f.refused(msg("", key("k"))),
			"nested":      f.refused(msg("", property("o", om.Object(nil)))),
		} {
			if err == nil {
				t.Errorf("%s is accepted", name)
				continue
			}
			f.is(err, om.CodeUnsupported)
		}
		admin := as[spi.Admin](f, f.conn)
		f.is(admin.CreateNamespace(ctx, "n"), om.CodeUnsupported)
		_, err := admin.Queues(ctx, "default")
		f.is(err, om.CodeUnsupported)
		_, err = as[spi.Describer](f, f.conn).Groups(ctx, "q")
		f.is(err, om.CodeUnsupported)
		f.is(as[spi.Seeker](f, f.conn).SeekGroup(ctx, "q", "g", om.End()), om.CodeUnsupported)
		_, err = as[spi.Streamer](f, f.conn).ReadAt(ctx, "q", 0, 0, 1)
		f.is(err, om.CodeUnsupported)
		f.is(as[spi.Streamer](f, f.conn).Await(ctx, "q", 0, 0), om.CodeUnsupported)
		f.is(as[spi.DelayCanceler](f, f.conn).CancelDelayed(ctx, "q", "id"), om.CodeUnsupported)
		_, err = as[spi.StatsReader](f, f.conn).Stats(ctx, "", []string{"q"})
		f.is(err, om.CodeUnsupported)
		_, _, err = as[spi.Finder](f, f.conn).FindMessages(ctx, "q", om.MessageQuery{})
		f.is(err, om.CodeUnsupported)
		f.is(as[spi.PartitionAdder](f, f.conn).AddPartitions(ctx, "q", 2), om.CodeUnsupported)
		f.is(as[spi.Filterer](f, f.conn).SetFilter(ctx, "q", om.Tag("a")), om.CodeUnsupported)
		f.is(as[spi.Router](f, f.conn).CreateRoute(ctx, om.RouteConfig{}), om.CodeUnsupported)
		f.is(as[spi.Admin](f, f.conn).CreateQueue(ctx, om.QueueConfig{Name: "x", Expires: time.Second}), om.CodeUnsupported)
		_, _, err = as[spi.Transactor](f, f.sender).Prepare(ctx, msg(""), om.TransactionCheck{})
		f.is(err, om.CodeUnsupported)
		f.is(as[spi.Transactor](f, f.sender).Commit(ctx, "t"), om.CodeUnsupported)
		_, err = as[spi.Nacker](f, r).Nack(ctx, nil, 0)
		f.is(err, om.CodeUnsupported)
		_, err = as[spi.Leaser](f, r).Extend(ctx, nil, 1)
		f.is(err, om.CodeUnsupported)
		_, err = as[spi.DeadLetterer](f, r).Reject(ctx, nil, "")
		f.is(err, om.CodeUnsupported)

		f.empty(r)
		out := f.send(msg(long(memory.MaxBody + 1)))[0]
		d := f.take(r, 1)[0]
		if out.Partition != -1 || d.Partition != -1 || d.Offset != -1 || d.Message.Ext.DeliveryCount != 0 || !d.Message.Ext.StoredAt.IsZero() {
			t.Errorf("undeclared shows in %+v, %+v", out, d.Message.Ext)
		}
		f.ack(r, d)
		if d := func() spi.Received { f.send(msg("", priority(11))); return f.take(r, 1)[0] }(); d.Message.Ext.Priority != 0 {
			t.Errorf("priority %d", d.Message.Ext.Priority)
		}
		f.is(f.refused(msg("", to(""))), om.CodeDestinationNotFound)
	}, memory.WithCapabilities())
}

func TestMessageArrivesAsSent(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		sent := msg("body", key("k"), property("n", om.Long(7)), property("o", om.Object(om.Properties{"x": om.Bool(true)})))
		sent.MessageID, sent.Ext.TransactionID, sent.Ext.StoreHost, sent.Ext.DeliveryCount = "mine", "mine", "mine", 9
		sent.Ext.CorrelationID, sent.Ext.TraceID = "c", "t"
		before := sent.Clone()
		out := f.send(sent)[0]
		if sent.MessageID != "mine" || string(sent.Body) != "body" {
			t.Error("the caller's message was changed")
		}
		sent.Body[0] = '!'
		sent.Properties["n"] = om.Long(8)
		for range 2 {
			d := f.gets(r, "body")[0]
			m := d.Message
			if m.MessageID != out.MessageID || m.MessageID == "mine" || m.Version != om.SpecVersion || m.BornHost != "host" ||
				m.Destination != "q" || !m.BornAt.Equal(before.BornAt) || !m.Properties.Equal(before.Properties) {
				t.Errorf("received %+v", m)
			}
			e := m.Ext
			if e.MessageKey != "k" || e.CorrelationID != "c" || e.TraceID != "t" || e.TransactionID != "" ||
				e.StoreHost != memory.StoreHost || !e.StoredAt.Equal(time.Now().Truncate(time.Millisecond)) || e.Partition != om.Some[int32](0) {
				t.Errorf("received %+v", e)
			}
			m.Body[0] = '?' // must not show in the next delivery
			m.Properties["n"] = om.Long(9)
			f.settled(as[spi.Nacker](f, r).Nack(f.Context(), receipts(d), 0))
		}
		if d := f.take(r, 1)[0]; d.Message.Ext.DeliveryCount != 3 || d.Message.Properties == nil {
			t.Errorf("delivery %d", d.Message.Ext.DeliveryCount)
		}
	})
}

func TestR014_ids_are_unique(t *testing.T) {
	bubble(t, func(f *fixture) {
		var mu sync.Mutex
		ids := map[string]bool{}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				s := f.newSender(nil)
				for range 50 {
					outs, err := s.Send(f.Context(), []*om.Message{msg(""), msg("")})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					ids[outs[0].MessageID], ids[outs[1].MessageID] = true, true
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(ids) != 800 || ids[""] {
			t.Errorf("%d ids", len(ids))
		}
	})
}

func TestG27_outcomes_by_message(t *testing.T) {
	send := func(f *fixture) []spi.Outcome {
		outs, err := f.sender.Send(f.Context(), []*om.Message{msg("a"), msg("b", to("nowhere")), msg("c", partition(1)), msg("d")})
		f.ok(err)
		f.is(outs[1].Err, om.CodeDestinationNotFound)
		f.is(outs[2].Err, om.CodeBadParameter)
		return outs
	}
	t.Run("each", func(t *testing.T) {
		bubble(t, func(f *fixture) {
			outs := send(f)
			f.ok(outs[0].Err)
			f.ok(outs[3].Err)
			f.gets(f.receiver("q", "g"), "a", "d")
		})
	})
	t.Run("atomic", func(t *testing.T) {
		bubble(t, func(f *fixture) {
			outs := send(f)
			f.is(outs[0].Err, om.CodeBadRequest)
			f.is(outs[3].Err, om.CodeBadRequest)
			f.empty(f.receiver("q", "g"))
			f.send(msg("a"), msg("b"))
			f.gets(f.receiver("q", "g"), "a", "b")
		}, memory.WithCapabilities(om.CapAtomicBatch, om.CapPartitions))
	})
}

func TestR067_receive_blocks_until_a_message_comes(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		go func() {
			time.Sleep(time.Hour)
			f.send(msg("late"))
		}()
		got, err := r.Receive(f.Context(), 5)
		f.ok(err)
		if len(got) != 1 || string(got[0].Message.Body) != "late" {
			t.Errorf("received %q", bodies(got))
		}
	})
}

func TestG03_ended_context(t *testing.T) {
	bubble(t, func(f *fixture) {
		ctx, cancel := context.WithCancel(f.Context())
		cancel()
		r := f.receiver("q", "g")
		d := func() spi.Received { f.send(msg("a")); return f.take(r, 1)[0] }()
		_, sendErr := f.sender.Send(ctx, []*om.Message{msg("b")})
		_, receiveErr := r.Receive(ctx, 1)
		_, ackErr := r.Ack(ctx, receipts(d))
		_, openErr := f.sys.Driver("x").Open(ctx, config(t, "oms:x://h/r"))
		_, stallErr := f.sys.Stall(ctx)
		for _, err := range []error{
			sendErr, receiveErr, ackErr, openErr, stallErr, f.sys.Restart(ctx),
			r.Close(ctx), f.sender.Close(ctx), f.conn.Close(ctx), as[spi.Pinger](f, f.conn).Ping(ctx),
		} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v", err)
			}
		}
		f.empty(f.receiver("q", "g"))
		f.ack(r, d)
	})
}

func TestG11_after_close(t *testing.T) {
	bubble(t, func(f *fixture) {
		r, other := f.receiver("q", "g"), f.receiver("q", "h")
		f.send(msg("a"))
		d := f.take(r, 1)[0]
		blocked := make(chan error)
		go func() {
			_, err := r.Receive(f.Context(), 1)
			blocked <- err
		}()
		synctest.Wait()
		for range 2 {
			f.ok(r.Close(f.Context()))
			f.ok(f.sender.Close(f.Context()))
		}
		f.is(<-blocked, om.CodeClosed)
		_, err := r.Ack(f.Context(), receipts(d))
		f.is(err, om.CodeClosed)
		_, err = f.sender.Send(f.Context(), []*om.Message{msg("b")})
		f.is(err, om.CodeClosed)
		f.gets(f.receiver("q", "g"), "a") // given back

		for range 2 {
			f.ok(f.conn.Close(f.Context()))
		}
		_, err = other.Receive(f.Context(), 1)
		f.is(err, om.CodeClosed)
		_, err = f.conn.NewReceiver(f.Context(), spi.ReceiverConfig{Queue: "q", Group: "g", Lease: lease})
		f.is(err, om.CodeClosed)
		_, err = f.conn.NewSender(f.Context(), spi.SenderConfig{})
		f.is(err, om.CodeClosed)
		f.is(as[spi.Admin](f, f.conn).DeleteQueue(f.Context(), "q"), om.CodeClosed)

		f.conn = open(t, f.sys)
		f.gets(f.receiver("q", "g"), "a") // and by the connection too
	})
}

func TestReceiverConfigs(t *testing.T) {
	bubble(t, func(f *fixture) {
		for _, c := range []struct {
			cfg  spi.ReceiverConfig
			code om.Code
		}{
			{spi.ReceiverConfig{Queue: "x", Group: "g", Lease: 1}, om.CodeDestinationNotFound},
			{spi.ReceiverConfig{Queue: "n://q", Group: "g", Lease: 1}, om.CodeNamespaceNotFound},
			{spi.ReceiverConfig{Queue: "q", Group: "", Lease: 1}, om.CodeBadParameter},
			{spi.ReceiverConfig{Queue: "q", Group: "a b", Lease: 1}, om.CodeBadParameter},
			{spi.ReceiverConfig{Queue: "q", Group: "g"}, om.CodeBadParameter},
		} {
			_, err := f.conn.NewReceiver(f.Context(), c.cfg)
			f.is(err, c.code)
		}
		r := f.receiver("default://q", "g")
		f.send(msg("a", to("default://q")))
		if d := f.take(r, 1)[0]; d.Message.Destination != "default://q" {
			t.Errorf("from %s", d.Message.Destination)
		}
		_, err := r.Receive(f.Context(), 0)
		f.is(err, om.CodeBadParameter)
		_, err = r.Ack(f.Context(), []spi.Receipt{"paper"})
		f.is(err, om.CodeBadParameter)
	})
}

func TestAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := memory.New(memory.WithQueues(om.QueueConfig{Name: "q"}),
			memory.WithAccount("alice", "s3cret"), memory.WithReadOnlyAccount("bob", "hush"))
		f := &fixture{T: t, sys: sys}
		connect := func(url, id, key string) (spi.Conn, error) {
			cfg := config(t, url)
			cfg.Credentials = func(context.Context) (spi.Credentials, error) {
				return spi.Credentials{AccountID: id, AccountKey: key}, nil
			}
			return sys.Driver("m").Open(f.Context(), cfg)
		}
		_, err := sys.Driver("m").Open(f.Context(), config(t, "oms:m://h/r"))
		f.is(err, om.CodeUnauthorized)
		for _, c := range [][3]string{
			{"oms:m://h/r", "alice", "wrong"}, {"oms:m://h/r", "eve", ""}, {"oms:m://bob@h/r", "alice", "s3cret"},
		} {
			_, err := connect(c[0], c[1], c[2])
			f.is(err, om.CodeUnauthorized)
		}
		f.conn, err = connect("oms:m://alice@h/r", "", "s3cret")
		f.ok(err)
		if !f.conn.Capabilities().Has(om.CapAuth) {
			t.Error("auth is not declared")
		}
		f.sender = f.newSender(nil)
		f.send(msg("a"))
		r := f.receiver("q", "g")
		f.gets(r, "a")

		bob, err := connect("oms:m://h/r", "bob", "hush")
		f.ok(err)
		s, err := bob.NewSender(f.Context(), spi.SenderConfig{Checker: func(context.Context, *om.Message) om.TxVerdict { return 0 }})
		f.ok(err)
		outs, err := s.Send(f.Context(), []*om.Message{msg("b")})
		f.ok(err)
		f.is(outs[0].Err, om.CodeForbidden)
		out, _, err := as[spi.Transactor](f, s).Prepare(f.Context(), msg("b"), om.TransactionCheck{})
		f.ok(err)
		f.is(out.Err, om.CodeForbidden)
		f.is(as[spi.Transactor](f, s).Commit(f.Context(), "tx"), om.CodeForbidden)
		f.empty(r)
	})
}

func TestUnknownOptionsAreRefused(t *testing.T) {
	f := &fixture{T: t}
	d := memory.New().Driver("mem")
	if i := d.Info(); i.Name != "mem" || i.Version == "" || i.SpecVersion != om.SpecVersion {
		t.Errorf("%+v", i)
	}
	_, err := d.Open(f.Context(), config(t, "oms:mem://h/r?colour=red"))
	f.is(err, om.CodeMalformedURL)
}
