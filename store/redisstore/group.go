package redisstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Of 50 callers at once on loopback, each script took this much of the processor,
// client and Redis together: with a connection for every call 100 %, with eight
// lines 93 %, with four 83 %, with two 79 %, with one 72 %. But a call waits until
// a line is back: with 2 ms of network between, and five callers, one took 8 %
// longer with four lines, and 34 % with two.
const maxLines = 4

const (
	// maxBatch is how many calls go out together: the first of them has its answer
	// when the last has.
	maxBatch = 64
	// maxShared bounds the arguments of a call that shares, in bytes.
	maxShared = 16 << 10
)

// A group sends the scripts that are called at the same time together. A few
// calls, each on a line of its own, go out at once. While they are under way the
// others gather, and the first line that is back is given to one of these, which
// takes the rest along in one write, and brings their answers in one read or few:
// what scripts cost beyond Redis's own work is mostly the calls of the operating
// system on both sides.
//
// No order is kept. When a connection fails, so do all calls that it carried.
type group struct {
	client *redis.Client

	mu      sync.Mutex
	lines   int // that are out
	waiting []*call
}

// A call waits for its turn: for a line, with the calls that it carries, itself
// the first; or for none, when another line has brought its answer.
type call struct {
	ctx  context.Context // has a deadline
	cmd  sentOnce
	turn chan []*call // holds one
}

// newGroup returns nil for clients that keep connections to several servers, whose
// calls cannot share one.
func newGroup(c redis.UniversalClient) *group {
	if client, ok := c.(*redis.Client); ok {
		return &group{client: client}
	}
	return nil
}

// process sends a command and waits for its answer, which the command then has. A
// call that is carried by another does not wait longer than its context, which
// must have a deadline; the command is the group's then. One that carries others
// waits for theirs. It reports whether the command has been sent, or may be.
func (g *group) process(ctx context.Context, cmd sentOnce) (sent bool, err error) {
	c := g.join(ctx, cmd)
	if c == nil {
		defer g.back()
		return true, g.client.Process(ctx, cmd)
	}
	return g.wait(c)
}

func (g *group) wait(c *call) (sent bool, err error) {
	select {
	case calls := <-c.turn:
		g.lead(calls)
		return true, c.cmd.Err()
	case <-c.ctx.Done():
	}
	if g.leave(c) {
		return false, c.ctx.Err()
	}
	select {
	case calls := <-c.turn: // with a line others may count on it
		g.lead(calls)
		return true, c.cmd.Err()
	default:
		return true, c.ctx.Err() // the command is the line's
	}
}

// join returns nil for a call that has a line, else the call that waits.
func (g *group) join(ctx context.Context, cmd sentOnce) *call {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lines < maxLines {
		g.lines++
		return nil
	}
	c := &call{ctx: ctx, cmd: cmd, turn: make(chan []*call, 1)}
	g.waiting = append(g.waiting, c)
	return c
}

// leave takes a call off those that wait, if it is there yet.
func (g *group) leave(c *call) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, c)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// back gives a line to the first of the calls that wait, with the others.
func (g *group) back() {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxBatch)
	if n == 0 {
		g.lines--
		return
	}
	calls := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	calls[0].turn <- calls
}

// lead sends the calls of a line, if it is given any, and tells all but the first.
func (g *group) lead(calls []*call) {
	if len(calls) == 0 {
		return
	}
	defer g.back()
	g.carry(calls)
	for _, c := range calls[1:] {
		c.turn <- nil
	}
}

// carry sends calls and reads their answers, at most until the last of their
// deadlines.
func (g *group) carry(calls []*call) {
	if len(calls) == 1 {
		_ = g.client.Process(calls[0].ctx, calls[0].cmd) // the command has its error
		return
	}
	var last time.Time
	for _, c := range calls {
		if d, ok := c.ctx.Deadline(); ok && d.After(last) {
			last = d
		}
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(calls[0].ctx), last)
	defer cancel()
	pipe := g.client.Pipeline()
	for _, c := range calls {
		_ = pipe.Process(ctx, c.cmd) // queues it
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
}
