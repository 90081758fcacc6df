// Package register is the register of fares: which there are, and whether they
// were completed or cancelled. It decides between the two: a fare that is one
// will not become the other.
package register

import (
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
)

// Kinds of entries in the register. The id of each is the fare's.
const (
	Fare         = "fares"
	Completion   = "completions"
	Cancellation = "cancellations"
)

// Codes of refusals.
const (
	// CodeTaken: another ride has the fare's id.
	CodeTaken = service.CodeTaken
	// CodeCompleted: the fare cannot be cancelled any more.
	CodeCompleted = "completed"
	// CodeCancelled: the fare cannot be completed any more.
	CodeCancelled = "cancelled"
)

// New returns the HTTP service.
func New() *service.Server {
	return service.New(map[string]service.Operation{
		Fare: add, Completion: complete, Cancellation: cancel,
	}, faults())
}

func faults() []service.Fault {
	return []service.Fault{
		{Customer: "flaky_status", Kind: Completion, Last: 2, How: service.FailBusy},
	}
}

func add(b *service.Book, id string, r service.Request) (service.Answer, error) {
	if _, ok := b.Find(Cancellation, id); ok {
		return service.Answer{}, service.Refuse(service.CodeUndone, "the fare was cancelled before it came")
	}
	return service.Answer{Status: "registered"}, b.Add(Fare, id, r)
}

func complete(b *service.Book, id string, r service.Request) (service.Answer, error) {
	if _, ok := b.Find(Cancellation, id); ok {
		return service.Answer{}, service.Refuse(CodeCancelled, "the fare was cancelled")
	}
	if f, ok := b.Find(Fare, id); !ok || f.Ride != r.Ride {
		return service.Answer{}, service.Refuse("not_registered", "the ride has no such fare")
	}
	return service.Answer{Status: "completed"}, b.Add(Completion, id, r)
}

// cancel cancels the fare of the request's ride. One that was not registered, or
// not for this ride, or is cancelled already, is no matter.
func cancel(b *service.Book, id string, r service.Request) (service.Answer, error) {
	if _, ok := b.Find(Completion, id); ok {
		return service.Answer{}, service.Refuse(CodeCompleted, "the fare was completed")
	}
	if f, ok := b.Find(Fare, id); ok && f.Ride != r.Ride {
		return service.Answer{Status: "not this ride's"}, nil
	}
	if _, ok := b.Find(Cancellation, id); ok {
		return service.Answer{Status: "cancelled"}, nil
	}
	return service.Answer{Status: "cancelled"}, b.Add(Cancellation, id, r)
}

// NewClient returns a client of the register at a base URL.
func NewClient(base string) *service.Client { return service.NewClient("fare register", base) }
