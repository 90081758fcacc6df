package saga

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A replay follows an execution's history along a graph that may be another one
// than the execution runs on.
type replay struct {
	def    *Definition
	old    *Definition       // what the execution runs on
	tracks map[string]*track // by the frames' paths
	events int
	// pivoted is set once the graph's point of no return was left.
	pivoted bool
}

// A track is the way of one frame.
type track struct {
	path    string
	graph   *Graph
	at      *State // entered last
	left    bool   // and left since
	caught  string // where its error was caught
	entered map[string]int
	// owed counts what the graph would undo, and undoing is the outcome of what
	// is being undone.
	owed    map[debt]int
	undoing Outcome
	// unsure is set while an attempt of the present step has ended unknown, and
	// none was done; open while one has not ended.
	unsure, open bool
}

// A debt is a step that was done, or may have been, and is not undone.
type debt struct {
	step    string
	outcome Outcome
}

func newReplay(def, old *Definition) *replay {
	return &replay{def: def, old: old, tracks: make(map[string]*track)}
}

// misfit is one that the last event shows.
func (r *replay) misfit(e Event, format string, args ...any) *Misfit {
	return &Misfit{Frame: e.Frame, Step: e.Step, Event: r.events, Problem: fmt.Sprintf(format, args...)}
}

// follow takes the next event of the history.
func (r *replay) follow(e Event) *Misfit {
	r.events++
	if e.Step == "" {
		return nil // it is about the execution
	}
	t, misfit := r.track(e)
	if misfit != nil {
		return misfit
	}
	switch e.Type {
	case TaskScheduled:
		t.open = true
	case TaskFailed, TaskTimedOut, TaskSubmitted:
		t.open = false
		t.unsure = t.unsure || e.Outcome == Unknown || e.Type == TaskSubmitted
	case TaskSkipped:
		t.open, t.unsure = false, false
	case TaskSucceeded:
		t.open, t.unsure = false, false
		t.owed[debt{e.Step, Done}]++
	case TaskHeardLate:
		r.heardLate(t, e)
	case CompensationEntered:
		t.undoing = e.Outcome
	case CompensationDone, CompensationSkipped:
		t.owed[debt{e.Step, t.undoing}]--
	case ErrorCaught:
		t.caught = e.Next
	case ParallelStateSucceeded:
		return r.branchesEnded(t, e)
	case MapIterationSucceeded:
		return r.ended(t, e.Step)
	default:
		if kind, ok := strings.CutSuffix(string(e.Type), "StateEntered"); ok {
			return r.enter(t, e, StateType(kind))
		}
		if strings.HasSuffix(string(e.Type), "StateExited") {
			r.leave(t, e)
		}
	}
	return nil
}

// track is the way of the event's frame.
func (r *replay) track(e Event) (*track, *Misfit) {
	if t := r.tracks[e.Frame]; t != nil {
		return t, nil
	}
	g, why := r.def.graphAt(e.Frame, strings.HasSuffix(e.Step, partSuffix))
	if why != "" {
		return nil, r.misfit(e, "%s", why)
	}
	t := newTrack(e.Frame, g)
	r.tracks[e.Frame] = t
	return t, nil
}

func newTrack(path string, g *Graph) *track {
	return &track{path: path, graph: g, entered: make(map[string]int), owed: make(map[debt]int)}
}

func (r *replay) enter(t *track, e Event, kind StateType) *Misfit {
	if why := t.may(r.def, e.Step); why != "" {
		return r.misfit(e, "%s", why)
	}
	s := r.def.byName[e.Step]
	if s.Type != kind {
		return r.misfit(e, "it was a %s, and is a %s in the graph", kind, s.Type)
	}
	r.giveUp(t)
	t.at, t.left, t.caught = s, false, ""
	t.entered[s.Name]++
	return nil
}

// giveUp takes the frame off its step. What is not known to be done or not is to
// be undone.
func (r *replay) giveUp(t *track) {
	if t.unsure || t.open {
		t.owed[debt{t.at.Name, Unknown}]++
	}
	t.open, t.unsure = false, false
}

// heardLate takes back that the outcome of a step was unknown.
func (r *replay) heardLate(t *track, e Event) {
	if t.at != nil && t.at.Name == e.Step && t.unsure {
		if e.Outcome == NotDone {
			t.unsure = false
			return
		}
		r.giveUp(t)
	}
	t.owed[debt{e.Step, Unknown}]--
	if e.Outcome == Done {
		t.owed[debt{e.Step, Done}]++
	}
}

// may tells why a step cannot be entered now; empty: it can.
func (t *track) may(def *Definition, step string) string {
	s := def.byName[step]
	switch {
	case s == nil:
		return "the graph has no such step"
	case s.graph != t.graph:
		return "it stands elsewhere in the graph: " + s.graph.place(def)
	case t.at == nil && s != t.graph.start():
		return fmt.Sprintf("it was entered first, where the graph begins with %s", t.graph.start().Name)
	case t.at == nil:
	case t.caught != "":
		if !t.at.leadsTo(step) {
			return fmt.Sprintf("it caught an error of %s; in the graph %s", t.at.Name, t.at.catches())
		}
	case !t.left:
		if s != t.at || len(s.graphs()) == 0 { // a Parallel or a Map that was tried again
			return fmt.Sprintf("it was entered while %s was not through", t.at.Name)
		}
	case !slices.Contains(t.at.follows(), step):
		return fmt.Sprintf("it came after %s, where the graph %s", t.at.Name, t.at.goesOn())
	}
	return ""
}

