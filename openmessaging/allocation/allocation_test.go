package allocation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func members(ids ...string) []Member {
	out := make([]Member, len(ids))
	for i, id := range ids {
		out[i] = Member{ID: id, Labels: map[string]string{"room": id[:1]}}
	}
	return out
}

func TestAllocate(t *testing.T) {
	room := func(p int) string { return "abz"[p%3 : p%3+1] }
	for _, c := range []struct {
		name       string
		strategy   Strategy
		members    []Member
		partitions int
		owners     string // of letters
		want       string
	}{
		{"10 on 4", Average(), members("d", "c", "b", "a"), 10, "", "aaabbbccdd"},
		{"even", Average(), members("a", "b"), 4, "", "aabb"},
		{"more members than partitions", Average(), members("a", "b", "c"), 2, "", "ab"},
		{"owners do not matter", Average(), members("a", "b"), 2, "ba", "ab"},
		{"circle", AverageByCircle(), members("c", "a", "b"), 7, "", "abcabca"},
		{"circle with too many", AverageByCircle(), members("a", "b", "c"), 2, "", "ab"},
		{"sticky anew", Sticky(), members("a", "b"), 5, "", "aaabb"},
		{"sticky stays", Sticky(), members("a", "b"), 5, "babab", "babab"},
		{"sticky: one leaves", Sticky(), members("a", "b"), 6, "abcabc", "ababab"[:2] + "aabb"},
		{"sticky: one comes", Sticky(), members("a", "b", "c"), 6, "aaabbb", "aacbbc"},
		{"sticky: partitions are added", Sticky(), members("a", "b"), 6, "abab", "ababab"[:4] + "ab"},
		{"sticky: the fuller keeps one more", Sticky(), members("a", "b"), 3, "bba", "bba"},
		{"rooms", MachineRoom("room", room, Average()), members("a1", "a2", "b1"), 12, "", ""},
		{"configured", Configured(map[string][]int{"a": {0, 2, 9}, "b": {1}, "away": {3}}), members("a", "b"), 5, "", "aba.."},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Request{Queue: "default://q", Partitions: c.partitions, Members: c.members}
			for _, id := range c.owners {
				r.Owners = append(r.Owners, string(id))
			}
			got, err := c.strategy.Allocate(r)
			if err == nil {
				err = r.CheckResult(got)
			}
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			if want == "" { // rooms: a: 0 3 6 9, b: 1 4 7 10, z is nobody's: 2 5 8 11
				if s := strings.Join(got, " "); s != "a1 b1 a1 a1 b1 a1 a2 b1 a2 a2 b1 b1" {
					t.Errorf("allocated %s", s)
				}
				return
			}
			var letters string
			for _, id := range got {
				letters += (id + ".")[:1]
			}
			if letters != want {
				t.Errorf("allocated %s instead of %s", letters, want)
			}
		})
	}
}

// What RocketMQ's AllocateMessageQueueConsistentHash gives, computed apart from
// this program from the published rule.
func TestRocketMQConsistentHash(t *testing.T) {
	ids := []string{"10.0.0.1@1", "10.0.0.2@1", "10.0.0.3@1"}
	got, err := RocketMQConsistentHash("broker-a").Allocate(Request{Queue: "default://orders", Partitions: 12, Members: members(ids...)})
	if err != nil {
		t.Fatal(err)
	}
	for p, digit := range "222222222221" {
		if want := ids[digit-'1']; got[p] != want {
			t.Errorf("partition %d is of %s, RocketMQ gives it to %s", p, got[p], want)
		}
	}
}

