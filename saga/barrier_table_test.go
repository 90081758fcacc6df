package saga_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

func TestBarrierConfig(t *testing.T) {
	db := databases(t)[0].connect(t, "file::memory:")
	for _, tt := range []struct {
		name string
		cfg  saga.BarrierConfig
		want string
	}{
		{"no database", saga.BarrierConfig{Dialect: saga.SQLite}, "BarrierConfig.DB is nil"},
		{"no dialect", saga.BarrierConfig{DB: db}, `BarrierConfig.Dialect is "", want saga.PostgreSQL, saga.MySQL or saga.SQLite`},
		{"another dialect", saga.BarrierConfig{DB: db, Dialect: "oracle"}, `BarrierConfig.Dialect is "oracle"`},
		{"a table with a quote", saga.BarrierConfig{DB: db, Dialect: saga.SQLite, Table: `x" (y); --`}, "BarrierConfig.Table is"},
		{"a table with two dots", saga.BarrierConfig{DB: db, Dialect: saga.SQLite, Table: "a.b.c"}, "BarrierConfig.Table is"},
		{"a long table", saga.BarrierConfig{DB: db, Dialect: saga.SQLite, Table: strings.Repeat("x", 49)}, "at most 48"},
	} {
		if b, err := saga.NewBarrier(tt.cfg); err == nil || b != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v, want an error that says %q", tt.name, b, err, tt.want)
		}
	}
	b, err := saga.NewBarrier(saga.BarrierConfig{DB: db, Dialect: saga.SQLite})
	if err != nil {
		t.Fatal(err)
	}
	if ddl := strings.Join(b.DDL(), ";"); !strings.Contains(ddl, " waybill_barrier ") {
		t.Errorf("the table has another name by default: %s", ddl)
	}
}

// TestBarrierCreateTable: several processes make the table at once, and again; in
// a schema, too.
func TestBarrierCreateTable(t *testing.T) {
	schemas := map[saga.Dialect]string{saga.SQLite: "main", saga.PostgreSQL: "public", saga.MySQL: "test"}
	for _, d := range databases(t) {
		for _, schema := range []string{"", schemas[d.dialect] + "."} {
			t.Run(d.name+" "+schema, func(t *testing.T) {
				l := newLedger(t, d)
				l.exec(t, "DROP TABLE "+l.rows)
				b, err := saga.NewBarrier(saga.BarrierConfig{DB: l.db, Dialect: d.dialect, Table: schema + l.rows})
				if err != nil {
					t.Fatal(err)
				}
				if err := l.do(t.Context(), b, "a"); err == nil || !strings.Contains(err.Error(), "Barrier.CreateTable makes it") {
					t.Errorf("without its table: %v, want an error that says what makes it", err)
				}
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						if err := b.CreateTable(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if err := errors.Join(l.do(t.Context(), b, "a"), b.CreateTable(t.Context()), l.do(t.Context(), l.barrier, "a")); err != nil {
					t.Error(err)
				}
				if got := l.booked(t, "a"); got != "[1]" {
					t.Errorf("%s was booked, want [1]: the table is another", got)
				}
				if removed, err := b.Prune(t.Context(), store.MinBarrierRetention); removed != 0 || err != nil {
					t.Errorf("pruned %d, %v", removed, err)
				}
			})
		}
	}
}

// TestBarrierCreateTableAtOnce: PostgreSQL refuses to make a table that somebody
// else has made meanwhile, even if it is to be made only if there is none.
func TestBarrierCreateTableAtOnce(t *testing.T) {
	for _, d := range databases(t) {
		if d.dialect != saga.PostgreSQL {
			continue
		}
		l := newLedger(t, d)
		l.exec(t, "DROP TABLE "+l.rows)
		tx, err := l.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.ExecContext(t.Context(), l.barrier.DDL()[0]); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { result <- l.barrier.CreateTable(t.Context()) }()
		l.awaitWaiting(t, 1)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
	}
}

// TestBarrierPrune: what has not changed for long enough is removed, and nothing
// else; and what is too short is refused.
func TestBarrierPrune(t *testing.T) {
	const retention = 20 * 24 * time.Hour
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			ctx := t.Context()
			for _, short := range []time.Duration{0, -1, store.MinBarrierRetention - 1} {
				if _, err := l.barrier.Prune(ctx, short); err == nil || !strings.Contains(err.Error(), "at least 360h") {
					t.Errorf("%s: %v, want it refused", short, err)
				}
			}
			age := func(account string, by time.Duration) {
				l.exec(t, "UPDATE "+l.rows+" SET changed = changed - ? WHERE id = ?", int64(by/time.Second), account)
			}
			for account, by := range map[string]time.Duration{"young": 0, "less": retention - time.Minute, "more": retention + time.Minute, "touched": retention + time.Minute} {
				if err := l.do(ctx, l.barrier, account); err != nil {
					t.Fatal(err)
				}
				age(account, by)
			}
			if err := l.undo(ctx, l.barrier, "touched"); err != nil {
				t.Fatal(err)
			}
			for first := 0; first < 2500; first += 500 { // more than go at once
				var rows []string
				for i := range 500 {
					rows = append(rows, fmt.Sprintf("('old-%d', 1, 0, 1)", first+i))
				}
				l.exec(t, "INSERT INTO "+l.rows+" (id, actions, undos, changed) VALUES "+strings.Join(rows, ", "))
			}
			if removed, err := l.barrier.Prune(ctx, retention); removed != 2501 || err != nil {
				t.Errorf("removed %d, %v, want 2501", removed, err)
			}
			var left int
			if err := l.db.QueryRowContext(ctx, "SELECT count(*) FROM "+l.rows).Scan(&left); err != nil || left != 3 {
				t.Errorf("%d rows are left, %v, want 3", left, err)
			}
			if err := l.undo(ctx, l.barrier, "less"); err != nil {
				t.Error(err)
			}
			if got := l.booked(t, "less"); got != "[1 -1]" {
				t.Errorf("%s was booked, want the undo of what is kept", got)
			}
		})
	}
}

