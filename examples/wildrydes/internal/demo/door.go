package demo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/backend"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/payments"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
	"github.com/waybill-dev/waybill/queue"
)

// A door is where rides come in: the app's back end. It trades the card for a
// token, so that no card goes any further, and sends a message.
type door struct {
	mode      worker.Mode
	payments  *payments.Client
	publisher *queue.Publisher
	stats     *queue.Stats
}

// senders is how many rides come in at once.
const senders = 64

func newDoor(mode worker.Mode, b *backend.Backend, p *payments.Client) (*door, error) {
	d := &door{mode: mode, payments: p, stats: new(queue.Stats)}
	var err error
	d.publisher, err = queue.NewPublisher(queue.PublisherConfig{AWSFor: b.AWSFor, Endpoints: b.Endpoints, Stats: d.stats})
	return d, err
}

// A ticket is a ride on its way: the ride, and the card's token.
type ticket struct {
	rides.Ride
	token   string
	renamed bool // its fare has an id of its own by now
}

// rename gives the fare an id that no other ride has. It does so once: all
// copies of the ride's message become the same.
func (t *ticket) rename() {
	if !t.renamed {
		t.FareID += "-" + t.RideID
		t.renamed = true
	}
}

// admit trades the cards of rides for tokens.
func (d *door) admit(ctx context.Context, list []rides.Ride) ([]*ticket, error) {
	tickets := make([]*ticket, len(list))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(senders)
	for i, ride := range list {
		g.Go(func() error {
			token, err := d.payments.Tokenize(ctx, ride.Card)
			if err != nil {
				return fmt.Errorf("ride %s: %w", ride.RideID, err)
			}
			ride.Card = payments.Card{}
			tickets[i] = &ticket{Ride: ride, token: token}
			return nil
		})
	}
	return tickets, g.Wait()
}

// send sends the messages of rides.
func (d *door) send(ctx context.Context, tickets []*ticket) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(senders)
	for _, t := range tickets {
		body, err := t.body(d.mode, t.SentAmount())
		if err != nil {
			return err
		}
		if t.Damage == rides.Truncated {
			body = body[:len(body)/2]
		}
		for range max(t.Copies, 1) {
			msg := message.NewMessage(uuid.NewString(), body)
			msg.Metadata.Set(queue.KeyCorrelation, t.RideID)
			msg.SetContext(ctx)
			g.Go(func() error { return d.publisher.Publish(fare.Rides, msg) })
		}
	}
	return g.Wait()
}

// body is the body of a ride's message.
func (t *ticket) body(mode worker.Mode, amount string) ([]byte, error) {
	f := struct {
		RideID     string `json:"rideId"`
		FareID     string `json:"fareId"`
		CustomerID string `json:"customerId"`
		Amount     string `json:"fareAmount"` // which may be none
		CardToken  string `json:"cardToken"`
	}{t.RideID, t.FareID, t.CustomerID, amount, t.token}
	if mode == worker.Pipeline {
		return json.Marshal(f)
	}
	return json.Marshal(map[string]any{"waybill": 1, "start": fare.SagaName, "id": t.FareID, "input": f})
}

// amount is what is right: what the app has on record or, where that is
// impossible too, what the tariff says.
func (t *ticket) amount() money.Amount {
	if a, err := money.Parse(t.FareAmount); err == nil && fare.CheckAmount(a) == nil {
		return a
	}
	return rides.Tariff(t.Distance)
}

func (d *door) close() error { return d.publisher.Close() }
