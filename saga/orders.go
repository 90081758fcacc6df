package saga

import "time"

// cancel undoes the saga, unless it is past its pivot or being undone already.
// The root's own attempt must not be running.
func (m *machine) cancel(by, note string, now time.Time) {
	now = m.clock(now)
	refuse := func(why string) {
		m.record(m.root, Event{Type: CancelRefused, By: by, Note: note, Error: why})
	}
	why := &Cause{Kind: CauseCancelled, By: by, Note: note}
	switch {
	case m.reverting() || m.status().Ended():
		refuse("it is being undone, or has ended, already")
	case m.root.Pivoted && m.def.yields(""):
		m.abort(why, now) // its saga has no use for it any more
	case m.root.Pivoted:
		refuse("it is past its point of no return")
	case m.passOn(why):
		m.record(m.root, Event{Type: ExecutionAborted, Step: m.root.Step, By: by, Note: note})
	case m.bound():
		refuse("it may be past its point of no return")
	case m.root.Cancel != nil:
		refuse("a cancel waits for the answer of its pivot already")
	case m.crossing():
		m.root.Cancel = why
		m.touch(m.root)
	default:
		m.abort(why, now)
	}
}

func (m *machine) abort(why *Cause, now time.Time) {
	m.record(m.root, Event{Type: ExecutionAborted, Step: m.root.Step, By: why.By, Note: why.Note})
	m.open(m.root, &scope{Cause: why}, now)
}

// crossed decides on a cancel that waited for the answer of a pivot, and reports
// whether the saga is undone.
func (m *machine) crossed(now time.Time) bool {
	order := m.root.Cancel
	if order == nil {
		return false
	}
	m.root.Cancel = nil
	if m.bound() {
		m.cancel(order.By, order.Note, now) // which is refused
		return false
	}
	m.abort(order, now)
	return true
}

// retry gives what is blocked, or waits for its next attempt, a fresh budget of
// tries and dispatches it at once.
func (m *machine) retry(by, note string, now time.Time) {
	now = m.clock(now)
	var frames []*frame
	for _, f := range m.live() {
		waits := f.Attempt > 0 && !f.running && !f.Pending && !f.Waiting && (f.Fork == nil || f.Undoing) && f.At > now.UnixMilli()
		if f.Blocked || waits || f.unbegun() {
			frames = append(frames, f)
		}
	}
	if len(frames) == 0 {
		m.record(m.root, Event{Type: RetryRefused, By: by, Note: note, Error: "it neither is blocked nor waits for an attempt"})
		return
	}
	for _, f := range frames {
		if f.Step == "" {
			continue // it was stopped: what another one came to has failed the saga
		}
		if !f.Blocked && !f.unbegun() {
			f.Attempt-- // the one that waits becomes the one at once
		}
		if s := m.step(f); f.Blocked && s.calls() && !f.Undoing && !f.Waiting && !f.Unknown {
			m.revisit(f, true) // the child, or the part, has undone itself and ended: it takes another
		}
		m.unblock(f)
		f.Tries, f.TriesOn, f.Lost = 0, nil, 0
		m.record(f, Event{Type: ExecutionRedriven, Step: f.Step, By: by, Note: note})
		m.takeUp(f, now)
	}
}

// takeUp lets a frame go on with its step, or the compensation of it. What is no
// task has no attempts: it is entered again, as if the frame had just come to it.
func (m *machine) takeUp(f *frame, now time.Time) {
	waits := f.At > f.Entered
	f.Entered = now.UnixMilli()
	switch s := m.step(f); {
	case f.locking(): // it asks anew
		f.Pending, f.At, f.Until = true, toMillis(now), 0
	case f.Waiting: // and still does
	case f.Undoing:
		m.dispatch(f, latest(now, fromMillis(f.Undo[len(f.Undo)-1].NotUntil)))
	case f.Pending, f.Fork != nil: // it is entered, or joined, by the next turn
		f.At = toMillis(now)
	case s.Type == TypeTask && s.Signal == "":
		m.dispatch(f, now)
	case s.Type == TypeWait && waits: // it has its time
	default:
		m.enter(f, s, now)
	}
}

// terminate ends the execution where it stands, and undoes nothing.
func (m *machine) terminate(by, note string) {
	if m.status().Ended() {
		m.refuse(by, note, "it has ended already")
		return
	}
	m.record(m.root, Event{Type: ExecutionTerminated, Step: m.root.Step, By: by, Note: note})
	m.root.Ended = &Cause{Kind: CauseTerminated, Step: m.root.Step, By: by, Note: note}
	m.report()
	if m.root.Children {
		m.root.Settling = true // its children are told first
		return
	}
	m.wipe()
}

