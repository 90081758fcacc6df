package saga

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// maxHops is how many steps may follow one another without an attempt or a wait
// between them: more go round in circles.
const maxHops = 10_000

// enter goes to a step.
func (m *machine) enter(f *frame, s *State, now time.Time) {
	again := f.Pending && f.Attempt > 0 // a Parallel or a Map that is tried again
	if !again {
		f.Tries, f.TriesOn, f.Entered = 0, nil, toMillis(now)
	}
	f.Step, f.At, f.Pending = s.Name, 0, false
	f.Attempt, f.Lost, f.Undoing = 0, 0, false
	f.certain()
	f.Waiting, f.Token, f.Sent, f.Misfits, f.Until = false, "", "", 0, 0
	if again || f.graph.loops[s.Name] {
		m.revisit(f, again)
	}
	m.hops++
	m.record(f, Event{Type: enteredTypes[s.Type], Step: s.Name})
	if m.hops > maxHops {
		m.fault(f, fmt.Errorf("%d steps followed one another without a task or a wait", maxHops), now)
		return
	}
	if f.First || len(s.Locks) > 0 {
		f.Locks = untold
	}
	m.commence(f, s, now)
}

// commence begins a step that was come to, or lets it wait for its locks.
func (m *machine) commence(f *frame, s *State, now time.Time) {
	if f.locking() {
		waited := f.Pending
		if !m.secure(f, now) {
			return
		}
		if waited { // its own time begins now
			f.Pending, f.At, f.Entered = false, 0, toMillis(now)
		}
	}
	switch s.Type {
	case TypeTask:
		if s.Signal != "" {
			m.receive(f, s, now)
			return
		}
		if f != m.root {
			m.root.Orders++
			f.Order = m.root.Orders
			m.touch(m.root)
		}
		m.dispatch(f, now)
	case TypeChoice:
		m.choose(f, s, now)
	case TypePass:
		m.pass(f, s, now)
	case TypeWait:
		m.waitAt(f, s, now)
	case TypeSucceed:
		m.record(f, Event{Type: SucceedStateExited, Step: s.Name})
		m.leave(f, "", now)
	case TypeFail:
		m.fail(f, &Cause{Kind: CauseFailed, Step: s.Name, Name: s.Error, Error: s.Cause}, now)
	case TypeParallel, TypeMap:
		m.fork(f, s, now)
	}
}

// revisit counts that a frame comes to its step again, or for the first time to
// one that it may come to again.
func (m *machine) revisit(f *frame, again bool) {
	if f.Visits == nil {
		f.Visits = make(map[string]int)
	}
	if again {
		f.Visits[f.Step] = f.visit(f.Step)
	}
	f.Visits[f.Step]++
	m.touch(f)
}

// leave goes on from a step, or ends the frame.
func (m *machine) leave(f *frame, next string, now time.Time) {
	f.Caught, f.Locks = nil, nil
	if next != "" {
		m.enter(f, m.def.byName[next], now)
		return
	}
	f.Step, f.At = "", 0
	m.touch(f)
	if f != m.root {
		m.ended(f, now)
		return
	}
	m.unhalt()
	m.record(f, Event{Type: ExecutionSucceeded})
	if m.child && len(f.Undo) > 0 && !f.Pivoted {
		f.Held = true
	} else {
		m.release()
	}
	m.report()
}

func (m *machine) choose(f *frame, s *State, now time.Time) {
	next, found := s.Next, s.Next != "" || s.ends
	for _, c := range s.Choices {
		var holds bool
		err := guard(func() (err error) { holds, err = c.holds(f.State); return err })
		if err != nil {
			m.fault(f, fmt.Errorf("choose whether to go to %s: %w", c.Next, err), now)
			return
		}
		if holds {
			next, found = c.Next, true
			break
		}
	}
	if !found {
		m.fail(f, &Cause{Kind: CauseFailed, Step: s.Name, Name: ErrorNoChoice, Error: "nothing holds, and nothing comes next"}, now)
		return
	}
	m.record(f, Event{Type: ChoiceStateExited, Step: s.Name})
	m.leave(f, next, now)
}

func (m *machine) pass(f *frame, s *State, now time.Time) {
	var state []byte
	err := guard(func() (err error) { state, err = s.transform(f.State); return err })
	if err == nil {
		err = m.oversize(s, state)
	}
	if err != nil {
		m.fault(f, err, now)
		return
	}
	changed := m.setState(f, state)
	m.record(f, Event{Type: PassStateExited, Step: s.Name, changed: changed})
	m.leave(f, s.Next, now)
}

