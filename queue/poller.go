package queue

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	// slotLinger is how long a free slot may wait for others to share the
	// receive that fills them.
	slotLinger = 50 * time.Millisecond

	// helperWait is the long poll of the pollers that join under load. They
	// leave again when a receive comes back short, so their wait is short.
	helperWait = time.Second

	// answerTimeout is how long a receive may take beyond its long poll.
	answerTimeout = 15 * time.Second

	// readTimeout is how long reading an answer may take when the
	// subscription drains.
	readTimeout = 5 * time.Second

	// Bounds of the pause after a receive that failed.
	minPollPause = 200 * time.Millisecond
	maxPollPause = 20 * time.Second
)

// poll receives and delivers until ctx ends. Poller 0 has a receive open
// whenever there are slots for it, and so have the others of the endpoint's
// MinPollers while nothing is against it. The rest join, one for each signal on
// full, while receives come back full.
func (s *subscription) poll(ctx context.Context, number int, full chan struct{}) {
	helper, stands := number > 0, number < s.endpoint.MinPollers
	wait := s.config.PollWait
	if !stands {
		wait = min(helperWait, wait)
	}
	t := trouble{reported: !helper}
	for {
		if helper && !s.join(ctx, stands, full) {
			return
		}
		for {
			if !s.pace.pause(ctx) {
				return
			}
			all, err := s.receiveOnce(ctx, wait, helper)
			if all {
				select {
				case full <- struct{}{}:
				default:
				}
			}
			s.keepPace(err)
			if ctx.Err() != nil || !s.outlast(ctx, &t, err) {
				return
			}
			goesOn := all || stands && s.breaker.State() == BreakerClosed
			if helper && (!goesOn || !s.pace.stay()) {
				break
			}
		}
		if helper {
			s.pace.leave()
		}
	}
}

// standPause is how long a poller that stands by looks away when it may not
// receive.
const standPause = time.Second

// join waits until a helper is to receive: one that stands by whenever it may, the
// others when receives come back full. It returns false when ctx ends.
func (s *subscription) join(ctx context.Context, stands bool, full <-chan struct{}) bool {
	for {
		switch {
		case !stands:
			select {
			case <-full:
			case <-ctx.Done():
				return false
			}
		case ctx.Err() != nil:
			return false
		}
		if (!stands || s.breaker.State() == BreakerClosed) && s.pace.join() {
			return true
		}
		if stands && !sleep(ctx, standPause) {
			return false
		}
	}
}

// keepPace adapts how the subscription receives to what a receive returned.
func (s *subscription) keepPace(err error) {
	var e *Error
	switch {
	case err == nil:
		s.pace.worked()
	case errors.As(err, &e) && e.Kind == ErrThrottled:
		if pollers, slower := s.pace.throttled(); slower {
			s.log.Warn("throttled; receiving more slowly", "pollers", pollers, "error", err)
		}
	}
}

// receiveOnce receives messages and delivers them. It reports whether there were
// as many as it asked for, which more pollers could help with.
func (s *subscription) receiveOnce(ctx context.Context, wait time.Duration, helper bool) (all bool, err error) {
	size, err := s.takeAllowed(ctx, helper)
	if err != nil || size == 0 {
		return false, err
	}
	if err := s.held.Acquire(ctx, int64(size)); err != nil {
		s.freeSlots(size)
		return false, err
	}
	messages, err := s.receiveHeld(ctx, size, wait)
	unused := size - len(messages)
	s.held.Release(int64(unused))
	s.freeSlots(unused)
	s.deliver(messages)
	return unused == 0 && s.breaker.State() == BreakerClosed, err
}

