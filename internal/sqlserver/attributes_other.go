//go:build !linux

package sqlserver

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }

func attributesAs(int, int) *syscall.SysProcAttr { return nil }
