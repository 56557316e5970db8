//go:build unix

package auth

import (
	"cmp"
	"os"
	"syscall"
)

const checksModes = true

// nonblocking keeps the opening of a pipe from waiting for its writer.
const nonblocking = syscall.O_NONBLOCK

// syncFolder makes a rename in the folder durable.
func syncFolder(folder string) error {
	d, err := os.Open(cmp.Or(folder, "."))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
