//go:build race

package dlq_test

const raceDetector = true
