package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

func TestR085_resources(t *testing.T) {
	bubble(t, func(f *fixture) {
		ctx, a := f.Context(), as[spi.Admin](f, f.conn)
		f.ok(a.CreateNamespace(ctx, "n"))
		f.is(a.CreateNamespace(ctx, "n"), om.CodeNamespaceExists)
		for _, name := range []string{"", "a/b", "a b", long(256)} {
			f.is(a.CreateNamespace(ctx, name), om.CodeBadParameter)
		}
		names, err := a.Namespaces(ctx)
		f.ok(err)
		if !slices.Equal(names, []string{"default", "n"}) {
			t.Error(names)
		}
		f.ok(a.CreateQueue(ctx, om.QueueConfig{Name: "n://q", Description: "text"}))
		f.ok(a.CreateQueue(ctx, om.QueueConfig{Name: "n://a/b", Partitions: 4}))
		f.is(a.CreateQueue(ctx, om.QueueConfig{Name: "n://q", Partitions: 2}), om.CodeDestinationExists)
		f.is(a.CreateQueue(ctx, om.QueueConfig{Name: "x://q"}), om.CodeNamespaceNotFound)
		for _, c := range []om.QueueConfig{
			{Name: ""}, {Name: "a//b"}, {Name: "ö"}, {Name: long(256)}, {Name: "p", Partitions: -1},
			{Name: "p", Partitions: memory.MaxPartitions + 1}, {Name: "p", Description: long(memory.MaxDescription + 1)},
		} {
			f.is(a.CreateQueue(ctx, c), om.CodeBadParameter)
		}
		qs, err := a.Queues(ctx, "n")
		f.ok(err)
		if len(qs) != 2 || qs[0] != (om.QueueConfig{Name: "n://a/b", Partitions: 4}) || qs[1] != (om.QueueConfig{Name: "n://q", Partitions: 1, Description: "text"}) {
			t.Errorf("%+v", qs)
		}
		if q, err := a.Queue(ctx, "q"); err != nil || q.Name != "default://q" {
			t.Error(q, err)
		}
		_, err = a.Queue(ctx, "x")
		f.is(err, om.CodeDestinationNotFound)
		_, err = a.Queues(ctx, "x")
		f.is(err, om.CodeNamespaceNotFound)

		f.send(msg("a", to("n://q"))) // R088
		f.empty(f.receiver("q", "g"))
		f.gets(f.receiver("n://q", "g"), "a")

		f.is(a.DeleteNamespace(ctx, "n"), om.CodeBadParameter)
		f.ok(a.DeleteQueue(ctx, "n://q"))
		f.ok(a.DeleteQueue(ctx, "n://a/b"))
		f.is(a.DeleteQueue(ctx, "n://q"), om.CodeDestinationNotFound)
		f.ok(a.DeleteNamespace(ctx, "n"))
		f.is(a.DeleteNamespace(ctx, "n"), om.CodeNamespaceNotFound)
	})
}

func TestDeletionEndsReceivers(t *testing.T) {
	bubble(t, func(f *fixture) {
		a, s := as[spi.Admin](f, f.conn), as[spi.Streamer](f, f.conn)
		f.send(msg("a"), msg("late", delay(time.Minute)))
		r, other := f.receiver("q", "g"), f.receiver("q", "h")
		d := f.take(r, 1)[0]
		f.ok(a.DeleteGroup(f.Context(), "q", "h"))
		f.is(a.DeleteGroup(f.Context(), "q", "h"), om.CodeGroupNotFound)
		_, err := other.Receive(f.Context(), 1)
		f.is(err, om.CodeGroupNotFound)
		f.gets(f.receiver("q", "h"), "a")

		ended := make(chan error, 2)
		go func() {
			_, err := r.Receive(f.Context(), 1)
			ended <- err
		}()
		go func() { ended <- s.Await(f.Context(), "q", 0, 100) }()
		synctest.Wait()
		f.ok(a.DeleteQueue(f.Context(), "q"))
		f.is(<-ended, om.CodeDestinationNotFound)
		f.is(<-ended, om.CodeDestinationNotFound)
		_, err = r.Ack(f.Context(), receipts(d))
		f.is(err, om.CodeDestinationNotFound)

		f.queue("q", 1)
		time.Sleep(time.Hour)
		f.empty(f.receiver("q", "g"))
		f.ok(r.Close(f.Context()))
		_, err = r.Receive(f.Context(), 1)
		f.is(err, om.CodeClosed)
	})
}

