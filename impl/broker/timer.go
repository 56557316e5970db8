package broker

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
)

// Messages that are due later lie in slots until then, in no queue. A slot is a
// log for what is due in a stretch of time. What is due soon lies in slots of a
// second, then come slots of a minute and of an hour; when a slot comes near, its
// messages move into finer ones. Only the seconds that are next are known to
// memory message by message.

// slotWidths are the stretches of the levels, in milliseconds. A slot opens, and
// gets nothing any more from elsewhere, one width before it begins.
var slotWidths = [...]int64{1000, 60_000, 3_600_000}

// slotID says which slot it is.
type slotID struct {
	level int
	start int64 // milliseconds since 1970 UTC, a multiple of the width
}

func (id slotID) width() int64 { return slotWidths[id.level] }

// opens is when the slot opens.
func (id slotID) opens() int64 { return id.start - id.width() }

// end is behind the last instant of the slot.
func (id slotID) end() int64 { return id.start + id.width() }

func (id slotID) key() string { return fmt.Sprintf("%s%d/%012x", keySlot, id.level, id.start) }

// slot is a stretch of time. timers.mu guards it, and only the committer changes
// what is durable.
type slot struct {
	slotID
	record slotRecord
	next   int64 // offset of the next entry

	nextCancel int64 // of the next entry of the other log

	// In memory, while the slot is read.
	watched   bool
	cancelled map[int64]ranges // message numbers, by the entry's offset
	open      bool             // of those that are exposed: read into due; of others: on the move
	due       dueList          // what is to be exposed; open slots
	sent      int              // of the first of due, those whose command is on its way
	commands  int              // on their way
	opening   bool             // somebody is about to open and to read it
	sorted    bool             // of a minute or an hour: exposed as one of a second is; see timer_overdue.go
	reader    *slotReader      // of an open slot that was read into due
}

// slotRecord is the stored form of a slot.
type slotRecord struct {
	_msgpack struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads it
	Log      uint64
	Cancels  uint64 // log of what was cancelled, 0 for none
	Begin    int64  // entries below it have moved
	// Due and Offset are of the last entry that was exposed.
	Due, Offset int64
	Entries     int64 // that have neither moved nor been exposed
	Bytes       int64 // of these
}

// passed reports whether an entry has left the slot.
func (s *slot) passed(due, offset int64) bool {
	return offset < s.record.Begin || due < s.record.Due || due == s.record.Due && offset <= s.record.Offset
}

// timers is all slots.
type timers struct {
	limit  int64 // of bytes; 0 for none
	opened int64 // when the broker was, in milliseconds since 1970 UTC

	mu      sync.Mutex
	slots   map[slotID]*slot
	byLog   map[uint64]*slot
	bytes   int64
	exposed int64            // what is due until then goes into its partition without a slot
	rescue  map[uint64]int64 // where retention wants logs to begin
	changed chan struct{}    // has room for one
	moves   chan struct{}    // has room for one
}

func newTimers(retain int64) *timers {
	return &timers{
		limit: retain / 2, opened: time.Now().UnixMilli(), slots: make(map[slotID]*slot), byLog: make(map[uint64]*slot),
		changed: make(chan struct{}, 1), moves: make(chan struct{}, 1),
	}
}

// signal wakes who waits on a channel with room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// place returns the slot for a due time, the coarsest that gets more.
func (t *timers) place(due, now int64) slotID {
	id := slotID{level: 0, start: due - due%slotWidths[0]}
	for level := 1; level < len(slotWidths); level++ {
		coarser := slotID{level, due - due%slotWidths[level]}
		if !t.takes(coarser, now) {
			break
		}
		id = coarser
	}
	return id
}

// takes reports whether a slot of a minute or an hour gets more: before it opens,
// and after its end what is overdue. Slots of a second always do.
func (t *timers) takes(id slotID, now int64) bool {
	s := t.slots[id]
	return (s == nil || !s.open) && (now < id.opens() || id.end() <= now)
}

// slot returns a slot, made when it is missing.
func (t *timers) slot(b *Broker, tx *transaction, id slotID) *slot {
	if s := t.slots[id]; s != nil {
		return s
	}
	s := &slot{slotID: id, record: slotRecord{Log: b.newLog(tx), Due: -1}}
	t.slots[id], t.byLog[s.record.Log] = s, s
	return s
}

// newLog makes a log.
func (b *Broker) newLog(tx *transaction) uint64 {
	b.ids.Log++
	b.ids.put(tx)
	tx.batch.CreateLog(b.ids.Log)
	return b.ids.Log
}

// drop forgets a slot that is empty and gets nothing any more.
func (t *timers) drop(tx *transaction, s *slot) {
	t.bytes -= s.record.Bytes
	tx.batch.RemoveLog(s.record.Log)
	if s.record.Cancels != 0 {
		tx.batch.RemoveLog(s.record.Cancels)
	}
	tx.batch.Delete(s.key())
	delete(tx.slots, s)
	delete(t.slots, s.slotID)
	delete(t.byLog, s.record.Log)
	tx.timed = true
}

