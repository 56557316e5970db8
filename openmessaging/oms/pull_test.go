package oms_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestR067_R068_receive_waits_and_loses_nothing(t *testing.T) {
	for _, queues := range [][]string{{"a"}, {"a", "b"}} {
		t.Run(fmt.Sprint(len(queues), " queues"), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake("a", "b")
				c := puller(t, open(t, f), queues)
				_, err := c.Receive(within(t, time.Second))
				is(t, err, om.ErrTimeout, context.DeadlineExceeded)
				time.AfterFunc(time.Minute, func() { f.fill("a", "x") })
				start := time.Now()
				d, err := c.Receive(t.Context())
				ok(t, err)
				equal(t, "body", string(d.Body), "x")
				equal(t, "wait", time.Since(start), time.Minute)
				equal(t, "count", d.Ext.DeliveryCount, 1)
				ok(t, d.Ack(t.Context()))
			})
		})
	}
}

func TestR068_nothing_is_taken_for_nobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("a", "b")
		ap := open(t, f)
		_, err := puller(t, ap, []string{"a", "b"}).Receive(within(t, time.Second))
		is(t, err, om.ErrTimeout)
		synctest.Wait()
		f.fill("a", "x")
		d, err := puller(t, ap, []string{"a"}).Receive(within(t, time.Second))
		ok(t, err)
		equal(t, "count", d.Ext.DeliveryCount, 1)
	})
}

func TestStop_waits_for_acks_that_run(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a")
		f.onAck = func(ctx context.Context, _ int) error { time.Sleep(time.Second); return nil }
		c := puller(t, open(t, f), []string{"q"})
		d, err := c.Receive(t.Context())
		ok(t, err)
		go func() { ok(t, d.Ack(t.Context())) }()
		synctest.Wait()
		ok(t, c.Stop(t.Context()))
		sameList(t, "unsettled", f.unsettled("q", "default"), nil)
	})
}

func TestR069_receive_ends_on_stop_and_close(t *testing.T) {
	for _, queues := range [][]string{{"a"}, {"a", "b"}} {
		bubble(t, func(t *testing.T) {
			f := newFake("a", "b")
			c := puller(t, open(t, f), queues)
			errs := make(chan error, 1)
			receive := func() { _, err := c.Receive(t.Context()); errs <- err }
			go receive()
			synctest.Wait()
			ok(t, c.Stop(t.Context()))
			is(t, <-errs, om.CodeNotRunning)
			ok(t, c.Start(t.Context()))
			go receive()
			synctest.Wait()
			ok(t, c.Close(t.Context()))
			is(t, <-errs, om.ErrClosed)
			_, err := c.Receive(t.Context())
			is(t, err, om.ErrClosed)
			is(t, c.Bind(t.Context(), "a"), om.ErrClosed)
			is(t, c.Unbind(t.Context(), "a"), om.ErrClosed)
			is(t, c.Ack(t.Context()), om.ErrClosed)
			ok(t, c.Close(t.Context()))
		})
	}
}

func TestR070_batch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("a", "b")
		f.fill("a", numbered(5)...)
		c := puller(t, open(t, f), nil)
		_, err := c.Receive(t.Context())
		is(t, err, om.CodeBadParameter)
		ok(t, c.Bind(t.Context(), "a"))
		for _, max := range []int{0, -1, 65537} {
			_, err := c.ReceiveBatch(t.Context(), max)
			is(t, err, om.CodeBadParameter)
		}
		for _, want := range []int{3, 2} {
			ds, err := c.ReceiveBatch(t.Context(), 3)
			ok(t, err)
			equal(t, "deliveries", len(ds), want)
			ok(t, c.Ack(t.Context(), ds...))
		}
		equal(t, "calls to ack", f.counted("ack"), 2)
		sameList(t, "unsettled", f.unsettled("a", "default"), nil)
	})
}

func TestR066_pull_from_several_queues_is_fair(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("a", "b", "c")
		f.onReceive = func(ctx context.Context, queue string, _ int) error {
			time.Sleep(map[string]time.Duration{"a": time.Millisecond, "b": 2 * time.Millisecond}[queue]) // b is always late
			return ctx.Err()
		}
		f.fill("a", numbered(100)...)
		f.fill("b", numbered(10)...)
		c := puller(t, open(t, f), []string{"a", "b", "c"})
		got := map[string]int{}
		for range 80 {
			d, err := c.Receive(t.Context())
			ok(t, err)
			got[d.Destination]++
			ok(t, d.Ack(t.Context()))
		}
		if got["b"] < 5 {
			t.Fatalf("b starves: %v", got)
		}
	})
}

