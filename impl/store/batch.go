package store

import (
	"strings"

	"github.com/tidwall/btree"
)

// MaxInline bounds [Batch.Inline], and MaxEntries the values of a batch: they
// follow from the size of Badger's transactions. A commit that is over them
// fails.
const (
	MaxInline  = 2 << 20
	MaxEntries = 20_000
)

// Batch gathers what one commit writes. It keeps the slices it is given until
// [Store.Commit] returns. It must not be used by two goroutines at once.
type Batch struct {
	// StoredAt is the commit's time, in milliseconds since 1970 UTC. It must
	// not run backwards from one commit to the next.
	StoredAt int64

	appends []*logAppend
	byLog   map[uint64]*logAppend
	state   map[string][]byte
	index   btree.Map[string, []byte]
	created []uint64
	removed []uint64
	bytes   int
	inline  int
}

// logAppend is what a batch appends to one log.
type logAppend struct {
	log    uint64
	base   int64
	pieces []piece
	bytes  int
}

type piece struct {
	count int
	data  []byte
}

// CreateLog makes an empty log. Numbers of logs are never used twice.
func (b *Batch) CreateLog(log uint64) {
	b.created = append(b.created, log)
	b.inline += entryOverhead
}

// RemoveLog removes a log. Its space comes back with its buckets.
func (b *Batch) RemoveLog(log uint64) {
	b.removed = append(b.removed, log)
	b.inline += entryOverhead
}

// Append adds data that holds count entries to a log, at most MaxData bytes;
// base is the offset of its first entry and must be the log's next one.
func (b *Batch) Append(log uint64, base int64, count int, data []byte) {
	a := b.byLog[log]
	if a == nil {
		a = &logAppend{log: log, base: base}
		if b.byLog == nil {
			b.byLog = make(map[uint64]*logAppend)
		}
		b.byLog[log] = a
		b.appends = append(b.appends, a)
	}
	if len(a.pieces) == 0 {
		b.inline += entryOverhead
	}
	b.inline += min(len(data), max(0, valueThreshold-a.bytes))
	a.pieces = append(a.pieces, piece{count, data})
	a.bytes += len(data)
	b.bytes += len(data)
}

// entryOverhead is about what an entry takes beside its value.
const entryOverhead = 64

// Put sets a state value.
func (b *Batch) Put(key string, value []byte) {
	if b.state == nil {
		b.state = make(map[string][]byte)
	}
	if value == nil {
		value = []byte{}
	}
	b.state[key] = value
	b.bytes += len(key) + len(value)
	b.inline += len(key) + min(len(value), valueThreshold) + entryOverhead
}

// Delete deletes a state value.
func (b *Batch) Delete(key string) {
	b.Put(key, nil)
	b.state[key] = nil
}

// PutIndex sets an index value; see [Store.Floor]. Other than state it is not
// copied into the next bucket: it goes with its own.
func (b *Batch) PutIndex(key string, value []byte) {
	b.index.Set(key, value)
	b.bytes += len(key) + len(value)
	b.inline += len(key) + min(len(value), valueThreshold) + entryOverhead
}

// Floor is [Store.Floor] for what the batch sets.
func (b *Batch) Floor(prefix, key string) (found string, value []byte, ok bool) {
	b.index.Descend(key, func(k string, v []byte) bool {
		if ok = strings.HasPrefix(k, prefix); ok {
			found, value = k, v
		}
		return false
	})
	return found, value, ok
}

// Bytes returns about how many bytes the batch writes.
func (b *Batch) Bytes() int { return b.bytes }

// Inline returns about how many bytes of the batch go into Badger's tree: values
// below 8 KiB, and what comes with each entry.
func (b *Batch) Inline() int { return b.inline }

// Empty reports whether the batch writes nothing.
func (b *Batch) Empty() bool {
	return len(b.appends)+len(b.state)+b.index.Len()+len(b.created)+len(b.removed) == 0
}

// Reset empties the batch for another use.
func (b *Batch) Reset() {
	clear(b.byLog)
	clear(b.state)
	*b = Batch{appends: b.appends[:0], byLog: b.byLog, state: b.state, created: b.created[:0], removed: b.removed[:0]}
}
