package testserver

import (
	"fmt"
	"time"
)

const inTimeRuns = 10

// InTime runs a test of what happens in real time, and returns what it finds wrong.
// When this process stands still, deadlines pass that it would have kept. So what a
// run finds wrong is taken for true only if no wait of the process was longer than
// meant by more than bound; else there is another run, up to ten in all.
func InTime(bound time.Duration, run func() error) error {
	return inTime(bound, time.After, run)
}

func inTime(bound time.Duration, after func(time.Duration) <-chan time.Time, run func() error) error {
	var stood time.Duration
	var err error
	for range inTimeRuns {
		done := make(chan struct{})
		stop := make(chan time.Duration, 1)
		go func() { stop <- longestStop(after, done) }()
		err = run()
		close(done)
		if stood = <-stop; err == nil || stood <= bound {
			return err
		}
	}
	return fmt.Errorf("testserver: too slow to tell: in %d runs this process stood still, at last for %v: %w", inTimeRuns, stood, err)
}

// longestStop returns by how much waits are longer than they were meant to be, at
// most, until done is closed.
func longestStop(after func(time.Duration) <-chan time.Time, done <-chan struct{}) (longest time.Duration) {
	const period = 10 * time.Millisecond
	for {
		from := time.Now()
		ended := false
		select {
		case <-after(period):
		case <-done:
			ended = true
		}
		longest = max(longest, time.Since(from)-period)
		if ended {
			return longest
		}
	}
}
