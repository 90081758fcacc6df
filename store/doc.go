// Package store says what Waybill needs to be durable, as narrow interfaces
// over opaque bytes and the few fields that a store must compare.
//
// An execution is an actor: one record that one worker at a time opens under a
// lease, changes by a chain of commits, and parks until its next wake-up or
// until mail arrives. The package knows nothing of sagas or state machines;
// package saga owns the meaning of the bytes, and so their format.
//
// The interfaces are:
//
//   - [Executions], the actors: start, open, commit, renew, release, post, purge;
//   - [Definitions], the registered graphs;
//   - [Members], the live workers, who share the partitions out;
//   - [Idempotency], the records by which a receiver handles a message once.
//
// Every method is safe for concurrent use. Every method that writes may be
// called again with the same arguments when its answer was lost: the second
// call finds what the first one wrote and answers alike. So a store retries
// network failures itself, until the context ends, and callers do not. Two
// methods answer less the second time, and lose nothing by it: Post says that
// the mail came before, and Due hides what the first call returned until it is
// due again. A repeat that comes late, after the caller has gone on, changes
// nothing either.
//
// What no store accepts, such as an empty id, is refused with [ErrInvalid]
// before it is sent; the Validate methods say what that is.
//
// Times cross the interface as [time.Time] on the store's own clock: Redis's
// TIME for package redisstore. A store computes leases from that clock and
// from durations, so workers' clocks need not agree.
//
// Package redisstore keeps all this in Redis, package memstore in memory, and
// package storetest holds the conformance suite that both pass.
package store
