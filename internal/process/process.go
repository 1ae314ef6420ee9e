// Package process measures what this process has used.
package process

import (
	"runtime"
	"syscall"
	"time"
)

// Usage is the CPU time of this process so far and its peak memory in MB.
func Usage() (cpu time.Duration, rssPeakMB float64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	peak := float64(u.Maxrss) / 1024 // kilobytes on Linux
	if runtime.GOOS == "darwin" {
		peak /= 1024 // bytes on macOS
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), peak
}