func (r *replay) leave(t *track, e Event) {
	if t.at == nil || t.at.Name != e.Step {
		return
	}
	t.left = true
	r.pivoted = r.pivoted || t.at.Pivot
	if len(t.at.graphs()) == 0 {
		return
	}
	// The frames below are through.
	below := joinPath(t.path, e.Step)
	for path, kid := range r.tracks {
		if after, ok := strings.CutPrefix(path, below); ok && strings.IndexAny(after, "@:") == 0 && !r.owes(kid) {
			delete(r.tracks, path)
		}
	}
}

// owes reports whether something of the frame is to be undone by the graph.
func (r *replay) owes(t *track) bool {
	r.giveUp(t)
	for d, n := range t.owed {
		if n > 0 && r.counts(d) {
			return true
		}
	}
	return false
}

// counts reports whether the graph would undo what is owed. Where the old one
// did so too, the execution has it on record.
func (r *replay) counts(d debt) bool {
	s := r.def.byName[d.step]
	if s == nil || !s.compensable() {
		return false
	}
	was := r.old.byName[d.step]
	return was == nil || !was.compensable()
}

// ended checks that a branch or an item is where the graph has an end.
func (r *replay) ended(t *track, of string) *Misfit {
	misfit := t.ends(t.branch(of))
	if misfit != nil {
		misfit.Event = r.events
	}
	return misfit
}

// branch names the frame, which is a branch or an item of a step.
func (t *track) branch(of string) string {
	if t.graph.Name == "" {
		return "an item of " + of
	}
	return t.graph.within() + " of " + of
}

func (t *track) ends(what string) *Misfit {
	if t.at == nil || slices.Contains(t.at.follows(), "") {
		return nil
	}
	return &Misfit{Frame: t.path, Step: t.at.Name, Problem: fmt.Sprintf("%s ended after it, where the graph %s", what, t.at.goesOn())}
}

// branchesEnded checks that all branches of a Parallel have come to an end of
// theirs.
func (r *replay) branchesEnded(t *track, e Event) *Misfit {
	k := &fork{Step: e.Step, Visit: t.entered[e.Step]}
	f := &frame{path: t.path}
	if t.at == nil || t.at.Name != e.Step {
		return nil
	}
	for n, branch := range t.at.Branches {
		kid := r.tracks[f.below(k, n)]
		if kid == nil {
			return r.misfit(e, "it ended without %s, which it has in the graph", branch.within())
		}
		if misfit := r.ended(kid, e.Step); misfit != nil {
			return misfit
		}
	}
	return nil
}

// follows are the steps that may come when this one is through; an empty name is
// the end.
func (s *State) follows() []string {
	var names []string
	for _, c := range s.Choices {
		names = append(names, c.Next)
	}
	return append(names, s.Next)
}

func (s *State) goesOn() string {
	var names []string
	for _, name := range s.follows() {
		if name == "" {
			name = "the end"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return "goes on at " + strings.Join(names, " or ")
}

// leadsTo reports whether errors of the state may be caught by a step.
func (s *State) leadsTo(step string) bool {
	return slices.ContainsFunc(s.Catch, func(c Catcher) bool { return c.Next == step })
}

func (s *State) catches() string {
	if len(s.Catch) == 0 {
		return "none of its errors is caught"
	}
	var names []string
	for _, c := range s.Catch {
		names = append(names, c.Next)
	}
	return "its errors lead to " + strings.Join(names, " or ")
}

// place names the graph's place in a definition.
func (g *Graph) place(def *Definition) string {
	for _, s := range def.byName {
		if slices.Contains(s.graphs(), g) {
			return fmt.Sprintf("in %s of %s", g.within(), s.Name)
		}
	}
	return "in no branch"
}

// graphAt is the state machine of the frame of a path, or why there is none.
// Batched is one that has a part of a Map done elsewhere.
func (d *Definition) graphAt(path string, batched bool) (g *Graph, why string) {
	g = d.root
	if path == "" {
		return g, ""
	}
	parts := strings.Split(path, ",")
	for i, part := range parts {
		name, number, _ := strings.Cut(part, ":")
		name, _, _ = strings.Cut(name, "@")
		n, err := strconv.Atoi(number)
		s := d.byName[name]
		switch {
		case err != nil || n < 0:
			return nil, fmt.Sprintf("%q is no frame", path)
		case s == nil:
			return nil, fmt.Sprintf("the graph has no step %s, of which this is a branch or an item", name)
		case s.graph != g:
			return nil, fmt.Sprintf("step %s, of which this is a branch or an item, stands elsewhere in the graph: %s", name, s.graph.place(d))
		case s.Type == TypeMap && batched && i == len(parts)-1:
			g = s.batch
		case s.Type == TypeMap:
			g = s.Each
		case n < len(s.Branches):
			g = s.Branches[n]
		case s.Type == TypeParallel:
			return nil, fmt.Sprintf("this is branch %d of step %s, which has %d in the graph", n+1, name, len(s.Branches))
		default:
			return nil, fmt.Sprintf("this is a branch or an item of step %s, which is a %s in the graph", name, s.Type)
		}
	}
	return g, ""
}
