package store

import (
	"context"
	"math"
	"time"
)

// Definitions keeps the graphs that services register, so that tools can draw
// and check what they have no code for.
type Definitions interface {
	// PutDefinition stores a graph under its name and version, for good, in place
	// of the old one; nil: of none. It reports whether it is there now: if not,
	// something else is than the old one.
	PutDefinition(ctx context.Context, name, version string, graph, old []byte) (bool, error)
	// Definition returns a graph, or ErrNotFound.
	Definition(ctx context.Context, name, version string) ([]byte, error)
	// DefinitionVersions returns the versions of every name.
	DefinitionVersions(ctx context.Context) (map[string][]string, error)
}

// Members tells the live workers from each other's heartbeats.
type Members interface {
	// Heartbeat records that the worker lives for d from now on and returns
	// all live workers, itself included, sorted.
	Heartbeat(ctx context.Context, worker string, d time.Duration) ([]string, error)
	// Leave takes the worker off at once.
	Leave(ctx context.Context, worker string) error
}

// Idempotency keeps the records by which a receiver handles a message once:
// claim, handle, commit.
//
// Work that is tried again under one key, on the word of somebody who counts the
// attempts, is claimed by attempt: what came of one attempt need not be what
// comes of the next. A record keeps the highest attempt that it has seen, and
// refuses lower ones.
type Idempotency interface {
	// Claim takes the key for the lease's length. Where the key was completed,
	// for all attempts or for this one, it answers Done with the result. It
	// answers ErrStale where a higher attempt has been seen, even if that one
	// was given back, and ErrBusy where somebody else holds the key. The same
	// token claims again.
	Claim(ctx context.Context, c Claim) (Claimed, error)
	// Complete stores the result for the retention, if the token still holds
	// the claim or nobody does; else it answers ErrLeaseLost. Of an attempt
	// that is not the highest seen it stores nothing and gives the claim back:
	// nobody may ask for that result.
	Complete(ctx context.Context, c Completion) error
	// Forget gives a claim back, so that the next receiver handles the
	// message. A claim that is not the token's stays, and so does the highest
	// attempt that was seen.
	Forget(ctx context.Context, key, token string) error
}

// KeyRecords tells how far the work of idempotency keys is, without claiming it.
type KeyRecords interface {
	// InspectKey returns how far a key is. One that nobody has claimed, or
	// whose record has run out, is the zero KeyRecord.
	InspectKey(ctx context.Context, key string) (KeyRecord, error)
}

// A KeyRecord is how far the work of an idempotency key is.
type KeyRecord struct {
	Done bool // it was completed, for all attempts
	Held bool // somebody holds the claim
	// Failed says that the last result is that of one attempt alone: a higher one
	// does the work anew.
	Failed bool
}

// LastAttempt is the highest attempt there can be: who claims a key under it
// has all others refused from then on.
const LastAttempt = math.MaxInt32

// A Claim asks for an idempotency key.
type Claim struct {
	Key   string
	Token string // names who asks; random, and so this call's alone
	Lease time.Duration

	// Attempt counts the attempts from 1. It is 0 for work that has no
	// attempts, and whose result holds for good.
	Attempt int
	// Remember is how long the attempt is remembered after the claim. It goes
	// with Attempt.
	Remember time.Duration
}

// Claimed is the answer to a claim.
type Claimed struct {
	Done   bool   // the work was done before, and nobody holds a claim
	Result []byte // where it is Done
	// Seen is the highest attempt that was seen before this claim, 0 for none.
	// One that is not below the claim's own may have been at work already.
	Seen int
}

// A Completion is what came of the work that was claimed.
type Completion struct {
	Key       string
	Token     string
	Result    []byte
	Retention time.Duration

	// Attempt, if it is not 0, says that the result is that of this attempt
	// alone: higher ones do the work anew.
	Attempt int
}

// DefaultIdempotencyRetention is a day more than the longest retention of any
// SQS queue, 14 days: a message that its queue delivers again on its last day,
// and that a receiver then works on or waits for, finds its record still.
//
// It counts from the completion, and bounds duplicates of one sending alone. A
// redrive sends a message anew, under the same id, and the queue keeps that for
// another 14 days; so does a publisher that tries again after an outage. Such a
// duplicate may come later than this after the first delivery, and is then
// handled again. Where dead letters are redriven late, set Once.Retention to
// the retention of the queue, of its dead-letter queue and of the queue again:
// 43 days at most. What records cost in Redis tells package redisstore.
const DefaultIdempotencyRetention = 15 * 24 * time.Hour
