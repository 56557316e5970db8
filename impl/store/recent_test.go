package store

import (
	"errors"
	"runtime"
	"testing"
)

// TestRecordsAreReadOnce reads a record again, from any offset of it, and has it
// still there while somebody uses it.
func TestRecordsAreReadOnce(t *testing.T) {
	var c recent
	r := &Record{Base: 5, Count: 3, Data: []byte("data")}
	c.add(70, r)
	for offset, want := range map[int64]*Record{4: nil, 5: r, 7: r, 8: nil} {
		if got := c.find(70, offset); got != want {
			t.Errorf("offset %d: %v, want %v", offset, got, want)
		}
	}
	if c.find(6, 5) != nil { // has the same place
		t.Error("the record of another log")
	}
	next := &Record{Base: 8, Count: 3}
	c.add(70, next)
	runtime.GC()
	if c.find(70, 5) != r || c.find(70, 8) != next {
		t.Error("a record that is in use is forgotten")
	}
	runtime.KeepAlive(r)
	runtime.KeepAlive(next)
}

// TestDroppedRecordsAreNotReadAgain drops what was read just now.
func TestDroppedRecordsAreNotReadAgain(t *testing.T) {
	s := open(t, Options{Memory: true})
	defer s.Close()
	var b Batch
	b.CreateLog(1)
	b.Append(1, 0, 1, []byte("first"))
	if _, err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(1, 0); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	b.RemoveLog(1)
	if _, err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Read(1, 0); !errors.Is(err, ErrBeyond) {
		t.Errorf("a record of a log that is gone: %v %v", r, err)
	}
}
