//go:build !unix

package store

import (
	"io/fs"
	"math"
	"path/filepath"
)

// freeSpace is not known here: the free-space guard is off.
func freeSpace(string) (int64, error) { return math.MaxInt64, nil }

// diskUse returns the bytes of the files below dir.
func diskUse(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			if info, err := d.Info(); err == nil && !d.IsDir() {
				total += info.Size()
			}
		}
		return nil
	})
	return total
}