func TestPull_keeps_the_rest_and_gives_it_back(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("a", "b")
		f.fill("a", "a0", "a1", "a2")
		f.fill("b", "b0", "b1", "b2")
		ap := open(t, f)
		c := puller(t, ap, []string{"a", "b"}, om.WithLease(10*time.Second))
		ds, err := c.ReceiveBatch(t.Context(), 3)
		ok(t, err)
		synctest.Wait()
		rest, err := c.ReceiveBatch(t.Context(), 3)
		ok(t, err)
		equal(t, "all", len(ds)+len(rest), 6)
		ok(t, c.Ack(t.Context(), append(ds, rest...)...))

		f.fill("a", "a3", "a4")
		f.fill("b", "b3", "b4")
		_, err = c.ReceiveBatch(t.Context(), 2)
		ok(t, err)
		synctest.Wait()
		ok(t, c.Unbind(t.Context(), "a", "b"))
		again, err := puller(t, ap, []string{"a"}).ReceiveBatch(t.Context(), 9)
		ok(t, err)
		equal(t, "given back of a", len(again), 2)
		_, err = c.Receive(t.Context())
		is(t, err, om.CodeBadParameter)
	})
}

func TestPull_drops_what_was_kept_too_long(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("a", "b")
		f.fill("a", "a0", "a1")
		f.fill("b", "b0", "b1")
		f.onReceive = func(_ context.Context, queue string, _ int) error {
			time.Sleep(map[string]time.Duration{"a": 1, "b": 2}[queue]) // b comes although a has won
			return nil
		}
		c := puller(t, open(t, f), []string{"a", "b"}, om.WithLease(10*time.Second))
		first, err := c.ReceiveBatch(t.Context(), 2)
		ok(t, err)
		ok(t, c.Ack(t.Context(), first...))
		time.Sleep(11 * time.Second)
		for range 2 {
			d, err := c.Receive(t.Context())
			ok(t, err)
			equal(t, "count", d.Ext.DeliveryCount, 2)
			ok(t, d.Ack(t.Context())) // a stale receipt would fail
		}
	})
}

func TestBind_wakes_a_receive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("a", "b")
		c := puller(t, open(t, f), []string{"a"})
		got := make(chan string, 1)
		go func() {
			d, err := c.Receive(t.Context())
			ok(t, err)
			got <- string(d.Body)
		}()
		synctest.Wait()
		ok(t, c.Bind(t.Context(), "b"))
		f.fill("b", "x")
		equal(t, "body", <-got, "x")
	})
}

func TestG02_concurrent_receives(t *testing.T) {
	for _, queues := range [][]string{{"a"}, {"a", "b"}} {
		bubble(t, func(t *testing.T) {
			f := newFake("a", "b")
			c := puller(t, open(t, f), queues)
			var seen log
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for range 25 {
						d, err := c.Receive(t.Context())
						ok(t, err)
						seen.add(string(d.Body))
						ok(t, c.Ack(t.Context(), d))
					}
				})
			}
			want := numbered(100)
			for i, b := range want {
				f.fill(queues[i%len(queues)], b)
				if i%10 == 0 {
					synctest.Wait()
				}
			}
			all.Wait()
			got := seen.all()
			slices.Sort(got)
			slices.Sort(want)
			sameList(t, "received", got, want)
		})
	}
}

func TestG22_G23_settling(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a", "b", "c", "d")
		ap := open(t, f)
		c := puller(t, ap, []string{"q"}, om.WithLease(10*time.Second))
		ds, err := c.ReceiveBatch(t.Context(), 4)
		ok(t, err)
		ok(t, ds[0].Ack(t.Context()))
		ok(t, ds[0].Ack(t.Context()))
		equal(t, "calls to ack", f.counted("ack"), 1)
		ok(t, ds[1].Extend(t.Context(), time.Minute))
		ok(t, ds[2].Nack(t.Context(), time.Hour))
		is(t, ds[2].Ack(t.Context()), om.CodeStaleReceipt)
		is(t, ds[3].Reject(t.Context(), "bad"), errors.ErrUnsupported) // declared, but the fake has no method
		time.Sleep(11 * time.Second)
		err = c.Ack(t.Context(), ds[0], ds[1], nil, ds[3])
		var be *om.BatchError
		if !errors.As(err, &be) || be.Failed() != 2 {
			t.Fatal(err)
		}
		is(t, be.At(2), om.CodeBadParameter)
		is(t, be.At(3), om.CodeStaleReceipt)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		is(t, ds[3].Ack(ended), context.Canceled)
		is(t, c.Ack(ended, ds...), context.Canceled)
		ok(t, c.Stop(t.Context()))
		is(t, ds[3].Ack(t.Context()), om.CodeStaleReceipt)
		ok(t, c.Close(t.Context()))
		is(t, ds[3].Ack(t.Context()), om.ErrClosed)
		foreign := om.NewDelivery(msg("q", "x"), -1, -1, nil)
		is(t, puller(t, ap, []string{"q"}).Ack(t.Context(), &foreign), om.ErrUnsupported)
	})
}

