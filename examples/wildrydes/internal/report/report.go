// Package report is what the example has to show for itself.
package report

import (
	"encoding/json"
	"io"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
)

// A Tally counts rides by where they stand. Each ride is in one of them.
type Tally struct {
	Completed    int `json:"completed"`
	Compensated  int `json:"compensated"`
	DeadLettered int `json:"dead_lettered"`
	Open         int `json:"open"` // not at an end, blocked ones included
	Lost         int `json:"lost"` // nowhere to be found
}

// Rides is how many rides there are.
func (t Tally) Rides() int {
	return t.Completed + t.Compensated + t.DeadLettered + t.Open + t.Lost
}

// A Group is a number of rides with the same thing to say.
type Group struct {
	What  string `json:"what"`
	Rides int    `json:"rides"`
}

// A Sum is a number of entries in a ledger, and what they add up to.
type Sum struct {
	Entries int          `json:"entries"`
	Amount  money.Amount `json:"amount"`
}

// Add adds an entry.
func (s *Sum) Add(a money.Amount) {
	s.Entries++
	s.Amount += a
}

// Books are the ledgers of the services, added up.
type Books struct {
	Authorized Sum `json:"authorized"`
	Voided     Sum `json:"voided"`
	Charged    Sum `json:"charged"`
	Refunded   Sum `json:"refunded"`
	Credited   Sum `json:"credited"`
	Debited    Sum `json:"debited"`

	// Fares is what the completed rides cost.
	Fares Sum `json:"fares"`
}

// Paid is what the provider has taken from cards in the end.
func (b Books) Paid() money.Amount { return b.Charged.Amount - b.Refunded.Amount }

// Booked is what the accounts have been credited in the end.
func (b Books) Booked() money.Amount { return b.Credited.Amount - b.Debited.Amount }

// Held is what was authorised and is neither charged nor voided.
func (b Books) Held() money.Amount {
	return b.Authorized.Amount - b.Charged.Amount - b.Voided.Amount
}

// A Report is the outcome of a run. Its JSON is an interface: names stay.
type Report struct {
	Mode string `json:"mode"`

	// Rides came in. Completed and Compensated are those that came to that
	// end without the help of the dead-letter queues, DeadLettered those that
	// needed it. Rides is the sum of the five.
	Rides int `json:"rides"`
	Tally
	DeadLetteredAfterRedrive int `json:"dead_lettered_after_redrive"`

	LedgerBalanced          bool    `json:"ledger_balanced"`
	QueueRequestsPerMessage float64 `json:"queue_requests_per_message"`
	RedisScriptsPerSaga     float64 `json:"redis_scripts_per_saga"`
	SagasPerSecond          float64 `json:"sagas_per_second"`      // crashes and waits included
	SagasPerSecondPeak      float64 `json:"sagas_per_second_peak"` // in the best second

	Crashes       int     `json:"crashes"`
	Seconds       float64 `json:"seconds"`
	SecondsBefore float64 `json:"seconds_before_redrive"` // to the last ride's end before it; the rates are of these
	Before        Tally   `json:"before_redrive"`
	After         Tally   `json:"after_redrive"`
	DeadLetters   []Group `json:"dead_letters"` // rides, before the redrive
	Compensation  []Group `json:"compensated_because"`
	Blocked       int     `json:"blocked"`        // sagas, before they were retried
	Redriven      int     `json:"redriven"`       // messages
	RedrivenRides int     `json:"redriven_rides"` // whose messages they were: a ride may have several

	// BooksBefore are the ledgers before the repair.
	BooksBefore Books `json:"books_before_redrive"`
	Books       Books `json:"books"`

	Replayed       int `json:"requests_replayed"`    // of services, by their idempotency key
	RefusedLate    int `json:"late_actions_refused"` // that came after their undo
	NoticesAgain   int `json:"notices_repeated"`     // at least once means that
	InReverse      int `json:"compensated_in_order"` // sagas whose history shows it
	Expected       int `json:"expected"`             // rides of which the input says how they end
	Unexpected     int `json:"unexpected"`           // those among them that ended otherwise
	QueueRequests  int `json:"queue_requests"`       // to send, receive, delete and hide
	QueueMessages  int `json:"queue_messages"`       // received
	RedisScripts   int `json:"redis_scripts"`
	EffectsDoubled int `json:"effects_under_one_key"` // effects beyond the first under one key

	// Problems are what must not be.
	Problems []string `json:"problems"`

	Modes map[string]*Report `json:"modes,omitempty"` // where there are several
}

