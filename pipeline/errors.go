package pipeline

import (
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Permanent returns err marked as permanent: to run the filter on the message
// again is useless. Such a message is not retried, and goes to the dead-letter
// queue at once. Permanent(nil) is nil.
//
// An error of any other package is permanent when it, or the first error that
// it wraps with such a method, has a method
//
//	Permanent() bool
//
// that returns true. An error marked by package backoff is permanent, too.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string   { return e.err.Error() }
func (e *permanentError) Unwrap() error   { return e.err }
func (e *permanentError) Permanent() bool { return true }

// IsPermanent reports whether err is permanent, as [Permanent] says.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	if errors.As(err, &p) {
		return p.Permanent()
	}
	var b *backoff.PermanentError
	return errors.As(err, &b)
}

// RetryAfter returns err marked with the time after which the filter can
// succeed, as a service says that throttles its callers. The message is not
// retried in place; it goes back to its queue, hidden for that long. The
// receive counts all the same, and the last one that the queue allows is still
// the last. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err, max(d, 0)}
}

type retryAfterError struct {
	err   error
	after time.Duration
}

func (e *retryAfterError) Error() string { return fmt.Sprintf("%v (retry after %v)", e.err, e.after) }
func (e *retryAfterError) Unwrap() error { return e.err }

// A PanicError is a panic of a filter. It is retried like other errors, and its
// stack is recorded with the dead letter.
type PanicError struct {
	// Value is what the filter panicked with.
	Value any

	// Stack is the stack of the goroutine, as debug.Stack formats it.
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value of the panic, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// errGoexit is for a filter that ends its goroutine.
var errGoexit = errors.New("the filter called runtime.Goexit")
