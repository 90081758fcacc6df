package demo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/accounting"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/payments"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/register"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/saga"
)

func TestCheckOrder(t *testing.T) {
	history := func(text string) []saga.Event {
		types := map[byte]saga.EventType{
			'>': saga.TaskStateEntered, '+': saga.TaskSucceeded, '?': saga.TaskTimedOut,
			'-': saga.TaskFailed, '<': saga.CompensationEntered,
		}
		var events []saga.Event
		for item := range strings.FieldsSeq(text) {
			events = append(events, saga.Event{Type: types[item[0]], Step: item[1:]})
		}
		return events
	}
	for text, ok := range map[string]bool{
		">a +a >b +b >c -c <b <a":    true,
		">a +a >b ?b -b <b <a":       true,
		">a -a":                      true,
		">a +a >b +b >c -c <a <b":    false, // forward
		">a +a >b +b >c -c <b":       false, // not all
		">a +a >b +b >c -c <c <b <a": false, // what was not done
		">a +a >b -b <a <a":          false, // twice
	} {
		if err := checkOrder(history(text)); (err == nil) != ok {
			t.Errorf("%s: %v, want ok %t", text, err, ok)
		}
	}
}

func TestAccount(t *testing.T) {
	sum := func(amounts ...money.Amount) (s report.Sum) {
		for _, a := range amounts {
			s.Add(a)
		}
		return s
	}
	paid := account{authorized: sum(500), charged: sum(500), credited: sum(500), completed: true}
	if p := paid.check(rides.Completed, 500); p != "" {
		t.Errorf("a paid ride: %s", p)
	}
	for name, a := range map[string]account{
		"a cent too little": {authorized: sum(499), charged: sum(499), credited: sum(499), completed: true},
		"not credited":      {authorized: sum(500), charged: sum(500), completed: true},
		"still held":        {authorized: sum(500, 500), charged: sum(500), credited: sum(500), completed: true},
		"charged twice":     {authorized: sum(500), charged: sum(500, 0), credited: sum(500), completed: true},
		"refunded":          {authorized: sum(500), charged: sum(500), refunded: sum(500), credited: sum(500), completed: true},
		"not in register":   {authorized: sum(500), charged: sum(500), credited: sum(500)},
	} {
		if a.check(rides.Completed, 500) == "" {
			t.Errorf("%s: nothing is wrong", name)
		}
	}
	undone := account{authorized: sum(500), charged: sum(500), refunded: sum(500), cancelled: true}
	if p := undone.check(rides.Compensated, 0); p != "" {
		t.Errorf("a ride that was undone: %s", p)
	}
}

// TestBalance: an entry that nobody took a ride for is found, and so is a cent.
func TestBalance(t *testing.T) {
	d := &demo{tickets: []*ticket{{Ride: rides.Ride{RideID: "r", FareAmount: "$5.00"}}}}
	s := &standing{fates: map[string]rides.Fate{"r": rides.Completed}}
	ledger := func(ride string, charged money.Amount) *ledgers {
		l := &ledgers{byRide: map[string]*account{}}
		for kind, amount := range map[string]money.Amount{
			payments.Authorization: charged, payments.Charge: charged, accounting.Credit: 500, register.Completion: 0,
		} {
			l.enter(service.Entry{Kind: kind, Request: service.Request{Ride: ride, Amount: amount}})
		}
		return l
	}
	if wrong := d.balance(ledger("r", 500), s); len(wrong) > 0 {
		t.Errorf("what balances is wrong: %q", wrong)
	}
	if wrong := d.balance(ledger("r", 499), s); len(wrong) == 0 {
		t.Error("a missing cent is not found")
	}
	if wrong := d.balance(ledger("other", 500), s); len(wrong) == 0 {
		t.Error("entries of an unknown ride are not found")
	}
}

func TestBody(t *testing.T) {
	ticket := &ticket{Ride: rides.Ride{RideID: "r", FareID: "f", CustomerID: "ann", FareAmount: "$5.00"}, token: "tok_1"}
	data, err := ticket.body(worker.Saga, "-$5.00")
	if err != nil {
		t.Fatal(err)
	}
	var start struct {
		Waybill   int
		Start, ID string
		Input     map[string]string
	}
	if err := json.Unmarshal(data, &start); err != nil || start.Start != "fare" || start.ID != "f" || start.Input["fareAmount"] != "-$5.00" {
		t.Errorf("start message %s, %v", data, err)
	}
	if got := ticket.amount(); got != 500 {
		t.Errorf("the right amount is %s, want $5.00", got)
	}
	ticket.FareAmount, ticket.Distance = "none", 10
	if got := ticket.amount(); got != rides.Tariff(10) {
		t.Errorf("the right amount is %s, want the tariff's", got)
	}
}

// TestMendTwice: the copies of a dead letter become the same message.
func TestMendTwice(t *testing.T) {
	d := &demo{cfg: Config{Mode: worker.Saga}}
	ticket := &ticket{Ride: rides.Ride{RideID: "r", FareID: "f", CustomerID: "ann", FareAmount: "$5.00", Reused: true}, token: "tok_1"}
	var bodies []string
	for round := range 3 {
		l := &dlq.Letter{Failure: &queue.Failure{Reason: queue.ReasonPermanent}}
		if err := d.mend(l, ticket, rides.DeadLettered, round+1); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(l.Body))
	}
	if bodies[0] != bodies[1] || bodies[0] != bodies[2] || !strings.Contains(bodies[0], `"f-r"`) {
		t.Errorf("repaired as %q, want all alike, with an id of their own", bodies)
	}
}
