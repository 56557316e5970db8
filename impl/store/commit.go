package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Commit writes the batch durably and whole, and returns the number of the
// commit. Any error latches: the store refuses everything after it, because
// after a failed write or sync nobody knows what is on disk.
func (s *Store) Commit(b *Batch) (uint64, error) {
	if err := s.Err(); err != nil {
		return 0, err
	}
	if err := s.rotateWhenFull(); err != nil {
		return 0, s.fail(err)
	}
	version := s.commit + 1
	entries, next, err := s.encode(b, version)
	if err == nil {
		s.digest.commit(b, s.newest().starts, s.next, next)
		entries = append(entries, s.digest.entry())
		err = s.fault("commit")
	}
	if err == nil {
		err = s.newest().engine.commit(version, entries)
	}
	if err == nil {
		err = s.setMark(position{version, s.newest().number})
	}
	if err != nil {
		return 0, s.fail(err)
	}
	s.newest().bytes.Add(int64(b.bytes) + int64(len(entries))*64)
	s.mu.Lock()
	s.commit = version
	maps.Copy(s.next, next)
	for _, log := range b.removed {
		delete(s.next, log)
	}
	s.mu.Unlock()
	if len(b.created)+len(b.removed) > 0 {
		s.newest().changeLogs(b.created, b.removed)
	}
	return version, nil
}

func (s *Store) fault(step string) error {
	if s.opts.Fault == nil {
		return nil
	}
	return s.opts.Fault(step)
}

func (s *Store) setMark(p position) error {
	if err := s.fault("mark"); err != nil || s.mark == nil {
		return err
	}
	return s.mark.set(p)
}

// encode returns the writes of a batch and the next offsets after it.
func (s *Store) encode(b *Batch, version uint64) (entries []entry, next map[uint64]int64, err error) {
	next = make(map[uint64]int64, len(b.appends))
	for _, log := range b.created {
		next[log] = 0
		entries = append(entries, numberEntry(startKey(log), 0))
	}
	if need := b.bytes + (recordHeader+1024)*(len(b.appends)+b.bytes/maxRecordData+1); cap(s.buffer) < need {
		s.buffer = make([]byte, 0, need)
	}
	buf := s.buffer[:0]
	for _, a := range b.appends {
		at, ok := next[a.log]
		if !ok {
			at, ok = s.next[a.log]
		}
		if !ok || at != a.base {
			return nil, nil, fmt.Errorf("bug: log %d is appended at %d, its next offset is %d", a.log, a.base, at)
		}
		var pieces [][]byte
		for i := 0; i < len(a.pieces); {
			r := Record{Base: at, Commit: version, StoredAt: b.StoredAt}
			bytes := 0
			pieces = pieces[:0]
			for ; i < len(a.pieces) && (len(pieces) == 0 || bytes+len(a.pieces[i].data) <= maxRecordData); i++ {
				r.Count += a.pieces[i].count
				bytes += len(a.pieces[i].data)
				pieces = append(pieces, a.pieces[i].data)
			}
			key := logKey(a.log, at)
			start := len(buf)
			buf = appendRecord(buf, key, r, pieces)
			entries = append(entries, entry{key, buf[start:len(buf):len(buf)]})
			at = r.End()
		}
		next[a.log] = at
	}
	if cap(buf) <= maxBuffer {
		s.buffer = buf
	} else {
		s.buffer = nil
	}
	for key, value := range b.state {
		k := stateKey(key)
		if value == nil {
			entries = append(entries, entry{k, nil})
		} else {
			entries = append(entries, entry{k, seal(k, value)})
		}
	}
	b.index.Scan(func(key string, value []byte) bool {
		k := indexKey(key)
		entries = append(entries, entry{k, seal(k, value)})
		return true
	})
	for _, log := range b.removed {
		delete(next, log)
		entries = append(entries, entry{startKey(log), nil})
	}
	return entries, next, nil
}

// maxBuffer bounds the memory that is kept for encoding.
const maxBuffer = 16 << 20

// rotateWhenFull begins a new bucket when the newest one is full or old enough.
func (s *Store) rotateWhenFull() error {
	b := s.newest()
	bytes := b.bytes.Load()
	full := bytes >= s.bucketBytes || s.crowded
	old := s.opts.RetainAge > 0 && bytes > 0 &&
		time.Since(time.UnixMilli(b.born)) >= s.opts.RetainAge/bucketsAtLeast
	if !full && !old {
		if s.spare == nil && bytes >= s.bucketBytes/2 {
			s.prepareSpare(b.number + 1)
		}
		return nil
	}
	return s.rotate()
}

// prepareSpare opens the next bucket in the background: that takes longer than
// a commit may wait.
func (s *Store) prepareSpare(n uint64) {
	done := make(chan spare, 1)
	s.spare = done
	if s.opts.Memory {
		done <- spare{bucket: &bucket{number: n, engine: newMemoryEngine()}}
		return
	}
	go func() {
		dir := bucketDir(s.opts.Path, n)
		e, err := openBadger(dir, s.bucketBytes, false, s.log)
		if err != nil {
			done <- spare{err: err}
			return
		}
		done <- spare{bucket: &bucket{number: n, dir: dir, engine: e}}
	}()
}

// rotate copies the state into the spare bucket and makes it the newest.
func (s *Store) rotate() error {
	if err := s.fault("rotate"); err != nil {
		return err
	}
	s.crowded = false
	old := s.newest()
	if s.spare == nil {
		s.prepareSpare(old.number + 1)
	}
	sp := <-s.spare
	s.spare = nil
	if sp.err != nil {
		return sp.err
	}
	if err := copyState(old.engine, sp.bucket.engine, s.commit); err != nil {
		return errors.Join(err, sp.bucket.remove())
	}
	if err := s.begin(sp.bucket); err != nil {
		return err
	}
	// Both slots must name the new bucket before a commit in it is
	// acknowledged: a bucket beyond the mark counts as a spare at open.
	if s.mark != nil {
		at := position{s.commit, sp.bucket.number}
		if err := errors.Join(s.mark.set(at), s.mark.set(at)); err != nil {
			return err
		}
		old.bytes.Store(diskUse(old.dir))
	}
	s.closeIdle()
	return nil
}

func copyState(from, to engine, version uint64) error {
	var entries []entry
	bytes := 0
	flush := func() error {
		err := commitAll(to, version, entries)
		entries, bytes = entries[:0], 0
		return err
	}
	err := from.walk(prefix(typeState), func(key []byte, value func() ([]byte, error)) error {
		v, err := value()
		if err == nil {
			_, err = unseal(key, v)
		}
		if err != nil {
			return err
		}
		entries = append(entries, entry{slices.Clone(key), slices.Clone(v)})
		if bytes += len(v); bytes >= bytesAtOnce || len(entries) >= entriesAtOnce {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// closeIdle closes the sealed buckets that were read least recently.
func (s *Store) closeIdle() {
	if s.opts.Memory {
		return
	}
	s.mu.RLock()
	sealed := slices.Clone(s.buckets[:len(s.buckets)-1])
	s.mu.RUnlock()
	open := sealed[:0]
	for _, b := range sealed {
		b.mu.RLock()
		if b.engine != nil {
			open = append(open, b)
		}
		b.mu.RUnlock()
	}
	slices.SortFunc(open, func(a, b *bucket) int { return int(b.used.Load() - a.used.Load()) })
	for i := openSealedMax; i < len(open); i++ {
		b := open[i]
		s.background.Go(func() {
			if err := b.close(); err != nil {
				s.log.Error("closing a bucket failed", "bucket", b.dir, "error", err)
			}
		})
	}
}
