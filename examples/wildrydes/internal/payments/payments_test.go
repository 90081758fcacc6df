package payments_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/payments"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
)

// A desk asks the provider for things about one fare, each under its own key.
type desk struct {
	t    *testing.T
	c    *payments.Client
	card string
}

func open(t *testing.T) *desk {
	t.Helper()
	s := payments.New()
	h := httptest.NewServer(s)
	c := payments.NewClient(h.URL)
	t.Cleanup(func() {
		s.Close()
		c.Close()
		h.Close()
	})
	card, err := c.Tokenize(t.Context(), payments.Card{Number: "4242424242424242", Expiry: "12/30", Check: "123"})
	if err != nil {
		t.Fatal(err)
	}
	return &desk{t, c, card}
}

func (d *desk) ask(kind, id, of string, amount money.Amount) (string, error) {
	r := service.Request{Ride: "r", Fare: "f", Customer: "ann", Amount: amount, Of: of}
	if kind == payments.Authorization {
		r.Card = d.card
	}
	a, err := d.c.Do(d.t.Context(), kind, id, kind+"/"+id, r)
	var e *service.Error
	if errors.As(err, &e) {
		return e.Code, err
	}
	return a.Status, err
}

func (d *desk) want(want, kind, id, of string, amount money.Amount) {
	d.t.Helper()
	if got, err := d.ask(kind, id, of, amount); got != want {
		d.t.Errorf("%s %s of %q: %s (%v), want %s", kind, id, of, got, err, want)
	}
}

func TestChargeAndRefund(t *testing.T) {
	d := open(t)
	d.want(payments.Authorized, payments.Authorization, "a", "", 2000)
	d.want(payments.Charged, payments.Charge, "c", "a", 2000)
	d.want("captured", payments.Charge, "c2", "a", 2000)
	d.want(payments.Captured, payments.Void, "v", "a", 0)
	d.want(payments.Refunded, payments.Refund, "r", "c", 0)
	d.want(payments.NothingToUndo, payments.Refund, "r2", "c", 0)

	l, err := d.c.Ledger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var sum money.Amount
	for _, e := range l.Entries {
		switch e.Kind {
		case payments.Charge:
			sum += e.Amount
		case payments.Refund:
			sum -= e.Amount
		}
	}
	if sum != 0 || len(l.Entries) != 3 {
		t.Errorf("ledger %+v: %v is left, want $0.00 in 3 entries", l.Entries, sum)
	}
}

func TestVoid(t *testing.T) {
	d := open(t)
	d.want(payments.Authorized, payments.Authorization, "a", "", 2000)
	d.want(payments.Voided, payments.Void, "v", "a", 0)
	d.want("voided", payments.Charge, "c", "a", 2000)
	d.want(payments.NothingToUndo, payments.Refund, "r", "c", 0)
}

// TestUndoFirst: whatever comes after its undo is refused.
func TestUndoFirst(t *testing.T) {
	d := open(t)
	d.want(payments.NothingToUndo, payments.Void, "v", "a", 0)
	d.want(service.CodeUndone, payments.Authorization, "a", "", 2000)

	d.want(payments.Authorized, payments.Authorization, "b", "", 2000)
	d.want(payments.NothingToUndo, payments.Refund, "r", "c", 0)
	d.want(service.CodeUndone, payments.Charge, "c", "b", 2000)
	d.want(payments.Voided, payments.Void, "w", "b", 0)
}

func TestRefusals(t *testing.T) {
	d := open(t)
	d.want("not_authorized", payments.Charge, "c", "a", 2000)
	d.want("bad_amount", payments.Authorization, "a", "", 0)
	d.want(payments.Authorized, payments.Authorization, "b", "", 2000)
	d.want("not_authorized", payments.Charge, "c2", "b", 2001)
	d.card = "tok_stolen"
	d.want("unknown_card", payments.Authorization, "e", "", 2000)
	if _, err := d.c.Tokenize(t.Context(), payments.Card{Number: "4242"}); err == nil {
		t.Error("half a card gets a token")
	}
}
