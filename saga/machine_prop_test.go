package saga

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
)

// TestMachineProperties drives machines of random definitions through random
// results, mail, crashes and delays, beside a model that only remembers what
// handlers ran and what they said.
func TestMachineProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t, drawDefinition(t))
		for range rapid.IntRange(0, 40).Draw(t, "operations") {
			m.step()
		}
		m.finish()
	})
}

// drawDefinition draws a valid definition.
func drawDefinition(t *rapid.T) *Definition {
	n := rapid.IntRange(1, 6).Draw(t, "steps")
	pivot := rapid.IntRange(-3, n-1).Draw(t, "pivot") // negative: none
	retry := rapid.Custom(func(t *rapid.T) Retry {
		return Retry{
			Attempts: rapid.IntRange(1, 3).Draw(t, "attempts"),
			Initial:  rapid.SampledFrom([]time.Duration{time.Millisecond, 2 * time.Second, time.Minute}).Draw(t, "delay"),
			Jitter:   -1,
		}
	})
	var steps []*Step[int]
	for i := range n {
		s := Do(fmt.Sprintf("S%d", i), nothing).Retry(retry.Draw(t, "retry")).
			Timeout(rapid.SampledFrom([]time.Duration{time.Second, time.Minute}).Draw(t, "timeout"))
		if rapid.IntRange(0, 3).Draw(t, "within") == 0 {
			s.Timeout(time.Second).Within(3 * time.Second)
		}
		kinds := []string{"undo", "undo", "undo", "read-only", "irreversible"}
		switch {
		case i == pivot:
			kinds = []string{"pivot"}
		case pivot >= 0 && i > pivot:
			kinds = []string{"plain", "read-only"}
			if s.state.Retry.Attempts == 1 {
				s.Retry(Retry{Attempts: 2, Initial: time.Millisecond, Jitter: -1})
			}
		case i == n-1:
			kinds = append(kinds, "plain")
		}
		switch rapid.SampledFrom(kinds).Draw(t, "kind") {
		case "undo":
			s.Undo(undoNothing).UndoRetry(retry.Draw(t, "undo retry"))
		case "read-only":
			s.ReadOnly()
		case "irreversible":
			s.Irreversible()
		case "pivot":
			s.Pivot()
		}
		steps = append(steps, s)
	}
	s := New("s", steps...)
	if d := rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour}).Draw(t, "time"); d > 0 {
		s = s.Within(d)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s.def
}

// A model knows what handlers did.
type model struct {
	*rapid.T
	*bench

	order    []string             // steps as their actions were first dispatched
	happened map[string]bool      // the action may have had its effect
	attempts map[string]int       // the last that ran, of an action or an undo
	busy     map[string]time.Time // until when an orphan of the action may run
	undone   []string
	undoing  bool
	pivoted  bool
}

func newModel(t *rapid.T, def *Definition) *model {
	m := &model{
		T: t, bench: newBench(def),
		happened: make(map[string]bool), attempts: make(map[string]int), busy: make(map[string]time.Time),
	}
	m.advance()
	return m
}

// advance goes to the next point where a handler runs or nobody does.
func (m *model) advance() {
	m.settle()
	f := m.last()
	if f.Step != "" && !f.Undoing && !slices.Contains(m.order, f.Step) {
		m.order = append(m.order, f.Step)
	}
	if f.Blocked && (len(m.jobs) > 0 || m.m.status() != Blocked) {
		m.Fatalf("it is blocked, and goes on with %v", m.jobs)
	}
	if f.Scope != nil {
		m.undoing = true
	} else if m.undoing {
		m.Fatalf("it goes forward again after undoing began")
	}
	if m.undoing && m.pivoted {
		m.Fatalf("it is being undone after its pivot")
	}
	if !m.m.status().Ended() {
		if misfit := m.fits(m.def); misfit != nil {
			m.Fatalf("it does not fit its own graph: %s: %s", misfit, brief(m.trace))
		}
	}
}

