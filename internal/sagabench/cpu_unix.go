//go:build unix

package sagabench

import (
	"syscall"
	"time"
)

// ownCPU is what this process has used so far.
func ownCPU() cpuTime {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return cpuTime{unknown: true}
	}
	return cpuTime{seconds: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()}
}
