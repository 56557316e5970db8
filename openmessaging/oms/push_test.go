package oms_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// noting is a handler that notes bodies.
func noting(l *log) om.Handler {
	return func(_ context.Context, d *om.Delivery) error { l.add(string(d.Body)); return nil }
}

func TestR072_R066_push_and_gathered_acks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("a", "b"), newGate()
		f.onAck = func(ctx context.Context, _ int) error { return g.wait(ctx) }
		c := pusher(t, open(t, f))
		var seen log
		ok(t, c.Bind(t.Context(), noting(&seen), "b", "a"))
		sameList(t, "queues", c.Queues(), []string{"a", "b"})
		f.fill("a", numbered(100)...)
		synctest.Wait()
		sameList(t, "handled while the first ack runs", seen.all(), numbered(100))
		g.open()
		synctest.Wait()
		if n := f.counted("ack"); n > 3 {
			t.Fatalf("%d calls for 100 acks", n)
		}
		sameList(t, "unsettled", f.unsettled("a", "default"), nil)
	})
}

func TestPrefetch_is_bounded_and_fetched_in_few_calls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("q"), newGate()
		f.fill("q", numbered(100)...)
		c := pusher(t, open(t, f), om.WithPrefetch(8))
		ok(t, c.Bind(t.Context(), func(ctx context.Context, _ *om.Delivery) error { return g.wait(ctx) }, "q"))
		synctest.Wait()
		if n := f.leased("q", "default"); n < 2 || n > 9 {
			t.Fatalf("%d messages are held", n)
		}
		g.open()
		synctest.Wait()
		sameList(t, "unsettled", f.unsettled("q", "default"), nil)
		if n := f.counted("receive"); n > 30 {
			t.Fatalf("%d calls for 100 messages", n)
		}
	})
}

func TestR065_bind_is_all_or_nothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("a", "b")
		c := pusher(t, open(t, f))
		h := noting(new(log))
		is(t, c.Bind(t.Context(), h, "a", "missing"), om.ErrDestination)
		sameList(t, "queues", c.Queues(), nil)
		sameList(t, "closed", f.closed, []string{"receiver a"})
		ok(t, c.Bind(t.Context(), h, "a"))
		is(t, c.Bind(t.Context(), h, "b", "default://a"), om.CodeBadParameter)
		is(t, c.Bind(t.Context(), h, "b", "b"), om.CodeBadParameter)
		is(t, c.Bind(t.Context(), h), om.CodeBadParameter)
		is(t, c.Bind(t.Context(), nil, "b"), om.CodeBadParameter)
		sameList(t, "queues", c.Queues(), []string{"a"})
	})
}

func TestG31_handler_error_and_panic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "error", "panic", "goexit", "good")
		var seen, reported log
		c := pusher(t, open(t, f), om.WithNackDelay(time.Second), om.WithOnError(func(err error) {
			is(t, err, om.CodeHandlerPanic)
			reported.err(err)
		}))
		ok(t, c.Bind(t.Context(), func(ctx context.Context, d *om.Delivery) error {
			seen.add(fmt.Sprint(string(d.Body), d.Ext.DeliveryCount))
			if d.Ext.DeliveryCount > 1 {
				return nil
			}
			switch string(d.Body) {
			case "error":
				return errors.New("no")
			case "panic":
				panic("boom")
			case "goexit":
				runtime.Goexit()
			}
			return nil
		}, "q"))
		pass(999 * time.Millisecond)
		sameList(t, "handled", seen.all(), []string{"error1", "panic1", "goexit1", "good1"})
		pass(time.Second)
		sameList(t, "handled", seen.all()[4:], []string{"error2", "panic2", "goexit2"})
		if r := reported.all(); len(r) != 2 || !strings.Contains(r[0], "boom") || !strings.Contains(r[0], "push_test.go") {
			t.Fatal(r)
		}
	})
}

func TestG31_without_nack_the_lease_ends(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.caps = om.Capabilities{om.CapLease}
		f.fill("q", "a")
		var at []time.Duration
		start := time.Now()
		c := pusher(t, open(t, f), om.WithLease(10*time.Second))
		ok(t, c.Bind(t.Context(), func(context.Context, *om.Delivery) error {
			if at = append(at, time.Since(start)); len(at) == 1 {
				return errors.New("no")
			}
			return nil
		}, "q"))
		pass(time.Minute)
		if !slices.Equal(at, []time.Duration{0, 10 * time.Second}) {
			t.Fatal(at)
		}
	})
}

