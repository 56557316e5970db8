package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// TestManyMakeOneStore opens a folder that is not there yet from several
// places at once; who comes later must not make the store again.
func TestManyMakeOneStore(t *testing.T) {
	for range 10 {
		dir := filepath.Join(t.TempDir(), "store")
		var wg sync.WaitGroup
		commits := make(chan uint64, 100)
		for range 4 {
			wg.Go(func() {
				for {
					s, err := Open(Options{Path: dir, Reserve: 1 << 20})
					if errors.Is(err, ErrLocked) {
						runtime.Gosched()
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					var b Batch
					b.Put("k", nil)
					n, err := s.Commit(&b)
					if err := errors.Join(err, s.Close()); err != nil {
						t.Error(err)
					}
					commits <- n
					return
				}
			})
		}
		wg.Wait()
		close(commits)
		seen := make(map[uint64]bool)
		for n := range commits {
			if seen[n] {
				t.Fatalf("commit %d was made twice", n)
			}
			seen[n] = true
		}
	}
}

// TestUnfinishedStoreIsMadeAgain opens what a crash leaves while a store is
// made; without the sign of that, the same folder is a damaged store.
func TestUnfinishedStoreIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, Options{Path: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, fileFormat), filepath.Join(dir, fileBegun)); err != nil {
		t.Fatal(err)
	}
	if err := open(t, Options{Path: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, fileFormat)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: dir}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("without STORE: %v", err)
	}
}
