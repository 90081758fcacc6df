package saga

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A lockNeed is a lock that a frame waits for.
type lockNeed struct {
	Resource string `json:"r"`
	Wait     int64  `json:"w,omitempty"` // at most, in milliseconds
}

// A heldLock is one that the execution holds or, without a fence, has asked for.
// It is on record before the store is asked, so that nobody holds a lock and does
// not know. Each is one request: the store knows it by that.
type heldLock struct {
	Resource string `json:"r"`
	Request  string `json:"q"`
	Fence    int64  `json:"f,omitempty"`
	Since    int64  `json:"t"` // when it was asked for, and then when it was granted
	// Broken says that an operator gave it to the next. What is done under it all
	// the same has a fence that is too low.
	Broken bool `json:"x,omitempty"`

	fresh bool // not committed yet
}

func (l *heldLock) granted() bool { return l.Fence > 0 && !l.Broken }

// mostLocks bounds the locks of an execution: all of them are in its root's
// frame.
const mostLocks = 100

// untold stands for the locks of a step whose keys are yet to be told.
var untold = []lockNeed{{}}

// locking reports whether the frame has come to its step, and waits for a lock
// before it begins. It is Pending then, until At; Until is the same while it is
// in the queue, and 0 while it pauses before it asks again, or is blocked.
func (f *frame) locking() bool { return len(f.Locks) > 0 }

// asks reports whether the frame waits in the queue of a lock.
func (f *frame) asks() bool { return f.locking() && f.Until > 0 && !f.Blocked }

// unbegun reports whether the frame has not begun its step for want of a lock, and
// does not ask for one now: it pauses, or is blocked.
func (f *frame) unbegun() bool { return f.locking() && !f.asks() }

// needs tells which locks a step takes, of the saga's own too where those are yet
// to be taken. It reports false where that has failed the step.
func (m *machine) needs(f *frame, now time.Time) bool {
	defs := m.step(f).Locks
	if f.First {
		defs = slices.Concat(m.def.locks, defs)
	}
	var needs []lockNeed
	for _, def := range defs {
		need, err := def.need(f.State)
		if err != nil {
			f.Pending, f.Locks, f.Until = false, untold, 0
			m.fault(f, err, now)
			return false
		}
		needs = append(needs, need)
	}
	// In one order, so that no two steps wait for each other. Of two waits for
	// one lock the longer counts.
	slices.SortFunc(needs, func(a, b lockNeed) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(b.Wait, a.Wait))
	})
	f.Locks = slices.CompactFunc(needs, func(a, b lockNeed) bool { return a.Resource == b.Resource })
	return true
}

// lock is the execution's lock on a resource.
func (m *machine) lock(resource string) *heldLock {
	for i := range m.root.Locked {
		if l := &m.root.Locked[i]; l.Resource == resource {
			return l
		}
	}
	return nil
}

// secure makes sure of the locks that a step needs, and reports whether it has
// them all. Those that it has not are asked for at once, in one commit; the
// frame waits for one after the other.
func (m *machine) secure(f *frame, now time.Time) bool {
	if f.Locks[0].Resource == "" && !m.needs(f, now) {
		return false
	}
	for f.locking() {
		if l := m.lock(f.Locks[0].Resource); l == nil || !l.granted() {
			break
		}
		f.Locks, f.Until = f.Locks[1:], 0
		m.touch(f)
	}
	if !f.locking() {
		f.Locks, f.First = nil, false
		return true
	}
	for _, need := range f.Locks {
		if !m.request(f, need.Resource, now) {
			return false
		}
	}
	if f.Until == 0 {
		f.Until = max(toMillis(now.Add(time.Duration(f.Locks[0].Wait)*time.Millisecond)), 1)
	}
	f.Pending, f.At = true, f.Until
	m.touch(f)
	return false
}

// request asks for a lock, unless that is done already. It reports false where
// that has failed the frame's step.
func (m *machine) request(f *frame, resource string, now time.Time) bool {
	l := m.lock(resource)
	switch {
	case l == nil && len(m.root.Locked) >= mostLocks:
		f.Pending, f.Until = false, 0
		m.fault(f, fmt.Errorf("lock %s is one too many: an execution has up to %d", resource, mostLocks), now)
		return false
	case l == nil:
		m.root.Locked = append(m.root.Locked, heldLock{Resource: resource})
		l = &m.root.Locked[len(m.root.Locked)-1]
	case !l.Broken:
		return true
	}
	*l = heldLock{Resource: resource, Request: newID(), Since: toMillis(now), fresh: true}
	m.touch(m.root)
	m.record(f, Event{Type: LockRequested, Step: f.Step, Lock: resource})
	return true
}

