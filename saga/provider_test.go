package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

// A provider stands for the services that handlers call. It keeps the order of
// calls, has each effect once a key, as a good service does, and watches what
// no service could: whether a call was on record before it came, and whether
// its key is right.
type provider struct {
	mu       sync.Mutex
	view     *saga.Client // reads the records
	person   *person      // is asked for approvals
	plans    map[string][]plan
	calls    []call
	effects  map[string]int // by key: at which call
	owners   map[string]string
	dead     map[string]bool             // workers
	locked   map[string]string           // by step: the lock that it is done and undone under
	kin      map[string]*saga.Definition // by id: children to be audited, if they are there
	edited   string                      // a step that operators come to again with another input
	problems []string
}

// A plan is what becomes of one call. The zero value does the work at once.
type plan struct {
	takes    time.Duration // unless the context ends before
	stubborn bool          // works on whatever becomes of the context
	err      error         // is answered,
	anyway   bool          // although the work was done
	panics   any
}

type call struct {
	worker, execution, step string
	frame                   string
	undo                    bool
	attempt                 int
	key                     string
	outcome                 saga.Outcome // told to an undo
	effect                  bool         // this call had it
	at                      time.Time    // when it came
}

func (c call) String() string {
	if c.undo {
		return fmt.Sprintf("undo %s (%s)", c.step, c.outcome)
	}
	return "do " + c.step
}

func newProvider(st saga.Store) *provider {
	view, err := saga.NewClient(saga.ClientConfig{Store: st})
	if err != nil {
		panic(err)
	}
	return &provider{
		view: view, plans: make(map[string][]plan), effects: make(map[string]int),
		owners: make(map[string]string), dead: make(map[string]bool),
	}
}

// plan says what becomes of the next calls of a step, "A" or "undo A"; those
// after them succeed.
func (p *provider) plan(step string, plans ...plan) { p.plans[step] = append(p.plans[step], plans...) }

// kill makes a worker's handlers end without an effect.
func (p *provider) kill(worker string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[worker] = true
}

// step is a step whose action and compensation call the provider from a worker.
func (p *provider) step(worker, name string) *saga.Step[trip] {
	return p.do(worker, name).Undo(func(ctx context.Context, s *trip, outcome saga.Outcome) error {
		return p.serve(ctx, worker, outcome)
	})
}

// do is a step with nothing to undo it.
func (p *provider) do(worker, name string) *saga.Step[trip] {
	return saga.Do(name, func(ctx context.Context, s *trip) error {
		s.Log = append(s.Log, name)
		return p.serve(ctx, worker, "")
	}).Retry(saga.Retry{Attempts: 6, Initial: 700 * time.Millisecond, Factor: 3, Jitter: -1}).Timeout(20 * time.Second)
}

var errKilled = errors.New("this worker is dead")

func (p *provider) serve(ctx context.Context, worker string, outcome saga.Outcome) error {
	info := saga.StepFrom(ctx)
	what, n := p.begin(worker, info, outcome, true)
	if what.takes > 0 {
		ended := ctx.Done()
		if what.stubborn {
			ended = nil
		}
		timer := time.NewTimer(what.takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ended:
			return ctx.Err()
		}
	}
	if what.panics != nil {
		panic(what.panics)
	}
	if what.err == nil || what.anyway {
		if err := p.have(worker, info, n); err != nil {
			return err
		}
	}
	return what.err
}

// begin notes a call and finds its plan. A call that did not come through a queue
// must be on record as it comes.
func (p *provider) begin(worker string, info saga.StepInfo, outcome saga.Outcome, atOnce bool) (plan, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead[worker] {
		return plan{err: errKilled}, -1
	}
	p.fenced(info)
	c := call{
		worker: worker, execution: info.Execution, frame: info.Frame, step: info.Step, undo: info.Undo,
		attempt: info.Attempt, key: info.Key, outcome: outcome, at: time.Now(),
	}
	p.inspect(c)
	if atOnce {
		p.recorded(c)
	}
	p.calls = append(p.calls, c)
	name := info.Step
	if info.Undo {
		name = "undo " + name
	}
	var what plan
	if plans := p.plans[name]; len(plans) > 0 {
		what, p.plans[name] = plans[0], plans[1:]
	}
	return what, len(p.calls) - 1
}

// inspect holds a call to what must be true whatever went wrong before it.
func (p *provider) inspect(c call) {
	owner := fmt.Sprint(c.execution, c.frame, c.step, c.undo)
	if o, ok := p.owners[c.key]; ok && o != owner {
		p.problem("%v of %s has the key %q of another call", c, c.execution, c.key)
	}
	p.owners[c.key] = owner
	for _, earlier := range p.calls {
		if earlier.execution != c.execution || earlier.frame != c.frame || earlier.step != c.step {
			continue
		}
		switch {
		case earlier.undo == c.undo && visitKey(earlier.key) != visitKey(c.key) && c.step != p.edited:
			p.problem("%v has key %q in attempt %d and %q in attempt %d", c, earlier.key, earlier.attempt, c.key, c.attempt)
		case earlier.undo == c.undo && earlier.attempt >= c.attempt:
			p.problem("%v: attempt %d comes after attempt %d", c, c.attempt, earlier.attempt)
		case earlier.undo && !c.undo:
			p.problem("%v comes after its undo", c)
		}
	}
}