func TestR092_metadata(t *testing.T) {
	bubble(t, func(f *fixture) {
		f.queue("wide", 2)
		d := as[spi.Describer](f, f.conn)
		f.send(msg("a", to("wide"), partition(1)), msg("b", to("wide"), partition(1)), msg("c", to("wide"), partition(1)))
		ps, err := d.Partitions(f.Context(), "wide")
		f.ok(err)
		if !slices.Equal(ps, []om.PartitionInfo{{Queue: "default://wide"}, {Queue: "default://wide", Partition: 1, End: 3, Messages: 3}}) {
			t.Errorf("%+v", ps)
		}
		r := f.receiver("wide", "g")
		ds := f.gets(r, "a", "b")
		f.ack(r, ds[0])
		gs, err := d.Groups(f.Context(), "wide")
		f.ok(err)
		want := om.GroupInfo{
			Queue: "default://wide", Group: "g", Consumers: 1, Lag: 2, InFlight: 1, OldestLease: ds[1].LeaseUntil,
			Partitions: []om.GroupPartition{{}, {Partition: 1, Cursor: 1, Lag: 2, InFlight: 1}},
		}
		if len(gs) != 1 || fmt.Sprint(gs[0]) != fmt.Sprint(want) {
			t.Errorf("%+v", gs)
		}
		f.settled(as[spi.Nacker](f, r).Nack(f.Context(), receipts(ds[1]), 0))
		f.gets(r, "b")
		f.ok(r.Close(f.Context()))
		if gs, err = d.Groups(f.Context(), "wide"); err != nil || gs[0].Redelivered != 1 || gs[0].Consumers != 0 || gs[0].InFlight != 0 {
			t.Errorf("%+v, %v", gs, err)
		}
		_, err = d.Groups(f.Context(), "x")
		f.is(err, om.CodeDestinationNotFound)
	})
}

func TestR071_seek(t *testing.T) {
	bubble(t, func(f *fixture) {
		s := as[spi.Seeker](f, f.conn)
		f.send(msg("a"), msg("b"))
		time.Sleep(time.Minute)
		middle := time.Now()
		f.send(msg("c"))
		r := f.receiver("q", "g")
		ds := f.gets(r, "a", "b", "c")
		f.ack(r, ds[0])
		for _, c := range []struct {
			to     om.Position
			bodies []string
		}{
			{om.AtOffset(1), []string{"b", "c"}}, {om.AtTime(middle.Add(time.Microsecond)), []string{"c"}}, {om.AtOffset(-5), []string{"a", "b", "c"}},
			{om.AtOffset(99), nil}, {om.End(), nil}, {om.AtTime(middle.Add(time.Hour)), nil}, {om.Begin(), []string{"a", "b", "c"}},
		} {
			f.ok(s.SeekGroup(f.Context(), "q", "g", c.to))
			f.gets(r, c.bodies...)
			f.empty(r)
		}
		f.stale(r.Ack(f.Context(), receipts(ds[1])))
		f.ok(s.SeekGroup(f.Context(), "q", "new", om.AtOffset(2)))
		f.gets(f.receiver("q", "new"), "c")
		f.is(s.SeekGroup(f.Context(), "q", "", om.End()), om.CodeBadParameter)
		late, err := f.conn.NewReceiver(f.Context(), spi.ReceiverConfig{Queue: "q", Group: "late", Lease: lease, Start: om.End()})
		f.ok(err)
		f.send(msg("d"))
		f.gets(late, "d")
	})
}

func TestR099_streams(t *testing.T) {
	bubble(t, func(f *fixture) {
		s := as[spi.Streamer](f, f.conn)
		f.send(msg("a"), msg("gone", expire(time.Second)), msg("c"))
		time.Sleep(time.Second)
		for _, c := range []struct {
			at   om.Position
			want int64
		}{
			{om.Begin(), 0}, {om.End(), 3}, {om.AtOffset(-1), 0}, {om.AtOffset(2), 2}, {om.AtOffset(9), 3}, {om.AtTime(time.Now()), 3},
		} {
			if got, err := s.Resolve(f.Context(), "q", 0, c.at); got != c.want || err != nil {
				t.Errorf("%v is at %d, %v", c.at, got, err)
			}
		}
		got, err := s.ReadAt(f.Context(), "q", 0, -3, 5)
		f.ok(err)
		if fmt.Sprint(bodies(got)) != "[a c]" || got[1].Offset != 2 || got[1].Receipt != nil || got[1].Message.Destination != "q" {
			t.Errorf("%+v", got)
		}
		if got, err := s.ReadAt(f.Context(), "q", 0, 1, 1); err != nil || fmt.Sprint(bodies(got)) != "[c]" {
			t.Error(bodies(got), err)
		}
		if got, err := s.ReadAt(f.Context(), "q", 0, 3, 1); err != nil || got != nil {
			t.Error(bodies(got), err)
		}
		f.ok(s.Await(f.Context(), "q", 0, 2))
		if err := s.Await(f.within(time.Second), "q", 0, 3); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		f.send(msg("late", delay(time.Hour)))
		start := time.Now()
		f.ok(s.Await(f.Context(), "q", 0, 3))
		if time.Since(start) != time.Hour {
			t.Errorf("waited %v", time.Since(start))
		}
		_, err = s.Resolve(f.Context(), "q", 1, om.Begin())
		f.is(err, om.CodeBadParameter)
		_, err = s.ReadAt(f.Context(), "x", 0, 0, 1)
		f.is(err, om.CodeDestinationNotFound)
		_, err = s.ReadAt(f.Context(), "q", 0, 0, 0)
		f.is(err, om.CodeBadParameter)
	})
}

