package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/store"
)

// holdFor is how long an actor waits in place for what comes next, instead of
// parking: the sweeper looks once a second.
const holdFor = time.Second

// safetyNet is the wake-up of an execution that waits for an operator. Nothing
// depends on it but executions whose mail was lost with a Redis.
const safetyNet = 24 * time.Hour

// An actor runs one execution from its opening until it waits for something
// outside, ends, or is lost to another worker.
type actor struct {
	c     *Coordinator
	log   *slog.Logger
	lease store.Lease
	meta  meta
	// started is when the execution was; its first step may begin later.
	started time.Time
	m       *machine

	status Status // as last committed
	commit string // the last id of the chain
	seq    int    // of commits under this lease
	read   int64  // number of the last mail absorbed by the machine

	recent map[int][]byte // states that this opening replaced, by their entries

	// The store's clock is base at the moment anchor, on ours.
	base   time.Time
	anchor time.Time
	// valid is until when the lease holds at least, on our clock; renewed is
	// when the call that extended it was sent.
	valid   time.Time
	renewed time.Time
}

// errDropped ends an actor that no longer holds its execution, or cannot tell.
var errDropped = errors.New("execution dropped")

// now is the time on the store's clock.
func (a *actor) now() time.Time { return a.base.Add(time.Since(a.anchor)) }

func (a *actor) held(sent, now time.Time) {
	a.base, a.anchor = now, time.Now()
	a.renewed, a.valid = sent, sent.Add(a.c.cfg.Lease)
}

// run runs the execution. An error means that it was dropped where it stood;
// another opening goes on from the last commit.
func (a *actor) run(o *store.Opening) error {
	if o.Ended {
		a.read = o.Read
		return a.settle(o.Outbox)
	}
	a.m.lost(a.now())
	if o.Openings > a.c.cfg.MaxOpenings && a.m.status() == Running {
		a.m.block(&Cause{Kind: CauseCrashes, Step: a.m.frame.Step, Undo: a.m.frame.Undoing,
			Error: fmt.Sprintf("%d openings in a row ended without a commit", o.Openings-1)})
	}
	a.absorbAll(o.Mailbox)
	for {
		if err := a.keep(); err != nil {
			return err
		}
		now := a.now()
		a.m.deadline(now)
		todo, at := a.m.next(now)
		next, wake := a.plan(todo, at, now)
		if a.m.dirty || next != store.Continue {
			sent, err := a.send(next, wake)
			if err != nil {
				return err
			}
			if !sent {
				continue // there is mail
			}
			if next != store.Continue {
				return nil
			}
			if a.m.dirty {
				continue // the commit brought mail
			}
		}
		if err := a.do(todo, at); err != nil {
			return err
		}
	}
}

// plan decides what becomes of the lease with the next commit.
func (a *actor) plan(todo directive, at, now time.Time) (store.Next, time.Time) {
	switch {
	case todo == stop && a.m.status().Ended():
		return store.End, now.Add(a.c.cfg.Retention)
	case todo == stop:
		return store.Park, now.Add(safetyNet + rand.N(time.Hour))
	case todo == wait && at.Sub(now) > holdFor, todo == wait && a.c.draining():
		return store.Park, at
	case a.c.draining():
		return store.Park, now
	}
	return store.Continue, time.Time{}
}

// do does what the last commit dispatched.
func (a *actor) do(todo directive, at time.Time) error {
	switch todo {
	case wait:
		return a.wait(at)
	case runAction, runUndo:
		r, err := a.attempt(todo == runUndo)
		if err != nil {
			return err
		}
		a.m.answer(r, a.now())
	}
	return nil
}

// wait waits in place until a time, at most holdFor away, or until the
// coordinator drains.
func (a *actor) wait(until time.Time) error {
	t := time.NewTimer(until.Sub(a.now()))
	defer t.Stop()
	select {
	case <-t.C:
	case <-a.c.drain:
	}
	return nil
}

func (a *actor) absorbAll(box store.Mailbox) {
	for _, body := range box.Mail {
		a.absorb(body)
	}
	a.read = max(a.read, box.Read)
}

// keep renews the lease where a third of it is gone.
func (a *actor) keep() error {
	if time.Since(a.renewed) < a.c.cfg.Lease/3 {
		return nil
	}
	return a.renew()
}

// renew extends the lease and absorbs the mail that came meanwhile. No attempt
// may be running.
func (a *actor) renew() error {
	box, err := a.extend(a.valid)
	if err != nil {
		return err
	}
	a.absorbAll(box)
	return nil
}

// extend extends the lease, or gives up at a time before it runs out.
func (a *actor) extend(until time.Time) (store.Mailbox, error) {
	ctx, cancel := context.WithDeadline(a.c.background, until)
	defer cancel()
	sent := time.Now()
	r, err := a.c.store.Renew(ctx, a.lease, a.c.cfg.Lease, a.read)
	if err != nil {
		return store.Mailbox{}, fmt.Errorf("%w: renew: %w", errDropped, err)
	}
	a.held(sent, r.Now)
	return r.Mailbox, nil
}

