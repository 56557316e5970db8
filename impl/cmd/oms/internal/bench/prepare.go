package bench

import (
	"errors"
	"os"
	"path/filepath"
)

// maxWarm bounds the memory that prepare touches.
const maxWarm = 2 << 30

// prepare gives every measurement the same machine, whatever ran before: what
// the system still has to write is written, and as much memory as the page
// cache will want has just been used. On a virtual machine memory that was
// never used, or long ago, costs ten times as much to fill, which decides a
// run more than what is measured does.
func prepare(dir string, bytes int64) (err error) {
	quieten()
	path := filepath.Join(dir, "warm")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	piece := make([]byte, 1<<20)
	for left := min(4*bytes, maxWarm); left > 0 && err == nil; left -= int64(len(piece)) {
		_, err = f.Write(piece)
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}
