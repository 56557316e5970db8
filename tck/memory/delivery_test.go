package memory_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

func TestR061_unacked_comes_back_when_the_lease_ends(t *testing.T) {
	bubble(t, func(f *fixture) {
		r, other := f.receiver("q", "g"), f.receiver("q", "g")
		f.send(msg("a"))
		start := time.Now()
		first := f.take(r, 1)[0]
		if !first.LeaseUntil.Equal(start.Add(lease)) {
			t.Errorf("the lease ends at %v", first.LeaseUntil)
		}
		f.stale(other.Ack(f.Context(), receipts(first))) // not its own
		got, err := other.Receive(f.Context(), 1)
		f.ok(err)
		if time.Since(start) != lease {
			t.Errorf("it came back after %v", time.Since(start))
		}
		second := got[0]
		if second.Message.MessageID != first.Message.MessageID || second.Message.Ext.DeliveryCount != 2 {
			t.Errorf("%+v", second.Message)
		}
		f.stale(r.Ack(f.Context(), receipts(first)))
		f.stale(other.Ack(f.Context(), receipts(first)))
		f.ack(other, second)
		f.stale(r.Ack(f.Context(), receipts(first))) // settled by another delivery
		f.ack(other, second)                         // G22
		time.Sleep(time.Hour)
		f.empty(r)
	})
}

func TestR062_acked_stays_away(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		f.send(msg("a"), msg("b"), msg("c"))
		ds := f.gets(r, "a", "b", "c")
		f.ack(r, ds[2], ds[0]) // R073
		f.ok(r.Close(f.Context()))
		time.Sleep(time.Hour)
		again := f.receiver("q", "g")
		f.gets(again, "b")
		f.empty(again)
		f.gets(f.receiver("q", "other"), "a", "b", "c")
	})
}

func TestR068_nothing_is_lost_on_timeout(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		f.empty(r)
		ctx, cancel := context.WithCancel(f.Context())
		done := make(chan error)
		go func() {
			_, err := r.Receive(ctx, 1)
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		f.send(msg("a"))
		f.gets(r, "a")
	})
}

func TestR097_one_receiver_of_a_group_gets_it(t *testing.T) {
	bubble(t, func(f *fixture) {
		f.queue("wide", 3)
		var mu sync.Mutex
		seen := map[string]int{}
		var all sync.WaitGroup
		for range 5 {
			r := f.receiver("wide", "g")
			all.Go(func() {
				for {
					got, err := r.Receive(f.within(time.Minute), 4)
					if err != nil {
						return
					}
					f.ack(r, got...)
					mu.Lock()
					for _, d := range got {
						seen[string(d.Message.Body)]++
					}
					mu.Unlock()
				}
			})
		}
		for i := range 100 {
			f.send(msg(fmt.Sprint(i), to("wide")))
		}
		all.Wait()
		for i := range 100 {
			if seen[fmt.Sprint(i)] != 1 {
				t.Errorf("message %d was received %d times", i, seen[fmt.Sprint(i)])
			}
		}
	})
}

func TestG24_nack(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		n := as[spi.Nacker](f, r)
		f.send(msg("a"))
		d := f.take(r, 1)[0]
		f.settled(n.Nack(f.Context(), receipts(d), time.Hour))
		f.settled(n.Nack(f.Context(), receipts(d), 0)) // again: no effect
		f.stale(r.Ack(f.Context(), receipts(d)))
		start := time.Now()
		got, err := r.Receive(f.Context(), 1)
		f.ok(err)
		if time.Since(start) != time.Hour {
			t.Errorf("it came back after %v", time.Since(start))
		}
		f.settled(n.Nack(f.Context(), receipts(got...), 0))
		f.ack(r, f.gets(r, "a")...)
		_, err = n.Nack(f.Context(), nil, -1)
		f.is(err, om.CodeBadParameter)
	})
}

