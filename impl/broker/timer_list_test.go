package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestDueListAgreesWithSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		want := make([]dueKey, rapid.IntRange(0, 3*dueBlock).Draw(t, "at first"))
		for i := range want {
			want[i] = newDueKey(random.Int64N(1000), int64(i))
		}
		list := newDueList(slices.Concat(want, want[:len(want)/2]))
		slices.Sort(want)
		for range 5 {
			for i := range random.IntN(dueBlock) {
				k := newDueKey(random.Int64N(1000), int64(3*dueBlock+len(want)+i))
				list.insert(k)
				at, _ := slices.BinarySearch(want, k)
				want = slices.Insert(want, at, k)
			}
			n := random.IntN(len(want)/3 + 1)
			list.drop(n)
			want = want[n:]
			from, count, end := random.IntN(len(want)+1), random.IntN(len(want)+1), newDueKey(random.Int64N(1200), 0)
			some := want[from:min(len(want), from+count)]
			below, _ := slices.BinarySearch(some, end)
			if got := list.some(from, count, end); !slices.Equal(got, some[:below]) || list.size != len(want) {
				t.Fatalf("%d of %d keys, want %d of %d", len(got), list.size, below, len(want))
			}
		}
	})
}

// BenchmarkDueList adds keys before others, and takes as many out.
func BenchmarkDueList(b *testing.B) {
	for _, n := range []int{10_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			keys := make([]dueKey, n)
			for i := range keys {
				keys[i] = newDueKey(500, int64(i))
			}
			list := newDueList(keys)
			for i := int64(0); b.Loop(); i++ {
				list.insert(newDueKey(i%500, i))
				list.drop(1)
			}
		})
	}
}
