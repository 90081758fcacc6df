package saga_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// An apiError is what the client of some HTTP API returns.
type apiError struct{ Status int }

func (e *apiError) Error() string { return fmt.Sprint("the API answered ", e.Status) }

// The handler passes on what the client of an API has returned, and a function says
// what that means; CoordinatorConfig.Classify would be for all steps. The API answers
// 502: nobody knows whether there is a charge, so it is undone as one that may be there.
func ExampleStep_Classify() {
	byStatus := func(err error) error {
		var api *apiError
		if errors.As(err, &api) {
			return saga.StatusError(api.Status, err)
		}
		return err // which says nothing
	}
	order := saga.New("order",
		saga.Do("Charge", func(context.Context, *Fare) error { return fmt.Errorf("charge: %w", &apiError{Status: 502}) }).
			Undo(refund).Retry(saga.Once()).
			Classify(byStatus))

	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{order},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	_, err = order.Run(ctx, c.Client(), "order-1", Fare{Cents: 2000, ChargeID: "ch-1"})
	fmt.Println(err)
	cancel()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output:
	// refund ch-1 which was unknown
	// saga "order-1" is compensated: Charge failed: charge: the API answered 502
}