func TestG24_nack_delay_outlives_a_restart(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		f.send(msg("a"))
		f.settled(as[spi.Nacker](f, r).Nack(f.Context(), receipts(f.take(r, 1)...), time.Hour))
		f.ok(f.sys.Restart(f.Context()))
		f.conn = open(f.T, f.sys)
		start := time.Now()
		_, err := f.receiver("q", "g").Receive(f.Context(), 1)
		f.ok(err)
		if time.Since(start) != time.Hour {
			t.Errorf("it came back after %v", time.Since(start))
		}
	})
}

func TestG25_extend(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		l := as[spi.Leaser](f, r)
		f.send(msg("a"))
		d := f.take(r, 1)[0]
		time.Sleep(lease / 2)
		f.settled(l.Extend(f.Context(), receipts(d), time.Minute))
		start := time.Now()
		_, err := r.Receive(f.Context(), 1)
		f.ok(err)
		if time.Since(start) != time.Minute {
			t.Errorf("the lease ended after %v", time.Since(start))
		}
		f.stale(l.Extend(f.Context(), receipts(d), time.Minute))
		_, err = l.Extend(f.Context(), nil, 0)
		f.is(err, om.CodeBadParameter)
	})
}

func TestLeasesCanBeShortened(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		f.send(msg("a"))
		d := f.take(r, 1)
		go func() {
			time.Sleep(time.Second)
			f.settled(as[spi.Leaser](f, r).Extend(f.Context(), receipts(d...), time.Second))
		}()
		start := time.Now()
		_, err := r.Receive(f.Context(), 1)
		f.ok(err)
		if time.Since(start) != 2*time.Second {
			t.Errorf("it came back after %v", time.Since(start))
		}
	})
}

func TestG26_dead_letters(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		out := f.send(msg("bad", property("p", om.Short(1))), msg("worse"))
		for range 2 { // worse is delivered once more than bad
			d := f.take(r, 1)
			f.settled(as[spi.Nacker](f, r).Nack(f.Context(), receipts(d...), 0))
		}
		rejected := f.take(r, 1)
		f.settled(as[spi.DeadLetterer](f, r).Reject(f.Context(), receipts(rejected...), "no use"))
		f.settled(as[spi.DeadLetterer](f, r).Reject(f.Context(), receipts(rejected...), "no use"))
		worse := f.take(r, 1)[0]
		time.Sleep(lease)
		f.gets(r, "worse")
		time.Sleep(lease)
		f.gets(r, "worse")
		f.ok(r.Close(f.Context())) // the third delivery ended: that was the last
		f.empty(f.receiver("q", "g"))

		dlq := f.receiver(om.DeadLetterQueue("q", "g"), "ops")
		ds := f.gets(dlq, "bad", "worse")
		m, p := ds[0].Message, ds[0].Message.Properties
		if m.MessageID != out[0].MessageID || p.GetInt64("p", 0) != 1 || p.GetString(om.PropertyDeadReason, "") != "no use" ||
			p.GetInt64(om.PropertyDeadDeliveries, 0) != 3 || p.GetString(om.PropertyDeadQueue, "") != "default://q" {
			t.Errorf("%+v", m)
		}
		p = ds[1].Message.Properties
		if p.GetInt64(om.PropertyDeadDeliveries, 0) != 3 || p.GetString(om.PropertyDeadReason, "") == "" || ds[1].Message.MessageID != worse.Message.MessageID {
			t.Errorf("%+v", p)
		}
		f.empty(dlq)
		f.gets(f.receiver("q", "other"), "bad", "worse")

		f.queue("fading", 1)
		fading := f.receiver("fading", "g")
		f.send(msg("a", to("fading"), expire(2*lease+time.Millisecond)))
		for range 3 {
			f.take(fading, 1)
			time.Sleep(lease)
		}
		f.empty(fading)
		_, err := f.conn.NewReceiver(f.Context(), spi.ReceiverConfig{Queue: om.DeadLetterQueue("fading", "g"), Group: "g", Lease: lease})
		f.is(err, om.CodeDestinationNotFound) // what has expired is not kept
	}, memory.WithMaxDeliveries(3))
}