// last is the frame as it was committed.
func (m *model) last() *frame {
	f := new(frame)
	if err := json.Unmarshal(m.committed[store.RootFrame], f); err != nil {
		m.Fatal(err)
	}
	return f
}

// step does one random thing that may happen now.
func (m *model) step() {
	things := []string{"cancel", "retry", "time", "crash"}
	if m.parked {
		things = append(things, "open")
		if !m.wake.IsZero() {
			things = append(things, "wake", "wake")
		}
	}
	if len(m.jobs) > 0 {
		things = append(things, "run", "run", "run", "run", "run", "die in it")
	}
	switch rapid.SampledFrom(things).Draw(m.T, "what") {
	case "cancel", "retry":
		m.mail(rapid.SampledFrom([]string{"cancel", "retry"}).Draw(m.T, "mail"))
	case "time":
		d := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 40 * time.Second}).Draw(m.T, "pass")
		if m.parked {
			m.open(d)
			break
		}
		m.now = m.now.Add(d)
		m.jobs, _ = m.m.todo(m.now)
	case "open":
		m.open(0)
	case "wake":
		m.open(max(m.wake.Sub(m.now), 0))
	case "crash": // of whoever holds it, outside of handlers
		if m.parked {
			m.open(0)
		}
		m.crash()
	case "die in it":
		m.run(true)
		m.crash()
	case "run":
		m.run(false)
		if rapid.IntRange(0, 9).Draw(m.T, "lose the answer") == 0 {
			m.crash()
		}
	}
	m.advance()
}

func (m *model) mail(kind string) {
	if m.parked {
		m.open(0)
	}
	if kind == "cancel" {
		m.m.cancel("ann", "", m.now)
	} else {
		m.m.retry("ann", "", m.now)
	}
}

// run runs the handler that was dispatched, and checks that it may run.
func (m *model) run(dies bool) {
	f, s := m.last(), m.m.step(m.m.root)
	if f.Step != m.m.root.Step || f.Attempt != m.m.root.Attempt || f.Undoing != m.m.root.Undoing {
		m.Fatalf("attempt %d of %s is run, and attempt %d of %s committed", m.m.root.Attempt, m.m.root.Step, f.Attempt, f.Step)
	}
	key := fmt.Sprint(f.Step, f.Undoing)
	if f.Attempt <= m.attempts[key] {
		m.Fatalf("attempt %d of %s runs after attempt %d", f.Attempt, key, m.attempts[key])
	}
	m.attempts[key] = f.Attempt
	if f.Undoing {
		m.runUndo(f, s, dies)
		return
	}
	if slices.Contains(m.undone, f.Step) {
		m.Fatalf("%s is done after it was undone", f.Step)
	}
	m.checkFork(f, s)
	results := []string{"done", "done", "done", "same", "flaky", "declined", "unknown", "unknown!"}
	answer := rapid.SampledFrom(results).Draw(m.T, "answer")
	if dies {
		m.happened[f.Step] = true
		m.busy[f.Step] = m.now.Add(s.Timeout)
		return
	}
	r := m.result(m.m.root, answer)
	if r.outcome != NotDone {
		m.happened[f.Step] = true
	}
	m.m.answer(m.m.root, r, m.now)
	if s.Pivot && r.outcome == Done {
		m.commit(false) // else the answer may be lost, and the pivot be unknown
		m.pivoted = true
	}
}

