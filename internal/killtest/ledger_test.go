package killtest

import (
	"slices"
	"strings"
	"testing"
)

// TestLedger shows the ledger calls that break a rule each, and some that do not.
func TestLedger(t *testing.T) {
	do := func(step string, attempt int) Call {
		return Call{Execution: "x", Step: step, Visit: 1, Attempt: attempt, Key: step + " do"}
	}
	undo := func(step string, attempt int) Call {
		return Call{Execution: "x", Step: step, Visit: 1, Attempt: attempt, Undo: true, Key: step + " undo"}
	}
	again := func(c Call) Call { c.Redelivered = true; return c }
	with := func(c Call, change func(*Call)) Call {
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name  string
		calls []Call
		want  string // a part of the only problem; empty: there is none
	}{
		{"in order", []Call{do("A", 1), do("B", 1), undo("B", 1), undo("A", 1)}, ""},
		{"retried", []Call{do("A", 1), do("A", 3), undo("A", 1), undo("A", 2)}, ""},
		{"another execution", []Call{undo("A", 1), with(do("A", 1), func(c *Call) { c.Execution, c.Key = "y", "y" })}, ""},
		{"another visit", []Call{undo("A", 1), with(do("A", 1), func(c *Call) { c.Visit, c.Key = 2, "2" })}, ""},
		{"another frame", []Call{undo("A", 1), with(do("A", 1), func(c *Call) { c.Frame, c.Key = "M:1", "M:1" })}, ""},
		{"redelivered", []Call{again(do("A", 1)), again(do("A", 1)), again(do("A", 2))}, ""},

		{"redelivered after a later attempt", []Call{again(do("A", 2)), again(do("A", 1))}, "attempt 1: comes after attempt 2"},
		{"redelivered after its undo", []Call{again(do("A", 1)), undo("A", 1), again(do("A", 1))}, "do A, attempt 1: comes after the undo"},
		{"the same attempt twice", []Call{do("A", 1), do("A", 1)}, "x, do A, attempt 1: comes after attempt 1"},
		{"an earlier attempt", []Call{do("A", 1), do("A", 3), do("A", 2)}, "attempt 2: comes after attempt 3"},
		{"an earlier attempt of an undo", []Call{undo("A", 2), undo("A", 1)}, "undo A, attempt 1: comes after attempt 2"},
		{"an action after its undo", []Call{do("A", 1), undo("A", 1), do("A", 2)}, "do A, attempt 2: comes after the undo"},
		{"another key", []Call{do("A", 1), with(do("A", 2), func(c *Call) { c.Key = "new" })}, `has key "new", attempt 1 had "A do"`},
		{"another's key", []Call{do("A", 1), with(do("B", 1), func(c *Call) { c.Key = "A do" })}, `its key "A do" is another's`},
		{"the action's key", []Call{do("A", 1), with(undo("A", 1), func(c *Call) { c.Key = "A do" })}, `its key "A do" is another's`},
		{"an undo amid another", []Call{undo("B", 1), undo("A", 1), undo("B", 2)}, "undo B, attempt 2: comes again after another undo has begun"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l Ledger
			for _, c := range tt.calls {
				l.Begin(c, 0)
			}
			got := l.Problems()
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestLedgerKeepsRepeats: every call is in the ledger, and those are counted that
// came again for no reason.
func TestLedgerKeepsRepeats(t *testing.T) {
	var l Ledger
	call := func(attempt, kills int, answered bool) {
		n := l.Begin(Call{Execution: "x", Frame: "M:0", Step: "A", Attempt: attempt, Key: "k"}, kills)
		if answered {
			l.Answered(n, kills)
		}
	}
	call(1, 0, false)
	call(2, 0, true) // the first had no answer
	call(3, 1, true) // somebody was killed since
	call(4, 1, true)
	if calls, unexplained := l.Repeats(); calls != 4 || unexplained != 1 {
		t.Errorf("%d calls, %d unexplained, want 4 and 1", calls, unexplained)
	}
	l.Begin(Call{Execution: "y", Step: "A", Attempt: 1, Undo: true, Key: "l"}, 1)
	var got []string
	for _, c := range append(l.Calls("x"), l.Calls("y")...) {
		got = append(got, c.Name())
	}
	if want := []string{"do M:0/A", "do M:0/A", "do M:0/A", "do M:0/A", "undo A"}; !slices.Equal(got, want) {
		t.Errorf("the calls are %q, want %q", got, want)
	}
}
