package saga

import (
	"fmt"
	"slices"
)

// A fitting tries an execution on a graph: its history, and then its frames.
type fitting struct {
	*replay
	codec Codec
	root  *frame
	// load reads fields of the execution's record.
	load func(names []string) (map[string][]byte, error)
	// records counts what the frames are to undo, by path, and at tells the
	// frames that are at work on an action.
	records map[string]map[debt]int
	at      map[string]bool
}

// check checks the frames, after the history has been followed.
func (t *fitting) check() (*Misfit, error) {
	t.records, t.at = make(map[string]map[debt]int), make(map[string]bool)
	t.root.graph = t.def.root
	for _, check := range []func() *Misfit{t.pivot, t.signals, t.locks} {
		if misfit := check(); misfit != nil {
			return misfit, nil
		}
	}
	misfit, err := t.frame(t.root)
	if misfit != nil || err != nil {
		return misfit, err
	}
	return t.debts(), nil
}

// pivot compares the points of no return.
func (t *fitting) pivot() *Misfit {
	switch p := t.def.pivot(); {
	case t.def.part != "": // its saga's counts
	case !t.root.Pivoted && t.pivoted:
		return &Misfit{Step: p.Name, Problem: "it is the graph's point of no return, and was no such when the execution passed it"}
	case t.root.Pivoted && p == nil:
		return &Misfit{Problem: "the execution is past its point of no return, and the graph has none"}
	case t.root.Pivoted && !t.pivoted:
		return &Misfit{Step: p.Name, Problem: "it is the graph's point of no return: the execution is past its own, and not past this one"}
	}
	return nil
}

// signals checks that somebody takes those that wait.
func (t *fitting) signals() *Misfit {
	for _, sig := range t.root.Signals {
		if !t.def.receives(sig.Name) && t.old.receives(sig.Name) {
			return &Misfit{Problem: fmt.Sprintf("the signal %s has come, and no step of the graph waits for it", sig.Name)}
		}
	}
	return nil
}

// locks checks that the saga's own locks are those that it began with.
func (t *fitting) locks() *Misfit {
	if name := added(t.old.locks, t.def.locks); name != "" {
		return &Misfit{Problem: fmt.Sprintf("the graph takes the lock %s before its first step, and the execution has begun without it", name)}
	}
	return nil
}

// added is the name of a lock that is not among those there were; empty: all are.
func added(were, are []LockDef) string {
	for _, l := range are {
		if !slices.ContainsFunc(were, func(old LockDef) bool { return old.Name == l.Name }) {
			return l.Name
		}
	}
	return ""
}

// unlocked is the name of a lock that a step takes in the graph, and did not take
// in what the execution runs on.
func (t *fitting) unlocked(step string) string {
	old, s := t.old.byName[step], t.def.byName[step]
	if old == nil || s == nil {
		return ""
	}
	return added(old.Locks, s.Locks)
}

func (d *Definition) receives(signal string) bool {
	for _, s := range d.byName {
		if s.Signal == signal {
			return true
		}
	}
	return false
}

// debts checks that all that is done, and that the graph would undo, is on
// record. After the point of no return nothing is.
func (t *fitting) debts() *Misfit {
	if t.root.Pivoted {
		return nil
	}
	for _, path := range sortedKeys(t.tracks) {
		track := t.tracks[path]
		if !t.at[path] {
			t.giveUp(track)
		}
		for d, owed := range track.owed {
			if t.counts(d) && owed > t.records[path][d] {
				return &Misfit{Frame: path, Step: d.step,
					Problem: fmt.Sprintf("its outcome is %q, and the graph would undo it: the execution has no record of that", d.outcome)}
			}
		}
	}
	return nil
}

// frame checks a frame, and those below it.
func (t *fitting) frame(f *frame) (*Misfit, error) {
	for _, check := range []func(*frame) *Misfit{t.undoes, t.stands, t.holds, t.works, t.visits} {
		if misfit := check(f); misfit != nil {
			misfit.Frame = f.path
			return misfit, nil
		}
	}
	if err := f.check(t.def); err != nil { // whatever else an opening refuses
		return &Misfit{Frame: f.path, Step: f.Step, Problem: err.Error()}, nil
	}
	if misfit, err := t.below(f, f.Fork); misfit != nil || err != nil {
		return misfit, err
	}
	for _, r := range f.Undo {
		if misfit, err := t.below(f, r.Fork); misfit != nil || err != nil {
			return misfit, err
		}
	}
	return nil, nil
}

