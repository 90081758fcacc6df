// Package accounting is the accounting system: it credits fares that were paid
// to customers' accounts, and debits them again.
package accounting

import (
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
)

// Kinds of entries in the ledger.
const (
	Credit = "credits"
	Debit  = "debits"
)

// What became of a request.
const (
	Credited      = "credited"
	Debited       = "debited"
	NothingToUndo = "nothing to undo"
)

// New returns the HTTP service.
func New() *service.Server {
	return service.New(map[string]service.Operation{Credit: credit, Debit: debit}, faults())
}

// faults are what goes wrong by the suffix of the customer's id. A customer
// whose refund fails needs a reason for one.
func faults() []service.Fault {
	const code, message = "account_frozen", "the account takes no credits"
	return []service.Fault{
		{Customer: "fail_credit", Kind: Credit, How: service.FailRefuse, Code: code, Message: message},
		{Customer: "fail_refund", Kind: Credit, How: service.FailRefuse, Code: code, Message: message},
		{Customer: "flaky_credit", Kind: Credit, Last: 2, How: service.FailBusy},
		{Customer: "lost_credit", Kind: Credit, Last: 1, How: service.FailLose},
		{Customer: "lost_credit", Kind: Credit, First: 2, How: service.FailBusy},
	}
}

func credit(b *service.Book, id string, r service.Request) (service.Answer, error) {
	if r.Of == "" || r.Amount <= 0 {
		return service.Answer{}, service.Refuse("malformed", "want the charge that is credited, and an amount above $0.00")
	}
	return service.Answer{Status: Credited}, b.Add(Credit, id, r)
}

// debit takes the credit that r.Of names back.
func debit(b *service.Book, id string, r service.Request) (service.Answer, error) {
	done, err := b.Undo(Credit, Debit, id, r)
	if err != nil || !done {
		return service.Answer{Status: NothingToUndo}, err
	}
	return service.Answer{Status: Debited}, nil
}

// NewClient returns a client of the accounting system at a base URL.
func NewClient(base string) *service.Client { return service.NewClient("accounting system", base) }
