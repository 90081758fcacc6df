package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// leaseMargin is the part of a lease, one in so many, that is left when a
// handler's context ends because the lease could not be renewed.
const leaseMargin = 10

// An attempt is a handler at work.
type attempt struct {
	f       *frame
	info    StepInfo
	timeout time.Duration
	call    func(context.Context) ([]byte, error)
	means   func(error) error // what errors mean, by the step; or nil
	ctx     context.Context
	cancel  context.CancelFunc
	patient time.Time // until when its answer is awaited
	state   []byte    // what it gave back
	err     error
	given   bool // up
	heart   *heart
}

// A heart ends a handler's context when it has not been heard for too long.
type heart struct {
	every time.Duration
	timer *time.Timer
}

var errStopped = Named(ErrorHeartbeat, errors.New("the handler's heartbeat has stopped"))

// watch ends the handler's context where no Beat comes.
func (t *attempt) watch(every time.Duration) {
	ctx, quit := context.WithCancelCause(t.ctx)
	h := &heart{every: every, timer: time.AfterFunc(every, func() { quit(errStopped) })}
	end := t.cancel
	t.heart, t.ctx = h, context.WithValue(ctx, heartKey{}, h)
	t.cancel = func() {
		h.timer.Stop()
		quit(nil)
		end()
	}
}

type heartKey struct{}

// Beat tells that a handler is at work, for a step with a [Step.Heartbeat]. It
// does nothing for others.
func Beat(ctx context.Context) {
	if h, ok := ctx.Value(heartKey{}).(*heart); ok && ctx.Err() == nil {
		h.timer.Reset(h.every)
	}
}

// errLapsed is why a handler's context ends before its time.
var errLapsed = errors.New("saga: the lease on the execution could not be renewed in time")

// watch makes the context of handlers, which ends before the lease does.
func (a *actor) watch() {
	if a.lapse != nil {
		return
	}
	a.alive, a.quit = context.WithCancelCause(a.c.handlers)
	a.lapse = time.AfterFunc(time.Until(a.lapses()), func() { a.quit(errLapsed) })
}

// attempt readies the handler of a dispatched attempt. It returns nil where there
// is nothing to be called, which then is the attempt's answer.
func (a *actor) attempt(j job) *attempt {
	a.watch()
	f := j.f
	call, timeout, err := a.call(f, j.undo)
	if err != nil {
		a.m.answer(f, result{err: err, outcome: NotDone}, a.now())
		return nil
	}
	t := &attempt{f: f, timeout: timeout, call: call, means: a.m.step(f).classify, info: StepInfo{
		Execution: a.lease.ID, Definition: a.meta.Definition, Frame: f.path, Step: f.Step, Visit: f.visit(f.Step),
		Attempt: f.Attempt, Undo: j.undo, Caught: f.Caught, Locks: a.m.fences(),
	}}
	if j.undo {
		r := f.Undo[len(f.Undo)-1]
		t.info.Visit, t.info.Outcome, t.info.Edits = max(r.Visit, 1), r.outcome(), r.edits()
		t.info.Cause = a.m.why(f)
	}
	t.info.Key = idempotencyKey(t.info)
	t.info.ActionKey = t.info.Key
	if j.undo {
		t.info.ActionKey = actionKey(t.info)
	}
	if f.Token != "" && !j.undo {
		t.info.Token = taskToken{
			Execution: a.lease.ID, Frame: f.path, Step: f.Step, Visit: t.info.Visit, Secret: f.Token,
		}.String()
	}
	t.ctx, t.cancel = context.WithTimeout(a.alive, timeout)
	if s := a.m.step(f); s.Heartbeat > 0 && !s.Callback && !j.undo {
		t.watch(s.Heartbeat)
	}
	// A handler that goes on after its time gets as long again as a lease, and
	// what it says then still counts: a late "done" is better than unknown.
	t.patient = time.Now().Add(timeout + a.c.cfg.Lease)
	f.running = true
	a.running[f] = t
	return t
}

// run calls the handler.
func (t *attempt) run(c *Coordinator) {
	c.busy.add(&t.info)
	defer c.busy.remove(&t.info)
	t.err = errHandlerExited
	state, err := protect(withStep(t.ctx, t.info), t.call)
	t.state, t.err = state, classified(t.ctx, err, t.means, c.cfg.Classify)
}