func TestAck_of_several_queues_is_one_call_each(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("a", "b")
		f.fill("a", "0", "1")
		f.fill("b", "2", "3")
		ap := open(t, f)
		x, err := puller(t, ap, []string{"a"}).ReceiveBatch(t.Context(), 2)
		ok(t, err)
		c := puller(t, ap, []string{"b"})
		y, err := c.ReceiveBatch(t.Context(), 2)
		ok(t, err)
		ok(t, y[0].Ack(t.Context()))
		f.steal("b", "default")
		err = c.Ack(t.Context(), x[0], y[0], x[1], y[1])
		is(t, err.(*om.BatchError).At(3), om.CodeStaleReceipt)
		equal(t, "failures", err.(*om.BatchError).Failed(), 1)
		equal(t, "calls to ack", f.counted("ack"), 3)
	})
}

func TestR096_undeclared_settlements(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.caps = nil
		f.fill("q", "a")
		c := puller(t, open(t, f), []string{"q"})
		d, err := c.Receive(t.Context())
		ok(t, err)
		is(t, d.Nack(t.Context(), 0), errors.ErrUnsupported)
		is(t, d.Extend(t.Context(), 1), errors.ErrUnsupported)
		is(t, d.Reject(t.Context(), ""), errors.ErrUnsupported)
		_, err = c.Receive(t.Context(), om.From("q", 0, om.Begin()))
		is(t, err, errors.ErrUnsupported)
	})
}

func TestR071_receive_from_a_position(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", numbered(5)...)
		c := puller(t, open(t, f), []string{"q"})
		ds, err := c.ReceiveBatch(t.Context(), 9, om.From("q", 0, om.AtOffset(3)))
		ok(t, err)
		equal(t, "deliveries", len(ds), 2)
		equal(t, "body", string(ds[0].Body), "3")
		is(t, ds[0].Ack(t.Context()), errors.ErrUnsupported)
		_, err = c.Receive(t.Context(), om.From("other", 0, om.Begin()))
		is(t, err, om.CodeBadParameter)
		errs := make(chan error, 1)
		go func() { _, err := c.Receive(t.Context(), om.From("q", 0, om.End())); errs <- err }()
		synctest.Wait()
		ok(t, c.Stop(t.Context()))
		is(t, <-errs, om.CodeNotRunning)
	})
}

func TestG13_G14_All(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", numbered(5)...)
		c := puller(t, open(t, f), []string{"q"})
		var got []string
		for d, err := range c.All(t.Context()) {
			ok(t, err)
			got = append(got, string(d.Body))
			if len(got) == 2 {
				break
			}
			ok(t, d.Ack(t.Context()))
		}
		var errs []error
		for d, err := range c.All(within(t, time.Second)) {
			if err != nil {
				errs = append(errs, err)
				continue
			}
			got = append(got, string(d.Body))
		}
		sameList(t, "received", got, numbered(5))
		equal(t, "errors", len(errs), 1)
		is(t, errs[0], om.ErrTimeout)
	})
}

func TestPull_errors(t *testing.T) {
	for _, queues := range [][]string{{"a"}, {"a", "b"}} {
		bubble(t, func(t *testing.T) {
			f := newFake("a", "b")
			f.onReceive = func(_ context.Context, queue string, call int) error {
				switch {
				case queue == "a" && call < 10:
					return busy()
				case queue == "a":
					return om.NewError(om.CodeForbidden, "", "", "")
				}
				return nil
			}
			var reported log
			c := puller(t, open(t, f), queues, om.WithOnError(reported.err))
			_, err := c.Receive(t.Context())
			is(t, err, om.ErrSecurity)
			if n := len(reported.all()); n < 5 {
				t.Fatalf("%d reports", n)
			}
		})
	}
}

func TestPull_interceptors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a", "refused", "c")
		var reported log
		c := puller(t, open(t, f), []string{"q"}, om.WithOnError(reported.err), om.WithNackDelay(time.Hour))
		remove := c.AddInterceptor(om.ReceiveInterceptor{Before: func(ctx context.Context, d *om.Delivery) (context.Context, error) {
			if string(d.Body) == "refused" {
				return ctx, errors.New("no")
			}
			d.Body = append(d.Body, '!')
			return ctx, nil
		}})
		ds, err := c.ReceiveBatch(t.Context(), 3)
		ok(t, err)
		equal(t, "deliveries", len(ds), 2)
		equal(t, "changed", string(ds[1].Body), "c!")
		ok(t, c.Ack(t.Context(), ds...))
		equal(t, "reported", len(reported.all()), 1)
		_, err = c.Receive(within(t, time.Hour+time.Second))
		is(t, err, om.CodeServerError)
		remove()
		d, err := c.Receive(t.Context())
		ok(t, err)
		equal(t, "body", string(d.Body), "refused")
	})
}
