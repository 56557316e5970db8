package broker

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// A half message is one whose transaction is open: it lies in a log of its own,
// in no queue, until the transaction is committed. Then it gets its place in the
// partition, so that nobody waits for it before. What became of a transaction
// that has ended stays as an index value.

// Defaults and limits of transaction checks.
const (
	DefaultCheckAfter = 6 * time.Second
	DefaultCheckEvery = 30 * time.Second
	DefaultChecks     = 15
	MaxChecks         = 1000               // CodeBadParameter
	MaxCheckTime      = 7 * 24 * time.Hour // of after and every; CodeBadParameter
	MinCheckTime      = 100 * time.Millisecond
	// MaxOpenTransaction is for how long a transaction stays open of which
	// nobody can be asked. Then it is parked.
	MaxOpenTransaction = 72 * time.Hour
)

// halfID is producer and sequence number of a half message, which are its
// transaction's id, too.
type halfID struct{ producer, sequence uint64 }

func (id halfID) text() string { return string(chunk.AppendID(nil, id.producer, id.sequence)) }

func (id halfID) bytes(prefix string) string {
	b := append(make([]byte, 0, len(prefix)+16), prefix...)
	return string(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, id.producer), id.sequence))
}

// tombKey is of the index value that tells how a transaction has ended.
func (id halfID) tombKey() string { return id.bytes("x") }

// half is an open or parked transaction. Only the committer changes the record.
type half struct {
	id     halfID
	record halfRecord

	chunk []byte    // of one that is new, as long as there is room
	wake  int64     // when something is to be done, milliseconds since 1970 UTC; in memory
	in    *halfHeap // where it waits for that; nil for a parked one
	index int       // there
}

// halfRecord is the stored form of an open transaction.
type halfRecord struct {
	_msgpack struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads it
	Offset   int64    // of the chunk in the log of half messages
	Size     int      // of the chunk
	Target   uint64   // log of the partition
	Group    string   // of producers
	Prepared int64    // milliseconds since 1970 UTC
	Next     int64    // when somebody is asked next, likewise
	Every    int64    // milliseconds
	Checks   int      // left
	Asked    int
	Parked   bool // after the last check: rolled back for producers, kept for people
}

func (id halfID) key() string { return keyHalf + id.text() }

func parseHalfID(op, text string) (halfID, error) {
	p, s, err := chunk.ParseID(text)
	if err != nil {
		return halfID{}, noTransaction(op, text)
	}
	return halfID{p, s}, nil
}

func noTransaction(op, id string) error {
	return om.NewError(om.CodeTransactionNotExists, op, id, "this group of producers has no open transaction with that id; perhaps retention has dropped what became of it")
}

// halves is all transactions that have not ended.
type halves struct {
	limit int64 // of bytes; 0 for none

	mu       sync.Mutex
	log      uint64 // 0 before the first
	next     int64  // offset of the log's next chunk
	open     map[halfID]*half
	targets  map[uint64]int64 // how many are open, by the log of their partition
	due      halfHeap
	parked   int
	bytes    int64
	kept     int                  // bytes of chunks in memory
	checkers map[string]*checkers // by the group of producers
	rescue   int64                // where retention wants the log to begin
	changed  chan struct{}        // has room for one
}

func newHalves(retain int64) *halves {
	return &halves{
		limit: retain / 4, open: make(map[halfID]*half), targets: make(map[uint64]int64), checkers: make(map[string]*checkers), changed: make(chan struct{}, 1),
	}
}

// insert makes a transaction known; mu is held.
func (h *halves) insert(x *half) {
	h.open[x.id] = x
	h.targets[x.record.Target]++
	h.bytes += int64(x.record.Size)
	if x.record.Parked {
		h.parked++
	} else {
		h.at(x, x.record.Next)
	}
}

