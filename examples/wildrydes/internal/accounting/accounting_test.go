package accounting_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/accounting"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
)

func TestAccounting(t *testing.T) {
	s := accounting.New()
	h := httptest.NewServer(s)
	c := accounting.NewClient(h.URL)
	t.Cleanup(func() {
		s.Close()
		c.Close()
		h.Close()
	})
	for _, step := range []struct{ want, kind, id, of, customer string }{
		{accounting.Credited, accounting.Credit, "cr1", "ch1", "ann"},
		{accounting.Debited, accounting.Debit, "de1", "cr1", "ann"},
		{accounting.NothingToUndo, accounting.Debit, "de2", "cr1", "ann"},
		{accounting.NothingToUndo, accounting.Debit, "de3", "cr2", "ann"},
		{service.CodeUndone, accounting.Credit, "cr2", "ch2", "ann"},
		{"malformed", accounting.Credit, "cr3", "", "ann"},
		{"account_frozen", accounting.Credit, "cr4", "ch4", "ann_fail_credit"},
		{"account_frozen", accounting.Credit, "cr5", "ch5", "ann_fail_refund"},
	} {
		r := service.Request{Fare: "f", Customer: step.customer, Amount: 100, Of: step.of}
		a, err := c.Do(t.Context(), step.kind, step.id, step.kind+step.id, r)
		got := a.Status
		var e *service.Error
		if errors.As(err, &e) {
			got = e.Code
		}
		if got != step.want {
			t.Errorf("%s %s: %s (%v), want %s", step.kind, step.id, got, err, step.want)
		}
	}
	l, err := c.Ledger(t.Context())
	if err != nil || len(l.Entries) != 2 || l.Entries[0].Amount != l.Entries[1].Amount {
		t.Errorf("ledger %+v, %v; want a credit and the debit of it", l.Entries, err)
	}
}