// TestBarrierChanged: rows have the time of the database.
func TestBarrierChanged(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			if err := l.do(t.Context(), l.barrier, "a"); err != nil {
				t.Fatal(err)
			}
			var changed int64
			if err := l.db.QueryRowContext(t.Context(), "SELECT changed FROM "+l.rows).Scan(&changed); err != nil {
				t.Fatal(err)
			}
			if off := time.Since(time.Unix(changed, 0)).Abs(); off > time.Hour {
				t.Errorf("the row changed %s ago", off)
			}
		})
	}
}

// TestBarrierStored pins the row that each call leaves, which is the format.
func TestBarrierStored(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			ctx := t.Context()
			text := "kept"
			err := errors.Join(
				l.do(ctx, l.barrier, "action", saga.Keep(&text)), l.do(ctx, l.barrier, "action"),
				l.do(ctx, l.barrier, "undone", saga.Part("p")), l.undo(ctx, l.barrier, "undone", saga.Part("p")), l.undo(ctx, l.barrier, "undone", saga.Part("p")),
				l.undo(ctx, l.barrier, "empty"),
			)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.do(ctx, l.barrier, "empty"); err == nil {
				t.Error("an action after its undo is not refused")
			}
			rows, err := l.db.QueryContext(ctx, "SELECT id, actions, undos, result FROM "+l.rows+" ORDER BY id")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			var got []string
			for rows.Next() {
				var id string
				var actions, undos int
				var result []byte
				if err := rows.Scan(&id, &actions, &undos, &result); err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%s %d %d %s", id, actions, undos, result))
			}
			if want := `action 1 0 "kept"; empty 0 1 ; undone#p 1 1 `; strings.Join(got, "; ") != want || rows.Err() != nil {
				t.Errorf("the rows are %q, %v, want %q", got, rows.Err(), want)
			}
		})
	}
}
