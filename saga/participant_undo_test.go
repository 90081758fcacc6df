package saga_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// A compensation is told what this participant knows, and whatever it finds, the
// action is not begun any more.
func TestParticipantUndoes(t *testing.T) {
	fails := func(err error) func(context.Context) (chargeResult, error) {
		return func(context.Context) (chargeResult, error) { return chargeResult{}, err }
	}
	was := func(outcome string) func(map[string]any) {
		return func(c map[string]any) { c["outcome"] = outcome }
	}
	const refused = "do 2: unknown for good: the action came after its own compensation, and was not begun"
	tests := []struct {
		name   string
		charge func(context.Context) (chargeResult, error) // of a first attempt; none: none comes
		came   bool
		undo   func(map[string]any)
		runs   string
		after  string // the reply to an action that comes after it
	}{
		{"what is done", nil, true, was("done"), "refund 7, done ch-1 1", `do 2: done {"ID":"ch-1"}`},
		{"what the saga does not know to be done", nil, true, was("unknown"), "refund 7, done ch-1 1", `do 2: done {"ID":"ch-1"}`},
		{"what never came", nil, false, was("unknown"), "refund 7, unknown ? 1", refused},
		{"what is done, and forgotten here", nil, false, was("done"), "refund 7, done ? 1", refused},
		{"what is not done", fails(errors.New("busy")), true, was("unknown"), "refund 7, unknown ? 1", refused},
		{"what is unknown", fails(saga.Uncertain(errors.New("lost"))), true, was("unknown"), "refund 7, unknown ? 1", refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, memstore.New(memstore.Config{}))
				if d.charge = tt.charge; tt.came {
					d.handle(do(1))
				}
				d.charge = nil
				d.did()
				d.told()
				d.refund = func(context.Context) error { return saga.Named("Away", errors.New("no bank")) }
				first := undo(1, tt.undo)
				d.handle(first)
				d.handle(first)
				d.expect("an undo that fails", []string{tt.runs}, []string{"undo 1: not done [Away]: no bank", "undo 1: not done [Away]: no bank"})
				d.handle(do(2))
				d.expect("the action after it", nil, []string{tt.after})
				d.refund = nil
				for range 2 {
					d.handle(undo(2, tt.undo))
				}
				d.expect("an undo that works", []string{strings.TrimSuffix(tt.runs, "1") + "2"}, []string{"undo 2: done", "undo 2: done"})
				time.Sleep(24 * time.Hour)
				d.handle(do(2))
				d.handle(undo(3, tt.undo))
				d.handle(undo(1, tt.undo))
				d.expect("both later", nil, []string{tt.after, "undo 3: done", "undo 1: done"})
			})
		})
	}
}

// An undo waits for its action, and is told what came of it. Where that takes
// too long the undo is not begun, and the saga tries it again.
func TestParticipantUndoWaitsForItsAction(t *testing.T) {
	for name, long := range map[string]bool{"that ends in time": false, "that does not": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, memstore.New(memstore.Config{}))
				d.charge = func(ctx context.Context) (chargeResult, error) {
					d := 50 * time.Second
					if long {
						d = 90 * time.Second // it does not heed its context
					}
					time.Sleep(d)
					return chargeResult{ID: "slow"}, nil
				}
				go d.handle(do(1))
				synctest.Wait()
				d.handle(undo(1))
				if !long {
					d.expect("an undo", []string{"charge 7 1", "refund 7, done slow 1"}, []string{`do 1: done {"ID":"slow"}`, "undo 1: done"})
					return
				}
				d.expect("an undo", []string{"charge 7 1"}, []string{"undo 1: not done: its action is at work still, as far as is known"})
				time.Sleep(time.Minute) // it ends
				d.handle(undo(2))
				d.expect("the next", []string{"refund 7, done slow 2"}, []string{`do 1: done {"ID":"slow"}`, "undo 2: done"})
			})
		})
	}
}

// What is found out about the action may come when the undo's time is over, or
// not at all.
func TestParticipantDoesNotBeginALateUndo(t *testing.T) {
	for name, tt := range map[string]struct {
		op    string
		fault storetest.Fault
		want  string
	}{
		"an answer that is late": {"Complete", storetest.Fault{Late: 2 * time.Minute}, "undo 1: not done [States.Timeout]: it came 1m0s after its time, by this clock"},
		"no answer":              {"Claim", storetest.Fault{Delay: time.Hour}, "undo 1: not done: its action is at work still, as far as is known"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, storetest.NewFaulty(memstore.New(memstore.Config{}), func(c storetest.Call) storetest.Fault {
					if c.Op == tt.op && c.ID == "saga/fare/ride-1/1/Both:1/Charge/2/do" {
						return tt.fault
					}
					return storetest.Fault{}
				}))
				d.handle(undo(1))
				d.expect("an undo", nil, []string{tt.want})
			})
		})
	}
}

// The action of a process that died while it ran is unknown. Its claim runs out,
// and what it does after that is refused.
func TestParticipantUndoesAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		dead := storetest.NewFaulty(st, storetest.CrashAt(2, false))
		d, other := newDesk(t, dead), newDesk(t, st)
		d.charge = func(context.Context) (chargeResult, error) {
			time.Sleep(time.Hour)
			return chargeResult{ID: "ghost"}, nil
		}
		ghost := make(chan error)
		go func() { ghost <- d.Handle(do(1)) }()
		synctest.Wait()
		begin := time.Now()
		other.handle(undo(1))
		other.expect("the undo", []string{"refund 7, unknown ? 1"}, []string{"undo 1: done"})
		if waited := time.Since(begin); waited < 29*time.Second || waited > 33*time.Second {
			t.Errorf("it waited for %s, want the lease of 30s", waited)
		}
		other.handle(do(1))
		other.expect("the action again", nil, []string{"do 1: unknown for good: the action came after its own compensation, and was not begun"})
		if err := <-ghost; err == nil || permanent(err) {
			t.Errorf("the ghost was told %v", err)
		}
		d.expect("the ghost", []string{"charge 7 1"}, nil)
	})
}
