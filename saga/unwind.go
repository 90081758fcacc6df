package saga

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// fail takes a frame's present step as failed for good, and looks for what is
// to come of that: the step, or a Parallel or Map around it, is tried again, its
// error is caught, or the saga has failed. Whatever was done within the scope
// of that is undone first.
func (m *machine) fail(f *frame, cause *Cause, now time.Time) { m.failFor(f, cause, false, now) }

// failFor does so, and for good, which lets the step itself not be tried again.
func (m *machine) failFor(f *frame, cause *Cause, good bool, now time.Time) {
	cause.Frame = f.path
	if f.parent == nil && m.bound() && !m.catches(f, cause) && !m.def.yields(cause.errorName()) {
		m.block(f, cause)
		return
	}
	for g := f; ; g = g.parent {
		s := m.step(g)
		if len(s.graphs()) > 0 && !(good && g == f) {
			if at, ok := m.retryAt(g, s, cause.errorName(), false, now); ok {
				m.open(g, &scope{Keep: len(g.Undo), Then: s.Name, Again: max(toMillis(at), 1), Cause: cause}, now)
				return
			}
		}
		if next, ok := s.catcher(cause.errorName()); ok {
			m.open(g, &scope{Keep: len(g.Undo), Then: next, Cause: cause}, now)
			return
		}
		p := g.parent
		if p == nil {
			break
		}
		if s := m.step(p); s.Tolerate > 0 && p.Fork.Batched == 0 {
			p.Fork.Failures++
			m.touch(p)
			if p.Fork.Failures <= s.Tolerate {
				m.open(g, &scope{Cause: cause}, now)
				return
			}
			cause = &Cause{Kind: CauseFailed, Step: s.Name, Frame: p.path, Name: ErrorTolerance,
				Error: fmt.Sprintf("%d items failed, and %d may; the last: %s", p.Fork.Failures, s.Tolerate, cause)}
		}
	}
	if m.bound() && !m.def.yields(cause.errorName()) {
		m.block(f, cause)
		return
	}
	m.record(f, Event{Type: ExecutionFailed, Step: cause.Step, Error: cause.Error})
	m.open(m.root, &scope{Cause: cause}, now)
}

func (m *machine) catches(f *frame, cause *Cause) bool {
	_, ok := m.step(f).catcher(cause.errorName())
	return ok
}

// open begins to undo what was done in a frame, and below it. What is under way
// there is awaited, and nothing more begins.
func (m *machine) open(g *frame, sc *scope, now time.Time) {
	if m.misses(g) {
		m.short, m.scopes = true, append(m.scopes, g)
	}
	g.Scope = sc
	m.touch(g)
	if g.Fork != nil && !g.Fork.Undoing {
		m.record(g, Event{Type: failedTypes[m.step(g).Type], Step: g.Fork.Step, Error: sc.Cause.Error})
	}
	for _, kid := range g.kids {
		if kid != nil {
			m.stop(kid)
		}
	}
	if !g.running && !m.awaited(g) && (!g.Undoing || g.Blocked) { // else its answer is awaited
		m.quit(g)
	}
	if g.Step != "" && m.halting(g) {
		m.halt(g, sc.Cause)
	}
}

// stop lets a frame, and those below it, begin nothing more.
func (m *machine) stop(f *frame) {
	for _, kid := range f.kids {
		if kid != nil {
			m.stop(kid)
		}
	}
	f.Scope = nil
	m.touch(f)
	if !f.running && f.Step != "" && !m.awaited(f) {
		m.quit(f)
	}
	if f.Step != "" && m.halting(f) {
		m.halt(f, m.why(f))
	}
}

// quit leaves a step in the middle. If it may have had an effect, that is to be
// undone.
func (m *machine) quit(f *frame) {
	s := m.step(f)
	switch {
	case f.Undoing:
		f.Undo[len(f.Undo)-1].Attempt = f.Attempt
	case (f.Unknown || f.Waiting) && s.compensable() && !m.root.Pivoted:
		m.owe(f, s)
	}
	f.certain()
	m.unblock(f)
	f.Undoing, f.Pending, f.Attempt, f.At = false, false, 0, 0
	f.Sent = ""
	f.Waiting, f.Calls, f.Token, f.Misfits, f.Until, f.Stop, f.Locks = false, false, "", 0, 0, nil, nil
	if f.Scope == nil {
		f.Step = ""
	}
	m.touch(f)
}

