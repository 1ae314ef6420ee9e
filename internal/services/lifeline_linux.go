package services

import "syscall"

// tie makes the kernel send the process a signal when the thread that starts
// it ends, so that nothing is left of a test that is killed.
func tie(attributes *syscall.SysProcAttr, signal syscall.Signal) { attributes.Pdeathsig = signal }
