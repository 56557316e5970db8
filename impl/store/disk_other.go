//go:build !linux

package store

import "os"

// syncData makes the content of a file that does not grow durable.
func syncData(f *os.File) error { return f.Sync() }
