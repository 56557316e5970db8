package broker

import (
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
}

// keptRecord is a record that was read on another occasion.
type keptRecord struct {
	log uint64
	rec store.Record
}

// keep hands over a record that span may need.
func (r *recordReader) keep(log uint64, rec store.Record) {
	r.kept = append(r.kept, keptRecord{log, rec})
	r.bytes += len(rec.Data)
}

// span returns the messages from offset at on, but not from offset to on, that
// lie in one chunk.
func (r *recordReader) span(st *store.Store, log uint64, at, to int64) (Span, error) {
	if log != r.log || at < r.rec.Base || at >= r.rec.End() {
		rec, err := r.read(st, log, at)
		if err != nil {
			return Span{}, err
		}
		r.log, r.rec = log, rec
		r.bytes += len(rec.Data)
		r.base, r.rest = rec.Base, rec.Data
	}
	if at < r.base {
		r.base, r.rest = r.rec.Base, r.rec.Data
	}
	for {
		h, err := chunk.ParseHeader(r.rest)
		if err != nil {
			return Span{}, err
		}
		if end := r.base + int64(h.Count); end > at {
			return Span{
				Base: at, Skip: int(at - r.base), Count: int(min(end, to) - at),
				StoredAt: r.rec.StoredAt, Header: h, Chunk: r.rest[:h.Size:h.Size],
			}, nil
		}
		r.base, r.rest = r.base+int64(h.Count), r.rest[h.Size:]
	}
}

func (r *recordReader) read(st *store.Store, log uint64, at int64) (store.Record, error) {
	for _, k := range r.kept {
		if k.log == log && k.rec.Base <= at && at < k.rec.End() {
			return k.rec, nil
		}
	}
	return st.Read(log, at)
}

// cutSparse gives spans that are a small part of their chunk, or one of several
// parts, chunks of their own, so that nobody goes through the same chunk many
// times or holds on to all of it.
func cutSparse(spans []Span) error {
	for len(spans) > 0 {
		s := &spans[0]
		n, count := 1, s.Count
		for n < len(spans) && &spans[n].Chunk[0] == &s.Chunk[0] && spans[n].Skip >= spans[n-1].Skip+spans[n-1].Count {
			count += spans[n].Count
			n++
		}
		if n > 1 || count < s.Header.Count/2 {
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
