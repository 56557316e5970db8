package oms_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestBackpressure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, g := newFake("q"), newGate()
		f.onSend = func(ctx context.Context, _ int, _ []*om.Message) error { return g.wait(ctx) }
		ap := open(t, f)
		p := producer(t, ap, om.WithBuffer(2, 0))
		var last *om.Future[om.SendResult]
		for range 3 { // one with the driver, two in the buffer
			last = p.SendAsync(t.Context(), msg("q", "x"))
			synctest.Wait()
		}
		is(t, p.SendOneway(within(t, time.Second), msg("q", "late")), context.DeadlineExceeded)
		var blocked atomic.Bool
		blocked.Store(true)
		go func() {
			_, err := p.Send(t.Context(), msg("q", "waits"))
			ok(t, err)
			blocked.Store(false)
		}()
		synctest.Wait()
		equal(t, "blocked", blocked.Load(), true)
		equal(t, "cancelled", last.Cancel(), true) // makes room
		synctest.Wait()
		is(t, p.SendOneway(within(t, time.Second), msg("q", "late")), context.DeadlineExceeded)
		g.open()
		ok(t, p.Flush(t.Context()))
		synctest.Wait()
		equal(t, "blocked", blocked.Load(), false)
		sameList(t, "stored", f.bodies("q"), []string{"x", "x", "waits"})

		g2 := newGate()
		f.onSend = func(ctx context.Context, _ int, _ []*om.Message) error { return g2.wait(ctx) }
		defer g2.open()
		p = producer(t, ap, om.WithBuffer(0, 10), om.WithFailWhenFull())
		ok(t, p.SendOneway(t.Context(), msg("q", "0123456789ABC"))) // larger than the buffer: goes alone
		synctest.Wait()
		waits := p.SendAsync(t.Context(), msg("q", "12345678"))
		is(t, p.SendOneway(t.Context(), msg("q", "123")), om.CodeBufferFull)
		_, err := p.SendAsync(t.Context(), msg("q", "123")).Wait(t.Context())
		is(t, err, om.CodeBufferFull)
		_, err = p.SendBatchAsync(t.Context(), msgs("q", "123", "4")).Wait(t.Context())
		is(t, err, om.CodeBufferFull)
		waits.Cancel()
		ok(t, p.SendOneway(t.Context(), msg("q", "123")))
	})
}

func TestBatching_by_count_bytes_and_linger(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("q")
		p := producer(t, open(t, f), om.WithBatch(3, 10), om.WithLinger(time.Second))
		start := time.Now()
		for _, b := range numbered(3) {
			p.SendAsync(t.Context(), msg("q", b))
		}
		synctest.Wait()
		equal(t, "calls when full", f.counted("send"), 1)
		_, err := p.Send(t.Context(), msg("q", "alone"))
		ok(t, err)
		equal(t, "linger", time.Since(start), time.Second)
		for _, b := range []string{"123456", "12345", "123456789012345", "1"} {
			p.SendAsync(t.Context(), msg("q", b))
		}
		ok(t, p.Flush(t.Context()))
		equal(t, "time of a flush", time.Since(start), time.Second)
		var sizes []int
		for _, b := range f.batches {
			sizes = append(sizes, len(b))
		}
		if !slices.Equal(sizes, []int{3, 1, 1, 1, 1, 1}) {
			t.Fatal(sizes)
		}
	})
}
