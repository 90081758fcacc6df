package saga

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

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
	lease store.Lease
	meta  meta
	// started is when the execution was; its first step may begin later.
	started time.Time
	m       *machine

	status Status   // as last committed
	commit string   // the last id of the chain
	seq    int      // of commits under this lease
	opened commitID // the last commit when the lease was taken,
	traced bool     // if its id tells where in the chain it is
	read   int64    // number of the last mail absorbed by the machine
	// waiting is the mail after that, and puzzled why the first of it is not
	// understood.
	waiting [][]byte
	puzzled *letterError

	unsent []*letter // of the outbox as last committed
	stale  bool      // an earlier opening may have sent them
	out    *sending  // nil before the first is sent
	// written is when the last commit was, and ahead is set where letters have
	// gone since.
	written time.Time
	ahead   bool
	// asks are when the store is to be asked next for a lock, by request.
	asks map[string]time.Time

	running map[*frame]*attempt // handlers at work
	answers chan *attempt       // whose handlers have returned
	gone    chan struct{}       // closed when the actor ends

	recent     map[place][]byte // states that this opening replaced
	mostRecent int              // of them, before it is seen to which are needed

	// The store's clock is base at the moment anchor, on ours.
	base   time.Time
	anchor time.Time
	// valid is until when the lease holds at least, on our clock; renewed is
	// when the call that extended it was sent.
	valid   time.Time
	renewed time.Time
	// asked is when mail was asked for, on the store's clock: what comes before
	// then has been heard.
	asked time.Time
	// term ends when the lease may: calls to the store are not worth more. It
	// is made once for each renewal, and not for each call.
	term    context.Context
	endTerm context.CancelFunc
	timer   *time.Timer // of await

	helm  *helm                   // of the goroutine that has the actor
	alone atomic.Pointer[attempt] // whose handler that goroutine is in
	mover *time.Timer             // takes the actor over from it
	apart bool                    // no handler gets into it again
	// dropped is set where the execution was.
	dropped bool

	// alive ends when handlers are to be stopped, by lapse if not before.
	alive context.Context
	quit  context.CancelCauseFunc
	lapse *time.Timer
}

// errDropped ends an actor that no longer holds its execution, or cannot tell.
var errDropped = errors.New("execution dropped")

// log is for what is rarely said.
func (a *actor) log() *slog.Logger { return a.c.log.With("execution", a.lease.ID) }

// now is the time on the store's clock.
func (a *actor) now() time.Time { return a.base.Add(time.Since(a.anchor)) }

func (a *actor) held(sent, now time.Time) {
	a.base, a.anchor = now, time.Now()
	a.renewed, a.valid = sent, sent.Add(a.c.cfg.Lease)
	if a.endTerm != nil {
		a.endTerm()
	}
	a.term, a.endTerm = context.WithDeadline(a.c.background, a.valid)
	if a.lapse != nil {
		a.lapse.Reset(time.Until(a.lapses()))
	}
}

// run runs the execution from its opening on. An error means that it was dropped
// where it stood; another opening goes on from the last commit.
func (a *actor) run(o *store.Opening) error {
	if err := a.pending(o.Outbox); err != nil {
		return err
	}
	if o.Ended {
		a.read = o.Read
		return a.settle()
	}
	a.read, a.asked = o.Read-int64(len(o.Mail)), a.base
	if o.Openings > a.c.cfg.MaxOpenings || !a.m.fold() {
		for a.m.unfold() {
			if err := a.load(); err != nil {
				return err
			}
		}
	}
	a.m.lost(a.now())
	if o.Openings > a.c.cfg.MaxOpenings && a.m.status() == Running {
		a.suspect(o.Openings - 1)
	}
	a.hear(o.Mailbox)
	if a.m.root.Held && len(o.Mail) == 0 {
		orphaned, err := a.orphaned()
		if err != nil {
			return err
		}
		if orphaned {
			a.m.settle()
		}
	}
	return a.goOn()
}

// goOn runs the execution from where it stands.
func (a *actor) goOn() error {
	for {
		if err := a.fetch(); err != nil {
			return err
		}
		if err := a.keep(); err != nil {
			return err
		}
		if a.m.behind() {
			continue // the renewal brought mail
		}
		a.again()
		a.tidy()
		jobs, wake, err := a.advance()
		if err != nil {
			return err
		}
		next, until := a.plan(jobs, wake)
		if next != store.Continue && a.puzzled != nil {
			return a.leave()
		}
		if a.m.dirty || next != store.Continue {
			holds := a.holds()
			sent, err := a.send(next, until)
			if err != nil {
				return err
			}
			if !sent {
				continue // there is mail
			}
			if next != store.Continue {
				return nil
			}
			if a.m.dirty || a.m.behind() || a.m.root.Held {
				continue // the commit brought mail, or its letter is out
			}
			if holds && !a.holds() {
				continue // all letters have gone, and nothing keeps the lease
			}
		}
		if a.ask() {
			continue
		}
		if len(jobs) > 0 {
			// The commit's answer may have been long under way.
			if err := a.keep(); err != nil {
				return err
			}
			if a.m.dirty || a.m.behind() {
				continue // the renewal brought mail
			}
			if moved := a.begin(jobs, wake); moved {
				return nil
			}
		}
		a.await(wake)
	}
}

