package store

import "errors"

// engine is an ordered map that commits batches of writes whole. Bucket
// databases are engines: Badger on disk, a B-tree in memory.
type engine interface {
	// commit writes all entries under a version, durably, or none. Versions
	// ascend; several commits may share one. The entries' memory is the
	// caller's again afterwards. One goroutine commits.
	commit(version uint64, entries []entry) error
	// get returns a copy of the value under key, or errNotFound.
	get(key []byte) ([]byte, error)
	// floor returns the greatest key that begins with prefix and is at most
	// key, or errNotFound.
	floor(prefix, key []byte) ([]byte, error)
	// walk calls f for all keys that begin with prefix, ascending; value reads
	// the value. Neither may be kept.
	walk(prefix []byte, f visit) error
	// walkAt is walk as of a version, from a key on. In memory only the present
	// is known.
	walkAt(version uint64, prefix, from []byte, f visit) error
	// version returns the highest version that was committed.
	version() uint64
	close() error
}

// visit is called with a key and what reads its value.
type visit = func(key []byte, value func() ([]byte, error)) error

// entry is a write; a nil value deletes.
type entry struct{ key, value []byte }

var errNotFound = errors.New("key not found")
