package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// Finding is something that [Check] found wrong.
type Finding struct {
	Where string // file, bucket or log
	What  string
}

// CheckReport tells what [Check] walked and found.
type CheckReport struct {
	Buckets, Logs, Records, Entries, StateValues int64
	Bytes                                        int64
	LastCommit                                   uint64
	Findings                                     []Finding
}

// CheckOptions adjust [Check].
type CheckOptions struct {
	// Progress, when set, is told now and then how many of how many bytes were
	// walked.
	Progress func(done, total int64)
	// Record, when set, checks what the records hold.
	Record func(log uint64, r Record) error
	// State, when set, checks a state value.
	State func(key string, value []byte) error
}

// Check walks a whole store that nobody holds: format, mark, Badger's own
// checksums, every record and state value, and that offsets are dense. What is
// wrong becomes a finding. The error tells that the check itself could not be
// made: no such store, or a store in use.
func Check(opts Options, check CheckOptions) (report CheckReport, err error) {
	dir := opts.Path
	if _, err := os.Stat(dir); err != nil {
		return report, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	s := &Store{opts: opts, log: opts.Logger, bucketBytes: maxBucketBytes}
	found := func(where string, err error) {
		report.Findings = append(report.Findings, Finding{where, err.Error()})
	}
	_, created, err := openFolder(dir)
	switch {
	case errors.Is(err, ErrCorrupt):
		found(fileFormat, err)
	case err != nil:
		return report, err
	case created:
		return report, fmt.Errorf("%w: %s holds no store", ErrFormat, dir)
	}
	if s.lock, err = lockFolder(dir); err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, s.lock.Unlock()) }()

	m, at, warn, err := openMark(filepath.Join(dir, fileMark))
	if err != nil {
		found(fileMark, err)
	} else if err := m.close(); err != nil {
		return report, err
	}
	if warn != nil {
		found(fileMark, warn)
	}
	numbers, err := bucketNumbers(dir)
	if err != nil {
		return report, err
	}
	c := checker{check: check, report: &report, found: found, next: map[uint64]int64{}, total: diskUse(dir)}
	for _, n := range numbers {
		if m != nil && n > at.bucket {
			continue // a spare that was never begun
		}
		report.Buckets++
		bucket := bucketDir(dir, n)
		e, err := openBadger(bucket, s.bucketBytes, false, opts.Logger)
		if err != nil {
			found(bucket, err)
			continue
		}
		report.LastCommit = max(report.LastCommit, e.version())
		c.bucket(bucket, e)
		if err := e.close(); err != nil {
			found(bucket, err)
		}
	}
	if m != nil && report.LastCommit < at.commit {
		found(fileMark, corrupt("commit %d was acknowledged, the buckets end with commit %d", at.commit, report.LastCommit))
	}
	return report, nil
}

type checker struct {
	check  CheckOptions
	report *CheckReport
	found  func(where string, err error)
	next   map[uint64]int64
	total  int64
}

func (c *checker) bucket(where string, e *badgerEngine) {
	if err := verifyBlocks(e.db); err != nil {
		c.found(where, err)
	}
	starts, _, err := readStarts(e)
	if err != nil {
		c.found(where, err)
	}
	for log, start := range starts {
		if before, ok := c.next[log]; ok && before != start {
			c.found(where, corrupt("log %d: the bucket begins at offset %d, the one before ended at %d", log, start, before))
		}
		if _, ok := c.next[log]; !ok {
			c.report.Logs++
		}
		c.next[log] = start
	}
	err = e.walk(prefix(typeLog), func(key []byte, value func() ([]byte, error)) error {
		log, base, err := parseLogKey(key)
		if err == nil {
			var sealed []byte
			if sealed, err = value(); err == nil {
				err = c.record(where, log, base, key, sealed)
			}
		}
		if err != nil {
			c.found(where, err)
		}
		return nil
	})
	if err != nil {
		c.found(where, err)
	}
	if err := c.digest(e, starts); err != nil {
		c.found(where, err)
	}
	err = e.walk(prefix(typeState), func(key []byte, value func() ([]byte, error)) error {
		c.report.StateValues++
		sealed, err := value()
		var v []byte
		if err == nil {
			v, err = unseal(key, sealed)
		}
		if err == nil && c.check.State != nil {
			err = c.check.State(string(key[2:]), v)
		}
		if err != nil {
			c.found(where, err)
		}
		return nil
	})
	if err != nil {
		c.found(where, err)
	}
	err = e.walk(prefix(typeIndex), func(key []byte, value func() ([]byte, error)) error {
		sealed, err := value()
		if err == nil {
			_, err = unseal(key, sealed)
		}
		if err != nil {
			c.found(where, err)
		}
		return nil
	})
	if err != nil {
		c.found(where, err)
	}
}

// digest checks that no commit is missing; the bucket's records were walked.
func (c *checker) digest(e engine, starts map[uint64]int64) error {
	d, err := readDigest(e, starts, c.next)
	if err != nil {
		return err
	}
	return d.check(e)
}

func (c *checker) record(where string, log uint64, base int64, key, sealed []byte) error {
	r, err := parseRecord(key, sealed)
	if err != nil {
		return err
	}
	c.report.Records++
	c.report.Entries += int64(r.Count)
	c.report.Bytes += int64(len(sealed))
	if c.check.Progress != nil {
		c.check.Progress(min(c.report.Bytes, c.total), c.total)
	}
	next, ok := c.next[log]
	if ok {
		c.next[log] = r.End()
		if base != next {
			c.found(where, corrupt("log %d: offsets %d to %d are missing", log, next, base-1))
		}
	}
	if c.check.Record != nil {
		if err := c.check.Record(log, r); err != nil {
			return fmt.Errorf("log %d, offsets %d to %d: %w", log, r.Base, r.End()-1, err)
		}
	}
	return nil
}

// verifyBlocks has Badger check its own checksums.
func verifyBlocks(db *badger.DB) (err error) {
	defer recoverCorrupt("badger's checksums", &err)
	if err := db.VerifyChecksum(); err != nil {
		return corrupt("badger's checksums: %v", err)
	}
	return nil
}
