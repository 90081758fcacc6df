package emulator

import "time"

// Clock is the server's only source of time. The default is package time, so a server used through
// [Server.Client] inside a testing/synctest bubble lives in the bubble's virtual time.
type Clock interface {
	// Now returns the current time.
	Now() time.Time

	// AfterFunc calls f on its own goroutine once d has passed. The function it returns stops the
	// call and reports whether it did so in time.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}
