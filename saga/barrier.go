package saga

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// BarrierConfig says where a [Barrier] keeps its rows.
type BarrierConfig struct {
	// DB is the database that has the effects. Required.
	DB *sql.DB

	// Dialect is the database's. Required.
	Dialect Dialect

	// Table is the barrier's table, with its schema where it needs one:
	// letters, digits and _. Handlers of one database may share it. Defaults to
	// waybill_barrier.
	Table string
}

// A Barrier lets a handler that owns a SQL database have its effect there once,
// and undo it only where it is. It has a table in that database, and writes a
// row in the very transaction that has the effect:
//
//	barrier, err := saga.NewBarrier(saga.BarrierConfig{DB: db, Dialect: saga.PostgreSQL})
//	...
//	func credit(ctx context.Context, f *Fare) error {
//		return barrier.Do(ctx, func(tx *sql.Tx) error {
//			_, err := tx.ExecContext(ctx, `UPDATE account SET cents = cents + $1 WHERE id = $2`, f.Cents, f.Customer)
//			return err
//		})
//	}
//
//	func debit(ctx context.Context, f *Fare, _ saga.Outcome) error {
//		return barrier.Do(ctx, func(tx *sql.Tx) error {
//			_, err := tx.ExecContext(ctx, `UPDATE account SET cents = cents - $1 WHERE id = $2`, f.Cents, f.Customer)
//			return err
//		})
//	}
//
// The action and its undo go through the same barrier. Whatever comes twice, at
// once, late or in the wrong order, and whichever transactions fail:
//
//   - an action that is repeated is not run again. Do returns nil, and [Keep]
//     gives back what the first run has made;
//   - an undo whose action is not done is not run, since there is nothing to
//     undo. Do returns nil, and the action is refused from then on;
//   - an action that comes after its undo is not run. Do returns a
//     [store.RefusedError], which is permanent, and means not done;
//   - an undo that is repeated is not run again. Do returns nil.
//
// An undo that is told [Done], and of whose action the barrier has no row, is
// not taken for an empty one: Do returns a [store.NoTraceError], and the saga is
// blocked. So where an action returns nil without the barrier, its undo must not
// go through it either.
//
// A row names the visit of a step, so all attempts of an action, and those of
// its undo, meet at it: a second transaction waits at the row until the first
// one has ended, and then sees what came of it. The isolation of transactions
// does not matter; where a database gives up a transaction because of another,
// nothing is done, and the next attempt is right. MySQL's tables are those of
// InnoDB.
type Barrier struct {
	db    *sql.DB
	table string
	sql   statements
}

// NewBarrier returns a barrier. Its table has to be there before it is used: see
// [Barrier.CreateTable] and [Barrier.DDL].
func NewBarrier(cfg BarrierConfig) (*Barrier, error) {
	if cfg.DB == nil {
		return nil, errors.New("saga: BarrierConfig.DB is nil")
	}
	if cfg.Table == "" {
		cfg.Table = "waybill_barrier"
	}
	sql, err := cfg.Dialect.statements(cfg.Table)
	if err != nil {
		return nil, err
	}
	return &Barrier{db: cfg.DB, table: cfg.Table, sql: sql}, nil
}

// A BarrierOption is a wish about one call of a barrier.
type BarrierOption func(*barrierOptions)

type barrierOptions struct {
	call  store.Call
	given bool
	part  string
	keep  any
	keeps bool
}

// Keep keeps what v points to, as JSON, in the action's row once the action has
// run. A repeat of the action finds it in v, and so does the undo before it
// runs, even if the saga never had the action's answer:
//
//	err := barrier.Do(ctx, func(tx *sql.Tx) error {
//		return tx.QueryRowContext(ctx, `INSERT INTO booking ... RETURNING id`, ...).Scan(&trip.Booking)
//	}, saga.Keep(&trip.Booking))
//
// Whatever a handler puts into the saga's state from within the transaction
// belongs here, or a repeat would leave the state without it. At most 64 KiB. A
// repeat or undo that asks for what the action has not kept gets an error.
func Keep(v any) BarrierOption {
	return func(o *barrierOptions) { o.keep, o.keeps = v, true }
}

// Part names one of several transactions of a handler, each of which goes
// through the barrier for itself. The undo of a transaction names the same part.
func Part(name string) BarrierOption {
	return func(o *barrierOptions) { o.part = name }
}

