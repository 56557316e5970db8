package store

import (
	"cmp"
	"errors"
	"sort"
	"time"
)

func (s *Store) openBucket(b *bucket) (engine, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	return openSealed(cmp.Or(b.trash, b.dir), s.bucketBytes, s.log)
}

// Bounds returns the offset of the oldest stored entry of a log and the offset
// that the next one gets. ok is false for a log that is not there.
func (s *Store) Bounds(log uint64) (begin, next int64, ok bool, err error) {
	s.mu.RLock()
	next, ok = s.next[log]
	oldest := s.buckets[0]
	s.mu.RUnlock()
	if !ok {
		return 0, 0, false, nil
	}
	starts, err := oldest.loadStarts(s.openBucket)
	if err != nil {
		return 0, 0, false, err
	}
	return starts[log], next, true, nil
}

// Read returns the record that holds an offset. Others may have the same one: its
// Data must not be changed. Errors: [ErrBeyond], [ErrDropped], [ErrCorrupt].
func (s *Store) Read(log uint64, offset int64) (Record, error) {
	for {
		b, err := s.find(log, offset)
		if err != nil {
			return Record{}, err
		}
		if r := s.recent.find(log, offset); r != nil {
			return *r, nil
		}
		var r Record
		err = b.with(s.openBucket, func(e engine) error {
			// Who reads on asks for the first offset of a record.
			key := logKey(log, offset)
			value, err := e.get(key)
			if errors.Is(err, errNotFound) {
				if key, err = e.floor(logPrefix(log), key); errors.Is(err, errNotFound) {
					return corrupt("log %d: no record holds offset %d", log, offset)
				}
				if err == nil {
					value, err = e.get(key)
				}
			}
			if err != nil {
				return err
			}
			if r, err = parseRecord(key, value); err != nil {
				return err
			}
			if offset >= r.End() {
				return corrupt("log %d: no record holds offset %d, the one before ends at %d", log, offset, r.End())
			}
			return nil
		})
		if errors.Is(err, ErrDropped) {
			continue // dropped between find and with: find says so now
		}
		if err == nil {
			s.recent.add(log, &r)
		}
		return r, err
	}
}

// find returns the bucket that holds an offset: the newest that began at or
// before it.
func (s *Store) find(log uint64, offset int64) (*bucket, error) {
	s.mu.RLock()
	next, ok := s.next[log]
	buckets := s.buckets
	s.mu.RUnlock()
	if !ok || offset >= next {
		return nil, ErrBeyond
	}
	for i := len(buckets) - 1; i >= 0; i-- {
		starts, err := buckets[i].loadStarts(s.openBucket)
		if errors.Is(err, ErrDropped) {
			break
		}
		if err != nil {
			return nil, err
		}
		start, ok := starts[log]
		if !ok { // the log is older than the bucket after this one
			return nil, corrupt("bucket %s does not know where log %d begins", buckets[i].dir, log)
		}
		if start <= offset {
			return buckets[i], nil
		}
	}
	return nil, ErrDropped
}

// FindTime returns the offset of the first record of a log that was stored at
// or after t, or the log's next offset when there is none.
func (s *Store) FindTime(log uint64, t time.Time) (int64, error) {
	begin, next, ok, err := s.Bounds(log)
	if err != nil || !ok {
		return 0, err
	}
	ms := t.UnixMilli()
	n := sort.Search(int(next-begin), func(i int) bool {
		r, readErr := s.Read(log, begin+int64(i))
		if readErr != nil {
			err = readErr
			return true
		}
		return r.StoredAt >= ms
	})
	return begin + int64(n), err
}
