package saga

import (
	"context"
	"fmt"
	"runtime/debug"
)

// Classify says what errors mean that say nothing by themselves: those of an SDK, of
// a database's driver, of an HTTP client. classify gets what the action or the
// compensation has returned, before it is judged, and returns it as what it is:
//
//	func(err error) error {
//		var pg *pgconn.PgError
//		switch {
//		case pgconn.SafeToRetry(err): // nothing was sent
//			return saga.NoEffect(err)
//		case errors.As(err, &pg) && pg.Code == "23514":
//			return saga.NoEffect(saga.Permanent(saga.Named("Overdrawn", err)))
//		}
//		return err
//	}
//
// What it returns takes the place of the error, so wrap that. An error that is
// returned as it came, and nil, say nothing: then [CoordinatorConfig].Classify is
// asked, and after that the error counts as the package documentation tells. An error
// does not become a success: where it means that the work is done, as an HTTP 409 may,
// the action has to say so, by returning nil.
//
// It is not asked about what is said already: an error that [Permanent], [NoEffect],
// [Uncertain], [StatusError] or [Named] has marked, or that has a method Permanent,
// NoEffect or Uncertain that answers true, and a panic. Of errors that are joined, it
// is asked about all where one is unmarked, and what is Uncertain already stays so.
// Nor is it asked once the handler's context has ended, by its timeout, its
// heartbeat, or the loss of its worker's lease: then nobody knows what was done.
//
// It runs in the handler's goroutine and time. One that panics leaves the outcome
// [Unknown]. It is no part of the definition's version.
func (s *Step[T]) Classify(classify func(error) error) *Step[T] {
	s.state.classify = classify
	return s
}

// Classify says what errors mean that say nothing by themselves, as [Step.Classify]
// does for a step that is done by its own saga. [ParticipantConfig].Classify is asked
// next.
func (s *Service[Req, Resp]) Classify(classify func(error) error) *Service[Req, Resp] {
	s.service.classify = classify
	return s
}

// classified is what a handler's error means, by the first classifier that says so.
// Once its context has ended, that is not the classifiers' business.
func classified(ctx context.Context, err error, classifiers ...func(error) error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, classify := range classifiers {
		if classify != nil && !marked(err) {
			err = ask(classify, err)
		}
	}
	return err
}

// ask asks a classifier. It cannot take back that an error is uncertain.
func ask(classify func(error) error, err error) (means error) {
	defer func() {
		if v := recover(); v != nil {
			means = Uncertain(fmt.Errorf("%w (to classify it: %w)", err, &PanicError{Value: v, Stack: debug.Stack()}))
		}
	}()
	means = classify(err)
	switch {
	case means == nil:
		return err
	case saidUncertain(err) && outcomeOf(means) != Unknown:
		return Uncertain(means)
	}
	return means
}

// marked reports whether it is said what an error means, with all that it joins.
func marked(err error) bool {
	for c := range chains(err) {
		if !c.marked() {
			return false
		}
	}
	return true
}

func (c chain) marked() bool {
	for _, e := range c {
		switch e := e.(type) {
		case *outcomeError, *namedError, *PanicError:
			return true
		case interface{ Permanent() bool }:
			if e.Permanent() {
				return true
			}
		}
	}
	_, said := c.said()
	return said
}

// saidUncertain reports whether somebody has said that an error is, or one that it
// joins.
func saidUncertain(err error) bool {
	for c := range chains(err) {
		if said, ok := c.said(); ok && said == Unknown {
			return true
		}
	}
	return false
}
