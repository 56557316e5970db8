package broker

import (
	"testing"

	"pgregory.net/rapid"
)

// The judge is an array with a number for each offset.
func TestRangesAgreeWithArray(t *testing.T) {
	const size = 40
	rapid.Check(t, func(t *rapid.T) {
		var r ranges
		var judge [size]int32
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			from := rapid.Int64Range(0, size).Draw(t, "from")
			to := rapid.Int64Range(0, size).Draw(t, "to")
			op := rapid.SampledFrom([]string{"add", "remove", "increment", "set"}).Draw(t, "op")
			for o := from; o < to; o++ {
				judge[o] = map[string]int32{"add": 1, "remove": 0, "increment": judge[o] + 1, "set": 3}[op]
			}
			switch op {
			case "add":
				r.add(from, to)
			case "remove":
				r.remove(from, to)
			case "increment":
				r.increment(from, to)
			case "set":
				r.set(from, to, 3)
			}
			count := int64(0)
			for o := range int64(size) {
				n, end := r.at(o, size)
				if n != judge[o] {
					t.Fatalf("offset %d has %d, want %d: %v", o, n, judge[o], r)
				}
				if end <= o || end > size || end < size && judge[end] == n || judge[end-1] != n {
					t.Fatalf("the run at %d ends at %d: %v", o, end, r)
				}
				if n != 0 {
					count++
				}
			}
			if r.count() != count {
				t.Fatalf("count %d, want %d", r.count(), count)
			}
			for i := 1; i < len(r); i++ {
				if r[i-1].To > r[i].From || r[i-1].To == r[i].From && r[i-1].N == r[i].N {
					t.Fatalf("not in normal form: %v", r)
				}
			}
			back, ok := unflat(r.flat())
			if !ok || len(back) != len(r) {
				t.Fatalf("unflat(flat(%v)) = %v %v", r, back, ok)
			}
			for _, s := range r.within(from, to) {
				if s.From < from || s.To > to || judge[s.From] != s.N {
					t.Fatalf("within(%d, %d) has %v: %v", from, to, s, r)
				}
			}
		}
	})
}
