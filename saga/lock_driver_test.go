package saga

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// benchLocks are the locks of a bench, in a store that others may use too. nil
// is none.
type benchLocks struct {
	b     *bench
	store *memstore.Store
	owner string
	asked map[string]bool // requests, since the last opening
	// outbox is what is to be given back as it was committed last, and others
	// are told of what that grants by tell.
	outbox []heldLock
	tell   func(next store.LockUse, resource string)
	dies   bool // before the next letter goes out
}

// withLocks gives a bench locks.
func (b *bench) withLocks(owner string, st *memstore.Store, tell func(store.LockUse, string)) {
	b.locks = &benchLocks{b: b, store: st, owner: owner, tell: tell, asked: make(map[string]bool)}
}

func newLockStore(now func() time.Time) *memstore.Store {
	return memstore.New(memstore.Config{Partitions: 1, Now: now})
}

// opened is what an opening does: it asks again, and sends again.
func (k *benchLocks) opened() {
	if k != nil {
		clear(k.asked)
		k.send()
	}
}

// write puts what a commit gives back into the outbox, and leaves out what has
// gone.
func (k *benchLocks) write(unlocks []heldLock) {
	if k != nil {
		k.outbox = slices.Clone(unlocks)
	}
}

// send gives back what is in the outbox. A repeat does no harm.
func (k *benchLocks) send() {
	if k == nil || k.dies {
		return
	}
	for _, l := range k.outbox {
		next, err := k.store.ReleaseLock(context.Background(), l.Resource, l.Request, rememberUnlock)
		if err != nil {
			panic(err)
		}
		if next.Request != "" && k.tell != nil {
			k.tell(next, l.Resource)
		}
	}
}

// asks reports whether there is a lock to ask for.
func (b *bench) asks() bool {
	return b.locks != nil && slices.ContainsFunc(b.m.asking(), func(l *heldLock) bool { return !b.locks.asked[l.Request] })
}

// ask asks for what is on record, as actor.ask does, and reports whether it did.
func (b *bench) ask() (asked bool) {
	if b.locks == nil {
		return false
	}
	for _, l := range b.m.asking() {
		if l.fresh || b.locks.asked[l.Request] {
			continue
		}
		asked = true
		b.locks.asked[l.Request] = true
		answer, err := b.locks.store.AcquireLock(context.Background(), store.LockRequest{
			Resource: l.Resource, Owner: b.locks.owner, Request: l.Request, NotAfter: b.now.Add(benchLease),
		})
		switch {
		case errors.Is(err, store.ErrReleased):
			b.m.refused(l.Request, b.now)
		case err != nil:
			panic(err)
		case answer.Granted():
			b.m.granted(l.Resource, l.Request, answer.Holder.Fence, b.now)
		}
		break // the machine has changed
	}
	return asked
}

// take lets somebody else take a lock.
func (k *benchLocks) take(resource string) {
	_, err := k.store.AcquireLock(context.Background(), store.LockRequest{
		Resource: resource, Owner: "other", Request: "other's " + resource, NotAfter: k.b.now,
	})
	if err != nil {
		panic(err)
	}
}

// heed lets somebody else release a lock, and tell, or an operator break it.
func (b *bench) heed(op string) {
	what, resource, _ := strings.Cut(op, ":")
	ctx := context.Background()
	if what == "break" {
		l, err := b.locks.store.InspectLock(ctx, resource, 0)
		if err != nil {
			panic(err)
		}
		b.m.broken(resource, l.Holder.Request, "ann", "", b.now)
		if _, err := b.locks.store.ReleaseLock(ctx, resource, l.Holder.Request, rememberUnlock); err != nil {
			panic(err)
		}
		return
	}
	next, err := b.locks.store.ReleaseLock(ctx, resource, "other's "+resource, rememberUnlock)
	if err != nil {
		panic(err)
	}
	if next.Owner == b.locks.owner {
		b.m.granted(resource, next.Request, next.Fence, b.now)
	}
}

// shown tells who holds a lock, and who waits.
func (k *benchLocks) shown() string {
	ctx := context.Background()
	names, err := k.store.ListLocks(ctx, 0, 100)
	if err != nil {
		panic(err)
	}
	var words []string
	for _, name := range names {
		l, err := k.store.InspectLock(ctx, name, 100)
		if err != nil {
			panic(err)
		}
		w := fmt.Sprint(name, "=", l.Holder.Owner)
		for _, u := range l.Queue {
			w += "," + u.Owner
		}
		words = append(words, w)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
