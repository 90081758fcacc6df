package saga_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/waybill-dev/waybill/saga"
)

// TestCompensationKnowsCause holds StepInfo.Cause to what the execution shows.
func TestCompensationKnowsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before, after *saga.Cause
		s := saga.New("trip",
			saga.Do("A", func(ctx context.Context, s *trip) error {
				before = saga.StepFrom(ctx).Cause
				return nil
			}).Undo(func(ctx context.Context, s *trip, _ saga.Outcome) error {
				after = saga.StepFrom(ctx).Cause
				return nil
			}),
			saga.Do("B", func(ctx context.Context, s *trip) error { return errRefused }),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Fatal(err)
		}
		if before != nil {
			t.Errorf("the action sees the cause %v, want none", before)
		}
		if want := (saga.Cause{Kind: saga.CauseFailed, Step: "B", Error: "refused"}); after == nil || *after != want {
			t.Errorf("the compensation sees the cause %+v, want %+v", after, want)
		}
	})
}

// TestCompensationKnowsItsActionsKey holds StepInfo.ActionKey to the Key that the
// action saw.
func TestCompensationKnowsItsActionsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var action, undo saga.StepInfo
		s := saga.New("trip",
			saga.Do("A", func(ctx context.Context, _ *trip) error { action = saga.StepFrom(ctx); return nil }).
				Undo(func(ctx context.Context, _ *trip, _ saga.Outcome) error { undo = saga.StepFrom(ctx); return nil }),
			saga.Do("B", func(context.Context, *trip) error { return errRefused }),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Fatal(err)
		}
		if action.Key == "" || action.ActionKey != action.Key || undo.ActionKey != action.Key || undo.Key == action.Key {
			t.Errorf("the action has key %q and action key %q, its undo %q and %q", action.Key, action.ActionKey, undo.Key, undo.ActionKey)
		}
	})
}

// TestOutcomeKeepsPermanence shows that what is said about an outcome does not
// hide, from who looks at the outermost error alone, that a retry is of no use.
func TestOutcomeKeepsPermanence(t *testing.T) {
	for name, err := range map[string]error{
		"Uncertain(Permanent)": saga.Uncertain(errRefused),
		"NoEffect(Permanent)":  saga.NoEffect(errRefused),
		"Permanent(Uncertain)": saga.Permanent(saga.Uncertain(errors.New("refused"))),
	} {
		var p interface{ Permanent() bool }
		if !errors.As(err, &p) || !p.Permanent() {
			t.Errorf("%s is not permanent", name)
		}
	}
	var p interface{ Permanent() bool }
	if errors.As(saga.Uncertain(errors.New("busy")), &p) && p.Permanent() {
		t.Error("Uncertain is permanent")
	}
}

// WithStep gives a handler under test what a coordinator would.
func TestWithStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var action, undo saga.StepInfo
		s := saga.New("trip",
			saga.Do("A", func(ctx context.Context, _ *trip) error { action = saga.StepFrom(ctx); return nil }).
				Undo(func(ctx context.Context, _ *trip, _ saga.Outcome) error { undo = saga.StepFrom(ctx); return nil }),
			saga.Do("B", func(context.Context, *trip) error { return errRefused }),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrCompensated) {
			t.Fatal(err)
		}
		for _, want := range []saga.StepInfo{action, undo} {
			given := want
			given.Key, given.ActionKey, given.Visit, given.Attempt = "", "", 0, 0
			if got := saga.StepFrom(saga.WithStep(t.Context(), given)); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		if got := saga.StepFrom(saga.WithStep(t.Context(), saga.StepInfo{Key: "k", ActionKey: "a", Visit: 2})); got.Key != "k" || got.ActionKey != "a" || got.Visit != 2 {
			t.Errorf("got %+v, want what was given", got)
		}
	})
}
