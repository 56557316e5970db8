package broker

import (
	"slices"
	"sort"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// readerBytes bounds what a reader of a slot has in memory.
const readerBytes = 16 << 20

// slotReader reads entries of a slot by offset. It keeps the slot's records as long
// as all fit into memory. When they do not, what is due next is read ahead.
type slotReader struct {
	log   uint64
	last  entries
	kept  []entries // ascending
	bytes int       // of these
	full  bool      // nothing is kept
	next  dueNext
}

// entries is a record of a slot.
type entries struct {
	store.Record
	starts []int // of its entries, in its data
}

// entry returns the entry at an offset.
func (r *slotReader) entry(st *store.Store, offset int64) (entry, error) {
	if offset < r.last.Base || offset >= r.last.End() {
		var err error
		if r.last, err = r.find(st, offset); err != nil {
			r.last = entries{}
			return entry{}, err
		}
	}
	e, _, err := parseEntry(r.last.Data[r.last.starts[offset-r.last.Base]:])
	return e, err
}

// find returns the record that holds an offset.
func (r *slotReader) find(st *store.Store, offset int64) (entries, error) {
	i := sort.Search(len(r.kept), func(i int) bool { return r.kept[i].End() > offset })
	if i < len(r.kept) && r.kept[i].Base <= offset {
		return r.kept[i], nil
	}
	rec, err := st.Read(r.log, offset)
	if err != nil {
		return entries{}, err
	}
	found := entries{rec, make([]int, rec.Count)}
	rest := rec.Data
	for n := range found.starts {
		found.starts[n] = len(rec.Data) - len(rest)
		if _, rest, err = parseEntry(rest); err != nil {
			return entries{}, err
		}
	}
	if r.bytes += len(rec.Data) + 8*rec.Count; r.bytes > readerBytes {
		r.full, r.kept = true, nil
	}
	if !r.full {
		r.kept = slices.Insert(r.kept, i, found)
	}
	return found, nil
}

// dueNext is what is due next of a slot that does not fit into memory.
type dueNext struct {
	offsets []int64 // ascending
	starts  []int   // in data
	data    []byte
	last    dueKey // what is due behind it was not read
}

// dueEntry returns the entry of a key of a slot's due.
func (b *Broker) dueEntry(s *slot, k dueKey) (entry, error) {
	r := s.reader
	if r.full && k > r.next.last {
		if err := b.readNext(s); err != nil {
			return entry{}, err
		}
	}
	if i, ok := slices.BinarySearch(r.next.offsets, k.offset()); ok {
		e, _, err := parseEntry(r.next.data[r.next.starts[i]:])
		return e, err
	}
	return r.entry(b.store, k.offset())
}

// readNext reads what is to be exposed next, in the order in which it is stored.
func (b *Broker) readNext(s *slot) error {
	const each = 8 + 8 // an offset, a start
	t, r := b.timers, s.reader
	t.mu.Lock()
	size := s.record.Bytes/max(1, s.record.Entries) + each
	keys := s.due.some(s.sent, 1+moveEntries+int(readerBytes/size), anyDue)
	t.mu.Unlock()
	next := dueNext{offsets: make([]int64, len(keys)), last: keys[len(keys)-1]}
	for i, k := range keys {
		next.offsets[i] = k.offset()
	}
	slices.Sort(next.offsets)
	next.data = make([]byte, 0, min(readerBytes, len(keys)*int(size)))
	r.next = dueNext{}
	for i, offset := range next.offsets {
		e, err := r.entry(b.store, offset)
		if err != nil {
			return err
		}
		if len(next.data)+e.size() > readerBytes { // those that come first are small
			next.offsets = next.offsets[:i]
			break
		}
		next.starts = append(next.starts, len(next.data))
		next.data = e.append(next.data)
	}
	r.next = next
	return nil
}
