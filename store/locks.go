package store

import (
	"context"
	"time"
)

// Locks keeps locks with queues: who asks for one that is held comes after those
// who asked before.
//
// Requests of one group share a lock: while one of them holds it, another gets it
// at once, under the same fence, and the lock is free when all are released.
//
// A lock has no lease. It is its holder's until it is released, however long
// that takes, and its fence is what tells holders apart: each grant gives one
// that is higher than those of all grants of that resource before, whatever was
// released, deleted or expired meanwhile. What the lock protects can refuse a
// holder whose lock was taken away by a fence below the highest it has seen.
//
// Every use has a name of its own, the request: the same request again is the
// same use, so that callers may repeat what they are not sure of. Whoever
// releases is told who is the next holder, and may tell them; one who has heard
// nothing asks again.
type Locks interface {
	// AcquireLock takes a lock that is free, or is the group's, or a place in its
	// queue. The same
	// request again changes nothing, and answers how it stands by now. One that
	// was released before is ErrReleased, and one that comes after its NotAfter
	// ErrLate, unless it is in the queue or holds the lock.
	AcquireLock(ctx context.Context, r LockRequest) (LockAnswer, error)

	// ReleaseLock gives a lock back, or a place in its queue. When none of its
	// group holds it any more, the first in the queue becomes the holder. It answers who holds the lock now, the zero
	// LockUse where nobody does; so does a repeat. The request is remembered for
	// the given time, in which an AcquireLock of it comes too late: it must last
	// until the NotAfter of all that were sent.
	ReleaseLock(ctx context.Context, resource, request string, remember time.Duration) (LockUse, error)

	// InspectLock returns a lock as it stands, with the first of those who share
	// it and of those who wait for it, up to the given number of each.
	InspectLock(ctx context.Context, resource string, waiters int) (LockState, error)

	// ListLocks returns the resources that are locked, those first whose holders
	// have had them for longest, from the given offset on.
	ListLocks(ctx context.Context, offset, limit int) ([]string, error)
}

// LockRequest asks for a lock.
type LockRequest struct {
	Resource string // what is locked
	Owner    string // who uses it; shown
	Group    string // those of one group share it; empty is the owner
	Request  string // names this use, and no other ever
	// NotAfter is until when the request may come, on the store's clock: one
	// that a network or a process kept back any longer is refused.
	NotAfter time.Time
}

// LockAnswer tells how a request stands.
type LockAnswer struct {
	Holder LockUse
	// Place is the request's in the queue, from 1 on; 0 where it is the holder.
	Place int
}

// Granted reports whether the request holds the lock.
func (a LockAnswer) Granted() bool { return a.Place == 0 }

// LockUse is one use of a lock. Those that share one have its fence and its time.
type LockUse struct {
	Owner   string
	Request string
	Fence   int64     // of a holder
	Since   time.Time // when it was granted, or came into the queue
}

// Sharers is the group of a request.
func (r *LockRequest) Sharers() string {
	if r.Group == "" {
		return r.Owner
	}
	return r.Group
}

// LockState is a lock as anybody may read it.
type LockState struct {
	Resource string
	Holder   LockUse   // the zero LockUse where it is free
	Sharing  []LockUse // others of its group, in the order in which they came
	Waiting  int       // how many are in the queue
	Queue    []LockUse // the first of them, in order
}
