//go:build !unix

package sagabench

// ownCPU is not known here.
func ownCPU() cpuTime { return cpuTime{unknown: true} }
