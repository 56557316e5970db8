package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is what a store should hold.
type model struct {
	state map[string]string
	logs  map[uint64][]string // one entry each, from begins on
	begin map[uint64]int64
	index map[string]indexed
}

// indexed is an index value and the bucket in which it lies.
type indexed struct {
	value  string
	bucket uint64
}

func (m model) clone() model {
	c := model{maps.Clone(m.state), make(map[uint64][]string), maps.Clone(m.begin), maps.Clone(m.index)}
	for log, entries := range m.logs {
		c.logs[log] = slices.Clone(entries)
	}
	return c
}

// differs returns how a store differs from the model, "" when it does not.
func (m model) differs(s *Store) string {
	got := map[string]string{}
	if err := s.State(func(k string, v []byte) error { got[k] = string(v); return nil }); err != nil {
		return err.Error()
	}
	if !maps.Equal(got, m.state) {
		return fmt.Sprintf("state %v instead of %v", got, m.state)
	}
	if len(s.next) != len(m.logs) {
		return fmt.Sprintf("%d logs instead of %d", len(s.next), len(m.logs))
	}
	for key := range 5 {
		k, value := fmt.Sprint(key), ""
		_, err := s.Floor(k, k, func(_ string, v []byte) bool { value = string(v); return true })
		if err != nil || value != m.index[k].value {
			return fmt.Sprintf("index %s: %q, %v instead of %q", k, value, err, m.index[k].value)
		}
	}
	for log, entries := range m.logs {
		begin, next, ok, err := s.Bounds(log)
		if err != nil || !ok || begin != m.begin[log] || next != begin+int64(len(entries)) {
			return fmt.Sprintf("log %d: %d to %d, %v, %v; want %d and %d entries", log, begin, next, ok, err, m.begin[log], len(entries))
		}
		for i, want := range entries {
			r, err := s.Read(log, begin+int64(i))
			if err != nil || r.Base != begin+int64(i) || string(r.Data) != want || r.StoredAt != 1000+begin+int64(i) {
				return fmt.Sprintf("log %d, offset %d: %+v, %v; want %q", log, begin+int64(i), r, err, want)
			}
		}
	}
	return ""
}

// parts collects a snapshot.
func parts(shot *Snapshot) (all []Part, sum Summary, err error) {
	sum, err = shot.Parts(context.Background(), func(p Part) error {
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
		return nil
	})
	return all, sum, err
}

func restore(dir string, all []Part, sum Summary) (err error) {
	r, err := Restore(dir, sum.Commit, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, p := range all {
		if err := r.Write(p); err != nil {
			return err
		}
	}
	return r.Finish(sum)
}

// TestSnapshotIsOfOneMoment takes a snapshot in the middle of random commits,
// reads it while or after the store goes on, and restores it: the new store holds
// what the old one held at that moment, and can be written on.
func TestSnapshotIsOfOneMoment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "oms-snapshot-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		s, err := Open(Options{Path: filepath.Join(dir, "a"), Memory: rapid.Bool().Draw(t, "memory"), Reserve: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		now, last := model{map[string]string{}, map[uint64][]string{}, map[uint64]int64{}, map[string]indexed{}}, uint64(0)
		step := func() {
			var b Batch
			switch rapid.SampledFrom([]string{"append", "append", "append", "state", "index", "create", "remove", "rotate", "drop"}).Draw(t, "step") {
			case "append":
				for log := range now.logs {
					base := now.begin[log] + int64(len(now.logs[log]))
					data := bytes.Repeat([]byte{byte(base)}, rapid.SampledFrom([]int{1, 100, valueThreshold}).Draw(t, "size"))
					b.StoredAt = 1000 + base
					b.Append(log, base, 1, data)
					now.logs[log] = append(now.logs[log], string(data))
					break // one commit has one time
				}
			case "state":
				k, v := fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "key")), fmt.Sprint(rapid.Int().Draw(t, "value"))
				if rapid.Bool().Draw(t, "delete") {
					b.Delete(k)
					delete(now.state, k)
				} else {
					b.Put(k, []byte(v))
					now.state[k] = v
				}
			case "index":
				k, v := fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "key")), fmt.Sprint(rapid.Int().Draw(t, "value"))
				b.PutIndex(k, []byte(v))
				now.index[k] = indexed{v, s.newest().number}
			case "create":
				last++
				b.CreateLog(last)
				now.logs[last], now.begin[last] = nil, 0
			case "remove":
				for log := range now.logs {
					b.RemoveLog(log)
					delete(now.logs, log)
					delete(now.begin, log)
					break
				}
			case "rotate":
				s.bucketBytes = 0
			case "drop":
				if len(s.buckets) < 2 {
					return
				}
				starts, err := s.buckets[1].loadStarts(s.openBucket)
				if err != nil {
					t.Fatal(err)
				}
				maps.DeleteFunc(now.index, func(_ string, i indexed) bool { return i.bucket == s.buckets[0].number })
				for log := range now.logs {
					now.logs[log] = now.logs[log][starts[log]-now.begin[log]:]
					now.begin[log] = starts[log]
				}
				s.Drop(Expiry{s.buckets[0].number, starts})
				return
			}
			if _, err := s.Commit(&b); err != nil {
				t.Fatal(err)
			}
			s.bucketBytes = maxBucketBytes
		}
		steps := rapid.IntRange(0, 12)
		for range steps.Draw(t, "before") {
			step()
		}
		shot, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		then := now.clone()
		for range steps.Draw(t, "after") {
			step()
		}
		all, sum, err := parts(shot)
		if err != nil {
			t.Fatal(err)
		}
		if err := shot.Close(); err != nil {
			t.Fatal(err)
		}
		if d := now.differs(s); d != "" {
			t.Fatal("the store itself: ", d)
		}
		path := filepath.Join(dir, "b")
		if err := restore(path, all, sum); err != nil {
			t.Fatal(err)
		}
		report, err := Check(Options{Path: path, Logger: slog.New(slog.DiscardHandler)}, CheckOptions{})
		if err != nil || len(report.Findings) > 0 {
			t.Fatal(report, err)
		}
		copied, err := Open(Options{Path: path, Reserve: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer copied.Close()
		if d := then.differs(copied); d != "" {
			t.Fatal("the copy: ", d)
		}
		var b Batch
		b.Put("new", []byte("1"))
		if n, err := copied.Commit(&b); err != nil || n != sum.Commit+1 || copied.ID() == s.ID() {
			t.Fatal(n, err)
		}
	})
}

