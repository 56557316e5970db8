package broker

import (
	"errors"
	"fmt"
	"testing"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestR132_epochs: an epoch fences off the earlier ones, also after a restart.
func TestR132_epochs(t *testing.T) {
	o := store.Options{Path: t.TempDir(), Reserve: 1}
	b := testBroker(t, o)
	ctx := t.Context()
	if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	var epochs []Epoch
	open := func(id string) {
		t.Helper()
		e, err := b.OpenProducer(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		epochs = append(epochs, e)
	}
	sequence := uint64(0)
	send := func(e Epoch) error {
		q, _ := b.Queue("test", "q")
		sequence++
		a := chunkOf(q, sequence, "x")
		a.Epoch = e
		one := []Append{a}
		return errors.Join(b.Publish(ctx, one), one[0].Err)
	}
	open("p")
	open("other")
	open("p")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = testBroker(t, o)
	defer b.Close()
	open("p")
	for i, fenced := range []bool{true, false, true, false} {
		if err := send(epochs[i]); errors.Is(err, om.CodeProducerFenced) != fenced || !fenced && err != nil {
			t.Errorf("epoch %+v: %v", epochs[i], err)
		}
	}
	if err := send(Epoch{}); err != nil {
		t.Error(err)
	}
	if _, err := b.OpenProducer(ctx, ""); !errors.Is(err, om.CodeBadParameter) {
		t.Error(err)
	}
}

func TestProducerIDsAreBounded(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	for i := range MaxProducerIDs + 2 {
		if _, err := b.OpenProducer(t.Context(), fmt.Sprintf("p%05d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, first := b.epochs["p00000"]
	_, last := b.epochs[fmt.Sprintf("p%05d", MaxProducerIDs+1)]
	if len(b.epochs) != MaxProducerIDs || first || !last {
		t.Errorf("%d ids are remembered; the first %v, the last %v", len(b.epochs), first, last)
	}
}
