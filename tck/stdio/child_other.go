//go:build !unix

package stdio

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

// killGroup kills the child only: there are no process groups here.
func killGroup(p *os.Process) { _ = p.Kill() }
