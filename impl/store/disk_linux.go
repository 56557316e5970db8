package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes the content of a file that does not grow durable.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// seekHole returns where the first part of a file from an offset on begins that
// has no blocks on the disk.
func seekHole(f *os.File, from int64) (int64, error) {
	return unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
}