// suspect blocks an execution whose openings keep ending without a commit.
func (a *actor) suspect(openings int) {
	f := a.m.root
	for _, live := range a.m.live() {
		f = live // the last one down is what is at work
	}
	a.m.block(f, &Cause{Kind: CauseCrashes, Step: f.Step, Undo: f.Undoing,
		Error: fmt.Sprintf("%d openings in a row ended without a commit", openings)})
}

// advance lets the machine do what needs no handler.
func (a *actor) advance() ([]job, time.Time, error) {
	for {
		now := a.now()
		for again := true; again; { // below what is due there may be more
			again = a.m.rouse(now)
			if err := a.fetch(); err != nil {
				return nil, time.Time{}, err
			}
		}
		if a.m.late(now).After(a.asked) {
			if err := a.renew(); err != nil {
				return nil, time.Time{}, err
			}
			continue
		}
		if a.m.advance(now) {
			break
		}
		if a.m.short {
			continue
		}
		if err := a.load(); err != nil {
			return nil, time.Time{}, err
		}
	}
	jobs, wake := a.m.todo(a.now())
	if at := a.nextAsk(); !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
		wake = at
	}
	if a.command(jobs) {
		return a.advance()
	}
	if a.c.draining() && len(jobs) > 0 {
		jobs, wake = nil, a.now()
	}
	return jobs, wake, nil
}

// command sends what participants are to do, with the commit that follows. It
// reports whether there was any.
func (a *actor) command(jobs []job) bool {
	sent := false
	for _, j := range jobs {
		if !a.m.step(j.f).remote(j.undo) || a.c.draining() {
			continue
		}
		sent = true
		state := j.f.State
		if j.undo && !a.m.step(j.f).calls() {
			var err error
			if state, err = a.state(j.f, j.f.Undo[len(j.f.Undo)-1]); err != nil {
				a.m.answer(j.f, result{err: err, outcome: NotDone}, a.now())
				continue
			}
		}
		a.m.send(j.f, state, a.now())
	}
	return sent
}

// load reads the fields of the record that the machine asks for.
func (a *actor) load() error {
	fields, err := a.c.store.Frames(a.term, a.lease.ID, a.m.wanted()...)
	if err != nil {
		return fmt.Errorf("%w: read frames: %w", errDropped, err)
	}
	return a.m.supply(a.c.cfg.Codec, fields)
}

