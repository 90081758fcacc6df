package saga

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
)

// Names of errors, in the words of the Amazon States Language. [Step.Retry] and
// [Step.Catch] take them, and those that [Named] gives.
const (
	// ErrorAny is any error.
	ErrorAny = "States.ALL"
	// ErrorTimeout is an attempt that ran out of time, or whose worker died.
	ErrorTimeout = "States.Timeout"
	// ErrorHeartbeat is an attempt whose heartbeat stopped.
	ErrorHeartbeat = "States.HeartbeatTimeout"
	// ErrorTaskFailed is any error but ErrorTimeout, and the name of those that
	// have no other.
	ErrorTaskFailed = "States.TaskFailed"
	// ErrorNoChoice is a Choose where nothing holds and nothing comes next.
	ErrorNoChoice = "States.NoChoiceMatched"
	// ErrorTolerance is a ForEach of which more items failed than it tolerates.
	ErrorTolerance = "States.ExceedToleratedFailureThreshold"
	// ErrorLock is a lock that was not to be had in time: see [Step.Lock]. It is
	// tried again only by a Retry that is for errors of some names.
	ErrorLock = "Waybill.LockTimeout"
	// ErrorRuntime is a fault of the definition while it runs: a function of a
	// Pass, Choose, Merge or the like that fails, or a way that goes round in
	// circles.
	ErrorRuntime = "States.Runtime"
)

type namedError struct {
	error
	name string
}

func (e *namedError) Unwrap() error     { return e.error }
func (e *namedError) ErrorName() string { return e.name }

// Named gives an error a name, which [Step.Retry] and [Step.Catch] know it by.
// Named of a nil error is nil.
//
// Any error in the chain with a method ErrorName() string has that name.
func Named(name string, err error) error {
	if err == nil {
		return nil
	}
	return &namedError{error: err, name: name}
}

// errorName is the name of a failure.
func errorName(err error) string {
	var named interface{ ErrorName() string }
	switch {
	case errors.As(err, &named) && named.ErrorName() != "":
		return named.ErrorName()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, errWorkerLost), errors.Is(err, errNoReturn):
		return ErrorTimeout
	}
	return ErrorTaskFailed
}

// shownName is what a Cause shows of a name: nothing where it says nothing.
func shownName(name string) string {
	if name == ErrorTaskFailed {
		return ""
	}
	return name
}

// errorName is the name that the cause is retried and caught by.
func (c *Cause) errorName() string { return cmp.Or(c.Name, ErrorTaskFailed) }

// matches reports whether one of the names in a list means an error of that
// name.
func matches(list []string, name string) bool {
	return slices.ContainsFunc(list, func(want string) bool {
		return want == name || want == ErrorAny || want == ErrorTaskFailed && name != ErrorTimeout
	})
}

// catcher returns where the state goes on after an error of that name.
func (s *State) catcher(name string) (next string, ok bool) {
	for _, c := range s.Catch {
		if matches(c.Errors, name) {
			return c.Next, true
		}
	}
	return "", false
}

// policy returns the policy of retry for an error of that name, and its number:
// RetryOn's from 1 on, and 0 for the one that is for all others. Outside says
// that somebody outside was asked, and has said no, or nothing in time.
func (s *State) policy(name string, outside bool) (Retry, int, bool) {
	for i, r := range s.RetryOn {
		if matches(r.Errors, name) {
			return r.Retry, i + 1, true
		}
	}
	if s.Retry == nil || s.Callback && outside || name == ErrorLock && s.Type == TypeTask {
		return Retry{}, 0, false // nobody is asked again, unless the definition says so
	}
	return *s.Retry, 0, true
}