// TestSnapshotKeepsWhatIsDropped checks that dropped buckets stay readable for
// the snapshot, and that their files go with it.
func TestSnapshotKeepsWhatIsDropped(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Path: dir})
	var b Batch
	b.CreateLog(1)
	commit(t, s, &b)
	for i := range 3 {
		appendTo(t, s, 1, int64(i), "x")
		if err := s.rotate(); err != nil {
			t.Fatal(err)
		}
	}
	one, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	s.Drop(Expiry{bucket: 2})
	s.background.Wait()
	if _, err := s.Read(1, 0); !errors.Is(err, ErrDropped) {
		t.Errorf("the store still reads it: %v", err)
	}
	trash := func() int {
		names, err := filepath.Glob(filepath.Join(dir, trashName+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	for _, shot := range []*Snapshot{one, two} {
		if n := trash(); n != 2 {
			t.Errorf("%d dropped buckets are left, the snapshots need 2", n)
		}
		if _, sum, err := parts(shot); err != nil || sum.Messages != 3 {
			t.Errorf("%+v, %v", sum, err)
		}
		if err := shot.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := trash(); n != 0 {
		t.Errorf("%d dropped buckets are left behind", n)
	}
}

func TestRestoreRefuses(t *testing.T) {
	s := open(t, Options{Path: t.TempDir()})
	var b Batch
	b.CreateLog(1)
	b.Put("k", []byte("v"))
	commit(t, s, &b)
	appendTo(t, s, 1, 0, "x", "y")
	appendTo(t, s, 1, 2, "z")
	if err := s.rotate(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, s, 1, 3, "w")
	shot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer shot.Close()
	all, sum, err := parts(shot)
	if err != nil || len(all) != 2 {
		t.Fatal(len(all), err)
	}
	for name, change := range map[string]func(ps []Part, sum *Summary) []Part{
		"no parts":        func([]Part, *Summary) []Part { return nil },
		"one is missing":  func(ps []Part, _ *Summary) []Part { return ps[:1] },
		"first missing":   func(ps []Part, _ *Summary) []Part { return ps[1:] },
		"other order":     func(ps []Part, _ *Summary) []Part { return []Part{ps[1], ps[0]} },
		"twice":           func(ps []Part, _ *Summary) []Part { return []Part{ps[0], ps[0], ps[1]} },
		"cut":             func(ps []Part, _ *Summary) []Part { ps[1].Data = ps[1].Data[:len(ps[1].Data)-1]; return ps },
		"negative bucket": func(ps []Part, _ *Summary) []Part { ps[0].Bucket = -1; return ps },
		"entries":         func(ps []Part, _ *Summary) []Part { ps[1].Entries++; return ps },
		"more messages":   func(ps []Part, sum *Summary) []Part { sum.Messages++; return ps },
		"another digest":  func(ps []Part, sum *Summary) []Part { sum.Digest++; return ps },
		"an older commit": func(ps []Part, sum *Summary) []Part { sum.Commit = 2; return ps },
		"a newer format":  func(ps []Part, sum *Summary) []Part { sum.Format++; return ps },
	} {
		changed := sum
		ps := change(slices.Clone(all), &changed)
		dir := filepath.Join(t.TempDir(), "r")
		if err := restore(dir, ps, changed); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, fileFormat)); err == nil {
			t.Errorf("%s: a store was made", name)
		}
	}
	for i := range all[1].Data { // every byte of a part counts
		ps := slices.Clone(all)
		ps[1].Data = bytes.Clone(ps[1].Data)
		ps[1].Data[i] ^= 1
		r := &Restorer{commit: sum.Commit, next: map[uint64]int64{1: 3}, starts: map[uint64]int64{}, digest: &digest{values: map[string]uint64{}}}
		if err := ps[1].each(r.take); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	if err := restore(s.opts.Path, all, sum); !errors.Is(err, ErrFormat) {
		t.Errorf("into the store itself: %v", err)
	}
}

func FuzzPart(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 0, 0, 0, 4, layoutVersion, typeMarker, 1, 2, 3, 4}, 1)
	f.Fuzz(func(_ *testing.T, data []byte, entries int) {
		r := &Restorer{commit: 1, next: map[uint64]int64{}, starts: map[uint64]int64{}, digest: &digest{values: map[string]uint64{}}}
		_ = Part{Entries: entries, Data: data}.each(r.take)
	})
}
