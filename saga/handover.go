package saga

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A request for a lock that a network or a stopped process kept back must come
// within askWithin, and a release is remembered for longer than that: none can
// come after its own release.
const (
	askWithin      = time.Minute
	rememberUnlock = 2 * askWithin
)

// lockMail tells an execution that a lock is its own now, or no longer.
type lockMail struct {
	Resource string `json:"r"`
	Request  string `json:"q"`
	Fence    int64  `json:"f,omitempty"`
	Broken   bool   `json:"x,omitempty"`
}

// askAgain is how long the store is not asked again for a lock: a lease, and longer
// than an actor waits in place.
func (a *actor) askAgain() time.Duration { return max(a.c.cfg.Lease, 2*holdFor) }

// nextAsk is when the store is to be asked for a lock next; zero is never.
func (a *actor) nextAsk() (next time.Time) {
	for _, l := range a.m.asking() {
		at := latest(a.asks[l.Request], a.now())
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// ask asks for the locks that are waited for, where that was not done for a
// lease: whoever released one may have died before they told. It reports whether
// something has changed.
func (a *actor) ask() (changed bool) {
	for {
		l := a.nextRequest()
		if l == nil {
			return changed
		}
		answer, err := a.acquire(l)
		if err == nil && !answer.Granted() && a.evict(l, answer) {
			answer, err = a.acquire(l)
		}
		if a.asks == nil {
			a.asks = make(map[string]time.Time)
		}
		a.asks[l.Request] = a.now().Add(a.askAgain())
		switch {
		case errors.Is(err, store.ErrReleased):
			a.m.refused(l.Request, a.now())
			changed = true
		case err != nil:
			a.log().Warn("a lock was not asked for, and will be", "lock", l.Resource, "error", err)
			a.asks[l.Request] = a.now().Add(a.c.cfg.Lease / 10)
		case answer.Granted():
			a.m.granted(l.Resource, l.Request, answer.Holder.Fence, a.now())
			changed = true
			if !a.m.advance(a.now()) { // the next lock of a step that takes several may be on record
				return true
			}
		}
	}
}

// acquire asks for a lock. The request must come while the lease holds.
func (a *actor) acquire(l *heldLock) (store.LockAnswer, error) {
	within := min(time.Until(a.valid), askWithin)
	return a.c.store.AcquireLock(a.term, store.LockRequest{
		Resource: l.Resource, Owner: a.lease.ID, Group: a.group(), Request: l.Request, NotAfter: a.now().Add(within),
	})
}

// nextRequest is one that is to be asked for now.
func (a *actor) nextRequest() *heldLock {
	for _, l := range a.m.asking() {
		if !l.fresh && !a.asks[l.Request].After(a.now()) {
			return l
		}
	}
	return nil
}

// evict gives a lock to the next whose holder has ended, or does not know that it
// has the lock, as after a Redis has lost writes, and reports whether it did.
// Only the first in the queue looks, when it has waited for a lease.
func (a *actor) evict(l *heldLock, answer store.LockAnswer) bool {
	h := answer.Holder
	if answer.Place != 1 || a.now().Sub(latest(h.Since, fromMillis(l.Since))) < a.c.cfg.Lease {
		return false
	}
	r, err := a.c.store.Get(a.term, h.Owner)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrGone):
	case err != nil || r.Version != store.FormatVersion:
		return false
	case r.Ended && r.LeaseUntil.After(a.now()):
		return false // its worker gives it back when the handlers that had it have returned
	case !r.Ended:
		var f frame
		if err := decodeJSON(a.c.cfg.Codec, r.Root, &f); err != nil {
			return false
		}
		for _, held := range f.Locked {
			if held.Request == h.Request {
				return false
			}
		}
	}
	a.log().Warn("a lock was given back for an execution that has no use for it", "lock", l.Resource, "holder", h.Owner)
	if err := a.c.Client().handOver(a.term, l.Resource, h.Request); err != nil {
		a.log().Warn("a lock was not given back", "lock", l.Resource, "error", err)
		return false
	}
	return true
}

// handOver gives a lock back, and tells the execution that has it then. One that
// has ended gives it back in its turn. It may be repeated: whoever has the lock
// by then is told.
func (c *Client) handOver(ctx context.Context, resource, request string) error {
	for {
		next, err := c.store.ReleaseLock(ctx, resource, request, rememberUnlock)
		if err != nil {
			return fmt.Errorf("give back lock %s: %w", resource, err)
		}
		if next.Request == "" {
			return nil
		}
		err = c.tellLock(ctx, next.Owner, mail{Kind: mailLock, Lock: &lockMail{
			Resource: resource, Request: next.Request, Fence: next.Fence,
		}})
		switch {
		case err == nil:
			return nil
		case !nobody(err):
			return fmt.Errorf("tell %q that it has lock %s: %w", next.Owner, resource, err)
		}
		request = next.Request
	}
}

// nobody reports whether mail was refused because its execution needs none any
// more.
func nobody(err error) bool {
	return errors.Is(err, store.ErrEnded) || errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrNotFound)
}

// tellLock brings mail about a lock. A repeat has the same id.
func (c *Client) tellLock(ctx context.Context, owner string, m mail) error {
	body, err := encodeMail(c.cfg.Codec, m)
	if err != nil {
		return err
	}
	id := "lock." + m.Lock.Request
	if m.Lock.Broken {
		id += ".broken"
	}
	_, err = c.deliver(ctx, store.PostRequest{ID: owner, MailID: id, Body: body, Limit: mailboxLimit + operatorHeadroom})
	return err
}
