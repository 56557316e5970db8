package store

import (
	"strings"
	"testing"
)

func TestFloorFindsTheNewestIndexValue(t *testing.T) {
	for name, o := range map[string]Options{"disk": {}, "memory": {Memory: true}} {
		t.Run(name, func(t *testing.T) {
			s := open(t, o)
			put := func(kv ...string) {
				var b Batch
				for i := 0; i < len(kv); i += 2 {
					b.PutIndex(kv[i], []byte(kv[i+1]))
				}
				if k, v, ok := b.Floor(kv[0][:1], kv[0]+"~"); !ok || k != kv[0] || string(v) != kv[1] {
					t.Errorf("the batch has %q under %q", v, k)
				}
				if k, _, ok := b.Floor("A", kv[0]); ok {
					t.Errorf("the batch has %q below A", k)
				}
				commit(t, s, &b)
			}
			floor := func(key string, refuse ...string) string {
				var found string
				ok, err := s.Floor(key[:1], key, func(k string, v []byte) bool {
					found = k + "=" + string(v)
					return !strings.Contains(strings.Join(refuse, " "), found)
				})
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					return ""
				}
				return found
			}
			put("a1", "old")
			put("a5", "five")
			put("b1", "other")
			if err := s.rotate(); err != nil {
				t.Fatal(err)
			}
			put("a1", "new")
			for _, c := range []struct{ got, want string }{
				{floor("a0"), ""},
				{floor("a1"), "a1=new"},
				{floor("a3"), "a1=new"},
				{floor("a7"), "a1=new"}, // the newest bucket first
				{floor("a7", "a1=new"), "a5=five"},
				{floor("a7", "a1=new", "a5=five"), ""},
				{floor("b9"), "b1=other"},
				{floor("c1"), ""},
			} {
				if c.got != c.want {
					t.Errorf("got %q, want %q", c.got, c.want)
				}
			}
			if len(state(t, s)) != 0 {
				t.Error("index values are no state")
			}
		})
	}
}