// owe has an action undone that may have had an effect.
func (m *machine) owe(f *frame, s *State) {
	if f.Waiting && (s.Callback || s.Remote != "") {
		f.doubt(true) // whoever has the token may complete it, or the command do it
		if s.undoneHere() {
			f.StillRunning = max(f.StillRunning, toMillis(fromMillis(f.Until).Add(m.lease)))
		}
	}
	r := undoRecord{Unknown: true, NotUntil: f.StillRunning, Unheard: f.Unheard, Doubt: f.Doubt && len(f.Unheard) > 0}
	if s.Callback {
		r.Token = f.Token
	}
	m.push(f, r)
}

// unwind goes on undoing a scope. It reports whether it did something.
func (m *machine) unwind(g *frame, now time.Time) bool {
	if m.acting(g) {
		return false
	}
	next, loaded := m.undoable(g, g.Scope.Keep)
	if !loaded {
		return false
	}
	if len(next) == 0 {
		m.finish(g, now)
		return true
	}
	did := false
	for _, f := range next {
		if !f.Undoing {
			m.compensate(f, now)
			did = true
		}
	}
	return did
}

// acting reports whether an action is under way in the frame or below.
func (m *machine) acting(f *frame) bool {
	return !f.each(func(f *frame) bool { return f.Undoing || !f.running && (f.Step == "" || !m.awaited(f)) })
}

// undoable are the frames whose last record may be undone now: that of the
// latest action of all or, where branches are undone together, of each branch.
// It reports false where frames must be loaded first.
func (m *machine) undoable(f *frame, keep int) (next []*frame, loaded bool) {
	if f.Fork != nil {
		next, loaded = m.undoableBelow(f)
		if !loaded || len(next) > 0 {
			return next, loaded
		}
		if slices.ContainsFunc(f.kids, func(kid *frame) bool { return kid != nil && kid.Step != "" }) {
			return nil, false
		}
		for _, kid := range f.kids {
			if kid != nil {
				m.drop(kid)
			}
		}
		m.detach(f)
	}
	if len(f.Undo) <= keep {
		return nil, true
	}
	if r := f.Undo[len(f.Undo)-1]; r.Fork != nil {
		f.Undo = f.Undo[:len(f.Undo)-1]
		f.Fork = r.Fork
		m.touch(f)
		return m.undoable(f, keep)
	}
	return []*frame{f}, true
}

func (m *machine) undoableBelow(f *frame) (next []*frame, loaded bool) {
	together := m.def.byName[f.Fork.Step].UndoTogether
	latest := func(frames []*frame) int {
		return slices.MaxFunc(frames, func(a, b *frame) int { return cmp.Compare(a.lastOrder(), b.lastOrder()) }).lastOrder()
	}
	if !m.loadBelow(f) {
		return nil, false
	}
	for _, kid := range f.kids {
		if kid == nil {
			continue
		}
		part, ok := m.undoable(kid, 0)
		switch {
		case !ok:
			return nil, false
		case len(part) == 0:
		case together:
			next = append(next, part...)
		case len(next) == 0 || latest(part) > latest(next):
			next = part
		}
	}
	return next, true
}

// loadBelow makes sure that the frames of a fork are there, but those that have
// nothing left to undo. A completed branch may have gone to the shelf.
func (m *machine) loadBelow(f *frame) bool {
	k := f.Fork
	for n := range k.Begun {
		if f.kid(n) != nil || k.Undoing && k.Ended.has(n) {
			continue
		}
		path := f.below(k, n)
		if kid := m.shelf[path]; kid != nil {
			delete(m.shelf, path)
			m.adopt(f, n, kid)
			continue
		}
		m.want(frameField(path))
	}
	return len(m.wants) == 0
}

// why tells why a frame's last action is being undone.
func (m *machine) why(f *frame) *Cause {
	for ; f != nil; f = f.parent {
		if f.Scope != nil {
			return f.Scope.Cause
		}
	}
	return nil
}

func (f *frame) lastOrder() int { return f.Undo[len(f.Undo)-1].Order }

