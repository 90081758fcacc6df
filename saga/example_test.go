package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// Fare is the state of the example's saga.
type Fare struct {
	Customer string
	Cents    int64
	ChargeID string
}

func register(ctx context.Context, f *Fare) error {
	// The charge's id is made here, before there is a charge: so its refund
	// can name it whatever became of the answer.
	f.ChargeID = "ch-" + f.Customer
	fmt.Println("register", f.Cents)
	return nil
}

func charge(ctx context.Context, f *Fare) error {
	fmt.Println("charge, under the key", saga.StepFrom(ctx).Key)
	return nil
}

func credit(ctx context.Context, f *Fare) error {
	if f.Customer == "stranger" {
		return saga.Permanent(errors.New("no such customer"))
	}
	fmt.Println("credit", f.Customer)
	return nil
}

func unregister(ctx context.Context, f *Fare, was saga.Outcome) error {
	fmt.Println("unregister, which was", was)
	return nil
}

func refund(ctx context.Context, f *Fare, was saga.Outcome) error {
	fmt.Println("refund", f.ChargeID, "which was", was)
	return nil
}

var fareSaga = saga.New("fare",
	saga.Do("Register", register).Undo(unregister),
	saga.Do("Charge", charge).Undo(refund),
	saga.Do("Credit", credit),
)

// runExample runs a coordinator in memory while f runs.
func runExample(f func(ctx context.Context, c *saga.Client)) {
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: memstore.New(memstore.Config{}),
		Sagas: []saga.Definer{fareSaga},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	f(ctx, c.Client())
	cancel()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
}

func Example() {
	runExample(func(ctx context.Context, c *saga.Client) {
		fare, err := fareSaga.Run(ctx, c, "ride-1", Fare{Customer: "anna", Cents: 2000})
		fmt.Println(fare.ChargeID, err)
	})
	// Output:
	// register 2000
	// charge, under the key ride-1/1//Charge/1/do
	// credit anna
	// ch-anna <nil>
}

func Example_compensation() {
	runExample(func(ctx context.Context, c *saga.Client) {
		_, err := fareSaga.Run(ctx, c, "ride-2", Fare{Customer: "stranger", Cents: 2000})
		fmt.Println(err)
		fmt.Println(errors.Is(err, saga.ErrCompensated))
	})
	// Output:
	// register 2000
	// charge, under the key ride-2/1//Charge/1/do
	// refund ch-stranger which was done
	// unregister, which was done
	// saga "ride-2" is compensated: Credit failed: no such customer
	// true
}

func ExampleClient_History() {
	runExample(func(ctx context.Context, c *saga.Client) {
		if _, err := fareSaga.Run(ctx, c, "ride-3", Fare{Customer: "anna", Cents: 2000}); err != nil {
			log.Fatal(err)
		}
		events, err := c.History(ctx, "ride-3")
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range events[1:5] {
			fmt.Println(e.ID, e.Type, e.Step)
		}
	})
	// Output:
	// register 2000
	// charge, under the key ride-3/1//Charge/1/do
	// credit anna
	// 2 TaskStateEntered Register
	// 3 TaskScheduled Register
	// 4 TaskSucceeded Register
	// 5 TaskStateExited Register
}

func ExampleSaga_Validate() {
	s := saga.New("fare",
		saga.Do("Charge", charge),
		saga.Do("Credit", credit),
	)
	fmt.Println(s.Validate())
	// Output:
	// saga "fare": step "Charge": say how to undo it with Undo, or that there is nothing to undo with ReadOnly or Irreversible
}
