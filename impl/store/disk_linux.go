package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes the content of a file that does not grow durable.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