func TestG25_leases_are_extended_while_handlers_run(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a", "b", "c")
		var seen log
		c := pusher(t, open(t, f), om.WithLease(9*time.Second))
		ok(t, c.Bind(t.Context(), func(_ context.Context, d *om.Delivery) error {
			seen.add(fmt.Sprint(string(d.Body), d.Ext.DeliveryCount))
			time.Sleep(40 * time.Second)
			return nil
		}, "q"))
		pass(130 * time.Second)
		sameList(t, "handled", seen.all(), []string{"a1", "b1", "c1"})
		sameList(t, "unsettled", f.unsettled("q", "default"), nil)
		calls := f.counted("extend")
		if calls < 12 || calls > 45 {
			t.Fatalf("%d calls to extend", calls)
		}
		pass(time.Hour)
		equal(t, "calls to extend later", f.counted("extend"), calls)
	})
}

func TestLost_leases(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a", "b")
		var seen, reported log
		c := pusher(t, open(t, f), om.WithLease(9*time.Second), om.WithOnError(reported.err))
		ok(t, c.Bind(t.Context(), func(_ context.Context, d *om.Delivery) error {
			seen.add(fmt.Sprint(string(d.Body), d.Ext.DeliveryCount))
			time.Sleep(20 * time.Second)
			return nil
		}, "q"))
		synctest.Wait()
		f.steal("q", "default") // another consumer has both now
		pass(30 * time.Second)
		sameList(t, "handled", seen.all(), []string{"a1"})
		if r := reported.all(); len(r) != 2 || !strings.Contains(r[0], "extend") || !strings.Contains(r[1], "ack") {
			t.Fatal(r)
		}
	})
}

func TestPrefetched_messages_without_lease_capability_are_dropped_in_time(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.caps = nil
		f.fill("q", "a", "b")
		var seen log
		c := pusher(t, open(t, f), om.WithLease(9*time.Second), om.WithOnError(func(error) {}))
		ok(t, c.Bind(t.Context(), func(_ context.Context, d *om.Delivery) error {
			seen.add(fmt.Sprint(string(d.Body), d.Ext.DeliveryCount))
			if d.Ext.DeliveryCount == 1 {
				time.Sleep(10 * time.Second)
			}
			return nil
		}, "q"))
		pass(30 * time.Second)
		// The fetching goroutine got both again while the handler had the first.
		if s := seen.all(); s[0] != "a1" || slices.Contains(s, "b1") {
			t.Fatal(s)
		}
	})
}

func TestR073_batch_handler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", numbered(10)...)
		var sizes []int
		var again log
		c := pusher(t, open(t, f), om.WithHandlerBatch(4), om.WithNackDelay(time.Second))
		ok(t, c.BindBatch(t.Context(), func(ctx context.Context, b *om.Batch) error {
			sizes = append(sizes, len(b.Deliveries))
			if d := b.Deliveries[0]; d.Ext.DeliveryCount > 1 {
				for _, d := range b.Deliveries {
					again.add(string(d.Body))
				}
				return nil
			}
			if len(sizes) == 1 {
				ok(t, b.AckOnly(ctx, b.Deliveries[1], b.Deliveries[2]))
				return errors.New("the rest is bad")
			}
			return nil
		}, "q"))
		pass(2 * time.Second)
		if !slices.Equal(sizes[:3], []int{4, 4, 2}) {
			t.Fatal(sizes)
		}
		sameList(t, "given back", again.all(), []string{"0", "3"})
		sameList(t, "unsettled", f.unsettled("q", "default"), nil)
	})
}

func TestManualAck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "later", "never")
		var kept *om.Delivery
		c := pusher(t, open(t, f), om.WithManualAck(), om.WithLease(10*time.Second))
		var seen log
		ok(t, c.Bind(t.Context(), func(_ context.Context, d *om.Delivery) error {
			seen.add(fmt.Sprint(string(d.Body), d.Ext.DeliveryCount))
			if string(d.Body) == "later" {
				kept = d
			}
			return errors.New("only for the interceptors")
		}, "q"))
		pass(time.Second)
		ok(t, kept.Ack(t.Context()))
		ok(t, kept.Ack(t.Context()))
		is(t, kept.Nack(t.Context(), 0), om.CodeStaleReceipt)
		pass(10 * time.Second)
		sameList(t, "handled", seen.all(), []string{"later1", "never1", "never2"})
	})
}