func sequenceOf(key string) uint64 { return binary.BigEndian.Uint64([]byte(key[1+8:])) }

// An entry of a slot's log is a chunk whose messages are due together:
const (
	entryChunk  = 1         // its first byte
	entryHeader = 1 + 8 + 8 // this byte, the due time, the log of the target's partition
	entryCancel = 2         // the first byte of an entry of the other log
	cancelSize  = 1 + 8 + 4 // this byte, the entry's offset, the message's number
	indexDelay  = "d"       // + producer, sequence number of an entry's first message
	indexLength = 1 + 8 + 8 // of such a key
	slotBytes   = 100       // about what a slot's state takes
)

// entry is a decoded entry.
type entry struct {
	due    int64
	target uint64 // log
	header chunk.Header
	chunk  []byte
}

func (e *entry) size() int { return entryHeader + len(e.chunk) }

func (e *entry) encode() []byte { return e.append(make([]byte, 0, e.size())) }

func (e *entry) append(b []byte) []byte {
	b = append(b, entryChunk)
	b = binary.BigEndian.AppendUint64(b, uint64(e.due))
	b = binary.BigEndian.AppendUint64(b, e.target)
	return append(b, e.chunk...)
}

// parseEntry decodes the entry that b begins with. It shares b's memory.
func parseEntry(b []byte) (e entry, rest []byte, err error) {
	if len(b) < entryHeader || b[0] != entryChunk {
		return entry{}, nil, fmt.Errorf("%w: no entry of a slot", store.ErrCorrupt)
	}
	e.due, e.target = int64(binary.BigEndian.Uint64(b[1:])), binary.BigEndian.Uint64(b[9:])
	if e.header, err = chunk.ParseHeader(b[entryHeader:]); err != nil {
		return entry{}, nil, err
	}
	end := entryHeader + e.header.Size
	e.chunk = b[entryHeader:end:end]
	return e, b[end:], nil
}

func indexKeyOf(producer, sequence uint64) string {
	b := append(make([]byte, 0, indexLength), indexDelay...)
	b = binary.BigEndian.AppendUint64(b, producer)
	return string(binary.BigEndian.AppendUint64(b, sequence))
}

// delayRecord tells where the messages of an entry are, under the index key of
// its first.
type delayRecord struct {
	_msgpack  struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads it
	Slot      uint64   // log
	Offset    int64
	Due       int64
	Target    uint64
	Count     int
	Cancelled []int64 // see ranges.flat
}

// add stores an entry in a slot.
func (t *timers) add(b *Broker, tx *transaction, id slotID, e *entry) {
	s := t.slot(b, tx, id)
	offset := s.next
	s.next++
	tx.batch.Append(s.record.Log, offset, 1, e.encode())
	tx.batch.PutIndex(indexKeyOf(e.header.Producer, e.header.Sequence),
		encode(delayRecord{Slot: s.record.Log, Offset: offset, Due: e.due, Target: e.target, Count: e.header.Count}))
	t.count(tx, s, 1, int64(e.size()))
	if s.level == 0 && s.open {
		s.due.insert(newDueKey(e.due-s.start, offset))
	}
	tx.timed = true
}

// count keeps count of a slot's entries.
func (t *timers) count(tx *transaction, s *slot, entries, bytes int64) {
	s.record.Entries += entries
	s.record.Bytes += bytes
	t.bytes += bytes
	if !tx.slots[s] {
		tx.slots[s] = true
		tx.dirtySize += slotBytes
	}
}

// wake tells that slots have changed.
func (t *timers) wake() {
	signal(t.changed)
	signal(t.moves)
}

// loadSlot takes up a slot from the store.
func loadSlot(b *Broker, key string, value []byte) error {
	s := &slot{}
	rest := strings.TrimPrefix(key, keySlot)
	if _, err := fmt.Sscanf(rest, "%d/%012x", &s.level, &s.start); err != nil || s.level < 0 || s.level >= len(slotWidths) || s.start%s.width() != 0 {
		return damaged(key, fmt.Errorf("no slot is named so"))
	}
	if err := decode(key, value, &s.record); err != nil {
		return err
	}
	begin, next, ok, err := b.store.Bounds(s.record.Log)
	if err != nil {
		return err
	}
	if !ok || s.record.Begin > next {
		return damaged(key, fmt.Errorf("the slot begins at %d, its log reaches from %d to %d", s.record.Begin, begin, next))
	}
	s.next = next
	if s.record.Cancels != 0 {
		if _, s.nextCancel, ok, err = b.store.Bounds(s.record.Cancels); err != nil || !ok {
			return cmp.Or(err, damaged(key, fmt.Errorf("the log of what was cancelled is missing")))
		}
	}
	t := b.timers
	t.slots[s.slotID], t.byLog[s.record.Log] = s, s
	t.bytes += s.record.Bytes
	t.exposed = max(t.exposed, s.record.Due)
	return nil
}
