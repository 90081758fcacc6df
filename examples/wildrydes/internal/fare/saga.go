package fare

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/saga"
)

// SagaName is the name that messages start the saga by.
const SagaName = "fare"

// Names of endpoints.
const (
	Rides   = "rides"
	Results = "fare-results"
)

// Patience of a demonstration: production waits longer.
const (
	attemptTimeout = time.Second
	firstPause     = 50 * time.Millisecond
	longestPause   = 400 * time.Millisecond
)

// NewSaga returns fare processing as a saga. It publishes a [Notice] of each
// fare's end.
func NewSaga(s *Services, publisher message.Publisher) *saga.Saga[Fare] {
	var (
		actions       = saga.Exponential(firstPause, longestPause, 8)
		compensations = saga.Exponential(firstPause, longestPause, 5)
		announcements = saga.Exponential(firstPause, longestPause, 20)
	)
	return saga.New(SagaName,
		saga.Do("RegisterFare", s.RegisterFare).
			Undo(func(ctx context.Context, f *Fare, _ saga.Outcome) error {
				cause := saga.StepFrom(ctx).Cause.String()
				if err := s.CancelFare(ctx, f, cause); err != nil {
					return err
				}
				return publish(ctx, publisher, f.Failed(cause))
			}).
			Retry(actions).UndoRetry(announcements).Timeout(attemptTimeout),

		saga.Do("ProcessPayment", s.ProcessPayment).
			Undo(func(ctx context.Context, f *Fare, _ saga.Outcome) error { return s.RefundPayment(ctx, f) }).
			Retry(actions).UndoRetry(compensations).Timeout(attemptTimeout),

		saga.Do("UpdateCustomerAccount", s.CreditCustomer).
			Undo(func(ctx context.Context, f *Fare, _ saga.Outcome) error { return s.DebitCustomer(ctx, f) }).
			Retry(actions).UndoRetry(compensations).Timeout(attemptTimeout),

		saga.Do("PublishFareProcessed", func(ctx context.Context, f *Fare) error {
			if err := s.CompleteFare(ctx, f); err != nil {
				return err
			}
			// The register has it: there is no way back any more.
			return uncertain(publish(ctx, publisher, f.Succeeded()))
		}).
			Pivot().Retry(announcements).Timeout(attemptTimeout),
	)
}

// publish publishes a notice. A repeat has the same id.
func publish(ctx context.Context, publisher message.Publisher, n Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return saga.Permanent(err)
	}
	msg := message.NewMessage(n.FareID+"/result", body)
	msg.Metadata.Set(AttrIsSuccessful, n.Attribute())
	msg.Metadata.Set(queue.KeySubject, n.Subject())
	msg.Metadata.Set(queue.KeyCorrelation, n.RideID)
	msg.SetContext(ctx)
	if err := publisher.Publish(Results, msg); err != nil {
		return fmt.Errorf("announce the result: %w", err)
	}
	return nil
}
