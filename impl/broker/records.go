package broker

import (
	"bytes"
	"cmp"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
)

// recordReader reads chunks of logs by offset. It goes forward through the
// record that it has and reads another one only when it must. The zero value
// is ready.
type recordReader struct {
	bytes int // read so far
	kept  []keptRecord
	log   uint64
	rec   store.Record
	base  int64  // of the first chunk in rest
	rest  []byte // of rec.Data
	chunk []byte // a copy of the first chunk in rest, or nil
}

// keptRecord is a record that was read on another occasion.
type keptRecord struct {
	log uint64
	rec store.Record
}

// record returns the record with an offset, and keeps it: span may need it.
func (r *recordReader) record(st *store.Store, log uint64, at int64) (store.Record, error) {
	if rec, ok := r.find(log, at); ok {
		return rec, nil
	}
	rec, err := st.Read(log, at)
	if err == nil {
		r.kept = append(r.kept, keptRecord{log, rec})
		r.bytes += len(rec.Data)
	}
	return rec, err
}

func (r *recordReader) find(log uint64, at int64) (store.Record, bool) {
	for _, k := range r.kept {
		if k.log == log && k.rec.Base <= at && at < k.rec.End() {
			return k.rec, true
		}
	}
	return store.Record{}, false
}

// span returns the messages from offset at on, but not from offset to on, that
// lie in one chunk. The chunk is a copy; spans of one chunk that follow each other
// share it.
func (r *recordReader) span(st *store.Store, log uint64, at, to int64) (Span, error) {
	if log != r.log || at < r.rec.Base || at >= r.rec.End() {
		rec, ok := r.find(log, at)
		if !ok {
			var err error
			if rec, err = st.Read(log, at); err != nil {
				return Span{}, err
			}
		}
		r.log, r.rec = log, rec
		r.bytes += len(rec.Data)
		r.turnTo(rec.Base, rec.Data)
	}
	if at < r.base {
		r.turnTo(r.rec.Base, r.rec.Data)
	}
	for {
		h, err := chunk.ParseHeader(r.rest)
		if err != nil {
			return Span{}, err
		}
		if end := r.base + int64(h.Count); end > at {
			if r.chunk == nil {
				r.chunk = bytes.Clone(r.rest[:h.Size])
			}
			return Span{
				Base: at, Skip: int(at - r.base), Count: int(min(end, to) - at),
				StoredAt: r.rec.StoredAt, Header: h, Chunk: r.chunk,
			}, nil
		}
		r.turnTo(r.base+int64(h.Count), r.rest[h.Size:])
	}
}

func (r *recordReader) turnTo(base int64, rest []byte) { r.base, r.rest, r.chunk = base, rest, nil }

// cutSparse gives spans that are a small part of their chunk chunks of their own,
// so that nobody holds on to all of it.
func cutSparse(spans []Span) error {
	return cutWhere(spans, func(count, of int) bool { return count < of/8 })
}

// Cut gives all spans chunks of their own, with just their messages; spans that
// are whole chunks keep these.
func Cut(spans []Span) error {
	return cutWhere(spans, func(int, int) bool { return true })
}

// cutWhere cuts up the chunks of which the spans have so many messages of so
// many.
func cutWhere(spans []Span, cuts func(count, of int) bool) error {
	for len(spans) > 0 {
		s := &spans[0]
		n, count := 1, s.Count
		for n < len(spans) && &spans[n].Chunk[0] == &s.Chunk[0] && spans[n].Skip >= spans[n-1].Skip+spans[n-1].Count {
			count += spans[n].Count
			n++
		}
		if cuts(count, s.Header.Count) {
			if err := cut(spans[:n]); err != nil {
				return err
			}
		}
		spans = spans[n:]
	}
	return nil
}

// cut gives ascending spans of one chunk chunks of their own.
func cut(spans []Span) error {
	runs := make([]chunk.Run, len(spans))
	for i, s := range spans {
		runs[i] = chunk.Run{Skip: s.Skip, Count: s.Count}
	}
	return cutChunk(spans[0].Chunk, spans[0].Header, runs, func(i int, part []byte, h chunk.Header) {
		s := &spans[i]
		s.Chunk, s.Header, s.Skip = part, h, 0
	})
}

// cutChunk is chunk.CutAll with the numbers of the runs and the parts' headers.
func cutChunk(b []byte, h chunk.Header, runs []chunk.Run, yield func(i int, part []byte, h chunk.Header)) error {
	i := 0
	var bad error
	err := chunk.CutAll(b, h, runs, func(part []byte) {
		header, err := chunk.ParseHeader(part)
		bad = cmp.Or(bad, err)
		yield(i, part, header)
		i++
	})
	return cmp.Or(err, bad)
}