// OK reports whether all is as it must be at the end.
func (r *Report) OK() bool {
	return r.LedgerBalanced && r.Open == 0 && r.Lost == 0 && r.DeadLetteredAfterRedrive == 0 && len(r.Problems) == 0
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Combine adds the reports of several modes up.
func Combine(reports ...*Report) *Report {
	if len(reports) == 1 {
		return reports[0]
	}
	all := &Report{
		Mode: "both", LedgerBalanced: true, Modes: map[string]*Report{},
		DeadLetters: []Group{}, Compensation: []Group{}, Problems: []string{},
	}
	var ended float64
	for _, r := range reports {
		all.Modes[r.Mode] = r
		all.Rides += r.Rides
		all.Tally = all.Tally.plus(r.Tally)
		all.Before, all.After = all.Before.plus(r.Before), all.After.plus(r.After)
		all.DeadLetteredAfterRedrive += r.DeadLetteredAfterRedrive
		all.LedgerBalanced = all.LedgerBalanced && r.LedgerBalanced
		all.Crashes += r.Crashes
		all.Seconds += r.Seconds
		all.SecondsBefore += r.SecondsBefore
		all.Blocked += r.Blocked
		all.Redriven += r.Redriven
		all.RedrivenRides += r.RedrivenRides
		all.BooksBefore, all.Books = all.BooksBefore.plus(r.BooksBefore), all.Books.plus(r.Books)
		all.Replayed += r.Replayed
		all.RefusedLate += r.RefusedLate
		all.NoticesAgain += r.NoticesAgain
		all.InReverse += r.InReverse
		all.Expected += r.Expected
		all.Unexpected += r.Unexpected
		all.QueueRequests += r.QueueRequests
		all.QueueMessages += r.QueueMessages
		all.RedisScripts += r.RedisScripts
		all.EffectsDoubled += r.EffectsDoubled
		all.SagasPerSecondPeak = max(all.SagasPerSecondPeak, r.SagasPerSecondPeak)
		if r.RedisScripts > 0 {
			all.RedisScriptsPerSaga = r.RedisScriptsPerSaga
		}
		ended += r.SagasPerSecond * r.SecondsBefore
		for _, p := range r.Problems {
			all.Problems = append(all.Problems, r.Mode+": "+p)
		}
	}
	if all.QueueMessages > 0 {
		all.QueueRequestsPerMessage = float64(all.QueueRequests) / float64(all.QueueMessages)
	}
	if all.SecondsBefore > 0 {
		all.SagasPerSecond = ended / all.SecondsBefore
	}
	return all
}

func (t Tally) plus(other Tally) Tally {
	return Tally{
		t.Completed + other.Completed, t.Compensated + other.Compensated,
		t.DeadLettered + other.DeadLettered, t.Open + other.Open, t.Lost + other.Lost,
	}
}

func (s Sum) plus(other Sum) Sum { return Sum{s.Entries + other.Entries, s.Amount + other.Amount} }

func (b Books) plus(other Books) Books {
	return Books{
		b.Authorized.plus(other.Authorized), b.Voided.plus(other.Voided),
		b.Charged.plus(other.Charged), b.Refunded.plus(other.Refunded),
		b.Credited.plus(other.Credited), b.Debited.plus(other.Debited),
		b.Fares.plus(other.Fares),
	}
}
