package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// An Order is for so many of an item.
type Order struct {
	Item        string
	Count       int
	Card        string
	Reservation string // the warehouse's
}

// reservation is what the warehouse is told, and reserved what it says: the names
// are those in warehouse.py.
type (
	reservation struct {
		Item  string
		Count int
	}
	reserved struct{ Reservation string }
)

// How long the warehouse has for a reservation, and how often it is asked; and how
// long it has to give one back.
const (
	patience     = 10 * time.Second
	attempts     = 5
	undoPatience = 20 * time.Second
)

// newSaga is the saga of an order. Reserve is done in Python; tell is told what is
// done here.
func newSaga(patience time.Duration, attempts int, tell func(order, line string)) *saga.Saga[Order] {
	do := func(line string) saga.Action[Order] {
		return func(ctx context.Context, _ *Order) error {
			tell(saga.StepFrom(ctx).Execution, line)
			return nil
		}
	}
	return saga.New("order",
		saga.Do("Authorize", do("the card is authorized")).
			Undo(func(ctx context.Context, _ *Order, _ saga.Outcome) error {
				tell(saga.StepFrom(ctx).Execution, "the authorization is voided")
				return nil
			}),
		saga.Remote("Reserve", warehouse,
			func(o *Order) (reservation, error) { return reservation{o.Item, o.Count}, nil },
			func(o *Order, r reserved) error { o.Reservation = r.Reservation; return nil },
		).UndoRemote().Timeout(patience).UndoTimeout(undoPatience).Retry(saga.Exponential(patience/10, patience, attempts)),
		saga.Do("Capture", func(ctx context.Context, o *Order) error {
			if o.Card == "expired" {
				return saga.Permanent(errors.New("the card has expired"))
			}
			tell(saga.StepFrom(ctx).Execution, fmt.Sprintf("%d %s reserved as %s, and paid", o.Count, o.Item, o.Reservation))
			return nil
		}).Pivot(),
	)
}
