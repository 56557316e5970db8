//go:build unix

package stdio

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup lets the child lead a process group, so that it can be killed with
// everything it started.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
