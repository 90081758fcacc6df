package queue

import (
	"context"
	"sync"
	"time"
)

const (
	// paceStep is how long a subscription is at least left to a pace before it
	// slows down again, and paceRecovery before it speeds up.
	paceStep     = time.Second
	paceRecovery = 5 * time.Second

	// Bounds of the pause of the last poller between its receives.
	minGap = 100 * time.Millisecond
	maxGap = 5 * time.Second
)

// A pace is how many pollers of a subscription may receive, and how fast. When
// SQS throttles, it halves their number, and then has the last one pause between
// receives; without throttling it takes them back step by step.
type pace struct {
	mu      sync.Mutex
	most    int // the endpoint's Pollers
	limit   int
	helpers int // beside poller 0
	gap     time.Duration
	changed time.Time
}

func newPace(pollers int) *pace { return &pace{most: pollers, limit: pollers} }

// join lets a helper receive if there is room for it.
func (p *pace) join() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.helpers >= p.limit-1 {
		return false
	}
	p.helpers++
	return true
}

// stay reports whether a helper may go on.
func (p *pace) stay() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.helpers <= p.limit-1
}

// leave ends what join began.
func (p *pace) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.helpers--
}

// pause waits before a receive, and returns false when ctx ends.
func (p *pace) pause(ctx context.Context) bool {
	p.mu.Lock()
	gap := p.gap
	p.mu.Unlock()
	return gap == 0 || sleep(ctx, jitter(gap))
}

// throttled slows down. It returns how many pollers are left, and whether that
// changed.
func (p *pace) throttled() (pollers int, slower bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.changed) < paceStep {
		return p.limit, false
	}
	p.changed = now
	if p.limit > 1 {
		p.limit /= 2
	} else {
		p.gap = min(max(2*p.gap, minGap), maxGap)
	}
	return p.limit, true
}

// worked speeds up again.
func (p *pace) worked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gap == 0 && p.limit == p.most {
		return
	}
	now := time.Now()
	if now.Sub(p.changed) < paceRecovery {
		return
	}
	p.changed = now
	switch {
	case p.gap > minGap:
		p.gap /= 2
	case p.gap > 0:
		p.gap = 0
	default:
		p.limit++
	}
}
