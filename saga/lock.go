package saga

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/store"
)

// DefaultLockWait is how long a step waits for a lock that says nothing else.
const DefaultLockWait = time.Minute

// A Resource is what a lock is on, to be told from the state.
type Resource[T any] struct {
	lock LockDef
}

// LockDef is a lock that a step, or a saga, takes.
type LockDef struct {
	Name string        `json:"name"`
	Wait time.Duration `json:"wait,omitempty"`

	key    func(state []byte) (string, error)
	origin any  // the Resource that it was made as
	given  bool // Wait was
}

// Lock is a lock for [Step.Lock] and [Saga.Lock]: on what name and key say, such
// as the account of a fare. The key is told from the state when the step is come
// to; an empty one fails the step.
//
//	account := saga.Lock("account", func(f *Fare) string { return f.Account })
//
// All that take a lock of the same name and key, in whatever saga, exclude each
// other. Locks are semantic: they keep out those who ask for them, and nobody
// else.
func Lock[T any](name string, key func(state *T) string) *Resource[T] {
	r := &Resource[T]{LockDef{Name: name, Wait: DefaultLockWait}}
	r.lock.origin = r
	if key != nil {
		r.lock.key = func(data []byte) (string, error) {
			v, err := decodeInto[T](data)
			if err != nil {
				return "", err
			}
			return key(v), nil
		}
	}
	return r
}

// Wait is how long a step waits for the lock at most. Then it gives its place up
// and fails with the error [ErrorLock]. Defaults to 1 minute.
func (r *Resource[T]) Wait(d time.Duration) *Resource[T] {
	c := *r
	c.lock.Wait, c.lock.given = d, true
	return &c
}

// Lock makes the step take locks before its first attempt. It waits for those
// that other executions hold, first come, first served: for one after the other,
// in an order that is the same for all. The execution keeps them until it has
// ended, in whatever way, through its undoing and while it is [Blocked]: so what
// the step changed is nobody else's business until it is certain. An execution
// that has a lock already goes on at once; so do its branches.
//
// A wait that is too long fails the step with the error [ErrorLock], which is
// tried again by a Retry that names it, and caught by a Catch. Executions that
// wait for each other are parted by that alone.
//
// [StepInfo].Locks has the fence of each lock that is held.
func (s *Step[T]) Lock(locks ...*Resource[T]) *Step[T] {
	s.state.Locks = withLocks(s.state.Locks, locks)
	return s
}

// Lock makes the saga take locks before its first step, as [Step.Lock] does.
func (s *Saga[T]) Lock(locks ...*Resource[T]) *Saga[T] {
	plan := s.plan
	plan.locks = withLocks(plan.locks, locks)
	return build(plan)
}

func withLocks[T any](defs []LockDef, locks []*Resource[T]) []LockDef {
	defs = slices.Clip(defs)
	for _, r := range locks {
		if r == nil {
			r = &Resource[T]{} // lockProblems tells
		}
		defs = append(defs, r.lock)
	}
	return defs
}

// lockProblems are what is wrong with the locks of a step or a saga.
func lockProblems(locks []LockDef) (problems []string) {
	add := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	for i, l := range locks {
		if l.origin == nil && l.key == nil {
			add(true, "lock %d is nil", i+1)
			continue
		}
		add(!nameRule.MatchString(l.Name), "the name of its lock, %q, %s", l.Name, nameRuleText)
		add(l.key == nil, "its lock %q has no function that tells the key", l.Name)
		add(l.Wait <= 0, "it waits for its lock %q for %s, want it positive", l.Name, l.Wait)
		add(l.origin != nil && slices.ContainsFunc(locks[:i], func(o LockDef) bool { return o.origin == l.origin }),
			"it takes the lock %q twice", l.Name)
	}
	return problems
}

// patience tells which of the locks may be waited for until the saga is out of
// its time. The default is nobody's choice, and ends with that.
func patience(locks []LockDef, within time.Duration) (problems []string) {
	for _, l := range locks {
		if l.given && within > 0 && l.Wait >= within {
			problems = append(problems, fmt.Sprintf("it waits for its lock %q for up to %s, and the saga's own time is %s", l.Name, l.Wait, within))
		}
	}
	return problems
}

// need tells which lock is needed in a state.
func (l LockDef) need(state []byte) (lockNeed, error) {
	var key string
	if err := guard(func() (err error) { key, err = l.key(state); return err }); err != nil {
		return lockNeed{}, fmt.Errorf("tell the key of lock %q: %w", l.Name, err)
	}
	resource := l.Name + "/" + key
	switch {
	case key == "":
		return lockNeed{}, fmt.Errorf("the key of lock %q is empty", l.Name)
	case !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl):
		return lockNeed{}, fmt.Errorf("the key of lock %q, %.40q, has control characters, or is no UTF-8", l.Name, key)
	case len(resource) > store.MaxID:
		return lockNeed{}, fmt.Errorf("lock %.40q... has %d bytes with its key, at most %d are allowed", resource, len(resource), store.MaxID)
	}
	return lockNeed{Resource: resource, Wait: max(l.Wait.Milliseconds(), 1)}, nil
}
