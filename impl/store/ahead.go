package store

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
)

const (
	// aheadWindow is how far the pages of a value log are made before they are
	// written, and aheadStep after how many bytes of values more are made.
	aheadWindow = 24 << 20
	aheadStep   = 4 << 20
	// aheadRead is what one read asks for: less, and the kernel makes smaller
	// pages; more, and the copy leaves the processor's cache.
	aheadRead = 256 << 10
)

// readAhead makes the pages that the next values will be written to. Badger's
// value log is a mapped file that has no blocks yet: a commit that writes to it
// stops at each page of 4 KiB for the kernel to find, clear and enter one, which
// takes longer than everything else in a large commit. A read of the hole has the
// kernel make many pages at a time, and beside the commit. It writes nothing.
type readAhead struct {
	dir     string
	written int // since the last wake; used by the one who commits
	wake    chan struct{}
	over    chan struct{}
	done    sync.WaitGroup

	name string // of the file
	file *os.File
	hole int64 // where nothing has been written
	made int64 // up to where the pages are made
}

// startAhead begins to look after the newest value log in a folder.
func startAhead(dir string) *readAhead {
	a := &readAhead{dir: dir, wake: make(chan struct{}, 1), over: make(chan struct{})}
	a.done.Go(a.run)
	return a
}

// wrote tells of values that were written.
func (a *readAhead) wrote(bytes int) {
	if a.written += bytes; a.written < aheadStep {
		return
	}
	a.written = 0
	select {
	case a.wake <- struct{}{}:
	default: // it has not got to the last one yet
	}
}

func (a *readAhead) stop() {
	close(a.over)
	a.done.Wait()
}

func (a *readAhead) run() {
	buffer := make([]byte, aheadRead)
	for {
		select {
		case <-a.wake:
			a.fill(buffer)
		case <-a.over:
			if a.file != nil {
				_ = a.file.Close() // it was only read
			}
			return
		}
	}
}

// fill makes the pages of the window behind what is written. An error ends it:
// who commits will notice what matters.
func (a *readAhead) fill(buffer []byte) {
	if !a.follow() {
		return
	}
	for a.made = max(a.made, a.hole); a.made < a.hole+aheadWindow; {
		n, err := a.file.ReadAt(buffer, a.made)
		a.made += int64(n)
		if err != nil {
			return
		}
	}
}

// follow finds the file that is written and where its written part ends.
func (a *readAhead) follow() bool {
	files, err := filepath.Glob(filepath.Join(a.dir, "*.vlog"))
	if err != nil || len(files) == 0 {
		return false
	}
	if newest := slices.Max(files); newest != a.name {
		f, err := os.Open(newest)
		if err != nil {
			return false
		}
		if a.file != nil {
			_ = a.file.Close()
		}
		a.name, a.file, a.hole, a.made = newest, f, 0, 0
	}
	hole, err := seekHole(a.file, a.hole)
	if err != nil {
		return false
	}
	a.hole = hole
	return true
}
