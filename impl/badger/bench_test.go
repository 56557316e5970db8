package badger

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

func openConn(tb testing.TB, url string) spi.Conn {
	tb.Helper()
	u, err := om.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := Driver{}.Open(tb.Context(), spi.Config{URL: u, Logger: slog.Default()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func benchMessages(n int) []*om.Message {
	ms := make([]*om.Message, n)
	now := time.Now().UTC().Truncate(time.Millisecond)
	body := make([]byte, 128)
	for i := range ms {
		ms[i] = &om.Message{Version: om.SpecVersion, Header: om.Header{Destination: "q", BornAt: now, BornHost: "host"}, Body: body}
	}
	return ms
}

// BenchmarkPublish sends batches of 1024 messages of 128 bytes from 8
// goroutines; a message is an operation.
func BenchmarkPublish(b *testing.B) {
	c := openConn(b, URL(b.TempDir()))
	publish(b, c, 32, b.N)
}

func publish(b *testing.B, c spi.Conn, producers, messages int) {
	ctx := b.Context()
	admin, _ := spi.As[spi.Admin](c)
	if err := admin.CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: 4}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(128)
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(messages))
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			s, _ := c.NewSender(ctx, spi.SenderConfig{})
			ms := benchMessages(1024)
			for left.Add(-1024) > -1024 {
				out, err := s.Send(ctx, ms)
				if err != nil || out[0].Err != nil {
					b.Error(err, out)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkConsume receives and acknowledges batches of 1024.
func BenchmarkConsume(b *testing.B) {
	c := openConn(b, URL(b.TempDir()))
	n := (b.N + 1023) / 1024 * 1024
	publish(b, c, 8, n)
	ctx := b.Context()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(n))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
			if err != nil {
				b.Error(err)
				return
			}
			for {
				ds, err := r.Receive(ctx, 1024)
				if err != nil {
					return
				}
				receipts := make([]spi.Receipt, len(ds))
				for i, d := range ds {
					receipts[i] = d.Receipt
				}
				if _, err := r.Ack(ctx, receipts); err != nil {
					return
				}
				if left.Add(-int64(len(ds))) <= 0 {
					cancel()
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkSend sends single messages from 64 goroutines.
func BenchmarkSend(b *testing.B) {
	c := openConn(b, URL(b.TempDir()))
	ctx := b.Context()
	admin, _ := spi.As[spi.Admin](c)
	if err := admin.CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: 4}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			s, _ := c.NewSender(ctx, spi.SenderConfig{})
			ms := benchMessages(1)
			for left.Add(-1) >= 0 {
				if out, err := s.Send(ctx, ms); err != nil || out[0].Err != nil {
					b.Error(err, out)
					return
				}
			}
		})
	}
	wg.Wait()
}
