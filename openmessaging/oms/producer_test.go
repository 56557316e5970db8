package oms_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestSend_stamps_and_gives_back(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.onSend = func(_ context.Context, _ int, ms []*om.Message) error {
			equal(t, "the id the driver sees", ms[0].MessageID, "")
			return nil
		}
		p := producer(t, open(t, f))
		m := msg("q", "a")
		m.MessageID, m.Ext.TransactionID, m.Ext.StoreHost, m.Ext.DeliveryCount = "mine", "mine", "mine", 7
		m.BornAt, m.BornHost, m.Ext.Priority = time.Unix(1, 0), "mine", 99
		time.Sleep(1500 * time.Microsecond)
		r, err := p.Send(t.Context(), m)
		ok(t, err)
		equal(t, "id", m.MessageID, r.MessageID)
		equal(t, "id", r.MessageID, "q-0")
		equal(t, "born", m.BornAt, time.Now().UTC().Truncate(time.Millisecond))
		equal(t, "version", m.Version, om.SpecVersion)
		got := f.queues["q"].messages[0]
		equal(t, "priority that is out of range", got.Ext.Priority, 0)
		if got.BornHost == "" || got.BornHost == "mine" || got.Ext.TransactionID != "" || got.Ext.StoreHost != "" || got.Ext.DeliveryCount != 0 {
			t.Fatalf("not stamped: %+v", got)
		}
	})
}

func TestR023_R028_G03_refused_without_effect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.caps = nil
		p := producer(t, open(t, f))
		with := func(change func(*om.Message)) *om.Message {
			m := msg("q", "a")
			change(m)
			return m
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		cases := map[string]struct {
			ctx  context.Context
			m    *om.Message
			want error
		}{
			"no destination": {t.Context(), msg("", "a"), om.CodeDestinationNotFound},
			"nil":            {t.Context(), nil, om.CodeBadParameter},
			"ended":          {ended, msg("q", "a"), context.Canceled},
			"delay":          {t.Context(), with(func(m *om.Message) { m.Ext.Delay = 1 }), errors.ErrUnsupported},
			"expiry":         {t.Context(), with(func(m *om.Message) { m.Ext.ExpireAt = om.ExpireAfter(1) }), errors.ErrUnsupported},
			"priority":       {t.Context(), with(func(m *om.Message) { m.Ext.Priority = 3 }), errors.ErrUnsupported},
			"qos1":           {t.Context(), with(func(m *om.Message) { m.QoS = om.AtMostOnce }), errors.ErrUnsupported},
			"qos2":           {t.Context(), with(func(m *om.Message) { m.QoS = om.ExactlyOnce }), errors.ErrUnsupported},
			"compression":    {t.Context(), with(func(m *om.Message) { m.Compression = "gzip" }), errors.ErrUnsupported},
			"partition":      {t.Context(), with(func(m *om.Message) { m.Ext.Partition = om.Some[int32](0) }), errors.ErrUnsupported},
			"key":            {t.Context(), with(func(m *om.Message) { m.Ext.MessageKey = "k" }), errors.ErrUnsupported},
			"correlation":    {t.Context(), with(func(m *om.Message) { m.Ext.CorrelationID = "k" }), errors.ErrUnsupported},
			"trace":          {t.Context(), with(func(m *om.Message) { m.Ext.TraceID = "k" }), errors.ErrUnsupported},
			"nested": {t.Context(), with(func(m *om.Message) { m.Properties["o"] = om.Object(om.Properties{}) }),
				errors.ErrUnsupported},
		}
		for name, c := range cases {
			t.Log(name)
			_, err := p.Send(c.ctx, c.m)
			is(t, err, c.want)
			_, err = p.SendAsync(c.ctx, c.m).Wait(t.Context())
			is(t, err, c.want)
			is(t, p.SendOneway(c.ctx, c.m), c.want)
			_, err = p.SendBatch(c.ctx, []*om.Message{c.m})
			is(t, err, c.want)
			_, err = p.SendBatchAsync(c.ctx, []*om.Message{c.m}).Wait(t.Context())
			is(t, err, c.want)
			is(t, p.SendBatchOneway(c.ctx, []*om.Message{c.m}), c.want)
		}
		synctest.Wait()
		equal(t, "calls of the driver", f.counted("send"), 0)
	})
}

