package queue

import (
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Defaults of a [BreakerConfig].
const (
	DefaultBreakerFailures    = 5
	DefaultBreakerCooldown    = 10 * time.Second
	DefaultBreakerMaxCooldown = 5 * time.Minute
)

// A BreakerState is what a [Breaker] lets through.
type BreakerState int

// The states of a breaker.
const (
	BreakerClosed   BreakerState = iota // all messages
	BreakerOpen                         // none
	BreakerHalfOpen                     // one at a time, to try
)

// String returns "closed", "open" or "half-open".
func (s BreakerState) String() string {
	switch s {
	case BreakerClosed:
		return "closed"
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	}
	return fmt.Sprintf("BreakerState(%d)", int(s))
}

// A BreakerConfig configures a [Breaker].
type BreakerConfig struct {
	// Failures is how many failures in a row open the breaker. Defaults to 5.
	Failures int

	// Cooldown is how long the breaker stays open before it lets a message try.
	// It doubles with each try that fails, up to MaxCooldown. They default to
	// 10 s and 5 minutes.
	Cooldown, MaxCooldown time.Duration

	// Counts reports whether an error of a handler under [Breaker.Middleware]
	// is a failure of what the breaker is about; others say nothing of it.
	// Defaults to all errors.
	Counts func(error) bool

	// OnChange is told of each change of state, one after the other. It must
	// not call the breaker. Defaults to none.
	OnChange func(BreakerState)
}

// A Breaker stops subscriptions from receiving while something that their
// handlers need is down, so that messages wait in their queue and do not spend
// their receives on handlers that must fail. SubscriberConfig.BreakerFor gives
// it to a subscription; several may share one.
//
// While it is open, a subscription receives nothing, and what a receive brings
// that was under way waits, hidden by the heartbeat. When the cooldown is over,
// one message at a time is received and handled: the first that works closes
// the breaker, and the first that fails opens it again. Handlers tell it what
// they see, with [Breaker.Report] or [Breaker.Middleware]; a breaker of another
// library does with [Breaker.Trip] and [Breaker.Reset].
//
// It is safe for concurrent use. The nil breaker is always closed.
type Breaker struct {
	config BreakerConfig

	mu       sync.Mutex
	state    BreakerState
	failures int           // in a row
	cooldown time.Duration // the next
	timer    *time.Timer   // of the cooldown
	trying   bool          // a message is out to try
	changed  chan struct{} // closed when one may get through that could not
}

// NewBreaker returns a breaker that is closed.
func NewBreaker(config BreakerConfig) *Breaker {
	setDefault(&config.Failures, DefaultBreakerFailures)
	setDefault(&config.Cooldown, DefaultBreakerCooldown)
	setDefault(&config.MaxCooldown, max(DefaultBreakerMaxCooldown, config.Cooldown))
	return &Breaker{config: config, cooldown: config.Cooldown, changed: make(chan struct{})}
}

// State returns the state.
func (b *Breaker) State() BreakerState {
	if b == nil {
		return BreakerClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// Report tells the breaker how a call went of what it is about: nil for a
// success. While it is open, reports of messages that were under way count for
// nothing.
func (b *Breaker) Report(err error) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.state == BreakerOpen:
	case err == nil:
		b.reset()
	case b.state == BreakerHalfOpen:
		b.cooldown = min(2*b.cooldown, b.config.MaxCooldown)
		b.open(b.cooldown)
	default:
		if b.failures++; b.failures >= b.config.Failures {
			b.open(b.cooldown)
		}
	}
}

// Trip opens the breaker, and has it try after a time; 0 is the cooldown. It is
// for what decides itself, such as a breaker around the calls of a client.
func (b *Breaker) Trip(d time.Duration) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if d <= 0 {
		d = b.cooldown
	}
	b.open(d)
}

// Reset closes the breaker.
func (b *Breaker) Reset() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reset()
}

// Middleware reports what a handler returns.
func (b *Breaker) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if b == nil {
		return h
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		produced, err := h(msg)
		if err == nil || b.config.Counts == nil || b.config.Counts(err) {
			b.Report(err)
		}
		return produced, err
	}
}

// reset closes the breaker. b.mu is held.
func (b *Breaker) reset() {
	b.failures, b.cooldown = 0, b.config.Cooldown
	b.stop()
	b.set(BreakerClosed)
}

// open opens the breaker for a time. b.mu is held.
func (b *Breaker) open(d time.Duration) {
	b.failures = 0
	b.stop()
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.timer == timer {
			b.set(BreakerHalfOpen)
		}
	})
	b.timer = timer
	b.set(BreakerOpen)
}

// stop stops the cooldown. b.mu is held.
func (b *Breaker) stop() {
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
}

// set changes the state. b.mu is held.
func (b *Breaker) set(s BreakerState) {
	if b.state == s {
		return
	}
	b.state = s
	b.wake()
	if b.config.OnChange != nil {
		b.config.OnChange(s)
	}
}

// wake has all that wait look again. b.mu is held.
func (b *Breaker) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// enter lets a message be handled if the state allows it. One that tries must
// leave. Otherwise the channel is closed when it is worth to ask again.
func (b *Breaker) enter() (trial, ok bool, changed <-chan struct{}) {
	if b == nil {
		return false, true, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.state == BreakerClosed:
		return false, true, nil
	case b.state == BreakerHalfOpen && !b.trying:
		b.trying = true
		return true, true, nil
	default:
		return false, false, b.changed
	}
}

// leave ends a try.
func (b *Breaker) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	b.wake()
}

// most returns how many messages may be received at once, of a number that would
// be: all, one to try, or none before the channel is closed.
func (b *Breaker) most(all int) (n int, changed <-chan struct{}) {
	if b == nil {
		return all, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.state == BreakerClosed:
		return all, nil
	case b.state == BreakerHalfOpen && !b.trying:
		return 1, nil
	default:
		return 0, b.changed
	}
}
