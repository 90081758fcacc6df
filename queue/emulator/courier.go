package emulator

import (
	"context"
	"sync"
	"time"
)

// couriers bring messages to endpoints that may not take them at once: those of http and https, and functions.
// Each has a goroutine while it is at work or waits for its next try.
type couriers struct {
	ctx  context.Context // ends with the server
	stop context.CancelFunc

	mu     sync.Mutex
	closed bool
	out    sync.WaitGroup
}

func newCouriers() *couriers {
	ctx, stop := context.WithCancel(context.Background())
	return &couriers{ctx: ctx, stop: stop}
}

// send has a courier do something, unless the server is closed.
func (k *couriers) send(f func(context.Context)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.out.Go(func() { f(k.ctx) })
}

func (k *couriers) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.stop()
	k.out.Wait()
}

// Close ends the deliveries of topics over HTTP and to functions, those that wait for another try too, and waits
// until they have ended. What was not delivered is lost. A server without such subscriptions needs no closing.
func (s *Server) Close() {
	s.couriers.close()
	if s.ownWeb {
		s.web.CloseIdleConnections()
	}
}

// A letter is what an endpoint is to get.
type letter struct {
	kind string // x-amz-sns-message-type
	id   string
	raw  bool
	body string

	notification Notification // for functions
}

// endpoint is where couriers go.
type endpoint interface {
	// take brings a letter there. Where it fails, again says whether it may work another time.
	take(ctx context.Context, l *letter) (err error, again bool)
}

// carry brings a letter to a subscription's endpoint, as often as its policy says. What is not taken goes to the
// dead-letter queue of the subscription, or is lost.
func (s *Server) carry(ctx context.Context, sub *subscription, l *letter) {
	var failed error
	for retry := 1; ; retry++ {
		var wait time.Duration
		if l.kind == kindNotification {
			wait = sub.turn(s.clock.Now())
		}
		if !s.pause(ctx, wait) || s.isGone(sub, l) {
			return
		}
		err, again := sub.endpoint.take(ctx, l)
		if err == nil || ctx.Err() != nil {
			return
		}
		failed = err
		s.log.Debug("a delivery failed", "subscription", sub.arn, "type", l.kind, "message_id", l.id, "try", retry, "error", err)
		delay, more := sub.retries().delay(retry)
		if !again || !more {
			break
		}
		if !s.pause(ctx, delay) {
			return
		}
	}
	if l.kind != kindNotification {
		s.log.Warn("an endpoint could not be told", "subscription", sub.arn, "type", l.kind, "error", failed)
		return
	}
	s.buryPublication(sub, arrival{message: &message{content: s.delivered("", l.body, nil, s.clock.Now())}}, l.id, failed)
}

// isGone reports whether a subscription was removed. Its cancellation is brought all the same.
func (s *Server) isGone(sub *subscription, l *letter) bool {
	_, there := s.subs.Load(sub.arn)
	return !there && l.kind != kindUnsubscribed
}

// pause waits, and reports false if the server was closed meanwhile.
func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	done := make(chan struct{})
	stop := s.clock.AfterFunc(d, func() { close(done) })
	defer stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// turn returns how long a delivery must wait so that the subscription gets no more messages in a second than its
// policy says.
func (sub *subscription) turn(now time.Time) time.Duration {
	most := sub.throttle()
	if most == 0 {
		return 0
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	at := sub.next
	if at.Before(now) {
		at = now
	}
	sub.next = at.Add(time.Second / time.Duration(most))
	return at.Sub(now)
}
