package queue

import (
	"time"

	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// deliver hands messages to the reader of out, in their order. Each has a slot.
// A FIFO group is a lane, which keeps one slot: its next message is delivered
// when the one before is acked, or goes to the dead-letter queue.
func (s *subscription) deliver(messages []*held) {
	if !s.endpoint.FIFO() {
		for _, h := range messages {
			s.deliverAlone(h)
		}
		return
	}
	for _, lane := range lanes(messages) {
		s.freeSlots(len(lane) - 1)
		s.deliverLane(lane)
	}
}

// deliverAlone delivers a message that no other waits for.
func (s *subscription) deliverAlone(h *held) {
	if !s.offer(h) {
		s.freeSlots(1)
		return
	}
	s.following.Add(1)
	go s.followAlone(h)
}

func (s *subscription) followAlone(h *held) {
	defer s.following.Done()
	defer s.freeSlots(1)
	s.follow(h)
}

func (s *subscription) deliverLane(lane []*held) {
	before, leave := s.enter(lane[0].group)
	out := before == nil && s.offer(lane[0])
	if before == nil && !out && len(lane) == 1 {
		leave()
		s.freeSlots(1)
		return
	}
	s.following.Go(func() {
		defer s.freeSlots(1)
		defer leave()
		if before != nil {
			select {
			case <-before:
			case <-s.draining:
			}
			out = s.offer(lane[0])
		}
		s.pass(lane, out)
	})
}

// enter begins a lane. Where the group has one already, it returns what is closed
// when that ends: a handler that has lost its message may still be at work when
// the message comes again, and the group is not to go on beside it.
func (s *subscription) enter(group string) (before <-chan struct{}, leave func()) {
	if group == "" {
		return nil, func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.groups[group]; ok {
		before = last
	}
	lane := make(chan struct{})
	s.groups[group] = lane
	return before, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(lane)
		if s.groups[group] == lane {
			delete(s.groups, group)
		}
	}
}

// pass follows the messages of a lane one after the other, the first of which
// is out if it could be offered. Behind one that fails it gives the others back:
// they must not be handled before it.
func (s *subscription) pass(lane []*held, out bool) {
	for {
		h, rest := lane[0], lane[1:]
		acked := out && s.follow(h)
		if len(rest) == 0 {
			return
		}
		if !acked && !h.noted && !s.dead(h) {
			s.giveBackBehind(h, rest)
			return
		}
		lane, out = rest, s.offer(rest[0])
	}
}

// dead reports whether a message that was not acked goes to the dead-letter
// queue now, so that its group can go on. It asks for the queue's redrive policy
// again, because a message that came back would come out of order.
func (s *subscription) dead(h *held) bool {
	if !h.failed || !s.spent(h) || s.isDraining() {
		return false
	}
	if err := s.lookup(s.settling); err != nil {
		s.log.Debug("cannot look the redrive policy up", "error", err)
		return false
	}
	return s.spent(h)
}

// spent reports whether the queue's redrive policy allows no further receive of
// a message.
func (s *subscription) spent(h *held) bool {
	most := s.redriveCount.Load()
	return most > 0 && int64(h.delivery.ReceiveCount) >= most
}

// behind is how much later than a failed message those behind it in its group
// become visible. What is visible again comes with all that is visible behind
// it, and each such receive brings a message nearer to the dead-letter queue
// that no handler has seen; so the failed one is received alone the next time, and
// every other time that it fails again.
const behind = time.Second

// giveBackBehind returns the messages behind one of their group that failed, or
// could not be delivered.
func (s *subscription) giveBackBehind(h *held, rest []*held) {
	if h.failed {
		for _, r := range rest {
			r.back = h.back + behind
		}
	}
	s.giveBack(rest)
}

// lanes splits messages into those that may be out at the same time.
func lanes(messages []*held) [][]*held {
	var all [][]*held
	byGroup := map[string]int{}
	for _, h := range messages {
		if i, ok := byGroup[h.group]; ok && h.group != "" {
			all[i] = append(all[i], h)
			continue
		}
		byGroup[h.group] = len(all)
		all = append(all, []*held{h})
	}
	return all
}

// offer delivers a message, and returns false if it did not: the subscription
// drains, the message's visibility was lost while it waited, or it is not to be
// delivered. It is settled then.
func (s *subscription) offer(h *held) bool {
	if h.damage != nil {
		if s.isDraining() { // which may be all that is wrong
			s.giveBack([]*held{h})
		} else {
			s.reread(h)
		}
		return false
	}
	if s.wasHandled(h) {
		s.log.Debug("a handled message came again before it was deleted; deleting it by its new receipt", "uuid", h.message.UUID, "message_id", h.delivery.MessageID)
		s.remove(h)
		return false
	}
	if s.isDraining() {
		s.giveBack([]*held{h})
		return false
	}
	left := s.early(h)
	if left == 0 && h.unfetched() {
		left = time.Second // it became due while the payloads of others were fetched
	}
	if left > 0 {
		s.hide(h, left)
		return false
	}
	if err := h.delivery.Undecodable; err != nil && !s.config.DeliverUndecodable {
		s.log.Warn("returning a message that cannot be decoded to its queue", "message_id", h.delivery.MessageID, "receive_count", h.delivery.ReceiveCount, "error", err)
		s.nack(h)
		return false
	}
	if h.ctx.Err() != nil { // which select may pass over
		s.giveBack([]*held{h})
		return false
	}
	h.received = sqstypes.Message{} // it is due, and so is not sent again
	if s.admit(h) {
		s.startProcess(h)
		select {
		case s.out <- h.message:
			return true
		case <-s.draining:
		case <-h.ctx.Done():
		}
		s.endProcess(h, Undelivered)
		s.endTrial(h)
	}
	s.giveBack([]*held{h})
	return false
}

// admit waits until the breaker lets a message through, and returns false if
// there is an end to that.
func (s *subscription) admit(h *held) bool {
	for {
		trial, ok, changed := s.breaker.enter()
		if ok {
			h.trial = trial
			return true
		}
		select {
		case <-changed:
		case <-s.draining:
			return false
		case <-h.ctx.Done():
			return false
		}
	}
}

// endTrial lets the breaker have another message try.
func (s *subscription) endTrial(h *held) {
	if h.trial {
		h.trial = false
		s.breaker.leave()
	}
}

func (s *subscription) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// follow waits for the ack or nack of a message that is out, and settles it. It
// reports whether it was acked while nobody else could have it.
func (s *subscription) follow(h *held) bool {
	defer s.endTrial(h)
	select {
	case <-h.message.Acked():
		lost := h.lost.Load()
		s.endProcess(h, Acked)
		s.remove(h)
		return !lost
	case <-h.message.Nacked():
		s.endProcess(h, Nacked)
		s.nack(h)
	case <-s.abandoned:
		// Its handler may still be at work, so it is not given back: it comes
		// again when its visibility ends.
		s.log.Warn("a handler did not end; its message comes again when its visibility timeout ends", "uuid", h.message.UUID, "message_id", h.delivery.MessageID)
		s.endProcess(h, Abandoned)
		s.forget(h)
	}
	return false
}

// nack gives a message back after the delay that its handler or the backoff
// asks for.
func (s *subscription) nack(h *held) {
	drained := s.handlers.Err() != nil
	h.end(nil)
	r, ok := h.delivery.retryAfter()
	if !ok && !drained {
		r.delay = s.config.Backoff(h.delivery.ReceiveCount)
	}
	if h.group != "" && s.spent(h) {
		r.delay = 0 // the group waits until it is in the dead-letter queue
	}
	s.log.Debug("nacked", "uuid", h.message.UUID, "message_id", h.delivery.MessageID,
		"receive_count", h.delivery.ReceiveCount, "delay", r.delay, "reason", r.reason)
	h.failed, h.back = true, r.delay
	s.changeVisibility(h, r.delay)
}

// reread returns a damaged message, or one without its payload. It is intact in
// its queue: it goes there at once when it may be the first time, and then with a
// backoff, because what damages messages on their way may damage them all.
func (s *subscription) reread(h *held) {
	var delay time.Duration
	if n := h.delivery.ReceiveCount; n > 1 {
		delay = DefaultBackoff(n - 1)
	}
	s.log.Warn("a message was damaged on its way, or its payload cannot be fetched; reading it again", "message_id", h.delivery.MessageID,
		"receive_count", h.delivery.ReceiveCount, "delay", delay, "error", h.damage)
	h.end(ErrDamaged)
	h.failed, h.back = true, delay
	s.changeVisibility(h, delay)
}

// giveBack returns messages that were not handled to the queue, at once unless
// they are behind one that failed. While
// the subscription drains they wait for its last receives, which would only take
// them again.
func (s *subscription) giveBack(messages []*held) {
	s.stats.undelivered.Add(int64(len(messages)))
	for _, h := range messages {
		h.end(ErrClosed)
	}
	s.mu.Lock()
	wait := s.isDraining() && !s.polled
	if wait {
		s.late = append(s.late, messages...)
	}
	s.mu.Unlock()
	if !wait {
		s.returnAll(messages)
	}
}

func (s *subscription) returnAll(messages []*held) {
	for _, h := range messages {
		s.changeVisibility(h, h.back)
	}
}

// giveBackLate returns what has waited for the last receives.
func (s *subscription) giveBackLate() {
	s.mu.Lock()
	late := s.late
	s.polled, s.late = true, nil
	s.mu.Unlock()
	s.returnAll(late)
}

// A visibilityChange settles a message that was not acked.
type visibilityChange struct {
	*held
	seconds int32
}

// changeVisibility has the message come again after the delay.
func (s *subscription) changeVisibility(h *held, delay time.Duration) {
	// An extension that is under way must not overtake the change.
	s.beats.remove(h)
	if h.lost.Load() {
		// The receipt might end the visibility that another receiver has.
		s.forget(h)
		return
	}
	most := max(maxHold-time.Since(h.delivery.ReceivedAt), 0)
	s.changes.add(visibilityChange{h, int32(min(seconds(max(delay, 0)), int64(most/time.Second)))})
}

// forget ends the subscription's hold of a message.
func (s *subscription) forget(h *held) {
	s.beats.remove(h)
	h.end(nil)
	s.held.Release(1)
}
