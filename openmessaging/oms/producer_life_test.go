package oms_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

func TestR093_R094_producer_states_and_restart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		p := producer(t, open(t, f))
		equal(t, "state", p.State(), om.Started)
		ok(t, p.Start(t.Context()))
		ok(t, p.Stop(t.Context()))
		ok(t, p.Stop(t.Context()))
		equal(t, "state", p.State(), om.Stopped)
		_, err := p.Send(t.Context(), msg("q", "a"))
		is(t, err, om.CodeNotRunning)
		_, err = p.SendBatch(t.Context(), nil)
		is(t, err, om.CodeNotRunning)
		ok(t, p.Start(t.Context()))
		_, err = p.Send(t.Context(), msg("q", "b"))
		ok(t, err)
		sameList(t, "stored", f.bodies("q"), []string{"b"})
	})
}

func TestG10_G11_producer_close(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		p := producer(t, open(t, f), om.WithTransactionChecker(func(context.Context, *om.Message) om.TxVerdict { return 0 }))
		tx, err := p.Prepare(t.Context(), msg("q", "half"))
		ok(t, err)
		ok(t, p.Close(t.Context()))
		ok(t, p.Close(t.Context()))
		ok(t, p.Stop(t.Context()))
		_, err = p.Send(t.Context(), msg("q", "a"))
		is(t, err, om.ErrClosed, om.CodeClosed)
		_, err = p.SendAsync(t.Context(), msg("q", "a")).Wait(t.Context())
		is(t, err, om.ErrClosed)
		is(t, p.SendOneway(t.Context(), msg("q", "a")), om.ErrClosed)
		_, err = p.SendBatch(t.Context(), nil)
		is(t, err, om.ErrClosed)
		_, err = p.SendBatchAsync(t.Context(), nil).Wait(t.Context())
		is(t, err, om.ErrClosed)
		is(t, p.SendBatchOneway(t.Context(), nil), om.ErrClosed)
		_, err = p.Prepare(t.Context(), msg("q", "a"))
		is(t, err, om.ErrClosed)
		is(t, p.Flush(t.Context()), om.ErrClosed)
		is(t, p.Start(t.Context()), om.ErrClosed)
		is(t, tx.Commit(t.Context()), om.ErrClosed)
		sameList(t, "stored", f.bodies("q"), nil)
	})
}

func TestG32_producer_stop_flushes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.onSend = func(ctx context.Context, _ int, _ []*om.Message) error {
			time.Sleep(time.Second)
			return ctx.Err()
		}
		p := producer(t, open(t, f), om.WithBatch(1, 0))
		for _, b := range numbered(5) {
			ok(t, p.SendOneway(t.Context(), msg("q", b)))
		}
		go func() {
			_, err := p.SendBatch(t.Context(), msgs("q", "5", "6"))
			ok(t, err)
		}()
		synctest.Wait()
		ok(t, p.Stop(t.Context()))
		sameList(t, "stored", f.bodies("q"), numbered(7))
		sameList(t, "closed", f.closed, []string{"sender"})
	})
}

func TestG32_producer_stop_is_cut_off(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		f.onSend = func(ctx context.Context, _ int, _ []*om.Message) error {
			<-ctx.Done()
			return ctx.Err()
		}
		p := producer(t, open(t, f), om.WithBatch(1, 0), om.WithBuffer(1, 0))
		a := p.SendAsync(t.Context(), msg("q", "a"))
		synctest.Wait()
		b := p.SendAsync(t.Context(), msg("q", "b"))
		blocked := make(chan error, 1)
		go func() { _, err := p.Send(t.Context(), msg("q", "c")); blocked <- err }()
		synctest.Wait()
		is(t, p.Stop(within(t, time.Second)), context.DeadlineExceeded)
		is(t, <-blocked, om.CodeNotRunning)
		_, err := a.Wait(t.Context())
		is(t, err, om.CodeNotRunning, context.Canceled)
		_, err = b.Wait(t.Context())
		is(t, err, om.CodeNotRunning, context.Canceled)
		ok(t, p.Stop(t.Context()))
		sameList(t, "closed", f.closed, []string{"sender"})
		f.onSend = nil
		ok(t, p.Start(t.Context()))
		_, err = p.Send(t.Context(), msg("q", "d"))
		ok(t, err)
	})
}

