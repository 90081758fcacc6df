package main

import (
	"context"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// minutes are how long people may take: here nobody waits for them.
func minutes() Patience {
	return Patience{Person: 5 * time.Minute, Audit: 12 * time.Minute, Heartbeat: 3 * time.Minute, Sweep: 2 * time.Second}
}

// asks files a claim and waits until who is asked about it.
func (h *house) asks(t *testing.T, id string, c Claim, who string) request {
	t.Helper()
	if _, err := h.saga.Start(t.Context(), h.client, id, c); err != nil {
		t.Fatal(err)
	}
	r, err := h.office.asked(t.Context(), id, who)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ends waits for a claim's end.
func (h *house) ends(t *testing.T, id, want string) {
	t.Helper()
	x, err := h.client.Wait(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := h.office.stands(x); got != want {
		t.Errorf("%s is %q, want %q", id, got, want)
	}
}

// says checks what the desk answers.
func (h *house) says(t *testing.T, r *http.Request, status int, want string) {
	t.Helper()
	if w := h.request(r); w.Code != status || !strings.Contains(w.Body.String(), want) {
		t.Errorf("%s %s: %d %s, want %d and %q", r.Method, r.URL, w.Code, w.Body, status, want)
	}
}

const tooLate = "Thank you, but this needs no answer any more"

// What cannot be an answer changes nothing, and costs the token nothing.
func TestDeskRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := opened(t, minutes(), func(string, string) {})
		r := h.asks(t, "1", Claim{Employee: "Ann", Purpose: "a chair", Cents: 100_00}, "manager")
		foreign := form("/answer", url.Values{"token": {r.Token}, "by": {"eve"}, "verdict": {"approve"}})
		foreign.Header.Set("Sec-Fetch-Site", "cross-site")
		elsewhere := httptest.NewRequest(http.MethodGet, "http://evil.example/", nil)
		for _, tt := range []struct {
			r      *http.Request
			status int
			want   string
		}{
			{form("/answer", url.Values{"token": {r.Token}, "by": {"eve"}}), http.StatusBadRequest, "The verdict is approve, refuse or busy."},
			{form("/answer", url.Values{"token": {r.Token}, "verdict": {"approve"}}), http.StatusBadRequest, "An approval says whose it is."},
			{form("/answer", url.Values{"token": {r.Token}, "verdict": {"refuse"}}), http.StatusBadRequest, "A refusal says why."},
			{form("/answer", url.Values{"by": {"eve"}, "verdict": {"approve"}}), http.StatusConflict, tooLate},
			{form("/answer", url.Values{"token": {"no token"}, "by": {"eve"}, "verdict": {"busy"}}), http.StatusConflict, tooLate},
			{form("/answer", url.Values{"token": {strings.Repeat("x", mostForm)}, "verdict": {"approve"}}), http.StatusBadRequest, "That form cannot be read."},
			{form("/claims", url.Values{"id": {"2"}, "employee": {"Ben"}, "purpose": {"a pen"}, "amount": {"1,50"}}), http.StatusBadRequest, "want one such as 12.50"},
			{form("/claims", url.Values{"id": {"2"}, "employee": {"Ben"}, "purpose": {"a pen"}, "amount": {"0"}}), http.StatusBadRequest, "more than nothing"},
			{form("/claims", url.Values{"id": {"2"}, "purpose": {"a pen"}, "amount": {"1"}}), http.StatusBadRequest, "has an employee and a purpose"},
			{form("/claims", url.Values{"id": {"1"}, "employee": {"Ben"}, "purpose": {"a pen"}, "amount": {"1"}}), http.StatusConflict, "id is taken"},
			{httptest.NewRequest(http.MethodGet, "http://127.0.0.1/answer?token="+r.Token+"&verdict=approve", nil), http.StatusMethodNotAllowed, ""},
			{foreign, http.StatusForbidden, ""},
			{elsewhere, http.StatusForbidden, "for this machine alone"},
		} {
			h.says(t, tt.r, tt.status, tt.want)
		}
		h.says(t, form("/answer", url.Values{"token": {r.Token}, "by": {"the manager"}, "verdict": {"approve"}}), http.StatusOK, "Thank you.")
		h.ends(t, "1", "paid")
		h.says(t, form("/answer", url.Values{"token": {r.Token}, "verdict": {"refuse"}, "why": {"no"}}), http.StatusConflict, tooLate)
	})
}

