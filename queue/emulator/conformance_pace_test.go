package emulator_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// A rule looks at a peer in real time: while it looks, delays end and messages come back. On a machine that
// stands still for some seconds between two calls, a peer that keeps its rule is seen to break it. So what a
// look finds wrong counts only if the look was in time; one that was late cannot tell, and is repeated.

const (
	inTime = 500 * time.Millisecond // half of the shortest time that a rule waits
	looks  = 10                     // after so many, the machine is too slow to tell
)

// judge looks until it can tell whether a server keeps the rule, or deviates from it as listed, and returns what
// is otherwise than expected.
func (r rule) judge(newProbe func() *probe, d *deviation) []string {
	// A topic of a peer delivers in its own time, and what shows a listed deviation
	// may come after the rule has looked. Only that gets several looks: a rule that
	// a peer keeps, it keeps at the first.
	tries := 1
	if d != nil && r.sns {
		tries = 3
	}
	var complaints []string
	var late time.Duration
	for range looks {
		p := newProbe()
		if complaints = r.hold(p, d); len(complaints) == 0 {
			return nil
		}
		if late = p.late; late > inTime {
			continue
		}
		if tries--; tries == 0 {
			return complaints
		}
	}
	return append([]string{fmt.Sprintf("too slow to tell: %d looks, the last late by %v, which saw what follows", looks, late)}, complaints...)
}

// pace measures how late a look is: by how much it took longer than it meant to wait. It may be used by the
// goroutines of a rule together; while one waits, the others may take their time.
type pace struct {
	mu    sync.Mutex
	began time.Time
	waits int       // how many wait at present
	since time.Time // when the last wait ended, or the look began
	spent time.Duration
}

func newPace() *pace {
	now := time.Now()
	return &pace{began: now, since: now}
}

// waiting notes that up to d of what passes until done is called is meant to.
func (p *pace) waiting(d time.Duration) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := time.Now()
	if p.waits == 0 {
		p.spent += from.Sub(p.since)
	}
	p.waits++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		now := time.Now()
		p.waits--
		p.since = now
		p.spent += max(0, now.Sub(from)-max(0, d)) // no wait that a rule sees refused is negative
	}
}

func (p *pace) late() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits > 0 {
		return p.spent
	}
	return p.spent + time.Since(p.since)
}

// pulse calls a server every so often, to notice when it or this process stands still. A look alone does not
// notice it during a long poll, which takes any time up to its own.
type pulse struct {
	mu     sync.Mutex
	last   time.Time // when the last call ended
	stalls []stall
}

type stall struct{ from, to time.Time }

const pulsePeriod = 200 * time.Millisecond

// startPulse calls a server until the test ends.
func startPulse(t *testing.T, client *sqs.Client) *pulse {
	p := &pulse{last: time.Now()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			// Whether there is an answer is the rules' matter.
			_, _ = client.ListQueues(ctx, &sqs.ListQueuesInput{QueueNamePrefix: aws.String("pulse-")})
			p.beat()
			select {
			case <-ctx.Done():
			case <-time.After(pulsePeriod):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.last)-pulsePeriod > inTime {
		p.stalls = append(p.stalls, stall{p.last, now})
	}
	p.last = now
}

// late returns by how much the latest call came since a time, that on its way included.
func (p *pulse) late(since time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := time.Since(p.last)
	for _, s := range p.stalls {
		if s.to.After(since) {
			longest = max(longest, s.to.Sub(s.from))
		}
	}
	return max(0, longest-pulsePeriod)
}
