package sqlserver

import "syscall"

// attributes has a server end with the test that started it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// attributesAs has it run as another user too.
func attributesAs(uid, gid int) *syscall.SysProcAttr {
	a := attributes()
	a.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return a
}
