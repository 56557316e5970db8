package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Path == "" && !o.Memory {
		o.Path = t.TempDir()
	}
	if o.Reserve == 0 {
		o.Reserve = 1 << 20
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func appendTo(t *testing.T, s *Store, log uint64, base int64, data ...string) {
	t.Helper()
	b := Batch{StoredAt: time.Now().UnixMilli()}
	for i, d := range data {
		b.Append(log, base+int64(i), 1, []byte(d))
	}
	commit(t, s, &b)
}

func commit(t *testing.T, s *Store, b *Batch) {
	t.Helper()
	if _, err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, s *Store) map[string]string {
	t.Helper()
	m := map[string]string{}
	if err := s.State(func(k string, v []byte) error { m[k] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReopenFindsLogsAndState(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Path: dir})
	var b Batch
	b.CreateLog(7)
	b.Put("a", []byte("1"))
	b.Put("b", nil)
	commit(t, s, &b)
	appendTo(t, s, 7, 0, "x", "y")
	appendTo(t, s, 7, 2, "z")
	var del Batch
	del.Delete("a")
	commit(t, s, &del)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, Options{Path: dir})
		if m := state(t, s); fmt.Sprint(m) != "map[b:]" {
			t.Errorf("state %v", m)
		}
		begin, next, ok, err := s.Bounds(7)
		if begin != 0 || next != 3 || !ok || err != nil {
			t.Errorf("bounds %d %d %v %v", begin, next, ok, err)
		}
		if r, err := s.Read(7, 1); err != nil || string(r.Data) != "xy" || r.Base != 0 || r.Count != 2 {
			t.Errorf("read %+v %v", r, err)
		}
		if r, err := s.Read(7, 2); err != nil || string(r.Data) != "z" {
			t.Errorf("read %+v %v", r, err)
		}
		if _, err := s.Read(7, 3); !errors.Is(err, ErrBeyond) {
			t.Errorf("read beyond: %v", err)
		}
	}
}

func TestRetentionDropsWholeBuckets(t *testing.T) {
	for _, memory := range []bool{false, true} {
		t.Run(fmt.Sprintf("memory=%v", memory), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Options{Path: dir, Memory: memory, RetainBytes: MinRetainBytes})
			var b Batch
			b.CreateLog(1)
			b.CreateLog(2)
			b.Put("kept", []byte("state"))
			commit(t, s, &b)
			appendTo(t, s, 2, 0, "idle")
			payload := string(make([]byte, 1<<20))
			dropped := int64(0)
			for i := range int64(200) {
				appendTo(t, s, 1, i, payload)
				e, ok, err := s.Expired(time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					dropped = e.Starts[1]
					s.Drop(e)
				}
				if size := s.Size(); size > MinRetainBytes+8<<20 {
					t.Fatalf("size %d after %d MiB", size, i)
				}
			}
			if dropped < 100 {
				t.Errorf("only %d MiB of 200 were dropped", dropped)
			}
			begin, next, _, err := s.Bounds(1)
			if begin != dropped || next != 200 || err != nil {
				t.Errorf("bounds %d %d %v, want %d 200", begin, next, err, dropped)
			}
			if _, err := s.Read(1, dropped-1); !errors.Is(err, ErrDropped) {
				t.Errorf("read of a dropped record: %v", err)
			}
			for i := dropped; i < 200; i++ {
				if r, err := s.Read(1, i); err != nil || len(r.Data) != 1<<20 {
					t.Fatalf("read %d: %v", i, err)
				}
			}
			if _, err := s.Read(2, 0); !errors.Is(err, ErrDropped) {
				t.Errorf("the idle log's record: %v", err)
			}
			if m := state(t, s); m["kept"] != "state" {
				t.Errorf("state %v", m)
			}
			if memory {
				return
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, Options{Path: dir, RetainBytes: MinRetainBytes})
			if begin, next, _, err := s.Bounds(1); begin != dropped || next != 200 || err != nil {
				t.Errorf("after reopening: bounds %d %d %v", begin, next, err)
			}
			if begin, next, _, err := s.Bounds(2); begin != 1 || next != 1 || err != nil {
				t.Errorf("after reopening: bounds of the idle log %d %d %v", begin, next, err)
			}
			for i := dropped; i < 200; i++ {
				if _, err := s.Read(1, i); err != nil {
					t.Fatalf("read %d: %v", i, err)
				}
			}
		})
	}
}
