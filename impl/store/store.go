package store

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
)

// Options says how a store is opened.
type Options struct {
	// Path is the store's folder; it is made when it is missing. Ignored with Memory.
	Path string
	// Memory keeps everything in memory and forgets it at close.
	Memory bool
	// RetainBytes is about how much the store may take up on disk; 0 is
	// without limit. The least is [MinRetainBytes].
	RetainBytes int64
	// RetainAge is how long records are kept at least; 0 is for ever.
	RetainAge time.Duration
	// Reserve is the free space on disk below which [Store.Room] refuses.
	// Default 256 MiB.
	Reserve int64
	// Logger gets what concerns no single call. Default slog.Default().
	Logger *slog.Logger
	// Fault, when set, is called before each step of a commit and may fail it;
	// for tests. The steps are "commit", "mark" and "rotate".
	Fault func(step string) error
}

// MinRetainBytes is the least RetainBytes.
const MinRetainBytes = 64 << 20

const (
	maxBucketBytes = 1 << 30
	bucketsAtLeast = 8         // buckets that share RetainBytes
	maxRecordData  = 256 << 10 // larger records hold one piece only
	// maxTables is how many tables a bucket may have when it is opened. They are
	// not merged, and each time a store is closed leaves one.
	maxTables      = 64
	openSealedMax  = 3 // sealed buckets kept open for reading
	defaultReserve = 256 << 20
)

// Store is an open store. [Store.Commit], [Store.Drop], [Store.Snapshot] and
// [Store.Close] must be called by one goroutine at a time; all other methods may
// be called concurrently.
type Store struct {
	opts        Options
	log         *slog.Logger
	id          identity
	lock        *flock.Flock
	mark        *mark
	bucketBytes int64
	buffer      []byte
	digest      *digest // of the newest bucket
	crowded     bool    // the newest bucket has too many tables

	mu      sync.RWMutex
	buckets []*bucket        // ascending; the last is written
	next    map[uint64]int64 // log → next offset
	commit  uint64

	recent     recent
	failed     atomic.Pointer[error]
	closed     atomic.Bool
	spare      chan spare
	background sync.WaitGroup
}

type spare struct {
	bucket *bucket
	err    error
}

