package store

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// bucket is one stretch of time of the store. The newest is written; sealed
// ones are opened when they are read.
type bucket struct {
	number uint64
	dir    string // empty in memory
	born   int64  // when it began, milliseconds since 1970 UTC
	bytes  atomic.Int64
	used   atomic.Int64 // when it was last read, for closing the idle ones

	mu      sync.RWMutex
	engine  engine           // nil while closed
	starts  map[uint64]int64 // log → its next offset when the bucket began; nil until loaded
	dropped bool
	pins    int    // snapshots that show the bucket: it is not deleted before they are closed
	trash   string // what the folder is called since it was dropped
}

// with calls f with the open engine of the bucket.
func (b *bucket) with(open func(*bucket) (engine, error), f func(engine) error) error {
	return b.use(open, f, false)
}

// use is with; pinned says that a snapshot asks, which sees dropped buckets too.
func (b *bucket) use(open func(*bucket) (engine, error), f func(engine) error, pinned bool) error {
	b.used.Store(time.Now().UnixNano())
	b.mu.RLock()
	for b.engine == nil {
		if b.dropped && !pinned {
			b.mu.RUnlock()
			return ErrDropped
		}
		b.mu.RUnlock()
		if err := b.open(open); err != nil {
			return err
		}
		b.mu.RLock()
	}
	defer b.mu.RUnlock()
	return f(b.engine)
}

func (b *bucket) open(open func(*bucket) (engine, error)) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.engine != nil || b.dropped && b.pins == 0 {
		return nil
	}
	b.engine, err = open(b)
	return err
}

// close closes the engine if it is open; the bucket can be opened again.
func (b *bucket) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closeLocked()
}

func (b *bucket) closeLocked() error {
	if b.engine == nil {
		return nil
	}
	err := b.engine.close()
	b.engine = nil
	return err
}

// remove closes the bucket for good and deletes it, or has the last snapshot
// that shows it do so.
func (b *bucket) remove() error {
	b.mu.Lock()
	b.dropped = true
	err := b.closeLocked()
	if b.dir != "" {
		// Renamed first, so that a crash leaves no half of a bucket behind.
		b.trash = filepath.Join(filepath.Dir(b.dir), trashName+filepath.Base(b.dir))
		err = errors.Join(err, os.Rename(b.dir, b.trash))
	}
	pinned := b.pins > 0
	b.mu.Unlock()
	if pinned || b.dir == "" || err != nil {
		return err
	}
	return os.RemoveAll(b.trash)
}

func (b *bucket) pin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pins++
}

func (b *bucket) unpin() (err error) {
	b.mu.Lock()
	b.pins--
	last := b.pins == 0 && b.trash != ""
	if last {
		err = b.closeLocked()
	}
	b.mu.Unlock()
	if last {
		err = errors.Join(err, os.RemoveAll(b.trash))
	}
	return err
}

// loadStarts reads where the logs stood when the bucket began.
func (b *bucket) loadStarts(open func(*bucket) (engine, error)) (map[uint64]int64, error) {
	b.mu.RLock()
	starts := b.starts
	b.mu.RUnlock()
	if starts != nil {
		return starts, nil
	}
	var born int64
	err := b.with(open, func(e engine) (err error) {
		starts, born, err = readStarts(e)
		return err
	})
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.starts == nil {
		b.starts, b.born = starts, born
	}
	return b.starts, nil
}

// changeLogs tells the newest bucket of logs that came and went. Readers hold
// the old map.
func (b *bucket) changeLogs(created, removed []uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	starts := maps.Clone(b.starts)
	for _, log := range created {
		starts[log] = 0
	}
	for _, log := range removed {
		delete(starts, log)
	}
	b.starts = starts
}

func readStarts(e engine) (starts map[uint64]int64, born int64, err error) {
	starts = make(map[uint64]int64)
	err = e.walk(prefix(typeStart), func(key []byte, value func() ([]byte, error)) error {
		n, err := readNumber(key, value)
		if err == nil && len(key) != 10 {
			err = corrupt("key %x is no log", key)
		}
		if err == nil {
			starts[binary.BigEndian.Uint64(key[2:])] = n
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	born, err = readNumber(prefix(typeMarker), func() ([]byte, error) { return e.get(prefix(typeMarker)) })
	if errors.Is(err, errNotFound) {
		err = corrupt("the bucket has no marker")
	}
	return starts, born, err
}

func readNumber(key []byte, value func() ([]byte, error)) (int64, error) {
	sealed, err := value()
	if err != nil {
		return 0, err
	}
	v, err := unseal(key, sealed)
	if err == nil && len(v) != 8 {
		err = corrupt("key %x: %d bytes are no number", key, len(v))
	}
	if err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

func numberEntry(key []byte, n int64) entry {
	return entry{key, seal(key, binary.BigEndian.AppendUint64(nil, uint64(n)))}
}

// openSealed opens a sealed bucket for reading. One that was not closed cleanly
// has a write-ahead log left and is closed first.
func openSealed(dir string, bucketBytes int64, log *slog.Logger) (engine, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return nil, err
	}
	if len(logs) > 0 {
		e, err := openBadger(dir, bucketBytes, false, log)
		if err != nil {
			return nil, err
		}
		if err := e.close(); err != nil {
			return nil, err
		}
	}
	e, err := openBadger(dir, bucketBytes, true, log)
	if err != nil {
		return nil, err
	}
	return e, nil
}