func TestR074_R075_R076_suspend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		c := pusher(t, open(t, f))
		var seen log
		ok(t, c.Bind(t.Context(), noting(&seen), "q"))
		is(t, c.Resume(t.Context()), om.CodeNotSuspended)
		is(t, c.Suspend(t.Context(), -1), om.CodeBadParameter)
		ok(t, c.Suspend(t.Context(), time.Minute))
		f.fill("q", "a")
		pass(59 * time.Second)
		equal(t, "suspended", c.Suspended(), true)
		sameList(t, "handled", seen.all(), nil)
		pass(2 * time.Second)
		equal(t, "suspended", c.Suspended(), false)
		sameList(t, "handled", seen.all(), []string{"a"})

		ok(t, c.Suspend(t.Context(), time.Minute))
		ok(t, c.Suspend(t.Context(), 0))
		f.fill("q", "b")
		pass(time.Hour)
		sameList(t, "handled", seen.all(), []string{"a"})
		ok(t, c.Resume(t.Context()))
		synctest.Wait()
		sameList(t, "handled", seen.all(), []string{"a", "b"})
		ok(t, c.Stop(t.Context()))
		is(t, c.Suspend(t.Context(), 0), om.CodeNotRunning)
	})
}

func TestSuspended_consumer_lets_prefetched_messages_go(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a", "b")
		g := newGate()
		ap := open(t, f)
		c := pusher(t, ap, om.WithLease(9*time.Second))
		ok(t, c.Bind(t.Context(), func(ctx context.Context, _ *om.Delivery) error { return g.wait(ctx) }, "q"))
		synctest.Wait() // a runs, b is prefetched
		ok(t, c.Suspend(t.Context(), 0))
		other := puller(t, ap, []string{"q"}, om.WithLease(9*time.Second))
		d, err := other.Receive(within(t, 10*time.Second))
		ok(t, err)
		equal(t, "what the other gets", string(d.Body), "b")
		ok(t, d.Ack(t.Context()))
		g.open()
		ok(t, c.Resume(t.Context()))
		synctest.Wait()
		sameList(t, "unsettled", f.unsettled("q", "default"), nil)
	})
}

func TestR063_unbind_waits_and_gives_back(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a", "b", "c")
		var seen log
		ap := open(t, f)
		c := pusher(t, ap)
		ok(t, c.Bind(t.Context(), func(_ context.Context, d *om.Delivery) error {
			time.Sleep(time.Second)
			seen.add(string(d.Body))
			return nil
		}, "q"))
		synctest.Wait()
		ok(t, c.Unbind(t.Context(), "q", "other"))
		sameList(t, "handled", seen.all(), []string{"a"})
		sameList(t, "unsettled", f.unsettled("q", "default"), []string{"b", "c"})
		ds, err := puller(t, ap, []string{"q"}).ReceiveBatch(t.Context(), 5)
		ok(t, err)
		equal(t, "given back at once", len(ds), 2)
		ok(t, c.Bind(t.Context(), noting(&seen), "q"))
	})
}

func TestG32_graceful_stop_and_restart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", numbered(5)...)
		f.onAck = func(ctx context.Context, _ int) error { time.Sleep(time.Second); return ctx.Err() }
		var seen log
		c := pusher(t, open(t, f), om.WithConcurrency(2))
		ok(t, c.Bind(t.Context(), func(_ context.Context, d *om.Delivery) error {
			time.Sleep(time.Second)
			seen.add(string(d.Body))
			return nil
		}, "q"))
		synctest.Wait()
		ok(t, c.Stop(t.Context()))
		equal(t, "handled", len(seen.all()), 2)
		sameList(t, "unsettled", f.unsettled("q", "default"), []string{"2", "3", "4"})
		ok(t, c.Start(t.Context()))
		pass(time.Minute)
		sameList(t, "queues", c.Queues(), []string{"q"})
		sameList(t, "unsettled", f.unsettled("q", "default"), nil)
		equal(t, "handled", len(seen.all()), 5)
	})
}

