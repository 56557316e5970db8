package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestRetentionDropsWhatIsInHand drops messages while a receiver reads them,
// and while they wait for a delayed redelivery: the group goes on with the
// oldest message that is still there.
func TestRetentionDropsWhatIsInHand(t *testing.T) {
	for _, nacked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx := t.Context()
			b, err := Open(Config{Store: store.Options{Memory: true, RetainBytes: store.MinRetainBytes}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}()
			if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
				t.Fatal(err)
			}
			r, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Lease: 24 * time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			sendBytes(t, b, 100)
			_, next, err := r.take(1, true, waiter{r, make(chan struct{}, 1)})
			if err != nil || next == nil {
				t.Fatal(next, err)
			}
			if err := r.look(next, new(recordReader), MaxReceive); err != nil {
				t.Fatal(err)
			}
			leases, _, err := r.take(1, true, waiter{r, make(chan struct{}, 1)})
			if err != nil || len(leases) != 1 {
				t.Fatal(leases, err)
			}
			if nacked {
				if _, err := r.Nack(ctx, []Receipts{{Lease: leases[0].id, From: 0, To: 1}}, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			for range 90 {
				sendBytes(t, b, 1<<20)
			}
			if nacked {
				time.Sleep(2 * time.Hour)
			} else if _, err := r.read(leases, new(recordReader)); !errors.Is(err, store.ErrDropped) {
				t.Fatalf("reading what was dropped: %v", err)
			}
			q, _ := b.Queue("test", "q")
			begin := q.PartitionInfos()[0].Begin
			spans, err := r.Receive(ctx, 1)
			if err != nil || len(spans) != 1 || begin == 0 || spans[0].Base != begin {
				t.Errorf("nacked=%v: received %+v, %v; the queue begins at %d", nacked, spans, err, begin)
			}
		})
	}
}

func sendBytes(t *testing.T, b *Broker, n int) {
	t.Helper()
	q, err := b.Queue("send", "q")
	if err != nil {
		t.Fatal(err)
	}
	var c chunk.Builder
	c.Reset(1, 0, "host", om.SpecVersion, time.Now())
	c.Add(&om.Message{Header: om.Header{BornAt: time.Now()}, Body: make([]byte, n)})
	appends := []Append{{Queue: q, Chunk: c.Finish()}}
	if err := errors.Join(b.Publish(context.Background(), appends), appends[0].Err); err != nil {
		t.Fatal(err)
	}
}

// TestDelayedOfDeletedQueues deletes one of two queues with delayed messages: its
// own go with the buckets in which they lie, or when their slot comes near; those
// of the other stay (R034).
func TestDelayedOfDeletedQueues(t *testing.T) {
	for _, retained := range []bool{false, true} {
		t.Run(fmt.Sprintf("retained=%v", retained), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				b := testBroker(t, store.Options{Memory: true, RetainBytes: store.MinRetainBytes})
				defer func() { must(t, b.Close()) }()
				due := time.Now().Truncate(time.Hour).Add(10*time.Hour + 30*time.Minute)
				for i, name := range []string{"q", "deleted"} {
					must(t, b.CreateQueue(ctx, om.QueueConfig{Name: name}))
					q, err := b.Queue("test", name)
					must(t, err)
					var c chunk.Builder
					c.Reset(7, uint64(i), "born", om.SpecVersion, time.Now())
					m := om.NewMessage(name, make([]byte, 1<<20))
					m.BornAt, m.Ext.Delay = time.Now(), time.Until(due)
					c.Add(m)
					must(t, b.Publish(ctx, []Append{{Queue: q, Chunk: c.Finish()}}))
				}
				must(t, b.DeleteQueue(ctx, "deleted"))
				if retained {
					for range 90 {
						sendBytes(t, b, 1<<20)
					}
				} else {
					time.Sleep(time.Until(due.Truncate(time.Minute).Add(-30 * time.Second)))
				}
				synctest.Wait()
				b.timers.mu.Lock()
				defer b.timers.mu.Unlock()
				if got := b.timers.bytes; got < 1<<20 || got >= 2<<20 {
					t.Errorf("delayed messages take up %d bytes, one of 1 MiB is left", got)
				}
			})
		})
	}
}
