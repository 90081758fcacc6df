package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// An Action does a step's work and may change the state. It may run more than
// once; [StepFrom] gives it the idempotency key that all its attempts share.
// What it changes counts only if it returns nil.
type Action[T any] func(ctx context.Context, state *T) error

// A Compensation undoes a step. It may run more than once. The outcome tells
// whether the action is known to be done. If it is Unknown, the state is that
// from before the action: so whatever a compensation needs, such as the id of a
// charge, must be made before the action and not come from its answer. Changes
// to the state are not kept.
type Compensation[T any] func(ctx context.Context, state *T, outcome Outcome) error

// A Step is one state of a saga in the making. After it comes the step that is
// listed next, unless it says otherwise.
type Step[T any] struct {
	state  State
	next   string // named by Next
	end    bool
	graphs []func() (*Graph, error) // what is within
	faults []string                 // of how it was built
}

// fault notes a mistake, for Validate to report.
func (s *Step[T]) fault(bad bool, format string, args ...any) {
	if bad {
		s.faults = append(s.faults, fmt.Sprintf(format, args...))
	}
}

// graphFrom makes a graph of steps. Each saga that the steps are given to gets
// copies of its own.
func graphFrom[T any](name string, steps []*Step[T]) (*Graph, error) {
	g := &Graph{Name: name}
	var errs []error
	for i, step := range steps {
		if step == nil {
			errs = append(errs, fmt.Errorf("step %d is nil", i+1))
			continue
		}
		s := step.state
		s.graph, s.faults, s.ends = g, step.faults, step.end
		switch {
		case step.next != "":
			s.Next = step.next
		case step.end || s.Type == TypeSucceed || s.Type == TypeFail:
		case i+1 < len(steps) && steps[i+1] != nil:
			s.Next = steps[i+1].state.Name
		}
		for _, inner := range step.graphs {
			part, err := inner()
			if err != nil {
				errs = append(errs, fmt.Errorf("step %q: %w", s.Name, err))
				continue
			}
			if s.Type == TypeMap {
				s.Each = part
			} else {
				s.Branches = append(s.Branches, part)
			}
		}
		g.States = append(g.States, &s)
	}
	return g, errors.Join(errs...)
}

// Do is a step: what it is called, and what it does.
//
// What the action returns decides whether it is undone. An error means that nothing
// was done, and then its compensation does not run. So an action that fails after a
// part of its effect, or that cannot know, has to return an [Uncertain] error.
// Without being told, errors count as unknown that an answer may have been lost
// behind: the end of the context, a panic, and a connection that broke, as the
// package documentation lists them.
func Do[T any](name string, action Action[T]) *Step[T] {
	s := &Step[T]{state: State{
		Name: name, Type: TypeTask, Timeout: DefaultTimeout, UndoTimeout: DefaultTimeout, Retry: Retry{}.complete(),
	}}
	s.state.decode = canonical[T]
	if action != nil {
		s.state.action = func(ctx context.Context, data []byte) ([]byte, error) {
			v, err := decodeInto[T](data)
			if err != nil {
				return nil, err
			}
			if err := action(ctx, v); err != nil {
				return nil, err
			}
			out, err := json.Marshal(v)
			if err != nil {
				return nil, Uncertain(Permanent(fmt.Errorf("encode the state after the step: %w", err)))
			}
			return out, nil
		}
	}
	return s
}

// Undo says how to compensate the step.
func (s *Step[T]) Undo(compensate Compensation[T]) *Step[T] {
	if compensate == nil {
		return s
	}
	s.state.undo = func(ctx context.Context, data []byte, outcome Outcome) error {
		v, err := decodeInto[T](data)
		if err != nil {
			return err
		}
		return compensate(ctx, v, outcome)
	}
	if s.state.UndoRetry == nil {
		s.state.UndoRetry = defaultUndoRetry.complete()
	}
	return s
}

// Retry says how the step is tried again after an error: after each, or after
// those of the given names (see [Named]), to which the first policy that names
// them applies. A [Do], a [Callback] and a [Remote] are retried as Retry{} says by
// default; other steps are not.
//
// A [Parallel] or a [ForEach] that is tried again has been undone before, and all of
// it runs anew under new keys. After the [Step.Pivot] nothing is undone, so there
// only the steps within it may be tried again.
func (s *Step[T]) Retry(r Retry, errors ...string) *Step[T] {
	if len(errors) == 0 {
		s.state.Retry = r.complete()
	} else {
		s.state.RetryOn = append(s.state.RetryOn, RetryOn{Errors: errors, Retry: *r.complete()})
	}
	return s
}

// Catch goes on at the named step when this one has failed for good: with any
// error, or with one of the given names, where the first Catch that names it
// counts. Whatever this step may have done is undone before. The step that is
// gone to finds the failure in [StepInfo].Caught.
//
// After the [Step.Pivot] nothing is undone: a [Parallel] or a [ForEach] with a Catch
// there has steps alone that are ReadOnly or Irreversible, and a [Receive] that does
// not wait for ever has a Catch.
func (s *Step[T]) Catch(next string, errors ...string) *Step[T] {
	if len(errors) == 0 {
		errors = []string{ErrorAny}
	}
	s.state.Catch = append(s.state.Catch, Catcher{Errors: errors, Next: next})
	return s
}

// Next names the step that comes after this one.
func (s *Step[T]) Next(name string) *Step[T] {
	s.next = name
	s.fault(name == "", "Next names no step; End ends the saga")
	return s
}

// End makes this step the last, although others are listed after it.
func (s *Step[T]) End() *Step[T] {
	s.end = true
	return s
}

// UndoRetry says how the compensation is tried again before the saga is
// blocked. Defaults to 10 attempts, from 200 ms to 1 minute apart.
func (s *Step[T]) UndoRetry(r Retry) *Step[T] {
	s.state.UndoRetry = r.complete()
	return s
}

// Timeout bounds one attempt of the action, and of the compensation: its
// context ends then. An action that timed out has an [Unknown] outcome.
// Defaults to 1 minute; for a [Callback] to 24 hours, or to [Step.Within] where that
// is less; and for a [Child] and a [Receive] to no bound.
func (s *Step[T]) Timeout(d time.Duration) *Step[T] {
	s.state.Timeout, s.state.UndoTimeout, s.state.timed, s.state.untold = d, d, true, false
	return s
}

// UndoTimeout bounds one attempt of the compensation, where that is not to be
// the action's. Call it after Timeout.
func (s *Step[T]) UndoTimeout(d time.Duration) *Step[T] {
	s.state.UndoTimeout = d
	return s
}

// Within bounds the step with all its attempts, its waits and the delays between
// them. What is over by then has failed with [ErrorTimeout], and is not tried again.
// The branches of a [Parallel], and the items of a [ForEach], are stopped and undone
// as when one of them fails. The time that a step waits for its locks does not count.
// Defaults to no bound.
func (s *Step[T]) Within(d time.Duration) *Step[T] {
	s.state.Within = d
	return s
}

// ReadOnly declares that the action changes nothing, so that there is nothing
// to undo.
func (s *Step[T]) ReadOnly() *Step[T] {
	s.state.ReadOnly = true
	return s
}

// Irreversible declares that the action cannot be undone, and that the saga may
// be compensated around it.
func (s *Step[T]) Irreversible() *Step[T] {
	s.state.Irreversible = true
	return s
}

// Pivot makes the step the point of no return: once it succeeded, the saga only
// goes forward. Later steps are retried, then blocked, and never undone. A pivot
// whose outcome is unknown is blocked too.
func (s *Step[T]) Pivot() *Step[T] {
	s.state.Pivot = true
	return s
}