// plan decides what becomes of the lease with the next commit.
func (a *actor) plan(jobs []job, wake time.Time) (store.Next, time.Time) {
	now := a.now()
	switch {
	case a.holds() && !(a.m.status().Ended() && !a.m.root.Held):
		return store.Continue, time.Time{}
	case a.m.root.Held: // until its parent says that it may end, or must be undone
		if len(a.m.orders)+len(a.m.unlocks) > 0 {
			return store.Continue, time.Time{}
		}
		if len(a.unsent) > 0 {
			return store.Park, now.Add(a.c.cfg.Lease)
		}
		return store.Park, now.Add(safetyNet + rand.N(time.Hour))
	case a.m.status().Ended():
		return store.End, now.Add(a.c.cfg.Retention)
	case len(jobs) > 0 || !a.m.idle():
		return store.Continue, time.Time{}
	case len(a.unsent)+len(a.m.commands)+len(a.m.orders)+len(a.m.unlocks) > 0 && (wake.IsZero() || wake.Sub(now) > a.c.cfg.Lease):
		return store.Park, now.Add(a.c.cfg.Lease) // to see whether all has gone out
	case wake.IsZero():
		return store.Park, now.Add(safetyNet + rand.N(time.Hour))
	case wake.Sub(now) > holdFor, !a.m.late(wake).IsZero(): // an answer opens it sooner
		return store.Park, wake
	case a.c.draining():
		return store.Park, latest(wake, now)
	}
	return store.Continue, time.Time{}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// keep renews the lease where a third of it is gone, and takes in the mail that
// came meanwhile. It gives up while the lease still holds.
func (a *actor) keep() error {
	if time.Since(a.renewed) < a.c.cfg.Lease/3 {
		return nil
	}
	return a.renew()
}

// renew renews the lease, and takes in the mail that has come.
func (a *actor) renew() error {
	box, err := a.extend()
	if err != nil {
		return err
	}
	a.hear(box)
	a.drop()
	a.post()
	return nil
}

// extend extends the lease, and hands over the mail that has come.
func (a *actor) extend() (store.Mailbox, error) {
	asked := a.now()
	ctx, cancel := context.WithDeadline(a.c.background, a.lapses())
	defer cancel()
	var r store.Renewal
	var sent time.Time
	err := a.persist(ctx, func() (err error) {
		sent = time.Now()
		r, err = a.c.store.Renew(ctx, a.lease, a.c.cfg.Lease, a.read+int64(len(a.waiting)))
		return err
	})
	if err != nil {
		return r.Mailbox, fmt.Errorf("%w: renew: %w", errDropped, err)
	}
	a.held(sent, r.Now)
	a.asked = asked
	return r.Mailbox, nil
}

// lapses is when handlers are stopped because the lease has not been renewed:
// while it still holds, so that they are not at work beside the next worker's.
func (a *actor) lapses() time.Time { return a.valid.Add(-a.c.cfg.Lease / leaseMargin) }

// persist calls f, and again while what it fails with may pass, until the
// context ends: an execution is dropped only when its lease is lost.
func (a *actor) persist(ctx context.Context, f func() error) error {
	for {
		err := f()
		switch {
		case err == nil, errors.Is(err, store.ErrLeaseLost), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrInvalid):
			return err
		}
		timer := time.NewTimer(a.c.cfg.Lease / 20)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// send commits what the machine has collected. It reports false where nothing
// was written because there was mail, which is absorbed now.
func (a *actor) send(next store.Next, wake time.Time) (bool, error) {
	entry, parked, still, rest := a.m.root.Entries, a.m.root.Parked, a.m.root.Still, a.m.root.Rest
	unsent, commands, orders, unlocks := a.unsent[:len(a.unsent):len(a.unsent)], a.m.commands, a.m.orders, a.m.unlocks
	c, err := a.transition(next, wake)
	if err != nil {
		return false, err
	}
	var r store.CommitResult
	if err := a.persist(a.term, func() (err error) { r, err = a.c.store.Commit(a.term, c); return err }); err != nil {
		return false, fmt.Errorf("%w: %w", errDropped, err)
	}
	if !r.Applied {
		a.m.root.Entries, a.m.root.Parked, a.m.root.Still, a.m.root.Rest = entry, parked, still, rest
		a.unsent, a.m.commands, a.m.orders, a.m.unlocks = unsent, commands, orders, unlocks
		a.hear(r.Mailbox)
		return false, nil
	}
	a.alert()
	a.commit, a.status, a.written = c.CommitID, a.m.status(), time.Now()
	a.remember(entry)
	a.m.committed()
	if next == store.Continue {
		a.hear(r.Mailbox)
		a.post()
		return true, nil
	}
	if next == store.End && len(a.unsent) > 0 {
		if err := a.settle(); err != nil {
			return true, err
		}
	}
	a.post()
	if a.status != Running {
		a.c.waiters.tell(a.lease.ID, func() *Execution {
			x := executionOf(a.lease.ID, a.status, a.meta, *a.m.root)
			x.Started, x.NextWake = a.started, wake
			return x
		})
	}
	return true, nil
}

// transition builds the commit of what the machine has collected.
func (a *actor) transition(next store.Next, wake time.Time) (*store.Commit, error) {
	c := a.follow(next, wake)
	a.stamp(c.CommitID)
	codec := a.c.cfg.Codec
	var err error
	if len(a.m.events) > 0 {
		if c.History, err = encodeEntry(codec, a.now(), a.m.events, a.m.replaced); err != nil {
			return nil, fmt.Errorf("encode the history: %w", err)
		}
		a.m.root.Entries++
	}
	if next == store.Park {
		a.m.park(a.lease.Epoch, a.now())
	}
	if c.Set, c.Delete, err = a.m.fields(codec); err != nil {
		return nil, err
	}
	c.Sole = a.m.purge
	if status := a.m.status(); status != a.status {
		c.Status = string(status)
		c.Index, c.OldIndex = a.meta.index(status), a.meta.index(a.status)
	}
	if err := a.letters(c, next); err != nil {
		return nil, err
	}
	a.ahead = false
	c.Outbox, err = encodeOutbox(codec, a.unsent)
	return c, err
}

// follow is an empty commit that follows the last.
func (a *actor) follow(next store.Next, wake time.Time) *store.Commit {
	a.seq++
	return &store.Commit{
		Lease: a.lease, Previous: a.commit, CommitID: commitID{a.lease.Epoch, a.lease.Nonce, a.seq}.String(),
		Absorbed: a.read, Next: next, Wake: wake,
	}
}