// deliver gives a handler's answer to the goroutine that has the actor.
func (a *actor) deliver(t *attempt) {
	select {
	case a.answers <- t:
	case <-a.gone:
	}
}

// leisure is for how long there is nothing to do but to wait for answers. Renewals,
// and answers that do not come, end it too.
func (a *actor) leisure(wake time.Time) time.Duration {
	soonest := a.renewed.Add(a.c.cfg.Lease / 3)
	if !wake.IsZero() {
		if at := a.anchor.Add(wake.Sub(a.base)); at.Before(soonest) {
			soonest = at
		}
	}
	for _, t := range a.running {
		if t.patient.Before(soonest) {
			soonest = t.patient
		}
	}
	if a.sendingOn() {
		return min(time.Until(soonest), a.breath())
	}
	return time.Until(soonest)
}

// await waits for an answer, for the next time that there is something to do, or
// until the coordinator drains.
func (a *actor) await(wake time.Time) {
	if a.m.dirty || a.m.behind() {
		return
	}
	drain := a.c.drain
	if len(a.running) > 0 && a.c.draining() {
		drain = nil // which is known
	}
	d := a.leisure(wake)
	if a.timer == nil {
		a.timer = time.NewTimer(d)
	} else {
		a.timer.Reset(d)
	}
	defer a.timer.Stop()
	select {
	case t := <-a.answers:
		a.take(t)
	case <-a.timer.C:
		a.giveUp()
	case <-a.sent():
	case <-drain:
	}
	for { // what came meanwhile shares the commit
		select {
		case t := <-a.answers:
			a.take(t)
		default:
			a.hear(store.Mailbox{})
			return
		}
	}
}

// take takes a handler's answer.
func (a *actor) take(t *attempt) {
	if t.given {
		return
	}
	delete(a.running, t.f)
	r := a.judge(t)
	t.cancel()
	if a.m.root.Ended == nil {
		a.m.answer(t.f, r, a.now())
	}
}

// giveUp ends the wait for handlers that do not return.
func (a *actor) giveUp() {
	now := time.Now()
	for f, t := range a.running {
		if t.patient.After(now) {
			continue
		}
		t.given = true
		delete(a.running, f)
		t.cancel()
		a.m.answer(f, result{
			err:     fmt.Errorf("%w %s after its timeout of %s", errNoReturn, a.c.cfg.Lease, t.timeout),
			outcome: Unknown,
		}, a.now())
	}
}

// errTerminated is why the context of a handler ends whose execution does.
var errTerminated = errors.New("saga: the execution was terminated")

// terminates reports whether one of the mails that wait ends the execution where it
// stands, while handlers are at work.
func (a *actor) terminates() bool {
	return len(a.running) > 0 && slices.ContainsFunc(a.waiting, func(body []byte) bool {
		var m mail
		return decodeJSON(a.c.cfg.Codec, body, &m) == nil && m.Kind == mailTerminate
	})
}

// cutOff ends the contexts of the handlers that are at work. What they answer is not
// heard any more.
func (a *actor) cutOff() {
	a.quit(errTerminated)
	for _, t := range a.running {
		t.given = true
	}
	a.m.cutOff()
}

// abandon ends the contexts of handlers that are at work when the execution is
// dropped, and waits until they have returned or their time is over.
func (a *actor) abandon() {
	defer close(a.gone)
	defer a.endSending(a.dropped)
	if a.lapse != nil {
		a.lapse.Stop()
		a.quit(nil)
	}
	var last time.Time
	for _, t := range a.running {
		t.cancel()
		last = latest(last, t.patient)
	}
	a.returned(last)
}

// returned waits until all handlers have returned, at most until the given time.
func (a *actor) returned(last time.Time) {
	if len(a.running) == 0 {
		return
	}
	timer := time.NewTimer(time.Until(last))
	defer timer.Stop()
	for len(a.running) > 0 {
		select {
		case t := <-a.answers:
			delete(a.running, t.f)
		case <-timer.C:
			return
		}
	}
}