// UnderCall says what the call is, where the context does not: outside of the
// handlers of this package.
func UnderCall(call store.Call) BarrierOption {
	return func(o *barrierOptions) { o.call, o.given = call, true }
}

// A crossing is what one attempt has behind it.
type crossing struct {
	db        *sql.DB
	table, id string
}

// options reads what one call is about.
func (b *Barrier) options(ctx context.Context, opts []BarrierOption) (o barrierOptions, id string, undo bool, err error) {
	for _, opt := range opts {
		opt(&o)
	}
	if !o.given {
		o.call = StepFrom(ctx).Call()
		if o.call.Key == "" {
			return o, "", false, errors.New("saga: a barrier was called with a context that is no handler's: hand on the handler's, or say what the call is with UnderCall")
		}
	}
	if o.part != "" {
		o.call.Part = o.part
	}
	if id, undo, err = o.call.ID(); err != nil {
		return o, "", false, fmt.Errorf("saga: barrier: %w", err)
	}
	if v := reflect.ValueOf(o.keep); o.keeps && (v.Kind() != reflect.Pointer || v.IsNil()) {
		return o, "", false, fmt.Errorf("saga: barrier %q: Keep was given a %T, want a pointer to what is kept", id, o.keep)
	}
	return o, id, undo, nil
}

// Do runs fn in a transaction, behind the barrier, and commits it; or does not
// run it, as [Barrier] tells. The context is the handler's: it tells the call,
// and its end ends the transaction. An error of fn rolls back, and is returned.
// fn has to return the errors of its statements, and to have no effects but
// those of tx, which are all that is rolled back.
//
// Once a transaction has gone through, a second one in the same attempt is an
// error unless it is another [Part].
//
// Where the commit fails nobody knows what came of it: that error is
// [Uncertain], and the next attempt finds out.
func (b *Barrier) Do(ctx context.Context, fn func(tx *sql.Tx) error, opts ...BarrierOption) error {
	o, id, undo, err := b.options(ctx, opts)
	if err != nil {
		return err
	}
	step, _ := ctx.Value(stepKey{}).(*calledStep)
	through := crossing{b.db, b.table, id}
	if step != nil && step.has(through) {
		return Uncertain(fmt.Errorf("saga: barrier %q: this attempt is through already: give each of the handler's transactions its Part, and leave retries to the saga", id))
	}
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("saga: barrier %q: begin: %w", id, err)
	}
	defer func() { _ = tx.Rollback() }() // also when fn panics
	due, err := b.pass(ctx, tx, o, id, undo, func() error { return fn(tx) })
	if err != nil {
		return err
	}
	if due != repeated { // of which nothing has to stay
		if err := tx.Commit(); err != nil {
			return Uncertain(fmt.Errorf("saga: barrier %q: commit: %w", id, err))
		}
	}
	if step != nil {
		step.add(through)
	}
	return nil
}

// In is Do in a transaction that the caller has begun, on the barrier's
// database. Call it first in the transaction. Where it returns nil, commit the
// transaction, whether fn was run or not, and return an error of the commit as
// [Uncertain]; else roll back.
func (b *Barrier) In(ctx context.Context, tx *sql.Tx, fn func() error, opts ...BarrierOption) error {
	o, id, undo, err := b.options(ctx, opts)
	if err != nil {
		return err
	}
	_, err = b.pass(ctx, tx, o, id, undo, fn)
	return err
}

// A passage is what the barrier makes of a call.
type passage int

const (
	due      passage = iota // it is run
	repeated                // it was run before
	empty                   // there is nothing to undo
)

// pass enters the call and runs fn if it is due.
func (b *Barrier) pass(ctx context.Context, tx *sql.Tx, o barrierOptions, id string, undo bool, fn func() error) (passage, error) {
	row, err := b.sql.enter(ctx, tx, id, undo)
	if err != nil {
		return 0, fmt.Errorf("saga: barrier %q: %w", id, b.hint(err))
	}
	if undo {
		return b.passUndo(o, id, row, fn)
	}
	switch {
	case row.undos > 0:
		return 0, &store.RefusedError{Key: o.call.Key}
	case row.actions > 1:
		// It is done, whatever goes wrong from here on.
		return repeated, Uncertain(Permanent(o.restore(id, row.result)))
	}
	if err := fn(); err != nil {
		return 0, err
	}
	if !o.keeps {
		return due, nil
	}
	kept, err := o.encode(id)
	if err != nil {
		return 0, err
	}
	if err := b.sql.keep(ctx, tx, id, kept); err != nil {
		return 0, fmt.Errorf("saga: barrier %q: keep the result: %w", id, err)
	}
	return due, nil
}

