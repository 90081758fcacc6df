package fare_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/accounting"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/payments"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/register"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
)

// A stage has the real services, and a topic that remembers.
type stage struct {
	t        *testing.T
	services *fare.Services
	topic    *topic
}

func newStage(t *testing.T) *stage {
	t.Helper()
	serve := func(s *service.Server) string {
		h := httptest.NewServer(s)
		t.Cleanup(func() {
			s.Close()
			h.Close()
		})
		return h.URL
	}
	s := fare.NewServices(serve(register.New()), serve(payments.New()), serve(accounting.New()))
	t.Cleanup(s.Close)
	return &stage{t: t, services: s, topic: &topic{notices: map[string]fare.Notice{}}}
}

// fare returns a fare of $20.00 for a customer.
func (s *stage) fare(customer string) fare.Fare {
	s.t.Helper()
	token, err := s.services.Payments.Tokenize(s.t.Context(), payments.Card{Number: "4242424242424242", Expiry: "12/30", Check: "123"})
	if err != nil {
		s.t.Fatal(err)
	}
	return fare.Fare{RideID: "ride-" + customer, FareID: "fare-" + customer, CustomerID: customer, Amount: 2000, CardToken: token}
}

// A balance is what the ledgers say about a fare.
type balance struct {
	authorized, voided, charged, refunded, credited, debited money.Amount
	completed, cancelled                                     bool
}

func (s *stage) balance(fareID string) balance {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	var b balance
	for _, c := range []*service.Client{s.services.Register, s.services.Payments.Client, s.services.Accounting} {
		l, err := c.Ledger(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range l.Entries {
			if e.Fare != fareID {
				continue
			}
			switch e.Kind {
			case payments.Authorization:
				b.authorized += e.Amount
			case payments.Void:
				b.voided += e.Amount
			case payments.Charge:
				b.charged += e.Amount
			case payments.Refund:
				b.refunded += e.Amount
			case accounting.Credit:
				b.credited += e.Amount
			case accounting.Debit:
				b.debited += e.Amount
			case register.Completion:
				b.completed = true
			case register.Cancellation:
				b.cancelled = true
			}
		}
	}
	return b
}

// A topic remembers the notices that are published to it, by ride.
type topic struct {
	mu       sync.Mutex
	notices  map[string]fare.Notice
	messages []*message.Message
}

func (p *topic) Publish(endpoint string, messages ...*message.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, msg := range messages {
		var n fare.Notice
		if err := json.Unmarshal(msg.Payload, &n); err != nil {
			return err
		}
		p.notices[n.RideID] = n
		p.messages = append(p.messages, msg)
	}
	return nil
}

func (p *topic) Close() error { return nil }

func (p *topic) notice(rideID string) (fare.Notice, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.notices[rideID]
	return n, ok
}