// visitKey is the key without what an edit of the input adds.
func visitKey(key string) string {
	if base, _, ok := cutLast(key, "/"); ok && strings.HasSuffix(base, "/undo") {
		return base
	}
	return key
}

// fenced holds a call to its locks: each is the execution's own, or its family's.
func (p *provider) fenced(info saga.StepInfo) {
	if lock := p.locked[info.Step]; lock != "" && info.Locks[lock] == 0 {
		p.problem("%s of %s comes without lock %s", info.Step, info.Execution, lock)
	}
	for lock, fence := range info.Locks {
		l, err := p.view.Lock(context.Background(), lock)
		if err != nil || l.Holder == nil || l.Holder.Fence != fence {
			p.problem("%s of %s comes under fence %d of lock %s, which is %+v, %v", info.Step, info.Execution, fence, lock, l, err)
		}
	}
}

// recorded holds a call to the record.
func (p *provider) recorded(c call) {
	x, err := p.view.Get(context.Background(), c.execution)
	switch {
	case err != nil:
		p.problem("%v: %v", c, err)
	case !onRecord(x, c):
		p.problem("%v, attempt %d, is not on record: the execution is at %s, attempt %d, undoing %t, %+v", c, c.attempt, x.Step, x.Attempt, x.Undoing, x.Branches)
	}
}

// onRecord reports whether the record says that the call is dispatched.
func onRecord(x *saga.Execution, c call) bool {
	if c.frame == "" {
		return x.Step == c.step && x.Attempt == c.attempt && x.Undoing == c.undo
	}
	return slices.ContainsFunc(x.Branches, func(b saga.Position) bool {
		return b.Frame == c.frame && b.Step == c.step && b.Attempt == c.attempt && b.Undoing == c.undo
	})
}

func (p *provider) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// have has the effect of a call, once a key.
func (p *provider) have(worker string, info saga.StepInfo, n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead[worker] {
		return errKilled
	}
	if _, ok := p.effects[info.Key]; ok {
		return nil
	}
	if !info.Undo {
		for key, at := range p.effects {
			if c := p.calls[at]; c.undo && c.execution == info.Execution && c.frame == info.Frame && c.step == info.Step {
				p.problem("do %s has its effect after its undo, under %s", info.Step, key)
			}
		}
	}
	p.effects[info.Key] = n
	p.calls[n].effect = true
	return nil
}

// lines are all calls, in order.
func (p *provider) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := make([]string, len(p.calls))
	for i, c := range p.calls {
		lines[i] = c.String()
	}
	return lines
}

// left are the keys of actions of execution 1, and its children, that have had
// their effect, of steps that can be undone, and are not.
func (p *provider) left() (keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	undos := make(map[string]bool)
	for key := range p.effects {
		undos[visitKey(key)] = true
	}
	for key, n := range p.effects {
		c := p.calls[n]
		if undone := undos[strings.TrimSuffix(key, "do")+"undo"]; strings.HasPrefix(c.execution, "1") && !c.undo && !undone && c.step != "D" && c.step != "P" && c.step != "Z" {
			keys = append(keys, key)
		}
	}
	return keys
}

