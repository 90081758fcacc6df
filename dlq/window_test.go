package dlq_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/dlq"
)

// TestRedriveWindow holds that Since and Until choose by the last failure, or by
// when a message was sent that has no record of it.
func TestRedriveWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 9)
		at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
		for i := range 5 {
			s.bury("fares-dlq", fmt.Sprint(i), fmt.Sprint(i), "fares", declined(errors.New("no"), at.Add(time.Duration(i)*time.Minute)))
		}
		s.send("fares-dlq", "sent in 2000")
		c := s.client(fares())
		want := func(opts dlq.Options, outside int, sent ...string) {
			t.Helper()
			opts.From = "fares-dlq"
			report, err := c.Redrive(t.Context(), opts)
			got := bodies(s.take("fares"))
			if err != nil || report.Outside != outside || report.Filtered != 0 || !slices.Equal(got, sent) {
				t.Errorf("sent %q, %v, report %s; want %q, and %d outside", got, err, asJSON(t, report), sent, outside)
			}
		}
		want(dlq.Options{Since: at.Add(time.Minute), Until: at.Add(3 * time.Minute), Limit: 1, DryRun: true}, 4)
		want(dlq.Options{Since: at.Add(time.Minute), Until: at.Add(3 * time.Minute)}, 4, "1", "2")
		want(dlq.Options{Since: at.Add(4 * time.Minute)}, 3, "4")
		want(dlq.Options{Until: at}, 2, "sent in 2000")
		// The limit is of those that are chosen, not of those looked at.
		want(dlq.Options{Since: at.Add(3 * time.Minute), Limit: 1}, 1, "3")
	})
}

func TestLetterFailedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
		s.bury("q", "m1", "{}", "fares", declined(errors.New("no"), at))
		s.send("q", "x")
		letters, err := s.client().Peek(t.Context(), "q", 2)
		if err != nil || len(letters) != 2 {
			t.Fatal(letters, err)
		}
		for _, l := range letters {
			if want := at; !l.FailedAt().Equal(want) && (l.Failure != nil || !l.FailedAt().Equal(l.SentAt) || l.SentAt.IsZero()) {
				t.Errorf("%s failed at %v", l.ID, l.FailedAt())
			}
		}
		_, err = s.client().Redrive(t.Context(), dlq.Options{From: "q", Since: at.Add(1), Until: at})
		if err == nil || !strings.Contains(err.Error(), "dlq: Options: want Since before Until, and they are 2026-01-02T03:00:00.000000001Z and 2026-01-02T03:00:00Z") {
			t.Errorf("got %v", err)
		}
	})
}