func TestR091_routes(t *testing.T) {
	bubble(t, func(f *fixture) {
		ctx, r := f.Context(), as[spi.Router](f, f.conn)
		f.queue("b", 2)
		f.queue("c", 1)
		f.ok(r.CreateRoute(ctx, om.RouteConfig{Name: "qb", Source: "q", Target: "b"}))
		f.ok(r.CreateRoute(ctx, om.RouteConfig{Name: "bc", Source: "b", Target: "default://c", Filter: om.SQL("n > 1")}))
		for _, c := range []struct {
			route om.RouteConfig
			code  om.Code
		}{
			{om.RouteConfig{Name: "cq", Source: "c", Target: "q"}, om.CodeBadParameter}, // G36
			{om.RouteConfig{Name: "qq", Source: "q", Target: "q"}, om.CodeBadParameter},
			{om.RouteConfig{Name: "", Source: "q", Target: "c"}, om.CodeBadParameter},
			{om.RouteConfig{Name: "f", Source: "q", Target: "c", Filter: om.SQL("n >")}, om.CodeBadParameter},
			{om.RouteConfig{Name: "qb", Source: "q", Target: "c"}, om.CodeDestinationExists},
			{om.RouteConfig{Name: "qx", Source: "q", Target: "x"}, om.CodeDestinationNotFound},
			{om.RouteConfig{Name: "xq", Source: "x", Target: "q"}, om.CodeDestinationNotFound},
		} {
			f.is(r.CreateRoute(ctx, c.route), c.code)
		}
		rs, err := r.Routes(ctx)
		f.ok(err)
		if len(rs) != 2 || rs[0].Name != "bc" || rs[0].Target != "default://c" || rs[1].Source != "default://q" {
			t.Errorf("%+v", rs)
		}
		f.send(msg("1", property("n", om.Short(1))))
		out := f.send(msg("2", property("n", om.Short(2)), partition(0)))[0]
		f.gets(f.receiver("q", "g"), "1", "2")
		if got := f.take(f.receiver("b", "g"), 9); len(got) != 2 {
			t.Errorf("b has %q", bodies(got))
		}
		d := f.gets(f.receiver("c", "g"), "2")[0]
		if d.Message.MessageID != out.MessageID || d.Message.Destination != "c" {
			t.Errorf("%+v", d.Message)
		}
		f.ok(r.DeleteRoute(ctx, "bc"))
		f.is(r.DeleteRoute(ctx, "bc"), om.CodeDestinationNotFound)
		f.ok(as[spi.Admin](f, f.conn).DeleteQueue(ctx, "b"))
		if rs, err := r.Routes(ctx); err != nil || len(rs) != 0 {
			t.Errorf("%+v, %v", rs, err)
		}
		f.send(msg("3"))
	})
}

func TestR150_queue_expires(t *testing.T) {
	bubble(t, func(f *fixture) {
		a := as[spi.Admin](f, f.conn)
		const life = time.Minute
		there := func(want bool) {
			f.Helper()
			if _, err := a.Queue(f.Context(), "x"); want != (err == nil) {
				t.Errorf("there: %v, %v", want, err)
			}
		}
		f.is(a.CreateQueue(f.Context(), om.QueueConfig{Name: "x", Expires: time.Millisecond}), om.CodeBadParameter)
		f.ok(a.CreateQueue(f.Context(), om.QueueConfig{Name: "x", Expires: life}))
		time.Sleep(life - 1)
		there(true)
		f.send(msg("a", to("x")))
		time.Sleep(life - 1)
		there(true)
		r := f.receiver("x", "g")
		time.Sleep(10 * life)
		there(true)
		f.ok(r.Close(f.Context()))
		time.Sleep(life - 1)
		there(true)
		time.Sleep(time.Nanosecond)
		there(false)
	})
}