func (m *machine) waitAt(f *frame, s *State, now time.Time) {
	until := now.Add(s.Wait)
	if s.until != nil {
		if err := guard(func() (err error) { until, err = s.until(f.State); return err }); err != nil {
			m.fault(f, fmt.Errorf("compute until when to wait: %w", err), now)
			return
		}
	}
	f.At = max(toMillis(until), 1)
}

// fork begins the branches of a Parallel or the items of a Map.
func (m *machine) fork(f *frame, s *State, now time.Time) {
	k := &fork{Step: s.Name, Visit: f.visit(s.Name), Size: len(s.Branches)}
	if k.Visit == 1 {
		k.Visit = 0
	}
	if s.Type == TypeMap {
		var items []json.RawMessage
		if err := guard(func() (err error) { items, err = s.items(f.State); return err }); err != nil {
			m.fault(f, fmt.Errorf("list the items: %w", err), now)
			return
		}
		k.Size = len(items)
		if size := m.def.mapSize; len(items) > size.inline {
			parts, err := split(items, size.part)
			if err != nil {
				m.fault(f, err, now)
				return
			}
			k.Size, k.Batched = len(parts), len(items)
			f.Fork = k
			m.putParts(f, parts)
		} else if len(items) > 0 {
			m.putItems(f, items)
		}
	}
	f.Fork = k
	m.record(f, Event{Type: startedTypes[s.Type], Step: s.Name})
	m.spread(f, s, now)
}

func (m *machine) putItems(f *frame, items []json.RawMessage) {
	f.items = items
	data, _ := encodeJSON(nil, items) // each is JSON already
	if m.puts == nil {
		m.puts = make(map[string][]byte)
	}
	m.puts[itemsField(f.path)] = data
}

// spread begins as many branches or items as may be under way.
func (m *machine) spread(f *frame, s *State, now time.Time) {
	k, most := f.Fork, s.Concurrency
	if k.Batched > 0 {
		most, _ = s.shares()
	}
	for k == f.Fork && k.Begun < k.Size && !m.stopping(f) {
		if most > 0 && k.Begun-k.Ended.count() >= most {
			return
		}
		state := f.State
		switch {
		case k.Batched > 0:
			var ok bool
			if state, ok = m.takePart(f); !ok {
				return
			}
		case s.Type == TypeMap:
			if len(f.items) != k.Size {
				m.want(itemsField(f.path))
				return
			}
			state = f.items[k.Begun]
		}
		n := k.Begun
		child := &frame{State: state, Changed: true, path: f.below(k, n), graph: k.graph(s, n)}
		k.Begun++
		m.adopt(f, n, child)
		m.touch(f)
		if s.Type == TypeMap && k.Batched == 0 {
			m.record(child, Event{Type: MapIterationStarted, Step: s.Name})
		}
		m.enter(child, child.graph.start(), now)
	}
}

// ended notes that a branch or an item has come to its end.
func (m *machine) ended(f *frame, now time.Time) {
	p := f.parent
	s := m.def.byName[p.Fork.Step]
	p.Fork.Ended.add(f.index)
	if s.Type == TypeMap && p.Fork.Batched == 0 {
		t := MapIterationSucceeded
		if f.Failed != nil {
			t = MapIterationFailed
		}
		m.record(f, Event{Type: t, Step: s.Name})
	}
	m.touch(p)
	if p.Fork.Batched > 0 && !m.stopping(p) {
		m.tolerate(p, s, f, now)
	}
}

// tend begins further items of a fork, or joins its branches when all have
// ended. It reports whether it did something.
func (m *machine) tend(f *frame, s *State, now time.Time) bool {
	k := f.Fork
	if k.Begun < k.Size {
		before := k.Begun
		m.spread(f, s, now)
		return k.Begun > before
	}
	if k.Ended.count() < k.Size {
		return false
	}
	for n := range k.Size {
		if f.kid(n) == nil {
			m.want(frameField(f.below(k, n)))
		}
	}
	if len(m.wants) > 0 {
		return false
	}
	m.join(f, s, now)
	return true
}

