package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Snapshot shows a store as of one commit, while the store goes on. What it
// shows stays on disk until it is closed, also what retention drops meanwhile. It
// must be closed before the store. One goroutine uses it.
type Snapshot struct {
	store   *Store
	commit  uint64
	next    map[uint64]int64
	buckets []*bucket
	bytes   int64
}

// Part is a piece of a snapshot: entries of one bucket, as they lie in the store.
type Part struct {
	Bucket  int // place of the bucket, from 0; parts come in its order
	Entries int
	Data    []byte // for each entry: key length (4), value length (4), key, value
}

// Summary tells what the parts of a snapshot hold in all.
type Summary struct {
	Format      int    `json:"format"` // of the store
	StoreID     string `json:"store_id"`
	Commit      uint64 `json:"commit"`
	Buckets     int    `json:"buckets"`
	Logs        int    `json:"logs"`
	Records     int64  `json:"records"`
	Messages    int64  `json:"messages"`
	StateValues int64  `json:"state_values"`
	Bytes       int64  `json:"bytes"` // of the parts
	Digest      uint64 `json:"digest,string"`
}

// partBytes is about how large a part is. A larger entry is a part of its own.
const partBytes = 4 << 20

// MaxPart bounds the data of a part.
const MaxPart = MaxData + 64<<10

// Snapshot returns the store as of the last commit. It is quick.
func (s *Store) Snapshot() (*Snapshot, error) {
	if err := s.Err(); err != nil && !errors.Is(err, ErrFailed) {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	shot := &Snapshot{store: s, commit: s.commit, next: maps.Clone(s.next)}
	for _, b := range s.buckets {
		shot.bytes += b.bytes.Load()
		if b.dir == "" {
			shot.buckets = append(shot.buckets, &bucket{engine: b.engine.(*memoryEngine).copy(), number: b.number})
			continue
		}
		b.pin()
		shot.buckets = append(shot.buckets, b)
	}
	return shot, nil
}

// Commit returns the number of the commit.
func (s *Snapshot) Commit() uint64 { return s.commit }

// StoreID returns the identity of the store, empty in memory.
func (s *Snapshot) StoreID() string { return s.store.id.ID }

// Bytes returns about how many bytes the snapshot has.
func (s *Snapshot) Bytes() int64 { return s.bytes }

// Close lets go of what the snapshot shows.
func (s *Snapshot) Close() (err error) {
	for _, b := range s.buckets {
		if b.dir != "" {
			err = errors.Join(err, b.unpin())
		}
	}
	s.buckets = nil
	return err
}

// Parts calls f with all parts in order. A part belongs to f while it runs. All
// checksums are checked.
func (s *Snapshot) Parts(ctx context.Context, f func(Part) error) (Summary, error) {
	w := partWriter{ctx: ctx, shot: s, f: f}
	w.sum = Summary{Format: formatVersion, StoreID: s.store.id.ID, Commit: s.commit, Buckets: len(s.buckets), Logs: len(s.next)}
	for i, b := range s.buckets {
		w.place, w.bucket, w.starts = i, b, make(map[uint64]int64)
		kinds := []byte{typeMarker, typeStart, typeLog, typeIndex}
		if i == len(s.buckets)-1 {
			kinds = append(kinds, typeState)
		}
		for _, kind := range kinds {
			if err := w.walk(kind); err != nil {
				return Summary{}, err
			}
		}
		if err := w.flush(); err != nil {
			return Summary{}, err
		}
	}
	for log, next := range s.next {
		if w.ends[log] != next {
			return Summary{}, corrupt("log %d ends at offset %d instead of %d", log, w.ends[log], next)
		}
	}
	err := w.bucket.use(s.store.openBucket, func(e engine) error {
		return e.walkAt(s.commit, prefix(typeDigest), prefix(typeDigest), func(key []byte, value func() ([]byte, error)) error {
			n, err := readNumber(key, value)
			w.sum.Digest = uint64(n)
			return err
		})
	}, true)
	return w.sum, err
}

// partWriter gathers entries into parts.
type partWriter struct {
	ctx  context.Context
	shot *Snapshot
	f    func(Part) error
	sum  Summary
	ends map[uint64]int64

	place  int
	bucket *bucket
	starts map[uint64]int64 // of the bucket

	data    []byte
	entries int
}

var errPartFull = errors.New("the part is full")

// walk takes up all entries of a type. The bucket is not held while a part is
// handed over.
func (w *partWriter) walk(kind byte) error {
	from := prefix(kind)
	for {
		err := w.bucket.use(w.shot.store.openBucket, func(e engine) error {
			return e.walkAt(w.shot.commit, prefix(kind), from, func(key []byte, value func() ([]byte, error)) error {
				if err := w.take(kind, key, value); err != nil {
					return err
				}
				if len(w.data) < partBytes {
					return nil
				}
				from = append(slices.Clone(key), 0)
				return errPartFull
			})
		}, true)
		if !errors.Is(err, errPartFull) {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
}

// take adds an entry when it belongs to the snapshot.
func (w *partWriter) take(kind byte, key []byte, value func() ([]byte, error)) error {
	var log uint64
	if kind == typeLog || kind == typeStart {
		log = binary.BigEndian.Uint64(key[2:])
		if _, ok := w.shot.next[log]; !ok {
			return nil // removed since
		}
	}
	sealed, err := value()
	if err != nil {
		return err
	}
	switch kind {
	case typeLog:
		r, err := parseRecord(key, sealed)
		if err != nil {
			return err
		}
		w.sum.Records++
		w.sum.Messages += int64(r.Count)
		w.ends[log] = r.End()
	case typeStart:
		n, err := readNumber(key, func() ([]byte, error) { return sealed, nil })
		if err != nil {
			return err
		}
		w.starts[log] = n
		if w.ends == nil {
			w.ends = make(map[uint64]int64)
		}
		w.ends[log] = n
	default:
		if _, err := unseal(key, sealed); err != nil {
			return err
		}
		if kind == typeState {
			w.sum.StateValues++
		}
	}
	w.data = binary.BigEndian.AppendUint32(w.data, uint32(len(key)))
	w.data = binary.BigEndian.AppendUint32(w.data, uint32(len(sealed)))
	w.data = append(append(w.data, key...), sealed...)
	w.entries++
	return nil
}

func (w *partWriter) flush() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if w.entries == 0 {
		return nil
	}
	w.sum.Bytes += int64(len(w.data))
	err := w.f(Part{w.place, w.entries, w.data})
	w.data, w.entries = w.data[:0], 0
	return err
}

// each calls f for the entries of a part.
func (p Part) each(f func(key, value []byte) error) error {
	data, n := p.Data, 0
	for ; len(data) > 0; n++ {
		if len(data) < 8 {
			return corrupt("a part ends within an entry")
		}
		k, v := int64(binary.BigEndian.Uint32(data)), int64(binary.BigEndian.Uint32(data[4:]))
		if int64(len(data)) < 8+k+v {
			return corrupt("a part ends within an entry")
		}
		if err := f(data[8:8+k], data[8+k:8+k+v]); err != nil {
			return err
		}
		data = data[8+k+v:]
	}
	if n != p.Entries {
		return fmt.Errorf("%w: a part has %d entries instead of %d", ErrCorrupt, n, p.Entries)
	}
	return nil
}