// below checks the frames of a fork, as far as they are there.
func (t *fitting) below(f *frame, k *fork) (*Misfit, error) {
	if k == nil {
		return nil, nil
	}
	s := t.def.byName[k.Step]
	var numbers []int
	for n := range k.Begun {
		if !k.Undoing || !k.Ended.has(n) {
			numbers = append(numbers, n)
		}
	}
	for some := range slices.Chunk(numbers, 100) {
		names := make([]string, len(some))
		for i, n := range some {
			names[i] = frameField(f.below(k, n))
		}
		fields, err := t.load(names)
		if err != nil {
			return nil, err
		}
		for i, n := range some {
			stored, ok := fields[names[i]]
			if !ok {
				continue // it is through by now
			}
			kid := &frame{path: f.below(k, n), graph: k.graph(s, n), parent: f}
			if err := decodeJSON(t.codec, stored, kid); err != nil {
				return &Misfit{Frame: kid.path, Problem: fmt.Sprintf("it cannot be read: %v", err)}, nil
			}
			if k.Ended.has(n) && kid.Failed == nil {
				if misfit := t.ended(kid, s); misfit != nil {
					return misfit, nil
				}
			}
			if misfit, err := t.frame(kid); misfit != nil || err != nil {
				return misfit, err
			}
		}
	}
	return nil, nil
}

// ended checks that a branch or an item that waits for the others has come to an
// end of the graph's.
func (t *fitting) ended(f *frame, s *State) *Misfit {
	track := t.tracks[f.path]
	if track == nil {
		return nil
	}
	misfit := track.ends(track.branch(s.Name))
	if misfit != nil {
		misfit.Frame = f.path
	}
	return misfit
}

// here finds a step in the frame's graph, or tells why it is not there.
func (t *fitting) here(f *frame, step string) (s *State, why string) {
	switch s = t.def.byName[step]; {
	case s == nil:
		return nil, "the graph has no such step"
	case s.graph != f.graph:
		return nil, "it stands elsewhere in the graph: " + s.graph.place(t.def)
	}
	return s, ""
}

// undoes checks what the frame is to undo.
func (t *fitting) undoes(f *frame) *Misfit {
	counts := make(map[debt]int)
	for _, r := range f.Undo {
		s, why := t.here(f, r.Step)
		switch {
		case why != "":
		case r.Fork != nil && r.Fork.fits(s) != "":
			why = r.Fork.fits(s)
		case t.unlocked(r.Step) != "":
			why = fmt.Sprintf("it was done without the lock %s, which it takes in the graph", t.unlocked(r.Step))
		case r.Fork != nil:
		case !s.compensable():
			why = "the graph does not undo it"
		case t.old.byName[r.Step].callee() != s.callee():
			why = fmt.Sprintf("it was done by %s, and is by %s in the graph", t.old.byName[r.Step].worker(false), s.worker(false))
		default:
			counts[debt{r.Step, r.outcome()}]++
		}
		if why != "" {
			return &Misfit{Step: r.Step, Problem: "the execution is to undo it, if it fails: " + why}
		}
	}
	t.records[f.path], t.at[f.path] = counts, f.Step != "" && !f.Undoing && (f.Scope == nil || f.Attempt > 0)
	return nil
}

// fits tells why the branches of a fork are not a state's.
func (k *fork) fits(s *State) string {
	switch {
	case len(s.graphs()) == 0, k.Batched > 0 && s.batch == nil:
		return fmt.Sprintf("it has branches or items, and is a %s in the graph", s.Type)
	case s.Type == TypeParallel && k.Size != len(s.Branches):
		return fmt.Sprintf("the number of its branches is %d, and %d in the graph", k.Size, len(s.Branches))
	}
	return ""
}

// stands checks where the frame stands, and where it goes from there.
func (t *fitting) stands(f *frame) *Misfit {
	track := t.tracks[f.path]
	if track == nil { // nothing was entered yet
		track = newTrack(f.path, f.graph)
	}
	if f.Fork != nil {
		s, why := t.here(f, f.Fork.Step)
		if why == "" {
			why = f.Fork.fits(s)
		}
		if why != "" {
			return &Misfit{Step: f.Fork.Step, Problem: "it is under way: " + why}
		}
	}
	if f.Held { // which has ended
		if misfit := track.ends("the execution"); misfit != nil {
			return misfit
		}
	}
	if f.Step != "" {
		_, why := t.here(f, f.Step)
		if why == "" && f.Pending && !f.locking() {
			why = track.may(t.def, f.Step)
		}
		if why != "" {
			return &Misfit{Step: f.Step, Problem: "the execution stands at it: " + why}
		}
	}
	if sc := f.Scope; sc != nil && sc.Then != "" && sc.Again == 0 && track.at != nil && !track.at.leadsTo(sc.Then) {
		return &Misfit{Step: track.at.Name,
			Problem: fmt.Sprintf("the execution is on its way to %s, which catches its error; in the graph %s", sc.Then, track.at.catches())}
	}
	return nil
}

