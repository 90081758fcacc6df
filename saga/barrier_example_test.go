package saga_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

// inMemory is an empty database.
func inMemory() *sql.DB {
	db, err := sql.Open("sqlite3", "file::memory:")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1) // each connection has a memory of its own
	return db
}

// A handler owns a database of accounts. The answer of its first attempt is
// lost, and the last step fails: the account is credited once, and debited once.
func ExampleBarrier() {
	ctx := context.Background()
	db := inMemory() // in a service: its database
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE account (id TEXT PRIMARY KEY, cents INTEGER); INSERT INTO account VALUES ('anna', 0)`); err != nil {
		log.Fatal(err)
	}
	barrier, err := saga.NewBarrier(saga.BarrierConfig{DB: db, Dialect: saga.SQLite})
	if err != nil {
		log.Fatal(err)
	}
	if err := barrier.CreateTable(ctx); err != nil {
		log.Fatal(err)
	}

	type fare struct {
		Customer       string
		Cents, Balance int64
	}
	credit := func(ctx context.Context, f *fare) error {
		err := barrier.Do(ctx, func(tx *sql.Tx) error {
			fmt.Println("credit", f.Cents)
			return tx.QueryRowContext(ctx, `UPDATE account SET cents = cents + ? WHERE id = ? RETURNING cents`, f.Cents, f.Customer).Scan(&f.Balance)
		}, saga.Keep(&f.Balance))
		if err == nil && saga.StepFrom(ctx).Attempt == 1 {
			return saga.Uncertain(errors.New("the answer was lost"))
		}
		return err
	}
	debit := func(ctx context.Context, f *fare, _ saga.Outcome) error {
		return barrier.Do(ctx, func(tx *sql.Tx) error {
			fmt.Println("debit", f.Cents)
			_, err := tx.ExecContext(ctx, `UPDATE account SET cents = cents - ? WHERE id = ?`, f.Cents, f.Customer)
			return err
		})
	}
	announce := func(ctx context.Context, f *fare) error {
		fmt.Println("the balance is", f.Balance)
		return saga.Permanent(errors.New("nobody listens"))
	}
	runOnce(saga.New("fare",
		saga.Do("Credit", credit).Undo(debit),
		saga.Do("Announce", announce),
	), fare{Customer: "anna", Cents: 2000})

	var cents int64
	if err := db.QueryRow(`SELECT cents FROM account`).Scan(&cents); err != nil {
		log.Fatal(err)
	}
	fmt.Println("on the account:", cents)
	// Output:
	// credit 2000
	// the balance is 2000
	// debit 2000
	// saga "1" is compensated: Announce failed: nobody listens
	// on the account: 0
}

// What handles commands without this package says itself what each call is.
func ExampleUnderCall() {
	db := inMemory()
	defer db.Close()
	barrier, err := saga.NewBarrier(saga.BarrierConfig{DB: db, Dialect: saga.SQLite})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := barrier.CreateTable(ctx); err != nil {
		log.Fatal(err)
	}
	for _, key := range []string{"ride-1/1//Charge/1/undo", "ride-1/1//Charge/1/do"} {
		err := barrier.Do(ctx, func(tx *sql.Tx) error {
			fmt.Println("this is not run")
			return nil
		}, saga.UnderCall(store.Call{Key: key}))
		fmt.Println(key, err)
	}
	// Output:
	// ride-1/1//Charge/1/undo <nil>
	// ride-1/1//Charge/1/do action "ride-1/1//Charge/1/do" is refused: it was undone before it came
}
