package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/filter"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Limits of deduplication.
const (
	MinDeduplication = time.Second        // window; CodeBadParameter
	MaxDeduplication = 7 * 24 * time.Hour // window; CodeBadParameter
	// MaxDeduplicated is how many ids a queue remembers at least; when there are
	// twice as many in a window, the oldest are forgotten.
	MaxDeduplicated = 1 << 24
)

// once is what a queue that deduplicates knows of the last ids. Ids lie in two
// generations: when the newer one is as old as the window, the other one goes,
// so that nothing is taken out id by id. Only the committer touches it.
type once struct {
	window int64 // milliseconds
	log    uint64
	next   int64 // offset of the log's next entry

	newer, older idGeneration
	fetched      byte // of approach
}

type idGeneration struct {
	places *idTable
	runs   []idRun
}

// idPlace is a message of a run.
type idPlace struct{ run, number uint32 }

// idRun is messages that one call has stored one after the other.
type idRun struct {
	producer, sequence uint64
	partition          int32
	base               int64 // offset, -1 for delayed messages
	stored             int64 // milliseconds since 1970 UTC
}

func (r *idRun) offset(number uint32) int64 {
	if r.base < 0 {
		return -1
	}
	return r.base + int64(number)
}

// checkDeduplication checks a setting and fills its default.
func checkDeduplication(op, queue string, d *om.Deduplication) error {
	switch {
	case *d == (om.Deduplication{}):
		return nil
	case d.Window < MinDeduplication || d.Window > MaxDeduplication:
		return om.NewError(om.CodeBadParameter, op, queue, "the window %v of deduplication is not in %v to %v", d.Window, MinDeduplication, MaxDeduplication)
	case len(d.By) > MaxNameLength:
		return om.NewError(om.CodeBadParameter, op, queue, "the property to deduplicate by has a name of %d bytes, %d are the most", len(d.By), MaxNameLength)
	case d.By == "":
		d.By = om.PropertyDeduplicationID
	}
	return nil
}

// newOnce returns what a queue without messages knows.
func newOnce(d deduplicationRecord) *once {
	o := &once{window: d.Window, log: d.Log}
	o.newer.places, o.older.places = new(idTable), new(idTable)
	return o
}

// turn forgets what is too old.
func (o *once) turn(now int64) {
	full := o.newer.places.count >= MaxDeduplicated
	if len(o.newer.runs) > 0 && (full || now-o.newer.runs[0].stored >= o.window) {
		o.older, o.newer = o.newer, idGeneration{places: new(idTable)}
	}
}

// find returns where the message with an id was stored within the window.
func (o *once) find(id digest, now int64) (r *idRun, number uint32, found bool) {
	for _, g := range [...]*idGeneration{&o.newer, &o.older} {
		if p, ok := g.places.get(id); ok {
			r := &g.runs[p.run]
			return r, p.number, now-r.stored < o.window
		}
	}
	return nil, 0, false
}

// begin begins a run; add adds ids to it.
func (o *once) begin(r idRun) { o.newer.runs = append(o.newer.runs, r) }

func (o *once) add(id digest, number int) {
	if id != (digest{}) {
		o.newer.places.put(id, idPlace{uint32(len(o.newer.runs) - 1), uint32(number)})
	}
}

// An entry of the log of ids is a run, with the id of each message, which is
// zero for those without one.
const (
	entryIDs       = 3 // its first byte
	entryIDsHeader = 1 + 8 + 8 + 4 + 8 + 4
)

func (r *idRun) encode(ids []digest) []byte {
	b := make([]byte, 0, entryIDsHeader+len(ids)*len(digest{}))
	b = append(b, entryIDs)
	b = binary.BigEndian.AppendUint64(b, r.producer)
	b = binary.BigEndian.AppendUint64(b, r.sequence)
	b = binary.BigEndian.AppendUint32(b, uint32(r.partition))
	b = binary.BigEndian.AppendUint64(b, uint64(r.base))
	b = binary.BigEndian.AppendUint32(b, uint32(len(ids)))
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}

// parseIDs decodes the entry that b begins with; ids is len(digest{}) bytes each.
func parseIDs(b []byte) (r idRun, ids, rest []byte, err error) {
	if len(b) < entryIDsHeader || b[0] != entryIDs {
		return r, nil, nil, fmt.Errorf("%w: no entry of a log of ids", store.ErrCorrupt)
	}
	size := uint64(binary.BigEndian.Uint32(b[29:])) * uint64(len(digest{}))
	if uint64(len(b)-entryIDsHeader) < size {
		return r, nil, nil, fmt.Errorf("%w: an entry of a log of ids is cut off", store.ErrCorrupt)
	}
	r = idRun{
		producer: binary.BigEndian.Uint64(b[1:]), sequence: binary.BigEndian.Uint64(b[9:]),
		partition: int32(binary.BigEndian.Uint32(b[17:])), base: int64(binary.BigEndian.Uint64(b[21:])),
	}
	b = b[entryIDsHeader:]
	return r, b[:size], b[size:], nil
}

// read makes what the queue knew from its log of ids.
func (o *once) read(s *store.Store, now int64) error {
	begin, next, ok, err := s.Bounds(o.log)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("%w: the log %d of ids is missing", store.ErrCorrupt, o.log))
	}
	o.next = next
	at, err := s.FindTime(o.log, time.UnixMilli(now-o.window))
	if err != nil {
		return err
	}
	for at = max(at, begin); at < next; {
		rec, err := s.Read(o.log, at)
		if errors.Is(err, store.ErrDropped) {
			if at, _, _, err = s.Bounds(o.log); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		for data := rec.Data; len(data) > 0; {
			var r idRun
			var ids []byte
			if r, ids, data, err = parseIDs(data); err != nil {
				return err
			}
			r.stored = rec.StoredAt
			o.turn(r.stored)
			o.begin(r)
			for n := 0; len(ids) > 0; n++ {
				o.add(digest(ids[:len(digest{})]), n)
				ids = ids[len(digest{}):]
			}
		}
		at = rec.End()
	}
	return nil
}

