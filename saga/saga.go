package saga

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// DefaultTimeout bounds one attempt of a step that says nothing else.
const DefaultTimeout = time.Minute

// A Saga is a definition whose state is a T. T must survive JSON: what
// encoding/json drops, the next step does not see. If *T has a method
// Validate() error, an input that it refuses starts nothing.
type Saga[T any] struct {
	plan blueprint[T]
	def  *Definition
	err  error
}

// New defines a saga of steps that run one after the other, unless they say
// what is next. Its mistakes are reported, all at once, where it is registered
// or started; [Saga.Validate] gives them before.
func New[T any](name string, steps ...*Step[T]) *Saga[T] {
	return build(blueprint[T]{name: name, steps: steps})
}

// Within gives the saga a time of its own. When it runs out before the pivot,
// the saga is compensated; after it, the saga goes on and an alert is logged.
func (s *Saga[T]) Within(d time.Duration) *Saga[T] {
	plan := s.plan
	plan.timeout, plan.timed = d, true
	return build(plan)
}

// Version names the version of the definition. Executions stay on the version
// that they began with, so change it with the way that they take: a coordinator
// does not start with another graph under a version that is registered, unless only
// times, policies of retry and limits differ. Defaults to a hash of the graph; where
// Go code decides the way, which no hash can see, there is no default.
func (s *Saga[T]) Version(v string) *Saga[T] {
	plan := s.plan
	plan.version = v
	return build(plan)
}

// A blueprint is what a saga is built from.
type blueprint[T any] struct {
	name, version string
	timeout       time.Duration
	timed         bool
	locks         []LockDef
	steps         []*Step[T]
}

func build[T any](plan blueprint[T]) *Saga[T] {
	d := &Definition{name: plan.name, own: plan.version, timeout: plan.timeout, locks: plan.locks, decode: canonical[T]}
	s := &Saga[T]{plan: plan, def: d}
	if plan.timed && plan.timeout <= 0 {
		s.err = fmt.Errorf("saga %q: its time is %s, want it positive", plan.name, plan.timeout)
	}
	var err error
	if d.root, err = graphFrom("", plan.steps); err != nil {
		err = fmt.Errorf("saga %q: %w", plan.name, err)
	} else {
		err = d.validate()
	}
	if err = errors.Join(s.err, err); err == nil {
		err = d.seal()
	}
	s.err = err
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
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, err
	}
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) && reflect.TypeFor[T]().Kind() != reflect.Pointer {
		return nil, fmt.Errorf("it is null, want the JSON of a %T", *v)
	}
	if checked, ok := any(v).(interface{ Validate() error }); ok {
		if err := checked.Validate(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(v)
}
