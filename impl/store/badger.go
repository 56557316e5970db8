package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
)

const (
	// memTableSize bounds the memory of an open bucket. It also bounds the size
	// of a commit, see [MaxInline].
	memTableSize = 16 << 20
	// valueThreshold is the size from which values go to the value log. Smaller
	// ones save the value log's own sync.
	valueThreshold = 8 << 10
	// MaxData is the most data of one append.
	MaxData = 65 << 20
	// manyTables is more than a bucket ever has; Badger would wait at less.
	manyTables = 1 << 20
	// discardEvery is after how many commits Badger is told that old versions
	// of state values are not read any more.
	discardEvery = 256
)

// badgerEngine is a bucket database on disk. The version of an entry is the
// number of its commit: managed mode, because only there does reading not wait
// for the commit under way.
type badgerEngine struct {
	db      *badger.DB
	log     *badgerLogger
	highest atomic.Uint64
	discard uint64
	ahead   *readAhead // nil when the bucket is only read
}

// badgerOptions: bucketBytes sets the size of value-log files so that a bucket
// needs one, and a file has room for the largest value.
func badgerOptions(dir string, bucketBytes int64, readOnly bool, log *badgerLogger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(log).
		WithMetricsEnabled(false).
		WithReadOnly(readOnly).
		WithSyncWrites(true).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithNumCompactors(0). // merging tables needs as much space again, at a time of Badger's choosing
		WithNumLevelZeroTables(manyTables).
		WithNumLevelZeroTablesStall(manyTables + 1).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(min(max(bucketBytes+bucketBytes/8, MaxData+(1<<20)), 1<<30)).
		WithVerifyValueChecksum(false). // all values have a checksum of ours.
		WithChecksumVerificationMode(options.OnTableRead)
}

// openBadger opens or creates a bucket database. What Badger begins in its
// goroutines outlives the caller, so they do not get the caller's labels.
func openBadger(dir string, bucketBytes int64, readOnly bool, log *slog.Logger) (e *badgerEngine, err error) {
	var opening sync.WaitGroup
	opening.Go(func() {
		pprof.SetGoroutineLabels(context.Background())
		e, err = openDatabase(dir, bucketBytes, readOnly, log)
	})
	opening.Wait()
	return e, err
}

func openDatabase(dir string, bucketBytes int64, readOnly bool, log *slog.Logger) (e *badgerEngine, err error) {
	defer recoverCorrupt(dir, &err)
	if err := checkBadgerFiles(dir, readOnly); err != nil {
		return nil, err
	}
	l := &badgerLogger{log: log}
	opts := badgerOptions(dir, bucketBytes, readOnly, l)
	if err := checkTables(opts); err != nil {
		return nil, err
	}
	db, err := badger.OpenManaged(opts)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", dir, err)
	}
	e = &badgerEngine{db: db, log: l}
	e.highest.Store(db.MaxVersion())
	if readOnly {
		return e, nil
	}
	// Badger does not sync the folder in which it makes its files.
	if err := errors.Join(syncFolder(dir), syncFolder(filepath.Dir(dir))); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	e.ahead = startAhead(dir)
	return e, nil
}

// checkBadgerFiles refuses a folder that has lost its MANIFEST: Badger would
// take it for a new database and delete its tables. It removes the empty files
// that a process leaves which is killed while it makes one: Badger would refuse
// them. What they held, if anything, the high-water mark tells.
func checkBadgerFiles(dir string, readOnly bool) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	data, manifest := false, false
	for _, f := range files {
		switch filepath.Ext(f.Name()) {
		case ".mem", ".vlog":
			info, err := f.Info()
			if err != nil {
				return err
			}
			if info.Size() == 0 && !readOnly {
				if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
					return err
				}
				continue
			}
			data = true
		case ".sst":
			data = true
		}
		manifest = manifest || f.Name() == badger.ManifestFilename
	}
	if data && !manifest {
		return corrupt("bucket %s has data but no %s", dir, badger.ManifestFilename)
	}
	return nil
}

// checkTables opens all tables that the MANIFEST names. Badger does it in
// goroutines of its own, where a panic on a damaged table ends the process.
func checkTables(opts badger.Options) error {
	f, err := os.Open(filepath.Join(opts.Dir, badger.ManifestFilename))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	manifest, _, err := badger.ReplayManifestFile(f, 0, opts)
	if err := errors.Join(err, f.Close()); err != nil {
		return corrupt("bucket %s: %v", opts.Dir, err)
	}
	for id, t := range manifest.Tables {
		if err := checkTable(opts.Dir, id, t); err != nil {
			return err
		}
	}
	return nil
}

