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
//   - [Executions], the actors: start, open, commit, renew, release, post,
//     deliver, purge;
//   - [Definitions], the registered graphs;
//   - [Members], the live workers, who share the partitions out;
//   - [Idempotency], the records by which a receiver handles a message once;
//   - [Locks], by which executions keep out of each other's way;
//   - [Jobs], work that is done item by item on a subject, such as a queue, by one
//     worker at a time, with a journal from which another takes it up;
//   - [Audit], the records of who did what to a subject;
//   - [Catalogue], the dead letters that were taken out of queues.
//
// Every method is safe for concurrent use. Every method that writes may be
// called again with the same arguments when its answer was lost: the second
// call finds what the first one wrote and answers alike. So a store that others
// reach over a network retries its failures itself, until the context ends or
// the store gives up, and callers do not: after an error that this package does
// not know, a write is done or not, and a call with the same arguments is still
// right. Some answer less the second time, and lose nothing by it: Post says that
// the mail came before, and so does Deliver where it opened nothing; Due hides
// what the first call returned until it is due again.
//
// A repeat may also come late, after the caller has had its answer and gone on,
// when a network kept it back. Then it never undoes or repeats a transition: a
// Commit, Renew or Release changes nothing once its lease was given back. But
// what is free to be taken is taken by a late call as by any other, until its
// time runs out:
//
//   - Open takes the lease of an execution that has something due and that
//     nobody holds: that is an opening, and the next one comes after the lease;
//   - Due hides what is due once more;
//   - Claim takes a key that Forget gave back, and others wait for a lease;
//   - Complete stores its result once more after the retention, unless another
//     has the key;
//   - Heartbeat brings a worker back that has left, and Leave takes one off
//     until its next heartbeat: they only share work out;
//   - OpenJob takes the lease on a job that nobody holds, unless its opening was
//     the last one to be given back, and makes a job anew that is no longer on
//     record; AppendAudit adds a record anew that is no longer kept;
//   - PutLetters adds a letter anew that was deleted, and DeleteLetters deletes one
//     that was put again;
//   - Start begins anew once the tombstone is gone, and Post and Deliver post
//     what is no longer among the last MailsRemembered, or what waited for its
//     execution and was dropped.
//
// AcquireLock is safe from that: its request has a time by which it must come, and
// a release is remembered for longer. A NoteJob that comes after a later one, or
// after its lease was given back, changes nothing, and neither does a CloseJob.
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