// join merges the states of a fork's branches, and goes on.
func (m *machine) join(f *frame, s *State, now time.Time) {
	k, state := f.Fork, []byte(f.State)
	if !k.Skipped {
		var err error
		if state, err = m.merge(f, s); err != nil {
			m.fault(f, err, now)
			return
		}
	}
	if err := m.oversize(s, state); err != nil && !(f == m.root && m.def.part != "") { // a part's results are no state
		m.fault(f, err, now)
		return
	}
	r := undoRecord{Step: s.Name, Visit: k.Visit, Fork: &fork{
		Step: s.Name, Visit: k.Visit, Size: k.Size, Batched: k.Batched, Begun: k.Size, Undoing: true,
	}}
	undo := false
	for n, child := range f.kids {
		m.keepLast(child)
		if len(child.Undo) == 0 {
			r.Fork.Ended.add(n) // with nothing left
			m.drop(child)
			continue
		}
		undo, r.Order = true, max(r.Order, child.lastOrder())
		m.shelve(child)
	}
	m.detach(f)
	if undo {
		f.Undo = append(f.Undo, r)
	}
	changed := m.setState(f, state)
	if !k.Skipped {
		m.record(f, Event{Type: succeededTypes[s.Type], Step: s.Name})
	}
	m.record(f, Event{Type: exitedTypes[s.Type], Step: s.Name, changed: changed})
	m.leave(f, s.Next, now)
}

// merge makes a state of those of a fork's branches.
func (m *machine) merge(f *frame, s *State) (state []byte, err error) {
	k := f.Fork
	parts := make([]part, 0, max(k.Size, k.Batched))
	for _, child := range f.kids {
		if k.Batched == 0 {
			parts = append(parts, part{state: child.State, cause: child.Failed})
			continue
		}
		results, err := partResults(child.State)
		if err != nil {
			return nil, err
		}
		for _, r := range results {
			parts = append(parts, part{state: r.State, cause: r.Cause})
		}
	}
	if err := guard(func() (err error) { state, err = s.merge(f.State, parts); return err }); err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	return state, nil
}

// shelve puts a branch aside that has ended, with something to undo.
func (m *machine) shelve(f *frame) {
	if m.shelf == nil {
		m.shelf = make(map[string]*frame)
	}
	m.shelf[f.path] = f
}

// detach takes off a fork that is through.
func (m *machine) detach(f *frame) {
	if f.Fork.Batched > 0 && !f.Fork.Undoing {
		m.dropParts(f)
	} else if m.def.byName[f.Fork.Step].Type == TypeMap && f.Fork.Size > 0 && !f.Fork.Undoing {
		delete(m.puts, itemsField(f.path))
		m.dropField(itemsField(f.path))
	}
	f.Fork, f.kids, f.items = nil, nil, nil
	m.touch(f)
}

// oversize is the error of a state that a step must not set.
func (m *machine) oversize(s *State, state []byte) error {
	return checkState(s.Name, state, m.maxState)
}

// setState replaces the frame's state, and keeps the one before where the undo
// records that need it will find it. It reports whether they differ.
func (m *machine) setState(f *frame, state []byte) bool {
	if bytes.Equal(state, f.State) {
		return false
	}
	entry, nth := stateInMeta, 0
	if f.Changed {
		entry, nth = m.root.Entries, m.keep(f)
	}
	for i := len(f.Undo) - 1; i >= 0 && (f.Undo[i].Entry == stateInFrame || f.Undo[i].Fork != nil); i-- {
		if f.Undo[i].Fork == nil {
			f.Undo[i].Entry, f.Undo[i].Nth = entry, nth
		}
	}
	f.State, f.Changed = json.RawMessage(state), true
	m.touch(f)
	return true
}

// keep puts the frame's state into the history entry of the next commit, and
// tells at which place there.
func (m *machine) keep(f *frame) int {
	if m.replaced == nil {
		m.replaced = make(map[string][]json.RawMessage)
	}
	m.replaced[f.path] = append(m.replaced[f.path], f.State)
	return len(m.replaced[f.path]) - 1
}

// keepLast keeps the last state of a frame that is about to go, for the history.
func (m *machine) keepLast(f *frame) {
	if f != m.root && !f.kept && f.graph.start().part == nil {
		m.keep(f)
		f.kept = true
	}
}

// fault fails a step because a function of the definition does not work.
func (m *machine) fault(f *frame, err error, now time.Time) {
	name := errorName(err)
	if name == ErrorTaskFailed || name == ErrorTimeout {
		name = ErrorRuntime
	}
	m.failFor(f, &Cause{Kind: CauseFailed, Step: f.Step, Name: name, Error: errorText(err)}, isPermanent(err), now)
}

// guard calls code of the definition, and makes an error of a panic.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errors.Join(&PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	return f()
}
