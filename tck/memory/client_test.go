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
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

// clients runs a test with the portable client.
func clients(t *testing.T, test func(f *fixture, ap om.AccessPoint)) {
	synctest.Test(t, func(t *testing.T) {
		sys := memory.New(memory.WithQueues(om.QueueConfig{Name: "q", Partitions: 4}))
		var registry spi.Registry
		registry.Register(sys.Driver("memory"))
		ap, err := oms.Open(t.Context(), "oms:memory://local/r", oms.WithRegistry(&registry))
		if err != nil {
			t.Fatal(err)
		}
		test(&fixture{T: t, sys: sys}, ap)
		if err := ap.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestPushThroughThePortableClient(t *testing.T) {
	clients(t, func(f *fixture, ap om.AccessPoint) {
		p, err := ap.NewProducer(f.Context())
		f.ok(err)
		c, err := ap.NewPushConsumer(f.Context(), om.WithConcurrency(4))
		f.ok(err)
		var mu sync.Mutex
		seen := map[string]int{}
		f.ok(c.Bind(f.Context(), func(_ context.Context, d *om.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			seen[string(d.Body)]++
			if seen[string(d.Body)] == 1 && d.Body[len(d.Body)-1] == '7' {
				return errors.New("once more")
			}
			return nil
		}, "q"))
		for i := range 1000 {
			_ = p.SendAsync(f.Context(), om.NewMessage("q", fmt.Append(nil, i)))
		}
		synctest.Wait()
		f.ok(c.Close(f.Context()))
		gs, err := ap.Resources().Groups(f.Context(), "q")
		f.ok(err)
		if g := gs[0]; g.Lag != 0 || g.InFlight != 0 || g.Redelivered != 100 || g.Consumers != 0 {
			t.Errorf("%+v", g)
		}
	})
}

func TestTransactionThroughThePortableClient(t *testing.T) {
	clients(t, func(f *fixture, ap om.AccessPoint) {
		p, err := ap.NewProducer(f.Context(), om.WithTransactionChecker(func(context.Context, *om.Message) om.TxVerdict { return om.TxCommit }))
		f.ok(err)
		c, err := ap.NewPullConsumer(f.Context())
		f.ok(err)
		f.ok(c.Bind(f.Context(), "q"))
		_, err = p.Prepare(f.Context(), om.NewMessage("q", []byte("left open")))
		f.ok(err)
		start := time.Now()
		d, err := c.Receive(f.Context())
		f.ok(err)
		if time.Since(start) != memory.DefaultTransactionTimeout {
			t.Errorf("committed after %v", time.Since(start))
		}
		f.ok(d.Ack(f.Context()))
		boom := errors.New("boom")
		if _, err := oms.SendInTransaction(f.Context(), p, om.NewMessage("q", nil), func(context.Context) error { return boom }); !errors.Is(err, boom) {
			t.Error(err)
		}
		_, err = oms.SendInTransaction(f.Context(), p, om.NewMessage("q", []byte("done")), func(context.Context) error { return nil })
		f.ok(err)
		if d, err = c.Receive(f.Context()); err != nil || string(d.Body) != "done" {
			t.Error(d, err)
		}
	})
}

func TestStreamThroughThePortableClient(t *testing.T) {
	clients(t, func(f *fixture, ap om.AccessPoint) {
		p, err := ap.NewProducer(f.Context())
		f.ok(err)
		sc, err := ap.NewStreamConsumer(f.Context())
		f.ok(err)
		k, err := sc.Open(f.Context(), "q", 2, om.AtOffset(100))
		f.ok(err)
		go func() {
			for i := range 3 {
				m := om.NewMessage("q", fmt.Append(nil, i))
				m.Ext.Partition, m.Ext.Delay = om.Some[int32](2), time.Duration(i)*time.Hour
				_, err := p.Send(f.Context(), m)
				f.ok(err)
			}
		}()
		n := 0
		for d, err := range k.Forward(f.Context()) {
			f.ok(err)
			if string(d.Body) != fmt.Sprint(n) || d.Offset != int64(n) {
				t.Errorf("%s at %d", d.Body, d.Offset)
			}
			if n++; n == 3 {
				break
			}
		}
		for d, err := range k.Backward(f.Context()) {
			f.ok(err)
			if n--; d.Offset != int64(n) {
				t.Errorf("offset %d", d.Offset)
			}
		}
		if n != 0 {
			t.Errorf("%d are missing", n)
		}
	})
}

// TestHammer uses everything at once, in real time and under the race
// detector: what was acknowledged and what is left must be all there was.
func TestHammer(t *testing.T) {
	f := &fixture{T: t, sys: memory.New(memory.WithQueues(om.QueueConfig{Name: "q", Partitions: 3}))}
	f.conn = open(t, f.sys)
	f.sender = f.newSender(nil)
	const senders, each = 4, 100
	var sending, receiving sync.WaitGroup
	var mu sync.Mutex
	acked := map[string]int{}
	for s := range senders {
		sending.Go(func() {
			for i := range each {
				f.send(msg(fmt.Sprint(s, "/", i), priority(int8(i%4))))
			}
		})
	}
	done := make(chan bool)
	for i := range 4 {
		receiving.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r := f.receiver("q", "g")
				for range 5 {
					got, err := r.Receive(f.within(time.Millisecond), 1+i)
					if err != nil {
						break
					}
					if i == 0 {
						f.settled(as[spi.Nacker](f, r).Nack(f.Context(), receipts(got...), 0))
						continue
					}
					f.ack(r, got[0]) // the rest is given back
					mu.Lock()
					acked[got[0].Message.MessageID]++
					mu.Unlock()
				}
				f.ok(r.Close(f.Context()))
			}
		})
	}
	sending.Wait()
	close(done)
	receiving.Wait()
	dead := func() int {
		d, err := as[spi.Streamer](f, f.conn).ReadAt(t.Context(), om.DeadLetterQueue("q", "g"), 0, 0, senders*each)
		if err != nil {
			f.is(err, om.CodeDestinationNotFound)
		}
		return len(d)
	}
	r := f.receiver("q", "g")
	for len(acked)+dead() < senders*each {
		got, err := r.Receive(f.within(10*time.Second), 50)
		if err != nil {
			t.Fatalf("%d were acknowledged and %d are dead, of %d: %v", len(acked), dead(), senders*each, err)
		}
		f.ack(r, got...)
		for _, d := range got {
			acked[d.Message.MessageID]++
		}
	}
	for id, n := range acked {
		if n != 1 {
			t.Errorf("%s was acknowledged %d times", id, n)
		}
	}
	if n := len(acked) + dead(); n != senders*each {
		t.Errorf("%d messages have come of %d", n, senders*each)
	}
	f.ok(f.conn.Close(t.Context()))
}
