package emulator

import (
	"context"
	"slices"
	"time"
)

// maxInFlight is the number of messages that a queue lets be in flight, be it standard or FIFO: SQS developer
// guide, "Amazon SQS message quotas".
const maxInFlight = 120_000

// delivery is one receive of a message: what changes about it, copied under the lock.
type delivery struct {
	*content
	handle        string
	receives      int
	firstReceived int64 // in milliseconds of Unix time
	source        string
	dedup         string // in a FIFO queue, as is sequence
	sequence      string
}

// receiveOptions are the arguments of ReceiveMessage that concern the queue.
type receiveOptions struct {
	max        int
	wait       time.Duration           // negative: the queue's own
	visibility time.Duration           // negative: the queue's own
	attempt    string                  // ReceiveRequestAttemptId, if any
	twice      bool                    // the fault: leave a second copy of all that is received
	lookup     func(arn string) *queue // finds the dead-letter queue
	buried     func()                  // told that messages have gone there; may be nil

	// What take fills in.
	dlq         *queue // nil without one, or where it is gone
	maxReceives int
}

// dead reports whether a message has been received as often as the redrive policy allows.
func (o *receiveOptions) dead(m *message) bool { return o.dlq != nil && m.receives >= o.maxReceives }

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
		out, err := q.take(now, opts)
		q.wake() // those behind, if something is left
		buried := len(q.dead) > 0
		if buried {
			q.mu.Unlock()
			q.bury()
			if opts.buried != nil {
				opts.buried()
			}
			q.mu.Lock()
		}
		if err != nil && err.Code == "OverLimit" && opts.wait > 0 {
			err = nil // a long poll waits for room rather than fail
		}
		if len(out) > 0 || err != nil || !now.Before(deadline) {
			q.mu.Unlock()
			return out, err
		}
		if buried {
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
	if len(q.waiters) > 0 && q.takeable() {
		w := q.waiters[0]
		q.waiters = q.waiters[1:]
		w.notify()
	}
	q.arm()
}

// due returns when time will next do something that somebody may wait for, if it will.
func (q *queue) due() (at age, ok bool) {
	if m := q.hidden.first(); m != nil {
		at, ok = m.visibleAt, true
	}
	if q.fifo == nil && q.room() {
		return at, ok
	}
	// A message in flight that expires lets its group go on, and makes room.
	if m := q.ages.first(); m != nil {
		if expires := q.age(m.sentAt.Add(q.set.retention)); !ok || expires < at {
			at, ok = expires, true
		}
	}
	return at, ok
}

// arm runs a timer for the next thing that is due while somebody waits for it.
func (q *queue) arm() {
	at, ok := q.due()
	if len(q.waiters) == 0 || !ok || q.deleted {
		if q.stopTimer != nil {
			q.stopTimer()
			q.stopTimer = nil
		}
		return
	}
	if q.stopTimer != nil {
		if q.timerAt == at {
			return
		}
		q.stopTimer()
	}
	q.timerAt = at
	q.stopTimer = q.clock.AfterFunc(time.Duration(at-q.age(q.clock.Now())), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.stopTimer != nil && q.timerAt == at {
			q.stopTimer = nil
		}
		q.settle(q.clock.Now())
		q.wake()
	})
}

// room reports whether one more message may be in flight.
func (q *queue) room() bool { return q.inFlight < maxInFlight }

// takeable reports whether a receive would get something.
func (q *queue) takeable() bool {
	if q.fifo != nil {
		return q.fifo.open.n > 0 && q.room()
	}
	return q.hidden.len() < len(q.messages) && q.room()
}

// take receives up to opts.max messages. Those that have been received as often as the redrive policy allows
// leave the queue for q.dead, which the caller has to bury.
func (q *queue) take(now time.Time, opts receiveOptions) ([]delivery, *Error) {
	q.settle(now)
	if opts.visibility < 0 {
		opts.visibility = q.set.visibility
	}
	if p := q.set.redrive; p != nil {
		opts.dlq, opts.maxReceives = opts.lookup(p.target), p.maxReceiveCount // where it is gone, messages stay: nothing is lost
	}
	if q.fifo != nil {
		return q.takeLines(now, opts)
	}
	var out []delivery
	limit := q.shown // what becomes ready meanwhile, by a timeout of 0, waits for the next receive
	for len(out) < opts.max {
		m := q.next(limit)
		switch {
		case m == nil:
			return out, nil
		case opts.dead(m):
			q.drop(m)
			q.dead = append(q.dead, burial{m, opts.dlq})
		case !q.room() && len(out) > 0:
			return out, nil
		case !q.room():
			return nil, errOverLimit("Too many messages in flight.")
		default:
			out = append(out, q.deliver(m, now, opts))
		}
	}
	return out, nil
}

// deliver receives one message.
func (q *queue) deliver(m *message, now time.Time, opts receiveOptions) delivery {
	m.receives++
	m.receipt++
	m.receivedAt = q.age(now)
	if m.firstReceived == 0 {
		m.firstReceived = now.UnixMilli()
	}
	q.conceal(m, now, opts.visibility)
	if opts.twice && q.fifo == nil {
		c := &message{content: m.content, receives: m.receives, firstReceived: m.firstReceived, source: m.source}
		q.enter(&arrival{message: c}, now)
	}
	return q.delivery(m)
}

// conceal hides a message that is received for its visibility timeout. With none, it goes behind the others.
func (q *queue) conceal(m *message, now time.Time, visibility time.Duration) {
	if visibility > 0 {
		q.hide(m, inFlight, now.Add(visibility))
	} else {
		q.show(m)
	}
}

// delivery returns what a receiver gets of a message.
func (q *queue) delivery(m *message) delivery {
	d := delivery{
		content:       m.content,
		handle:        receiptHandle(q.serial, m.number, m.receipt),
		receives:      m.receives,
		firstReceived: m.firstReceived,
		source:        m.source,
	}
	if q.fifo != nil {
		d.dedup, d.sequence = m.place.dedup, q.fifo.sequence(m.number)
	}
	return d
}
