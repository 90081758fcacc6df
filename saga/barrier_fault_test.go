package saga_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
)

// A commitFault is what befalls the commit of a transaction that was begun with
// it in the context.
type commitFault int

const (
	noFault    commitFault = iota
	answerLost             // it is committed, and the answer is lost
	neverCame              // the connection breaks before, and all is rolled back
)

type faultKey struct{}

func withFault(ctx context.Context, f commitFault) context.Context {
	return context.WithValue(ctx, faultKey{}, f)
}

var errConnection = errors.New("the connection broke")

// faulty opens the ledger's database with a driver that has such faults.
func (l *ledger) faulty(t testing.TB) *sql.DB {
	t.Helper()
	db := sql.OpenDB(faultyConnector{l.connector(t)})
	t.Cleanup(func() { db.Close() })
	return db
}

func (l *ledger) connector(t testing.TB) driver.Connector {
	t.Helper()
	d, ok := l.db.Driver().(driver.DriverContext)
	if !ok {
		t.Fatalf("the driver %T makes no connectors", l.db.Driver())
	}
	c, err := d.OpenConnector(l.source)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type faultyConnector struct{ driver.Connector }

func (c faultyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return faultyConn{conn}, nil
}

type faultyConn struct{ driver.Conn }

func (c faultyConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	fault, _ := ctx.Value(faultKey{}).(commitFault)
	return faultyTx{tx, fault}, nil
}

type faultyTx struct {
	driver.Tx
	fault commitFault
}

func (tx faultyTx) Commit() error {
	switch tx.fault {
	case answerLost:
		return errors.Join(errConnection, tx.Tx.Commit())
	case neverCame:
		return errors.Join(errConnection, tx.Tx.Rollback())
	}
	return tx.Tx.Commit()
}

// TestFaultyDriver: the faults are what they say.
func TestFaultyDriver(t *testing.T) {
	for _, d := range databases(t) {
		t.Run(d.name, func(t *testing.T) {
			l := newLedger(t, d)
			g := noBarrier{l.faulty(t)}
			for fault, want := range map[commitFault]string{noFault: "[1]", answerLost: "[1]", neverCame: "[]"} {
				account := "account" + want
				if fault == noFault {
					account = "plain"
				}
				err := l.do(withFault(t.Context(), fault), g, account)
				if (err != nil) != (fault != noFault) || fault != noFault && !errors.Is(err, errConnection) {
					t.Errorf("fault %d: %v", fault, err)
				}
				if got := l.booked(t, account); got != want {
					t.Errorf("fault %d: %s was booked, want %s", fault, got, want)
				}
			}
		})
	}
}