func TestR020_at_most_once(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		f.send(msg("a", qos(om.AtMostOnce)))
		d := f.take(r, 1)[0]
		f.ack(r, d)
		f.settled(as[spi.Leaser](f, r).Extend(f.Context(), receipts(d), lease))
		f.stale(as[spi.Nacker](f, r).Nack(f.Context(), receipts(d), 0))
		f.stale(as[spi.DeadLetterer](f, r).Reject(f.Context(), receipts(d), ""))
		f.ok(r.Close(f.Context()))
		f.ok(f.sys.Kill(f.Context()))
		f.conn = open(f.T, f.sys)
		time.Sleep(time.Hour)
		f.empty(f.receiver("q", "g"))
	})
}

func TestR021_exactly_once(t *testing.T) {
	bubble(t, func(f *fixture) {
		resume, err := f.sys.Stall(f.Context())
		f.ok(err)
		_, err = f.sender.Send(f.within(time.Second), []*om.Message{msg("a", qos(om.ExactlyOnce))})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		resume()
		f.send(msg("a", qos(om.ExactlyOnce))) // the retry is the only one that is stored
		dying := f.receiver("q", "g")
		f.gets(dying, "a")
		f.ok(dying.Close(f.Context()))
		r := f.receiver("q", "g")
		f.ack(r, f.gets(r, "a")...)
		time.Sleep(time.Hour)
		f.empty(r)
	})
}

func TestR034_delay(t *testing.T) {
	bubble(t, func(f *fixture) {
		r := f.receiver("q", "g")
		out := f.send(msg("late", delay(time.Minute)), msg("never", delay(time.Minute), expire(time.Second)), msg("now"))
		if out[0].Partition != 0 || out[0].Offset != -1 || out[2].Offset != 0 {
			t.Errorf("%+v", out)
		}
		start := time.Now()
		f.ack(r, f.gets(r, "now")...)
		got, err := r.Receive(f.Context(), 5)
		f.ok(err)
		if time.Since(start) != time.Minute || string(got[0].Message.Body) != "late" || got[0].Message.Ext.Delay != time.Minute {
			t.Errorf("after %v: %q", time.Since(start), bodies(got))
		}
		f.ack(r, got...)
		time.Sleep(time.Hour)
		f.empty(r)
		for i := range 9 {
			f.send(msg(fmt.Sprint(i), delay(time.Hour)))
		}
		time.Sleep(time.Hour)
		f.gets(r, "0", "1", "2", "3", "4", "5", "6", "7", "8")
	})
}

func TestR036_expiry(t *testing.T) {
	bubble(t, func(f *fixture) {
		f.send(msg("old", expire(time.Minute)), msg("out", expire(time.Minute)), msg("stays"))
		time.Sleep(time.Minute - time.Second)
		r := f.receiver("q", "g")
		ds := f.gets(r, "old", "out", "stays")
		f.settled(as[spi.Nacker](f, r).Nack(f.Context(), receipts(ds[0]), 0))
		time.Sleep(time.Second)
		gs, err := as[spi.Describer](f, f.conn).Groups(f.Context(), "q")
		f.ok(err)
		if gs[0].Lag != 2 || gs[0].InFlight != 2 {
			t.Errorf("%+v", gs[0])
		}
		f.ack(r, ds[1]) // expired while it was out
		f.ack(r, ds[2])
		f.empty(r)
		f.gets(f.receiver("q", "later"), "stays")
		gs, err = as[spi.Describer](f, f.conn).Groups(f.Context(), "q")
		f.ok(err)
		if gs[0].Group != "g" || gs[0].Lag != 0 || gs[0].Partitions[0].Cursor != 3 {
			t.Errorf("%+v", gs[0])
		}
	})
}

func TestR041_priorities(t *testing.T) {
	bubble(t, func(f *fixture) {
		f.send(msg("low", priority(1)), msg("unset"), msg("five", priority(5)), msg("odd", priority(99)), msg("high", priority(10)))
		f.gets(f.receiver("q", "g"), "high", "unset", "five", "odd", "low")
		f.gets(f.receiver("q", "one"), "high")
	})
}

