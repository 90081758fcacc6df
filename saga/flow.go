package saga

import (
	"encoding/json"
	"fmt"
	"time"
)

// Pass is a step that changes the state by a function alone: without effects
// outside, so that it needs no attempt of its own on record. It costs no script.
func Pass[T any](name string, change func(state *T) error) *Step[T] {
	s := &Step[T]{state: State{Name: name, Type: TypePass}}
	if change != nil {
		s.state.transform = transform(change)
	}
	return s
}

func transform[T any](change func(*T) error) func([]byte) ([]byte, error) {
	return func(data []byte) ([]byte, error) {
		v, err := decodeInto[T](data)
		if err != nil {
			return nil, err
		}
		if err := change(v); err != nil {
			return nil, err
		}
		return json.Marshal(v)
	}
}

// Wait is a step that waits. A wait of more than a second is a wake-up in the
// store, and may last a year.
func Wait[T any](name string, d time.Duration) *Step[T] {
	s := &Step[T]{state: State{Name: name, Type: TypeWait, Wait: d}}
	s.fault(d <= 0, "it waits for %s, want it positive", d)
	return s
}

// WaitUntil is a step that waits until the time that a function reads off the
// state. A time that is past does not wait.
func WaitUntil[T any](name string, until func(state *T) time.Time) *Step[T] {
	s := &Step[T]{state: State{Name: name, Type: TypeWait, Code: true}}
	s.fault(until == nil, "it has no function that tells until when")
	s.state.until = func(data []byte) (time.Time, error) {
		v, err := decodeInto[T](data)
		if err != nil {
			return time.Time{}, err
		}
		return until(v), nil
	}
	return s
}

// Choose is a step that chooses what is next: the first [Step.When] or [Step.If]
// that holds, else [Step.Otherwise], else the step that is listed next. One that is
// listed last fails with the error [ErrorNoChoice] then, unless it has an End. After the
// [Step.Pivot] one that is listed last says Otherwise, or End.
func Choose[T any](name string) *Step[T] {
	return &Step[T]{state: State{Name: name, Type: TypeChoice}}
}

// When makes a Choose go to a step when a function of the state says so. A saga
// with Go code in its choices needs a [Saga.Version].
func (s *Step[T]) When(next string, holds func(state *T) bool) *Step[T] {
	s.fault(s.state.Type != TypeChoice, "When belongs to a Choose")
	s.fault(holds == nil, "its When to %q has no function", next)
	s.state.Code = true
	s.state.Choices = append(s.state.Choices, Choice{Next: next, holds: func(data []byte) (bool, error) {
		v, err := decodeInto[T](data)
		if err != nil {
			return false, err
		}
		return holds(v), nil
	}})
	return s
}

// If makes a Choose go to a step when a rule holds.
func (s *Step[T]) If(next string, rule Rule) *Step[T] {
	s.fault(s.state.Type != TypeChoice, "If belongs to a Choose")
	if err := rule.validate(); err != nil {
		s.fault(true, "its If to %q: %v", next, err)
	}
	s.state.Choices = append(s.state.Choices, Choice{Next: next, Rule: &rule, holds: rule.holds})
	return s
}

// Otherwise names the step that a Choose goes to when nothing else holds.
func (s *Step[T]) Otherwise(next string) *Step[T] {
	s.fault(s.state.Type != TypeChoice, "Otherwise belongs to a Choose")
	return s.Next(next)
}

// Succeed is a step that ends the saga, or the branch that it is in, well.
func Succeed[T any](name string) *Step[T] {
	return &Step[T]{state: State{Name: name, Type: TypeSucceed}}
}

// Fail is a step that fails, with an error of that name and text: the saga is
// undone, unless somebody catches it.
func Fail[T any](name, errorName, text string) *Step[T] {
	s := &Step[T]{state: State{Name: name, Type: TypeFail, Error: errorName, Cause: text}}
	s.fault(errorName == "", "its error has no name")
	return s
}

// A Path is a branch of a [Parallel].
type Path[T any] struct {
	name  string
	steps []*Step[T]
}

// Branch is a branch of a [Parallel]: a list of steps with a name. It works on
// its own copy of the state.
func Branch[T any](name string, steps ...*Step[T]) *Path[T] {
	return &Path[T]{name: name, steps: steps}
}

