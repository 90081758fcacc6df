package service_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
)

// start serves operations "gifts" and "returns", which take gifts back.
func start(t *testing.T, faults ...service.Fault) *service.Client {
	t.Helper()
	s := service.New(map[string]service.Operation{
		"gifts": func(b *service.Book, id string, r service.Request) (service.Answer, error) {
			if r.Amount < 0 {
				return service.Answer{}, service.Refuse("negative", "no gift")
			}
			return service.Answer{Status: "given"}, b.Add("gifts", id, r)
		},
		"returns": func(b *service.Book, id string, r service.Request) (service.Answer, error) {
			done, err := b.Undo("gifts", "returns", id, r)
			if err != nil || !done {
				return service.Answer{Status: "nothing to undo"}, err
			}
			return service.Answer{Status: "returned"}, nil
		},
	}, faults)
	h := httptest.NewServer(s)
	c := service.NewClient("gift shop", h.URL)
	t.Cleanup(func() {
		s.Close()
		c.Close()
		h.Close()
	})
	return c
}

func gift(customer string) service.Request {
	return service.Request{Ride: "r", Fare: "f", Customer: customer, Amount: 500}
}

func ledger(t *testing.T, c *service.Client) service.Ledger {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := c.Ledger(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// refused checks that err is a service's refusal with the code.
func refused(t *testing.T, err error, code string, permanent bool) {
	t.Helper()
	var e *service.Error
	if !errors.As(err, &e) || e.Code != code || e.Permanent() != permanent {
		t.Fatalf("got error %v, want code %s, permanent %t", err, code, permanent)
	}
}

func TestOneKeyOneEffect(t *testing.T) {
	c := start(t)
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			a, err := c.Do(t.Context(), "gifts", "g1", "k1", gift("ann"))
			if err != nil || a.Status != "given" {
				t.Errorf("got %v, %v", a, err)
			}
		})
	}
	calls.Wait()
	l := ledger(t, c)
	if len(l.Entries) != 1 || l.Entries[0].Key != "k1" || l.Entries[0].Amount != 500 {
		t.Errorf("ledger %+v, want the one gift", l.Entries)
	}
	if l.Stats.Requests != 20 || l.Stats.Replayed != 19 {
		t.Errorf("stats %+v, want 20 requests, 19 of them replayed", l.Stats)
	}
}

func TestKeyBelongsToOneRequest(t *testing.T) {
	c := start(t)
	if _, err := c.Do(t.Context(), "gifts", "g1", "k1", gift("ann")); err != nil {
		t.Fatal(err)
	}
	_, err := c.Do(t.Context(), "gifts", "g1", "k1", gift("bob"))
	refused(t, err, "key_reused", true)
	_, err = c.Do(t.Context(), "gifts", "g1", "k2", gift("ann"))
	refused(t, err, service.CodeTaken, true)
	_, err = c.Do(t.Context(), "gifts", "g2", "", gift("ann"))
	refused(t, err, "no_key", true)
}

func TestRefusalsAreKept(t *testing.T) {
	c := start(t)
	r := gift("ann")
	r.Amount = -1
	for range 2 {
		_, err := c.Do(t.Context(), "gifts", "g1", "k1", r)
		refused(t, err, "negative", true)
	}
	if n := ledger(t, c).Stats.Replayed; n != 1 {
		t.Errorf("%d replayed, want 1", n)
	}
}

func TestUndo(t *testing.T) {
	c := start(t)
	do := func(kind, id, of string) (string, error) {
		r := gift("ann")
		r.Of = of
		a, err := c.Do(t.Context(), kind, id, kind+id, r)
		return a.Status, err
	}
	if _, err := do("gifts", "g1", ""); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ kind, id, of, want string }{
		{"returns", "u1", "g1", "returned"},
		{"returns", "u1", "g1", "returned"}, // by its key
		{"returns", "u2", "g1", "nothing to undo"},
		{"returns", "u3", "g2", "nothing to undo"},
	} {
		if got, err := do(step.kind, step.id, step.of); got != step.want || err != nil {
			t.Errorf("%s %s of %s: %q, %v; want %q", step.kind, step.id, step.of, got, err, step.want)
		}
	}
	// An action that comes after its undo is refused.
	_, err := do("gifts", "g2", "")
	refused(t, err, service.CodeUndone, true)
	if n := ledger(t, c).Stats.RefusedLate; n != 1 {
		t.Errorf("%d refused as late, want 1", n)
	}
}

