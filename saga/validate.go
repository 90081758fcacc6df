package saga

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

const nameRuleText = "may have up to 128 letters, digits, dots, - and _, and begins with a letter or digit"

// A checker collects what is wrong with a definition.
type checker struct {
	def   *Definition
	pivot *State
	errs  []error
}

func (c *checker) report(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("saga %q: "+format, append([]any{c.def.name}, args...)...))
}

// validate reports everything that is wrong with the definition, and links its
// states.
func (d *Definition) validate() error {
	c := &checker{def: d}
	if !nameRule.MatchString(d.name) {
		c.report("the name %s", nameRuleText)
	}
	if d.own != "" && !nameRule.MatchString(d.own) {
		c.report("the version %q %s", d.own, nameRuleText)
	}
	for _, problem := range slices.Concat(lockProblems(d.locks), patience(d.locks, d.timeout)) {
		c.report("%s", problem)
	}
	d.byName, d.parts = make(map[string]*State), make(map[string]*Definition)
	c.link(d.root, "")
	d.mapSize, d.foldFrom = mapSize{inlineItems, partItems}, foldFrom
	for _, s := range d.maps(d.root) {
		d.partOf(s)
	}
	if len(d.root.States) > 0 {
		c.flow(d.root, "")
		c.phases(d.root, false)
	}
	if code := c.code(d.root); code != nil && d.own == "" {
		c.report("step %q: Go code decides the way, which no hash of the graph can see: name the version with Version, and change it when the code changes", code.Name)
	}
	return errors.Join(c.errs...)
}

// link checks the states one by one and gives them their places.
func (c *checker) link(g *Graph, within string) {
	if len(g.States) == 0 {
		c.report("%sthere are no steps", within)
	}
	for i, s := range g.States {
		s.graph = g
		if !nameRule.MatchString(s.Name) {
			c.report("%sstep %d: the name %q %s", within, i+1, s.Name, nameRuleText)
		}
		if c.def.byName[s.Name] != nil {
			c.report("%sstep %d: the name %q is taken by an earlier step", within, i+1, s.Name)
		}
		c.def.byName[s.Name] = s
		for _, problem := range s.problems() {
			c.report("step %q: %s", s.Name, problem)
		}
		if s.Pivot {
			switch {
			case g != c.def.root:
				c.report("step %q: a pivot stands in the saga itself, not in a branch", s.Name)
			case c.pivot != nil:
				c.report("step %q: %q is the pivot already; a saga has one point of no return", s.Name, c.pivot.Name)
			default:
				c.pivot = s
			}
		}
		for n, inner := range s.graphs() {
			name := inner.Name
			if s.Type == TypeParallel && !nameRule.MatchString(name) {
				c.report("step %q: branch %d: the name %q %s", s.Name, n+1, name, nameRuleText)
			}
			c.link(inner, fmt.Sprintf("step %q, %s: ", s.Name, inner.within()))
		}
	}
}

// within names the graph in messages.
func (g *Graph) within() string {
	if g.Name == "" {
		return "each item"
	}
	return fmt.Sprintf("branch %q", g.Name)
}

// flow checks the ways between the states of a graph.
func (c *checker) flow(g *Graph, within string) {
	if len(g.States) == 0 {
		return
	}
	here := make(map[string]*State)
	for _, s := range g.States {
		here[s.Name] = s
	}
	for _, s := range g.States {
		for _, name := range s.ways() {
			switch {
			case here[name] != nil:
			case c.def.byName[name] != nil:
				c.report("step %q: it goes on at %q, which stands in another branch", s.Name, name)
			default:
				c.report("step %q: it goes on at %q, and there is no such step", s.Name, name)
			}
		}
		for _, inner := range s.graphs() {
			c.flow(inner, fmt.Sprintf("step %q, %s: ", s.Name, inner.within()))
		}
	}
	reached := reach(here, g.start().Name)
	g.loops = make(map[string]bool)
	for _, s := range g.States {
		if !reached[s.Name] {
			c.report("%sstep %q: no step leads to it", within, s.Name)
		}
		ends := len(s.ways()) == 0
		for _, next := range s.ways() {
			after := reach(here, next)
			if after[s.Name] {
				g.loops[s.Name] = true
			}
			ends = ends || slices.ContainsFunc(g.States, func(t *State) bool {
				return after[t.Name] && (t.Next == "" && t.Type != TypeFail || len(t.ways()) == 0)
			})
		}
		if !ends && s.Next != "" {
			c.report("%sstep %q: no way leads from it to an end", within, s.Name)
		}
	}
}

