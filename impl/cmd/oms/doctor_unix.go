//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// fileLimit returns how many files a Go program may open: it raises the soft limit
// to the hard one when it starts.
func fileLimit() (uint64, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return uint64(l.Max), os.NewSyscallError("getrlimit", err)
}

// mayWrite returns why this user may not write into a folder, nil when he may.
func mayWrite(path string) error { return unix.Access(path, unix.W_OK|unix.X_OK) }

// freeBytes returns the bytes that this user may still write below a folder.
func freeBytes(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
