package saga_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/internal/killtest"
	"github.com/waybill-dev/waybill/saga"
)

// check holds an execution to what must become of its kind, and reports whether
// it ran out of attempts, so that it may have come to another end.
func (p *killProvider) check(t *testing.T, def *saga.Definition, id string) (spent bool) {
	t.Helper()
	x, err := p.client.Get(t.Context(), id)
	if err != nil {
		t.Error(err)
		return false
	}
	events, err := p.client.History(t.Context(), id)
	if err != nil {
		t.Error(err)
		return false
	}
	want, calls := p.kind(id), p.ledger.Calls(id)
	problem := func(format string, args ...any) { t.Errorf("%s: %s", id, fmt.Sprintf(format, args...)) }

	var names, undone []string // without repeats
	var asCalls []call
	for i, c := range calls {
		if !c.Undo && len(undone) > 0 {
			problem("%s after %s", c.Name(), undone[len(undone)-1])
		}
		if !slices.Contains(names, c.Name()) {
			names = append(names, c.Name())
			if c.Undo {
				undone = append(undone, c.Name())
			}
		}
		direction := "/do"
		if c.Undo {
			direction = "/undo"
		}
		if key := id + "/1/" + c.Frame + "/" + c.Step + "/1" + direction; c.Key != key {
			problem("%s has key %q, want %q", c.Name(), c.Key, key)
		}
		if c.Undo && c.Name() == want.unknown && c.Outcome != string(saga.Unknown) {
			problem("%s is told of the outcome %q, want unknown", c.Name(), c.Outcome)
		}
		asCalls = append(asCalls, call{
			execution: id, frame: c.Frame, step: c.Step, undo: c.Undo, attempt: c.Attempt, key: c.Key,
			outcome: saga.Outcome(c.Outcome),
			// Once a key: of those that are refused for a while, the last.
			effect: want.answers[c.Name()] != refuses && i == lastWith(calls, c.Key),
		})
	}
	var inHistory []string
	blocked := false
	lost := make(map[string]bool) // actions with an attempt that nobody answered
	for _, e := range events {
		name := (killtest.Call{Frame: e.Frame, Step: e.Step}).Name()
		switch e.Type {
		case saga.TaskScheduled:
			spent = spent || e.Attempt >= killAttempts && want.answers[name] != hangs
		case saga.TaskTimedOut:
			lost[name] = true
		case saga.CompensationDone:
			inHistory = append(inHistory, (killtest.Call{Frame: e.Frame, Step: e.Step, Undo: true}).Name())
		case saga.ExecutionBlocked:
			blocked = true
		}
	}
	// The history is held to the order of dispatch, and the calls to the history.
	for _, complaint := range append(auditHistory(def, x.Status, events), auditEffects(def, x.Status, events, asCalls)...) {
		problem("%s", complaint)
	}
	if !slices.Equal(undone, inHistory) {
		problem("the undos %q came as %q", inHistory, undone)
	}
	if !x.Status.Ended() {
		problem("it is %s", x.Status)
	}
	if spent {
		return true
	}
	// A worker may be killed between the commit that dispatches an action and the
	// call: that action is unknown, and undone, although it never came here.
	names = slices.DeleteFunc(names, func(name string) bool {
		action, undo := strings.CutPrefix(name, "undo ")
		action = "do " + action
		return undo && lost[action] && !slices.Contains(names, action) && p.toldUnknown(calls, name)
	})
	if want.saga == "fork" {
		slices.Sort(names)
	}
	if x.Status != want.status || want.calls != nil && !slices.Equal(names, want.calls) {
		problem("it is %s after %q, want %s after %q", x.Status, names, want.status, want.calls)
	}
	if want.unknown != "" && !slices.Contains(undone, want.unknown) {
		problem("%s was not called", want.unknown)
	}
	if !blocked && slices.Contains(slices.Collect(maps.Values(want.answers)), blocks) {
		problem("it was never blocked")
	}
	if n := len(x.State); want.status == saga.Completed && strings.Count(string(x.State), ",") < 3 {
		problem("it ends with the state %s of %d bytes", x.State, n)
	}
	return false
}

// toldUnknown reports whether all calls of a name were told of an unknown outcome.
func (p *killProvider) toldUnknown(calls []killtest.Call, name string) bool {
	return !slices.ContainsFunc(calls, func(c killtest.Call) bool {
		return c.Name() == name && c.Outcome != string(saga.Unknown)
	})
}

func lastWith(calls []killtest.Call, key string) int {
	for i, c := range slices.Backward(calls) {
		if c.Key == key {
			return i
		}
	}
	return -1
}
