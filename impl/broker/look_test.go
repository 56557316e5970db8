package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestWhatIsLookedAtIsLeftToOthers has a receiver look at a message that it then does
// not take, as its call ends or the receiver does: one that waits gets it.
func TestWhatIsLookedAtIsLeftToOthers(t *testing.T) {
	for name, leave := range map[string]func(*Receiver){
		"call ends": (*Receiver).leaveToOthers,
		"closed": func(r *Receiver) {
			r.closed = true
			if _, _, err := r.take(1, true, waiter{}); err == nil {
				t.Error("a closed receiver takes messages")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := testBroker(t, store.Options{Memory: true})
				defer b.Close()
				p := newPublisher(t, b, 1)
				var rs [2]*Receiver
				for i := range rs {
					var err error
					if rs[i], err = b.NewReceiver(t.Context(), ReceiverConfig{Queue: "q", Group: "g", Start: om.Begin(), Lease: time.Hour}); err != nil {
						t.Fatal(err)
					}
				}
				if err := b.Publish(t.Context(), []Append{{Queue: p.q, Chunk: numberedChunk(7, 1, 1)}}); err != nil {
					t.Fatal(err)
				}
				_, next, err := rs[0].take(1, true, waiter{})
				if err != nil || next == nil {
					t.Fatalf("nothing to look at: %v", err)
				}
				got := make(chan int, 1)
				go func() {
					spans, _ := rs[1].Receive(t.Context(), 1)
					got <- len(spans)
				}()
				synctest.Wait() // the other one looks: it waits
				if err := rs[0].look(next, new(recordReader), 1); err != nil {
					t.Fatal(err)
				}
				leave(rs[0])
				synctest.Wait()
				select {
				case n := <-got:
					if n != 1 {
						t.Errorf("the one that waits gets %d runs of messages", n)
					}
				default:
					t.Error("nobody gets the message")
				}
			})
		})
	}
}