func (b *Barrier) passUndo(o barrierOptions, id string, row barrierRow, fn func() error) (passage, error) {
	switch {
	case row.undos > 1:
		return repeated, nil
	case row.actions == 0 && o.call.Done:
		return 0, &store.NoTraceError{Key: o.call.Key}
	case row.actions == 0:
		return empty, nil
	}
	if err := o.restore(id, row.result); err != nil {
		return 0, Permanent(err)
	}
	return due, fn()
}

// maxKept bounds what one row keeps, in bytes.
const maxKept = 64 << 10

func (o *barrierOptions) encode(id string) ([]byte, error) {
	kept, err := json.Marshal(o.keep)
	if err != nil {
		return nil, Permanent(fmt.Errorf("saga: barrier %q: keep the result: %w", id, err))
	}
	if len(kept) > maxKept {
		return nil, Permanent(fmt.Errorf("saga: barrier %q: the result that it is to keep has %d bytes, at most %d are allowed: keep what is large elsewhere, and a reference here", id, len(kept), maxKept))
	}
	return kept, nil
}

// restore gives back what an action has kept.
func (o *barrierOptions) restore(id string, kept []byte) error {
	if !o.keeps {
		return nil
	}
	if kept == nil {
		return fmt.Errorf("saga: barrier %q: its action has kept no result, and Keep asks for one", id)
	}
	into := reflect.ValueOf(o.keep).Elem()
	fresh := reflect.New(into.Type())
	if err := json.Unmarshal(kept, fresh.Interface()); err != nil {
		return fmt.Errorf("saga: barrier %q: read the result that its action has kept: %w", id, err)
	}
	into.Set(fresh.Elem())
	return nil
}

func (s *calledStep) has(c crossing) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.crossed[c]
}

func (s *calledStep) add(c crossing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crossed == nil {
		s.crossed = make(map[crossing]bool)
	}
	s.crossed[c] = true
}

// CreateTable makes the barrier's table and its index, where they are missing.
func (b *Barrier) CreateTable(ctx context.Context) error {
	for _, statement := range b.DDL() {
		_, err := b.db.ExecContext(ctx, statement)
		if err != nil { // PostgreSQL fails where another makes it at the same time
			_, err = b.db.ExecContext(ctx, statement)
		}
		if err != nil {
			return fmt.Errorf("saga: make the barrier's table %s: %w", b.table, err)
		}
	}
	return nil
}

// DDL returns the statements of CreateTable, for a migration. The columns are
// id, the visit of the step, in printable ASCII; actions and undos, how often the
// action and its undo have come, as far as it was committed; result, what [Keep]
// keeps; and changed, when the row was last written, in seconds since 1970.
func (b *Barrier) DDL() []string { return b.sql.ddl }

// Prune removes the rows that have not changed for that long, and returns how
// many. Call it once a day or so; it takes rows in small transactions.
//
// An undo that comes after its action's row was removed is not run. So olderThan
// has to be longer than any saga lasts from a step until it is undone, waits for
// people and operators included; and than a command may be delivered once more.
// It is at least [store.MinBarrierRetention], 15 days, which tells more.
func (b *Barrier) Prune(ctx context.Context, olderThan time.Duration) (removed int64, err error) {
	if olderThan < store.MinBarrierRetention {
		return 0, fmt.Errorf("saga: prune a barrier: %s is too short, want at least %s, and longer than any saga lasts: an undo without its action's row is not run", olderThan, store.MinBarrierRetention)
	}
	for {
		result, err := b.db.ExecContext(ctx, b.sql.prune, int64((olderThan+time.Second-1)/time.Second))
		if err != nil {
			return removed, fmt.Errorf("saga: prune the barrier's table %s: %w", b.table, err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return removed, fmt.Errorf("saga: prune the barrier's table %s: %w", b.table, err)
		}
		if removed += n; n == 0 {
			return removed, nil
		}
	}
}