// lockTurn goes on with a frame that waits for a lock, and reports whether it
// did something.
func (m *machine) lockTurn(f *frame, s *State, now time.Time) bool {
	l := m.lock(f.Locks[0].Resource)
	switch due := !fromMillis(f.At).After(now); {
	case l != nil && l.granted():
	case due && f.Until > 0:
		m.lockExpired(f, s, now)
		return true
	case !due:
		return false
	}
	m.commence(f, s, now)
	return true
}

// lockExpired fails a step that has waited for a lock for too long.
func (m *machine) lockExpired(f *frame, s *State, now time.Time) {
	need := f.Locks[0]
	err := fmt.Errorf("lock %s was not to be had within %s", need.Resource, time.Duration(need.Wait)*time.Millisecond)
	m.record(f, Event{Type: LockTimedOut, Step: s.Name, Lock: need.Resource, Error: err.Error()})
	f.Pending, f.At, f.Until = false, 0, 0
	m.touch(f)
	if len(s.graphs()) == 0 { // else fail looks whether it is tried again
		if at, ok := m.retryAt(f, s, ErrorLock, false, now); ok {
			f.Pending, f.At = true, max(toMillis(at), 1)
			return
		}
	}
	m.fail(f, &Cause{Kind: CauseFailed, Step: s.Name, Name: ErrorLock, Error: err.Error()}, now)
}

// granted notes that the execution holds a lock. A request that it does not know
// is not needed any more: whoever granted it did not know that yet.
func (m *machine) granted(resource, request string, fence int64, now time.Time) {
	l := m.lock(resource)
	switch {
	case l == nil || l.Request != request:
		m.unlocks = append(m.unlocks, heldLock{Resource: resource, Request: request})
		m.dirty = true
	case l.Fence == 0:
		l.Fence, l.Since = fence, toMillis(now)
		m.record(m.root, Event{Type: LockAcquired, Lock: resource, Fence: fence})
	}
}

// refused notes that a request was released by somebody else, so that a lock that
// is waited for has to be asked for anew.
func (m *machine) refused(request string, now time.Time) {
	for i := range m.root.Locked {
		if l := &m.root.Locked[i]; l.Request == request && l.Fence == 0 {
			l.Request, l.Since, l.fresh = newID(), toMillis(now), true
			m.touch(m.root)
		}
	}
}

// broken notes that an operator has given a lock of the execution's to the next.
func (m *machine) broken(resource, request, by, note string, now time.Time) {
	event := Event{Type: LockBroken, Lock: resource, By: by, Note: note}
	for i := range m.unlocks { // it may be given back just now
		if l := &m.unlocks[i]; l.Request == request && !l.Broken {
			l.Broken, event.Fence = true, l.Fence
			m.record(m.root, event)
			return
		}
	}
	l := m.lock(resource)
	if l == nil || l.Request != request || l.Broken {
		return
	}
	event.Fence = l.Fence
	m.record(m.root, event)
	gone := *l
	gone.Broken = true
	m.unlocks = append(m.unlocks, gone)
	if l.Fence == 0 {
		m.refused(request, now)
		return
	}
	l.Broken = true
}

// forsake gives up the requests that no frame waits for any more.
func (m *machine) forsake() {
	if !slices.ContainsFunc(m.root.Locked, func(l heldLock) bool { return l.Fence == 0 }) {
		return
	}
	awaited := make(map[string]bool)
	m.each(func(f *frame) bool {
		for _, need := range f.Locks {
			awaited[need.Resource] = awaited[need.Resource] || f.asks()
		}
		return true
	})
	m.root.Locked = slices.DeleteFunc(m.root.Locked, func(l heldLock) bool {
		if l.Fence > 0 || awaited[l.Resource] {
			return false
		}
		m.unlocks = append(m.unlocks, l)
		m.touch(m.root)
		return true
	})
}

// free gives up all locks at the execution's end.
func (m *machine) free() {
	m.unlocks = append(m.unlocks, m.root.Locked...)
	m.root.Locked = nil
}

// asking are the requests that are on record, and that frames wait for now.
func (m *machine) asking() []*heldLock {
	if m.root.Suspended > 0 || !slices.ContainsFunc(m.root.Locked, func(l heldLock) bool { return l.Fence == 0 }) {
		return nil
	}
	first := make(map[string]bool)
	m.each(func(f *frame) bool {
		if f.asks() {
			first[f.Locks[0].Resource] = true
		}
		return true
	})
	var asking []*heldLock
	for i := range m.root.Locked {
		if l := &m.root.Locked[i]; l.Fence == 0 && first[l.Resource] {
			asking = append(asking, l)
		}
	}
	return asking
}

// fences are those of the locks that the execution holds, by resource.
func (m *machine) fences() map[string]int64 {
	var fences map[string]int64
	for _, l := range m.root.Locked {
		if l.Fence == 0 {
			continue
		}
		if fences == nil {
			fences = make(map[string]int64)
		}
		fences[l.Resource] = l.Fence
	}
	return fences
}