// send commits what the machine has collected. It reports false where nothing
// was written because there was mail, which is absorbed now.
func (a *actor) send(next store.Next, wake time.Time) (bool, error) {
	c, err := a.transition(next, wake)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithDeadline(a.c.background, a.valid)
	defer cancel()
	r, err := a.c.store.Commit(ctx, c)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errDropped, err)
	}
	if !r.Applied {
		a.absorbAll(r.Mailbox)
		return false, nil
	}
	a.alert()
	a.commit, a.status = c.CommitID, a.m.status()
	if a.m.replaced != nil {
		a.recent[a.m.frame.Entries] = a.m.replaced
	}
	if len(c.History) > 0 {
		a.m.frame.Entries++
	}
	a.m.events, a.m.replaced, a.m.dirty = nil, nil, false
	if next == store.Continue {
		a.absorbAll(r.Mailbox)
		return true, nil
	}
	if len(c.Outbox) > 0 {
		if err := a.settle(c.Outbox); err != nil {
			return true, err
		}
	}
	if a.status != Running {
		a.c.waiters.tell(a.lease.ID, func() *Execution {
			x := executionOf(a.lease.ID, a.status, a.meta, *a.m.frame)
			x.Started, x.NextWake = a.started, wake
			return x
		})
	}
	return true, nil
}

// alert logs what somebody has to look at, of what was committed just now.
func (a *actor) alert() {
	for _, e := range a.m.events {
		switch e.Type {
		case ExecutionBlocked:
			a.log.Error("the saga is blocked, and waits for an operator", "step", e.Step, "error", e.Error)
		case ExecutionOverdue:
			a.log.Warn("the saga has run out of its time after its point of no return, and goes on", "step", e.Step)
		case MailDiscarded:
			a.log.Warn("mail for the saga was discarded", "error", e.Error)
		}
	}
}

// transition builds the commit of what the machine has collected.
func (a *actor) transition(next store.Next, wake time.Time) (*store.Commit, error) {
	// What is dispatched now belongs to this opening, and what waits to the
	// next.
	if next == store.Continue {
		a.m.rebase(a.lease.Epoch)
	} else {
		a.m.rebase(a.lease.Epoch + 1)
	}
	c := a.follow(next, wake)
	codec := a.c.cfg.Codec
	frame := *a.m.frame
	if len(a.m.events) > 0 {
		var err error
		if c.History, err = encodeEntry(codec, a.now(), a.m.events, a.m.replaced); err != nil {
			return nil, fmt.Errorf("encode the history: %w", err)
		}
		frame.Entries++
	}
	root, err := encodeJSON(codec, frame)
	if err != nil {
		return nil, fmt.Errorf("encode the frame: %w", err)
	}
	c.Set = map[string][]byte{store.RootFrame: root}
	if status := a.m.status(); status != a.status {
		c.Status = string(status)
		c.Index, c.OldIndex = indexOf(status, a.meta.Definition), indexOf(a.status, a.meta.Definition)
	}
	if next == store.End && a.meta.ReplyTo != "" {
		if c.Outbox, err = a.outbox(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// follow is an empty commit that follows the last.
func (a *actor) follow(next store.Next, wake time.Time) *store.Commit {
	a.seq++
	return &store.Commit{
		Lease: a.lease, Previous: a.commit, CommitID: a.lease.Nonce + "." + strconv.Itoa(a.seq),
		Absorbed: a.read, Next: next, Wake: wake,
	}
}

// outbox is the notice of the execution's end.
func (a *actor) outbox() ([]byte, error) {
	body, err := json.Marshal(notice{
		Waybill: messageFormat, Execution: a.lease.ID, Definition: a.meta.Definition,
		Status: a.m.status(), State: a.m.frame.State, Cause: a.m.frame.Cause,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the notice: %w", err)
	}
	return encodeJSON(a.c.cfg.Codec, outbox{ID: a.lease.ID + ".end", To: a.meta.ReplyTo, Body: body})
}

// settle sends the outbox of an execution that has ended, and clears it. What
// is not sent stays, with the lease's expiry as its wake-up.
func (a *actor) settle(stored []byte) error {
	var out outbox
	if err := decodeJSON(a.c.cfg.Codec, stored, &out); err != nil {
		return fmt.Errorf("decode the outbox: %w", err)
	}
	if a.c.cfg.Publisher == nil {
		a.c.release(a.lease)
		return fmt.Errorf("%w: a notice waits for a coordinator with a Publisher", errDropped)
	}
	msg := message.NewMessage(out.ID, message.Payload(out.Body))
	ctx, cancel := context.WithDeadline(a.c.background, a.valid)
	defer cancel()
	msg.SetContext(ctx)
	if err := a.c.cfg.Publisher.Publish(out.To, msg); err != nil {
		return fmt.Errorf("%w: send the notice to %q: %w", errDropped, out.To, err)
	}
	if _, err := a.c.store.Commit(ctx, a.follow(store.End, a.now().Add(a.c.cfg.Retention))); err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	return nil
}