func TestG32_stop_is_cut_off(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a")
		c := pusher(t, open(t, f), om.WithOnError(func(error) {}))
		var end atomic.Bool
		ok(t, c.Bind(t.Context(), func(ctx context.Context, _ *om.Delivery) error {
			<-ctx.Done()
			end.Store(true)
			return ctx.Err()
		}, "q"))
		synctest.Wait()
		is(t, c.Stop(within(t, time.Second)), context.DeadlineExceeded)
		synctest.Wait()
		equal(t, "the handler's context has ended", end.Load(), true)
		equal(t, "state", c.State(), om.Stopped)
		sameList(t, "unsettled", f.unsettled("q", "default"), []string{"a"})
	})
}

func TestStop_Unbind_and_Close_in_a_handler(t *testing.T) {
	for _, name := range []string{"stop", "unbind", "close", "close the access point"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake("q")
				f.fill("q", "a", "b")
				ap := open(t, f)
				c := pusher(t, ap, om.WithOnError(func(error) {}))
				var calls atomic.Int32
				ok(t, c.Bind(t.Context(), func(ctx context.Context, _ *om.Delivery) error {
					calls.Add(1)
					switch name {
					case "stop":
						return c.Stop(ctx)
					case "unbind":
						return c.Unbind(ctx, "q")
					case "close":
						return c.Close(ctx)
					}
					return ap.Close(ctx)
				}, "q"))
				synctest.Wait()
				ok(t, c.Stop(t.Context()))
				equal(t, "calls", calls.Load(), 1)
				if name != "close the access point" {
					sameList(t, "unsettled", f.unsettled("q", "default"), []string{"b"})
				}
			})
		})
	}
}

func TestFailed_receives_are_reported_and_retried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a")
		f.onReceive = func(_ context.Context, _ string, call int) error {
			if call <= 20 {
				return errors.New("not retryable by its class")
			}
			return nil
		}
		var seen, reported log
		c := pusher(t, open(t, f), om.WithOnError(reported.err))
		ok(t, c.Bind(t.Context(), noting(&seen), "q"))
		pass(time.Minute)
		sameList(t, "handled", seen.all(), []string{"a"})
		equal(t, "reported", len(reported.all()), 20)
	})
}

func TestFailed_acks_are_retried_then_reported(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a")
		f.onAck = func(_ context.Context, call int) error {
			if call <= 3 || call > 4 {
				return busy()
			}
			return nil
		}
		var reported log
		c := pusher(t, open(t, f), om.WithOnError(reported.err), om.WithReceiveRetry(om.RetryPolicy{Attempts: 4}))
		ok(t, c.Bind(t.Context(), noting(new(log)), "q"))
		pass(time.Minute)
		sameList(t, "unsettled", f.unsettled("q", "default"), nil)
		sameList(t, "reported", reported.all(), nil)
		f.fill("q", "b")
		pass(20 * time.Second)
		equal(t, "calls", f.counted("ack"), 8)
		equal(t, "reported", len(reported.all()), 1)
	})
}

func TestR078_G30_receive_interceptors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.fill("q", "a", "refused")
		var seen log
		type key struct{}
		hooks := func(name string) om.ReceiveInterceptor {
			return om.ReceiveInterceptor{
				Before: func(ctx context.Context, d *om.Delivery) (context.Context, error) {
					seen.add("before " + name)
					if name == "B" && string(d.Body) == "refused" && d.Ext.DeliveryCount == 1 {
						return nil, errors.New("no")
					}
					return context.WithValue(ctx, key{}, name), nil
				},
				After: func(ctx context.Context, d *om.Delivery, err error) {
					seen.add(fmt.Sprint("after ", name, " ", ctx.Value(key{}), " ", err))
				},
			}
		}
		c := pusher(t, open(t, f), om.WithReceiveInterceptor(hooks("A")), om.WithNackDelay(time.Hour))
		remove := c.AddInterceptor(hooks("B"))
		ok(t, c.Bind(t.Context(), func(ctx context.Context, d *om.Delivery) error {
			seen.add(fmt.Sprint("handle ", string(d.Body), " ", ctx.Value(key{})))
			return nil
		}, "q"))
		synctest.Wait()
		sameList(t, "hooks", seen.all(), []string{
			"before A", "before B", "handle a B", "after B B <nil>", "after A B <nil>",
			"before A", "before B", "after A A no",
		})
		remove()
		seen.reset()
		pass(time.Hour)
		sameList(t, "hooks", seen.all(), []string{"before A", "handle refused A", "after A A <nil>"})
	})
}
