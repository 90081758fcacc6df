package storetest

import (
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A Store has all that package store asks of one.
type Store interface {
	store.Executions
	store.Definitions
	store.Members
	store.Idempotency
	store.KeyRecords
	store.Locks
	store.Jobs
	store.Audit
	store.Catalogue
}

// A Harness makes stores of one kind.
type Harness struct {
	// New makes an empty store for one case, which runs alone on it. Required.
	New func(t *testing.T) Subject

	// Bubble, where set, runs the body of each case. For a store whose clock is
	// time.Now, and that waits for nothing but time, it is synctest.Test.
	Bubble func(t *testing.T, f func(t *testing.T))
}

// A Subject is one store under test.
type Subject struct {
	Store

	// Advance returns once at least d has passed on the store's clock. Where
	// that clock is real it sleeps: no case asks for more than some tens of
	// milliseconds at once. Required.
	Advance func(d time.Duration)

	// Still says that the clock stands still but for Advance.
	Still bool
}

// A rule is one promise of package store, and the case that holds a store to
// it.
type rule struct {
	name  string
	says  string // the promise; shown when the case fails
	check func(e *env)
}

// A chapter is what belongs together.
type chapter struct {
	name  string
	rules []rule
}

var chapters = []chapter{
	{"Start", startRules},
	{"Open", openRules},
	{"Commit", commitRules},
	{"Mail", mailRules},
	{"Deliver", deliverRules},
	{"Early mail", earlyRules},
	{"Lease", leaseRules},
	{"Due", dueRules},
	{"Purge", purgeRules},
	{"Reads", readRules},
	{"Requests", requestRules},
	{"Requests of jobs", jobRequestRules},
	{"Races", raceRules},
	{"Definitions", definitionRules},
	{"Members", memberRules},
	{"Idempotency", idempotencyRules},
	{"Attempts", attemptRules},
	{"Records", recordRules},
	{"Locks", lockRules},
	{"Jobs", jobRules},
	{"Journals", journalRules},
	{"Audit", auditRules},
	{"Catalogue", catalogueRules},
	{"Late", lateRules},
	{"Late jobs", lateJobRules},
}

// Run holds a store to all that package store promises.
func Run(t *testing.T, h Harness) {
	bubble := h.Bubble
	if bubble == nil {
		bubble = func(t *testing.T, f func(*testing.T)) { f(t) }
	}
	for _, c := range chapters {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range c.rules {
				t.Run(r.name, func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						defer func() {
							if t.Failed() {
								t.Logf("the rule: %s", r.says)
							}
						}()
						r.check(&env{Subject: h.New(t), T: t})
					})
				})
			}
		})
	}
}
