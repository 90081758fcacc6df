// Package storetest holds the suite that every store passes, a comparison of
// two stores by random calls, and a store that fails on demand.
//
// # Writing a store
//
// A store implements the interfaces of package store, and proves it by a test
// in its own package:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Harness{New: func(t *testing.T) storetest.Subject {
//			return storetest.Subject{Store: newStore(t), Advance: time.Sleep}
//		}})
//	}
//
// [Run] has a case for each promise, and a case that fails shows the promise.
// The comments of package store say what each call does. This is what they ask
// for, in the order in which it is best built:
//
//  1. Refuse what no store accepts: call the Validate methods and Check
//     functions of package store, and give up on a context that has ended.
//  2. Let one clock decide, the store's own. Leases, wake-ups and retentions
//     are times on it, kept in whole milliseconds and rounded up.
//  3. Make each method atomic. A call that answers with an error has written
//     nothing; two that race come one after the other.
//  4. Start finds itself again by its commit id and its nonce, Open by its
//     nonce, Commit by its id. A repeat writes nothing, and answers as the
//     first did.
//  5. The fence of a lease is its epoch and its nonce, both. Its expiry does
//     not end it: it lets another worker open.
//  6. A commit compares the last commit's id with Previous, and the mail it
//     absorbed with the mail that came: over unread mail it neither parks nor
//     ends.
//  7. Number mail from 1, hand it over by reading, and trim it by the commit
//     that absorbed it. Remember ids of mail beyond that.
//  8. Deliver is Post and, where nobody holds the execution, Open, at one blow: it
//     counts as an opening, and finds itself again by its mail's id and its nonce.
//  9. Keep one wake-up an execution at all times, and let nothing remove it but
//     Purge. Open may find it wrong, and puts it right: it is a hint, and the
//     execution knows better. Post lowers it, and Due puts it off.
//  10. Answer ErrGone for as long as a tombstone stands, and let an id be used
//     again only after that.
//  11. Keep the queue of a lock in the order of its first calls, grant by the call
//     that releases, and remember what was released beyond that. [CheckLocks]
//     compares locks with a model.
//  12. Fence a job by its opening's fence and token, both, and let the expiry of the
//     lease end it no more than that of an execution. Keep the number of the last
//     note, and refuse lower ones: a note that comes late would bring entries back.
//     Keep what the last closing said, for its repeat. Let stored times decide until
//     when jobs and audit records are there, and give pages by keys and numbers, not
//     by places. [CompareJobs] compares two stores.
//  13. Spread the letters of a queue, of which there may be a million, and give
//     pages of them by what was seen last, not by places.
//  14. Copy bytes on the way in and out. Empty and missing are the same, except
//     for frames and mail.
//  15. Retry what the network did, until the context ends or for as long as
//     users say, and never what the store answered. Run the suite once more over
//     a connection that loses answers.
//
// Then compare it with package memstore by [Compare] and [CompareJobs], which find what no case
// thought of, and write tests of what is stored: a suite that only asks does
// not notice what is left behind.
//
// # Testing what uses a store
//
// [NewFaulty] wraps a store so that calls fail before they are made, lose their
// answer, come late, are answered late, or come twice. [CrashAt] is the death
// of a process at its nth call.
package storetest