func TestR055_async_does_not_block(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("q"), newGate()
		f.onSend = func(ctx context.Context, _ int, _ []*om.Message) error { return g.wait(ctx) }
		p := producer(t, open(t, f))
		m := msg("q", "a")
		future := p.SendAsync(t.Context(), m)
		synctest.Wait()
		select {
		case <-future.Done():
			t.Fatal("done before the driver answered")
		default:
		}
		g.open()
		r, err := future.Wait(t.Context())
		ok(t, err)
		equal(t, "id", r.MessageID, m.MessageID)
	})
}

func TestR056_cancel_before_dispatch_is_never_sent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("q"), newGate()
		f.onSend = func(ctx context.Context, _ int, _ []*om.Message) error { return g.wait(ctx) }
		p := producer(t, open(t, f))
		first := p.SendAsync(t.Context(), msg("q", "first"))
		synctest.Wait()
		second := p.SendAsync(t.Context(), msg("q", "second"))
		batch := p.SendBatchAsync(t.Context(), msgs("q", "third", "fourth"))
		if !second.Cancel() || !batch.Cancel() {
			t.Fatal("cancel reported false")
		}
		g.open()
		ok(t, p.Flush(t.Context()))
		_, err := first.Result()
		ok(t, err)
		_, err = second.Result()
		is(t, err, context.Canceled)
		_, err = batch.Result()
		is(t, err, context.Canceled)
		sameList(t, "stored", f.bodies("q"), []string{"first"})
	})
}

func TestR057_oneway_neither_waits_nor_reports(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("q"), newGate()
		f.onSend = func(ctx context.Context, _ int, _ []*om.Message) error { return g.wait(ctx) }
		p := producer(t, open(t, f))
		m := msg("q", "kept")
		ctx, cancel := context.WithCancel(t.Context())
		ok(t, p.SendOneway(ctx, m))
		ok(t, p.SendOneway(ctx, msg("missing", "b")))
		ok(t, p.SendBatchOneway(ctx, msgs("q", "c", "d")))
		cancel() // what was handed over goes on
		m.Body[0] = 'X'
		g.open()
		ok(t, p.Flush(t.Context()))
		equal(t, "id of the caller's message", m.MessageID, "")
		sameList(t, "stored", f.bodies("q"), []string{"kept", "c", "d"})
	})
}

func TestG04_G08_context_and_SendTimeout_unblock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("q"), newGate()
		f.onSend = func(context.Context, int, []*om.Message) error { <-g.ch; return nil } // ignores its context
		p := producer(t, open(t, f), om.WithSendTimeout(5*time.Second))
		start := time.Now()
		_, err := p.Send(within(t, time.Second), msg("q", "a"))
		is(t, err, om.ErrTimeout, context.DeadlineExceeded)
		equal(t, "time", time.Since(start), time.Second)
		_, err = p.Send(t.Context(), msg("q", "b"))
		is(t, err, om.ErrTimeout, context.DeadlineExceeded)
		equal(t, "time", time.Since(start), 6*time.Second)
		_, err = p.SendAsync(within(t, time.Second), msg("q", "c")).Wait(t.Context())
		is(t, err, om.ErrTimeout, context.DeadlineExceeded)
		equal(t, "time", time.Since(start), 7*time.Second)
		g.open()
		_, err = p.Send(t.Context(), msg("q", "d"))
		ok(t, err)
		if slices.Contains(f.bodies("q"), "b") || slices.Contains(f.bodies("q"), "c") {
			t.Fatalf("sent after its time: %v", f.bodies("q"))
		}
	})
}

func TestG04_a_call_nobody_waits_for_is_given_up(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.onSend = func(ctx context.Context, call int, _ []*om.Message) error {
			if call > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		p := producer(t, open(t, f))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := p.Send(ctx, msg("q", "a"))
		is(t, err, context.Canceled)
		_, err = p.Send(t.Context(), msg("q", "b"))
		ok(t, err)
		equal(t, "time", time.Since(start), time.Second)
	})
}

func TestG01_the_caller_may_change_a_message_when_Send_has_returned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("q"), newGate()
		f.onSend = func(_ context.Context, _ int, ms []*om.Message) error { <-g.ch; return nil } // ignores its context
		p := producer(t, open(t, f))
		m := msg("q", "kept")
		m.Properties["k"] = om.String("kept")
		_, err := p.Send(within(t, time.Second), m)
		is(t, err, om.ErrTimeout)
		future := p.SendAsync(t.Context(), m)
		future.Cancel()
		m.Body[0], m.Properties["k"] = 'X', om.String("X")
		g.open()
		ok(t, p.Flush(t.Context()))
		for _, got := range f.queues["q"].messages {
			equal(t, "body", string(got.Body), "kept")
			equal(t, "property", got.Properties.GetString("k", ""), "kept")
		}
	})
}

