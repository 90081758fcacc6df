package saga

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Retry says how often and how soon a failed step is tried again.
type Retry struct {
	// Attempts is how often the step runs at most, the first time included.
	// Defaults to 5. Forever never gives up.
	Attempts int `json:"attempts"`
	// Initial is the delay before the second attempt. Defaults to 200 ms.
	Initial time.Duration `json:"initial"`
	// Factor multiplies the delay from one attempt to the next. Defaults to 2.
	Factor float64 `json:"factor"`
	// Max caps the delay. Defaults to 1 minute.
	Max time.Duration `json:"max"`
	// Jitter spreads a delay d over d*(1-Jitter) to d, so that those who failed
	// together do not return together: 1 is full jitter. Defaults to 0.5; a
	// negative one means none.
	Jitter float64 `json:"jitter"`
}

// Forever as the number of attempts never gives up.
const Forever = -1

// Once is a Retry that does not retry.
func Once() Retry { return Retry{Attempts: 1} }

// Exponential is a Retry of so many attempts whose delays begin with initial,
// double, and stop growing at most.
func Exponential(initial, most time.Duration, attempts int) Retry {
	return Retry{Attempts: attempts, Initial: initial, Max: most}
}

// defaultUndoRetry is patient: what it gives up on, a person has to look at.
var defaultUndoRetry = Retry{Attempts: 10, Initial: 200 * time.Millisecond, Max: time.Minute}

// complete is the policy with its defaults.
func (r Retry) complete() *Retry {
	if r.Attempts == 0 {
		r.Attempts = 5
	}
	if r.Initial == 0 {
		r.Initial = 200 * time.Millisecond
	}
	if r.Factor == 0 {
		r.Factor = 2
	}
	if r.Max == 0 {
		r.Max = max(time.Minute, r.Initial)
	}
	switch {
	case r.Jitter == 0:
		r.Jitter = 0.5
	case r.Jitter < 0:
		r.Jitter = -1
	}
	return &r
}

func (r Retry) validate() error {
	switch {
	case r.Attempts < Forever:
		return fmt.Errorf("attempts is %d, want 1 or more, or saga.Forever", r.Attempts)
	case r.Initial < 0:
		return fmt.Errorf("initial delay is %s, want it positive", r.Initial)
	case r.Factor < 1:
		return fmt.Errorf("factor is %g, want 1 or more", r.Factor)
	case r.Max < r.Initial:
		return fmt.Errorf("longest delay %s is below the initial one, %s", r.Max, r.Initial)
	case r.Jitter > 1:
		return fmt.Errorf("jitter is %g, want at most 1", r.Jitter)
	}
	return nil
}

// exhausted reports whether the given number of tries was the last.
func (r Retry) exhausted(tries int) bool { return r.Attempts != Forever && tries >= r.Attempts }

// delay returns the time to wait after the given number of failed tries.
func (r Retry) delay(tries int) time.Duration {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(r.Initial),
		backoff.WithMultiplier(r.Factor),
		backoff.WithMaxInterval(r.Max),
		backoff.WithRandomizationFactor(0),
		backoff.WithMaxElapsedTime(0),
	)
	// Past some tries the interval has reached its cap.
	d := b.NextBackOff()
	for i := 1; i < min(tries, 200); i++ {
		d = b.NextBackOff()
	}
	return d - time.Duration(rand.Float64()*max(r.Jitter, 0)*float64(d))
}
