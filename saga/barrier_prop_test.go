package saga_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

// How a call of the property test ends, if it gets to run.
const (
	endWell   = "well"
	endFail   = "fails"
	endPanic  = "panics"
	endCancel = "cancelled"       // its context ends in the middle
	endKill   = "connection lost" // by the server, before its commit
	endLost   = "answer lost"     // of a commit that came through
	endNever  = "commit lost"     // before it came to the database
)

// A raceCall is a call of the property test, and what came of it.
type raceCall struct {
	undo  bool
	end   string
	level sql.IsolationLevel // other than the default: in a transaction of the caller's

	ran bool
	err error
}

func (c *raceCall) String() string {
	name := "do"
	if c.undo {
		name = "undo"
	}
	return fmt.Sprintf("%s that ends %s, %s: ran %t, %v", name, c.end, c.level, c.ran, c.err)
}

// A raceState is what the model knows of a visit.
type raceState struct {
	done, undone bool
	booked       string
}

// after is the state after a call that came alone, and whether the call may have
// gone as it went. gaveUp allows the database to end it for the sake of another.
func (s raceState) after(c *raceCall, gaveUp bool) (next []raceState) {
	var refused *store.RefusedError
	run := s // as it is once the call has run, or once its row is written
	switch {
	case c.undo && s.undone, !c.undo && s.done && !s.undone: // a repeat
		if !c.ran && c.err == nil {
			next = append(next, s)
		}
	case !c.undo && s.undone:
		if !c.ran && errors.As(c.err, &refused) {
			next = append(next, s)
		}
	default:
		due := !c.undo || s.done
		if c.undo {
			run.undone = true
		} else {
			run.done = true
		}
		switch {
		case due && c.undo:
			run.booked += "-"
		case due:
			run.booked += "+"
		}
		if c.ran != due {
			break
		}
		end := c.end
		if !due && end != endLost && end != endNever {
			end = endWell // it is told by fn, or by its transaction
		}
		if (c.err == nil) == (end == endWell) {
			switch end {
			case endWell, endLost:
				next = append(next, run)
			case endFail, endPanic, endNever:
				next = append(next, s)
			case endCancel, endKill:
				next = append(next, s, run) // it may have come too late
			}
		}
		if end == endKill && c.err == nil || end == endCancel && c.err == nil {
			next = append(next, run)
		}
	}
	if gaveUp && c.err != nil && !errors.As(c.err, &refused) {
		next = append(next, s)
	}
	return next
}

// explain looks for an order of the calls, one by one, in which all of them go
// as they went, and the effects are those that are booked.
func explain(s raceState, calls []*raceCall, booked string, gaveUp bool) (ends []raceState) {
	if len(calls) == 0 {
		if s.booked == booked {
			return []raceState{s}
		}
		return nil
	}
	for i, c := range calls {
		rest := slices.Concat(calls[:i], calls[i+1:])
		for _, next := range s.after(c, gaveUp) {
			ends = append(ends, explain(next, rest, booked, gaveUp)...)
		}
	}
	return ends
}

// TestBarrierProperties: whatever transactions of an action and of its undo run
// at once, and however they end, the effects are those of some order of them one
// after the other, in which the action's is there once, and not after its undo's,
// and the undo's only after it.
func TestBarrierProperties(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			db := l.faulty(t)
			b := l.newBarrier(t, db)
			visits := 0
			rapid.Check(t, func(rt *rapid.T) {
				visits++
				visit := fmt.Sprintf("v%d", visits)
				possible := []raceState{{}}
				for range rapid.IntRange(1, 3).Draw(rt, "rounds") {
					calls := drawCalls(rt, d)
					r := race{l: l, db: db, b: b, visit: visit, launched: make(chan struct{})}
					gaveUp := d.dialect == saga.MySQL // deadlocks, of more than two
					for _, c := range calls {
						gaveUp = gaveUp || c.level != sql.LevelDefault
					}
					r.run(t, calls)
					possible = r.check(rt, t, possible, calls, gaveUp)
				}
				// Whatever there was, the next calls go as they should.
				for _, c := range []*raceCall{{end: endWell}, {undo: true, end: endWell}, {undo: true, end: endWell}, {end: endWell}} {
					r := race{l: l, db: db, b: b, visit: visit, launched: make(chan struct{})}
					r.run(t, []*raceCall{c})
					possible = r.check(rt, t, possible, []*raceCall{c}, false)
				}
				if got := l.signs(t, visit); got != "+-" && got != "" {
					rt.Errorf("the effects are %q", got)
				}
			})
		})
	}
}

