package broker

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestKeyTableAgreesWithMap adds and removes lines at random; few keys, many of
// them with the same last bits, so that they get into each other's way.
func TestKeyTableAgreesWithMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table keyTable
		model := make(map[uint64]*keyLine)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			key := rapid.Uint64Range(0, 60).Draw(t, "key") << rapid.SampledFrom([]int{0, 58}).Draw(t, "shift")
			if line := model[key]; line != nil {
				delete(model, key)
				table.remove(key)
			} else {
				line = &keyLine{head: keyed{key: key}}
				model[key] = line
				table.fill(table.slot(key), line)
			}
			if table.count != len(model) {
				t.Fatalf("%d lines, want %d", table.count, len(model))
			}
			for key := range uint64(60) {
				for _, key := range []uint64{key, key << 58} {
					if got := table.slot(key).line; got != model[key] {
						t.Fatalf("the line of %#x is %v, want %v", key, got, model[key])
					}
				}
			}
		}
	})
}

// TestWhatIsReceivedBelongsToTheReceiver has one group write over what it got;
// another one gets the messages as they were sent.
func TestWhatIsReceivedBelongsToTheReceiver(t *testing.T) {
	b := testBroker(t, store.Options{Path: t.TempDir(), Reserve: 1})
	defer b.Close()
	p := newPublisher(t, b, 1)
	sent := numberedChunk(7, 1, 10)
	if err := b.Publish(t.Context(), []Append{{Queue: p.q, Chunk: slices.Clone(sent)}}); err != nil {
		t.Fatal(err)
	}
	spans := func() []Span {
		read, err := p.q.Read(t.Context(), 0, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	for _, group := range []string{"one", "two"} {
		r, err := b.NewReceiver(t.Context(), ReceiverConfig{Queue: "q", Group: group, Start: om.Begin(), Lease: 1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Receive(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range [][]Span{got, spans()} {
			if !slices.Equal(s[0].Chunk, sent) {
				t.Fatal("the chunk is not as it was sent")
			}
			clear(s[0].Chunk)
		}
	}
}
