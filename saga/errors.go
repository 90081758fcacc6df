package saga

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
)

var (
	// ErrBlocked reports that a saga waits for an operator: see [Client.Retry].
	ErrBlocked = errors.New("saga is blocked")

	// ErrQuarantined reports that a saga waits for an operator because a write of
	// its was lost: see [Client.Release].
	ErrQuarantined = errors.New("saga is quarantined")

	// ErrCompensated reports that a saga failed and was undone.
	ErrCompensated = errors.New("saga was compensated")

	// ErrTerminated reports that a saga was ended where it stood.
	ErrTerminated = errors.New("saga was terminated")

	// ErrUnknownDefinition reports a start under a name that this process has
	// not registered.
	ErrUnknownDefinition = errors.New("unknown definition")
)

// Outcome tells a compensation what became of the action that it undoes.
type Outcome string

const (
	// Done means that the action returned without an error. The compensation
	// sees the state as it was committed after the action.
	Done Outcome = "done"

	// Unknown means that nobody can tell: the action timed out, its worker
	// died, it panicked, or its answer was lost on the way. The compensation
	// sees the state as it was before the action, must cope with an action
	// that never happened, and with one that did.
	Unknown Outcome = "unknown"

	// NotDone means that the action is known to have had no effect. Its
	// compensation does not run.
	NotDone Outcome = "not done"
)

// outcomeError is an error whose author knows the outcome, or that a retry is
// of no use.
type outcomeError struct {
	err       error
	outcome   Outcome // empty: to be judged from err
	permanent bool
}

func (e *outcomeError) Error() string   { return e.err.Error() }
func (e *outcomeError) Unwrap() error   { return e.err }
func (e *outcomeError) Permanent() bool { return e.permanent || isPermanent(e.err) }

// Permanent marks an error that no retry will cure: a card that is declined, an
// amount that is negative. The step fails at once. Permanent(nil) is nil.
//
// Any error in the chain with a method Permanent() bool that answers true does
// the same.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &outcomeError{err: err, permanent: true}
}

// NoEffect marks an error after which the action is known to have had no
// effect, although the error alone would not tell. NoEffect(nil) is nil.
//
// Any error in the chain with a method NoEffect() bool that answers true does
// the same.
func NoEffect(err error) error {
	if err == nil {
		return nil
	}
	return &outcomeError{err: err, outcome: NotDone}
}

// Uncertain marks an error after which the action may have had its effect: its
// compensation will run, told [Unknown]. Uncertain(nil) is nil.
//
// Any error in the chain with a method Uncertain() bool that answers true does
// the same.
func Uncertain(err error) error {
	if err == nil {
		return nil
	}
	return &outcomeError{err: err, outcome: Unknown}
}

// StatusError says what an HTTP answer that is no success means for an action's
// outcome: after 429 nothing was done, and a retry may help; after 408 and 5xx
// nobody knows; any other status is a refusal, which no retry cures.
// It is nil for a 2xx status, whatever err.
func StatusError(status int, err error) error {
	if err == nil {
		err = fmt.Errorf("HTTP status %d", status)
	}
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == 429:
		return NoEffect(err)
	case status == 408, status >= 500:
		return Uncertain(err)
	}
	return NoEffect(Permanent(err))
}

// A chain is an error and what it wraps, down to the last. Where errors are
// joined there is one for each.
type chain []error

// chains yields the chains of an error. They share their memory: each is good until
// the next.
func chains(err error) iter.Seq[chain] {
	return func(yield func(chain) bool) {
		var room [8]error
		follow(room[:0], err, yield)
	}
}

// follow yields the chains that begin with those above and go on with err.
func follow(above chain, err error, yield func(chain) bool) bool {
	c, last := append(above, err), true
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if next := e.Unwrap(); next != nil {
			return follow(c, next, yield)
		}
	case interface{ Unwrap() []error }:
		for _, next := range e.Unwrap() {
			if last = false; !follow(c, next, yield) {
				return false
			}
		}
	}
	return !last || yield(c)
}

// said is the outcome that the error's author declared, if any.
func (c chain) said() (Outcome, bool) {
	for _, e := range c {
		if e, ok := e.(*outcomeError); ok && e.outcome != "" {
			return e.outcome, true
		}
		if e, ok := e.(interface{ Uncertain() bool }); ok && e.Uncertain() {
			return Unknown, true
		}
		if e, ok := e.(interface{ NoEffect() bool }); ok && e.NoEffect() {
			return NotDone, true
		}
	}
	return "", false
}

// has reports whether one of the targets is in the chain.
func (c chain) has(targets ...error) bool {
	for _, e := range c {
		matcher, _ := e.(interface{ Is(error) bool })
		for _, target := range targets {
			if e == target || matcher != nil && matcher.Is(target) {
				return true
			}
		}
	}
	return false
}

func (c chain) outcome() Outcome {
	if said, ok := c.said(); ok {
		return said
	}
	if c.has(context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded) {
		return Unknown
	}
	broken := c.has(io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, driver.ErrBadConn,
		syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE)
	for _, e := range c {
		broken = broken || lostInGRPC(e) || slices.Contains(lostTexts, e.Error())
		switch e := e.(type) {
		case *PanicError:
			return Unknown
		case *net.OpError:
			if e.Op == "dial" {
				return NotDone
			}
			broken = true
		case syscall.Errno: // a net.Error too, if only of a file
			broken = broken || e.Timeout()
		case net.Error:
			broken = true
		}
	}
	if broken {
		return Unknown
	}
	return NotDone
}