func TestSendBatch_SendTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.onSend = func(ctx context.Context, call int, _ []*om.Message) error {
			if call == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		p := producer(t, open(t, f), om.WithBatch(2, 0), om.WithSendTimeout(time.Second))
		rs, err := p.SendBatch(t.Context(), msgs("q", numbered(6)...))
		is(t, err, om.ErrTimeout, context.DeadlineExceeded)
		var be *om.BatchError
		if !errors.As(err, &be) || be.Failed() != 4 || be.At(1) != nil || rs[1].MessageID != "q-1" {
			t.Fatalf("%v %v", rs, err)
		}
		equal(t, "calls", f.counted("send"), 2) // nothing is tried after a part failed as a whole
	})
}

func TestOrder_of_mixed_calls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.onSend = func(ctx context.Context, call int, _ []*om.Message) error {
			time.Sleep(time.Duration(call%3) * time.Millisecond)
			return ctx.Err()
		}
		p := producer(t, open(t, f), om.WithBatch(3, 0))
		var want []string
		next := func() string { want = append(want, fmt.Sprint(len(want))); return want[len(want)-1] }
		for i := range 60 {
			switch i % 6 {
			case 0:
				p.SendAsync(t.Context(), msg("q", next()))
			case 1:
				ok(t, p.SendOneway(t.Context(), msg("q", next())))
			case 2:
				_, err := p.SendBatch(t.Context(), msgs("q", next(), next(), next(), next(), next()))
				ok(t, err)
			case 3:
				p.SendBatchAsync(t.Context(), msgs("q", next(), next(), next(), next()))
			case 4:
				ok(t, p.SendBatchOneway(t.Context(), msgs("q", next(), next())))
			case 5:
				_, err := p.Send(t.Context(), msg("q", next()))
				ok(t, err)
			}
		}
		ok(t, p.Flush(t.Context()))
		sameList(t, "order", f.bodies("q"), want)
	})
}

func TestRetry_keeps_the_order_of_later_messages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.outcome = func(call int, m *om.Message) error {
			if string(m.Body) == "a" && call < 4 {
				return busy()
			}
			return nil
		}
		p := producer(t, open(t, f))
		a := p.SendAsync(t.Context(), msg("q", "a"))
		synctest.Wait()
		b := p.SendAsync(t.Context(), msg("q", "b"))
		_, err := p.SendBatch(t.Context(), msgs("q", "c"))
		ok(t, err)
		for _, future := range []*om.Future[om.SendResult]{a, b} {
			_, err := future.Wait(t.Context())
			ok(t, err)
		}
		sameList(t, "order", f.bodies("q"), []string{"a", "b", "c"})
	})
}

func TestRetry_is_bounded_and_per_message(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.outcome = func(_ int, m *om.Message) error {
			if string(m.Body) == "bad" {
				return busy()
			}
			return nil
		}
		p := producer(t, open(t, f), om.WithRetry(om.RetryPolicy{Attempts: 5, Min: time.Second, Max: time.Minute}))
		start := time.Now()
		rs, err := p.SendBatch(t.Context(), msgs("q", "good", "bad", "fine"))
		var be *om.BatchError
		if !errors.As(err, &be) || be.Failed() != 1 {
			t.Fatal(err)
		}
		is(t, be.At(1), om.CodeStorageBusy)
		equal(t, "calls", f.counted("send"), 5)
		sameList(t, "retried", f.batches[2], []string{"bad"})
		if rs[0].MessageID != "q-0" || rs[2].MessageID != "q-1" {
			t.Fatal(rs)
		}
		// 1, 2, 4 and 8 s, each spread by half.
		if d := time.Since(start); d < 7500*time.Millisecond || d > 15*time.Second {
			t.Fatal(d)
		}
		_, err = p.Send(within(t, 2*time.Second), msg("q", "bad"))
		is(t, err, context.DeadlineExceeded, om.ErrTimeout)
		_, err = p.SendBatch(within(t, 100*time.Millisecond), msgs("q", "bad"))
		is(t, err, context.DeadlineExceeded, om.CodeStorageBusy)
	})
}

func TestRetry_keeps_the_id_of_the_first_try(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		var seen []string
		f.outcome = func(call int, m *om.Message) error {
			seen = append(seen, m.MessageID)
			if call < 4 {
				return busy()
			}
			return nil
		}
		f.attempt = func(m *om.Message) string {
			if len(seen) > 1 {
				return "" // a driver that says it once
			}
			return "first"
		}
		m := msg("q", "a")
		m.MessageID = "of the caller"
		_, err := producer(t, open(t, f)).SendBatch(t.Context(), []*om.Message{m})
		ok(t, err)
		sameList(t, "ids that the driver was given", seen, []string{"", "first", "first", "first"})
		equal(t, "id after the send", m.MessageID, "q-0")
	})
}

