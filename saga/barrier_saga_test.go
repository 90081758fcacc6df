package saga_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// inSQLite runs a test of sagas on virtual time, with a ledger in SQLite.
func inSQLite(t *testing.T, f func(t *testing.T, l *ledger)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newLedger(t, databases(t)[0])) })
}

// An account is the state of the sagas that use a barrier.
type account struct {
	Receipt int64
}

// open is an action that books 1, and keeps the number of the booking.
func (l *ledger) open(ctx context.Context, b *saga.Barrier, a *account) error {
	return b.Do(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "INSERT INTO "+l.table+" (account, amount) VALUES ('a', 1) RETURNING n").Scan(&a.Receipt)
	}, saga.Keep(&a.Receipt))
}

// close undoes that.
func (l *ledger) close(ctx context.Context, b *saga.Barrier) error {
	return b.Do(ctx, func(tx *sql.Tx) error { return l.book(ctx, tx, "a", -1) })
}

// TestBarrierAnswerLost: an action whose commit was not answered is run again,
// and the saga goes on with what the first attempt has made.
func TestBarrierAnswerLost(t *testing.T) {
	inSQLite(t, func(t *testing.T, l *ledger) {
		b := l.newBarrier(t, l.faulty(t))
		s := saga.New("account",
			saga.Do("Open", func(ctx context.Context, a *account) error {
				if saga.StepFrom(ctx).Attempt == 1 {
					ctx = withFault(ctx, answerLost)
				}
				return l.open(ctx, b, a)
			}).Undo(func(ctx context.Context, a *account, _ saga.Outcome) error { return l.close(ctx, b) }),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		got, err := s.Run(t.Context(), c, "1", account{})
		if err != nil || got.Receipt != 1 {
			t.Errorf("the saga ends with %+v, %v, want the receipt 1", got, err)
		}
		if n := count(t, c, "1", saga.TaskScheduled); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
		if got := l.booked(t, "a"); got != "[1]" {
			t.Errorf("%s was booked, want [1]", got)
		}
	})
}

// TestBarrierUndoOfUnknown: where the commit of an action was not answered, its
// undo is told that the outcome is unknown, and the barrier knows it.
func TestBarrierUndoOfUnknown(t *testing.T) {
	for fault, booked := range map[commitFault]string{answerLost: "[1 -1]", neverCame: "[]"} {
		inSQLite(t, func(t *testing.T, l *ledger) {
			b := l.newBarrier(t, l.faulty(t))
			var told []saga.Outcome
			s := saga.New("account",
				saga.Do("Open", func(ctx context.Context, a *account) error { return l.open(withFault(ctx, fault), b, a) }).
					Retry(saga.Once()).
					Undo(func(ctx context.Context, a *account, was saga.Outcome) error {
						told = append(told, was, saga.StepFrom(ctx).Outcome)
						return l.close(ctx, b)
					}),
			)
			c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
			if _, err := s.Run(t.Context(), c, "1", account{}); !errors.Is(err, saga.ErrCompensated) {
				t.Errorf("fault %d: %v", fault, err)
			}
			if fmt.Sprint(told) != "[unknown unknown]" {
				t.Errorf("fault %d: the undo was told %s", fault, told)
			}
			if got := l.booked(t, "a"); got != booked {
				t.Errorf("fault %d: %s was booked, want %s", fault, got, booked)
			}
		})
	}
}

// TestBarrierLateAction: an action that is slower than its timeout, and that its
// undo has overtaken, is refused.
func TestBarrierLateAction(t *testing.T) {
	inSQLite(t, func(t *testing.T, l *ledger) {
		undone, late := make(chan struct{}), make(chan error, 1)
		s := saga.New("account",
			saga.Do("Open", func(ctx context.Context, a *account) error {
				// It does not heed its context, and goes on after the saga has given up.
				<-undone
				err := l.open(context.WithoutCancel(ctx), l.barrier, a)
				late <- err
				return err
			}).Retry(saga.Once()).Undo(func(ctx context.Context, a *account, _ saga.Outcome) error {
				return l.close(ctx, l.barrier)
			}),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, err := s.Run(t.Context(), c, "1", account{})
		if !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		close(undone)
		var refused *store.RefusedError
		if err := <-late; !errors.As(err, &refused) || refused.Key != "1/1//Open/1/do" {
			t.Errorf("the late action: %v, want it refused", err)
		}
		if got := l.booked(t, "a"); got != "[]" {
			t.Errorf("%s was booked", got)
		}
	})
}

// TestBarrierUndoElsewhere: an undo that goes through another part than its
// action, which is known to be done, blocks the saga instead of doing nothing.
func TestBarrierUndoElsewhere(t *testing.T) {
	inSQLite(t, func(t *testing.T, l *ledger) {
		var told saga.Outcome
		s := saga.New("account",
			saga.Do("Open", func(ctx context.Context, a *account) error { return l.open(ctx, l.barrier, a) }).
				Undo(func(ctx context.Context, a *account, _ saga.Outcome) error {
					told = saga.StepFrom(ctx).Outcome
					return l.barrier.Do(ctx, func(*sql.Tx) error { return nil }, saga.Part("another"))
				}),
			saga.Do("Fail", func(context.Context, *account) error { return errRefused }),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, err := s.Run(t.Context(), c, "1", account{})
		if !errors.Is(err, saga.ErrBlocked) || !strings.Contains(err.Error(), "has left no trace here") {
			t.Errorf("got %v, want the saga blocked", err)
		}
		if told != saga.Done {
			t.Errorf("StepInfo.Outcome is %q, want done", told)
		}
		if n := count(t, c, "1", saga.CompensationTried); n != 1 {
			t.Errorf("the undo was tried %d times, which is of no use", n)
		}
	})
}

// TestBarrierTwiceInOneAttempt: a second transaction of a handler, which would
// be taken for a repeat and left out, is an error, whatever its attempt.
func TestBarrierTwiceInOneAttempt(t *testing.T) {
	inSQLite(t, func(t *testing.T, l *ledger) {
		var second []error
		s := saga.New("account",
			saga.Do("Open", func(ctx context.Context, a *account) error {
				if err := l.open(ctx, l.barrier, a); err != nil {
					return err
				}
				err := l.open(ctx, l.barrier, a)
				second = append(second, err)
				return err
			}).Retry(saga.Retry{Attempts: 2}).Undo(func(ctx context.Context, a *account, was saga.Outcome) error {
				if was != saga.Unknown {
					t.Errorf("the undo was told %s", was)
				}
				return l.close(ctx, l.barrier)
			}),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", account{}); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		if len(second) != 2 {
			t.Errorf("%d attempts, want 2", len(second))
		}
		for _, err := range second {
			if err == nil || !strings.Contains(err.Error(), "its Part") {
				t.Errorf("the second transaction: %v", err)
			}
		}
		if got := l.booked(t, "a"); got != "[1 -1]" {
			t.Errorf("%s was booked, want [1 -1]", got)
		}
	})
}

// TestBarrierRepeatThatFails: an action that is done, and whose repeat goes
// wrong, is not taken for one that is not done.
func TestBarrierRepeatThatFails(t *testing.T) {
	inSQLite(t, func(t *testing.T, l *ledger) {
		s := saga.New("account",
			saga.Do("Open", func(ctx context.Context, a *account) error {
				if saga.StepFrom(ctx).Attempt == 1 {
					if err := l.barrier.Do(ctx, func(tx *sql.Tx) error { return l.book(ctx, tx, "a", 1) }); err != nil {
						t.Error(err)
					}
					return errors.New("it failed afterwards") // and so is not done, says the handler
				}
				return l.open(ctx, l.barrier, a)
			}).Undo(func(ctx context.Context, a *account, was saga.Outcome) error { return l.close(ctx, l.barrier) }),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, err := s.Run(t.Context(), c, "1", account{})
		if !errors.Is(err, saga.ErrCompensated) || !strings.Contains(err.Error(), "has kept no result") {
			t.Errorf("got %v, want it compensated because of the repeat", err)
		}
		if n := count(t, c, "1", saga.TaskScheduled); n != 2 {
			t.Errorf("%d attempts, want no third, which is of no use", n)
		}
		if got := l.booked(t, "a"); got != "[1 -1]" {
			t.Errorf("%s was booked, want [1 -1]", got)
		}
	})
}

// TestBarrierInAParticipant: a participant that has lost its records, and so runs
// what was run and what was undone, has the barrier, and answers as before.
func TestBarrierInAParticipant(t *testing.T) {
	l := newLedger(t, databases(t)[0])
	charges := 0
	lostRecords := func() *desk {
		d := newDesk(t, memstore.New(memstore.Config{}))
		d.charge = func(ctx context.Context) (result chargeResult, err error) {
			err = l.barrier.Do(ctx, func(tx *sql.Tx) error {
				charges++
				result.ID = fmt.Sprintf("charge %d", charges)
				return l.book(ctx, tx, "a", 1)
			}, saga.Keep(&result))
			return result, err
		}
		d.refund = func(ctx context.Context) error {
			return l.barrier.Do(ctx, func(tx *sql.Tx) error { return l.book(ctx, tx, "a", -1) })
		}
		return d
	}
	unknown := func(c map[string]any) { c["outcome"] = "unknown" }
	for _, step := range []struct {
		name    string
		command *message.Message
		booked  string
		reply   string
	}{
		{"an action", do(1), "[1]", `do 1: done {"ID":"charge 1"}`},
		{"a repeat", do(1), "[1]", `do 1: done {"ID":"charge 1"}`},
		{"an undo", undo(1, unknown), "[1 -1]", "undo 1: done"},
		{"a repeat of it", undo(1), "[1 -1]", "undo 1: done"},
		{"a late action", do(2), "[1 -1]", `do 2: not done for good: action "ride-1/1/Both:1/Charge/2/do" is refused: it was undone before it came`},
	} {
		d := lostRecords()
		d.handle(step.command)
		if got := l.booked(t, "a"); got != step.booked {
			t.Errorf("%s: %s was booked, want %s", step.name, got, step.booked)
		}
		if got := d.told(); len(got) != 1 || got[0] != step.reply {
			t.Errorf("%s: the replies are %q, want %q", step.name, got, step.reply)
		}
	}
}

// TestBarrierCalls: a call that nobody can tell from others is an error.
func TestBarrierCalls(t *testing.T) {
	l := newLedger(t, databases(t)[0])
	fn := func(*sql.Tx) error { t.Error("it was run"); return nil }
	if err := l.barrier.Do(t.Context(), fn); err == nil || !strings.Contains(err.Error(), "UnderCall") {
		t.Errorf("without a step: %v", err)
	}
	for what, call := range map[string]store.Call{
		"ends neither in /do":        {Key: "ride-1"},
		"names nothing":              {Key: "/undo"},
		`the part "a b"`:             {Key: "a/do", Part: "a b"},
		"is an action":               {Key: "a/do", Done: true},
		`the key "" of a barrier's `: {},
	} {
		err := l.barrier.Do(t.Context(), fn, saga.UnderCall(call))
		if !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want ErrInvalid that says %q", err, what)
		}
	}
}
