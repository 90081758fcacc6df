package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// A Trip is what a traveller wants, and the state of its saga.
type Trip struct {
	Traveller string `json:"traveller"`
	Outbound  string `json:"outbound,omitempty"` // the bookings
	Return    string `json:"return,omitempty"`
	Hotel     string `json:"hotel,omitempty"`
	Car       string `json:"car,omitempty"`
	Euros     int    `json:"euros,omitempty"` // what it costs
}

// A Car is the state of the child saga.
type Car struct {
	Traveller string `json:"traveller"`
	Car       string `json:"car,omitempty"`
	Insurance string `json:"insurance,omitempty"`
	Deposit   string `json:"deposit,omitempty"`
}

// newTrip is the saga of a trip: flights and hotel side by side, then a car, which
// is a saga of its own.
func newTrip(w *world) *saga.Saga[Trip] {
	car := saga.New("car",
		book(w, "Reserve", "the car", func(c *Car) string { return c.Traveller }, func(c *Car) *string { return &c.Car }),
		book(w, "Insure", "the insurance", func(c *Car) string { return c.Traveller }, func(c *Car) *string { return &c.Insurance }),
		book(w, "Deposit", "the deposit", func(c *Car) string { return c.Traveller }, func(c *Car) *string { return &c.Deposit }),
	)
	traveller := func(t *Trip) string { return t.Traveller }
	return saga.New("trip",
		saga.Parallel("Book",
			saga.Branch("flights",
				book(w, "Outbound", "the outbound flight", traveller, func(t *Trip) *string { return &t.Outbound }),
				book(w, "Return", "the return flight", traveller, func(t *Trip) *string { return &t.Return }),
			),
			saga.Branch("hotel",
				book(w, "Hotel", "the hotel", traveller, func(t *Trip) *string { return &t.Hotel }),
			),
		).Merge(func(t *Trip, branches []Trip) error { // each worked on a copy
			t.Outbound, t.Return, t.Hotel = branches[0].Outbound, branches[0].Return, branches[1].Hotel
			return nil
		}),
		saga.Child("Car", car,
			func(t *Trip) (Car, error) { return Car{Traveller: t.Traveller}, nil },
			func(t *Trip, c Car) error { t.Car = c.Car; return nil }),
		saga.Do("Price", func(ctx context.Context, t *Trip) error {
			t.Euros = 1240
			return w.does(ctx, t.Traveller, "the price")
		}).ReadOnly(),
		// Money that has left is not taken back: from here the saga only goes on.
		saga.Do("Pay", func(ctx context.Context, t *Trip) error { return w.pay(ctx, t.Traveller, t.Euros) }).Retry(saga.Once()).Pivot(),
		saga.Do("Tickets", func(ctx context.Context, t *Trip) error {
			err := w.does(ctx, t.Traveller, "the tickets")
			if err == nil {
				w.tell(fmt.Sprintf("the tickets are there, for %s, %s, %s and %s", t.Outbound, t.Return, t.Hotel, t.Car))
			}
			return err
		}).
			Retry(saga.Exponential(20*time.Millisecond, time.Second, saga.Forever)),
	)
}

// book is a step that books something, and whose undo cancels the booking. Where the
// booking's number goes in the state, the step is told by a pointer.
func book[T any](w *world, step, what string, traveller func(*T) string, number func(*T) *string) *saga.Step[T] {
	return saga.Do(step, func(ctx context.Context, t *T) error {
		n, err := w.book(ctx, traveller(t), what)
		if err == nil {
			*number(t) = n
		}
		return err
	}).Retry(saga.Once()).Undo(func(ctx context.Context, t *T, was saga.Outcome) error {
		return w.cancel(ctx, traveller(t), what, was)
	}).UndoRetry(saga.Exponential(20*time.Millisecond, time.Second, 3))
}

// Validate is asked before a saga starts.
func (t *Trip) Validate() error {
	if t.Traveller == "" {
		return errors.New("a trip has a traveller")
	}
	return nil
}
