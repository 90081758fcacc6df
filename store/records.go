package store

import (
	"context"
	"time"
)

// Definitions keeps the graphs that services register, so that tools can draw
// and check what they have no code for.
type Definitions interface {
	// PutDefinition stores a graph under its name and version, for good.
	PutDefinition(ctx context.Context, name, version string, graph []byte) error
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
type Idempotency interface {
	// Claim takes the key for the lease's length. Where the key was completed
	// it returns the stored result and done true; where somebody else holds
	// it, ErrBusy. The same token claims again.
	Claim(ctx context.Context, key, token string, lease time.Duration) (result []byte, done bool, err error)
	// Complete stores the result under the key for the retention, if the token
	// still holds the claim or nobody does; else ErrLeaseLost.
	Complete(ctx context.Context, key, token string, result []byte, retention time.Duration) error
	// Forget gives a claim back, so that the next receiver handles the
	// message. A claim that is not the token's stays.
	Forget(ctx context.Context, key, token string) error
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
