package saga

import (
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A helm is a goroutine's hold on an actor. One goroutine at a time has it.
type helm struct{ left bool } // to another goroutine

// steer calls f, which runs the execution to where this worker is through with
// it, and gives the slot back; or another goroutine does, which took over.
func (a *actor) steer(f func() error) {
	h := new(helm)
	a.helm = h
	defer func() {
		if h.left {
			return
		}
		a.abandon()
		a.endTerm()
		a.c.give()
	}()
	a.report(f())
}

// begin runs the handlers of dispatched attempts. It reports whether the actor has
// moved to another goroutine meanwhile.
func (a *actor) begin(jobs []job, wake time.Time) (moved bool) {
	lone := len(jobs) == 1 && len(a.running) == 0 && !a.apart
	for _, j := range jobs {
		t := a.attempt(j)
		switch {
		case t == nil:
		case lone:
			return a.within(t, wake)
		default:
			a.c.running.Go(func() {
				deepen()
				defer a.deliver(t)
				t.run(a.c)
			})
		}
	}
	return false
}

// within runs the only handler there is on the actor's own goroutine, which saves
// a goroutine for each attempt, and the switches to it and back. If the handler is
// still at work when there is something to do, such as to renew the lease, another
// goroutine takes the actor over, and gets the answer as from any other handler.
func (a *actor) within(t *attempt, wake time.Time) (moved bool) {
	h, d, exited := a.helm, a.leisure(wake), true
	if a.mover == nil {
		a.mover = time.AfterFunc(a.c.cfg.Lease, a.move)
	}
	a.c.running.Add(1)
	a.alone.Store(t) // from here on the actor may be another goroutine's
	a.mover.Reset(d)
	defer func() {
		defer a.c.running.Done()
		if h.left = !a.alone.CompareAndSwap(t, nil); h.left {
			a.deliver(t)
			moved = true
			return
		}
		a.mover.Stop()
		a.take(t)
		a.hear(store.Mailbox{})
		if exited {
			// The handler has ended this goroutine: what is left of it has to do.
			a.apart = true
			a.report(a.goOn())
		}
	}()
	t.run(a.c)
	exited = false
	return false
}

// move takes the actor over from the goroutine that is in a handler.
func (a *actor) move() {
	if t := a.alone.Load(); t != nil && a.alone.CompareAndSwap(t, nil) {
		a.steer(a.goOn)
	}
}

// report logs why an execution was dropped.
func (a *actor) report(err error) {
	if err != nil {
		a.dropped = true
		a.log().Warn("the execution goes on elsewhere, or here when its lease has expired", "error", err)
	}
}

// alert logs what somebody has to look at, of what was committed just now.
func (a *actor) alert() {
	for _, e := range a.m.events {
		switch e.Type {
		case ExecutionBlocked:
			a.log().Error("the saga is blocked, and waits for an operator", "step", e.Step, "error", e.Error)
		case ExecutionQuarantined:
			a.log().Error("the store has lost a write of the saga, which is quarantined, and waits for an operator", "error", e.Error)
		case ExecutionOverdue:
			a.log().Warn("the saga has run out of its time after its point of no return, and goes on", "step", e.Step)
		case TaskDoneLate:
			a.log().Warn("a participant has done a step whose undo had begun, or was over: see what there is", "frame", e.Frame, "step", e.Step, "attempt", e.Attempt)
		case MailDiscarded:
			a.log().Warn("mail for the saga was discarded", "error", e.Error)
		}
	}
}
