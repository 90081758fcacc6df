package saga

import (
	"context"
	"slices"
	"sync"
	"time"
)

// mostSending is how many letters of one execution are on their way at once.
const mostSending = 16

// Of a lease, one part in so many is what one letter may take on its way, and for
// how long the actor waits for its letters before it turns to other things.
const (
	letterPart = 4
	breathPart = 30
)

// sending is the letters of one actor that are on their way. Goroutines carry
// them, so that the actor goes on: it renews its lease and hears, however long
// they take. Letters of one line go out one after the other, in their order.
type sending struct {
	carry func(context.Context, *letter) error
	fails func(*letter, error)
	each  time.Duration   // for one letter
	base  context.Context // of all
	quit  context.CancelFunc
	idle  chan struct{} // told when nothing is on its way any more
	all   sync.WaitGroup

	mu      sync.Mutex
	queue   []*letter       // to go
	lines   map[string]bool // that a letter is on its way on
	senders int
	valid   time.Time // until when letters may go
	patient time.Time // until when the last that has set out may take
}

// line names those that a letter keeps its order with: what is for one execution,
// the commands of one frame, or what is about one lock.
func (l *letter) line() string {
	switch {
	case l.Kind == letterUnlock:
		return "lock " + l.To
	case l.Kind != letterMessage:
		return "to " + l.To
	case l.Attempt > 0:
		return "of " + l.Frame
	}
	return l.ID
}

// send has letters carried that are not on their way already.
func (s *sending) send(letters []*letter, valid time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.valid = valid
	s.queue = s.queue[:0]
	for _, l := range letters {
		if l.queued = !l.out && !l.gone; l.queued {
			s.queue = append(s.queue, l)
		}
	}
	for range min(len(s.queue), mostSending-s.senders) {
		s.patient = time.Now().Add(s.each) // which it has to set out, too
		s.senders++
		s.all.Go(s.run)
	}
}

// extend lets letters go for longer.
func (s *sending) extend(valid time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.valid = valid
}

// run carries letters until there is none for it.
func (s *sending) run() {
	for {
		l, until := s.next()
		if l == nil {
			return
		}
		ctx, cancel := context.WithDeadline(s.base, until)
		err := s.carry(ctx, l)
		cancel()
		s.back(l, err)
	}
}

// next is a letter that may go, and until when it may take; nil is none.
func (s *sending) next() (*letter, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = slices.DeleteFunc(s.queue, func(l *letter) bool { return !l.queued })
	now := time.Now()
	at := slices.IndexFunc(s.queue, func(l *letter) bool { return !s.lines[l.line()] })
	if at < 0 || !now.Before(s.valid) || s.base.Err() != nil {
		if s.senders--; s.senders == 0 {
			s.queue = nil
			select {
			case s.idle <- struct{}{}:
			default:
			}
		}
		return nil, time.Time{}
	}
	l := s.queue[at]
	s.queue = slices.Delete(s.queue, at, at+1)
	l.queued, l.out, s.lines[l.line()] = false, true, true
	until := now.Add(s.each)
	if s.valid.Before(until) {
		until = s.valid
	}
	s.patient = latest(s.patient, until)
	return l, until
}

// back notes what has become of a letter. After one that did not go, no other goes
// on its line before the next send.
func (s *sending) back(l *letter, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := l.line()
	l.out, l.gone = false, err == nil
	delete(s.lines, line)
	if err == nil {
		return
	}
	for _, other := range s.queue {
		if other.line() == line {
			other.queued = false
		}
	}
	s.fails(l, err)
}

// withdraw keeps letters back that have not set out.
func (s *sending) withdraw(letters []*letter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range letters {
		l.queued = false
	}
}

// busy reports whether letters are on their way. A receiver that does not even
// heed the end of its time is not waited for.
func (s *sending) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.senders > 0 && time.Now().Before(s.patient)
}

// left are the letters that have not gone.
func (s *sending) left(letters []*letter) []*letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(letters, func(l *letter) bool { return l.gone }) {
		return letters
	}
	var left []*letter
	for _, l := range letters {
		if !l.gone {
			left = append(left, l)
		}
	}
	return left
}

// await waits until nothing is on its way any more, but no longer than that.
func (s *sending) await(most time.Duration) {
	if !s.busy() {
		return
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for s.busy() {
		select {
		case <-s.idle:
		case <-timer.C:
			return
		}
	}
}

// sends is the actor's sending.
func (a *actor) sends() *sending {
	if a.out == nil {
		base, quit := context.WithCancel(a.c.background)
		a.out = &sending{
			carry: a.carry, each: a.c.cfg.Lease / letterPart, base: base, quit: quit,
			idle: make(chan struct{}, 1), lines: make(map[string]bool),
			fails: func(l *letter, err error) {
				a.log().Warn("a message was not sent, and will be tried again", "to", l.To, "error", err)
			},
		}
	}
	return a.out
}

func (a *actor) breath() time.Duration { return a.c.cfg.Lease / breathPart }

// sendingOn reports whether letters are on their way.
func (a *actor) sendingOn() bool { return a.out != nil && a.out.busy() }

// sent is told when no letter is on its way any more.
func (a *actor) sent() <-chan struct{} {
	if a.out == nil {
		return nil
	}
	return a.out.idle
}

// tidy forgets the letters that have gone. While there are others, what has gone
// is written from time to time, so that it does not go again after a crash.
func (a *actor) tidy() {
	if a.out == nil || len(a.unsent) == 0 {
		return
	}
	before := len(a.unsent)
	a.unsent = a.out.left(a.unsent)
	a.ahead = a.ahead || len(a.unsent) < before
	if a.ahead && time.Since(a.written) >= a.breath() && a.out.busy() {
		a.m.dirty = true
	}
}

// holds reports whether the lease is kept for the letters, which are on their way
// or too many to be sent in a moment.
func (a *actor) holds() bool {
	fresh := len(a.m.commands) + len(a.m.orders) + len(a.m.unlocks)
	return !a.c.draining() && (a.sendingOn() || fresh > 0 && fresh+len(a.unsent) > mostSending)
}

// endSending waits for those that carry letters. Where the execution was dropped
// they bring no more: it is another worker's.
func (a *actor) endSending(dropped bool) {
	if a.out == nil {
		return
	}
	if dropped {
		a.out.quit()
	}
	a.out.all.Wait()
	a.out.quit()
}