// recallOnce has a queue remember its ids, once in the life of the broker. What
// is published afterwards is applied afterwards.
func (b *Broker) recallOnce(q *Queue) error {
	return q.onceRecalled.do(func() error {
		o := newOnce(*q.record.Deduplication)
		if err := o.read(b.store, time.Now().UnixMilli()); err != nil {
			return storeError(err, "send", q.name)
		}
		b.commits.enqueue(&pending{cmd: &setOnce{q, o}})
		return nil
	})
}

// setOnce lets a queue know its ids.
type setOnce struct {
	queue *Queue
	once  *once
}

func (c *setOnce) apply(*Broker, *transaction) error {
	c.queue.once = c.once
	return nil
}

// digests returns the ids of a chunk's messages, zero for those without one, and
// whether all have one; nil for a queue that does not deduplicate.
func (q *Queue) digests(b []byte, h chunk.Header) (ids []digest, all bool, err error) {
	if q.record.Deduplication == nil {
		return nil, false, nil
	}
	by := q.record.Deduplication.By
	ids, all = make([]digest, h.Count), true
	var v chunk.View
	w := chunk.Walk(b, h, 0)
	for i := 0; w.Next(&v); i++ {
		text, ok := v.MessageKey, v.MessageKey != ""
		if by != om.DeduplicateByKey {
			text, ok = filter.Text(&v, by)
		}
		if !ok {
			all = false
			continue
		}
		sum := sha256.Sum256([]byte(text))
		copy(ids[i][:], sum[:])
	}
	if err := w.Err(); err != nil {
		return nil, false, om.NewError(om.CodeMalformedMessage, "send", q.name, "%w", err)
	}
	return ids, all, nil
}

// Known is a message that was not stored, because one with the same id was.
type Known struct {
	Number int // in the chunk
	// Resent says that it is the same message, which was sent before. Otherwise
	// another one has its id, and the rest is about that one.
	Resent             bool
	Producer, Sequence uint64 // make its message id
	Partition          int32
	Offset             int64 // -1 for a delayed message
}

// storeOnce stores the messages whose ids the queue does not know.
func (c *publish) storeOnce(b *Broker, tx *transaction, p *partition) {
	o := c.queue.once
	o.turn(tx.now)
	o.fetched = o.newer.places.approach(c.ids) | o.older.places.approach(c.ids)
	var runs []chunk.Run
	at := p.next
	begin := func(i int) {
		r := idRun{c.producer, c.sequence + uint64(i), int32(c.partition), at, tx.now}
		if c.parts != nil {
			r.base = -1
		}
		o.begin(r)
		runs = append(runs, chunk.Run{Skip: i})
	}
	for i, id := range c.ids {
		if id != (digest{}) {
			if r, n, found := o.find(id, tx.now); found {
				k := Known{Number: i, Producer: r.producer, Sequence: r.sequence + uint64(n), Partition: r.partition, Offset: r.offset(n)}
				k.Resent = k.Producer == c.producer && k.Sequence == c.sequence+uint64(i)
				c.known = append(c.known, k)
				continue
			}
		}
		if len(runs) == 0 || runs[len(runs)-1].Skip+runs[len(runs)-1].Count != i {
			begin(i)
		}
		last := &runs[len(runs)-1]
		o.add(id, i-last.Skip)
		last.Count++
		at++
	}
	if len(runs) == 0 {
		c.base = -1
	}
	c.storeRuns(b, tx, p, runs)
	stored := o.newer.runs[len(o.newer.runs)-len(runs):]
	for i, r := range runs {
		tx.batch.Append(o.log, o.next, 1, stored[i].encode(c.ids[r.Skip:r.Skip+r.Count]))
		o.next++
	}
}

// storeRuns stores parts of the chunk.
func (c *publish) storeRuns(b *Broker, tx *transaction, p *partition, runs []chunk.Run) {
	if len(c.known) == 0 {
		c.storeChunk(b, tx, p)
		return
	}
	h, err := chunk.ParseHeader(c.chunk)
	if err == nil && len(runs) > 0 {
		err = cutChunk(c.chunk, h, runs, func(_ int, part []byte, h chunk.Header) {
			piece := publish{queue: c.queue, partition: c.partition, chunk: part, count: h.Count}
			if c.parts != nil {
				var bad error
				if piece.parts, bad = divideDelayed(c.queue.name, part, h); bad != nil {
					panic(fmt.Sprintf("bug: a chunk that was divided before: %v", bad))
				}
			}
			piece.storeChunk(b, tx, p)
		})
	}
	if err != nil {
		panic(fmt.Sprintf("bug: a chunk that was read before cannot be cut: %v", err))
	}
}

// tellKnown says of a chunk that was stored before, at base, where its messages
// are. The queue does not know all of its ids.
func (c *publish) tellKnown(now int64) {
	at := c.base
	for i, id := range c.ids {
		k := Known{Number: i, Resent: true, Producer: c.producer, Sequence: c.sequence + uint64(i), Partition: int32(c.partition), Offset: at}
		if id != (digest{}) {
			if r, n, found := c.queue.once.find(id, now); found && (r.producer != c.producer || r.sequence+uint64(n) != k.Sequence) {
				k = Known{Number: i, Producer: r.producer, Sequence: r.sequence + uint64(n), Partition: r.partition, Offset: r.offset(n)}
			}
		}
		if k.Resent && at >= 0 {
			at++
		}
		c.known = append(c.known, k)
	}
	c.base = -1
}