// Parallel is a step that runs branches side by side. Say with [Step.Merge] what
// becomes of their copies of the state.
//
// When a branch fails for good, the others begin nothing more; what is under way
// is awaited; then all that the branches did is undone, in reverse of its order,
// and the step has failed.
func Parallel[T any](name string, branches ...*Path[T]) *Step[T] {
	s := &Step[T]{state: State{Name: name, Type: TypeParallel}}
	s.fault(len(branches) == 0, "it has no branches")
	for i, b := range branches {
		if b == nil {
			s.fault(true, "branch %d is nil", i+1)
			continue
		}
		s.graphs = append(s.graphs, func() (*Graph, error) { return graphFrom(b.name, b.steps) })
	}
	return s
}

// Merge says how the state goes on after a [Parallel], from the copies that its
// branches worked on, in their order. It runs when all have ended well, and has
// no effects outside. An error fails the Parallel.
func (s *Step[T]) Merge(merge func(state *T, branches []T) error) *Step[T] {
	s.fault(s.state.Type != TypeParallel, "Merge belongs to a Parallel")
	if merge == nil {
		return s
	}
	s.state.merge = func(data []byte, parts []part) ([]byte, error) {
		branches := make([]T, len(parts))
		for i, p := range parts {
			if err := json.Unmarshal(p.state, &branches[i]); err != nil {
				return nil, fmt.Errorf("decode the state of branch %d into %T: %w", i+1, branches[i], err)
			}
		}
		return transform(func(state *T) error { return merge(state, branches) })(data)
	}
	return s
}

// An Item is what came of one item of a [ForEach].
type Item[I any] struct {
	State  I
	Failed *Cause // nil: it ended well
}

// ForEach is a step that runs the same steps for each of some items, side by
// side. Each item is the state of its steps. Afterwards collect, which may be
// nil, takes what came of them into the saga's state, in the order of the items.
// Neither function has effects outside.
//
// More than 1,000 items are shared out to executions of their own, which other
// coordinators may run: see the package documentation. Keys and [StepInfo] name
// the items within those. There may be a million.
//
// One item that fails for good fails the step, unless [Step.Tolerate] says
// otherwise, as a branch does its [Parallel].
func ForEach[T, I any](name string, items func(state *T) []I, collect func(state *T, items []Item[I]) error, steps ...*Step[I]) *Step[T] {
	s := &Step[T]{state: State{Name: name, Type: TypeMap}}
	s.graphs = append(s.graphs, func() (*Graph, error) { return graphFrom("", steps) })
	if items != nil {
		s.state.items = func(data []byte) ([]json.RawMessage, error) {
			v, err := decodeInto[T](data)
			if err != nil {
				return nil, err
			}
			list := items(v)
			raw := make([]json.RawMessage, len(list))
			for i, item := range list {
				if raw[i], err = json.Marshal(item); err != nil {
					return nil, fmt.Errorf("encode item %d: %w", i, err)
				}
			}
			return raw, nil
		}
	}
	s.fault(items == nil, "it has no function that lists its items")
	s.state.merge = func(data []byte, parts []part) ([]byte, error) {
		if collect == nil {
			return data, nil
		}
		list := make([]Item[I], len(parts))
		for i, p := range parts {
			list[i].Failed = p.cause
			if err := json.Unmarshal(p.state, &list[i].State); err != nil {
				return nil, fmt.Errorf("decode the state of item %d into %T: %w", i, list[i].State, err)
			}
		}
		return transform(func(state *T) error { return collect(state, list) })(data)
	}
	return s
}

// Concurrency bounds how many items of a [ForEach] are under way at once.
// Defaults to all and, where there are more than 1,000, to 10,000. Then the bound
// is shared by the executions that have parts of the items.
func (s *Step[T]) Concurrency(n int) *Step[T] {
	s.fault(s.state.Type != TypeMap, "Concurrency belongs to a ForEach")
	s.fault(n < 1, "its Concurrency is %d, want 1 or more", n)
	s.state.Concurrency = n
	return s
}

// Tolerate lets so many items of a [ForEach] fail. Each of those is undone by
// itself. After the [Step.Pivot] nothing is, so there all steps of the items have to
// be ReadOnly or Irreversible.
func (s *Step[T]) Tolerate(n int) *Step[T] {
	s.fault(s.state.Type != TypeMap, "Tolerate belongs to a ForEach")
	s.fault(n < 1, "it tolerates %d failures, want 1 or more", n)
	s.state.Tolerate = n
	return s
}

// UndoTogether lets the branches of a [Parallel], or the items of a [ForEach],
// be undone side by side, each in reverse of its own order. Otherwise they are
// undone one action after the other, in reverse of the order of all.
func (s *Step[T]) UndoTogether() *Step[T] {
	s.fault(s.state.Type != TypeParallel && s.state.Type != TypeMap, "UndoTogether belongs to a Parallel or a ForEach")
	s.state.UndoTogether = true
	return s
}
