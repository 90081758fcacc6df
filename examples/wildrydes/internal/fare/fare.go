// Package fare is fare processing itself: what a fare is, the handlers that
// process it and take that back, and the two ways to chain them, as a saga and
// as a pipeline.
package fare

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
)

// A Fare is what a ride costs a customer. It is the state of the saga and the
// body of the pipeline's messages, and knows a card by its token alone.
type Fare struct {
	RideID     string       `json:"rideId"`
	FareID     string       `json:"fareId"`
	CustomerID string       `json:"customerId"`
	Amount     money.Amount `json:"fareAmount"`
	CardToken  string       `json:"cardToken"`

	// Cause is why a fare is on the pipeline's way back.
	Cause string `json:"cause,omitempty"`
}

// The ids of all that may have to be undone are made here, and not by the
// services that do it: if an answer is lost, they are known all the same.

func (f *Fare) authorizationID() string { return "au_" + f.FareID }
func (f *Fare) chargeID() string        { return "ch_" + f.FareID }
func (f *Fare) voidID() string          { return "vo_" + f.FareID }
func (f *Fare) refundID() string        { return "re_" + f.FareID }
func (f *Fare) creditID() string        { return "cr_" + f.FareID }
func (f *Fare) debitID() string         { return "de_" + f.FareID }

// Limit is the highest fare that a ride can have.
const Limit money.Amount = 1000_00

// What makes a fare impossible.
var (
	ErrNegative = errors.New("the fare is negative")
	ErrZero     = errors.New("the fare is zero")
	ErrAbsurd   = fmt.Errorf("the fare is above %s", Limit)
	ErrToken    = errors.New("the card is not a token")
	ErrMissing  = errors.New("an id is missing")
)

// CheckAmount reports an amount that no ride can cost.
func CheckAmount(a money.Amount) error {
	switch {
	case a < 0:
		return ErrNegative
	case a == 0:
		return ErrZero
	case a > Limit:
		return ErrAbsurd
	}
	return nil
}

// UnmarshalJSON reads a fare, and refuses one that makes no sense: nothing
// after this has to check it.
func (f *Fare) UnmarshalJSON(data []byte) error {
	type plain Fare
	var p plain
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	if p.RideID == "" || p.FareID == "" || p.CustomerID == "" {
		return fmt.Errorf("%w: want rideId, fareId and customerId", ErrMissing)
	}
	if err := CheckAmount(p.Amount); err != nil {
		return fmt.Errorf("fareAmount is %s: %w", p.Amount, err)
	}
	// The number of a card has no business here, and is not repeated.
	if !strings.HasPrefix(p.CardToken, "tok_") {
		return fmt.Errorf("%w: have the payment provider make one", ErrToken)
	}
	*f = Fare(p)
	return nil
}