func checkTable(dir string, id uint64, m badger.TableManifest) (err error) {
	path := table.NewFilename(id, dir)
	defer recoverCorrupt(path, &err)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return corrupt("%s is missing", path)
	}
	if err != nil {
		return err
	}
	t, err := table.OpenInMemoryTable(data, id, &table.Options{Compression: m.Compression})
	if err == nil {
		err = t.VerifyChecksum()
	}
	if err != nil {
		return corrupt("%s: %v", path, err)
	}
	return nil
}

// recoverCorrupt turns a panic of Badger into an error: it panics on files that
// are shorter than their own contents say.
func recoverCorrupt(where string, err *error) {
	if r := recover(); r != nil {
		*err = corrupt("%s: badger panicked: %v", where, r)
	}
}

func (e *badgerEngine) commit(version uint64, entries []entry) (err error) {
	txn := e.db.NewTransactionAt(math.MaxUint64, true)
	defer func() { txn.Discard() }()
	for _, w := range entries {
		err := write(txn, w)
		if errors.Is(err, badger.ErrTxnTooBig) {
			return fmt.Errorf("a batch of %d entries is too big for one transaction: %w", len(entries), err)
		}
		if err != nil {
			return err
		}
	}
	if err := txn.CommitAt(version, nil); err != nil {
		return err
	}
	if err := e.log.failure.Load(); err != nil {
		return *err
	}
	e.highest.Store(version)
	values := 0
	for _, w := range entries {
		if len(w.value) >= valueThreshold {
			values += len(w.value)
		}
	}
	e.ahead.wrote(values)
	if version >= e.discard+discardEvery {
		e.discard = version
		e.db.SetDiscardTs(version - 1)
	}
	return nil
}

func write(txn *badger.Txn, w entry) error {
	if w.value == nil {
		return txn.Delete(w.key)
	}
	return txn.SetEntry(badger.NewEntry(w.key, w.value))
}

func (e *badgerEngine) get(key []byte) (value []byte, err error) {
	defer recoverCorrupt(fmt.Sprintf("key %x", key), &err)
	txn := e.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, corrupt("key %x: %v", key, err)
	}
	value, err = item.ValueCopy(nil)
	if err != nil {
		return nil, corrupt("key %x: %v", key, err)
	}
	return value, nil
}

func (e *badgerEngine) floor(prefix, key []byte) (found []byte, err error) {
	defer recoverCorrupt(fmt.Sprintf("key %x", key), &err)
	txn := e.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: prefix})
	defer it.Close()
	it.Seek(key)
	if !it.Valid() {
		return nil, errNotFound
	}
	return it.Item().KeyCopy(nil), nil
}

func (e *badgerEngine) walk(prefix []byte, f visit) error {
	return e.walkAt(math.MaxUint64, prefix, prefix, f)
}

func (e *badgerEngine) walkAt(version uint64, prefix, from []byte, f visit) (err error) {
	defer recoverCorrupt("walk", &err)
	txn := e.db.NewTransactionAt(version, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		value := func() ([]byte, error) {
			v, err := item.ValueCopy(nil)
			if err != nil {
				return nil, corrupt("key %x: %v", item.Key(), err)
			}
			return v, nil
		}
		if err := f(item.Key(), value); err != nil {
			return err
		}
	}
	return nil
}

func (e *badgerEngine) version() uint64 { return e.highest.Load() }

func (e *badgerEngine) close() (err error) {
	defer recoverCorrupt("close", &err)
	if e.ahead != nil {
		e.ahead.stop()
	}
	return e.db.Close()
}

// badgerLogger lets through what an operator must know. An error that Badger
// logs is a failure of the database: a failed sync of the value log is told in
// no other way.
type badgerLogger struct {
	log     *slog.Logger
	failure atomic.Pointer[error]
}

// Errorf logs, and makes all later commits fail.
func (l *badgerLogger) Errorf(f string, args ...any) {
	err := fmt.Errorf("badger: "+f, args...)
	l.failure.CompareAndSwap(nil, &err)
	l.log.Error(err.Error())
}

// Warningf logs.
func (l *badgerLogger) Warningf(f string, args ...any) {
	l.log.Warn(fmt.Sprintf("badger: "+f, args...))
}

// Infof does nothing.
func (l *badgerLogger) Infof(string, ...any) {}

// Debugf does nothing.
func (l *badgerLogger) Debugf(string, ...any) {}
