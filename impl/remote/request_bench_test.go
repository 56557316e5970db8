package remote_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/badger"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// BenchmarkRequest makes requests of 128 bytes that a service answers with as
// many, both by one access point, so many at once, on the embedded broker and over
// the loopback; request and reply are each synced before they go on:
//
//	go test ./impl/remote -run '^$' -bench Request -benchtime 3s
func BenchmarkRequest(b *testing.B) {
	for _, way := range []struct {
		name string
		url  func(b *testing.B) string
	}{
		{"embedded", func(b *testing.B) string { return badger.URL(b.TempDir()) }},
		{"loopback", func(b *testing.B) string {
			return remote.URL(newMachine(b, store.Options{Path: b.TempDir() + "/store"}, server.Options{}).address)
		}},
	} {
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", way.name, n), func(b *testing.B) { requests(b, way.url(b), n) })
		}
	}
}

func requests(b *testing.B, url string, atOnce int) {
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx := b.Context()
	ap, err := oms.Open(ctx, url)
	must(err)
	defer func() { must(ap.Close(context.Background())) }()
	must(ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: "q"}))
	answers, err := ap.NewProducer(ctx)
	must(err)
	service, err := ap.NewPushConsumer(ctx, om.WithConcurrency(atOnce))
	must(err)
	must(service.Bind(ctx, oms.Answer(answers, func(_ context.Context, d *om.Delivery) ([]byte, error) { return d.Body, nil }), "q"))
	p, err := ap.NewProducer(ctx)
	must(err)
	ask := func() {
		if _, err := p.Request(ctx, om.NewMessage("q", make([]byte, 128))); err != nil {
			b.Error(err)
		}
	}
	ask() // makes the reply queue
	var mu sync.Mutex
	var all sync.WaitGroup
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	left := b.N
	for range atOnce {
		all.Go(func() {
			for {
				mu.Lock()
				left--
				over := left < 0
				mu.Unlock()
				if over {
					return
				}
				began := time.Now()
				ask()
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
}
