package pipeline

import (
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Defaults of the fields of a [Retry] that are zero.
const (
	DefaultAttempts   = 3
	DefaultInterval   = 100 * time.Millisecond
	DefaultMultiplier = 2.0
	DefaultMaxElapsed = 30 * time.Second
)

// Retry says what follows a failure that is not permanent. First the filter is
// run again in place, with a backoff, while its message stays hidden from other
// receivers: short failures are over in that time. Then the message goes back
// to its queue for longer, with a delay that grows with its receive count.
type Retry struct {
	// Attempts caps the runs of the filter in one receive of a message. 1
	// does not retry in place. Defaults to 3.
	Attempts int

	// Interval is the pause before the second run. Each further pause is
	// Multiplier times as long, and all are up to half longer or shorter at
	// random. Default to 100 ms and 2.
	Interval   time.Duration
	Multiplier float64

	// MaxElapsed bounds the time in place: no run begins later than this
	// after the first began. A message in place keeps one of the endpoint's
	// Concurrency busy. Defaults to 30 s.
	MaxElapsed time.Duration

	// Redelivery returns how long a message stays hidden in its queue after
	// receive number receiveCount failed, from 1. [RetryAfter] overrides it.
	// Defaults to the backoff of the subscriber: queue.DefaultBackoff, unless
	// its configuration says otherwise. It has no effect on transports other
	// than package queue.
	Redelivery func(receiveCount int) time.Duration
}

// over returns the policy with the fields of other that are set.
func (r Retry) over(other Retry) Retry {
	setDefault(&other.Attempts, r.Attempts)
	setDefault(&other.Interval, r.Interval)
	setDefault(&other.Multiplier, r.Multiplier)
	setDefault(&other.MaxElapsed, r.MaxElapsed)
	if other.Redelivery == nil {
		other.Redelivery = r.Redelivery
	}
	return other
}

var defaultRetry = Retry{
	Attempts:   DefaultAttempts,
	Interval:   DefaultInterval,
	Multiplier: DefaultMultiplier,
	MaxElapsed: DefaultMaxElapsed,
}

func (r Retry) validate() error {
	switch {
	case r.Attempts < 0:
		return fmt.Errorf("field Attempts is %d; want 1 or more, or 0 for the default", r.Attempts)
	case r.Interval < 0:
		return fmt.Errorf("field Interval is %v; want more than 0, or 0 for the default", r.Interval)
	case r.Multiplier != 0 && r.Multiplier < 1:
		return fmt.Errorf("field Multiplier is %v; want 1 or more, or 0 for the default", r.Multiplier)
	case r.MaxElapsed < 0:
		return fmt.Errorf("field MaxElapsed is %v; want more than 0, or 0 for the default", r.MaxElapsed)
	}
	return nil
}

// backoff returns the pauses of one receive.
func (r Retry) backoff() backoff.BackOff {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(r.Interval),
		backoff.WithMultiplier(r.Multiplier),
		backoff.WithMaxInterval(r.MaxElapsed),
		backoff.WithMaxElapsedTime(r.MaxElapsed),
	)
	return backoff.WithMaxRetries(b, uint64(r.Attempts-1))
}

// inPlace reports whether a failure may be over in the time that retries in
// place take.
func inPlace(err error) bool {
	var later *retryAfterError
	return !IsPermanent(err) && !isUndecodable(err) && !errors.As(err, &later)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