// holds checks that a step that has told its locks takes no others in the graph.
func (t *fitting) holds(f *frame) *Misfit {
	step := f.Step
	if f.Fork != nil {
		step = f.Fork.Step
	}
	if f.Pending && (!f.locking() || f.Locks[0].Resource == "") { // it is yet to tell them
		return nil
	}
	if name := t.unlocked(step); name != "" {
		return &Misfit{Step: step, Problem: fmt.Sprintf("it was begun without the lock %s, which it takes in the graph", name)}
	}
	return nil
}

// works checks that whoever is at work on the frame's step is who would be by
// the graph.
func (t *fitting) works(f *frame) *Misfit {
	s := t.def.byName[f.Step]
	if s == nil || s.Type != TypeTask || f.Pending || f.Fork != nil || f.Attempt == 0 && !f.Waiting {
		return nil
	}
	if s.Signal != "" && !f.Waiting {
		return &Misfit{Step: s.Name, Problem: "an attempt of it is under way, and in the graph it waits for a signal"}
	}
	if t.old.byName[s.Name] == nil {
		return nil
	}
	old := t.old.byName[s.Name]
	switch was, is := old.worker(f.Undoing), s.worker(f.Undoing); {
	case was != is && f.Undoing:
		return &Misfit{Step: s.Name, Problem: fmt.Sprintf("it is being undone by %s, and by %s in the graph", was, is)}
	case was != is:
		return &Misfit{Step: s.Name, Problem: fmt.Sprintf("it is the business of %s, and of %s in the graph", was, is)}
	case !f.Undoing && old.compensable() && !s.compensable() && !s.Pivot:
		return &Misfit{Step: s.Name, Problem: "an attempt of it is under way, which may have to be undone: the graph does not undo it"}
	}
	return nil
}

// worker tells who does a step, or undoes it.
func (s *State) worker(undo bool) string {
	switch {
	case s.calls():
		return "an execution of " + s.callee()
	case s.remote(undo):
		return "the participant at " + s.Remote
	case undo:
		return "code"
	case s.Signal != "":
		return "who sends the signal " + s.Signal
	case s.Callback:
		return "who has a task token"
	}
	return "code"
}

// callee names what the execution does that a step calls; empty: it calls none.
func (s *State) callee() string {
	switch {
	case s == nil:
		return ""
	case s.part != nil:
		return "a part of " + s.part.Name
	}
	return s.Child
}

// visits checks that what may be entered again has been counted, or its second
// visit would have the keys of the first.
func (t *fitting) visits(f *frame) *Misfit {
	track := t.tracks[f.path]
	if track == nil {
		return nil
	}
	ahead := t.ahead(f)
	for _, s := range f.graph.States {
		if n := track.entered[s.Name]; n > f.Visits[s.Name] && f.graph.loops[s.Name] && ahead[s.Name] && s.keyed() {
			return &Misfit{Step: s.Name,
				Problem: "it may be entered again in the graph, and the execution has not counted that it was before: both would have the same idempotency key"}
		}
	}
	return nil
}

// keyed reports whether visits of the state are told apart by keys.
func (s *State) keyed() bool { return s.Type == TypeTask && s.Signal == "" || len(s.graphs()) > 0 }

// ahead are the steps of the frame's graph that may still be entered.
func (t *fitting) ahead(f *frame) map[string]bool {
	states := make(map[string]*State)
	for _, s := range f.graph.States {
		states[s.Name] = s
	}
	for g := f; g != nil; g = g.parent {
		if g.Scope != nil && (g != f || g.Scope.Then == "") {
			return nil // it is being undone
		}
	}
	from := []string{f.Step}
	switch s := states[f.Step]; {
	case f.Scope != nil:
		from = []string{f.Scope.Then}
	case s != nil && (!f.Pending || f.locking()):
		from = s.ways()
	}
	all := make(map[string]bool)
	for _, name := range from {
		for after := range reach(states, name) {
			all[after] = true
		}
	}
	return all
}
