package broker

import (
	"errors"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestLowPrioritiesDoNotStarve has a message of the lowest priority wait while
// there are always others of the highest: one receive in oldestEvery gets it.
func TestLowPrioritiesDoNotStarve(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer func() { must(t, b.Close()) }()
	must(t, b.CreateQueue(t.Context(), om.QueueConfig{Name: "q"}))
	q, err := b.Queue("test", "q")
	must(t, err)
	r, err := b.NewReceiver(t.Context(), ReceiverConfig{Queue: "q", Group: "g", Lease: time.Hour})
	must(t, err)
	sequence := uint64(0)
	publish := func(priority int8) {
		var c chunk.Builder
		c.Reset(1, sequence, "host", om.SpecVersion, time.Now())
		m := om.NewMessage("q", nil)
		m.BornAt, m.Ext.Priority = time.Now(), priority
		c.Add(m)
		sequence++
		a := []Append{{Queue: q, Chunk: c.Finish()}}
		must(t, errors.Join(b.Publish(t.Context(), a), a[0].Err))
	}
	publish(highestPriority)
	publish(1)
	for i := range 2 * oldestEvery {
		publish(highestPriority)
		spans, err := r.Receive(t.Context(), 1)
		must(t, err)
		if spans[0].Base == 1 {
			if i == 0 {
				t.Error("the lowest priority came first")
			}
			return
		}
	}
	t.Errorf("a message of the lowest priority was not among %d", 2*oldestEvery)
}
