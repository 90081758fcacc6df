package saga_test

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

// eachGuard runs a test on every database with a barrier, which has to make the
// ledger as it should be, and without one, which shows what goes wrong then.
func eachGuard(t *testing.T, with, without string, f func(t *testing.T, l *ledger, g guard, account string)) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			for name, g := range l.guards() {
				f(t, l, g, name)
			}
			if got := l.booked(t, "with"); got != with {
				t.Errorf("with the barrier %s was booked, want %s", got, with)
			}
			if got := l.booked(t, "without"); got != without {
				t.Errorf("without a barrier %s was booked, want %s: the test proves nothing", got, without)
			}
		})
	}
}

// TestBarrierDuplicateAction: an action that is delivered twice has its effect
// once.
func TestBarrierDuplicateAction(t *testing.T) {
	eachGuard(t, "[1]", "[1 1]", func(t *testing.T, l *ledger, g guard, account string) {
		for range 2 {
			if err := l.do(t.Context(), g, account); err != nil {
				t.Errorf("%s: %v", account, err)
			}
		}
	})
}

// TestBarrierEmptyUndo: the undo of an action that never had its effect has none
// either.
func TestBarrierEmptyUndo(t *testing.T) {
	eachGuard(t, "[]", "[-1]", func(t *testing.T, l *ledger, g guard, account string) {
		if err := l.undo(t.Context(), g, account); err != nil {
			t.Errorf("%s: %v", account, err)
		}
	})
}

// TestBarrierHangingAction: an action that comes after its undo, of which nobody
// would undo the effect any more, has none.
func TestBarrierHangingAction(t *testing.T) {
	eachGuard(t, "[]", "[-1 1]", func(t *testing.T, l *ledger, g guard, account string) {
		if err := l.undo(t.Context(), g, account); err != nil {
			t.Errorf("%s: %v", account, err)
		}
		err := l.do(t.Context(), g, account)
		if _, naked := g.(noBarrier); naked {
			return
		}
		var refused *store.RefusedError
		if !errors.As(err, &refused) || refused.Key != "with/do" {
			t.Errorf("got %v, want a RefusedError with the key", err)
		}
	})
}

// TestBarrierActionAfterItsUndo: nor has one that comes again after it was
// undone.
func TestBarrierActionAfterItsUndo(t *testing.T) {
	eachGuard(t, "[1 -1]", "[1 -1 1]", func(t *testing.T, l *ledger, g guard, account string) {
		if err := errors.Join(l.do(t.Context(), g, account), l.undo(t.Context(), g, account)); err != nil {
			t.Errorf("%s: %v", account, err)
		}
		var refused *store.RefusedError
		if err := l.do(t.Context(), g, account); account == "with" && !errors.As(err, &refused) {
			t.Errorf("got %v, want a RefusedError", err)
		}
	})
}

// TestBarrierRepeatedUndo: an undo that is delivered twice has its effect once.
func TestBarrierRepeatedUndo(t *testing.T) {
	eachGuard(t, "[1 -1]", "[1 -1 -1]", func(t *testing.T, l *ledger, g guard, account string) {
		if err := errors.Join(l.do(t.Context(), g, account), l.undo(t.Context(), g, account), l.undo(t.Context(), g, account)); err != nil {
			t.Errorf("%s: %v", account, err)
		}
	})
}

// TestBarrierKeep: what an action has kept comes back on a repeat and in the
// undo, as it was.
func TestBarrierKeep(t *testing.T) {
	type receipt struct {
		Number int64
		Text   string
		Lines  map[string]int
	}
	want := receipt{Number: 1<<62 + 1, Text: "Grüße, \x00 <&> \u2028 'quoted' \U0001F600", Lines: map[string]int{"a": 1}}
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			got := want
			if err := l.do(t.Context(), l.barrier, "a", saga.Keep(&got)); err != nil {
				t.Fatal(err)
			}
			got = receipt{}
			for range 2 {
				got := receipt{Text: "another", Lines: map[string]int{"b": 2}}
				if err := l.do(t.Context(), l.barrier, "a", saga.Keep(&got)); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("a repeat: got %+v, %v, want %+v", got, err, want)
				}
			}
			err := l.barrier.Do(t.Context(), func(*sql.Tx) error {
				if !reflect.DeepEqual(got, want) {
					t.Errorf("the undo runs with %+v, want %+v", got, want)
				}
				return nil
			}, saga.Keep(&got), saga.UnderCall(store.Call{Key: "a/undo"}))
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBarrierKeepErrors: what cannot be kept rolls back, and what was not kept
// is an error for who asks for it.
func TestBarrierKeepErrors(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			ctx := t.Context()
			calls := map[string]func(context.Context, guard, string, ...saga.BarrierOption) error{"repeat": l.do, "undo": l.undo}
			large, most := strings.Repeat("x", 64<<10), strings.Repeat("x", 64<<10-2)
			for what, v := range map[string]any{
				"at most 65536": &large, "unsupported type": new(func()), "want a pointer": large, "given a <nil>": nil, "given a *string": (*string)(nil),
			} {
				if err := l.do(ctx, l.barrier, "a", saga.Keep(v)); err == nil || !strings.Contains(err.Error(), what) {
					t.Errorf("got %.200v, want an error that says %q", err, what)
				}
			}
			if got := l.booked(t, "a"); got != "[]" {
				t.Errorf("%s was booked by actions that failed", got)
			}
			if err := l.do(ctx, l.barrier, "a", saga.Keep(&most)); err != nil {
				t.Errorf("the longest that may be kept: %v", err)
			}
			var n int
			for name, call := range calls {
				if err := call(ctx, l.barrier, "a", saga.Keep(&n)); err == nil || !strings.Contains(err.Error(), "read the result") {
					t.Errorf("%s for another type: %v", name, err)
				}
			}
			if err := l.do(ctx, l.barrier, "b"); err != nil {
				t.Fatal(err)
			}
			for name, call := range calls {
				if err := call(ctx, l.barrier, "b", saga.Keep(&n)); err == nil || !strings.Contains(err.Error(), "kept no result") {
					t.Errorf("%s of what kept nothing: %v", name, err)
				}
			}
			if got := l.booked(t, "a") + l.booked(t, "b"); got != "[1][1]" {
				t.Errorf("%s was booked, want no undo that failed", got)
			}
		})
	}
}

