package queue_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

var errDown = errors.New("the provider is down")

// TestBreaker holds that while a dependency is down, a subscription handles only
// what tries it, and that the other messages spend no receive.
func TestBreaker(t *testing.T) {
	for _, stand := range []int{1, 3} {
		t.Run(fmt.Sprint(stand, " pollers"), func(t *testing.T) { testBreaker(t, stand) })
	}
}

func testBreaker(t *testing.T, stand int) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		dlq := s.createQueue(t, "dlq")
		url := s.createQueue(t, "q", "RedrivePolicy", s.redrivePolicy(t, dlq, 6))
		const messages = 40
		for i := range messages {
			s.send(t, url, fmt.Sprint(i))
		}
		b := queue.NewBreaker(queue.BreakerConfig{Failures: 3})
		q := testQueue{s, "q", url}
		sub := newSubscriber(t, queue.SubscriberConfig{
			AWS:        s.aws,
			Endpoints:  q.endpoints(t, queue.Endpoint{Concurrency: 4, MinPollers: stand}),
			BreakerFor: func(queue.Endpoint) *queue.Breaker { return b },
		})
		ch := subscribe(t, sub, "q")
		var down atomic.Bool
		down.Store(true)
		var failed, handled, again atomic.Int64
		handler := b.Middleware(func(msg *message.Message) ([]*message.Message, error) {
			if down.Load() {
				failed.Add(1)
				return nil, errDown
			}
			handled.Add(1)
			if queue.FromContext(msg.Context()).ReceiveCount > 1 {
				again.Add(1)
			}
			return nil, nil
		})
		go func() {
			for msg := range ch {
				go func() {
					if _, err := handler(msg); err != nil {
						msg.Nack()
					} else {
						msg.Ack()
					}
				}()
			}
		}()

		// Tries after 10, 30, 70, 150 and 310 s.
		time.Sleep(5 * time.Minute)
		if n := failed.Load(); n > 4+4+4 {
			t.Errorf("%d handlers ran in five minutes without the dependency; want those that were out, and four tries", n)
		}
		if n := s.emulator.Requests()["sqs.ReceiveMessage"]; n > int64(2+stand+4) {
			t.Errorf("%d receives in five minutes; want one a try", n)
		}
		if b.State() != queue.BreakerOpen {
			t.Errorf("the breaker is %v", b.State())
		}
		down.Store(false)
		time.Sleep(5 * time.Minute)
		if got := s.depth(t, url); got != "0 visible, 0 in flight" || handled.Load() != messages || b.State() != queue.BreakerClosed {
			t.Errorf("%s, %d handled, breaker %v; want all handled", got, handled.Load(), b.State())
		}
		if got := s.depth(t, dlq); got != "0 visible, 0 in flight" {
			t.Errorf("the dead-letter queue has %s", got)
		}
		if n, most := again.Load(), failed.Load(); n > most {
			t.Errorf("%d messages were received again for %d handlers that failed", n, most)
		}
	})
}

// TestBreakerHalfOpen holds that what a receive brings that was under way when
// the breaker opened waits hidden, and that then one message tries at a time.
func TestBreakerHalfOpen(t *testing.T) {
	for _, works := range []bool{true, false} {
		t.Run(fmt.Sprintf("works=%t", works), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				url := s.createQueue(t, "q")
				b := queue.NewBreaker(queue.BreakerConfig{})
				ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{
					AWS: s.aws, BreakerFor: func(queue.Endpoint) *queue.Breaker { return b },
				}), "sqs://q")
				synctest.Wait() // a receive is open
				b.Trip(5 * time.Minute)
				s.send(t, url, "a", "b", "c")
				none(t, ch, 5*time.Minute-time.Second)

				trial := next(t, ch)
				if b.State() != queue.BreakerHalfOpen {
					t.Errorf("a message tries while the breaker is %v", b.State())
				}
				none(t, ch, time.Minute)
				failed := ""
				if !works {
					failed = trial.UUID
					b.Report(errDown)
					trial.Nack()
					none(t, ch, 19*time.Second) // twice the cooldown
					trial = next(t, ch)
				}
				b.Report(nil)
				trial.Ack()
				for range 2 {
					msg := next(t, ch)
					if n := queue.FromContext(msg.Context()).ReceiveCount; n != 1 && msg.UUID != failed {
						t.Errorf("%s was received %d times; want once, as it did not try", msg.Payload, n)
					}
					msg.Ack()
				}
			})
		})
	}
}

// TestBreakerClose holds that a subscription whose breaker is open ends, and
// returns what waits.
func TestBreakerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		b := queue.NewBreaker(queue.BreakerConfig{})
		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, BreakerFor: func(queue.Endpoint) *queue.Breaker { return b }})
		ch := subscribe(t, sub, "sqs://q")
		synctest.Wait()
		b.Trip(time.Hour)
		s.send(t, url, "a")
		time.Sleep(10 * time.Minute)
		began := time.Now()
		if err := sub.Close(); err != nil || time.Since(began) > time.Second {
			t.Errorf("Close took %v: %v", time.Since(began), err)
		}
		if _, ok := <-ch; ok {
			t.Error("delivered while the breaker is open")
		}
		if got := s.depth(t, url); got != "1 visible, 0 in flight" {
			t.Error(got)
		}
		b.Reset()
	})
}

// TestBreakerStates holds when a breaker changes its state.
func TestBreakerStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var changes []string
		b := queue.NewBreaker(queue.BreakerConfig{
			Failures: 2, Cooldown: time.Minute, MaxCooldown: 3 * time.Minute,
			Counts: func(err error) bool { return errors.Is(err, errDown) },
			OnChange: func(s queue.BreakerState) {
				mu.Lock()
				defer mu.Unlock()
				changes = append(changes, s.String())
			},
		})
		handle := func(err error) {
			_, _ = b.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, err })(nil)
		}
		want := func(states ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(changes, states) {
				t.Errorf("%q, want %q", changes, states)
			}
			changes = nil
		}
		handle(errDown)
		handle(nil) // begins anew
		handle(errDown)
		handle(errors.New("of another kind"))
		want()
		handle(errDown)
		want("open")
		handle(nil) // was under way
		time.Sleep(time.Minute)
		want("half-open")
		handle(errDown)
		time.Sleep(2*time.Minute - time.Nanosecond)
		want("open")
		time.Sleep(time.Nanosecond)
		want("half-open")
		handle(errDown)
		time.Sleep(3 * time.Minute) // and not four
		want("open", "half-open")
		handle(nil)
		want("closed")
		b.Trip(0)
		time.Sleep(time.Minute)
		want("open", "half-open")
		b.Trip(time.Hour)
		b.Reset()
		want("open", "closed")
		time.Sleep(2 * time.Hour)
		want()

		var none *queue.Breaker
		none.Report(errDown)
		if none.State() != queue.BreakerClosed {
			t.Error("the nil breaker is not closed")
		}
	})
}

// The nil breaker is always closed, whatever it is told.
func TestNilBreaker(t *testing.T) {
	var b *queue.Breaker
	b.Trip(0)
	b.Report(errors.New("down"))
	b.Reset()
	if s := b.State(); s != queue.BreakerClosed {
		t.Errorf("it is %v", s)
	}
	handled := false
	h := b.Middleware(func(*message.Message) ([]*message.Message, error) {
		handled = true
		return nil, nil
	})
	if _, err := h(message.NewMessage("m", nil)); err != nil || !handled {
		t.Errorf("handled: %t, %v", handled, err)
	}
}
