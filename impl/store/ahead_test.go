package store

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestReadAhead: the pages behind what is written are read, in the newest file,
// and reading takes no blocks.
func TestReadAhead(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("holes of files are found on Linux only")
	}
	const size = 4 * aheadWindow
	dir := t.TempDir()
	a := &readAhead{dir: dir}
	buffer := make([]byte, aheadRead)
	a.fill(buffer) // there is no file
	for _, name := range []string{"000001.vlog", "000002.vlog"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		for written := int64(0); written < size; {
			n, err := f.WriteAt(bytes.Repeat([]byte{1}, 8<<20), written)
			if err == nil {
				err = f.Sync()
			}
			if err != nil {
				t.Fatal(err)
			}
			written += int64(n)
			before := diskUse(dir)
			a.fill(buffer)
			if want := min(written+aheadWindow, size); a.hole != written || a.made < want || a.made > want+aheadRead {
				t.Fatalf("%s: %d bytes are written: the hole is found at %d, and it is read up to %d", name, written, a.hole, a.made)
			}
			if after := diskUse(dir); after != before {
				t.Fatalf("reading took %d bytes of the disk", after-before)
			}
		}
	}
	_ = a.file.Close()
}
