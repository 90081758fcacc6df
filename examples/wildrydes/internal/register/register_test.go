package register_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/register"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
)

func TestRegister(t *testing.T) {
	s := register.New()
	h := httptest.NewServer(s)
	c := register.NewClient(h.URL)
	t.Cleanup(func() {
		s.Close()
		c.Close()
		h.Close()
	})
	for _, step := range []struct{ want, kind, fare, ride string }{
		{"registered", register.Fare, "f1", "r1"},
		{register.CodeTaken, register.Fare, "f1", "r2"},
		{"not this ride's", register.Cancellation, "f1", "r2"},
		{"not_registered", register.Completion, "f1", "r2"},
		{"completed", register.Completion, "f1", "r1"},
		{register.CodeCompleted, register.Cancellation, "f1", "r1"},

		{"registered", register.Fare, "f2", "r3"},
		{"cancelled", register.Cancellation, "f2", "r3"},
		{"cancelled", register.Cancellation, "f2", "r3 again"},
		{register.CodeCancelled, register.Completion, "f2", "r3"},

		{"cancelled", register.Cancellation, "f3", "r4"},
		{service.CodeUndone, register.Fare, "f3", "r4"},
	} {
		a, err := c.Do(t.Context(), step.kind, step.fare, step.kind+step.fare+step.ride, service.Request{Ride: strings.TrimSuffix(step.ride, " again"), Fare: step.fare, Customer: "ann"})
		got := a.Status
		var e *service.Error
		if errors.As(err, &e) {
			got = e.Code
		}
		if got != step.want {
			t.Errorf("%s %s of ride %s: %s (%v), want %s", step.kind, step.fare, step.ride, got, err, step.want)
		}
	}
}