// audit compares the history of an execution that has ended with what the
// provider saw, and both with the rules.
func (p *provider) audit(t *testing.T, def *saga.Definition, id string) {
	t.Helper()
	x, err := p.view.Get(t.Context(), id)
	if err != nil {
		t.Errorf("execution %q: %v", id, err)
		return
	}
	events, err := p.view.History(t.Context(), id)
	if err != nil {
		t.Errorf("history of %q: %v", id, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		t.Error(problem)
	}
	var calls []call
	for _, c := range p.calls {
		if c.execution == id {
			calls = append(calls, c)
		}
	}
	for _, problem := range append(auditHistory(def, x.Status, events), auditEffects(def, x.Status, events, calls)...) {
		t.Error(problem)
	}
	if !x.Status.Ended() || x.Step != "" || x.Undoing || x.UnreadMail != 0 || !x.HeldUntil.IsZero() {
		t.Errorf("the execution is not at its end: %+v", x)
	}
	if t.Failed() {
		for _, e := range events {
			t.Logf("%3d %s %s %s %d %s %s", e.ID, e.Time.Format("05.000"), e.Type, e.Step, e.Attempt, e.Outcome, e.Error)
		}
		for _, c := range calls {
			t.Logf("%s %v attempt %d on %s, effect %t", c.at.Format("05.000"), c, c.attempt, c.worker, c.effect)
		}
	}
}

// auditHistory holds a history to the rules of compensation.
func auditHistory(def *saga.Definition, status saga.Status, events []saga.Event) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var order, undone []string
	known := make(map[string]saga.Outcome) // done or unknown
	attempts := make(map[string]int)
	undoing, pivoted := false, false
	at := func(e saga.Event) string { return e.Frame + "/" + e.Step }
	for i, e := range events {
		if e.ID != i+1 {
			problem("event %d has number %d", i+1, e.ID)
		}
		switch e.Type {
		case saga.TaskScheduled, saga.CompensationTried:
			key := string(e.Type) + at(e)
			if e.Attempt < attempts[key] {
				problem("attempt %d of %s is scheduled after attempt %d", e.Attempt, e.Step, attempts[key])
			}
			attempts[key] = e.Attempt
			if e.Type == saga.TaskScheduled && undoing {
				problem("%s is scheduled while it is being undone", e.Step)
			}
			if e.Type == saga.TaskScheduled && !slices.Contains(order, at(e)) {
				order = append(order, at(e))
			}
		case saga.TaskSucceeded:
			known[at(e)] = saga.Done
			if state(def, e.Step).Pivot {
				pivoted = true
			}
		case saga.TaskTimedOut, saga.TaskSubmitted: // to somebody who may have done it
			known[at(e)] = saga.Unknown
		case saga.TaskHeardLate:
			if known[at(e)] = e.Outcome; e.Outcome == saga.NotDone {
				delete(known, at(e))
			}
		case saga.CompensationEntered:
			undoing = true
			if pivoted {
				problem("%s is undone after the pivot", e.Step)
			}
			if known[at(e)] != e.Outcome {
				problem("%s is undone as %q and is %q", e.Step, e.Outcome, known[at(e)])
			}
		case saga.CompensationDone:
			undone = append(undone, at(e))
		}
	}
	var want []string
	if status == saga.Compensated || status == saga.Terminated {
		for _, name := range slices.Backward(order) {
			if s := state(def, path.Base(name)); (s.UndoRetry != nil || s.Child != "" || strings.HasSuffix(name, "[]")) && known[name] != "" {
				want = append(want, name)
			}
		}
	}
	if status == saga.Terminated { // as far as it came
		want = want[:min(len(want), len(undone))]
	}
	if !slices.Equal(undone, want) {
		problem("undone %v, want %v: %s after %v", undone, want, status, order)
	}
	return problems
}

// auditEffects holds the provider's ledger to the history.
func auditEffects(def *saga.Definition, status saga.Status, events []saga.Event, calls []call) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	did, undid := make(map[string]bool), make(map[string]bool)
	var undos []string
	for _, c := range calls {
		want := saga.TaskScheduled
		if c.undo {
			want = saga.CompensationTried
		}
		if !slices.ContainsFunc(events, func(e saga.Event) bool {
			return e.Type == want && e.Frame == c.frame && e.Step == c.step && e.Attempt == c.attempt
		}) {
			problem("%v, attempt %d, is not in the history", c, c.attempt)
		}
		switch {
		case c.undo && c.effect:
			undid[c.frame+"/"+c.step] = true
			undos = append(undos, c.step)
		case c.effect:
			did[c.frame+"/"+c.step] = true
		}
	}
	// What the provider saw undone is in the reverse of the definition's order,
	// whatever the history says.
	states := def.States()
	position := func(name string) int {
		return slices.IndexFunc(states, func(s saga.State) bool { return s.Name == name })
	}
	for i := 1; i < len(undos); i++ {
		if a, b := position(undos[i]), position(undos[i-1]); a >= 0 && b >= 0 && a >= b {
			problem("%s is undone after %s", undos[i], undos[i-1])
		}
	}
	for _, s := range states {
		if s.Type != saga.TypeTask || s.Signal != "" || s.Child != "" {
			continue
		}
		switch {
		case status == saga.Completed && !did["/"+s.Name]:
			problem("the saga completed without %s", s.Name)
		case status == saga.Completed && undid["/"+s.Name]:
			problem("the saga completed, and %s was undone", s.Name)
		}
	}
	for name := range did {
		if status == saga.Compensated && !undid[name] && state(def, path.Base(name)).UndoRetry != nil {
			problem("the saga was compensated, and %s is done still", name)
		}
	}
	return problems
}

func state(def *saga.Definition, name string) saga.State {
	return stateAmong(def.States(), name)
}

func stateAmong(states []saga.State, name string) (found saga.State) {
	for _, s := range states {
		if s.Name == name {
			return s
		}
		for _, g := range append(s.Branches, s.Each) {
			if g == nil {
				continue
			}
			var inner []saga.State
			for _, s := range g.States {
				inner = append(inner, *s)
			}
			if found = stateAmong(inner, name); found.Name != "" {
				return found
			}
		}
	}
	return found
}

// audited checks what every store must be like when all executions have ended.
func audited(t *testing.T, st saga.Store, c *saga.Client, definition string) {
	t.Helper()
	counts, err := c.Count(t.Context(), definition)
	if err != nil {
		t.Fatal(err)
	}
	if counts[saga.Running] != 0 || counts[saga.Blocked] != 0 {
		t.Errorf("still open: %v", counts)
	}
	list, err := c.List(t.Context(), saga.Query{Definition: definition, Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		r, err := st.Get(t.Context(), x.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Ended || len(r.Outbox) > 0 || !json.Valid(r.Root) || r.Version != store.FormatVersion {
			t.Errorf("%s is left as %+v", x.ID, r)
		}
	}
}
