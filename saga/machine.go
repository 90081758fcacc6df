package saga

import (
	"encoding/json"
	"time"
)

// A machine is one execution's state machine: its frames, the definition that it
// runs through, and what has happened since the last commit. It does no I/O and
// knows the time only as it is told, so that every transition can be tested by
// itself.
//
// Its methods change frames and collect events; the actor commits them together,
// and runs what todo tells it only after that.
type machine struct {
	def   *Definition
	root  *frame
	epoch int64         // of this opening
	start time.Time     // of the execution
	lease time.Duration // how long a lost worker's handler may still be at work
	// maxLost is how many attempts in a row may be lost with their workers.
	maxLost int
	child   bool // it has a parent
	// maxState bounds a state that a step sets, in bytes; 0 does not.
	maxState int

	shelf map[string]*frame // branches that have ended, with something to undo, by path
	wants map[string]bool   // fields of the record that advance waits for

	// folded says that frames which wait are not loaded. Nothing is due in them
	// before rest; if that is zero, ever. overdue says that it is then that somebody
	// outside is to have answered. short is set where all frames are needed.
	folded  bool
	rest    time.Time
	overdue bool
	short   bool
	scopes  []*frame // those that were opened above folded frames since

	lone [1]*frame // for live

	// To be committed:
	events   []Event
	replaced map[string][]json.RawMessage // states, by path, if they are to be kept
	commands []*command
	orders   []childOrder
	unlocks  []heldLock        // to be released
	puts     map[string][]byte // fields other than frames
	drops    map[string]bool   // fields
	purge    bool              // drop all fields of frames but the root's
	dirty    bool
	hops     int
}

func newMachine(def *Definition, root *frame) *machine {
	root.graph = def.root
	return &machine{def: def, root: root}
}

// begin makes the frame of a new execution, whose first step is dispatched to
// its first opening. Times of zero stand for the execution's start, which the
// store knows. Code of the definition does not run in the process that starts:
// a first step that is no task, or takes locks, is entered by the first opening.
func begin(def *Definition, input []byte) *machine {
	m := newMachine(def, &frame{State: input, Entries: 1, First: len(def.locks) > 0})
	m.record(m.root, Event{Type: ExecutionStarted})
	first := def.root.start()
	if first.Type == TypeTask && first.Signal == "" && len(first.Locks) == 0 && !m.root.First { // a wait's time begins with the opening
		m.enter(m.root, first, time.Time{})
	} else {
		m.root.Step, m.root.Pending = first.Name, true
	}
	return m
}

// resume takes up an execution as an opening found it.
func resume(def *Definition, root *frame, epoch int64, start time.Time, lease time.Duration, maxLost int) *machine {
	if root.Entered == 0 {
		root.Entered = toMillis(start)
	}
	if root.At == 0 && !root.Waiting {
		root.At = toMillis(start)
	}
	m := newMachine(def, root)
	m.epoch, m.start, m.lease, m.maxLost = epoch, start, lease, maxLost
	return m
}

// committed forgets what a commit has written.
func (m *machine) committed() {
	clear(m.events) // their memory is for those to come
	m.events = m.events[:0]
	clear(m.replaced)
	m.commands, m.orders, m.unlocks, m.puts, m.drops, m.purge, m.dirty, m.hops = nil, nil, nil, nil, nil, false, false, 0
	m.each(func(f *frame) bool { f.dirty = false; return true })
	for _, f := range m.shelf {
		f.dirty = false
	}
	for i := range m.root.Locked {
		m.root.Locked[i].fresh = false
	}
}

// clock is the time that the execution goes by: it stands still while the
// execution is suspended.
func (m *machine) clock(now time.Time) time.Time {
	if m.root.Suspended > 0 {
		return fromMillis(m.root.Suspended)
	}
	return now
}

// due returns the saga's own deadline, or zero.
func (m *machine) due() time.Time {
	if m.def.timeout == 0 || m.reverting() || m.root.Overdue {
		return time.Time{}
	}
	return m.start.Add(m.def.timeout + time.Duration(m.root.Shift)*time.Millisecond)
}

// reverting reports whether the execution as a whole is being undone, or was.
func (m *machine) reverting() bool { return m.root.Scope != nil && m.root.Scope.Then == "" }

// bound reports whether the point of no return is passed, or may be.
func (m *machine) bound() bool {
	s := m.step(m.root)
	return m.root.Pivoted || s != nil && s.Pivot && m.root.Unknown
}

func (m *machine) record(f *frame, e Event) {
	e.Frame = f.path
	if m.events == nil {
		m.events = make([]Event, 0, 4) // what mostly comes with one commit
	}
	m.events = append(m.events, e)
	m.touch(f)
}

func (m *machine) touch(f *frame) {
	f.dirty, m.dirty = true, true
}

func (m *machine) step(f *frame) *State { return m.def.byName[f.Step] }

// live are the frames that have not ended: a frame before those below it, and
// those in their order.
func (m *machine) live() []*frame {
	if len(m.root.kids) == 0 && m.root.Step != "" { // as mostly
		m.lone[0] = m.root
		return m.lone[:]
	}
	var live []*frame
	m.each(func(f *frame) bool {
		if f.Step != "" {
			live = append(live, f)
		}
		return true
	})
	return live
}

