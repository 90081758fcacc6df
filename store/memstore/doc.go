// Package memstore keeps Waybill's executions, definitions, members, idempotency
// records, locks, jobs, audit records and dead letters in memory. It answers as package
// redisstore does, call by call: both pass the suite in package storetest.
//
// Use it in tests, and for executions that may die with their process:
//
//	st := memstore.New(memstore.Config{})
//
// A Store starts no goroutines and needs no closing. Bytes are copied on their
// way in and out, so callers may reuse theirs.
//
// [Store.Snapshot] and [Store.Restore] show what becomes of executions when writes
// are lost that were acknowledged.
//
// # Time
//
// Leases, wake-ups and retentions run on [time.Now]. Inside a bubble of
// testing/synctest that clock is virtual, and a test that sleeps for a day
// takes no time. Where a bubble does not fit, Config.Now gives the clock. Times
// are whole milliseconds, as Redis keeps them.
package memstore