func TestRetry_finishes_neighbours_at_once(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("q"), newGate()
		f.onSend = func(ctx context.Context, call int, _ []*om.Message) error {
			if call == 1 {
				return g.wait(ctx)
			}
			return nil
		}
		f.outcome = func(call int, m *om.Message) error {
			if string(m.Body) == "bad" && call < 4 {
				return busy()
			}
			return nil
		}
		p := producer(t, open(t, f), om.WithRetry(om.RetryPolicy{Min: time.Second}))
		p.SendAsync(t.Context(), msg("q", "first"))
		synctest.Wait()
		bad, good := p.SendAsync(t.Context(), msg("q", "bad")), p.SendAsync(t.Context(), msg("q", "good"))
		g.open()
		start := time.Now()
		_, err := good.Wait(t.Context())
		ok(t, err)
		equal(t, "wait of the good one", time.Since(start), 0)
		_, err = bad.Wait(t.Context())
		ok(t, err)
	})
}

func TestRetry_not_twice_when_open(t *testing.T) {
	for _, qos := range []om.QoS{om.AtMostOnce, om.ExactlyOnce} {
		bubble(t, func(t *testing.T) {
			f := newFake("q")
			f.onSend = func(context.Context, int, []*om.Message) error {
				return om.NewError(om.CodeServiceUnavailable, "", "", "gone")
			}
			p := producer(t, open(t, f))
			m := msg("q", "a")
			m.QoS = qos
			_, err := p.Send(t.Context(), m)
			is(t, err, om.CodeServiceUnavailable)
			equal(t, "calls", f.counted("send"), 1)
		})
	}
}

func TestG27_partial_failure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		p := producer(t, open(t, f))
		ms := []*om.Message{msg("q", "0"), msg("", "1"), msg("missing", "2"), nil, msg("q", "4")}
		ms[4].Ext.Priority = 77
		rs, err := p.SendBatch(t.Context(), ms)
		var be *om.BatchError
		if !errors.As(err, &be) || be.Failed() != 3 || len(rs) != 5 {
			t.Fatal(err)
		}
		for i, want := range []error{nil, om.ErrDestination, om.ErrDestination, om.CodeBadParameter, nil} {
			if want != nil {
				is(t, be.At(i), want)
			} else {
				ok(t, be.At(i))
			}
		}
		equal(t, "id", ms[4].MessageID, rs[4].MessageID)
		equal(t, "the caller's priority", ms[4].Ext.Priority, 77)
		sameList(t, "stored", f.bodies("q"), []string{"0", "4"})
		rs, err = p.SendBatchAsync(t.Context(), ms).Wait(t.Context())
		if !errors.As(err, &be) || be.Failed() != 3 || rs[4].MessageID != ms[4].MessageID {
			t.Fatal(err, rs)
		}
		rs, err = p.SendBatch(t.Context(), nil)
		ok(t, err)
		equal(t, "results of an empty batch", len(rs), 0)
	})
}

func TestG27_atomic_batch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("q"), newGate()
		f.caps = om.Capabilities{om.CapAtomicBatch}
		f.onSend = func(ctx context.Context, call int, ms []*om.Message) error {
			if call == 1 {
				return g.wait(ctx)
			}
			return nil
		}
		f.outcome = func(call int, m *om.Message) error { // a batch of two fails as one
			if call == 2 || string(m.Body) == "bad" {
				return om.NewError(om.CodeBadRequest, "", "", "")
			}
			return nil
		}
		p := producer(t, open(t, f))
		p.SendAsync(t.Context(), msg("q", "first"))
		synctest.Wait()
		bad, good := p.SendAsync(t.Context(), msg("q", "bad")), p.SendAsync(t.Context(), msg("q", "good"))
		g.open()
		_, err := good.Wait(t.Context())
		ok(t, err)
		_, err = bad.Wait(t.Context())
		is(t, err, om.CodeBadRequest)
		_, err = p.SendBatch(t.Context(), []*om.Message{msg("q", "x"), msg("", "y")})
		var be *om.BatchError
		if !errors.As(err, &be) || be.Failed() != 2 {
			t.Fatal(err)
		}
		sameList(t, "stored", f.bodies("q"), []string{"first", "good"})
	})
}
