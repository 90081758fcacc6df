package saga

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// reply is what a handler gave back.
type reply struct {
	state []byte
	err   error
}

// attempt runs the dispatched attempt and keeps the lease meanwhile. An error
// means that the lease is lost, and the answer with it.
func (a *actor) attempt(undo bool) (result, error) {
	call, timeout, err := a.call(undo)
	if err != nil {
		return result{err: err, outcome: NotDone}, nil
	}
	f := a.m.frame
	ctx, cancel := context.WithTimeout(a.c.handlers, timeout)
	defer cancel()
	ctx = withStep(ctx, StepInfo{
		Execution: a.lease.ID, Definition: a.meta.Definition, Step: f.Step, Visit: 1,
		Attempt: f.Attempt, Undo: undo, Cause: f.Cause, Key: idempotencyKey(a.lease.ID, f.Step, 1, undo),
	})
	done := make(chan reply, 1)
	a.c.running.Go(func() { done <- protect(ctx, call) })

	// A handler that goes on after its time gets as long again as a lease, and
	// what it says then still counts: a late "done" is better than unknown.
	patience := time.NewTimer(timeout + a.c.cfg.Lease)
	defer patience.Stop()
	renewal := time.NewTimer(time.Until(a.renewed.Add(a.c.cfg.Lease / 3)))
	defer renewal.Stop()
	for {
		select {
		case r := <-done:
			return a.judge(ctx, r, undo), nil
		case <-patience.C:
			return result{
				err:     fmt.Errorf("the handler has not returned %s after its timeout of %s", a.c.cfg.Lease, timeout),
				outcome: Unknown,
			}, nil
		case <-renewal.C:
			// The mail that a renewal brings waits for the commit that follows.
			if _, err := a.extend(); err != nil {
				cancel()
				select {
				case <-done:
				case <-patience.C:
				}
				return result{}, err
			}
			renewal.Reset(a.c.cfg.Lease / 3)
		}
	}
}

// call is the handler of the dispatched attempt with its input, and the time
// it has.
func (a *actor) call(undo bool) (func(context.Context) ([]byte, error), time.Duration, error) {
	f, s := a.m.frame, a.m.step()
	if !undo {
		state := f.State
		return func(ctx context.Context) ([]byte, error) { return s.action(ctx, state) }, a.timeout(s), nil
	}
	r := f.Undo[len(f.Undo)-1]
	state, err := a.snapshot(r.Snapshot)
	if err != nil {
		return nil, 0, fmt.Errorf("read the state that %s left: %w", r.Step, err)
	}
	return func(ctx context.Context) ([]byte, error) { return nil, s.undo(ctx, state, r.Outcome) }, s.UndoTimeout, nil
}

// timeout is the time of one attempt, within those of the step and the saga.
func (a *actor) timeout(s *State) time.Duration {
	now := a.now()
	d := s.Timeout
	if s.Within > 0 {
		d = min(d, fromMillis(a.m.frame.Entered).Add(s.Within).Sub(now))
	}
	if due := a.m.due(); !due.IsZero() && !a.m.committed() {
		d = min(d, due.Sub(now))
	}
	return max(d, time.Millisecond)
}

// judge turns a handler's reply into the attempt's result.
func (a *actor) judge(ctx context.Context, r reply, undo bool) result {
	if r.err == nil {
		if limit := a.c.cfg.MaxState; len(r.state) > limit {
			return result{err: &StateSizeError{Step: a.m.frame.Step, Size: len(r.state), Limit: limit}, outcome: Unknown}
		}
		return result{outcome: Done, state: r.state}
	}
	outcome := outcomeOf(r.err)
	if !saidOutcome(r.err) && ctx.Err() != nil {
		outcome = Unknown // whatever the handler made of its context's end
	}
	return result{err: r.err, outcome: outcome}
}

// snapshot returns the state as it was committed under a number.
func (a *actor) snapshot(n int) ([]byte, error) {
	if n == a.m.frame.Snapshots {
		return a.m.frame.State, nil
	}
	if n == 0 {
		return a.meta.Input, nil
	}
	if state, ok := a.recent[n]; ok {
		return state, nil
	}
	ctx, cancel := context.WithDeadline(a.c.background, a.valid)
	defer cancel()
	name := snapshotField(n)
	frames, err := a.c.store.Frames(ctx, a.lease.ID, name)
	if err != nil {
		return nil, err
	}
	stored, ok := frames[name]
	if !ok {
		return nil, fmt.Errorf("snapshot %d: %w", n, store.ErrNotFound)
	}
	return decodeState(a.c.cfg.Codec, stored)
}

// protect turns a panic into a failure.
func protect(ctx context.Context, call func(context.Context) ([]byte, error)) (r reply) {
	defer func() {
		if v := recover(); v != nil {
			r = reply{err: &PanicError{Value: v, Stack: debug.Stack()}}
		}
	}()
	r.state, r.err = call(ctx)
	return r
}