func (m *model) runUndo(f *frame, s *State, dies bool) {
	if s.undo == nil {
		m.Fatalf("%s has nothing to undo", f.Step)
	}
	if want := m.toUndo(); len(want) == 0 || want[len(want)-1] != f.Step {
		m.Fatalf("%s is undone; done or unknown are still %v", f.Step, want)
	}
	if until := m.busy[f.Step]; m.now.Before(until) {
		m.Fatalf("%s is undone %s before its lost handler must have ended", f.Step, until.Sub(m.now))
	}
	if dies {
		return
	}
	r := m.result(m.m.root, rapid.SampledFrom([]string{"done", "done", "done", "flaky", "declined", "unknown"}).Draw(m.T, "undo's answer"))
	m.m.answer(m.m.root, r, m.now)
	if r.outcome == Done {
		m.commit(false) // else the undo runs again, which is right, but not modelled
		m.undone = append(m.undone, f.Step)
	}
}

// toUndo lists what must be undone still, in the order of dispatch: each step
// that has an undo and may have happened, or that the committed history calls
// done or unknown.
func (m *model) toUndo() []string {
	known := make(map[string]bool)
	for _, e := range m.trace {
		if e.Type == TaskSucceeded || e.Type == TaskTimedOut {
			known[e.Step] = true
		}
	}
	var names []string
	for _, name := range m.order {
		if m.happened[name] && !known[name] && m.undoing {
			m.Fatalf("%s may have happened, and the history does not tell", name)
		}
		if known[name] && m.def.byName[name].undo != nil && !slices.Contains(m.undone, name) {
			names = append(names, name)
		}
	}
	return names
}

// checkFork asks what would become of the execution if the worker died now, and
// it were cancelled: the frame before the action knows that the action may have
// happened.
func (m *model) checkFork(f *frame, s *State) {
	if s.undo == nil || f.Pivoted {
		return
	}
	fork := new(frame)
	if err := json.Unmarshal(m.committed[store.RootFrame], fork); err != nil {
		m.Fatal(err)
	}
	now := m.now.Add(benchLease)
	k := resume(m.def, fork, m.epoch+1, m.start, benchLease, benchMaxLost)
	k.lost(now)
	k.cancel("ann", "", now)
	if n := len(k.root.Undo); n == 0 || k.root.Undo[n-1].Step != s.Name || !k.root.Undo[n-1].Unknown {
		m.Fatalf("the frame that dispatches %s does not record its compensation: %s leads to %+v", s.Name, m.committed[store.RootFrame], k.root.Undo)
	}
}

// finish answers everything with success until the execution has ended, and
// compares the end with what happened.
func (m *model) finish() {
	for range 100 {
		f := m.last()
		switch {
		case m.m.status().Ended():
			m.ended()
			return
		case f.Blocked:
			m.mail("retry")
		case m.parked:
			m.open(max(m.wake.Sub(m.now), 0))
		default:
			if f.Undoing {
				if want := m.toUndo(); len(want) == 0 || want[len(want)-1] != f.Step {
					m.Fatalf("%s is undone; done or unknown are still %v", f.Step, want)
				}
				m.m.answer(m.m.root, m.result(m.m.root, "done"), m.now)
				m.undone = append(m.undone, f.Step)
			} else {
				m.happened[f.Step] = true
				m.m.answer(m.m.root, m.result(m.m.root, "done"), m.now)
			}
		}
		m.advance()
	}
	m.Fatalf("it does not end: %s", brief(m.trace))
}

func (m *model) ended() {
	f := m.last()
	if f.Step != "" || len(f.Undo) != 0 || f.Blocked {
		m.Fatalf("it has ended with something left: %s", m.committed)
	}
	switch m.m.status() {
	case Completed:
		if len(m.undone) > 0 || len(m.order) != len(m.def.root.States) {
			m.Fatalf("it completed with %v done and %v undone", m.order, m.undone)
		}
	case Compensated:
		if left := m.toUndo(); len(left) > 0 {
			m.Fatalf("it was compensated, and %v not undone", left)
		}
	}
	// Nobody can bring it back.
	m.mail("cancel")
	m.mail("retry")
	if jobs, _ := m.m.todo(m.now); len(jobs) > 0 || !m.m.status().Ended() {
		m.Fatalf("mail after the end brings %v", jobs)
	}
}