func TestR032_order_per_key(t *testing.T) {
	bubble(t, func(f *fixture) {
		f.queue("wide", 4)
		at := map[string]int32{}
		for i := range 3 {
			for _, k := range []string{"x", "y", "z"} {
				out := f.send(msg(fmt.Sprint(k, i), to("wide"), key(k), priority(int8(i+1))))[0]
				if p, ok := at[k]; ok && p != out.Partition {
					t.Errorf("key %s lies in partitions %d and %d", k, p, out.Partition)
				}
				at[k] = out.Partition
			}
		}
		last := map[string]string{}
		for _, d := range f.take(f.receiver("wide", "g"), 9) {
			body := string(d.Message.Body)
			if body <= last[d.Message.Ext.MessageKey] {
				t.Errorf("%s comes after %s", body, last[d.Message.Ext.MessageKey])
			}
			last[d.Message.Ext.MessageKey] = body
		}
		if len(last) != 3 {
			t.Errorf("received %v", last)
		}
	})
}

func TestR042_partitions(t *testing.T) {
	bubble(t, func(f *fixture) {
		f.queue("wide", 3)
		out := f.send(msg("a", to("wide"), partition(2)), msg("b", to("wide")), msg("c", to("wide")), msg("d", to("wide"), partition(2)))
		if out[0].Partition != 2 || out[0].Offset != 0 || out[3].Partition != 2 || out[3].Offset != 1 || out[1].Partition != out[2].Partition {
			t.Errorf("%+v", out)
		}
		if next := f.send(msg("e", to("wide")))[0]; next.Partition == out[1].Partition {
			t.Error("two calls went to the same partition")
		}
		f.is(f.refused(msg("f", to("wide"), partition(3))), om.CodeBadParameter)
		fair := f.receiver("wide", "fair")
		if one, two := f.take(fair, 1)[0], f.take(fair, 1)[0]; one.Partition == two.Partition {
			t.Errorf("partition %d is preferred", one.Partition)
		}
		seen := map[string]int32{}
		for _, d := range f.take(f.receiver("wide", "g"), 9) {
			if d.Message.Ext.Partition != om.Some(d.Partition) {
				t.Errorf("%v and %d", d.Message.Ext.Partition, d.Partition)
			}
			seen[string(d.Message.Body)] = d.Partition
		}
		if len(seen) != 5 || seen["a"] != 2 || seen["d"] != 2 || seen["b"] != out[1].Partition {
			t.Errorf("received from %v", seen)
		}
	})
}

func TestR022_compression(t *testing.T) {
	bubble(t, func(f *fixture) {
		gzip := func(m *om.Message) { m.Compression = "gzip" }
		r := f.receiver("q", "g")
		for _, body := range []string{"", "small", long(memory.MaxBody)} {
			f.send(msg(body, gzip))
			d := f.gets(r, body)[0]
			if d.Message.Compression != "gzip" {
				t.Errorf("compression %q", d.Message.Compression)
			}
			f.ack(r, d)
		}
		f.is(f.refused(msg("", func(m *om.Message) { m.Compression = "zstd" })), om.CodeUnsupported)
		f.empty(r)
	})
}

func TestR026_limits(t *testing.T) {
	bubble(t, func(f *fixture) {
		f.is(f.refused(msg(long(memory.MaxBody+1))), om.CodeBodyTooLarge)
		f.is(f.refused(msg("", property("p", om.String(long(memory.MaxProperties))))), om.CodePropertiesTooLarge)
		f.is(f.refused(msg("", key(long(memory.MaxHeader)))), om.CodeHeaderTooLarge)
		r := f.receiver("q", "g")
		f.empty(r)
		f.send(msg(long(memory.MaxBody), property("p", om.String(long(memory.MaxProperties-1)))))
		f.take(r, 1)
	})
}