// reach are the states that may come from one on, itself included.
func reach(states map[string]*State, from string) map[string]bool {
	seen := make(map[string]bool)
	var visit func(string)
	visit = func(name string) {
		if s := states[name]; s != nil && !seen[name] {
			seen[name] = true
			for _, next := range s.ways() {
				visit(next)
			}
		}
	}
	visit(from)
	return seen
}

// phases checks what a state must be, by whether it comes before or after the
// point of no return. Within a state, its branches are where it is.
func (c *checker) phases(g *Graph, after bool) {
	if len(g.States) == 0 {
		return
	}
	here := make(map[string]*State)
	for _, s := range g.States {
		here[s.Name] = s
	}
	before := make(map[string]bool)
	if !after {
		before = c.beforePivot(here, g)
	}
	for _, s := range g.States {
		if before[s.Name] {
			c.revocable(s, here)
		} else {
			c.irrevocable(s)
		}
		for _, inner := range s.graphs() {
			c.phases(inner, !before[s.Name])
		}
	}
}

// beforePivot are the states that can be come to without passing the pivot; the
// pivot is one.
func (c *checker) beforePivot(here map[string]*State, g *Graph) map[string]bool {
	if c.pivot == nil || g != c.def.root {
		return reach(here, g.start().Name)
	}
	barred := make(map[string]*State)
	for name, s := range here {
		barred[name] = s
	}
	stop := *c.pivot // its success leads over the border, its failure does not
	stop.Next = ""
	barred[stop.Name] = &stop
	return reach(barred, g.start().Name)
}

// revocable checks a state that may have to be undone.
func (c *checker) revocable(s *State, here map[string]*State) {
	if s.Type == TypeTask && !s.Pivot && !s.compensable() && !s.ReadOnly && !s.Irreversible && !c.last(s, here) {
		c.report("step %q: say how to undo it with Undo, or that there is nothing to undo with ReadOnly or Irreversible", s.Name)
	}
	if t := c.def.timeout; t > 0 {
		switch {
		case s.timed && s.Timeout > t:
			c.report("step %q: its timeout of %s is longer than the saga's own time, %s", s.Name, s.Timeout, t)
		case s.Callback && !s.timed && s.Within == 0 && s.Timeout > t:
			c.report("step %q: its timeout is %s by default, and the saga's own time is %s: say with Timeout how long it waits", s.Name, s.Timeout, t)
		case s.Within > t:
			c.report("step %q: Within is %s, longer than the saga's own time, %s", s.Name, s.Within, t)
		case s.Wait >= t:
			c.report("step %q: it waits for %s, and the saga's own time is %s", s.Name, s.Wait, t)
		}
	}
	for _, problem := range patience(s.Locks, c.def.timeout) {
		c.report("step %q: %s", s.Name, problem)
	}
}

// last reports whether nothing can fail after the state, so that it needs no
// undo: its own failure is all that it can be undone for.
func (c *checker) last(s *State, here map[string]*State) bool {
	if s.graph != c.def.root {
		return false
	}
	for _, next := range s.ways() {
		for name := range reach(here, next) {
			switch t := here[name]; t.Type {
			case TypeSucceed, TypeWait, TypePass, TypeChoice:
			default:
				return false
			}
		}
	}
	return true
}

// irrevocable checks a state after the point of no return.
func (c *checker) irrevocable(s *State) {
	if c.pivot == nil {
		return // it is not reached, which is reported
	}
	for _, problem := range s.forwardProblems() {
		c.report("step %q: it comes after the pivot %q, %s", s.Name, c.pivot.Name, problem)
	}
	switch {
	case s.calls() && s.Retry == nil && len(s.Catch) == 0:
		c.report("step %q: it comes after the pivot %q, so it must be tried again until it succeeds: say how with Retry", s.Name, c.pivot.Name)
	case s.calls():
	case s.compensable():
		c.report("step %q: it comes after the pivot %q, so its Undo would never run", s.Name, c.pivot.Name)
	case s.Type == TypeFail:
		c.report("step %q: it comes after the pivot %q, and a saga cannot fail any more then", s.Name, c.pivot.Name)
	case s.Type == TypeTask && s.Retry != nil && s.Retry.Attempts == 1 && len(s.Catch) == 0:
		c.report("step %q: it comes after the pivot %q, so it must be tried again until it succeeds, and its Retry tries once", s.Name, c.pivot.Name)
	}
}

