package dlq

import (
	"context"
	"math"
	"sync"
	"time"
)

// DefaultRamp is the default of Options.Ramp.
const DefaultRamp = 10 * time.Second

// rampStart is the part of its rate at which a job begins.
const rampStart = 0.1

// A pace lets messages be sent at a rate, which it reaches in the course of a
// ramp: whatever is wrong with the receivers still shows before they have got many.
// What is not sent in its time is not made up for. A nil pace does not wait.
type pace struct {
	rate float64 // a second
	ramp float64 // seconds

	mu    sync.Mutex
	began time.Time
	next  time.Time // when more may be sent
}

func newPace(rate float64, ramp time.Duration) *pace {
	if rate == 0 {
		return nil
	}
	return &pace{rate: rate, ramp: max(ramp, 0).Seconds()}
}

// wait waits until n messages may be sent, and returns false if ctx ends first.
func (p *pace) wait(ctx context.Context, n int) bool {
	if p == nil {
		return ctx.Err() == nil
	}
	p.mu.Lock()
	now := time.Now()
	if p.began.IsZero() {
		p.began = now
	}
	at := now
	if p.next.After(now) {
		at = p.next
	}
	p.next = at.Add(p.takes(n, at.Sub(p.began).Seconds()))
	p.mu.Unlock()
	return sleep(ctx, at.Sub(now))
}

// takes returns how long the rate takes for n messages, from so many seconds on.
func (p *pace) takes(n int, from float64) time.Duration {
	want := p.sent(from) + float64(n)
	var at float64
	if top := p.sent(p.ramp); want >= top {
		at = p.ramp + (want-top)/p.rate
	} else {
		slope := p.rate * (1 - rampStart) / p.ramp
		low := p.rate * rampStart
		at = (math.Sqrt(low*low+2*slope*want) - low) / slope
	}
	return time.Duration((at - from) * float64(time.Second))
}

// sent returns how many messages the rate allows in the first seconds: while it
// rises, and after that.
func (p *pace) sent(seconds float64) float64 {
	rising := min(seconds, p.ramp)
	n := (seconds - rising) * p.rate
	if rising > 0 {
		n += p.rate * rising * (rampStart + (1-rampStart)*rising/(2*p.ramp))
	}
	return n
}