// remove forgets a transaction; mu is held.
func (h *halves) remove(x *half) {
	delete(h.open, x.id)
	if h.targets[x.record.Target]--; h.targets[x.record.Target] == 0 {
		delete(h.targets, x.record.Target)
	}
	h.bytes -= int64(x.record.Size)
	h.unkeep(x)
	if x.record.Parked {
		h.parked--
	}
	h.move(x, nil)
}

// keptBytes bounds the chunks in memory. Most transactions end soon, and are then
// not read again.
const keptBytes = 16 << 20

// keep keeps a chunk in memory while there is room; mu is held.
func (h *halves) keep(x *half, data []byte) {
	if h.kept+len(data) <= keptBytes {
		x.chunk = bytes.Clone(data)
		h.kept += len(data)
	}
}

func (h *halves) unkeep(x *half) {
	h.kept -= len(x.chunk)
	x.chunk = nil
}

// at sets when something is to be done about a transaction; mu is held.
func (h *halves) at(x *half, wake int64) {
	h.move(x, nil)
	x.wake = wake
	h.move(x, &h.due)
}

// move has a transaction wait elsewhere, or nowhere; mu is held.
func (h *halves) move(x *half, to *halfHeap) {
	if x.in != nil {
		heap.Remove(x.in, x.index)
	}
	if x.in = to; to != nil {
		heap.Push(to, x)
	}
}

// get returns a transaction as it is now; ok is false when it is not open.
func (h *halves) get(id halfID) (x half, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.open[id]
	if p == nil {
		return half{}, false
	}
	return *p, true
}

// clear reports whether retention may drop what is below starts; otherwise it
// has what is still needed moved first.
func (h *halves) clear(starts map[uint64]int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rescue = 0
	for _, x := range h.open {
		if x.record.Offset < starts[h.log] {
			h.rescue = starts[h.log]
			signal(h.changed)
			return false
		}
	}
	return true
}

// halfChunk reads the chunk of a half message. A reader that has read a neighbour
// has it already.
func (b *Broker) halfChunk(x *half, reader *recordReader) ([]byte, error) {
	if x.chunk != nil {
		return x.chunk, nil
	}
	b.halves.mu.Lock()
	log := b.halves.log
	b.halves.mu.Unlock()
	s, err := reader.span(b.store, log, x.record.Offset, x.record.Offset+1)
	return s.Chunk, err
}

// halfHeap orders transactions by when something is to be done about them.
type halfHeap []*half

func (h halfHeap) Len() int           { return len(h) }
func (h halfHeap) Less(i, j int) bool { return h[i].wake < h[j].wake }
func (h halfHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is part of heap.Interface.
func (h *halfHeap) Push(x any) {
	v := x.(*half)
	v.index = len(*h)
	*h = append(*h, v)
}

// Pop is part of heap.Interface.
func (h *halfHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}

// loadHalfLog takes up the log of half messages; loadHalf an open transaction.
func loadHalfLog(b *Broker, key string, value []byte) error {
	h := b.halves
	if err := decode(key, value, &h.log); err != nil {
		return err
	}
	_, next, ok, err := b.store.Bounds(h.log)
	if err == nil && !ok {
		err = damaged(key, errors.New("the log of half messages is missing"))
	}
	h.next = next
	return err
}

func loadHalf(b *Broker, key string, value []byte) error {
	id, err := parseHalfID("open", strings.TrimPrefix(key, keyHalf))
	if err != nil {
		return damaged(key, errors.New("no transaction is named so"))
	}
	x := &half{id: id}
	if err := decode(key, value, &x.record); err != nil {
		return err
	}
	begin, next, _, err := b.store.Bounds(b.halves.log)
	if err == nil && (x.record.Offset < begin && !x.record.Parked || x.record.Offset >= next) {
		err = damaged(key, fmt.Errorf("its message is at %d, the log reaches from %d to %d", x.record.Offset, begin, next))
	}
	b.halves.insert(x)
	return err
}
