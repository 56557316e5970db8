package broker

import (
	"math/bits"
	"math/rand/v2"
)

// keyOrder has a group get the messages of one key one at a time, in the order
// of their offsets: the next one is ready when the one before is settled. Other
// messages do not wait for them. Keys are told apart by their hashes: two keys
// with one hash wait for each other, which harms nobody.
type keyOrder struct {
	lines  keyTable
	heads  keyHeads
	behind int64     // messages that wait for an earlier one of their key
	spare  []keyLine // for the next lines
}

// keyLine is the unsettled messages of a key.
type keyLine struct {
	head keyed   // is ready or in somebody's hands
	rest []int64 // ascending
}

// keyed is a message with a key.
type keyed struct {
	offset int64
	key    uint64 // hash
}

// keyHeads finds lines by the offsets of their heads, which mostly lie close
// together: it has pages of them.
type keyHeads struct {
	pages  map[int64]*keyPage
	latest *keyPage // was added to last
}

// keyPage is the lines whose heads have the same offset but for the last bits.
type keyPage struct {
	number int64
	lines  [1 << keyPageBits]*keyLine
	count  int
}

const keyPageBits = 6

func (p *keyPage) line(offset int64) **keyLine { return &p.lines[offset%int64(len(p.lines))] }

// at returns the line with that head, nil when there is none.
func (h *keyHeads) at(offset int64) *keyLine {
	if page := h.pages[offset>>keyPageBits]; page != nil {
		return *page.line(offset)
	}
	return nil
}

func (h *keyHeads) add(line *keyLine) {
	number := line.head.offset >> keyPageBits
	page := h.latest
	if page == nil || page.number != number {
		if page = h.pages[number]; page == nil {
			page = &keyPage{number: number}
			if h.pages == nil {
				h.pages = make(map[int64]*keyPage)
			}
			h.pages[number] = page
		}
		h.latest = page
	}
	*page.line(line.head.offset) = line
	page.count++
}

// take removes the lines whose heads are in [from, to), and calls f with them,
// which may add them again.
func (h *keyHeads) take(from, to int64, f func(*keyLine)) {
	first, last := from>>keyPageBits, (to-1)>>keyPageBits
	visit := func(page *keyPage) {
		for i := range page.lines {
			if line := page.lines[i]; line != nil && from <= line.head.offset && line.head.offset < to {
				page.lines[i] = nil
				page.count--
				f(line)
			}
		}
		if page.count == 0 {
			delete(h.pages, page.number)
			if h.latest == page {
				h.latest = nil
			}
		}
	}
	if int64(len(h.pages)) < last-first {
		for number, page := range h.pages {
			if first <= number && number <= last {
				visit(page)
			}
		}
		return
	}
	for number := first; number <= last; number++ {
		if page := h.pages[number]; page != nil {
			visit(page)
		}
	}
}

// join adds a message and reports whether it is the first of its key.
func (o *keyOrder) join(k keyed) bool {
	slot := o.lines.slot(k.key)
	if slot.line != nil {
		slot.line.rest = append(slot.line.rest, k.offset)
		o.behind++
		return false
	}
	if len(o.spare) == 0 {
		o.spare = make([]keyLine, 1<<keyPageBits)
	}
	line := &o.spare[0]
	o.spare = o.spare[1:]
	line.head = k
	o.lines.fill(slot, line)
	o.heads.add(line)
	return true
}

// settled moves the lines on whose heads are in [from, to), and tells the new
// heads. passed reports whether an offset is settled already.
func (o *keyOrder) settled(from, to int64, passed func(int64) bool, ready func(keyed)) {
	o.heads.take(from, to, func(line *keyLine) {
		for len(line.rest) > 0 {
			line.head.offset, line.rest = line.rest[0], line.rest[1:]
			o.behind--
			if !passed(line.head.offset) {
				o.heads.add(line)
				ready(line.head)
				return
			}
		}
		o.lines.remove(line.head.key)
	})
}

// keyTable is the lines by their keys. Keys are hashes already, and come and go
// with every message: a map would hash them again and has to tidy up after them.
type keyTable struct {
	slots []lineSlot // a power of two, or none
	count int
}

type lineSlot struct {
	key  uint64
	line *keyLine // nil for a free slot
}

// keySpread has slots depend on what nobody outside knows.
var keySpread = rand.Uint64() | 1

// home returns where the search for a key begins.
func (t *keyTable) home(key uint64) int {
	return int(key * keySpread >> (64 - bits.TrailingZeros(uint(len(t.slots)))))
}

// slot returns the slot of a key, or the free one where it belongs.
func (t *keyTable) slot(key uint64) *lineSlot {
	if t.count >= len(t.slots)/2 {
		t.grow()
	}
	for i := t.home(key); ; i = (i + 1) & (len(t.slots) - 1) {
		if s := &t.slots[i]; s.line == nil || s.key == key {
			return s
		}
	}
}

// fill puts a line into a free slot.
func (t *keyTable) fill(s *lineSlot, line *keyLine) {
	*s = lineSlot{line.head.key, line}
	t.count++
}

func (t *keyTable) grow() {
	old := t.slots
	t.slots = make([]lineSlot, max(16, 2*len(old)))
	for _, s := range old {
		if s.line != nil {
			*t.slot(s.key) = s
		}
	}
}

// remove frees the slot of a key, and moves up those behind it that were kept
// from their place by it.
func (t *keyTable) remove(key uint64) {
	mask := len(t.slots) - 1
	free := t.home(key)
	for t.slots[free].key != key || t.slots[free].line == nil {
		free = (free + 1) & mask
	}
	for i := (free + 1) & mask; t.slots[i].line != nil; i = (i + 1) & mask {
		if home := t.home(t.slots[i].key); (i-home)&mask >= (i-free)&mask {
			t.slots[free] = t.slots[i]
			free = i
		}
	}
	t.slots[free] = lineSlot{}
	if t.count--; t.count == 0 {
		t.slots = nil
	}
}
