//go:build unix

package recommendtest

import "syscall"

// cpu is how many nanoseconds of CPU the process has used: on a shared machine
// a steadier measure than the time that passes.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
