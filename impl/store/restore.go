package store

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// Restorer makes a store of the parts of a snapshot. The new store has an
// identity of its own; all else is as it was. One goroutine uses it.
type Restorer struct {
	dir    string
	commit uint64
	log    *slog.Logger
	id     identity

	buckets int
	engine  engine
	starts  map[uint64]int64
	next    map[uint64]int64
	digest  *digest
	marked  bool
	entries []entry
	got     Summary
}

// Restore begins a store in a folder that is empty or missing, of a snapshot as
// of a commit. It is a store once [Restorer.Finish] has succeeded; what is left
// of one that was given up can be deleted.
func Restore(dir string, commit uint64, log *slog.Logger) (*Restorer, error) {
	if commit == 0 {
		return nil, corrupt("no snapshot has commit 0")
	}
	id, created, err := openFolder(dir)
	if err == nil && !created {
		err = fmt.Errorf("%w: the folder %s holds a store already; choose an empty or a new folder", ErrFormat, dir)
	}
	if err == nil {
		err = emptyFolder(dir)
	}
	if err != nil {
		return nil, err
	}
	return &Restorer{dir: dir, commit: commit, log: log, id: id, next: make(map[uint64]int64)}, beginFolder(dir, id)
}

func emptyFolder(dir string) error {
	files, err := os.ReadDir(dir)
	if err == nil && len(files) > 0 {
		err = fmt.Errorf("%w: the folder %s is not empty (%s); choose an empty or a new folder", ErrFormat, dir, files[0].Name())
	}
	return err
}

// Write writes the next part.
func (r *Restorer) Write(p Part) error {
	if p.Bucket == r.buckets {
		if err := r.seal(); err != nil {
			return err
		}
		if err := r.open(); err != nil {
			return err
		}
	}
	if p.Bucket < 0 || p.Bucket != r.buckets-1 {
		return corrupt("a part of bucket %d follows one of bucket %d", p.Bucket, r.buckets-1)
	}
	r.got.Bytes += int64(len(p.Data))
	r.entries = r.entries[:0]
	if err := p.each(r.take); err != nil {
		return err
	}
	return commitAll(r.engine, r.commit, r.entries)
}

func (r *Restorer) open() (err error) {
	r.buckets++
	r.starts, r.marked = make(map[uint64]int64), false
	r.digest = &digest{values: make(map[string]uint64)}
	r.engine, err = openBadger(bucketDir(r.dir, uint64(r.buckets)), maxBucketBytes, false, r.log)
	return err
}

// take checks an entry and adds it to those of the part.
func (r *Restorer) take(key, value []byte) error {
	if len(key) < 2 || key[0] != layoutVersion {
		return corrupt("key %x is of another layout", key)
	}
	v, err := unseal(key, value)
	if err != nil {
		return err
	}
	switch kind := key[1]; {
	case kind == typeMarker && len(key) == 2:
		r.marked = true
	case kind == typeStart && len(key) == 10 && len(v) == 8:
		err = r.start(binary.BigEndian.Uint64(key[2:]), int64(binary.BigEndian.Uint64(v)))
	case kind == typeLog && len(key) == 18:
		err = r.record(key, value)
	case kind == typeState:
		if _, ok := r.digest.values[string(key[2:])]; ok {
			return corrupt("state %q comes twice", key[2:])
		}
		r.digest.put(string(key[2:]), v)
		r.got.StateValues++
	case kind == typeIndex:
	default:
		err = corrupt("key %x is of no known type", key)
	}
	r.entries = append(r.entries, entry{key, value})
	return err
}

func (r *Restorer) start(log uint64, start int64) error {
	if end, ok := r.next[log]; ok && end != start {
		return corrupt("log %d begins at offset %d in bucket %d, it ended at %d before", log, start, r.buckets, end)
	}
	r.starts[log], r.next[log] = start, start
	return nil
}

func (r *Restorer) record(key, value []byte) error {
	rec, err := parseRecord(key, value)
	if err != nil {
		return err
	}
	log := binary.BigEndian.Uint64(key[2:])
	if _, ok := r.starts[log]; !ok || rec.Base != r.next[log] || rec.Commit > r.commit {
		return corrupt("log %d: a record of commit %d at offset %d, expected is offset %d", log, rec.Commit, rec.Base, r.next[log])
	}
	r.next[log] = rec.End()
	r.got.Records++
	r.got.Messages += int64(rec.Count)
	return nil
}

// seal ends the bucket that is open.
func (r *Restorer) seal() error {
	if r.engine == nil {
		return nil
	}
	if !r.marked {
		return corrupt("bucket %d has no marker", r.buckets)
	}
	ends := make(map[uint64]int64, len(r.starts))
	for log := range r.starts {
		ends[log] = r.next[log]
	}
	r.digest.setLogs(r.starts, ends)
	if err := r.engine.commit(r.commit, []entry{r.digest.entry()}); err != nil {
		return err
	}
	err := r.engine.close()
	r.engine = nil
	return err
}

// Finish checks that everything has come that the summary tells, and makes the
// folder a store.
func (r *Restorer) Finish(want Summary) error {
	if err := r.seal(); err != nil {
		return err
	}
	if r.buckets == 0 {
		return corrupt("the snapshot is empty")
	}
	r.got.Format, r.got.StoreID, r.got.Commit, r.got.Buckets, r.got.Logs = want.Format, want.StoreID, r.commit, r.buckets, len(r.starts)
	r.got.Digest = uint64(r.digest.sum())
	if r.got != want {
		return corrupt("%+v was restored, the snapshot had %+v", r.got, want)
	}
	if want.Format > formatVersion {
		return newerFormat("the snapshot", identity{Format: want.Format})
	}
	m, err := createMark(filepath.Join(r.dir, fileMark), position{r.commit, uint64(r.buckets)})
	if err != nil {
		return err
	}
	if err := m.close(); err != nil {
		return err
	}
	return finishFolder(r.dir)
}

// Close ends a restore that is given up. After Finish it does nothing.
func (r *Restorer) Close() error {
	if r.engine == nil {
		return nil
	}
	err := r.engine.close()
	r.engine = nil
	return err
}
