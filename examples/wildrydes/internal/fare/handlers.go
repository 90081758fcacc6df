package fare

import (
	"context"
	"errors"
	"net/http"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/accounting"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/payments"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/register"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/saga"
)

// Services are what the handlers call. A handler may run any number of times
// for a fare: the services see to it that it has its effect once.
type Services struct {
	Register   *service.Client
	Payments   *payments.Client
	Accounting *service.Client
}

// NewServices returns clients of the services at these base URLs.
func NewServices(registerURL, paymentsURL, accountingURL string) *Services {
	return &Services{
		Register:   register.NewClient(registerURL),
		Payments:   payments.NewClient(paymentsURL),
		Accounting: accounting.NewClient(accountingURL),
	}
}

// Close closes the connections to the services.
func (s *Services) Close() {
	s.Register.Close()
	s.Payments.Close()
	s.Accounting.Close()
}

// RegisterFare enters the fare into the register. A fare's id is taken once.
func (s *Services) RegisterFare(ctx context.Context, f *Fare) error {
	_, err := s.Register.Do(ctx, register.Fare, f.FareID, f.key(ctx, register.Fare), f.request(""))
	return uncertain(err)
}

// CancelFare marks the fare as failed. It is refused with the code
// [register.CodeCompleted] when the fare has been completed.
func (s *Services) CancelFare(ctx context.Context, f *Fare, cause string) error {
	r := f.request("")
	r.Note = cause
	_, err := s.Register.Do(ctx, register.Cancellation, f.FareID, f.key(ctx, register.Cancellation), r)
	return err
}

// ProcessPayment authorises the amount, and charges it.
func (s *Services) ProcessPayment(ctx context.Context, f *Fare) error {
	r := f.request("")
	r.Card = f.CardToken
	if _, err := s.Payments.Do(ctx, payments.Authorization, f.authorizationID(), f.key(ctx, payments.Authorization), r); err != nil {
		return judged(err)
	}
	_, err := s.Payments.Do(ctx, payments.Charge, f.chargeID(), f.key(ctx, payments.Charge), f.request(f.authorizationID()))
	// Whatever becomes of the charge, there is the authorization to undo.
	return uncertain(err)
}

// RefundPayment refunds the charge if there is one, voids the authorization if
// there is only that, and keeps both from coming late.
func (s *Services) RefundPayment(ctx context.Context, f *Fare) error {
	if _, err := s.Payments.Do(ctx, payments.Refund, f.refundID(), f.key(ctx, payments.Refund), f.request(f.chargeID())); err != nil {
		return err
	}
	_, err := s.Payments.Do(ctx, payments.Void, f.voidID(), f.key(ctx, payments.Void), f.request(f.authorizationID()))
	return err
}

// CreditCustomer credits what was charged to the customer's account.
func (s *Services) CreditCustomer(ctx context.Context, f *Fare) error {
	_, err := s.Accounting.Do(ctx, accounting.Credit, f.creditID(), f.key(ctx, accounting.Credit), f.request(f.chargeID()))
	return judged(err)
}

// DebitCustomer takes the credit back if there is one, and keeps it from coming
// late.
func (s *Services) DebitCustomer(ctx context.Context, f *Fare) error {
	_, err := s.Accounting.Do(ctx, accounting.Debit, f.debitID(), f.key(ctx, accounting.Debit), f.request(f.creditID()))
	return err
}

// CompleteFare marks the fare as completed. From here on it cannot be
// cancelled.
func (s *Services) CompleteFare(ctx context.Context, f *Fare) error {
	_, err := s.Register.Do(ctx, register.Completion, f.FareID, f.key(ctx, register.Completion), f.request(""))
	return judged(err)
}

// request is what all requests about the fare say. of is the id of what the
// request builds on or undoes.
func (f *Fare) request(of string) service.Request {
	return service.Request{Ride: f.RideID, Fare: f.FareID, Customer: f.CustomerID, Amount: f.Amount, Of: of}
}

// key is the idempotency key of one request: the same whenever this step runs
// for this fare. In a pipeline it goes by the fare and not by the message, so
// that the copies of a message have one effect.
func (f *Fare) key(ctx context.Context, what string) string {
	if step := saga.StepFrom(ctx); step.Key != "" {
		return step.Key + "/" + what
	}
	return pipeline.FromContext(ctx).Filter + "/" + f.RideID + "/" + f.FareID + "/" + what
}

// judged tells a saga what an error says about the effect. A service that
// answers that it failed may have failed after the effect.
func judged(err error) error {
	var e *service.Error
	if errors.As(err, &e) && e.Status >= http.StatusInternalServerError {
		return uncertain(err)
	}
	return err
}

// uncertain tells a saga that there may be an effect to undo.
func uncertain(err error) error { return saga.Uncertain(err) }

// refusedWith reports whether err is a service's refusal with that code.
func refusedWith(err error, code string) bool {
	var e *service.Error
	return errors.As(err, &e) && e.Code == code
}