// call is the handler of the dispatched attempt with its input, and the time
// it has.
func (a *actor) call(f *frame, undo bool) (func(context.Context) ([]byte, error), time.Duration, error) {
	s := a.m.step(f)
	if !undo {
		state := f.State
		return func(ctx context.Context) ([]byte, error) { return s.action(ctx, state) }, a.timeout(f, s), nil
	}
	r := f.Undo[len(f.Undo)-1]
	state, err := a.state(f, r)
	if err != nil {
		return nil, 0, fmt.Errorf("read the state that %s left: %w", r.Step, err)
	}
	return func(ctx context.Context) ([]byte, error) { return nil, s.undo(ctx, state, r.outcome()) }, s.UndoTimeout, nil
}

// timeout is the time of one attempt, within those of the step and the saga.
func (a *actor) timeout(f *frame, s *State) time.Duration {
	now := a.now()
	d := s.handling()
	if end := f.over(s); !end.IsZero() {
		d = min(d, end.Sub(now))
	}
	if due := a.m.due(); !due.IsZero() && !a.m.bound() {
		d = min(d, due.Sub(now))
	}
	return max(d, time.Millisecond)
}

// judge turns a handler's answer into the attempt's result.
func (a *actor) judge(t *attempt) result {
	if t.err == nil {
		return result{outcome: Done, state: t.state}
	}
	outcome := outcomeOf(t.err)
	if !saidOutcome(t.err) && t.ctx.Err() != nil {
		outcome = Unknown // whatever the handler made of its context's end
		if cause := context.Cause(t.ctx); errors.Is(cause, errStopped) {
			return result{err: fmt.Errorf("%w: %w", cause, t.err), outcome: outcome}
		}
	}
	return result{err: t.err, outcome: outcome}
}

// A place is where a state is kept in the history.
type place struct {
	path       string
	entry, nth int
}

// remember keeps the states that a commit has replaced, under its history entry.
func (a *actor) remember(entry int) {
	for path, states := range a.m.replaced {
		for i, state := range states {
			if a.recent == nil {
				a.recent = make(map[place][]byte)
			}
			a.recent[place{path, entry, i}] = state
		}
	}
	if len(a.recent) > a.mostRecent {
		a.forget()
		a.mostRecent = 2*len(a.recent) + 16
	}
}

// forget drops the states that no undo record names which is at hand. The history
// has them.
func (a *actor) forget() {
	named := make(map[place]bool)
	name := func(f *frame) bool {
		for _, r := range f.Undo {
			named[place{f.path, r.Entry, r.Nth}] = true
		}
		return true
	}
	a.m.each(name)
	for _, f := range a.m.shelf {
		name(f)
	}
	maps.DeleteFunc(a.recent, func(p place, _ []byte) bool { return !named[p] })
}

// state returns the state that an undo record names.
func (a *actor) state(f *frame, r undoRecord) ([]byte, error) {
	if input := r.input(); input != nil {
		return input, nil
	}
	switch r.Entry {
	case stateInFrame:
		return f.State, nil
	case stateInMeta:
		return a.meta.Input, nil
	}
	if state, ok := a.recent[place{f.path, r.Entry, r.Nth}]; ok {
		return state, nil
	}
	return stateInHistory(a.term, a.c.store, a.c.cfg.Codec, a.lease.ID, f.path, r)
}

// stateInHistory reads a state that an undo record names from the history.
func stateInHistory(ctx context.Context, st Store, codec Codec, id, path string, r undoRecord) (json.RawMessage, error) {
	stored, err := st.History(ctx, id, int64(r.Entry), 1)
	if err != nil {
		return nil, err
	}
	if len(stored) == 0 {
		return nil, fmt.Errorf("history entry %d: %w", r.Entry, store.ErrNotFound)
	}
	e, err := decodeEntry(codec, stored[0])
	if err != nil {
		return nil, fmt.Errorf("history entry %d: %w", r.Entry, err)
	}
	states := e.states(path)
	if r.Nth < 0 || r.Nth >= len(states) {
		return nil, fmt.Errorf("history entry %d keeps no such state", r.Entry)
	}
	return states[r.Nth], nil
}

// protect turns a panic into a failure.
func protect(ctx context.Context, call func(context.Context) ([]byte, error)) (state []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return call(ctx)
}