// While the worker is away, the second answer is refused as well.
func TestSecondAnswerWhileNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := opened(t, minutes(), func(string, string) {})
		r := h.asks(t, "1", Claim{Employee: "Ann", Purpose: "a chair", Cents: 100_00}, "manager")
		synctest.Wait()
		if err := h.stopWorker(); err != nil {
			t.Fatal(err)
		}
		h.says(t, form("/answer", url.Values{"token": {r.Token}, "by": {"the manager"}, "verdict": {"approve"}}), http.StatusOK, "Thank you.")
		h.says(t, form("/answer", url.Values{"token": {r.Token}, "verdict": {"refuse"}, "why": {"no"}}), http.StatusConflict, tooLate)
		time.Sleep(time.Hour)
		if err := h.startWorker(); err != nil {
			t.Fatal(err)
		}
		h.ends(t, "1", "paid")
	})
}

// Whatever people write is text.
func TestPageEscapes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := opened(t, minutes(), func(string, string) {})
		const nasty = `"><script>alert('x')</script>`
		r := h.asks(t, "1", Claim{Employee: nasty, Purpose: nasty, Cents: 100_00}, "manager")
		synctest.Wait()
		w := h.request(httptest.NewRequest(http.MethodGet, "http://127.0.0.1/", nil))
		body := w.Body.String()
		if strings.Contains(body, "<script") || strings.Count(body, html.EscapeString(nasty)) != 2 || !strings.Contains(body, `value="`+r.Token+`"`) {
			t.Errorf("the page is\n%s", body)
		}
		for header, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "Content-Type": "text/html; charset=utf-8"} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s is %q, want %q", header, got, want)
			}
		}
		h.says(t, form("/claims", url.Values{"amount": {nasty}}), http.StatusBadRequest, `&lt;script`)
		h.says(t, form("/answer", url.Values{"token": {r.Token}, "verdict": {"refuse"}, "why": {nasty}}), http.StatusOK, "Thank you.")
		h.ends(t, "1", "rejected: AskManager failed: "+nasty)
		if body := h.request(httptest.NewRequest(http.MethodGet, "http://127.0.0.1/", nil)).Body.String(); strings.Contains(body, "<script") {
			t.Errorf("the page is\n%s", body)
		}
	})
}

// Deadlines are as long as they say, to the sweep.
func TestDeadlines(t *testing.T) {
	for name, tt := range map[string]struct {
		cents int64
		plays func(t *testing.T, h *house, since time.Time) (want string, took time.Duration)
	}{
		"nobody answers": {999_00, func(t *testing.T, h *house, since time.Time) (string, time.Duration) {
			return "rejected: AskDirector failed: nobody has completed it in time", 2 * minutes().Person
		}},
		"the auditor goes silent": {5_000_00, func(t *testing.T, h *house, since time.Time) (string, time.Duration) {
			r, err := h.office.asked(t.Context(), "1", "auditor")
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				time.Sleep(2 * time.Minute)
				h.says(t, form("/answer", url.Values{"token": {r.Token}, "verdict": {"busy"}}), http.StatusOK, "Thank you.")
			}
			return "rejected: AskDirector failed: nobody has completed it in time", 3*2*time.Minute + minutes().Heartbeat + minutes().Person
		}},
		"the auditor is busy for ever": {5_000_00, func(t *testing.T, h *house, since time.Time) (string, time.Duration) {
			r, err := h.office.asked(t.Context(), "1", "auditor")
			if err != nil {
				t.Fatal(err)
			}
			for time.Since(since) < minutes().Audit-2*time.Minute {
				time.Sleep(2 * time.Minute)
				h.says(t, form("/answer", url.Values{"token": {r.Token}, "verdict": {"busy"}}), http.StatusOK, "Thank you.")
			}
			return "rejected: AskDirector failed: nobody has completed it in time", minutes().Audit + minutes().Person
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := opened(t, minutes(), func(string, string) {})
				since := time.Now()
				if _, err := h.saga.Start(t.Context(), h.client, "1", Claim{Employee: "Ann", Purpose: "a car", Cents: tt.cents}); err != nil {
					t.Fatal(err)
				}
				want, took := tt.plays(t, h, since)
				h.ends(t, "1", want)
				if got := time.Since(since); got < took || got > took+4*minutes().Sweep {
					t.Errorf("it took %s, want %s", got, took)
				}
			})
		})
	}
}