func drawCalls(rt *rapid.T, d database) (calls []*raceCall) {
	ends := []string{endWell, endWell, endWell, endFail, endPanic, endCancel, endLost, endNever}
	levels := []sql.IsolationLevel{sql.LevelDefault, sql.LevelDefault, sql.LevelDefault}
	if d.dialect != saga.SQLite {
		ends = append(ends, endKill)
		levels = append(levels, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable)
	}
	for range rapid.IntRange(1, 4).Draw(rt, "calls") {
		calls = append(calls, &raceCall{
			undo:  rapid.Bool().Draw(rt, "undo"),
			end:   rapid.SampledFrom(ends).Draw(rt, "end"),
			level: rapid.SampledFrom(levels).Draw(rt, "level"),
		})
	}
	return calls
}

// A race is calls that come at once.
type race struct {
	l        *ledger
	db       *sql.DB
	b        *saga.Barrier
	visit    string
	launched chan struct{} // closed when all calls are under way
}

func (r *race) run(t *testing.T, calls []*raceCall) {
	var wg sync.WaitGroup
	for _, c := range calls {
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					if v != any(errFailed) {
						panic(v)
					}
					c.err = errFailed
				}
			}()
			c.err = r.call(t.Context(), c)
		})
	}
	close(r.launched)
	wg.Wait()
}

func (r *race) call(ctx context.Context, c *raceCall) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	switch c.end {
	case endLost:
		ctx = withFault(ctx, answerLost)
	case endNever:
		ctx = withFault(ctx, neverCame)
	}
	key, amount := "/do", 1
	if c.undo {
		key, amount = "/undo", -1
	}
	within := func(tx *sql.Tx) error {
		c.ran = true
		if err := r.l.book(ctx, tx, r.visit, amount); err != nil {
			return err
		}
		<-r.launched
		switch c.end {
		case endFail:
			return errFailed
		case endPanic:
			panic(errFailed)
		case endCancel:
			cancel()
		case endKill:
			return r.l.kill(ctx, tx)
		}
		return nil
	}
	under := saga.UnderCall(store.Call{Key: r.visit + key})
	if c.level == sql.LevelDefault {
		return r.b.Do(ctx, within, under)
	}
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{Isolation: c.level})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+r.l.table).Scan(&n); err != nil { // takes the snapshot
		return err
	}
	if err := r.b.In(ctx, tx, func() error { return within(tx) }, under); err != nil {
		return err
	}
	return tx.Commit()
}

// kill has the server end the transaction's connection.
func (l *ledger) kill(ctx context.Context, tx *sql.Tx) error {
	which, kill := "SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%d)"
	if l.dialect == saga.MySQL {
		which, kill = "SELECT CONNECTION_ID()", "KILL %d"
	}
	var id int64
	if err := tx.QueryRowContext(ctx, which).Scan(&id); err != nil {
		return err
	}
	_, err := l.db.ExecContext(ctx, fmt.Sprintf(kill, id))
	return err
}

// signs are the effects of a visit, in their order.
func (l *ledger) signs(t *testing.T, visit string) string {
	return strings.NewReplacer("[", "", "]", "", " ", "", "-1", "-", "1", "+").Replace(l.booked(t, visit))
}

// check returns the states that the calls may have led to.
func (r *race) check(rt *rapid.T, t *testing.T, before []raceState, calls []*raceCall, gaveUp bool) (after []raceState) {
	booked := r.l.signs(t, r.visit)
	for _, s := range before {
		for _, end := range explain(s, calls, booked, gaveUp) {
			if !slices.Contains(after, end) {
				after = append(after, end)
			}
		}
	}
	if len(after) == 0 {
		rt.Fatalf("from %+v no order of these calls leads to the effects %q:\n%s", before, booked, calls)
	}
	return after
}
