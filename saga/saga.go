package saga

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// DefaultTimeout bounds one attempt of a step that says nothing else.
const DefaultTimeout = time.Minute

// A Saga is a definition whose state is a T. T must survive JSON: what
// encoding/json drops, the next step does not see.
type Saga[T any] struct {
	def *Definition
	err error
}

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

// A Step is one state of a saga in the making.
type Step[T any] struct {
	state State
}

// New defines a saga of steps that run one after the other. Its mistakes are
// reported, all at once, where it is registered or started; [Saga.Validate]
// gives them before.
func New[T any](name string, steps ...*Step[T]) *Saga[T] {
	return build[T](name, 0, steps)
}

// NewWithin is New for a saga with a time of its own. When it runs out before
// the pivot, the saga is compensated; after it, the saga goes on and an alert is
// logged.
func NewWithin[T any](name string, timeout time.Duration, steps ...*Step[T]) *Saga[T] {
	return build[T](name, timeout, steps)
}

func build[T any](name string, timeout time.Duration, steps []*Step[T]) *Saga[T] {
	d := &Definition{name: name, timeout: timeout, decode: canonical[T]}
	for _, step := range steps {
		if step == nil {
			return &Saga[T]{def: d, err: fmt.Errorf("saga %q: a step is nil", name)}
		}
		s := step.state
		d.states = append(d.states, &s)
	}
	err := d.validate()
	if err == nil {
		err = d.seal()
	}
	return &Saga[T]{def: d, err: err}
}

// Do is a step: what it is called, and what it does.
func Do[T any](name string, action Action[T]) *Step[T] {
	s := &Step[T]{state: State{
		Name: name, Type: Task,
		Timeout: DefaultTimeout, UndoTimeout: DefaultTimeout,
		Retry: Retry{}.withDefaults(),
	}}
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
		r := defaultUndoRetry.withDefaults()
		s.state.UndoRetry = &r
	}
	return s
}

// Retry says how the step is tried again. Defaults to Retry{}.
func (s *Step[T]) Retry(r Retry) *Step[T] {
	s.state.Retry = r.withDefaults()
	return s
}

// UndoRetry says how the compensation is tried again before the saga is
// blocked. Defaults to 10 attempts, from 200 ms to 1 minute apart.
func (s *Step[T]) UndoRetry(r Retry) *Step[T] {
	r = r.withDefaults()
	s.state.UndoRetry = &r
	return s
}

// Timeout bounds one attempt of the action, and of the compensation: its
// context ends then. An action that timed out has an [Unknown] outcome.
// Defaults to 1 minute.
func (s *Step[T]) Timeout(d time.Duration) *Step[T] {
	s.state.Timeout, s.state.UndoTimeout = d, d
	return s
}

// Within bounds the step with all its attempts and the delays between them.
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

// Validate reports everything that is wrong with the saga.
func (s *Saga[T]) Validate() error { return s.err }

// Definition returns the graph.
func (s *Saga[T]) Definition() *Definition { return s.def }

func (s *Saga[T]) definition() (*Definition, error) {
	if s == nil {
		return nil, nil
	}
	return s.def, s.err
}

// A Definer is a *Saga[T] of any T.
type Definer interface {
	definition() (*Definition, error)
}

// Start starts an execution under the caller's id and returns once that is
// durable. The same id with the same input is the same execution, so that Start
// may be called again; it reports whether this call created it. Another input is
// an error that matches [store.ErrExists].
func (s *Saga[T]) Start(ctx context.Context, c *Client, id string, input T, opts ...StartOption) (created bool, err error) {
	if s.err != nil {
		return false, s.err
	}
	data, err := json.Marshal(input)
	if err != nil {
		return false, fmt.Errorf("start %q: encode the input: %w", id, err)
	}
	created, _, err = c.start(ctx, s.def, id, data, opts)
	return created, err
}

// Run starts an execution, or finds the one that was started before, waits for
// its end and returns its state. If the saga was compensated or is blocked, the
// error is a [*FailedError] and the state is that from before the failure.
func (s *Saga[T]) Run(ctx context.Context, c *Client, id string, input T, opts ...StartOption) (T, error) {
	var zero T
	if s.err != nil {
		return zero, s.err
	}
	data, err := json.Marshal(input)
	if err != nil {
		return zero, fmt.Errorf("start %q: encode the input: %w", id, err)
	}
	x, err := c.run(ctx, s.def, id, data, opts)
	return outcomeAs[T](x, err)
}

// Wait waits until the execution has ended or is blocked, and returns as Run
// does.
func (s *Saga[T]) Wait(ctx context.Context, c *Client, id string) (T, error) {
	x, err := c.Wait(ctx, id)
	return outcomeAs[T](x, err)
}

func outcomeAs[T any](x *Execution, err error) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	v, err := decodeInto[T](x.State)
	if err != nil {
		return zero, err
	}
	return *v, x.Err()
}

func decodeInto[T any](data []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, NoEffect(Permanent(fmt.Errorf("decode the state into %T: %w", v, err)))
	}
	return v, nil
}

// canonical checks that data is the JSON of a T and writes it as this version
// of T does, so that two spellings of one input are the same input.
func canonical[T any](data []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	v := new(T)
	if err := dec.Decode(v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return json.Marshal(v)
}
