// Package payments is the payment provider: it keeps cards, authorises and
// charges amounts, voids authorisations and refunds charges.
package payments

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
)

// Kinds of entries in the provider's ledger.
const (
	Authorization = "authorizations"
	Charge        = "charges"
	Void          = "voids"
	Refund        = "refunds"
)

// What became of a request. Undoing what never came, and now never will, is
// as good as undoing.
const (
	Authorized    = "authorized"
	Charged       = "charged"
	Refunded      = "refunded"
	Voided        = "voided"
	Captured      = "captured" // charged, so there is nothing to void
	NothingToUndo = "nothing to undo"
)

// New returns the provider's HTTP service. Besides what package service has,
// it trades a card for a token:
//
//	POST /cards
func New() *service.Server {
	p := &provider{tokens: make(map[string]bool), captured: make(map[string]bool)}
	s := service.New(map[string]service.Operation{
		Authorization: p.authorize,
		Charge:        p.charge,
		Void:          p.void,
		Refund:        p.refund,
	}, faults())
	s.HandleFunc("POST /cards", p.tokenize)
	return s
}

// faults are what goes wrong by the suffix of the customer's id. Steps of the
// example try an action for at most about 2 s.
func faults() []service.Fault {
	return []service.Fault{
		{Customer: "fail_auth", Kind: Authorization, How: service.FailRefuse, Code: "card_declined", Message: "the bank declines the card"},
		{Customer: "fail_charge", Kind: Charge, How: service.FailRefuse, Code: "charge_declined", Message: "the bank declines the charge"},
		{Customer: "fail_refund", Kind: Refund, How: service.FailBusy},
		{Customer: "flaky_charge", Kind: Charge, Last: 2, How: service.FailBusy},
		{Customer: "slow_charge", Kind: Charge, How: service.FailSlow, Delay: 300 * time.Millisecond},
		{Customer: "lost_auth", Kind: Authorization, Last: 1, How: service.FailLose},
		{Customer: "lost_charge", Kind: Charge, Last: 1, How: service.FailLose, Delay: 2 * time.Second},
		{Customer: "late_charge", Kind: Charge, Last: 1, How: service.FailSlow, Delay: 4 * time.Second},
		{Customer: "late_charge", Kind: Charge, First: 2, How: service.FailBusy},
	}
}

// A provider is what the service remembers besides its ledger.
type provider struct {
	captured map[string]bool // authorizations that were charged

	mu     sync.Mutex
	tokens map[string]bool
}

// A Card is what a customer pays with. It goes to the provider and nowhere
// else.
type Card struct {
	Number string `json:"cc"`
	Expiry string `json:"expiryDate"`
	Check  string `json:"cvv"`
}

// tokenize remembers the token alone: what the card is, is none of the
// example's business.
func (p *provider) tokenize(w http.ResponseWriter, r *http.Request) {
	var c Card
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || c.Number == "" || c.Expiry == "" || c.Check == "" {
		http.Error(w, `{"code":"malformed","message":"want cc, expiryDate and cvv"}`, http.StatusBadRequest)
		return
	}
	token := "tok_" + rand.Text()
	p.mu.Lock()
	p.tokens[token] = true
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
}

func (p *provider) authorize(b *service.Book, id string, r service.Request) (service.Answer, error) {
	p.mu.Lock()
	known := p.tokens[r.Card]
	p.mu.Unlock()
	if !known {
		return service.Answer{}, service.Refuse("unknown_card", "the token stands for no card")
	}
	if r.Amount <= 0 {
		return service.Answer{}, service.Refuse("bad_amount", "want an amount above $0.00")
	}
	return service.Answer{Status: Authorized}, b.Add(Authorization, id, r)
}

// charge captures the authorization that r.Of names.
func (p *provider) charge(b *service.Book, id string, r service.Request) (service.Answer, error) {
	a, ok := b.Find(Authorization, r.Of)
	switch {
	case b.Undone(Charge, id): // say so, whatever became of the authorization
	case !ok:
		return service.Answer{}, service.Refuse("not_authorized", "there is no such authorization")
	case b.Undone(Authorization, r.Of):
		return service.Answer{}, service.Refuse("voided", "the authorization was voided")
	case a.Fare != r.Fare || a.Amount != r.Amount:
		return service.Answer{}, service.Refuse("not_authorized", "the authorization is for another fare or amount")
	case p.captured[r.Of]:
		return service.Answer{}, service.Refuse("captured", "the authorization was charged already")
	}
	if err := b.Add(Charge, id, r); err != nil {
		return service.Answer{}, err
	}
	p.captured[r.Of] = true
	return service.Answer{Status: Charged}, nil
}

// refund takes the charge that r.Of names back.
func (p *provider) refund(b *service.Book, id string, r service.Request) (service.Answer, error) {
	done, err := b.Undo(Charge, Refund, id, r)
	if err != nil || !done {
		return service.Answer{Status: NothingToUndo}, err
	}
	return service.Answer{Status: Refunded}, nil
}

// void takes the authorization that r.Of names back, unless it was charged:
// then the charge is what there is to undo.
func (p *provider) void(b *service.Book, id string, r service.Request) (service.Answer, error) {
	if p.captured[r.Of] {
		return service.Answer{Status: Captured}, nil
	}
	done, err := b.Undo(Authorization, Void, id, r)
	if err != nil || !done {
		return service.Answer{Status: NothingToUndo}, err
	}
	return service.Answer{Status: Voided}, nil
}

// A Client calls the provider.
type Client struct{ *service.Client }

// NewClient returns a client of the provider at a base URL.
func NewClient(base string) *Client {
	return &Client{service.NewClient("payment provider", base)}
}

// Tokenize trades a card for a token.
func (c *Client) Tokenize(ctx context.Context, card Card) (string, error) {
	var answer struct {
		Token string `json:"token"`
	}
	err := c.Post(ctx, "cards", card, &answer)
	return answer.Token, err
}
