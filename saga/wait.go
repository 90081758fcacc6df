package saga

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// waiters are told when executions end or are blocked.
type waiters struct {
	mu   sync.Mutex
	byID map[string][]chan *Execution
}

func (w *waiters) add(id string) (told <-chan *Execution, forget func()) {
	ch := make(chan *Execution, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = make(map[string][]chan *Execution)
	}
	w.byID[id] = append(w.byID[id], ch)
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		left := slices.DeleteFunc(w.byID[id], func(other chan *Execution) bool { return other == ch })
		w.byID[id] = left
		if len(left) == 0 {
			delete(w.byID, id)
		}
	}
}

// tell gives the execution, as it stands after the last commit, to those who
// wait for it.
func (w *waiters) tell(id string, x func() *Execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.byID[id] {
		select {
		case ch <- x():
		default:
		}
	}
}

// Between looks at an execution that somebody waits for.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = time.Second
)

// Wait waits until the execution has ended or is blocked.
func (c *Client) Wait(ctx context.Context, id string) (*Execution, error) {
	told, forget := c.listen(id)
	defer forget()
	return c.wait(ctx, id, told, 0)
}

// run starts an execution and waits for it. One that runs here is not looked up:
// its actor tells.
func (c *Client) run(ctx context.Context, def *Definition, id string, input []byte, opts []StartOption) (*Execution, error) {
	told, forget := c.listen(id)
	defer forget()
	_, here, err := c.start(ctx, def, id, input, opts)
	if err != nil {
		return nil, err
	}
	if here {
		return c.wait(ctx, id, told, lastLook)
	}
	return c.wait(ctx, id, told, 0)
}

// listen asks the coordinator in this process, if there is one, to tell of an
// execution's end.
func (c *Client) listen(id string) (told <-chan *Execution, forget func()) {
	if c.coordinator == nil {
		return nil, func() {}
	}
	return c.coordinator.waiters.add(id)
}

// wait looks at the execution after a pause, and then from time to time, until
// it is told or sees for itself.
func (c *Client) wait(ctx context.Context, id string, told <-chan *Execution, pause time.Duration) (*Execution, error) {
	next := firstLook
	if told != nil {
		next = lastLook
	}
	timer := time.NewTimer(max(pause, next))
	defer timer.Stop()
	for look := pause <= 0; ; look = false {
		if !look {
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("wait for %q: %w", id, context.Cause(ctx))
			case x := <-told:
				return x, nil
			case <-timer.C:
			}
		}
		x, err := c.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		// Where there is mail, an order that was given before is yet to be
		// followed.
		if x.Status != Running && x.UnreadMail == 0 {
			return x, nil
		}
		timer.Reset(next)
		next = min(2*next, lastLook)
	}
}
