package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestEnginesAgree runs the same random writes in memory and in Badger: each
// is the judge of the other.
func TestEnginesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "oms-engine-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		disk, err := openBadger(filepath.Join(dir, "b"), 1<<20, false, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := disk.close(); err != nil {
				t.Fatal(err)
			}
		}()
		engines := []engine{newMemoryEngine(), disk}
		key := rapid.Custom(func(t *rapid.T) []byte {
			return append(prefix(rapid.SampledFrom([]byte("ls")).Draw(t, "type")), rapid.SliceOfN(rapid.ByteRange(0, 3), 0, 3).Draw(t, "key")...)
		})
		for version := range uint64(rapid.IntRange(1, 8).Draw(t, "commits")) {
			var entries []entry
			seen := map[string]bool{}
			for range rapid.IntRange(1, 10).Draw(t, "entries") {
				e := entry{key: key.Draw(t, "key")}
				if rapid.IntRange(0, 3).Draw(t, "delete") > 0 {
					e.value = bytes.Repeat([]byte{byte(version)}, rapid.SampledFrom([]int{0, 1, 100, valueThreshold}).Draw(t, "size"))
				}
				if !seen[string(e.key)] {
					entries = append(entries, e)
				}
				seen[string(e.key)] = true
			}
			for _, e := range engines {
				if err := e.commit(version+1, entries); err != nil {
					t.Fatal(err)
				}
			}
			probe, p := key.Draw(t, "probe"), prefix('l')
			var told [2]string
			for i, e := range engines {
				v, err := e.get(probe)
				at, floorErr := e.floor(p, append(slices.Clone(p), probe[2:]...))
				told[i] = fmt.Sprintf("version %d; get %x %v; floor %x %v;", e.version(), v, err, at, floorErr)
				err = e.walk(p, func(key []byte, value func() ([]byte, error)) error {
					v, err := value()
					told[i] += fmt.Sprintf(" %x=%x", key, v)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if told[0] != told[1] {
				t.Fatalf("memory: %s\nbadger: %s", told[0], told[1])
			}
		}
	})
}

func TestMarkSurvivesOneDamagedSlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "MARK")
	m, err := createMark(path, position{7, 1})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(5) {
		if err := m.set(position{8 + n, 2}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		damage []int
		want   uint64 // 0: refused
		warns  bool
	}{
		"none":  {nil, 12, false},
		"old":   {[]int{markSlot + 3}, 12, true},
		"new":   {[]int{3}, 11, true},
		"both":  {[]int{3, markSlot + 3}, 0, true},
		"space": {[]int{100, markSlot + 100}, 12, false},
	} {
		data := slices.Clone(good)
		for _, i := range c.damage {
			data[i] ^= 1
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		m, p, warn, err := openMark(path)
		if c.want == 0 {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || p != (position{c.want, 2}) || (warn != nil) != c.warns {
			t.Errorf("%s: %v %v %v", name, p, warn, err)
		}
		if err := m.close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRetentionByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Options{Memory: true, RetainAge: 8 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		var b Batch
		b.CreateLog(1)
		commit(t, s, &b)
		for i := range int64(48) {
			appendTo(t, s, 1, i, "x")
			time.Sleep(time.Hour)
			e, ok, err := s.Expired(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				s.Drop(e)
			}
			begin, next, _, err := s.Bounds(1)
			if err != nil || next != i+1 {
				t.Fatal(begin, next, err)
			}
			// Message n is i+1-n hours old. What is younger than 8 hours must be
			// there, what is older than 10 must be gone.
			if begin > max(0, i+1-7) || begin < i+1-10 {
				t.Fatalf("after %d hours the oldest is %d", i+1, begin)
			}
		}
	})
}

func TestFindTime(t *testing.T) {
	s := open(t, Options{Memory: true})
	var b Batch
	b.CreateLog(1)
	commit(t, s, &b)
	for i := range int64(20) {
		b := Batch{StoredAt: 1000 + i/2*10}
		b.Append(1, 3*i, 3, []byte("xyz"))
		commit(t, s, &b)
	}
	for ms, want := range map[int64]int64{0: 0, 1000: 0, 1001: 6, 1010: 6, 1085: 54, 1090: 54, 1091: 60, 5000: 60} {
		if got, err := s.FindTime(1, time.UnixMilli(ms)); got != want || err != nil {
			t.Errorf("at %d: %d %v, want %d", ms, got, err, want)
		}
	}
}

func TestRecordsAreSplit(t *testing.T) {
	s := open(t, Options{Memory: true})
	var b Batch
	b.CreateLog(1)
	base := int64(0)
	for range 10 {
		b.Append(1, base, 5, make([]byte, 100<<10))
		base += 5
	}
	b.Append(1, base, 1, make([]byte, 1<<20))
	commit(t, s, &b)
	for offset := int64(0); offset < base+1; {
		r, err := s.Read(1, offset)
		if err != nil || r.Base != offset || len(r.Data) > maxRecordData && r.Count > 1 {
			t.Fatalf("at %d: %d bytes, %d entries, %v", offset, len(r.Data), r.Count, err)
		}
		offset = r.End()
	}
}

func TestLargestAppend(t *testing.T) {
	s := open(t, Options{RetainBytes: MinRetainBytes})
	b := Batch{}
	b.CreateLog(1)
	b.Append(1, 0, 1, make([]byte, MaxData))
	commit(t, s, &b)
	if r, err := s.Read(1, 0); err != nil || len(r.Data) != MaxData {
		t.Errorf("%d bytes, %v", len(r.Data), err)
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Path: dir})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"b-0000000002", "trash-b-0000000000"} {
		if err := os.MkdirAll(filepath.Join(dir, left, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	open(t, Options{Path: dir})
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if got := strings.Join(names, " "); got != "LOCK MARK STORE b-0000000001" {
		t.Error(got)
	}
}

func TestStateSurvivesRotation(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Path: dir, RetainBytes: MinRetainBytes})
	var b Batch
	b.CreateLog(1)
	b.CreateLog(2)
	for i := range 5000 {
		b.Put(fmt.Sprint("key-", i), fmt.Appendf(nil, "value-%d", i))
	}
	commit(t, s, &b)
	payload := string(make([]byte, 1<<20))
	for i := range int64(20) { // two buckets and more
		appendTo(t, s, 1, i, payload)
	}
	var more Batch
	more.Delete("key-7")
	more.RemoveLog(2)
	more.CreateLog(3)
	commit(t, s, &more)
	for range 2 {
		m := state(t, s)
		if len(m) != 4999 || m["key-4999"] != "value-4999" || m["key-7"] != "" {
			t.Fatalf("%d values", len(m))
		}
		if _, _, ok, err := s.Bounds(2); ok || err != nil {
			t.Error("a removed log is there", err)
		}
		if _, next, ok, err := s.Bounds(3); !ok || next != 0 || err != nil {
			t.Error("a log is gone", err)
		}
		if s.newest().number < 2 {
			t.Fatal("no second bucket was begun")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, Options{Path: dir, RetainBytes: MinRetainBytes})
	}
}

func FuzzParseRecord(f *testing.F) {
	key := logKey(1, 2)
	f.Add(key, appendRecord(nil, key, Record{Base: 2, Count: 3, Commit: 4, StoredAt: 5}, [][]byte{[]byte("data")}))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := parseRecord(key, value)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		if r.Count <= 0 || r.Count > math.MaxUint32 {
			t.Errorf("%d entries", r.Count)
		}
		if again := appendRecord(nil, key, r, [][]byte{r.Data}); !bytes.Equal(again, value) {
			t.Errorf("%x is read as %x", value, again)
		}
	})
}

func TestManyRestarts(t *testing.T) {
	dir := t.TempDir()
	var last int64
	for i := range maxTables + 10 {
		s := open(t, Options{Path: dir})
		if i == 0 {
			var b Batch
			b.CreateLog(1)
			commit(t, s, &b)
		}
		appendTo(t, s, 1, last, "x")
		last++
		if tables := len(s.newest().engine.(*badgerEngine).db.Tables()); tables > maxTables+1 {
			t.Fatalf("after %d restarts there are %d tables", i, tables)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Options{Path: dir})
	if s.newest().number != 2 {
		t.Errorf("%d buckets", s.newest().number)
	}
	for offset := range last {
		if r, err := s.Read(1, offset); err != nil || string(r.Data) != "x" {
			t.Fatal(offset, err)
		}
	}
}

// TestGoroutinesHaveNoLabels: what stays behind when a bucket is opened is not
// taken for the work of who happened to need it first.
func TestGoroutinesHaveNoLabels(t *testing.T) {
	var e *badgerEngine
	var err error
	pprof.Do(t.Context(), pprof.Labels("case", "of-somebody"), func(context.Context) {
		e, err = openBadger(filepath.Join(t.TempDir(), "b"), 1<<20, false, slog.New(slog.DiscardHandler))
	})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := errors.Join(pprof.Lookup("goroutine").WriteTo(&text, 1), e.close()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "of-somebody") {
		t.Errorf("goroutines have the caller's labels:\n%s", text.String())
	}
}