func TestFaults(t *testing.T) {
	c := start(t,
		service.Fault{Customer: "_refuse", Kind: "gifts", How: service.FailRefuse, Code: "no", Message: "no"},
		service.Fault{Customer: "_busy", Kind: "gifts", Last: 2, How: service.FailBusy},
		service.Fault{Customer: "_down", Kind: "gifts", How: service.FailBusy},
	)
	_, err := c.Do(t.Context(), "gifts", "g1", "k1", gift("ann_refuse"))
	refused(t, err, "no", true)
	for range 2 {
		_, err = c.Do(t.Context(), "gifts", "g2", "k2", gift("ann_busy"))
		refused(t, err, service.CodeUnavailable, false)
	}
	if _, err := c.Do(t.Context(), "gifts", "g2", "k2", gift("ann_busy")); err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), "gifts", "g3", "k3", gift("ann_down"))
	refused(t, err, service.CodeUnavailable, false)
	if err := c.Mend(t.Context(), "_down"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), "gifts", "g3", "k3", gift("ann_down")); err != nil {
		t.Fatal(err)
	}
	refused(t, c.Mend(t.Context(), "_down"), "no_fault", true)
}

func TestFaultsOverHTTP(t *testing.T) {
	c := start(t)
	if err := c.Post(t.Context(), "faults", service.Fault{Customer: "bob", Kind: "gifts", How: service.FailBusy}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := c.Do(t.Context(), "gifts", "g1", "k1", gift("bob"))
	refused(t, err, service.CodeUnavailable, false)
	var faults []service.Fault
	if err := c.Get(t.Context(), "faults", &faults); err != nil || len(faults) != 1 {
		t.Fatalf("faults %v, %v; want the one", faults, err)
	}
	for _, f := range []service.Fault{{}, {Customer: "x", Kind: "x", How: service.FailBusy}, {Customer: "x", Kind: "gifts", How: "x"}} {
		refused(t, c.Post(t.Context(), "faults", f, nil), "malformed", true)
	}
}

// TestAnswerLost: the effect is there, and the client does not know.
func TestAnswerLost(t *testing.T) {
	for name, delay := range map[string]time.Duration{"no answer": 0, "too late": time.Hour} {
		t.Run(name, func(t *testing.T) {
			c := start(t, service.Fault{Customer: "_lost", Kind: "gifts", Last: 1, How: service.FailLose, Delay: delay})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := c.Do(ctx, "gifts", "g1", "k1", gift("ann_lost")); err == nil {
				// The HTTP client itself may send a request with a key
				// again where a connection closes on it.
				t.Log("the HTTP client tried again")
			}
			if _, err := c.Do(t.Context(), "gifts", "g1", "k1", gift("ann_lost")); err != nil {
				t.Fatal(err)
			}
			var l service.Ledger
			if err := c.Get(t.Context(), "ledger", &l); err != nil || len(l.Entries) != 1 || l.Stats.Replayed != 1 {
				t.Errorf("ledger %+v, %v; want one gift, and one answer replayed", l, err)
			}
		})
	}
}

// TestHangingAction: a request that was held up arrives after its undo.
func TestHangingAction(t *testing.T) {
	c := start(t, service.Fault{Customer: "_late", Kind: "gifts", How: service.FailSlow, Delay: 100 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, "gifts", "g1", "k1", gift("ann_late")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got error %v, want that the client gave up", err)
	}
	undo := gift("ann_late")
	undo.Of = "g1"
	if a, err := c.Do(t.Context(), "returns", "u1", "k2", undo); err != nil || a.Status != "nothing to undo" {
		t.Fatalf("got %v, %v; want nothing to undo", a, err)
	}
	l := ledger(t, c) // waits until nothing is under way
	if len(l.Entries) != 0 || l.Stats.RefusedLate != 1 {
		t.Errorf("ledger %+v; want no effect, and the late gift refused", l)
	}
}

func TestBadRequests(t *testing.T) {
	c := start(t)
	_, err := c.Do(t.Context(), "thanks", "1", "k", gift("ann"))
	refused(t, err, "unknown_operation", true)
	huge := gift("ann")
	huge.Note = strings.Repeat("x", 1<<20)
	_, err = c.Do(t.Context(), "gifts", "1", "k", huge)
	refused(t, err, "malformed", true)
	if err := c.Get(t.Context(), "nothing", nil); err == nil {
		t.Error("a path that is not there gives no error")
	}
}

func TestPermanent(t *testing.T) {
	for status, want := range map[int]bool{
		http.StatusPaymentRequired: true, http.StatusConflict: true, http.StatusNotFound: true,
		http.StatusTooManyRequests: false, http.StatusRequestTimeout: false,
		http.StatusInternalServerError: false, http.StatusServiceUnavailable: false,
	} {
		if got := (&service.Error{Status: status}).Permanent(); got != want {
			t.Errorf("status %d: permanent %t, want %t", status, got, want)
		}
	}
}