// each calls yield for all frames that are loaded, until it returns false.
func (m *machine) each(yield func(*frame) bool) { m.root.each(yield) }

func (f *frame) each(yield func(*frame) bool) bool {
	if !yield(f) {
		return false
	}
	for _, kid := range f.kids {
		if kid != nil && !kid.each(yield) {
			return false
		}
	}
	return true
}

// status is the execution's status as the frames have it.
func (m *machine) status() Status {
	if m.root.Quarantine != nil && m.root.Ended == nil {
		return Quarantined
	}
	return m.standing()
}

// standing is the status but for a quarantine.
func (m *machine) standing() Status {
	switch {
	case m.root.Ended != nil:
		return Terminated
	case m.root.Trouble != nil:
		return Blocked
	case m.root.Step != "" || m.root.Fork != nil:
		return Running
	case m.reverting():
		return Compensated
	}
	return Completed
}

// A job is an attempt that is to be run.
type job struct {
	f    *frame
	undo bool
}

// todo tells what is to be run now, and when next there is something to do; zero
// is never.
func (m *machine) todo(now time.Time) (jobs []job, wake time.Time) {
	soonest := func(t time.Time) {
		if !t.IsZero() && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	if m.root.Suspended > 0 || m.root.Held {
		return nil, time.Time{}
	}
	if m.folded {
		soonest(m.rest)
	}
	if !m.busy() && !m.root.Blocked { // as deadline does
		soonest(m.due())
	}
	for _, f := range m.live() {
		soonest(m.closes(f))
		at, run := m.dueIn(f, now)
		soonest(at)
		if run {
			jobs = append(jobs, job{f, f.Undoing})
		}
	}
	return jobs, wake
}

// dueIn is when there is something to do for the step of a frame, but for when that
// closes, or whether its attempt is to be run now.
func (m *machine) dueIn(f *frame, now time.Time) (at time.Time, run bool) {
	if f.running || f.Blocked || !f.Undoing && !f.Pending && (f.Fork != nil || m.stopping(f) && !m.awaited(f)) {
		return time.Time{}, false
	}
	at = fromMillis(f.At)
	switch {
	case at.After(now):
		return at, false
	case f.Waiting && f.At == 0: // for as long as it takes
		return time.Time{}, false
	case f.Waiting, f.Pending || !f.Undoing && m.step(f).Type != TypeTask:
		return now, false // advance has it
	}
	return time.Time{}, true
}

// busy reports whether the saga's own deadline waits for an answer: the attempt
// that is under way ends by that time, or is a pivot's that somebody else does,
// and may have gone past the point of no return.
func (m *machine) busy() bool { return (m.root.running || m.crossing()) && !m.bound() }

// crossing reports whether somebody else does the pivot, and has not answered. A
// child decides by itself, see passOn.
func (m *machine) crossing() bool {
	s := m.step(m.root)
	return s != nil && s.Pivot && m.root.Waiting && !s.calls()
}

// idle reports whether nothing is at work.
func (m *machine) idle() bool {
	return m.root.each(func(f *frame) bool { return !f.running })
}

// advance does what needs no handler: it enters what is due, ends waits, merges
// branches, and turns to the next compensation. It reports false where it must
// have fields of the record first; they are in m.wants, and supply takes them.
func (m *machine) advance(now time.Time) bool {
	if m.root.Suspended == 0 && m.root.Ended == nil {
		m.deadline(now)
		for m.turn(now) {
		}
	}
	if m.root.Settling && !m.lacking() {
		m.dismiss()
	}
	if m.lacking() {
		return false
	}
	if m.status().Ended() && !m.root.Held {
		m.free()
	} else {
		m.forsake()
	}
	return true
}

// turn does one thing, and reports whether it did.
func (m *machine) turn(now time.Time) bool {
	if m.lacking() {
		return false
	}
	for _, f := range m.live() {
		if m.awaited(f) && f.At > 0 && !fromMillis(f.At).After(now) {
			m.expire(f, m.step(f), now)
			return true
		}
		if m.stopLate(f, now) {
			return true
		}
		if m.stopping(f) && f.Scope == nil {
			continue
		}
		switch s := m.step(f); {
		case f.Scope != nil:
			if m.unwind(f, now) {
				return true
			}
		case f.locking() && !f.Blocked:
			if m.lockTurn(f, s, now) {
				return true
			}
		case f.Blocked || f.running || fromMillis(f.At).After(now):
		case f.Waiting:
			if f.At > 0 {
				m.expire(f, s, now)
				return true
			}
		case f.Pending:
			m.enter(f, s, now)
			return true
		case f.Fork != nil:
			if m.tend(f, s, now) {
				return true
			}
		case s.Type == TypeWait:
			m.record(f, Event{Type: WaitStateExited, Step: s.Name})
			m.leave(f, s.Next, now)
			return true
		case m.missed(f, s, now):
			return true
		}
	}
	return false
}

// awaited reports whether the frame waits for a participant's reply, which may be
// under way.
func (m *machine) awaited(f *frame) bool {
	return f.Waiting && m.step(f).remote(f.Undoing)
}

// stopping reports whether something above the frame, or the frame itself, is
// being undone, so that it begins nothing more.
func (m *machine) stopping(f *frame) bool {
	for ; f != nil; f = f.parent {
		if f.Scope != nil {
			return true
		}
	}
	return false
}
