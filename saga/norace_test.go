//go:build !race

package saga_test

const raceDetector = false