// compensate dispatches the compensation that is last in the frame's list.
func (m *machine) compensate(f *frame, now time.Time) {
	r := f.Undo[len(f.Undo)-1]
	f.Step, f.Entered, f.Attempt, f.Tries, f.TriesOn, f.Lost = r.Step, now.UnixMilli(), r.Attempt, 0, nil, 0
	f.Undoing = true
	m.record(f, Event{Type: CompensationEntered, Step: r.Step, Outcome: r.outcome()})
	at := now
	if notUntil := fromMillis(r.NotUntil); notUntil.After(now) {
		at = notUntil
	}
	m.dispatch(f, at)
}

func (m *machine) undoAnswer(f *frame, r result, now time.Time) {
	s := m.step(f)
	if r.outcome == Done {
		m.record(f, Event{Type: CompensationDone, Step: f.Step, Attempt: f.Attempt})
		m.undone(f)
		return
	}
	m.record(f, failure(CompensationFailed, f.Step, f.Attempt, r))
	if r.outcome == Unknown {
		f.Undo[len(f.Undo)-1].Unsure = true
	}
	if !m.mayUndo(f) {
		m.quit(f) // the order is another one by now
		return
	}
	f.Tries++
	if isPermanent(r.err) || s.UndoRetry.exhausted(f.Tries) {
		m.block(f, &Cause{Kind: CauseFailed, Step: f.Step, Undo: true, Name: shownName(errorName(r.err)), Error: errorText(r.err)})
		return
	}
	m.again(f, now.Add(s.UndoRetry.delay(f.Tries)))
}

// undone takes the frame's last record off.
func (m *machine) undone(f *frame) {
	m.guess(f, f.Undo[len(f.Undo)-1])
	f.Undo = f.Undo[:len(f.Undo)-1]
	f.Undoing, f.Attempt, f.Tries, f.Lost, f.At = false, 0, 0, 0, 0
	if f.Scope == nil {
		f.Step = ""
	}
	m.touch(f)
}

// mayUndo reports whether it is the frame's turn to undo still.
func (m *machine) mayUndo(f *frame) bool {
	for g := f; g != nil; g = g.parent {
		if g.Scope == nil {
			continue
		}
		if m.acting(g) {
			return false
		}
		next, loaded := m.undoable(g, g.Scope.Keep)
		return loaded && slices.Contains(next, f)
	}
	return false
}

// finish goes on from a scope in which nothing is left to undo.
func (m *machine) finish(g *frame, now time.Time) {
	sc := g.Scope
	m.touch(g)
	switch {
	case sc.Again > 0: // a Parallel or a Map
		g.Scope, g.Step, g.Pending, g.Attempt = nil, sc.Then, true, 1
		g.At = max(sc.Again, now.UnixMilli())
	case sc.Then != "":
		g.Scope = nil
		m.record(g, Event{Type: ErrorCaught, Step: sc.Cause.Step, Next: sc.Then, Error: sc.Cause.Error})
		g.Caught = sc.Cause
		m.enter(g, m.def.byName[sc.Then], now)
	case g == m.root:
		g.Step, g.At = "", 0
		m.unhalt()
		m.clear()
		m.record(g, Event{Type: ExecutionCompensated})
		m.report()
	default: // an item whose failure is tolerated
		g.Scope, g.Step, g.At, g.Failed = nil, "", 0, sc.Cause
		m.ended(g, now)
	}
}

// passPivot takes the saga past its point of no return.
func (m *machine) passPivot(f *frame) {
	f.Pivoted = true
	if m.root.Children {
		return // those before it are told when the saga ends
	}
	f.Undo = nil
	m.clear()
}

// deadline acts on the saga's own time, if that has run out, and reports whether it
// did. A branch or an item that is blocked does not keep the others from their end;
// the root has nothing beside it.
func (m *machine) deadline(now time.Time) bool {
	due := m.due()
	if due.IsZero() || m.status().Ended() || m.root.Blocked || now.Before(due) || m.busy() {
		return false
	}
	m.root.Overdue = true
	if m.passOn(&Cause{Kind: CauseTimedOut, Step: m.root.Step}) {
		m.record(m.root, Event{Type: ExecutionTimedOut, Step: m.root.Step})
		return true
	}
	if m.bound() {
		m.record(m.root, Event{Type: ExecutionOverdue, Step: m.root.Step})
		return true
	}
	m.record(m.root, Event{Type: ExecutionTimedOut, Step: m.root.Step})
	m.open(m.root, &scope{Cause: &Cause{Kind: CauseTimedOut, Step: m.root.Step}}, now)
	return true
}
