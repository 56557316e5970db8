package bench

import (
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// limiter measures what Badger can do by itself: writers that each hand over
// the same encoded chunk and wait, and one committer that merges what waits into
// one synced transaction, as the broker does, but without a broker. The best of
// several ways counts, by the mean of its measurements: the luckiest one of many
// would be no limit for a single run.
type limiter struct{ rates map[way][]float64 }

// way is one way of committing.
type way struct {
	threshold int64 // values from this size go to the value log
	patient   bool  // wait up to a millisecond for all writers
}

func (l *limiter) best() (best float64) {
	for _, rates := range l.rates {
		sum := 0.0
		for _, r := range rates {
			sum += r
		}
		best = max(best, sum/float64(len(rates)))
	}
	return best
}

// limitMessages bounds one measurement. It is long enough for the disk's own
// caches to fill: a burst is no limit.
const limitMessages = 10_000_000

func (l *limiter) measure(ctx context.Context, dir string, cfg Config) error {
	batch := cfg.Batch
	ways := []way{{1 << 10, false}, {1 << 10, true}}
	if cfg.Scenario == "send" {
		batch = 1
		ways = []way{{1 << 20, false}, {1 << 20, true}, {1, true}}
	}
	messages := min(cfg.Messages, limitMessages)
	for _, w := range ways {
		path := filepath.Join(dir, "limit")
		if err := prepare(dir, messages*int64(cfg.Size)); err != nil {
			return err
		}
		rate, err := w.run(ctx, path, messages, batch, cfg)
		if err == nil {
			err = os.RemoveAll(path)
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
		l.rates[w] = append(l.rates[w], rate)
	}
	return nil
}

// handed is a chunk on its way to the committer.
type handed struct {
	chunk []byte
	done  chan error
}

const commitBytes = 4 << 20

func (w way) run(ctx context.Context, path string, messages int64, batch int, cfg Config) (float64, error) {
	db, err := badger.OpenManaged(badger.DefaultOptions(path).
		WithLogger(nil).WithMetricsEnabled(false).
		WithSyncWrites(true).WithDetectConflicts(false).WithNumVersionsToKeep(1).
		WithCompression(options.None).WithBlockCacheSize(0).
		WithValueThreshold(w.threshold).WithValueLogFileSize(1 << 30))
	if err != nil {
		return 0, err
	}
	chunk := encodeChunk(cfg.Size, batch)
	queue := make(chan handed, cfg.Producers)
	var committer sync.WaitGroup
	committer.Go(func() { w.commit(db, queue, max(1, min(cfg.Producers, commitBytes/len(chunk)))) })

	work := newShares(messages)
	var sent atomic.Int64
	began := time.Now()
	err = together(ctx, cfg.Producers, func(ctx context.Context, _ int) error {
		h := handed{slices.Clone(chunk), make(chan error, 1)} // no two writers have the same bytes
		for n := work.take(batch); n > 0 && ctx.Err() == nil; n = work.take(batch) {
			queue <- h
			if err := <-h.done; err != nil {
				return err
			}
			sent.Add(int64(n))
		}
		return nil
	})
	seconds := time.Since(began).Seconds()
	close(queue)
	committer.Wait()
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	return float64(sent.Load()) / seconds, err
}

// commit merges what waits until the queue is closed.
func (w way) commit(db *badger.DB, queue chan handed, most int) {
	key := make([]byte, 16)
	version := uint64(0)
	var group []handed
	for h, ok := <-queue; ok; h, ok = <-queue {
		group = append(group[:0], h)
		group = w.gather(queue, group, most)
		version++
		txn := db.NewTransactionAt(math.MaxUint64, true)
		var err error
		for i, h := range group {
			k := append([]byte(nil), key...)
			binary.BigEndian.PutUint64(k, version)
			binary.BigEndian.PutUint64(k[8:], uint64(i))
			if e := txn.Set(k, h.chunk); e != nil {
				err = e
			}
		}
		if err == nil {
			err = txn.CommitAt(version, nil)
		}
		txn.Discard()
		for _, h := range group {
			h.done <- err
		}
	}
}

func (w way) gather(queue chan handed, group []handed, most int) []handed {
	var late <-chan time.Time
	if w.patient {
		t := time.NewTimer(time.Millisecond)
		defer t.Stop()
		late = t.C
	}
	for len(group) < most {
		if late == nil {
			select {
			case h, ok := <-queue:
				if !ok {
					return group
				}
				group = append(group, h)
				continue
			default:
				return group
			}
		}
		select {
		case h, ok := <-queue:
			if !ok {
				return group
			}
			group = append(group, h)
		case <-late:
			return group
		}
	}
	return group
}

// encodeChunk returns the bytes that the broker would store for such a batch.
func encodeChunk(size, batch int) []byte {
	s := session{cfg: Config{Size: size}}
	var b chunk.Builder
	now := time.Now()
	host, _ := os.Hostname()
	b.Reset(1, 1, host, om.SpecVersion, now)
	for _, m := range s.messages(batch, "") {
		m.BornAt = now
		b.Add(m)
	}
	return b.Finish()
}