// cutOff takes handlers off that are at work: whatever they say is not heard.
func (m *machine) cutOff() {
	m.each(func(f *frame) bool {
		if f.running {
			what := "its handler"
			if f.Undoing {
				what = "its compensation"
			}
			m.record(f, Event{
				Type: TaskAborted, Step: f.Step, Attempt: f.Attempt, Outcome: Unknown, Error: what + " was at work, and is not heard any more",
			})
			f.running = false
		}
		return true
	})
}

// wipe drops all that an ended execution does not need.
func (m *machine) wipe() {
	root := m.root
	*root = frame{
		State: root.State, Changed: root.Changed, Entries: root.Entries, Orders: root.Orders, Pivoted: root.Pivoted,
		Ended: root.Ended, Locked: root.Locked, Spent: root.Spent, graph: root.graph, kids: root.kids, dirty: true,
	}
	for _, kid := range root.kids {
		if kid != nil {
			m.drop(kid)
		}
	}
	root.kids = nil
	m.clear()
}

// suspend stops the execution and its clocks: what is at work is awaited and
// counts, and nothing begins.
func (m *machine) suspend(by, note string, now time.Time) {
	if m.root.Suspended > 0 || m.status().Ended() {
		m.refuse(by, note, "it is suspended, or has ended, already")
		return
	}
	m.root.Suspended = toMillis(now)
	m.root.Halts++
	m.record(m.root, Event{Type: ExecutionSuspended, Step: m.root.Step, By: by, Note: note})
	m.relay(mailSuspend, note)
}

// relay passes an order on to the children that are waited for: they stop with
// their parent, and go on with it.
func (m *machine) relay(kind, note string) {
	for _, f := range m.live() {
		if !f.Calls {
			continue
		}
		visit := f.visit(f.Step)
		if f.Undoing {
			visit = f.Undo[len(f.Undo)-1].Visit
		}
		m.tell(f, kind, m.step(f), visit, nil, note)
	}
}

// heed takes what a parent passes on. A child that somebody has suspended by
// itself stays so when its parent goes on.
func (m *machine) heed(kind, by, note string, now time.Time) {
	switch {
	case kind == mailSuspend && m.root.Suspended == 0 && !m.status().Ended():
		m.suspend(by, note, now)
		m.root.Halted = true
	case kind == mailResume && m.root.Halted:
		m.goOn(by, note, now)
	}
}

// goOn lets a suspended execution go on; what was to come by a time comes as
// much later as it was suspended.
func (m *machine) goOn(by, note string, now time.Time) {
	if m.root.Suspended == 0 {
		m.refuse(by, note, "it is not suspended")
		return
	}
	m.record(m.root, Event{Type: ExecutionResumed, Step: m.root.Step, By: by, Note: note})
	m.unsuspend(note, now)
}

// unsuspend lets the execution's clocks go on.
func (m *machine) unsuspend(note string, now time.Time) {
	since := m.root.Suspended
	shift := max(toMillis(now)-since, 0)
	m.root.Suspended, m.root.Still, m.root.Halted = 0, false, false
	m.root.Shift += shift
	m.each(func(f *frame) bool {
		if f.Step == "" {
			return true
		}
		for _, t := range []*int64{&f.At, &f.Until} {
			if *t > since {
				*t += shift
			}
		}
		if f.Entered > 0 {
			f.Entered += shift
		}
		m.touch(f)
		return true
	})
	m.relay(mailResume, note)
	for _, f := range m.live() {
		if s := m.step(f); s != nil && f.Waiting && s.Signal != "" && !m.stopping(f) {
			m.takeKept(f, s, now)
		}
	}
}

// unhalt ends the suspension of an execution that has come to its end, by what was
// at work: its parent, which hears of that, does not tell it any more to go on.
func (m *machine) unhalt() {
	if q := m.root.Quarantine; q != nil { // which an operator has to end
		q.Suspended = false
	} else {
		m.root.Suspended, m.root.Still = 0, false
	}
	m.root.Halted = false
}

func (m *machine) refuse(by, note, why string) {
	m.record(m.root, Event{Type: OrderRefused, By: by, Note: note, Error: why})
}