// lostTexts are errors of a broken connection that have no name in Go.
var lostTexts = []string{
	"http: server closed idle connection",
	"http2: client connection lost",
	"invalid connection", // MySQL's, after a query was sent
}

// lostInGRPC reports whether an error has a gRPC status behind which the answer may
// have been lost. It looks by name, as gRPC is nothing that this module needs.
func lostInGRPC(err error) bool {
	status, ok := call(reflect.ValueOf(err), "GRPCStatus")
	if !ok {
		return false
	}
	code, ok := call(status, "Code")
	if !ok || !code.CanUint() {
		return false
	}
	switch code.Uint() {
	case 1, 2, 4, 13, 14, 15: // Canceled, Unknown, DeadlineExceeded, Internal, Unavailable, DataLoss
		return true
	}
	return false
}

// call calls a method that takes nothing and returns one thing.
func call(v reflect.Value, method string) (reflect.Value, bool) {
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return reflect.Value{}, false
	}
	m := v.MethodByName(method)
	if !m.IsValid() || m.Type().NumIn() != 0 || m.Type().NumOut() != 1 {
		return reflect.Value{}, false
	}
	return m.Call(nil)[0], true
}

// outcomeOf judges an action's error. What its author says counts. Else errors
// that an answer may have been lost behind are unknown: a context that ended, a
// panic, and errors of a network connection that was established. Of errors
// that are joined, one that is unknown is enough.
func outcomeOf(err error) Outcome {
	if err == nil {
		return Done
	}
	for c := range chains(err) {
		if c.outcome() == Unknown {
			return Unknown
		}
	}
	return NotDone
}

// saidOutcome reports whether outcomeOf is what the error's author declared.
func saidOutcome(err error) bool {
	for c := range chains(err) {
		if _, ok := c.said(); !ok {
			return false
		}
	}
	return true
}

func isPermanent(err error) bool {
	for c := range chains(err) {
		for _, e := range c {
			if p, ok := e.(interface{ Permanent() bool }); ok && p.Permanent() {
				return true
			}
		}
	}
	return false
}

// PanicError is the failure of a handler that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// StateSizeError reports a state that has grown over [CoordinatorConfig.MaxState], or
// whose JSON is nested more than 1,000 levels deep.
type StateSizeError struct {
	Step        string // empty: it is the input
	Size, Limit int    // bytes or, with Levels, levels
	Levels      bool
}

func (e *StateSizeError) Error() string {
	what := "the input"
	if e.Step != "" {
		what = fmt.Sprintf("state after step %q", e.Step)
	}
	if e.Levels {
		return fmt.Sprintf("%s is nested %d levels deep, at most %d are allowed", what, e.Size, e.Limit)
	}
	return fmt.Sprintf("%s has %d bytes, at most %d are allowed: keep what is large elsewhere, and a reference here", what, e.Size, e.Limit)
}

// Permanent reports that a retry would not help.
func (e *StateSizeError) Permanent() bool { return true }

// ReadError reports an execution whose record is there and cannot be read: it is
// damaged, or was written with another [Codec].
type ReadError struct {
	ID   string
	What string // a part of the record
	Err  error
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("execution %q: its %s cannot be read (is the Codec the coordinators'?): %v", e.ID, e.What, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// FailedError tells why a saga did not complete.
type FailedError struct {
	Execution string
	Status    Status // Compensated, Terminated, Blocked or Quarantined
	Cause     *Cause
}

func (e *FailedError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("saga %q is %s", e.Execution, e.Status)
	}
	return fmt.Sprintf("saga %q is %s: %s", e.Execution, e.Status, e.Cause)
}

// Is matches [ErrCompensated], [ErrTerminated], [ErrBlocked] and [ErrQuarantined].
func (e *FailedError) Is(target error) bool {
	return target == ErrCompensated && e.Status == Compensated || target == ErrTerminated && e.Status == Terminated || target == ErrBlocked && e.Status == Blocked ||
		target == ErrQuarantined && e.Status == Quarantined
}

// errWorkerLost is the failure of an attempt whose worker did not live to
// answer.
var errWorkerLost = errors.New("the worker was lost before it answered")

// errNoReturn is the failure of an attempt whose handler does not come back.
var errNoReturn = errors.New("the handler has not returned")

// errHandlerExited is the failure of a handler that ended its goroutine.
var errHandlerExited = Uncertain(errors.New("the handler called runtime.Goexit"))

// maxMessage bounds an error's text in frames and history.
const maxMessage = 2048

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return cutText(err.Error())
}

func cutText(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	return text
}

// failure is the event of a failed attempt.
func failure(t EventType, step string, attempt int, r result) Event {
	e := Event{Type: t, Step: step, Attempt: attempt, Outcome: r.outcome, Name: cutText(shownName(errorName(r.err))), Error: errorText(r.err)}
	var panicked *PanicError
	if errors.As(r.err, &panicked) {
		e.Stack = string(panicked.Stack[:min(len(panicked.Stack), maxMessage)])
	}
	return e
}
