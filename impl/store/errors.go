package store

import (
	"errors"
	"fmt"
)

// Errors of a store. They are matched with errors.Is; the texts of the errors
// that wrap them say where and what to do.
var (
	// ErrCorrupt: stored bytes are damaged or missing.
	ErrCorrupt = errors.New("stored data is damaged")
	// ErrLocked: another process holds the store.
	ErrLocked = errors.New("store is in use")
	// ErrFormat: the folder is not a store, or one of a newer version.
	ErrFormat = errors.New("not a store of this version")
	// ErrFull: free space is below the reserve. It ends when space returns.
	ErrFull = errors.New("disk is nearly full")
	// ErrFailed: a commit failed before; the store must be opened again.
	ErrFailed = errors.New("store has failed")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("store is closed")
	// ErrBeyond: no record holds the offset yet.
	ErrBeyond = errors.New("offset is beyond the end")
	// ErrDropped: the offset is below the log's start.
	ErrDropped = errors.New("offset is below the start")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}
