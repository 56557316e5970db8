package remote_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// TestStatisticsInPages: more queues than a page has come in the order in which
// they were named.
func TestStatisticsInPages(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	ap, err := oms.Open(t.Context(), remote.URL(m.address))
	must(t, err)
	defer ap.Close(t.Context())
	rs := ap.Resources()
	for _, name := range []string{"a", "b"} {
		must(t, rs.CreateQueue(t.Context(), om.QueueConfig{Name: name}))
	}
	names := slices.Repeat([]string{"b", "a", "b"}, 4000)
	all, err := rs.Stats(t.Context(), names...)
	must(t, err)
	if len(all) != len(names) {
		t.Fatalf("%d of %d", len(all), len(names))
	}
	for i, s := range all {
		if s.Queue != "default://"+names[i] {
			t.Fatalf("number %d is of %s, want %s", i, s.Queue, names[i])
		}
	}
	if all, err = rs.Stats(t.Context()); err != nil || len(all) != 2 || all[0].Queue != "default://a" {
		t.Errorf("got %+v, %v", all, err)
	}
}

// BenchmarkStats asks a server over the loopback for the statistics of 10,000
// queues with a group each.
func BenchmarkStats(b *testing.B) {
	m := newMachine(b, store.Options{Memory: true}, server.Options{})
	ctx := context.Background()
	var makers sync.WaitGroup
	for part := range 64 {
		makers.Go(func() {
			for i := part; i < broker.MaxQueues; i += 64 {
				name := fmt.Sprintf("q%05d", i)
				if err := m.broker.CreateQueue(ctx, om.QueueConfig{Name: name}); err != nil {
					b.Error(err)
				}
				if err := m.broker.SeekGroup(ctx, name, "g", om.Begin()); err != nil {
					b.Error(err)
				}
			}
		})
	}
	makers.Wait()
	ap, err := oms.Open(ctx, remote.URL(m.address))
	if err != nil {
		b.Fatal(err)
	}
	defer ap.Close(ctx)
	for b.Loop() {
		all, err := ap.Resources().Stats(ctx)
		if err != nil || len(all) != broker.MaxQueues || len(all[0].Groups) != 1 {
			b.Fatal(len(all), err)
		}
	}
}
