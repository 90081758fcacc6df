package saga

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// leaseMargin is the part of a lease, one in so many, that is left when a
// handler's context ends because the lease could not be renewed.
const leaseMargin = 10

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
	info := StepInfo{
		Execution: a.lease.ID, Definition: a.meta.Definition, Step: f.Step, Visit: 1,
		Attempt: f.Attempt, Undo: undo, Cause: f.Cause, Key: idempotencyKey(a.lease.ID, f.Step, 1, undo),
	}
	ctx = withStep(ctx, info)
	done := make(chan reply, 1)
	a.c.busy.Store(&info, true)
	a.c.running.Go(func() {
		r := reply{err: errHandlerExited}
		defer func() {
			a.c.busy.Delete(&info)
			done <- r
		}()
		r = protect(ctx, call)
	})

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
			// A handler is stopped while the lease still holds, so that it is
			// not at work beside the next worker's.
			if _, err := a.extend(a.valid.Add(-a.c.cfg.Lease / leaseMargin)); err != nil {
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
	state, err := a.state(r.Entry)
	if err != nil {
		return nil, 0, fmt.Errorf("read the state that %s left: %w", r.Step, err)
	}
	return func(ctx context.Context) ([]byte, error) { return nil, s.undo(ctx, state, r.outcome()) }, s.UndoTimeout, nil
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

// state returns a state that an undo record names.
func (a *actor) state(entry int) ([]byte, error) {
	switch entry {
	case stateInFrame:
		return a.m.frame.State, nil
	case stateInMeta:
		return a.meta.Input, nil
	}
	if state, ok := a.recent[entry]; ok {
		return state, nil
	}
	ctx, cancel := context.WithDeadline(a.c.background, a.valid)
	defer cancel()
	stored, err := a.c.store.History(ctx, a.lease.ID, int64(entry), 1)
	if err != nil {
		return nil, err
	}
	if len(stored) == 0 {
		return nil, fmt.Errorf("history entry %d: %w", entry, store.ErrNotFound)
	}
	e, err := decodeEntry(a.c.cfg.Codec, stored[0])
	if err != nil {
		return nil, fmt.Errorf("history entry %d: %w", entry, err)
	}
	if e.Replaced == nil {
		return nil, fmt.Errorf("history entry %d keeps no state", entry)
	}
	return e.Replaced, nil
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
