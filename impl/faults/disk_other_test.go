//go:build !linux

package faults_test

import (
	"math"
	"testing"
)

func freeSpace(*testing.T, string) int64 { return math.MaxInt64 }

func TestDiskFull(t *testing.T) {
	t.Skip("it needs a small disk of its own, which it can make on Linux only")
}

func TestReadOnlyDisk(t *testing.T) {
	t.Skip("it needs a disk of its own, which it can make on Linux only")
}

// diskUse is not known here.
func diskUse(string) int64 { return 0 }