// takeAllowed takes the slots of a receive, of which the breaker may allow one or
// none. The one is poller 0's; a helper does not wait for more.
func (s *subscription) takeAllowed(ctx context.Context, helper bool) (n int, err error) {
	all := batchSize(s.endpoint)
	allowed := func() (int, <-chan struct{}) {
		n, changed := s.breaker.most(all)
		if helper && s.breaker.State() != BreakerClosed {
			n = 0
		}
		return n, changed
	}
	for {
		most, changed := allowed()
		if most == 0 {
			if helper {
				return 0, nil
			}
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		if n, err = s.takeSlots(ctx, most); err != nil {
			return 0, err
		}
		// The breaker may have opened meanwhile.
		if most, _ := allowed(); n <= most {
			return n, nil
		}
		s.freeSlots(n)
	}
}

// receiveHeld receives messages and holds them. That a client or the decoding of
// a message panics is an error like others: it does not end the subscription.
// What was received then comes again when its visibility ends.
func (s *subscription) receiveHeld(ctx context.Context, size int, wait time.Duration) (all []*held, err error) {
	defer func() {
		if r := recover(); r != nil {
			all, err = nil, &Error{Op: "ReceiveMessage", Endpoint: s.endpoint.Name, URL: s.endpoint.URL, Kind: ErrUnavailable,
				Err: fmt.Errorf("panic: %v\n%s", r, debug.Stack())}
		}
	}()
	began := time.Now()
	messages, at, err := s.receive(ctx, size, wait)
	all = s.hold(ctx, messages, at)
	if ctx.Err() == nil || err == nil { // else the receive ended with the subscription
		s.traceReceive(began, at, all, err)
	}
	return all, err
}

// takeSlots takes the slots of a receive, so that whatever it brings can be
// handed out at once: a message that waits here for its turn would go back to
// the queue when the process stops, one receive poorer. It waits for a slot, and
// from then on for at most slotLinger until there are as many as a receive can
// bring, which is most. Pollers take turns, so that they do not share out what is one batch.
func (s *subscription) takeSlots(ctx context.Context, most int) (n int, err error) {
	select {
	case s.taking <- struct{}{}:
		defer func() { <-s.taking }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	var linger *time.Timer
	var late <-chan time.Time
	for n < most {
		select {
		case s.slots <- struct{}{}:
		case <-late:
			return n, nil
		case <-ctx.Done():
			s.freeSlots(n)
			return 0, ctx.Err()
		}
		if n++; linger == nil {
			linger = time.NewTimer(slotLinger)
			defer linger.Stop()
			late = linger.C
		}
	}
	if ctx.Err() != nil { // which select may pass over
		s.freeSlots(n)
		return 0, ctx.Err()
	}
	return n, nil
}

// freeSlots gives slots back.
func (s *subscription) freeSlots(n int) {
	for range n {
		<-s.slots
	}
}

// receive makes one receive call, and returns when its messages were handed out,
// as far as is known: SQS counts their visibility from then, and to read ten
// large messages can take a good part of it.
//
// When ctx ends, the call is cancelled only after ReceiveGrace, and not while its
// answer is being read: the messages in an answer that nobody reads are lost to
// everyone until their visibility ends.
func (s *subscription) receive(ctx context.Context, size int, wait time.Duration) (messages []sqstypes.Message, at time.Time, err error) {
	began := time.Now()
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait+answerTimeout)
	defer cancel()
	var answered atomic.Pointer[time.Time]
	call = httptrace.WithClientTrace(call, &httptrace.ClientTrace{
		GetConn:              func(string) { answered.Store(nil) }, // of the next attempt
		GotFirstResponseByte: func() { now := time.Now(); answered.Store(&now) },
	})
	stop := context.AfterFunc(ctx, func() {
		if sleep(call, s.config.ReceiveGrace-time.Since(began)) && answered.Load() != nil {
			sleep(call, readTimeout)
		}
		cancel()
	})
	defer stop()
	out, err := s.client.ReceiveMessage(call, &sqs.ReceiveMessageInput{
		QueueUrl:                    s.url.Load(),
		MaxNumberOfMessages:         int32(size),
		WaitTimeSeconds:             int32(wait / time.Second),
		VisibilityTimeout:           int32(s.endpoint.Visibility / time.Second),
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameAll},
		ReceiveRequestAttemptId:     attemptID(s.endpoint),
	}, s.opt)
	if err != nil {
		return nil, time.Time{}, newError("ReceiveMessage", s.endpoint, err)
	}
	at = time.Now()
	if first := answered.Load(); first != nil {
		at = *first
	}
	messages = out.Messages[:min(len(out.Messages), size)] // by protocol, never more
	s.stats.received.Add(int64(len(messages)))
	return messages, at, nil
}

// A trouble is a run of failed receives of one poller.
type trouble struct {
	kind     error
	pause    time.Duration
	reported bool // by Subscriber.Err
}

// outlast pauses after a receive that failed, with backoff, and looks the queue
// up again if it was gone. It returns false when ctx ends. It logs the first of
// a run of errors of the same kind, and the end of the run.
func (s *subscription) outlast(ctx context.Context, t *trouble, err error) bool {
	var e *Error
	if err != nil && !errors.As(err, &e) {
		return false // ctx has ended
	}
	if t.reported {
		s.failing.Store(e)
	}
	if err == nil {
		if t.pause != 0 {
			s.log.Info("receiving again")
			t.kind, t.pause = nil, 0
		}
		return true
	}
	if t.pause == 0 || e.Kind != t.kind {
		s.log.Error("cannot receive; trying again until it works", "error", err)
	}
	t.kind = e.Kind
	for {
		t.pause = min(max(2*t.pause, minPollPause), maxPollPause)
		if !sleep(ctx, jitter(t.pause)) {
			return false
		}
		if e.Kind != ErrNotFound {
			return true
		}
		err := s.lookup(ctx)
		if err != nil {
			s.log.Debug("cannot look the queue up", "error", err)
		}
		if !errors.Is(err, ErrNotFound) { // what is there now may not be as it was
			return ctx.Err() == nil
		}
	}
}
