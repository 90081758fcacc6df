package fare

import (
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
)

// A Notice tells the world what became of a fare. It is the body of the
// messages of the topic.
type Notice struct {
	RideID       string       `json:"rideId"`
	FareID       string       `json:"fareId"`
	CustomerID   string       `json:"customerId"`
	Amount       money.Amount `json:"fareAmount"`
	IsSuccessful bool         `json:"isSuccessful"`
	ChargeID     string       `json:"chargeId,omitempty"` // if it is successful
	Cause        string       `json:"cause,omitempty"`    // if it is not
}

// AttrIsSuccessful is the message attribute that subscriptions filter on:
// "true" or "false".
const AttrIsSuccessful = "IsSuccessful"

// Succeeded is the notice of a fare that is paid and credited.
func (f *Fare) Succeeded() Notice {
	n := f.notice()
	n.IsSuccessful, n.ChargeID = true, f.chargeID()
	return n
}

// Failed is the notice of a fare that was taken back.
func (f *Fare) Failed(cause string) Notice {
	n := f.notice()
	n.Cause = cause
	return n
}

func (f *Fare) notice() Notice {
	return Notice{RideID: f.RideID, FareID: f.FareID, CustomerID: f.CustomerID, Amount: f.Amount}
}

// Attribute is the value of AttrIsSuccessful.
func (n Notice) Attribute() string {
	if n.IsSuccessful {
		return "true"
	}
	return "false"
}

// Subject is the subject of the notice.
func (n Notice) Subject() string {
	if n.IsSuccessful {
		return "Transaction Succeeded"
	}
	return "Transaction Failed"
}