// Steps may run twice, and late: everything in the office has its effect once,
// and none after it was taken back.
func TestOfficeRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var story []string
		o := newOffice(func(_, line string) { story = append(story, line) })
		twice := func(f saga.Action[Claim]) saga.Action[Claim] {
			return func(ctx context.Context, c *Claim) error {
				if err := f(ctx, c); err != nil {
					return err
				}
				return f(ctx, c)
			}
		}
		mail := func(ctx context.Context, c *Claim) error { return o.mail(ctx, "manager", *c) }
		withdraw := func(ctx context.Context, _ *Claim, was saga.Outcome) error { return o.withdraw(ctx, "manager", was) }
		twiceUndone := func(f saga.Compensation[Claim]) saga.Compensation[Claim] {
			return func(ctx context.Context, c *Claim, was saga.Outcome) error {
				if err := f(ctx, c, was); err != nil {
					return err
				}
				return f(ctx, c, was)
			}
		}
		late := func(do saga.Action[Claim], undo saga.Compensation[Claim]) saga.Action[Claim] {
			return func(ctx context.Context, c *Claim) error {
				if err := undo(ctx, c, saga.Unknown); err != nil {
					return err
				}
				return do(ctx, c)
			}
		}
		office := func(name string, steps ...*saga.Step[Claim]) *saga.Saga[Claim] { return saga.New(name, steps...) }
		all := office("all", saga.Do("File", twice(o.file)).Undo(twiceUndone(o.reject)),
			saga.Do("Reserve", twice(o.reserve)).Undo(twiceUndone(o.release)),
			saga.Do("Ask", twice(mail)).Undo(twiceUndone(withdraw)),
			saga.Do("Pay", twice(o.pay)).Pivot())
		lateBudget := office("late-budget", saga.Do("Reserve", late(o.reserve, o.release)).Undo(o.release), saga.Do("Pay", o.pay))
		lateMail := office("late-mail", saga.Do("Ask", late(mail, withdraw)).Undo(withdraw), saga.Do("Pay", o.pay))
		h := opened(t, minutes(), func(string, string) {})
		if err := h.stopWorker(); err != nil {
			t.Fatal(err)
		}
		c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: h.stack.Store, Sagas: []saga.Definer{all, lateBudget, lateMail}, Logger: h.log})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		ends := func(s *saga.Saga[Claim], id, employee, want, told string) {
			t.Helper()
			story = nil
			text := ""
			if _, err := s.Run(t.Context(), c.Client(), id, Claim{Employee: employee, Purpose: "a desk", Cents: 90_00}); err != nil {
				text = err.Error()
			}
			if got := strings.Join(story, "; "); !strings.HasSuffix(text, want) || got != told {
				t.Errorf("%s ends with %q after %q, want %q after %q", id, text, got, want, told)
			}
		}
		const begun = " claims 90.00 for a desk; the budget has 90.00 reserved; the manager is asked; "
		ends(all, "paid", "Ann", "", "Ann"+begun+"the bank pays 90.00 to Ann")
		ends(all, "unpaid", "Mallory", "account is closed", "Mallory"+begun+"the manager is told that it came to nothing; the budget has 90.00 back")
		ends(lateBudget, "late-1", "Ann", "it was taken back before it came", "")
		ends(lateMail, "late-2", "Ann", "it was taken back before it came", "")
		if spent, paid := o.budget.total(), o.bank.total(); spent != 90_00 || paid != 90_00 {
			t.Errorf("the budget has spent %s and the bank has paid %s, want 90.00 each", euros(spent), euros(paid))
		}
	})
}
