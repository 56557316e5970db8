package broker

import (
	"container/list"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// A chunk that is sent again after a lost answer must not be stored twice. Its
// header has what is needed to know it again: producer and sequence number. So
// the broker remembers, for each producer and log, its last chunks and where
// they lie. Nothing is written for it: after a start the memory is made again
// from the end of the log, when the first such chunk comes.

// Limits of what is remembered of chunks that may be sent again.
const (
	// MaxRecent is how many chunks of one producer are remembered in a
	// partition: so many may be unanswered at a time.
	MaxRecent = 64
	// RecentAge is for how long they are remembered, by the stored times.
	RecentAge = 10 * time.Minute

	maxHistories = 1 << 15 // producers times logs; the least recent one is forgotten
	recallBytes  = 32 << 20
)

// recent is what the committer remembers. Only the committer touches it.
type recent struct {
	histories map[producerLog]*list.Element
	order     list.List // of *history; the most recent first
}

type producerLog struct{ producer, log uint64 }

// history is the last chunks of a producer in a log, in the order in which they
// were stored.
type history struct {
	of     producerLog
	chunks []recentChunk
	stored int64 // when the last was stored, ms since 1970 UTC
}

type recentChunk struct {
	sequence uint64
	base     int64
	count    int
}

// find returns the base offset of a chunk that was stored before. A chunk that
// cannot be told from an older one is refused.
func (r *recent) find(c *publish, log uint64) (base int64, found bool, err error) {
	e := r.histories[producerLog{c.producer, log}]
	if e == nil {
		return 0, false, nil
	}
	h := e.Value.(*history)
	older := len(h.chunks) == MaxRecent
	for i := len(h.chunks) - 1; i >= 0; i-- {
		k := &h.chunks[i]
		switch {
		case k.sequence == c.sequence && k.count == c.count:
			return k.base, true, nil
		case c.sequence < k.sequence+uint64(k.count) && k.sequence < c.sequence+uint64(c.count):
			return 0, false, om.NewError(om.CodeBadRequest, "send", c.queue.name,
				"messages %d to %d of the producer were sent before in another chunk", c.sequence, c.sequence+uint64(c.count)-1)
		}
		older = older && c.sequence < k.sequence
	}
	if older {
		return 0, false, om.NewError(om.CodeBadRequest, "send", c.queue.name,
			"the chunk is older than the last %d of its producer, so nobody knows whether it is stored; keep at most %[1]d chunks unanswered", MaxRecent)
	}
	return 0, false, nil
}

// add remembers a chunk, and forgets what is too old or too much.
func (r *recent) add(of producerLog, c recentChunk, stored int64) {
	if r.histories == nil {
		r.histories = make(map[producerLog]*list.Element)
	}
	e := r.histories[of]
	if e == nil {
		e = r.order.PushFront(&history{of: of})
		r.histories[of] = e
	}
	r.order.MoveToFront(e)
	h := e.Value.(*history)
	if len(h.chunks) == MaxRecent {
		h.chunks = h.chunks[:copy(h.chunks, h.chunks[1:])]
	}
	h.chunks = append(h.chunks, c)
	h.stored = max(h.stored, stored)
	for last := r.order.Back(); len(r.histories) > maxHistories || last.Value.(*history).stored < stored-RecentAge.Milliseconds(); last = r.order.Back() {
		delete(r.histories, last.Value.(*history).of)
		r.order.Remove(last)
	}
}

// recalled tells whether what a log holds is remembered.
type recalled struct {
	done atomic.Bool
	mu   sync.Mutex
}

// do calls f unless a call of it has succeeded.
func (r *recalled) do(f func() error) error {
	if r.done.Load() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done.Load() {
		return nil
	}
	err := f()
	r.done.Store(err == nil)
	return err
}

// recall has the chunks at the end of a partition's log remembered, once in the
// life of the broker. What is published afterwards is applied afterwards.
func (b *Broker) recall(q *Queue, p *partition) error {
	return p.recalled.do(func() error {
		chunks, err := b.tail(q, p)
		if err != nil {
			return storeError(err, "send", q.name)
		}
		if len(chunks) > 0 {
			b.commits.enqueue(&pending{cmd: &recallChunks{p.log, chunks}})
		}
		return nil
	})
}

// storedChunk is a chunk as it lies in a log.
type storedChunk struct {
	header chunk.Header
	base   int64
	stored int64
}

// tail returns the chunks at the end of a log, the newest first.
func (b *Broker) tail(q *Queue, p *partition) (chunks []storedChunk, err error) {
	q.mu.Lock()
	begin, end := p.begin, p.stored
	q.mu.Unlock()
	oldest := time.Now().Add(-RecentAge).UnixMilli()
	for bytes := 0; end > begin && bytes < recallBytes; {
		var r recordReader
		rec, err := r.record(b.store, p.log, end-1)
		if err != nil {
			return nil, err
		}
		if rec.StoredAt < oldest {
			break
		}
		bytes += len(rec.Data)
		first := len(chunks)
		for at := rec.Base; at < rec.End(); {
			s, err := r.span(b.store, p.log, at, rec.End())
			if err != nil {
				return nil, err
			}
			if s.Header.Flags&chunk.Redriven == 0 {
				chunks = append(chunks, storedChunk{s.Header, s.Base, rec.StoredAt})
			}
			at += int64(s.Count)
		}
		slices.Reverse(chunks[first:])
		end = rec.Base
	}
	return chunks, nil
}

// recallChunks makes the memory of a log anew.
type recallChunks struct {
	log    uint64
	chunks []storedChunk // the newest first
}

func (c *recallChunks) apply(b *Broker, _ *transaction) error {
	for i := len(c.chunks) - 1; i >= 0; i-- {
		k := &c.chunks[i]
		b.recent.add(producerLog{k.header.Producer, c.log}, recentChunk{k.header.Sequence, k.base, k.header.Count}, k.stored)
	}
	return nil
}
