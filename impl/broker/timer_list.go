package broker

import (
	"math"
	"slices"
	"sort"
)

// dueKey orders the entries of a slot by due time and offset. The due time since
// the slot's start takes 22 bits: an hour at the most.
type dueKey uint64

const (
	offsetBits = 42
	anyDue     = dueKey(math.MaxUint64) // behind all keys
)

// newDueKey takes the due time since the slot's start.
func newDueKey(after, offset int64) dueKey { return dueKey(after)<<offsetBits | dueKey(offset) }

func (k dueKey) after() int64  { return int64(k >> offsetBits) }
func (k dueKey) offset() int64 { return int64(k & (1<<offsetBits - 1)) }

// dueList is the keys of what a slot is to expose, ascending. They lie in blocks, so
// that one more costs about the same among millions.
type dueList struct {
	blocks [][]dueKey // none is empty
	size   int
}

const dueBlock = 4096

// newDueList takes keys in any order, some of them twice.
func newDueList(keys []dueKey) dueList {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	return dueList{slices.Collect(slices.Chunk(keys, dueBlock)), len(keys)}
}

// insert adds a key, mostly at the end.
func (l *dueList) insert(k dueKey) {
	l.size++
	if len(l.blocks) == 0 {
		l.blocks = [][]dueKey{{k}}
		return
	}
	n := max(1, sort.Search(len(l.blocks), func(i int) bool { return l.blocks[i][0] > k })) - 1
	at, _ := slices.BinarySearch(l.blocks[n], k)
	block := slices.Insert(l.blocks[n], at, k)
	l.blocks[n] = block
	if half := len(block) / 2; len(block) > dueBlock {
		l.blocks[n] = block[:half:half]
		l.blocks = slices.Insert(l.blocks, n+1, slices.Clone(block[half:]))
	}
}

// some returns up to n keys below end, from the i-th on.
func (l *dueList) some(i, n int, end dueKey) (keys []dueKey) {
	for _, block := range l.blocks {
		if i >= len(block) {
			i -= len(block)
			continue
		}
		for _, k := range block[i:] {
			if k >= end || len(keys) == n {
				return keys
			}
			keys = append(keys, k)
		}
		i = 0
	}
	return keys
}

// drop takes the first n keys out.
func (l *dueList) drop(n int) {
	l.size -= n
	for n > 0 {
		first := min(n, len(l.blocks[0]))
		if l.blocks[0] = l.blocks[0][first:]; len(l.blocks[0]) == 0 {
			l.blocks = l.blocks[1:]
		}
		n -= first
	}
}