// Open opens the store at opts.Path or makes a new one. It checks the
// high-water mark, all state, and the keys and last record of every log in the
// newest bucket, and refuses with [ErrCorrupt] what is damaged.
func Open(opts Options) (s *Store, err error) {
	if opts.Reserve == 0 {
		opts.Reserve = defaultReserve
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.RetainBytes != 0 && opts.RetainBytes < MinRetainBytes {
		return nil, fmt.Errorf("a store cannot be limited to %d bytes; the least is %d", opts.RetainBytes, MinRetainBytes)
	}
	s = &Store{opts: opts, log: opts.Logger, next: make(map[uint64]int64), bucketBytes: maxBucketBytes, digest: &digest{values: make(map[string]uint64)}}
	if opts.RetainBytes > 0 {
		s.bucketBytes = min(s.bucketBytes, opts.RetainBytes/bucketsAtLeast)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	if opts.Memory {
		b := &bucket{engine: newMemoryEngine(), number: 1}
		return s, s.begin(b)
	}
	return s, s.openFolder()
}

func (s *Store) openFolder() error {
	dir := s.opts.Path
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// Looked at before the lock, so that no lock file is left in a folder that
	// is something else, and again with it, as others may have made the store.
	if _, _, err := openFolder(dir); err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	var err error
	if s.lock, err = lockFolder(dir); err != nil {
		return err
	}
	id, created, err := openFolder(dir)
	if err != nil {
		return err
	}
	s.id = id
	if err := s.Room(0, true); err != nil {
		return err
	}
	if created {
		return s.create()
	}
	var at position
	var warn error
	if s.mark, at, warn, err = openMark(filepath.Join(dir, fileMark)); err != nil {
		return err
	}
	if warn != nil {
		s.log.Warn("the store's high-water mark was damaged and is written again from its other slot", "path", dir, "error", warn)
		if err := errors.Join(s.mark.set(at), s.mark.set(at)); err != nil {
			return err
		}
	}
	return s.load(at)
}

// create makes the first bucket; the STORE file gets its name last, so that a
// crash before it leaves a folder that is made again.
func (s *Store) create() error {
	if err := beginFolder(s.opts.Path, s.id); err != nil {
		return err
	}
	if err := s.clearUnfinished(); err != nil {
		return err
	}
	e, err := openBadger(bucketDir(s.opts.Path, 1), s.bucketBytes, false, s.log)
	if err != nil {
		return err
	}
	if err := s.begin(&bucket{number: 1, dir: bucketDir(s.opts.Path, 1), engine: e}); err != nil {
		return err
	}
	if s.mark, err = createMark(filepath.Join(s.opts.Path, fileMark), position{s.commit, 1}); err != nil {
		return err
	}
	return finishFolder(s.opts.Path)
}

func (s *Store) clearUnfinished() error {
	return errors.Join(os.RemoveAll(bucketDir(s.opts.Path, 1)), os.RemoveAll(filepath.Join(s.opts.Path, fileMark)))
}

// begin makes b the newest bucket and writes its marker and where the logs stand.
func (s *Store) begin(b *bucket) error {
	b.born = time.Now().UnixMilli()
	b.starts = maps.Clone(s.next)
	s.digest.setLogs(b.starts, b.starts)
	entries := []entry{numberEntry(prefix(typeMarker), b.born), s.digest.entry()}
	for log, next := range s.next {
		entries = append(entries, numberEntry(startKey(log), next))
	}
	s.commit = max(s.commit, 1)
	if err := commitAll(b.engine, s.commit, entries); err != nil {
		return errors.Join(err, b.close())
	}
	s.mu.Lock()
	s.buckets = append(s.buckets, b)
	s.mu.Unlock()
	return nil
}

// entriesAtOnce and bytesAtOnce bound a transaction of commitAll.
const (
	entriesAtOnce = 2000
	bytesAtOnce   = 512 << 10
)

// commitAll commits entries that need not be written whole.
func commitAll(e engine, version uint64, entries []entry) error {
	for len(entries) > 0 {
		n, bytes := 0, 0
		for n < len(entries) && n < entriesAtOnce && (n == 0 || bytes+len(entries[n].value) < bytesAtOnce) {
			bytes += len(entries[n].value)
			n++
		}
		if err := e.commit(version, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// load opens the buckets of an existing store.
func (s *Store) load(at position) error {
	if err := removeTrash(s.opts.Path); err != nil {
		return err
	}
	numbers, err := bucketNumbers(s.opts.Path)
	if err != nil {
		return err
	}
	for i, n := range numbers {
		if n > at.bucket { // a spare that was never begun
			if err := os.RemoveAll(bucketDir(s.opts.Path, n)); err != nil {
				return err
			}
			continue
		}
		if i > 0 && n != numbers[i-1]+1 {
			return corrupt("bucket %s is missing", bucketDir(s.opts.Path, numbers[i-1]+1))
		}
		b := &bucket{number: n, dir: bucketDir(s.opts.Path, n)}
		b.bytes.Store(diskUse(b.dir))
		s.buckets = append(s.buckets, b)
	}
	if len(s.buckets) == 0 || s.newest().number != at.bucket {
		return corrupt("bucket %s is missing", bucketDir(s.opts.Path, at.bucket))
	}
	b := s.newest()
	e, err := openBadger(b.dir, s.bucketBytes, false, s.log)
	if err != nil {
		return err
	}
	b.engine = e
	s.crowded = len(e.db.Tables()) > maxTables
	if found := e.version(); found < at.commit {
		return corrupt("commit %d was acknowledged, but %s ends with commit %d; restore the store from a backup", at.commit, b.dir, found)
	}
	s.commit = e.version()
	if b.starts, b.born, err = readStarts(e); err != nil {
		return err
	}
	if s.next, err = scanLogs(e, b.starts); err != nil {
		return err
	}
	if s.digest, err = readDigest(e, b.starts, s.next); err != nil {
		return err
	}
	if err := s.digest.check(e); err != nil {
		return fmt.Errorf("%s: %w", b.dir, err)
	}
	return nil
}

func (s *Store) newest() *bucket { return s.buckets[len(s.buckets)-1] }

// scanLogs walks the keys of a bucket's records, checks that each log is dense
// from its start, reads the last record of each, and returns the next offsets.
// Records of removed logs, which have no start, are passed over.
func scanLogs(e engine, starts map[uint64]int64) (map[uint64]int64, error) {
	next := maps.Clone(starts)
	var last []byte // key of the record before, of the same log
	finish := func() error {
		if last == nil {
			return nil
		}
		r, err := readRecord(e, last)
		if err != nil {
			return err
		}
		log, _, _ := parseLogKey(last)
		next[log] = r.End()
		last = nil
		return nil
	}
	err := e.walk(prefix(typeLog), func(key []byte, _ func() ([]byte, error)) error {
		log, base, err := parseLogKey(key)
		if err != nil {
			return corrupt("%v", err)
		}
		if last != nil {
			if before, _, _ := parseLogKey(last); before != log {
				if err := finish(); err != nil {
					return err
				}
			}
		}
		start, ok := starts[log]
		if !ok {
			return nil
		}
		if last == nil && base != start {
			return corrupt("log %d begins at offset %d instead of %d", log, base, start)
		}
		last = append(last[:0], key...)
		return nil
	})
	if err == nil {
		err = finish()
	}
	return next, err
}

func readRecord(e engine, key []byte) (Record, error) {
	value, err := e.get(key)
	if errors.Is(err, errNotFound) {
		return Record{}, corrupt("the record under key %x is gone", key)
	}
	if err != nil {
		return Record{}, err
	}
	return parseRecord(key, value)
}

// ID returns the identity of the store, empty in memory.
func (s *Store) ID() string { return s.id.ID }

// LastCommit returns the number of the last commit.
func (s *Store) LastCommit() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.commit
}

// State calls f for every state value. Neither key nor value share memory with
// the store.
func (s *Store) State(f func(key string, value []byte) error) error {
	s.mu.RLock()
	b := s.newest()
	s.mu.RUnlock()
	return b.with(s.openBucket, func(e engine) error {
		return e.walk(prefix(typeState), func(key []byte, value func() ([]byte, error)) error {
			sealed, err := value()
			if err != nil {
				return err
			}
			v, err := unseal(key, sealed)
			if err != nil {
				return err
			}
			return f(string(key[2:]), v)
		})
	})
}

// Err returns why the store refuses commits, nil while it does not.
func (s *Store) Err() error {
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// fail latches the first error.
func (s *Store) fail(err error) error {
	err = fmt.Errorf("%w: nothing is accepted any more, start the process again: %w", ErrFailed, err)
	if s.failed.CompareAndSwap(nil, &err) {
		s.log.Error("the store has failed", "path", s.opts.Path, "error", err)
	}
	return *s.failed.Load()
}

// Close waits for background work and closes the store. The store can be
// opened again.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.release()
}

func (s *Store) release() (err error) {
	if s.spare != nil {
		if sp := <-s.spare; sp.bucket != nil {
			err = errors.Join(err, sp.bucket.remove())
		}
	}
	s.background.Wait()
	for _, b := range s.buckets {
		err = errors.Join(err, b.close())
	}
	if s.mark != nil {
		err = errors.Join(err, s.mark.close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Unlock())
	}
	return err
}
