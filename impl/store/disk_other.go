//go:build !linux

package store

import (
	"errors"
	"os"
)

// syncData makes the content of a file that does not grow durable.
func syncData(f *os.File) error { return f.Sync() }

// seekHole is not known here.
func seekHole(*os.File, int64) (int64, error) { return 0, errors.ErrUnsupported }