func TestRefused(t *testing.T) {
	good := Request{Queue: "q", Partitions: 2, Members: members("a", "b")}
	for name, c := range map[string]struct {
		strategy Strategy
		change   func(r *Request)
	}{
		"no partitions":       {Average(), func(r *Request) { r.Partitions = 0 }},
		"no members":          {Sticky(), func(r *Request) { r.Members = nil }},
		"two of one id":       {ConsistentHash(), func(r *Request) { r.Members = members("a", "a") }},
		"an empty id":         {AverageByCircle(), func(r *Request) { r.Members[0].ID = "" }},
		"too many owners":     {Sticky(), func(r *Request) { r.Owners = make([]string, 3) }},
		"listed twice":        {Configured(map[string][]int{"a": {1}, "x": {1}}), func(*Request) {}},
		"negative":            {Configured(map[string][]int{"a": {-1}}), func(*Request) {}},
		"a member in no room": {MachineRoom("rack", func(int) string { return "a" }, Average()), func(*Request) {}},
		"a partition in none": {MachineRoom("room", func(int) string { return "" }, Average()), func(*Request) {}},
	} {
		r := good
		r.Members = slices.Clone(good.Members)
		c.change(&r)
		if _, err := c.strategy.Allocate(r); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, owners := range [][]string{{"a"}, {"a", "c"}} {
		if err := good.CheckResult(owners); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("the result %v: %v", owners, err)
		}
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range all() {
		if s.Name() == "" || seen[s.Name()] {
			t.Errorf("the name %q is empty or taken", s.Name())
		}
		seen[s.Name()] = true
	}
}

func all() []Strategy {
	return []Strategy{
		Average(), AverageByCircle(), Sticky(), ConsistentHash(), RocketMQConsistentHash("b"),
		MachineRoom("room", func(p int) string { return fmt.Sprint(p % 4) }, Sticky()),
	}
}

// drawMembers draws from 1 to 20 members with different ids.
func drawMembers(t *rapid.T) []Member {
	ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[0-9][a-z]{0,3}`), 1, 20, rapid.ID[string]).Draw(t, "ids")
	return members(ids...)
}

// Whatever the history: each partition has one member, and the order in which
// the members are told does not matter.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(all()).Draw(t, "strategy")
		var owners []string
		partitions := 0
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			partitions += rapid.IntRange(min(1, max(0, 1-partitions)), 30).Draw(t, "added")
			r := Request{Queue: "q", Partitions: partitions, Members: drawMembers(t), Owners: owners}
			got, err := s.Allocate(r)
			if err == nil {
				err = r.CheckResult(got)
			}
			if err != nil || slices.Contains(got, "") {
				t.Fatalf("%v %v", got, err)
			}
			r.Members = rapid.Permutation(r.Members).Draw(t, "members")
			if again, err := s.Allocate(r); err != nil || !slices.Equal(got, again) {
				t.Fatalf("%v, and then %v, %v", got, again, err)
			}
			owners = got
		}
	})
}

func moved(before, after []string) (n int) {
	for p := range before {
		if before[p] != after[p] {
			n++
		}
	}
	return n
}

func loadBounds(ms []Member, owners []string) (least, most int) {
	count := loads(idsOf(Request{Members: ms}), owners)
	return slices.Min(slices.Collect(maps.Values(count))), slices.Max(slices.Collect(maps.Values(count)))
}

// The bounds of ConsistentHash and Sticky while members come and go one by one.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom([]Strategy{ConsistentHash(), Sticky()}).Draw(t, "strategy")
		r := Request{
			Queue: rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "queue"), Members: drawMembers(t),
			Partitions: rapid.OneOf(rapid.Just(100), rapid.IntRange(1, 300)).Draw(t, "partitions"),
		}
		before, err := s.Allocate(r)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			n := len(r.Members)
			if n > 1 && rapid.Bool().Draw(t, "leaves") {
				i := rapid.IntRange(0, n-1).Draw(t, "who")
				r.Members = slices.Delete(slices.Clone(r.Members), i, i+1)
			} else {
				n++
				r.Members = append(slices.Clone(r.Members), members(rapid.StringMatching(`[0-9]-[a-z]{6}`).Filter(func(id string) bool {
					return !slices.ContainsFunc(r.Members, func(m Member) bool { return m.ID == id })
				}).Draw(t, "id"))...)
			}
			r.Owners = before
			after, err := s.Allocate(r)
			if err != nil {
				t.Fatal(err)
			}
			if got, most := moved(before, after), (r.Partitions+n-1)/n+r.Partitions/10; got > most {
				t.Fatalf("%d of %d partitions moved among %d, %d are the most", got, r.Partitions, n, most)
			}
			mean, n := (r.Partitions+len(r.Members)-1)/len(r.Members), len(r.Members)
			switch least, most := loadBounds(r.Members, after); {
			case s.Name() == "sticky" && most-least > 1:
				t.Fatalf("from %d to %d", least, most)
			case most > max(mean, 5*r.Partitions/(4*n)):
				t.Fatalf("%d of %d partitions for one of %d", most, r.Partitions, n)
			}
			before = after
		}
	})
}

// Sticky moves as few as balance allows: what nobody had, and what somebody had
// above the share.
func TestStickyMovesNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Request{Queue: "q", Partitions: rapid.IntRange(1, 60).Draw(t, "partitions"), Members: drawMembers(t)}
		ids := append(idsOf(r), "gone")
		for range r.Partitions {
			r.Owners = append(r.Owners, rapid.SampledFrom(ids).Draw(t, "owner"))
		}
		after, err := Sticky().Allocate(r)
		if err != nil {
			t.Fatal(err)
		}
		had := slices.Sorted(maps.Values(loads(idsOf(r), r.Owners)))
		slices.Reverse(had)
		kept := 0
		for i, n := range had {
			kept += min(n, share(r.Partitions, len(had), i))
		}
		if got := moved(r.Owners, after); got != r.Partitions-kept {
			t.Fatalf("%d moved instead of %d", got, r.Partitions-kept)
		}
	})
}

// 100 partitions, 10 members: without history the load is bounded as well.
func TestConsistentHashLoad(t *testing.T) {
	for queue := range 50 {
		r := Request{Queue: fmt.Sprintf("q%d", queue), Partitions: 100, Members: members("a", "b", "c", "d", "e", "f", "g", "h", "i", "j")}
		owners, err := ConsistentHash().Allocate(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, most := loadBounds(r.Members, owners); most > 12 {
			t.Errorf("%d partitions for one; 1.25 times the mean is 12.5", most)
		}
	}
}

func BenchmarkConsistentHash(b *testing.B) {
	r := Request{Queue: "q", Partitions: 1000}
	for i := range 100 {
		r.Members = append(r.Members, Member{ID: fmt.Sprint(i)})
	}
	for b.Loop() {
		if _, err := ConsistentHash().Allocate(r); err != nil {
			b.Fatal(err)
		}
	}
}
