package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A Dialect is the SQL of one kind of database.
type Dialect string

const (
	// PostgreSQL is that of PostgreSQL 9.5 or later, and of what speaks like it.
	PostgreSQL Dialect = "postgresql"
	// MySQL is that of MySQL 5.7 or later, and of MariaDB.
	MySQL Dialect = "mysql"
	// SQLite is that of SQLite 3.35 or later. Set a busy timeout, or of two
	// transactions at once one fails at once.
	SQLite Dialect = "sqlite"
)

// statements are a barrier's, in one dialect.
//
// An action and its undo meet at one row, which both insert or update: so the
// second waits for the end of the first, and whichever comes sees the row as the
// one before left it, whatever its snapshot of the rest is: counters that are 1
// tell who came first.
type statements struct {
	do, undo string // enter the call; with one parameter, the id
	row      string // reads the row where do and undo cannot return it
	result   string // keeps a result, by id
	prune    string // removes some rows that are older than so many seconds
	ddl      []string
}

// pruneBatch is how many rows go in one transaction.
const pruneBatch = "1000"

// A barrierRow is a row once the call has entered it.
type barrierRow struct {
	actions, undos int
	result         []byte
}

var tableRule = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]{0,47}\.)?[A-Za-z_][A-Za-z0-9_]{0,47}$`)

// statements are those for a table.
func (d Dialect) statements(table string) (statements, error) {
	if !tableRule.MatchString(table) {
		return statements{}, fmt.Errorf("saga: BarrierConfig.Table is %.100q, want a name like app.waybill_barrier, of letters, digits and _, at most 48 each", table)
	}
	schema, name, ok := strings.Cut(table, ".")
	if !ok {
		schema, name = "", table
	}
	fill := func(text string) string {
		return strings.NewReplacer("{table}", table, "{name}", name, "{batch}", pruneBatch).Replace(text)
	}
	var s statements
	switch d {
	case PostgreSQL:
		const now = "CAST(EXTRACT(EPOCH FROM now()) AS BIGINT)"
		s = upserts(now, "$1")
		s.result = "UPDATE {table} SET result = $1 WHERE id = $2"
		s.prune = pruning(now, "CAST($1 AS BIGINT)")
		s.ddl = []string{`CREATE TABLE IF NOT EXISTS {table} (
	id      VARCHAR(255) COLLATE "C" PRIMARY KEY,
	actions INTEGER NOT NULL,
	undos   INTEGER NOT NULL,
	result  BYTEA,
	changed BIGINT NOT NULL
)`, "CREATE INDEX IF NOT EXISTS {name}_changed ON {table} (changed)"}
	case SQLite:
		const now = "CAST(strftime('%s', 'now') AS INTEGER)"
		s = upserts(now, "?1")
		s.result = "UPDATE {table} SET result = ? WHERE id = ?"
		s.prune = pruning(now, "?1")
		index := "{name}_changed"
		if schema != "" {
			index = schema + "." + index
		}
		s.ddl = []string{`CREATE TABLE IF NOT EXISTS {table} (
	id      TEXT NOT NULL PRIMARY KEY,
	actions INTEGER NOT NULL,
	undos   INTEGER NOT NULL,
	result  BLOB,
	changed INTEGER NOT NULL
)`, "CREATE INDEX IF NOT EXISTS " + index + " ON {name} (changed)"}
	case MySQL:
		const now = "UNIX_TIMESTAMP()"
		s = statements{
			do: "INSERT INTO {table} (id, actions, undos, changed) VALUES (?, 1, 0, " + now + ")" +
				" ON DUPLICATE KEY UPDATE actions = actions + 1, changed = " + now,
			undo: "INSERT INTO {table} (id, actions, undos, changed) VALUES (?, 0, 1, " + now + ")" +
				" ON DUPLICATE KEY UPDATE undos = undos + 1, changed = " + now,
			row:    "SELECT actions, undos, result FROM {table} WHERE id = ? FOR UPDATE",
			result: "UPDATE {table} SET result = ? WHERE id = ?",
			prune:  "DELETE FROM {table} WHERE changed < " + now + " - ? LIMIT {batch}",
			// Other character sets take ids for equal that differ in case.
			ddl: []string{`CREATE TABLE IF NOT EXISTS {table} (
	id      VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
	actions INTEGER NOT NULL,
	undos   INTEGER NOT NULL,
	result  MEDIUMBLOB,
	changed BIGINT NOT NULL,
	INDEX {name}_changed (changed)
) ENGINE=InnoDB`},
		}
	default:
		return statements{}, fmt.Errorf("saga: BarrierConfig.Dialect is %q, want saga.PostgreSQL, saga.MySQL or saga.SQLite", string(d))
	}
	for _, text := range []*string{&s.do, &s.undo, &s.row, &s.result, &s.prune} {
		*text = fill(*text)
	}
	for i := range s.ddl {
		s.ddl[i] = fill(s.ddl[i])
	}
	return s, nil
}

// upserts are the statements that enter a call and return the row.
func upserts(now, id string) statements {
	const returning = " RETURNING actions, undos, result"
	return statements{
		do: "INSERT INTO {table} AS b (id, actions, undos, changed) VALUES (" + id + ", 1, 0, " + now + ") ON CONFLICT (id) DO UPDATE" +
			" SET actions = b.actions + 1, changed = " + now + returning,
		undo: "INSERT INTO {table} AS b (id, actions, undos, changed) VALUES (" + id + ", 0, 1, " + now + ") ON CONFLICT (id) DO UPDATE" +
			" SET undos = b.undos + 1, changed = " + now + returning,
	}
}

// pruning removes a batch, where DELETE has no LIMIT. A row that changes
// meanwhile stays.
func pruning(now, seconds string) string {
	old := "changed < " + now + " - " + seconds
	return "DELETE FROM {table} WHERE " + old + " AND id IN (SELECT id FROM {table} WHERE " + old + " LIMIT {batch})"
}

// enter writes the call into its row, and returns what the row says then.
func (s *statements) enter(ctx context.Context, tx *sql.Tx, id string, undo bool) (row barrierRow, err error) {
	text := s.do
	if undo {
		text = s.undo
	}
	if s.row != "" {
		if _, err := tx.ExecContext(ctx, text, id); err != nil {
			return row, err
		}
		text = s.row
	}
	err = tx.QueryRowContext(ctx, text, id).Scan(&row.actions, &row.undos, &row.result)
	return row, err
}

// keep stores the result of an action.
func (s *statements) keep(ctx context.Context, tx *sql.Tx, id string, result []byte) error {
	r, err := tx.ExecContext(ctx, s.result, result, id)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		return errors.Join(errors.New("the barrier's row is gone: the transaction was rolled back within"), err)
	}
	return nil
}

// hint adds what to do where the table is missing.
func (b *Barrier) hint(err error) error {
	text := err.Error()
	_, name, ok := strings.Cut(b.table, ".")
	if !ok {
		name = b.table
	}
	if strings.Contains(text, name) && (strings.Contains(text, "exist") || strings.Contains(text, "no such table")) {
		return fmt.Errorf("%w (Barrier.CreateTable makes it)", err)
	}
	return err
}
