package killtest

import (
	"fmt"
	"slices"
	"sync"
)

// A Call is what a handler asks of a service: to do a step of an execution, or
// to undo it.
type Call struct {
	Execution string
	Frame     string // of a branch or an item
	Step      string
	Visit     int
	Attempt   int
	Undo      bool
	Outcome   string // of the action, told to an undo
	Key       string // of idempotency
	// Redelivered says that it is asked for by a message, which comes again, as
	// the same attempt, when its receiver dies.
	Redelivered bool
}

// Name is the step and what is done with it, such as "undo Book:0/Hotel".
func (c Call) Name() string {
	name := c.Step
	if c.Frame != "" {
		name = c.Frame + "/" + name
	}
	if c.Undo {
		return "undo " + name
	}
	return "do " + name
}

// A Ledger is the service's record of all calls, in the order in which they
// came, repeats included. It holds them to what must be true whenever and
// however often callers die: [Ledger.Problems] lists what is not. Its methods may
// be called side by side.
type Ledger struct {
	mu       sync.Mutex
	calls    []entry
	owners   map[string]string // by key
	problems []string
	repeats  int
}

type entry struct {
	Call
	answered bool // well
	kills    int  // that there had been by then
}

// place is the step of an execution that a call belongs to.
func (c Call) place() string {
	return fmt.Sprintf("%s %s/%s %d", c.Execution, c.Frame, c.Step, c.Visit)
}

// Begin records a call when it comes, before anything becomes of it, and returns
// its number. Kills is how many callers have been killed so far.
func (l *Ledger) Begin(c Call, kills int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inspect(c, kills)
	l.calls = append(l.calls, entry{Call: c})
	return len(l.calls) - 1
}

// Answered records that the nth call, which did what it asks for, is about to be
// told so.
func (l *Ledger) Answered(n, kills int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[n].answered, l.calls[n].kills = true, kills
}

// inspect compares a call with those before it.
func (l *Ledger) inspect(c Call, kills int) {
	problem := func(format string, args ...any) {
		l.problems = append(l.problems, fmt.Sprintf("%s, %s, attempt %d: ", c.Execution, c.Name(), c.Attempt)+fmt.Sprintf(format, args...))
	}
	if l.owners == nil {
		l.owners = make(map[string]string)
	}
	what := fmt.Sprint(c.place(), c.Undo)
	if owner, ok := l.owners[c.Key]; ok && owner != what {
		problem("its key %q is another's", c.Key)
	}
	l.owners[c.Key] = what
	undone := "" // last, in this execution
	explained := true
	for _, earlier := range l.calls {
		if earlier.Execution != c.Execution {
			continue
		}
		if earlier.Undo {
			undone = earlier.place()
		}
		if earlier.place() != c.place() {
			continue
		}
		switch {
		case earlier.Undo && !c.Undo:
			problem("comes after the undo")
		case earlier.Undo != c.Undo:
		case earlier.Key != c.Key:
			problem("has key %q, attempt %d had %q", c.Key, earlier.Attempt, earlier.Key)
		case earlier.Attempt > c.Attempt, earlier.Attempt == c.Attempt && !c.Redelivered:
			problem("comes after attempt %d", earlier.Attempt)
		case earlier.answered && earlier.kills == kills:
			explained = false
		}
	}
	if !explained {
		l.repeats++
	}
	if c.Undo && undone != "" && undone != c.place() && l.was(c) {
		problem("comes again after another undo has begun")
	}
}

// was reports whether a call came before, in whichever attempt.
func (l *Ledger) was(c Call) bool {
	return slices.ContainsFunc(l.calls, func(e entry) bool { return e.Execution == c.Execution && e.Undo == c.Undo && e.place() == c.place() })
}

// Problems lists the calls that should not have come, or not as they did:
//
//   - a key names one action or one compensation, and that has no other;
//   - of two attempts under one key, the later has the higher number, or the same
//     if it is redelivered;
//   - no action comes after its undo;
//   - an undo comes when the one before it is over.
func (l *Ledger) Problems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.problems)
}

// Calls returns the calls of an execution, in their order.
func (l *Ledger) Calls(execution string) []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	var calls []Call
	for _, e := range l.calls {
		if e.Execution == execution {
			calls = append(calls, e.Call)
		}
	}
	return calls
}

// Repeats returns how many calls there were, and how many of them came again
// although they had been answered and nobody was killed since. Those are for
// answers that came too late, so there are few of them.
func (l *Ledger) Repeats() (calls, unexplained int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.calls), l.repeats
}