func TestR059_R060_G30_send_interceptors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		var seen log
		type key struct{}
		hooks := func(name string) om.SendInterceptor {
			return om.SendInterceptor{
				Before: func(ctx context.Context, m *om.Message) (context.Context, error) {
					seen.add("before " + name)
					if name == "B" && string(m.Body) == "refused" {
						return ctx, errors.New("no")
					}
					m.Properties["by"] = om.String(name)
					return context.WithValue(ctx, key{}, name), nil
				},
				After: func(ctx context.Context, m *om.Message, r om.SendResult) {
					seen.add("after " + name + " " + ctx.Value(key{}).(string) + " " + m.MessageID + r.MessageID)
				},
				Failed: func(ctx context.Context, _ *om.Message, err error) { seen.add("failed " + name) },
			}
		}
		p := producer(t, open(t, f), om.WithSendInterceptor(hooks("A")))
		remove := p.AddInterceptor(hooks("B"))
		m := msg("q", "a")
		_, err := p.Send(t.Context(), m)
		ok(t, err)
		want := []string{"before A", "before B", "after B B q-0q-0", "after A B q-0q-0"}
		sameList(t, "hooks of Send", seen.all(), want)
		equal(t, "the caller's property", len(m.Properties), 0)
		equal(t, "sent property", f.queues["q"].messages[0].Properties.GetString("by", ""), "B")

		seen.reset()
		_, err = p.SendBatch(t.Context(), msgs("q", "b", "refused"))
		is(t, err.(*om.BatchError).At(1), om.CodeServerError)
		sameList(t, "hooks of SendBatch", seen.all(), []string{"before A", "before B", "before A", "before B", "failed A",
			"after B B q-1q-1", "after A B q-1q-1"})

		seen.reset()
		remove()
		remove()
		_, err = p.SendAsync(t.Context(), msg("missing", "c")).Wait(t.Context())
		is(t, err, om.ErrDestination)
		_, err = p.SendBatchAsync(t.Context(), msgs("q", "d")).Wait(t.Context())
		ok(t, err)
		sameList(t, "hooks after removal", seen.all(), []string{"before A", "failed A", "before A", "after A A q-2q-2"})
	})
}

func TestR082_prepare_needs_capability_then_checker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		p := producer(t, open(t, f))
		_, err := p.Prepare(t.Context(), msg("q", "a"))
		is(t, err, om.CodeCheckerMissing, om.ErrTransaction)
		f = newFake("q")
		f.caps = nil
		p = producer(t, open(t, f))
		_, err = p.Prepare(t.Context(), msg("q", "a"))
		is(t, err, om.ErrUnsupported, errors.ErrUnsupported)
	})
}

func TestTransactions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		p := producer(t, open(t, f), om.WithTransactionChecker(func(context.Context, *om.Message) om.TxVerdict { return 0 }))
		m := msg("q", "a")
		tx, err := p.Prepare(t.Context(), m)
		ok(t, err)
		equal(t, "id", m.Ext.TransactionID, tx.ID())
		equal(t, "message id", m.MessageID, tx.MessageID())
		ok(t, tx.Commit(t.Context()))
		ok(t, tx.Commit(t.Context()))
		is(t, tx.Rollback(t.Context()), om.ErrTransaction)

		_, err = oms.SendInTransaction(t.Context(), p, msg("q", "b"), func(context.Context) error { return nil })
		ok(t, err)
		no := errors.New("no")
		_, err = oms.SendInTransaction(t.Context(), p, msg("q", "c"), func(context.Context) error { return no })
		is(t, err, no)
		func() {
			defer func() { equal(t, "panic", recover(), any("boom")) }()
			_, _ = oms.SendInTransaction(t.Context(), p, msg("q", "d"), func(context.Context) error { panic("boom") })
		}()
		sameList(t, "stored", f.bodies("q"), []string{"a", "b"})
		equal(t, "left open", len(f.prepared), 2) // a and b stay in the fake's map
	})
}

func TestBatchSender(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		b := oms.NewBatch(producer(t, open(t, f)))
		b.Add(msg("q", "x"))
		b.Discard()
		for _, m := range msgs("q", "a", "b") {
			b.Add(m)
		}
		equal(t, "length", b.Len(), 2)
		rs, err := b.Flush(t.Context())
		ok(t, err)
		equal(t, "results", len(rs), 2)
		equal(t, "length", b.Len(), 0)
		sameList(t, "stored", f.bodies("q"), []string{"a", "b"})
	})
}