// forwardProblems are what a state claims that does not hold where nothing is undone
// any more, and what lets it come to an end that a saga must not come to there.
func (s *State) forwardProblems() []string {
	var problems []string
	add := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	if len(s.graphs()) > 0 {
		if does := s.within(func(t *State) bool { return t.acts() }); does != nil {
			add(s.Retry != nil || len(s.RetryOn) > 0,
				"where nothing is undone, so its Retry would do %q once more under another key: put Retry on the steps within", does.Name)
		}
		if left := s.within(func(t *State) bool { return t.acts() && !t.Irreversible }); left != nil {
			const claim = "where nothing is undone, and its %s rests on that: put Catch on the steps within, or declare with Irreversible what may be left done, as by %q"
			add(s.Tolerate > 0, claim, "Tolerate", left.Name)
			add(len(s.Catch) > 0, claim, "Catch", left.Name)
		}
		add(s.Within > 0, "where nothing is undone, so it cannot be stopped: put Within on the steps within")
	}
	add(s.Signal != "" && (s.Timeout > 0 || s.Within > 0) && len(s.Catch) == 0,
		"and a saga cannot fail any more then: say with Catch what comes next when no signal comes in time, or let it wait without a Timeout or Within")
	add(s.waitsByDefault(),
		"where nothing is undone, and it would be blocked when nobody answers in %s, which is its default: say with Timeout or Within how long it waits, or with Catch what comes next", s.Timeout)
	add(s.Type == TypeChoice && s.Next == "" && !s.ends,
		"and where nothing holds nothing comes next: say what does with Otherwise, or that it is the end with End")
	return problems
}

// waitsByDefault reports whether nobody has said how long somebody outside has, nor
// what comes of it when that is over.
func (s *State) waitsByDefault() bool {
	_, caught := s.catcher(ErrorTimeout)
	_, _, again := s.policy(ErrorTimeout, true)
	return s.untold && s.Within == 0 && !caught && !again
}

// acts reports whether the state may have an effect outside.
func (s *State) acts() bool { return s.Type == TypeTask && s.Signal == "" && !s.ReadOnly }

// within is the first state of the branches for which is holds.
func (s *State) within(is func(*State) bool) *State {
	for _, g := range s.graphs() {
		for _, t := range g.States {
			if is(t) {
				return t
			}
			if found := t.within(is); found != nil {
				return found
			}
		}
	}
	return nil
}

// code returns a state whose way Go code decides.
func (c *checker) code(g *Graph) *State {
	for _, s := range g.States {
		if s.Code && s.Type == TypeChoice {
			return s
		}
		for _, inner := range s.graphs() {
			if found := c.code(inner); found != nil {
				return found
			}
		}
	}
	return nil
}

