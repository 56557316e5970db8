package badger

import (
	"context"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// BenchmarkStream reads a partition of a million messages of 128 bytes; a message
// is an operation. "turning" goes two forward and one back.
func BenchmarkStream(b *testing.B) {
	const stored = 1_000_000
	ap, err := oms.Open(b.Context(), URL(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ap.Close(context.Background()) }()
	if err := ap.Resources().CreateQueue(b.Context(), om.QueueConfig{Name: "q"}); err != nil {
		b.Fatal(err)
	}
	p, err := ap.NewProducer(b.Context(), om.WithBatch(1024, 8<<20))
	if err != nil {
		b.Fatal(err)
	}
	ms := make([]*om.Message, 16*1024)
	for i := range ms {
		ms[i] = om.NewMessage("q", make([]byte, 128))
	}
	for sent := 0; sent < stored; sent += len(ms) {
		if _, err := p.SendBatch(b.Context(), ms[:min(len(ms), stored-sent)]); err != nil {
			b.Fatal(err)
		}
	}
	c, err := ap.NewStreamConsumer(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	take := func(b *testing.B, k om.Cursor, back bool, n int) (got int) {
		seq := k.Forward(b.Context())
		if back {
			seq = k.Backward(b.Context())
		}
		for _, err := range seq {
			if err != nil {
				b.Fatal(err)
			}
			if got++; got == n {
				break
			}
		}
		return got
	}
	for name, walk := range map[string]func(b *testing.B, n int) int{
		"forward":  func(b *testing.B, n int) int { return take(b, open(b, c, om.Begin()), false, n) },
		"backward": func(b *testing.B, n int) int { return take(b, open(b, c, om.End()), true, n) },
		"single": func(b *testing.B, n int) int {
			k := open(b, c, om.Begin())
			for range n {
				take(b, k, false, 1)
			}
			return n
		},
		"turning": func(b *testing.B, n int) (got int) {
			k := open(b, c, om.AtOffset(stored/2))
			for n = min(n, 3000); got < n; {
				got += take(b, k, false, 2) + take(b, k, true, 1)
			}
			return got
		},
	} {
		b.Run(name, func(b *testing.B) {
			for left := b.N; left > 0; {
				left -= walk(b, min(left, stored))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

func open(b *testing.B, c om.StreamConsumer, p om.Position) om.Cursor {
	k, err := c.Open(b.Context(), "q", 0, p)
	if err != nil {
		b.Fatal(err)
	}
	return k
}
