package broker

import (
	"slices"
	"sort"
)

// segment gives the offsets From ≤ offset < To the number N, which is not 0.
type segment struct {
	From, To int64
	N        int32
}

// ranges gives numbers to offsets; offsets without a segment have 0. Segments
// are sorted, disjoint, and merged where they touch with equal numbers. A set
// of offsets is ranges with N = 1.
type ranges []segment

// update replaces the number of every offset in [from, to) by f of it. It is
// the only way in which ranges change.
func (r *ranges) update(from, to int64, f func(int32) int32) {
	if from >= to {
		return
	}
	old := *r
	i := sort.Search(len(old), func(i int) bool { return old[i].To >= from })
	j := i
	var out [8]segment
	fresh := out[:0]
	push := func(s segment) {
		if s.From >= s.To || s.N == 0 {
			return
		}
		if n := len(fresh); n > 0 && fresh[n-1].To == s.From && fresh[n-1].N == s.N {
			fresh[n-1].To = s.To
			return
		}
		fresh = append(fresh, s)
	}
	at := from
	for ; j < len(old) && old[j].From <= to; j++ {
		s := old[j]
		push(segment{s.From, min(s.To, from), s.N})
		push(segment{at, min(s.From, to), f(0)})
		at = max(at, min(s.From, to))
		inside := segment{max(s.From, from), min(s.To, to), 0}
		if inside.From < inside.To {
			inside.N = f(s.N)
			push(inside)
			at = inside.To
		}
		if s.To > to {
			push(segment{at, to, f(0)})
			at = to
			push(segment{max(s.From, to), s.To, s.N})
		}
	}
	if at < to {
		push(segment{at, to, f(0)})
	}
	*r = slices.Replace(old, i, j, fresh...)
}

func (r *ranges) add(from, to int64)          { r.set(from, to, 1) }
func (r *ranges) remove(from, to int64)       { r.set(from, to, 0) }
func (r *ranges) set(from, to int64, n int32) { r.update(from, to, func(int32) int32 { return n }) }
func (r *ranges) increment(from, to int64)    { r.update(from, to, func(n int32) int32 { return n + 1 }) }

// at returns the number of an offset and where the run of offsets with that
// number ends; for the last run without a segment the end is limit.
func (r ranges) at(offset, limit int64) (n int32, end int64) {
	i := sort.Search(len(r), func(i int) bool { return r[i].To > offset })
	switch {
	case i == len(r):
		return 0, limit
	case r[i].From > offset:
		return 0, min(limit, r[i].From)
	}
	return r[i].N, min(limit, r[i].To)
}

// within returns the parts of r inside [from, to).
func (r ranges) within(from, to int64) ranges {
	i := sort.Search(len(r), func(i int) bool { return r[i].To > from })
	var out ranges
	for ; i < len(r) && r[i].From < to; i++ {
		out = append(out, segment{max(from, r[i].From), min(to, r[i].To), r[i].N})
	}
	return out
}

// count returns how many offsets have a number.
func (r ranges) count() (n int64) {
	for _, s := range r {
		n += s.To - s.From
	}
	return n
}

// flat returns the segments as a list of numbers, for storing.
func (r ranges) flat() []int64 {
	out := make([]int64, 0, 3*len(r))
	for _, s := range r {
		out = append(out, s.From, s.To, int64(s.N))
	}
	return out
}

// unflat is the inverse of flat; ok is false for what flat does not return.
func unflat(list []int64) (r ranges, ok bool) {
	if len(list)%3 != 0 {
		return nil, false
	}
	for i := 0; i < len(list); i += 3 {
		s := segment{list[i], list[i+1], int32(list[i+2])}
		if s.From >= s.To || s.N == 0 || len(r) > 0 && r[len(r)-1].To > s.From {
			return nil, false
		}
		r = append(r, s)
	}
	return r, true
}
