package store

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
)

// Room tells whether bytes may be written without coming too near to a full
// disk: Badger's files are mapped into memory, and a full disk would kill the
// process. It returns [ErrFull] when free space would fall below the reserve,
// or below half of it for urgent writes, which free space in the end.
func (s *Store) Room(bytes int, urgent bool) error {
	if s.opts.Memory {
		return nil
	}
	free, err := freeSpace(s.opts.Path)
	if err != nil {
		return err
	}
	reserve := s.opts.Reserve
	if urgent {
		reserve /= 2
	}
	if free-int64(bytes)-s.unwritten() < reserve {
		return fmt.Errorf("%w: %s free below %s, the reserve is %s; free some space, limit the store's size, or lower the reserve",
			ErrFull, humanize.IBytes(uint64(max(0, free))), s.opts.Path, humanize.IBytes(uint64(reserve)))
	}
	return nil
}

// Free returns the bytes that are free where the store lies, and the reserve of
// [Store.Room]. Both are 0 in memory.
func (s *Store) Free() (free, reserve int64, err error) {
	if s.opts.Memory {
		return 0, 0, nil
	}
	free, err = freeSpace(s.opts.Path)
	return free, s.opts.Reserve, err
}

// unwritten returns about how many bytes the sealed buckets write when they are
// closed. What the newest one writes on its own, the reserve covers.
func (s *Store) unwritten() (total int64) {
	s.mu.RLock()
	sealed := s.buckets[:max(1, len(s.buckets))-1]
	s.mu.RUnlock()
	for _, b := range sealed {
		if !b.mu.TryRLock() { // it is being opened or closed
			total += min(b.bytes.Load(), memTableSize)
			continue
		}
		if e, ok := b.engine.(*badgerEngine); ok && !e.db.Opts().ReadOnly {
			total += min(b.bytes.Load(), memTableSize)
		}
		b.mu.RUnlock()
	}
	return total
}

// Size returns about how many bytes the store takes up.
func (s *Store) Size() (total int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, b := range s.buckets {
		total += b.bytes.Load()
	}
	return total
}

// Expiry is what retention wants to drop.
type Expiry struct {
	bucket uint64           // the newest bucket to drop
	Starts map[uint64]int64 // log → the offset below which entries will be gone
}

// Expired returns what is over the limits of size and age, if anything. The
// caller adjusts what it knows of the logs and calls [Store.Drop].
func (s *Store) Expired(now time.Time) (Expiry, bool, error) {
	s.mu.RLock()
	buckets := s.buckets
	s.mu.RUnlock()
	newest := len(buckets) - 1
	sealed := s.Size() - buckets[newest].bytes.Load()
	drop := 0
	for ; drop < newest; drop++ {
		b, successor := buckets[drop], buckets[drop+1]
		over := s.opts.RetainBytes > 0 && sealed+s.bucketBytes > s.opts.RetainBytes
		old := false
		if s.opts.RetainAge > 0 && !over {
			if _, err := successor.loadStarts(s.openBucket); err != nil {
				return Expiry{}, false, err
			}
			old = now.Sub(time.UnixMilli(successor.born)) >= s.opts.RetainAge
		}
		if !over && !old {
			break
		}
		sealed -= b.bytes.Load()
	}
	if drop == 0 {
		return Expiry{}, false, nil
	}
	starts, err := buckets[drop].loadStarts(s.openBucket)
	if err != nil {
		return Expiry{}, false, err
	}
	return Expiry{buckets[drop-1].number, starts}, true, nil
}

// Drop removes what [Store.Expired] returned. Reads of it give [ErrDropped]
// from then on; its files go in the background.
func (s *Store) Drop(e Expiry) {
	s.mu.Lock()
	n := 0
	for n < len(s.buckets)-1 && s.buckets[n].number <= e.bucket {
		n++
	}
	gone := s.buckets[:n]
	s.buckets = append([]*bucket(nil), s.buckets[n:]...)
	s.mu.Unlock()
	s.background.Go(func() {
		for _, b := range gone {
			if err := b.remove(); err != nil {
				s.log.Error("removing a bucket failed; its space comes back at the next start", "bucket", b.dir, "error", err)
			}
		}
	})
}
