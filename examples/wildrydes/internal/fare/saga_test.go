package fare_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// coordinate runs the saga on a stage until the test ends.
func coordinate(t *testing.T, s *stage) (*saga.Saga[fare.Fare], *saga.Client) {
	t.Helper()
	def := fare.NewSaga(s.services, s.topic)
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{def},
		Sweep: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return def, c.Client()
}

// TestSaga runs each failure that customers' suffixes force.
func TestSaga(t *testing.T) {
	s := newStage(t)
	def, client := coordinate(t, s)
	paid := balance{authorized: 2000, charged: 2000, credited: 2000, completed: true}
	tests := []struct {
		customer string
		want     balance
		cause    string // of the failure; empty: there is none
	}{
		{"ann", paid, ""},
		{"ann_flaky_charge", paid, ""},
		{"ann_flaky_credit", paid, ""},
		{"ann_flaky_status", paid, ""},
		{"ann_slow_charge", paid, ""},
		{"ann_lost_auth", paid, ""},
		{"ann_lost_charge", paid, ""},
		{"ann_fail_auth", balance{cancelled: true}, "ProcessPayment failed: payment provider: authorizations: card_declined"},
		{"ann_fail_charge", balance{authorized: 2000, voided: 2000, cancelled: true}, "charge_declined"},
		{"ann_fail_credit", balance{authorized: 2000, charged: 2000, refunded: 2000, cancelled: true}, "account_frozen"},
		{"ann_lost_credit", balance{authorized: 2000, charged: 2000, refunded: 2000, credited: 2000, debited: 2000, cancelled: true}, "unavailable"},
		{"ann_late_charge", balance{authorized: 2000, voided: 2000, cancelled: true}, "unavailable"},
	}
	for _, tt := range tests {
		f := s.fare(tt.customer)
		if _, err := def.Start(t.Context(), client, f.FareID, f); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range tests {
		t.Run(tt.customer, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_, err := def.Wait(ctx, client, "fare-"+tt.customer)
			if failed := errors.Is(err, saga.ErrCompensated); failed != (tt.cause != "") || err != nil && !failed {
				t.Fatalf("the saga ends with %v", err)
			}
			if got := s.balance("fare-" + tt.customer); got != tt.want {
				t.Errorf("balance %+v, want %+v", got, tt.want)
			}
			n, ok := s.topic.notice("ride-" + tt.customer)
			if !ok || n.CustomerID != tt.customer || n.Amount != 2000 || n.FareID != "fare-"+tt.customer {
				t.Errorf("notice %+v, %t; want one with customer and amount", n, ok)
			}
			if n.IsSuccessful != (tt.cause == "") || !strings.Contains(n.Cause, tt.cause) {
				t.Errorf("notice %+v, want cause %q", n, tt.cause)
			}
		})
	}
}

// TestRefundFails: the saga is blocked, nothing is skipped, and it goes on when
// the provider is mended.
func TestRefundFails(t *testing.T) {
	s := newStage(t)
	def, client := coordinate(t, s)
	f := s.fare("ann_fail_refund")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := def.Run(ctx, client, f.FareID, f); !errors.Is(err, saga.ErrBlocked) {
		t.Fatalf("the saga ends with %v, want it blocked", err)
	}
	blocked := balance{authorized: 2000, charged: 2000}
	if got := s.balance(f.FareID); got != blocked {
		t.Errorf("balance %+v, want %+v", got, blocked)
	}
	if n, ok := s.topic.notice(f.RideID); ok {
		t.Errorf("a blocked saga sent the notice %+v", n)
	}
	if err := s.services.Payments.Mend(ctx, "fail_refund"); err != nil {
		t.Fatal(err)
	}
	if err := client.Retry(ctx, f.FareID, saga.Order{By: "test", Note: "mended"}); err != nil {
		t.Fatal(err)
	}
	for { // it is blocked until the order is read
		x, err := client.Get(ctx, f.FareID)
		if err != nil {
			t.Fatal(err)
		}
		if x.Status == saga.Compensated {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	want := balance{authorized: 2000, charged: 2000, refunded: 2000, cancelled: true}
	if got := s.balance(f.FareID); got != want {
		t.Errorf("balance %+v, want %+v", got, want)
	}
}

// TestFareIDIsTakenOnce: another ride under the same fare id changes nothing.
func TestFareIDIsTakenOnce(t *testing.T) {
	s := newStage(t)
	f := s.fare("ann")
	if err := s.services.RegisterFare(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	other := f
	other.RideID = "ride-other"
	err := s.services.RegisterFare(t.Context(), &other)
	if err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("the other ride's fare: %v, want that the id is taken", err)
	}
	if err := s.services.CancelFare(t.Context(), &other, "taken"); err != nil {
		t.Fatal(err)
	}
	if got := s.balance(f.FareID); got.cancelled {
		t.Error("the failure of the other ride cancels the fare")
	}
}
