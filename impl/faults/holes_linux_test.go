package faults_test

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nextData returns where the next part of a file begins that is no hole, at or
// behind a position; size when there is none.
func nextData(f *os.File, at, size int64) (int64, error) {
	next, err := f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, nil
	}
	return next, err
}
