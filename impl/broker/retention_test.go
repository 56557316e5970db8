package broker

import (
	"context"
	"errors"
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
			_, next, err := r.take(1, true, make(waiter, 1))
			if err != nil || next == nil {
				t.Fatal(next, err)
			}
			if err := r.look(next, new(recordReader)); err != nil {
				t.Fatal(err)
			}
			leases, _, err := r.take(1, true, make(waiter, 1))
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
