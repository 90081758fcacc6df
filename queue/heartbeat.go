package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A heartbeat keeps the messages that a subscription holds invisible to other
// receivers. It extends each when half of its visibility has passed, and looks
// every quarter, so that two attempts fit before the visibility ends. Where they
// fail, it gives the message up a little before that.
type heartbeat struct {
	visibility time.Duration

	// maxHold is how long after it was received a message's visibility may
	// end at the latest.
	maxHold time.Duration

	// extend extends the visibility of up to ten messages.
	extend func(context.Context, []*held) []error

	// lost is told of messages that may be with another receiver.
	lost func(*held, error)

	mu   sync.Mutex
	held heldList
}

// maxHold is how long after it was received a message's visibility can end at
// the latest: SQS refuses more than 12 hours, by its own clock.
const maxHold = maxVisibility - time.Minute

// beatRequests caps the requests of one beat under way at once.
const beatRequests = 8

func newHeartbeat(visibility, maxHold time.Duration, extend func(context.Context, []*held) []error, lost func(*held, error)) *heartbeat {
	return &heartbeat{visibility: visibility, maxHold: maxHold, extend: extend, lost: lost}
}

// margin is how much earlier than by the local clock the visibility may have
// ended: the service began to count before its answer was here.
func (b *heartbeat) margin() time.Duration { return min(b.visibility/10, time.Second) }

// add has the heartbeat keep a message that was handed out at a time.
func (b *heartbeat) add(h *held, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held.add(h)
	h.deadline = at.Add(b.visibility - b.margin())
	if left := time.Until(h.deadline); left <= b.visibility/2 || b.visibility < 4*time.Second {
		b.arm(h, left)
	}
}

// arm has the message expire unless it is extended before. Most messages are
// settled long before it matters, so it is done when an extension is due, or at
// once where a beat that hangs could come too late. b.mu is held.
func (b *heartbeat) arm(h *held, left time.Duration) {
	if h.expiry == nil {
		h.expiry = time.AfterFunc(left, func() { b.expire(h) })
	}
}

// disarm stops what arm started. b.mu is held.
func (b *heartbeat) disarm(h *held) {
	if h.expiry != nil {
		h.expiry.Stop()
	}
}

// hiddenFrom notes that the visibility of a message began again. b.mu is held.
func (b *heartbeat) hiddenFrom(h *held, at time.Time) {
	if !h.listed {
		return
	}
	h.deadline = at.Add(b.visibility - b.margin())
	h.expiry.Reset(time.Until(h.deadline)) // armed when it was due
}

// expire gives a message up whose visibility has ended.
func (b *heartbeat) expire(h *held) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch now := time.Now(); {
	case h.deadline.After(now): // extended meanwhile
	case b.old(h, now):
		b.lose(h, fmt.Errorf("a message is held for at most %v", b.maxHold))
	default:
		b.lose(h, fmt.Errorf("it ended at %v", h.deadline.Format(time.TimeOnly)))
	}
}

// old reports whether a message cannot be extended any more.
func (b *heartbeat) old(h *held, now time.Time) bool {
	return now.Sub(h.delivery.ReceivedAt) > b.maxHold-b.visibility
}

// remove has the heartbeat keep a message no longer. When it returns, no
// extension of the message is under way.
func (b *heartbeat) remove(h *held) {
	b.mu.Lock()
	b.held.remove(h)
	b.disarm(h)
	extending := h.extending
	b.mu.Unlock()
	if extending != nil {
		<-extending
	}
}

// run beats until ctx ends.
func (b *heartbeat) run(ctx context.Context) {
	tick := time.NewTicker(b.visibility / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.beat(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// beat extends what is due.
func (b *heartbeat) beat(ctx context.Context) {
	now := time.Now()
	due := b.due(now)
	if len(due) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, max(b.visibility/4, time.Second))
	defer cancel()
	var requests errgroup.Group
	requests.SetLimit(beatRequests)
	for batch := range slices.Chunk(due, maxBatch) {
		requests.Go(func() error {
			b.extended(batch, b.extend(ctx, batch), now)
			return nil
		})
	}
	_ = requests.Wait() // the functions return no error
}

// due returns the messages to extend.
func (b *heartbeat) due(now time.Time) []*held {
	b.mu.Lock()
	defer b.mu.Unlock()
	var due []*held
	for h := b.held.first; h != nil; h = h.next {
		left := h.deadline.Sub(now)
		if left > b.visibility/2 {
			continue
		}
		b.arm(h, left)
		if !b.old(h, now) {
			h.extending = make(chan struct{})
			due = append(due, h)
		}
	}
	return due
}

// extended notes the outcome of an extension that was sent at a time.
func (b *heartbeat) extended(batch []*held, errs []error, sent time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, h := range batch {
		close(h.extending)
		h.extending = nil
		switch err := errs[i]; {
		case err == nil:
			b.hiddenFrom(h, sent)
		case errors.Is(err, ErrInvalid):
			// The receipt is of no use any more.
			b.lose(h, err)
		}
	}
}

// lose ends the context of a message that may be with another receiver. Of one
// that is acked nobody is told: an extension finds it deleted when it overtakes
// the answer of the delete, and a delete that fails is reported as such. b.mu is
// held.
func (b *heartbeat) lose(h *held, reason error) {
	if !h.listed {
		return // settled meanwhile
	}
	b.held.remove(h)
	b.disarm(h)
	h.lost.Store(true)
	h.end(fmt.Errorf("%w: %w", ErrVisibilityLost, reason))
	if !h.acked.Load() {
		b.lost(h, reason)
	}
}
