package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/accounting"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/payments"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/register"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
)

// An account is what the ledgers say about one ride.
type account struct {
	authorized, voided, charged, refunded, credited, debited report.Sum
	completed, cancelled                                     bool
}

// ledgers are those of all services, added up.
type ledgers struct {
	books   report.Books
	byRide  map[string]*account
	stats   service.Stats
	doubled int // effects beyond the first under one key of one service
}

// read reads the ledgers, once nothing is under way any more.
func (d *demo) read(ctx context.Context) (*ledgers, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	l := &ledgers{byRide: map[string]*account{}}
	services := d.stage.services
	for _, c := range []*service.Client{services.Register, services.Payments.Client, services.Accounting} {
		ledger, err := c.Ledger(ctx)
		if err != nil {
			return nil, err
		}
		l.stats.Replayed += ledger.Stats.Replayed
		l.stats.RefusedLate += ledger.Stats.RefusedLate
		keys := map[string]bool{}
		for _, e := range ledger.Entries {
			if keys[e.Key] {
				l.doubled++
			}
			keys[e.Key] = true
			l.enter(e)
		}
	}
	return l, nil
}

// enter adds an entry up.
func (l *ledgers) enter(e service.Entry) {
	a := l.byRide[e.Ride]
	if a == nil {
		a = &account{}
		l.byRide[e.Ride] = a
	}
	add := func(total, own *report.Sum) {
		total.Add(e.Amount)
		own.Add(e.Amount)
	}
	switch e.Kind {
	case payments.Authorization:
		add(&l.books.Authorized, &a.authorized)
	case payments.Void:
		add(&l.books.Voided, &a.voided)
	case payments.Charge:
		add(&l.books.Charged, &a.charged)
	case payments.Refund:
		add(&l.books.Refunded, &a.refunded)
	case accounting.Credit:
		add(&l.books.Credited, &a.credited)
	case accounting.Debit:
		add(&l.books.Debited, &a.debited)
	case register.Completion:
		a.completed = true
	case register.Cancellation:
		a.cancelled = true
	}
}

// balance compares the ledgers with where the rides stand, ride by ride and in
// sum, and notes what a cent is missing from. It returns what is wrong.
func (d *demo) balance(l *ledgers, s *standing) []string {
	var wrong []string
	known := map[string]bool{}
	for _, t := range d.tickets {
		known[t.RideID] = true
		a := l.byRide[t.RideID]
		if a == nil {
			a = &account{}
		}
		var owed money.Amount
		if s.fates[t.RideID] == rides.Completed {
			owed = t.amount()
			l.books.Fares.Add(owed)
		}
		if problem := a.check(s.fates[t.RideID], owed); problem != "" {
			wrong = append(wrong, fmt.Sprintf("ride %s is %s, %s", t.RideID, s.fates[t.RideID], problem))
		}
	}
	for _, ride := range slices.Sorted(maps.Keys(l.byRide)) {
		if !known[ride] {
			wrong = append(wrong, fmt.Sprintf("there are entries of ride %s, which nobody took", ride))
		}
	}
	if b := l.books; b.Paid() != b.Fares.Amount || b.Booked() != b.Fares.Amount || b.Held() != 0 {
		wrong = append(wrong, fmt.Sprintf("cards paid %s, accounts were credited %s, completed fares are %s, and %s is still authorized",
			b.Paid(), b.Booked(), b.Fares.Amount, b.Held()))
	}
	return wrong
}

// check reports what is wrong with the account of a ride that owes an amount.
func (a *account) check(fate rides.Fate, owed money.Amount) string {
	switch {
	case a.charged.Entries > 1 || a.credited.Entries > 1 || a.authorized.Entries > 1:
		return fmt.Sprintf("and was authorized %d, charged %d and credited %d times", a.authorized.Entries, a.charged.Entries, a.credited.Entries)
	case a.charged.Amount-a.refunded.Amount != owed:
		return fmt.Sprintf("and paid %s, want %s", a.charged.Amount-a.refunded.Amount, owed)
	case a.credited.Amount-a.debited.Amount != owed:
		return fmt.Sprintf("and was credited %s, want %s", a.credited.Amount-a.debited.Amount, owed)
	case a.authorized.Amount != a.charged.Amount+a.voided.Amount:
		return fmt.Sprintf("and %s was authorized, %s charged and %s voided", a.authorized.Amount, a.charged.Amount, a.voided.Amount)
	case a.completed != (fate == rides.Completed) || a.cancelled != (fate == rides.Compensated):
		return fmt.Sprintf("and in the register completed: %t, cancelled: %t", a.completed, a.cancelled)
	}
	return ""
}
