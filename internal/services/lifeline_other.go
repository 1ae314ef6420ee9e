//go:build !linux

package services

import "syscall"

// tie does nothing: only Linux tells a process that its parent has died. A
// test that is killed leaves its services running here.
func tie(*syscall.SysProcAttr, syscall.Signal) {}