// problems are what is wrong with the state by itself.
func (s *State) problems() []string {
	problems := append(slices.Clone(s.faults), lockProblems(s.Locks)...)
	add := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	add(s.classify != nil && s.action == nil && s.undo == nil, "it has no action or Undo here, whose errors its Classify could be for: remove it")
	add(s.Within < 0, "Within is %s, want it positive", s.Within)
	policies := map[string]*Retry{"retry": s.Retry, "retry of its Undo": s.UndoRetry}
	for i, r := range s.RetryOn {
		policies["retry on "+strings.Join(r.Errors, ", ")] = &s.RetryOn[i].Retry
		add(slices.Contains(r.Errors, ""), "it retries an error that has no name")
	}
	for _, what := range sortedKeys(policies) {
		if r := policies[what]; r != nil {
			err := r.validate()
			add(err != nil, "%s: %v", what, err)
		}
	}
	for _, catch := range s.Catch {
		add(slices.Contains(catch.Errors, ""), "it catches an error that has no name")
	}
	add(len(s.Catch) > 0 && s.Pivot, "it is the pivot, and what it does cannot be undone to go on elsewhere: remove its Catch")
	switch s.Type {
	case TypeTask:
		return append(problems, s.taskProblems()...)
	case TypeParallel:
		add(s.merge == nil, "say with Merge what becomes of its branches' states")
	case TypePass:
		add(s.transform == nil, "it has no function")
	}
	add(s.compensable() || s.UndoRetry != nil, "only a Do is undone: it has an Undo")
	add(s.ReadOnly || s.Irreversible || s.Pivot, "only a Do is ReadOnly, Irreversible or the Pivot")
	add(s.Timeout != 0 || s.Heartbeat != 0, "only a Do has a Timeout or a Heartbeat")
	if s.Type != TypeParallel && s.Type != TypeMap {
		add(s.Retry != nil || len(s.RetryOn) > 0, "a %s is not tried again: remove its Retry", s.Type)
		add(s.Within != 0, "a %s has no Within", s.Type)
	}
	add(len(s.Locks) > 0 && s.Type != TypeParallel && s.Type != TypeMap, "a %s takes no locks: remove its Lock", s.Type)
	add(len(s.Catch) > 0 && (s.Type == TypeWait || s.Type == TypeSucceed || s.Type == TypeFail), "a %s has no errors to catch", s.Type)
	add(s.Next != "" && (s.Type == TypeSucceed || s.Type == TypeFail), "a %s is the end, and nothing comes next", s.Type)
	return problems
}

func (s *State) taskProblems() []string {
	var problems []string
	add := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	if s.Signal != "" || s.calls() {
		add(s.Within > 0 && s.Timeout > s.Within, "its timeout of %s is longer than Within, %s", s.Timeout, s.Within)
	}
	if s.Signal != "" {
		add(s.Timeout < 0, "the timeout is %s, want it positive", s.Timeout)
		add(s.compensable() || s.Irreversible || s.Pivot, "a Receive has no effect: it has no Undo, and is no Irreversible and no Pivot")
		add(len(s.Locks) > 0, "a Receive changes nothing outside, and takes no locks: remove its Lock")
		add(s.Retry != nil || len(s.RetryOn) > 0 || s.Heartbeat != 0, "a Receive waits once: it has no Retry or Heartbeat")
		return problems
	}
	if s.calls() {
		add(s.undo != nil || s.UndoRetry != nil, "a Child is undone by its own steps: remove its Undo")
		add(s.ReadOnly || s.Irreversible, "a Child is undone by its own steps, which say what is ReadOnly or Irreversible")
		add(s.Timeout < 0, "the timeout is %s, want it positive", s.Timeout)
		add(s.Heartbeat != 0, "a Child has no Heartbeat")
		return problems
	}
	add(s.action == nil && s.Remote == "", "it has no action")
	add(s.undo != nil && s.UndoRemote, "it has an Undo and is UndoRemote: remove one")
	add(s.Timeout <= 0, "the timeout is %s, want it positive", s.Timeout)
	add(s.UndoTimeout <= 0, "the timeout of its Undo is %s, want it positive", s.UndoTimeout)
	add(s.timed && s.Within > 0 && s.Timeout > s.Within, "its timeout of %s is longer than Within, %s", s.Timeout, s.Within)
	add(s.Heartbeat > 0 && s.Heartbeat >= s.Timeout, "its Heartbeat of %s is not shorter than its timeout of %s", s.Heartbeat, s.Timeout)
	add(!s.compensable() && s.UndoRetry != nil, "it has an UndoRetry and no Undo")
	add(s.compensable() && (s.ReadOnly || s.Irreversible), "it has an Undo and is declared ReadOnly or Irreversible: remove one")
	add(s.ReadOnly && s.Irreversible, "it is declared both ReadOnly and Irreversible")
	add(s.Pivot && s.waitsByDefault(),
		"it is the pivot, and would be blocked when nobody answers in %s, which is its default: say with Timeout or Within how long it waits", s.Timeout)
	add(s.Pivot && s.compensable(), "it is the pivot and has an Undo, which would never run")
	return problems
}
