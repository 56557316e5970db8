package badger_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// BenchmarkTransaction sends messages of 128 bytes by 64 producers, one at a
// time: plainly, prepared and committed, and each transacted.
func BenchmarkTransaction(b *testing.B) {
	send := func(ctx context.Context, p om.Producer, m *om.Message) error {
		_, err := p.Send(ctx, m)
		return err
	}
	for _, c := range []struct {
		name string
		do   func(context.Context, om.Producer, *om.Message) error
	}{
		{"plain", send},
		{"prepared", func(ctx context.Context, p om.Producer, m *om.Message) error {
			tx, err := p.Prepare(ctx, m)
			if err != nil {
				return err
			}
			return tx.Commit(ctx)
		}},
		{"transacted", func(ctx context.Context, p om.Producer, m *om.Message) error {
			_, err := p.SendTransacted(ctx, []*om.Message{m})
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			ap := openBench(b)
			p := newBenchProducer(b, ap)
			b.ResetTimer()
			each(b, b.N, func(m *om.Message) error { return c.do(b.Context(), p, m) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkCheckBack sends plainly beside 100,000 open transactions, by turns for
// two seconds while their producers are asked, which is as often as the broker
// ever asks, and for two seconds while there are none.
//
//	go test ./impl/badger -run '^$' -bench CheckBack -benchtime 1x
func BenchmarkCheckBack(b *testing.B) {
	const open, turns, turn = 100_000, 10, 2 * time.Second
	ctx := b.Context()
	ap := openBench(b)
	p := newBenchProducer(b, ap)
	var asked atomic.Int64
	half, err := ap.NewProducer(ctx, om.WithProducerGroup("shop"), om.WithTransactionChecker(func(context.Context, *om.Message) om.TxVerdict {
		asked.Add(1)
		return om.TxUnknown
	}))
	if err != nil {
		b.Fatal(err)
	}
	often := om.WithTransactionCheck(om.TransactionCheck{After: 100 * time.Millisecond, Every: 15 * time.Second, Max: 1000})
	each(b, open, func(m *om.Message) error {
		_, err := half.Prepare(ctx, m, often)
		return err
	})
	if err := half.Stop(ctx); err != nil {
		b.Fatal(err)
	}
	asked.Store(0)
	var sent [2]float64
	for i := range 2 * turns * b.N {
		lifecycle := half.Stop
		if i%2 == 1 {
			lifecycle = half.Start
		}
		if err := lifecycle(ctx); err != nil {
			b.Fatal(err)
		}
		end := time.Now().Add(turn)
		var n atomic.Int64
		each(b, producers, func(m *om.Message) error {
			for time.Now().Before(end) {
				if _, err := p.Send(ctx, m.Clone()); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
		sent[i%2] += float64(n.Load())
	}
	seconds := turn.Seconds() * turns * float64(b.N)
	b.ReportMetric(sent[0]/seconds, "messages/s-without")
	b.ReportMetric(sent[1]/seconds, "messages/s-with")
	b.ReportMetric(sent[1]/sent[0], "ratio")
	b.ReportMetric(float64(asked.Load())/seconds, "checks/s")
	if list, err := ap.Resources().Transactions(ctx, "q", 10); err != nil || len(list) != 10 {
		b.Fatal(fmt.Errorf("%d transactions are open, %w", len(list), err))
	}
}

const producers = 64

func openBench(b *testing.B) om.AccessPoint {
	ap, err := oms.Open(b.Context(), badger.URL(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ap.Close(context.Background()) })
	if err := ap.Resources().CreateQueue(b.Context(), om.QueueConfig{Name: "q", Partitions: 4}); err != nil {
		b.Fatal(err)
	}
	return ap
}

func newBenchProducer(b *testing.B, ap om.AccessPoint) om.Producer {
	p, err := ap.NewProducer(b.Context(), om.WithTransactionChecker(func(context.Context, *om.Message) om.TxVerdict { return om.TxUnknown }))
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// each does something n times with a message of 128 bytes, in 64 goroutines.
func each(b *testing.B, n int, do func(m *om.Message) error) {
	body := make([]byte, 128)
	var wg sync.WaitGroup
	for i := range producers {
		wg.Go(func() {
			for range (n + producers - 1 - i) / producers {
				if err := do(om.NewMessage("q", body)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
