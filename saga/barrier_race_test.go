package saga_test

import (
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

var errFailed = errors.New("it failed")

// awaitWaiting waits until n transactions wait for another's lock, if the
// database tells.
func (l *ledger) awaitWaiting(t testing.TB, n int) {
	t.Helper()
	if l.waiting == "" {
		return
	}
	for began := time.Now(); ; {
		var name string
		var waiting int
		if err := l.db.QueryRowContext(t.Context(), l.waiting).Scan(&name, &waiting); err != nil {
			t.Fatal(err)
		}
		if waiting >= n {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("%d transactions wait, want %d", waiting, n)
		}
	}
}

// TestBarrierAtOnce: a call that comes while the transaction of another is under
// way waits for its end, and does what follows from that.
func TestBarrierAtOnce(t *testing.T) {
	type call struct {
		undo, fails bool
	}
	do, undo := call{}, call{undo: true}
	failing := func(c call) call { c.fails = true; return c }
	for _, tt := range []struct {
		name          string
		before        []call
		first, second call
		ran           bool // the second one
		refused       bool
		booked        string
	}{
		{name: "an action after the same action", first: do, second: do, booked: "[1]"},
		{name: "an action after one that fails", first: failing(do), second: do, ran: true, booked: "[1]"},
		{name: "an undo after its action", first: do, second: undo, ran: true, booked: "[1 -1]"},
		{name: "an undo after an action that fails", first: failing(do), second: undo, booked: "[]"},
		{name: "an undo after the same undo", before: []call{do}, first: undo, second: undo, booked: "[1 -1]"},
		{name: "an undo after one that fails", before: []call{do}, first: failing(undo), second: undo, ran: true, booked: "[1 -1]"},
		{name: "an action during its undo", before: []call{do}, first: undo, second: do, refused: true, booked: "[1 -1]"},
		{name: "an action during an undo that fails", before: []call{do}, first: failing(undo), second: do, booked: "[1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, d := range databases(t) {
				t.Run(d.name, func(t *testing.T) {
					l := newLedger(t, d)
					run := func(c call, within func()) (ran bool, err error) {
						key, amount := "a/do", 1
						if c.undo {
							key, amount = "a/undo", -1
						}
						err = l.barrier.Do(t.Context(), func(tx *sql.Tx) error {
							ran = true
							if err := l.book(t.Context(), tx, "a", amount); err != nil {
								return err
							}
							within()
							if c.fails {
								return errFailed
							}
							return nil
						}, saga.UnderCall(store.Call{Key: key}))
						return ran, err
					}
					for _, c := range tt.before {
						if _, err := run(c, func() {}); err != nil {
							t.Fatal(err)
						}
					}
					var (
						second sync.WaitGroup
						ran    bool
						err    error
					)
					_, first := run(tt.first, func() {
						second.Go(func() { ran, err = run(tt.second, func() {}) })
						l.awaitWaiting(t, 1)
					})
					second.Wait()
					if (first != nil) != tt.first.fails || first != nil && !errors.Is(first, errFailed) {
						t.Errorf("the first call: %v", first)
					}
					var refused *store.RefusedError
					if ran != tt.ran || tt.refused && !errors.As(err, &refused) || !tt.refused && err != nil {
						t.Errorf("the second call ran: %t, %v", ran, err)
					}
					if got := l.booked(t, "a"); got != tt.booked {
						t.Errorf("%s was booked, want %s", got, tt.booked)
					}
				})
			}
		})
	}
}

// TestBarrierEmptyUndoAtOnce: an action that comes while an empty undo is not
// committed yet is refused or run, by whether the undo is then.
func TestBarrierEmptyUndoAtOnce(t *testing.T) {
	for _, d := range databases(t) {
		for _, committed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, committed %t", d.name, committed), func(t *testing.T) {
				l := newLedger(t, d)
				ctx := t.Context()
				tx, err := l.db.BeginTx(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = tx.Rollback() }()
				err = l.barrier.In(ctx, tx, func() error { return errFailed }, saga.UnderCall(store.Call{Key: "a/undo"}))
				if err != nil {
					t.Fatal(err)
				}
				result := make(chan error, 1)
				go func() { result <- l.do(ctx, l.barrier, "a") }()
				l.awaitWaiting(t, 1)
				want := "[1]"
				if committed {
					want = "[]"
					err = tx.Commit()
				} else {
					err = tx.Rollback()
				}
				if err != nil {
					t.Fatal(err)
				}
				var refused *store.RefusedError
				if err := <-result; errors.As(err, &refused) != committed || !committed && err != nil {
					t.Errorf("the action: %v", err)
				}
				if got := l.booked(t, "a"); got != want {
					t.Errorf("%s was booked, want %s", got, want)
				}
			})
		}
	}
}

// TestBarrierOldSnapshot: in a transaction whose snapshot is older than what
// others have committed since, the barrier goes by what they have committed, or
// the database gives the transaction up.
func TestBarrierOldSnapshot(t *testing.T) {
	for _, d := range databases(t) {
		for _, level := range []sql.IsolationLevel{sql.LevelDefault, sql.LevelRepeatableRead, sql.LevelSerializable} {
			if d.dialect == saga.SQLite && level != sql.LevelDefault {
				continue // it has none but that
			}
			for name, booked := range map[string]string{"do": "[1]", "undo": "[]"} {
				t.Run(fmt.Sprintf("%s, %s, %s", d.name, level, name), func(t *testing.T) {
					oldSnapshot(t, newLedger(t, d), level, name, booked)
				})
			}
		}
	}
}

// oldSnapshot runs an action in a transaction that has read before another call
// is committed.
func oldSnapshot(t *testing.T, l *ledger, level sql.IsolationLevel, name, booked string) {
	ctx := t.Context()
	tx, err := l.db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+l.rows).Scan(&n); err != nil {
		t.Fatal(err)
	}
	other := make(chan error, 1)
	go func() {
		if name == "undo" {
			other <- l.undo(ctx, l.barrier, "a")
		} else {
			other <- l.do(ctx, l.barrier, "a")
		}
	}()
	var second error
	locks := l.dialect == saga.MySQL && level == sql.LevelSerializable
	if locks {
		l.awaitWaiting(t, 1) // where reading locks, the other has to wait
	} else if second = <-other; second != nil {
		t.Fatal(second)
	}
	err = l.barrier.In(ctx, tx, func() error { return l.book(ctx, tx, "a", 1) }, saga.UnderCall(store.Call{Key: "a/do"}))
	if err == nil {
		err = tx.Commit()
	}
	_ = tx.Rollback()
	if locks {
		second = <-other
	}
	if err != nil && second != nil {
		t.Errorf("both gave up: %v; %v", err, second)
	}
	var refused *store.RefusedError
	certain := level == sql.LevelDefault && l.dialect != saga.SQLite
	if certain && errors.As(err, &refused) != (name == "undo") || certain && name == "do" && err != nil {
		t.Errorf("the action: %v", err)
	}
	if got := l.booked(t, "a"); got != booked && !locks {
		t.Errorf("%s was booked, want %s", got, booked)
	}
}
