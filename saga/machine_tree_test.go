package saga

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
)

// TestTreeProperties drives machines of random graphs, with branches, items,
// locks, choices and catchers, through random results, cancels and crashes, and
// holds what they did to the rules of compensation and of locks. Handlers of
// several branches are at work at once, and answer in any order; others take the
// locks, and give them back.
func TestTreeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWood(t, drawTree(t))
		for range rapid.IntRange(0, 60).Draw(t, "operations") {
			w.step()
		}
		w.finish()
	})
}

// drawTree draws a valid definition.
func drawTree(t *rapid.T) *Definition {
	d := &drawer{T: t}
	s := New("s", d.steps(3)...).Version("1")
	if d.oneIn(4, "whole") {
		s = s.Lock(d.lock())
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s.def
}

type drawer struct {
	*rapid.T
	n    int
	away bool // most is done by others, and nothing takes locks
}

func (d *drawer) steps(depth int) []*Step[int] {
	var steps []*Step[int]
	n := rapid.IntRange(1, 4).Draw(d.T, "steps")
	for range n {
		steps = append(steps, d.one(depth))
	}
	if steps[0].state.Type != TypeWait && rapid.IntRange(0, 3).Draw(d.T, "catch") == 0 {
		// The last step catches what the first fails with.
		d.n++
		last := compensable(fmt.Sprintf("S%d", d.n))
		steps[0].Catch(last.state.Name, rapid.SampledFrom([]string{ErrorAny, "NoSeats"}).Draw(d.T, "caught"))
		steps = append(steps, last)
	}
	return steps
}

func (d *drawer) oneIn(n int, what string) bool { return rapid.IntRange(1, n).Draw(d.T, what) == n }

// treeLocks are the names of locks, and their keys.
var treeLocks = []string{"a", "b"}

// treeSignals are the names of signals.
var treeSignals = []string{"go", "halt"}

func (d *drawer) lock() *Resource[int] {
	name := rapid.SampledFrom(treeLocks).Draw(d.T, "lock")
	return Lock(name, func(*int) string { return name }).Wait(rapid.SampledFrom([]time.Duration{time.Second, time.Minute}).Draw(d.T, "patience"))
}

// one draws a step, which may take locks.
func (d *drawer) one(depth int) *Step[int] {
	s := d.unlocked(depth)
	if t := s.state.Type; !d.away && (t == TypeTask || t == TypeParallel || t == TypeMap) && d.oneIn(4, "locked") {
		s.Lock(d.lock())
		if d.oneIn(3, "two") {
			s.Lock(d.lock())
		}
		if d.oneIn(3, "patient") {
			s.Retry(twice, ErrorLock)
		}
	}
	return s
}

func (d *drawer) unlocked(depth int) *Step[int] {
	d.n++
	name := fmt.Sprintf("S%d", d.n)
	kinds := []string{"task", "task", "task", "remote", "read-only", "pass", "wait"}
	if d.away {
		kinds = append(kinds, slices.Repeat([]string{"remote"}, 6)...)
		kinds = append(kinds, "receive", "receive", "wait")
	}
	if depth > 0 {
		kinds = append(kinds, "parallel", "map", "parallel", "map")
	}
	switch kind := rapid.SampledFrom(kinds).Draw(d.T, name); kind {
	case "read-only":
		return Do(name, nothing).ReadOnly().Retry(twice)
	case "remote":
		return Remote(name, "there", func(n *int) (int, error) { return *n, nil }, func(n *int, to int) error { *n = to; return nil }).
			UndoRemote().Retry(twice).UndoRetry(twice).Timeout(time.Minute)
	case "pass":
		return Pass(name, func(n *int) error { *n++; return nil })
	case "wait":
		return Wait[int](name, time.Minute)
	case "receive":
		return Receive(name, rapid.SampledFrom(treeSignals).Draw(d.T, "signal"), func(n *int, to int) error { *n = to; return nil })
	case "parallel", "map":
		s := d.fork(kind, name, depth)
		if rapid.Bool().Draw(d.T, "together") {
			s.UndoTogether()
		}
		if rapid.IntRange(0, 3).Draw(d.T, "again") == 0 {
			s.Retry(Retry{Attempts: 2, Initial: time.Minute, Jitter: -1})
		}
		return s
	}
	return compensable(name)
}

func (d *drawer) fork(kind, name string, depth int) *Step[int] {
	if kind == "parallel" {
		return Parallel(name, Branch("x", d.steps(depth-1)...), Branch("y", d.steps(depth-1)...)).Merge(sum)
	}
	size := rapid.IntRange(0, 3).Draw(d.T, "items")
	s := ForEach(name, func(*int) []int { return make([]int, size) }, nil, d.steps(depth-1)...)
	if rapid.Bool().Draw(d.T, "one at a time") {
		s.Concurrency(1)
	}
	if rapid.Bool().Draw(d.T, "tolerant") {
		s.Tolerate(1)
	}
	return s
}

// A wood is a machine of a tree, and what its handlers did.
type wood struct {
	*rapid.T
	*bench
	began map[string]int // attempts, by key
	order []string       // keys of actions, as they were first begun
	known map[string]Outcome
	gone  []string // keys of actions that were undone
	taken int      // locks, by others
	// broken are locks that were taken from it. What began under one goes on under
	// a fence that is too low.
	broken map[string]bool
	// upgrades says that the graph may be replaced on the way.
	upgrades      bool
	edits, fitted int
	misfits       map[string]bool
}

func newWood(t *rapid.T, def *Definition) *wood {
	w := &wood{T: t, bench: newBench(def), began: make(map[string]int), known: make(map[string]Outcome)}
	w.withLocks("me", newLockStore(func() time.Time { return w.now }), nil)
	w.settled()
	return w
}

// key is the idempotency key of what a frame is doing, but for its direction.
func (w *wood) key(f *frame) string {
	visit := f.visit(f.Step)
	if f.Undoing {
		visit = max(f.Undo[len(f.Undo)-1].Visit, 1)
	}
	return fmt.Sprint(f.path, "/", f.Step, "/", visit)
}

// settled commits, begins all that is to be run, and checks that it may.
func (w *wood) settled() {
	w.settle()
	// Those that begin at once have an order among them, too.
	slices.SortStableFunc(w.jobs, func(a, b job) int { return a.f.Order - b.f.Order })
	for _, c := range w.sent {
		if f := w.m.frameAt(c.Frame); f != nil && f.Waiting && f.Step == c.Step && f.Attempt == c.Attempt {
			w.jobs = append(w.jobs, job{f, c.Command == commandUndo})
		} else {
			w.Fatalf("attempt %d of %s is sent, and not waited for", c.Attempt, c.Step)
		}
	}
	w.sent = nil
	slices.SortStableFunc(w.jobs, func(a, b job) int { return a.f.Order - b.f.Order })
	for _, j := range w.jobs {
		key := w.key(j.f)
		dir := fmt.Sprint(key, j.undo)
		if j.f.Attempt <= w.began[dir] {
			w.Fatalf("attempt %d of %s begins after attempt %d", j.f.Attempt, dir, w.began[dir])
		}
		w.began[dir] = j.f.Attempt
		w.locked(j.f)
		j.f.running = !j.f.Waiting
		if !j.undo {
			if slices.Contains(w.gone, key) {
				w.Fatalf("%s is done after it was undone", key)
			}
			if w.known[key] == "" {
				w.order = append(w.order, key)
			}
			w.known[key] = Unknown // until it says otherwise
			continue
		}
		if o := w.known[key]; o != Done && o != Unknown {
			w.Fatalf("%s is undone, and it is %q", key, o)
		}
		if got := j.f.Undo[len(j.f.Undo)-1].outcome(); got != w.known[key] {
			w.Fatalf("%s is undone as %s, and it is %s", key, got, w.known[key])
		}
		w.inOrder(j.f, key)
	}
	if !w.m.status().Ended() {
		if misfit := w.fits(w.def); misfit != nil {
			w.Fatalf("it does not fit its own graph: %s: %s", misfit, trail(w.trace))
		}
	}
}

// locked checks that an attempt runs under the locks of its step and of the saga,
// with their fences.
func (w *wood) locked(f *frame) {
	for _, l := range slices.Concat(w.def.locks, w.m.step(f).Locks) {
		need, err := l.need(f.State)
		if err != nil {
			w.Fatal(err)
		}
		state, err := w.locks.store.InspectLock(context.Background(), need.Resource, 0)
		if err != nil {
			w.Fatal(err)
		}
		own := slices.ContainsFunc(w.m.step(f).Locks, func(o LockDef) bool { return o.Name == l.Name })
		if w.broken[need.Resource] && (!own || f.Attempt > 1 || f.Undoing) {
			continue
		}
		if got := w.m.fences()[need.Resource]; state.Holder.Owner != "me" || state.Holder.Fence != got {
			w.Fatalf("attempt %d of %s runs under fence %d of lock %s, which is held by %+v", f.Attempt, f.Step, got, need.Resource, state.Holder)
		}
	}
}

// others lets somebody else take a lock, or a place in its queue, or give one
// back. What that grants may be told, or not.
func (w *wood) others() {
	name := rapid.SampledFrom(treeLocks).Draw(w.T, "which")
	resource := name + "/" + name
	ctx := context.Background()
	if rapid.Bool().Draw(w.T, "takes") {
		w.taken++
		_, err := w.locks.store.AcquireLock(ctx, store.LockRequest{
			Resource: resource, Owner: "other", Request: fmt.Sprint("o", w.taken), NotAfter: w.now,
		})
		if err != nil {
			w.Fatal(err)
		}
		return
	}
	l, err := w.locks.store.InspectLock(ctx, resource, 0)
	if err == nil && l.Holder.Owner == "me" && rapid.IntRange(0, 3).Draw(w.T, "breaks") == 0 {
		if w.parked {
			w.open(0)
		}
		if w.broken == nil {
			w.broken = make(map[string]bool)
		}
		w.broken[resource] = true
		w.heed("break:" + resource)
		return
	}
	if err != nil || l.Holder.Owner != "other" {
		return
	}
	next, err := w.locks.store.ReleaseLock(ctx, resource, l.Holder.Request, time.Hour)
	if err != nil {
		w.Fatal(err)
	}
	if next.Owner == "me" && rapid.Bool().Draw(w.T, "told") {
		if w.parked {
			w.open(0)
		}
		w.m.granted(resource, next.Request, next.Fence, w.now)
	}
}

// inOrder checks that nothing that began later, and is not undone, stands in
// the way of an undo: but what is undone side by side with it.
func (w *wood) inOrder(f *frame, key string) {
	at := slices.Index(w.order, key)
	for _, later := range w.order[at+1:] {
		if w.known[later] == NotDone || slices.Contains(w.gone, later) || !w.undoable(later) {
			continue
		}
		if w.apart(f, later) {
			continue
		}
		w.Fatalf("%s is undone before %s, which began later: %s", key, later, trail(w.trace))
	}
}

func (w *wood) undoable(key string) bool {
	for name, s := range w.def.byName {
		if s.compensable() && contains(key, "/"+name+"/") {
			return true
		}
	}
	return false
}

func contains(s, part string) bool {
	for i := range s {
		if len(s) >= i+len(part) && s[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

// apart reports whether another action is in a branch that is undone side by
// side with the frame, or beside the scope that the frame is undone in. Branches
// that are undone together have their turn when the last of them has it.
func (w *wood) apart(f *frame, other string) bool {
	for g := f; g != nil; g = g.parent {
		if g.Scope != nil {
			// Beyond the scope, all goes on.
			return !w.within(g, other)
		}
		p := g.parent
		if p != nil && w.def.byName[p.Fork.Step].UndoTogether && !w.within(g, other) {
			return true
		}
	}
	return false
}

// within reports whether a key is of the frame or below it.
func (w *wood) within(f *frame, key string) bool {
	return f.path == "" || len(key) > len(f.path) && key[:len(f.path)] == f.path && (key[len(f.path)] == '/' || key[len(f.path)] == ',')
}

func (w *wood) atWork() (frames []*frame) {
	w.m.each(func(f *frame) bool {
		if f.running || f.Waiting {
			frames = append(frames, f)
		}
		return true
	})
	return frames
}

func (w *wood) step() {
	things := []string{"crash", "others", "others"}
	busy := w.atWork()
	if len(busy) > 0 {
		things = append(things, "answer", "answer", "answer", "answer", "answer", "answer", "answer", "answer")
	}
	if w.parked && !w.wake.IsZero() {
		things = append(things, "wake", "wake", "wake", "wake")
	}
	if !w.m.root.running {
		things = append(things, "retry", "cancel")
	}
	if w.parked && w.m.status().Ended() {
		return
	}
	if w.upgrades {
		things = append(things, "upgrade", "upgrade")
	}
	switch rapid.SampledFrom(things).Draw(w.T, "what") {
	case "upgrade":
		w.upgrade()
	case "others":
		w.others()
	case "crash":
		// What is to be given back may go out, or not.
		w.locks.dies = rapid.Bool().Draw(w.T, "before its letters")
		if w.locks.dies {
			w.settle()
		}
		if w.parked {
			w.open(0)
		}
		w.locks.dies = false
		w.die()
	case "wake":
		w.open(max(w.wake.Sub(w.now), 0))
	case "retry":
		if w.parked {
			w.open(0)
		}
		w.m.retry("ann", "", w.now)
	case "cancel":
		if w.parked {
			w.open(0)
		}
		w.m.cancel("ann", "", w.now)
	case "answer":
		w.reply(rapid.SampledFrom(busy).Draw(w.T, "who"),
			rapid.SampledFrom([]string{"done", "done", "done", "done", "done", "flaky", "declined", "named", "unknown", "unknown!"}).Draw(w.T, "answer"))
	}
	w.settled()
}

// die loses the worker. Attempts that were to begin before the next opening may
// have.
func (w *wood) die() {
	w.lose()
	w.crash()
}

func (w *wood) lose() {
	w.m.each(func(f *frame) bool {
		if s := w.m.step(f); s != nil && s.Type == TypeTask && s.Remote == "" && f.Attempt > 0 && !f.Undoing && !fromMillis(f.At).After(w.now.Add(benchLease)) {
			w.known[w.key(f)] = Unknown
		}
		return true
	})
}

func (w *wood) reply(f *frame, answer string) {
	key, undo := w.key(f), f.Undoing
	r := w.result(f, answer)
	unknown := f.Unknown
	if f.Waiting {
		if w.parked {
			// A reply opens the execution.
			w.open(0)
			f = w.m.frameAt(f.path)
		}
		w.m.hearReply(replyTo(f, r), w.now)
	} else {
		w.m.answer(f, r, w.now)
	}
	switch {
	case undo && r.outcome == Done:
		w.gone = append(w.gone, key)
	case undo:
	case r.outcome == NotDone && unknown:
		w.known[key] = Unknown // an earlier attempt may have done it
	default:
		w.known[key] = r.outcome
	}
	// What a handler said counts once it is committed.
	if w.m.dirty {
		w.commit(false)
	}
}

// replyTo is a participant's reply.
func replyTo(f *frame, r result) *replyMessage {
	m := &replyMessage{
		Reply: commandDo, Frame: f.path, Step: f.Step, Visit: f.visit(f.Step), Attempt: f.Attempt, Outcome: r.outcome,
		Result: r.state, Permanent: isPermanent(r.err),
	}
	if f.Undoing {
		m.Reply, m.Visit = commandUndo, max(f.Undo[len(f.Undo)-1].Visit, 1)
	}
	if r.err != nil {
		m.Error, m.Cause = shownName(errorName(r.err)), r.err.Error()
	}
	return m
}

// finish answers everything with success until the execution has ended.
func (w *wood) finish() {
	for range 2000 {
		busy := w.atWork()
		switch {
		case w.m.status().Ended():
			w.ended()
			return
		case len(busy) > 0:
			w.reply(busy[0], "done")
		case w.m.root.Trouble != nil:
			if w.parked {
				w.open(0)
			}
			w.m.retry("ann", "", w.now)
		case w.parked && !w.wake.IsZero():
			w.open(max(w.wake.Sub(w.now), 0))
		default:
			w.Fatalf("it stands still: %s", trail(w.trace))
		}
		w.settled()
	}
	w.Fatalf("it does not end: %s", trail(w.trace))
}

func (w *wood) ended() {
	if len(w.committed) != 1 {
		w.Fatalf("it has ended, and there are %q", sortedKeys(w.committed))
	}
	if got := w.locks.shown(); strings.Contains(got, "me") {
		w.Fatalf("it has ended, and the locks are %s", got)
	}
	if w.m.status() != Compensated {
		return
	}
	for _, key := range w.order {
		if w.undoable(key) && w.known[key] != NotDone && !slices.Contains(w.gone, key) {
			w.Fatalf("it was compensated, and %s is %s still: %s", key, w.known[key], trail(w.trace))
		}
	}
}
