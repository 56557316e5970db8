package broker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// What is committed ahead, many due times in one record, is received at its
// instant, whether its partition gets messages without delay or not.
func TestReceivedAtItsInstant(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := testBroker(t, store.Options{Memory: true})
				defer b.Close()
				ctx := context.Background()
				if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
					t.Fatal(err)
				}
				q, _ := b.Queue("test", "q")
				r, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Lease: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				sequence := uint64(0)
				send := func(delay time.Duration) {
					var c chunk.Builder
					now := time.Now()
					c.Reset(7, sequence, "born", om.SpecVersion, now)
					m := om.NewMessage("q", nil)
					m.BornAt, m.Ext.Delay = now, delay
					c.Add(m)
					sequence++
					a := []Append{{Queue: q, Chunk: c.Finish()}}
					if err := b.Publish(ctx, a); err != nil || a[0].Err != nil {
						t.Fatal(err, a[0].Err)
					}
				}
				time.Sleep(10 * time.Second)
				const n = 60
				due := map[uint64]time.Time{}
				for i := range time.Duration(n) {
					delay := 2*time.Second + i*i%40*time.Millisecond
					due[sequence] = time.Now().Add(delay)
					send(delay)
				}
				if plain {
					time.Sleep(1500 * time.Millisecond)
					due[sequence] = time.Now()
					send(0)
				}
				for len(due) > 0 {
					spans, err := r.Receive(ctx, n)
					if err != nil {
						t.Fatal(err)
					}
					for _, s := range spans {
						for i := range s.Count {
							id := s.Header.Sequence + uint64(s.Skip+i)
							if late := time.Since(due[id]); late != 0 {
								t.Errorf("message %d comes %v late", id, late)
							}
							delete(due, id)
						}
					}
				}
			})
		})
	}
}
