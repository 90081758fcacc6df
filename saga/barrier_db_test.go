package saga_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/ncruces/go-sqlite3/driver"
	_ "github.com/ncruces/go-sqlite3/embed"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

// A database is one that the tests of Barrier run on.
type database struct {
	name    string
	dialect saga.Dialect
	driver  string
	dsn     func(t testing.TB) string
	// waiting asks for a name and how many transactions wait for another's;
	// empty where the database does not tell.
	waiting string
}

// databases are SQLite, and the servers under test.
func databases(t testing.TB) []database {
	t.Helper()
	list := []database{{
		name: "sqlite", dialect: saga.SQLite, driver: "sqlite3",
		dsn: func(t testing.TB) string {
			return "file:" + filepath.Join(t.TempDir(), "test.db") + "?_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)"
		},
	}}
	if url, ok := testserver.Postgres(t); ok {
		list = append(list, database{
			name: "postgresql", dialect: saga.PostgreSQL, driver: "pgx", dsn: func(testing.TB) string { return url },
			waiting: "SELECT 'waiting', count(*) FROM pg_locks WHERE NOT granted",
		})
	}
	if dsn, ok := testserver.MySQL(t); ok {
		list = append(list, database{
			name: "mysql", dialect: saga.MySQL, driver: "mysql", dsn: func(t testing.TB) string {
				if err := mysql.SetLogger(&mysql.NopLogger{}); err != nil { // it tells of connections that tests break
					t.Fatal(err)
				}
				return dsn
			},
			waiting: "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'",
		})
	}
	return list
}

func (d database) connect(t testing.TB, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// A guard is a Barrier, or stands for none.
type guard interface {
	Do(ctx context.Context, fn func(tx *sql.Tx) error, opts ...saga.BarrierOption) error
}

// noBarrier is a plain transaction.
type noBarrier struct{ db *sql.DB }

func (n noBarrier) Do(ctx context.Context, fn func(tx *sql.Tx) error, _ ...saga.BarrierOption) error {
	tx, err := n.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// A ledger is a table of effects, with a barrier in the same database.
type ledger struct {
	database
	source  string // what db was opened with
	db      *sql.DB
	barrier *saga.Barrier
	table   string // of the effects
	rows    string // of the barrier
}

// newLedger makes a ledger, which is gone after the test.
func newLedger(t testing.TB, d database) *ledger {
	t.Helper()
	ns := testserver.Namespace(t)
	source := d.dsn(t)
	l := &ledger{database: d, source: source, db: d.connect(t, source), table: ns + "_ledger", rows: ns + "_barrier"}
	number := map[saga.Dialect]string{
		saga.SQLite:     "INTEGER PRIMARY KEY AUTOINCREMENT",
		saga.PostgreSQL: "BIGSERIAL PRIMARY KEY",
		saga.MySQL:      "BIGINT AUTO_INCREMENT PRIMARY KEY",
	}[d.dialect]
	l.exec(t, "CREATE TABLE "+l.table+" (n "+number+", account VARCHAR(100) NOT NULL, amount INTEGER NOT NULL)")
	t.Cleanup(func() {
		l.exec(t, "DROP TABLE "+l.table)
		l.exec(t, "DROP TABLE IF EXISTS "+l.rows)
	})
	l.barrier = l.newBarrier(t, l.db)
	if err := l.barrier.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *ledger) newBarrier(t testing.TB, db *sql.DB) *saga.Barrier {
	t.Helper()
	b, err := saga.NewBarrier(saga.BarrierConfig{DB: db, Dialect: l.dialect, Table: l.rows})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// guards are the barrier, and none.
func (l *ledger) guards() map[string]guard {
	return map[string]guard{"with": l.barrier, "without": noBarrier{l.db}}
}

// q writes a statement's parameters, ?, as the dialect has them.
func (l *ledger) q(text string) string {
	if l.dialect != saga.PostgreSQL {
		return text
	}
	parts := strings.Split(text, "?")
	for i := range parts[1:] {
		parts[i] += "$" + strconv.Itoa(i+1)
	}
	return strings.Join(parts, "")
}

func (l *ledger) exec(t testing.TB, text string, args ...any) {
	t.Helper()
	if _, err := l.db.ExecContext(context.WithoutCancel(t.Context()), l.q(text), args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// book is an effect: an amount that goes to an account.
func (l *ledger) book(ctx context.Context, tx *sql.Tx, account string, amount int) error {
	_, err := tx.ExecContext(ctx, l.q("INSERT INTO "+l.table+" (account, amount) VALUES (?, ?)"), account, amount)
	return err
}

// booked lists the effects on an account, in their order.
func (l *ledger) booked(t testing.TB, account string) string {
	t.Helper()
	rows, err := l.db.QueryContext(t.Context(), l.q("SELECT amount FROM "+l.table+" WHERE account = ? ORDER BY n"), account)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var amounts []int
	for rows.Next() {
		var amount int
		if err := rows.Scan(&amount); err != nil {
			t.Fatal(err)
		}
		amounts = append(amounts, amount)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(amounts)
}

// do is an action on an account, which books 1; undo books -1.
func (l *ledger) do(ctx context.Context, g guard, account string, opts ...saga.BarrierOption) error {
	return l.run(ctx, g, account, store.Call{Key: account + "/do"}, 1, opts)
}

func (l *ledger) undo(ctx context.Context, g guard, account string, opts ...saga.BarrierOption) error {
	return l.run(ctx, g, account, store.Call{Key: account + "/undo"}, -1, opts)
}

func (l *ledger) run(ctx context.Context, g guard, account string, call store.Call, amount int, opts []saga.BarrierOption) error {
	return g.Do(ctx, func(tx *sql.Tx) error { return l.book(ctx, tx, account, amount) }, append(opts, saga.UnderCall(call))...)
}
