package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

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

// A trip whose hotel and flight are booked side by side. There is no seat, so
// the hotel is cancelled, and the trip goes on by train.
func ExampleParallel() {
	type trip struct{ Hotel, Flight, Train string }
	book := func(name string) saga.Action[trip] {
		return func(context.Context, *trip) error { fmt.Println("book the", name); return nil }
	}
	cancel := func(name string) saga.Compensation[trip] {
		return func(_ context.Context, _ *trip, was saga.Outcome) error {
			fmt.Println("cancel the", name, "which is", was)
			return nil
		}
	}
	hotelBooked := make(chan struct{})
	s := saga.New("trip",
		saga.Parallel("Book",
			saga.Branch("hotel", saga.Do("Hotel", func(ctx context.Context, t *trip) error {
				defer close(hotelBooked)
				return book("hotel")(ctx, t)
			}).Undo(cancel("hotel"))),
			saga.Branch("flight", saga.Do("Flight", func(context.Context, *trip) error {
				<-hotelBooked // for the example's sake
				return saga.Named("NoSeats", saga.Permanent(errors.New("no seat left")))
			}).Undo(cancel("flight"))),
		).Merge(func(t *trip, branches []trip) error {
			t.Hotel, t.Flight = branches[0].Hotel, branches[1].Flight
			return nil
		}).Catch("Train", "NoSeats").Next("Done"),
		saga.Do("Train", func(ctx context.Context, t *trip) error {
			fmt.Println("by train, because", saga.StepFrom(ctx).Caught)
			return nil
		}).Undo(cancel("train")),
		saga.Succeed[trip]("Done"),
	)
	runOnce(s, trip{})
	// Output:
	// book the hotel
	// cancel the hotel which is done
	// by train, because Flight failed: no seat left
}

// Each parcel of an order is sent by itself, two at a time; one may fail.
func ExampleForEach() {
	type parcel struct{ Number string }
	type order struct{ Parcels, Sent []string }
	s := saga.New("order",
		saga.ForEach("Send",
			func(o *order) []parcel {
				var list []parcel
				for _, number := range o.Parcels {
					list = append(list, parcel{number})
				}
				return list
			},
			func(o *order, items []saga.Item[parcel]) error {
				for _, item := range items {
					if item.Failed == nil {
						o.Sent = append(o.Sent, item.State.Number)
					}
				}
				return nil
			},
			saga.Do("Parcel", func(_ context.Context, p *parcel) error {
				if p.Number == "2" {
					return saga.Permanent(errors.New("address unknown"))
				}
				return nil
			}).Undo(func(context.Context, *parcel, saga.Outcome) error { return nil }),
		).Concurrency(2).Tolerate(1),
		saga.Do("Tell", func(_ context.Context, o *order) error {
			fmt.Println("sent", o.Sent)
			return nil
		}),
	)
	runOnce(s, order{Parcels: []string{"1", "2", "3"}})
	// Output:
	// sent [1 3]
}

// runOnce runs one execution on a store in memory.
func runOnce[T any](s *saga.Saga[T], input T) {
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	if _, err := s.Run(ctx, c.Client(), "1", input); err != nil {
		fmt.Println(err)
	}
	stop()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
}

// Two fares of one customer. The second waits until it is certain what becomes of
// the first: it neither fails for want of what is given back, nor lends from it.
func ExampleLock() {
	type fare struct {
		Customer string
		Cents    int
	}
	balance, called, noCar := 1000, make(chan struct{}), make(chan struct{})
	account := saga.Lock("account", func(f *fare) string { return f.Customer }).Wait(time.Minute)
	fares := saga.New("fare",
		saga.Do("Debit", func(_ context.Context, f *fare) error {
			balance -= f.Cents
			fmt.Println("debit", f.Cents, "leaves", balance)
			return nil
		}).Undo(func(_ context.Context, f *fare, _ saga.Outcome) error {
			balance += f.Cents
			fmt.Println("credit", f.Cents, "makes", balance)
			return nil
		}).Lock(account),
		saga.Do("Ride", func(_ context.Context, f *fare) error {
			if f.Cents < 500 {
				return nil
			}
			close(called)
			<-noCar
			return saga.Permanent(errors.New("no car came"))
		}),
	)
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{fares}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- coordinator.Run(ctx) }()
	<-coordinator.Ready()
	c := coordinator.Client()
	if _, err := fares.Start(ctx, c, "ride-1", fare{"anna", 900}); err != nil {
		log.Fatal(err)
	}
	<-called
	if _, err := fares.Start(ctx, c, "ride-2", fare{"anna", 200}); err != nil {
		log.Fatal(err)
	}
	l := new(saga.LockInfo)
	for ; l.Waiting == 0; time.Sleep(time.Millisecond) {
		if l, err = c.Lock(ctx, "account/anna"); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(l.Resource, "is held by", l.Holder.Execution, "and waited for by", l.Queue[0].Execution)
	close(noCar)
	_, err = fares.Wait(ctx, c, "ride-2")
	fmt.Println("ride-2 is done:", err)
	cancel()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output:
	// debit 900 leaves 100
	// account/anna is held by ride-1 and waited for by ride-2
	// credit 900 makes 1000
	// debit 200 leaves 800
	// ride-2 is done: <nil>
}
