package emulator

import (
	"context"
	"slices"
	"time"
)

// maxInFlight is the number of messages that a standard queue lets be in flight: SQS developer guide,
// "Amazon SQS message quotas".
const maxInFlight = 120_000

// delivery is one receive of a message: what changes about it, copied under the lock.
type delivery struct {
	*content
	handle        string
	receives      int
	firstReceived time.Time
	source        string
}

// receiveOptions are the arguments of ReceiveMessage that concern the queue.
type receiveOptions struct {
	max        int
	wait       time.Duration           // negative: the queue's own
	visibility time.Duration           // negative: the queue's own
	twice      bool                    // the fault: leave a second copy of all that is received
	lookup     func(arn string) *queue // finds the dead-letter queue
}

// waiter is a long poll in the queue's line.
type waiter struct{ woken chan struct{} }

func (w *waiter) notify() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// receive takes messages, waiting for the first as long as the options or the queue say. When ctx ends it
// returns with nothing taken.
func (q *queue) receive(ctx context.Context, opts receiveOptions) ([]delivery, *Error) {
	q.mu.Lock()
	now := q.clock.Now()
	if opts.wait < 0 {
		opts.wait = q.set.wait
	}
	deadline := now.Add(opts.wait)
	for {
		if q.deleted {
			q.mu.Unlock()
			return nil, errQueueDoesNotExist()
		}
		out, dead, dlq, err := q.take(now, opts)
		q.wake() // those behind, if something is left
		if len(dead) > 0 {
			q.mu.Unlock()
			q.bury(dead, dlq)
			q.mu.Lock()
		}
		if err != nil && opts.wait > 0 && len(out) == 0 {
			err = nil // a long poll waits for room rather than fail
		}
		if len(out) > 0 || err != nil || !now.Before(deadline) {
			q.mu.Unlock()
			return out, err
		}
		if len(dead) > 0 {
			now = q.clock.Now()
			continue // the lock was let go: look again before waiting
		}
		if !q.await(ctx, deadline.Sub(now)) {
			q.mu.Unlock()
			return nil, nil
		}
		now = q.clock.Now()
	}
}

// await lets go of the lock until the waiter is woken, d has passed, or ctx ends. It reports whether
// somebody is still there to take a message.
func (q *queue) await(ctx context.Context, d time.Duration) bool {
	w := &waiter{woken: make(chan struct{}, 1)}
	q.waiters = append(q.waiters, w)
	q.arm()
	q.mu.Unlock()

	stop := q.clock.AfterFunc(d, w.notify)
	select {
	case <-w.woken:
	case <-ctx.Done():
	}
	stop()

	q.mu.Lock()
	if i := slices.Index(q.waiters, w); i >= 0 {
		q.waiters = slices.Delete(q.waiters, i, i+1)
	}
	if ctx.Err() != nil {
		q.wake() // whoever woke this one meant somebody to come
		return false
	}
	return true
}

// wake calls the first in line if there is something to take, and sees to the timer for what is due
// later. The one called takes itself out of the line, and calls the next if something is left.
func (q *queue) wake() {
	if len(q.waiters) > 0 && q.ready.n > 0 {
		w := q.waiters[0]
		q.waiters = q.waiters[1:]
		w.notify()
	}
	q.arm()
}

// arm runs a timer for the earliest hidden message while somebody waits for it.
func (q *queue) arm() {
	m := q.hidden.first()
	if len(q.waiters) == 0 || m == nil || q.deleted {
		if q.stopTimer != nil {
			q.stopTimer()
			q.stopTimer = nil
		}
		return
	}
	if q.stopTimer != nil {
		if q.timerAt.Equal(m.visibleAt) {
			return
		}
		q.stopTimer()
	}
	q.timerAt = m.visibleAt
	at := m.visibleAt
	q.stopTimer = q.clock.AfterFunc(at.Sub(q.clock.Now()), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.stopTimer != nil && q.timerAt.Equal(at) {
			q.stopTimer = nil
		}
		q.settle(q.clock.Now())
		q.wake()
	})
}

// take receives up to opts.max ready messages. Those that have been received as often as the redrive
// policy allows leave the queue, for the caller to bury in dlq.
func (q *queue) take(now time.Time, opts receiveOptions) (out []delivery, dead []*message, dlq *queue, err *Error) {
	q.settle(now)
	visibility := opts.visibility
	if visibility < 0 {
		visibility = q.set.visibility
	}
	if p := q.set.redrive; p != nil {
		dlq = opts.lookup(p.target) // where it is gone, messages stay: nothing is lost
	}
	for n := q.ready.n; n > 0 && len(out) < opts.max; n-- {
		m := q.ready.head
		switch {
		case dlq != nil && m.receives >= q.set.redrive.maxReceiveCount:
			q.drop(m)
			dead = append(dead, m)
		case q.inFlight >= maxInFlight:
			return out, dead, dlq, errOverLimit("Too many messages in flight.")
		default:
			out = append(out, q.deliver(m, now, visibility, opts.twice))
		}
	}
	return out, dead, dlq, nil
}

// deliver receives one message.
func (q *queue) deliver(m *message, now time.Time, visibility time.Duration, twice bool) delivery {
	m.receives++
	m.receipt++
	m.receivedAt = now
	if m.firstReceived.IsZero() {
		m.firstReceived = now
	}
	if visibility > 0 {
		q.hide(m, inFlight, now.Add(visibility))
	} else {
		q.show(m) // behind the others
	}
	if twice {
		q.last++
		c := &message{content: m.content, number: q.last, receives: m.receives, firstReceived: m.firstReceived, source: m.source}
		q.messages[c.number] = c
		q.ages.push(c)
		q.show(c)
	}
	return delivery{
		content:       m.content,
		handle:        receiptHandle(q.serial, m.number, m.receipt),
		receives:      m.receives,
		firstReceived: m.firstReceived,
		source:        m.source,
	}
}

// bury moves messages to the dead-letter queue, or back if it was deleted in this moment. A message keeps
// its id, its enqueue time and its receive count: SQS developer guide, "Using dead-letter queues".
func (q *queue) bury(dead []*message, dlq *queue) {
	arrivals := make([]arrival, len(dead))
	for i, m := range dead {
		m.source = q.arn
		arrivals[i] = arrival{message: m}
	}
	if dlq != nil && dlq.add(arrivals...) {
		return
	}
	for _, m := range dead {
		m.source = ""
	}
	q.add(arrivals...)
}
