// Package store keeps what a broker must not lose, in Badger: logs of records
// with dense offsets, and a map of small state values. It knows nothing of what
// they mean.
//
// One goroutine commits. A [Batch] is written in one synced transaction, so
// that a commit is a cut through all logs and the state: after a crash all of
// it is there or nothing. Reading is concurrent.
//
// # Layout
//
// A store is a folder:
//
//	STORE      format version and identity
//	LOCK       locked by the process that holds the store, and names it
//	MARK       the high-water mark: the last commit that was acknowledged
//	b-<n>/     bucket n, a Badger database
//
// Data lies in buckets, one after the other in time. A bucket holds the log
// records written while it was the newest, and the state as of its last commit:
// when a new bucket begins the state is copied into it. So the newest bucket is
// complete in itself, and the oldest one can be dropped whole, which is the
// only way in which space comes back. docs/disk-format.md has the bytes,
// docs/rationale.md the reasons and the measurements.
//
// # What is checked
//
// Badger reports damage as absence, so absence proves nothing here: every value
// has a checksum over its key and content, offsets must be dense, and the mark
// outside of Badger's files tells which commit must be found at open. The first
// error of a commit latches: the store refuses everything after it.
package store
