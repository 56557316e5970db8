package store

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"testing"
)

// BenchmarkReadAhead commits values of 4 MiB, each synced, with and without the
// value log being read ahead of them. What runs second finds the memory that the
// first one has just given back, so compare them as processes of their own, in
// both orders: -bench ReadAhead/with$, -bench ReadAhead/without$.
func BenchmarkReadAhead(b *testing.B) {
	for _, ahead := range []bool{false, true} {
		name := "without"
		if ahead {
			name = "with"
		}
		b.Run(name, func(b *testing.B) {
			e, err := openBadger(filepath.Join(b.TempDir(), "b"), maxBucketBytes, false, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			defer e.close()
			if !ahead {
				e.ahead.stop()
				e.ahead = &readAhead{over: make(chan struct{})}
			}
			value := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
			b.SetBytes(int64(len(value)))
			version := uint64(0)
			for b.Loop() {
				version++
				if err := e.commit(version, []entry{{logKey(1, int64(version)), value}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