// TestBarrierNoTrace: an undo whose action is known to be done, and has left no
// row, is an error, and nothing is taken for undone.
func TestBarrierNoTrace(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			done := saga.UnderCall(store.Call{Key: "a/undo", Done: true})
			undo := func() error {
				return l.barrier.Do(t.Context(), func(tx *sql.Tx) error { return l.book(t.Context(), tx, "a", -1) }, done)
			}
			for range 2 {
				var lost *store.NoTraceError
				if err := undo(); !errors.As(err, &lost) || lost.Key != "a/undo" {
					t.Errorf("got %v, want a NoTraceError with the key", err)
				}
			}
			if err := errors.Join(l.do(t.Context(), l.barrier, "a"), undo()); err != nil {
				t.Error(err)
			}
			if got := l.booked(t, "a"); got != "[1 -1]" {
				t.Errorf("%s was booked, want [1 -1]", got)
			}
		})
	}
}

// TestBarrierParts: each part of a handler is behind the barrier for itself.
func TestBarrierParts(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			one, two := saga.Part("one"), saga.Part("two")
			err := errors.Join(
				l.do(t.Context(), l.barrier, "a"),
				l.do(t.Context(), l.barrier, "a", one), l.do(t.Context(), l.barrier, "a", one),
				l.undo(t.Context(), l.barrier, "a", two), l.undo(t.Context(), l.barrier, "a", one),
			)
			if err != nil {
				t.Error(err)
			}
			var refused *store.RefusedError
			if err := l.do(t.Context(), l.barrier, "a", two); !errors.As(err, &refused) {
				t.Errorf("got %v, want a RefusedError", err)
			}
			if got := l.booked(t, "a"); got != "[1 1 -1]" {
				t.Errorf("%s was booked, want [1 1 -1]", got)
			}
		})
	}
}

// TestBarrierKeys: keys that a database might take for one another, or not at
// all, are each their own.
func TestBarrierKeys(t *testing.T) {
	long := strings.Repeat("x", 300)
	keys := []string{
		"ride", "Ride", "ride ", " ride", "ri de", "ride%", "r_de", "ride\t", "ride\x00", "ride\\", "ride'", `ride"`, "ride;--",
		"rid\u00e9", "ride\u0301", "\xff\xfe", "straße", "strasse", "\U0001F600", "\U0001F601", long, long + "y", long[1:] + "y", "$1", "?1",
	}
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			run := func(key string) {
				err := l.run(t.Context(), l.barrier, "a", store.Call{Key: key + "/do"}, 1, nil)
				if err != nil {
					t.Errorf("%q: %v", key, err)
				}
			}
			for i, key := range keys {
				run(key)
				run(key)
				if got, want := strings.Count(l.booked(t, "a"), "1"), i+1; got != want {
					t.Fatalf("after %q %d effects are booked, want %d", key, got, want)
				}
			}
		})
	}
}

// TestBarrierRollsBack: an error or a panic of the function is the caller's, and
// leaves nothing, so that the next attempt runs.
func TestBarrierRollsBack(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			attempt := func(end func() error) (err error) {
				defer func() {
					if v := recover(); v != nil {
						err = v.(error)
					}
				}()
				return l.barrier.Do(t.Context(), func(tx *sql.Tx) error {
					return errors.Join(l.book(t.Context(), tx, "a", 1), end())
				}, saga.UnderCall(store.Call{Key: "a/do"}))
			}
			if err := attempt(func() error { return errFailed }); !errors.Is(err, errFailed) {
				t.Errorf("got %v, want the function's error", err)
			}
			if err := attempt(func() error { panic(errFailed) }); err != errFailed {
				t.Errorf("got %v, want the panic", err)
			}
			if n := l.db.Stats().InUse; n != 0 {
				t.Errorf("%d connections are in use still", n)
			}
			if got := l.booked(t, "a"); got != "[]" {
				t.Errorf("%s was booked", got)
			}
			if err := attempt(func() error { return nil }); err != nil {
				t.Error(err)
			}
			if got := l.booked(t, "a"); got != "[1]" {
				t.Errorf("%s was booked, want [1]", got)
			}
		})
	}
}

// TestBarrierContext: the end of the context ends the transaction, and an
// attempt that was to begin after it has none.
func TestBarrierContext(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			ctx, cancel := context.WithCancel(t.Context())
			err := l.barrier.Do(ctx, func(tx *sql.Tx) error {
				if err := l.book(ctx, tx, "a", 1); err != nil {
					t.Error(err)
				}
				cancel()
				return nil
			}, saga.UnderCall(store.Call{Key: "a/do"}))
			if err == nil {
				t.Error("a transaction whose context has ended was committed")
			}
			if err := l.do(ctx, l.barrier, "a"); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want that the context has ended", err)
			}
			if got := l.booked(t, "a"); got != "[]" {
				t.Errorf("%s was booked", got)
			}
		})
	}
}
