// Package rides is the input of the example: rides that have ended, read from a
// file or generated.
package rides

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/payments"
)

// A Ride is one line of the input: a ride that has ended and is to be paid.
type Ride struct {
	RideID     string  `json:"rideId"` // defaults to the fare's id
	FareID     string  `json:"fareId"`
	CustomerID string  `json:"customerId"` // its suffix forces failures
	From       string  `json:"from,omitempty"`
	To         string  `json:"to,omitempty"`
	Distance   float64 `json:"distance,omitempty"` // km
	FareAmount string  `json:"fareAmount"`         // as the app has it: "$20.50"
	payments.Card

	// Damage is what the app does to the ride's message.
	Damage Damage `json:"damage,omitempty"`

	// Copies is how often the app sends the message. Defaults to once.
	Copies int `json:"copies,omitempty"`

	// Expect is what is to become of the ride, if the input says so.
	Expect Fate `json:"expect,omitempty"`

	// Reused says that an earlier ride of the input has the fare's id.
	Reused bool `json:"-"`
}

// A Fate is what becomes of a ride.
type Fate string

const (
	// Completed rides are paid, credited and announced.
	Completed Fate = "completed"
	// Compensated rides failed, and all that was done is undone.
	Compensated Fate = "compensated"
	// DeadLettered rides have a message that nobody can work with. They are
	// completed once it is repaired.
	DeadLettered Fate = "dead-lettered"
	// Blocked rides failed, and cannot be undone before the payment provider is
	// mended. They are compensated then. In a pipeline they are dead-lettered
	// on their way back.
	Blocked Fate = "blocked"
)

// Fates are all of them.
func Fates() []Fate { return []Fate{Completed, Compensated, DeadLettered, Blocked} }

// Damage is what a faulty app does to a message.
type Damage string

const (
	// Truncated: half of the message is missing.
	Truncated Damage = "truncated"
	// Garbled: the fare is not an amount of money.
	Garbled Damage = "garbled"
	// Negative: the fare is below zero.
	Negative Damage = "negative"
	// Absurd: the fare is a million dollars.
	Absurd Damage = "absurd"
)

// Damages are all of them.
func Damages() []Damage { return []Damage{Truncated, Garbled, Negative, Absurd} }

// The tariff.
const (
	flagFall money.Amount = 250 // whatever the distance
	perTenth money.Amount = 18  // for each 100 m
	longest               = 500 // km
)

// Tariff returns what a ride of so many km costs: $2.50, and $1.80 a km.
func Tariff(distance float64) money.Amount {
	return flagFall + perTenth*money.Amount(distance*10+0.5)
}

// SentAmount returns the amount in the message that the app sends.
func (r Ride) SentAmount() string {
	switch r.Damage {
	case Garbled:
		return "see receipt"
	case Negative:
		return "-" + r.FareAmount
	case Absurd:
		return "$1000000.00"
	}
	return r.FareAmount
}

// maxID bounds ids. They become part of keys and of message ids.
const maxID = 128

// check reports everything that is wrong with a line.
func (r Ride) check() error {
	var errs []error
	add := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, f := range []struct{ name, value string }{
		{"rideId", r.RideID}, {"fareId", r.FareID}, {"customerId", r.CustomerID},
	} {
		add(f.value == "", "%s is missing", f.name)
		add(len(f.value) > maxID, "%s has %d bytes; want at most %d", f.name, len(f.value), maxID)
		add(strings.ContainsFunc(f.value, notPlain), "%s is %q; want letters, digits, -, _ and .", f.name, f.value)
	}
	// The error does not repeat what a card says.
	add(r.Card.Number == "" || r.Card.Expiry == "" || r.Card.Check == "", "cc, expiryDate and cvv are not all there")
	add(r.FareAmount == "", "fareAmount is missing; want for example $20.50")
	add(!(r.Distance >= 0 && r.Distance <= longest), "distance is %v; want 0 to %d km", r.Distance, longest)
	add(r.Damage != "" && !slices.Contains(Damages(), r.Damage), "damage is %q; want one of %v", r.Damage, Damages())
	add(r.Copies < 0 || r.Copies > 10, "copies is %d; want 1 to 10", r.Copies)
	add(r.Expect != "" && !slices.Contains(Fates(), r.Expect), "expect is %q; want one of %v", r.Expect, Fates())
	return errors.Join(errs...)
}

func notPlain(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
}
