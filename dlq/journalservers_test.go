package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// On every server: a redrive is interrupted, returns what it holds, goes on, and is in
// the history; another is cancelled on its way.
func TestJournalOnServers(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 5)
		const n = 30
		s.fill("fares-dlq", "fares", 0, n)
		c := s.journalled(memstore.New(memstore.Config{}))
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		first, err := c.Redrive(ctx, dlq.Options{From: "fares-dlq", Workers: 1, Progress: func(dlq.Report) { cancel() }})
		var going *dlq.ResumableError
		if !errors.As(err, &going) || first.Sent == 0 || first.Sent == n || first.Sent != first.Deleted {
			s.Fatalf("interrupted: %s, %v", asJSON(s, first), err)
		}
		if v := s.visible("fares-dlq"); v != fmt.Sprint(n-first.Sent) {
			s.Errorf("%s messages can be received, want %d", v, n-first.Sent)
		}
		if j, err := c.Status(s.Context(), "fares-dlq", ""); err != nil || j.State != dlq.JobStopped || j.Report.Deleted != first.Deleted {
			s.Errorf("job %s, %v", asJSON(s, j), err)
		}
		report, err := c.Resume(s.Context(), "fares-dlq", "", dlq.Options{})
		if err != nil || report.Sent != n || report.Remaining != 0 {
			s.Errorf("resumed: %s, %v", asJSON(s, report), err)
		}
		var ids []string
		for _, m := range s.take("fares") {
			ids = append(ids, m.uuid())
		}
		slices.Sort(ids)
		if len(ids) != n || len(slices.Compact(ids)) != n {
			s.Errorf("%d messages arrived, want each of %d once", len(ids), n)
		}

		s.fill("fares-dlq", "fares", 0, n)
		var job string
		_, err = c.Redrive(s.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Rate: 10, Ramp: -1, Progress: func(r dlq.Report) {
			if job == "" {
				job = r.ID
				if _, err := c.Cancel(s.Context(), "fares-dlq", "", "ben", ""); err != nil {
					s.Error(err)
				}
			}
		}})
		if !errors.Is(err, dlq.ErrCancelled) {
			s.Errorf("cancelled: %v", err)
		}
		if list, err := c.History(s.Context(), "fares-dlq", 10); err != nil || len(list) != 2 || list[0].ID != job || list[0].Status != store.CancelledJob || list[1].ID != first.ID {
			s.Errorf("history %s, %v", asJSON(s, list), err)
		}
		if left := s.left("fares-dlq") + s.left("fares"); left != n {
			s.Errorf("%d messages are in the queues, want %d", left, n)
		}
	})
}

// What a journalled redrive costs: three requests a batch of ten, and two notes.
func TestJournalCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 0)
		const n = 1000
		s.fill("fares-dlq", "fares", 0, n)
		notes := 0
		k := noteFault{memstore.New(memstore.Config{}), func(_ store.JobNote, do func() (store.JobNoted, error)) (store.JobNoted, error) {
			notes++
			return do()
		}}
		before := total(s.emulator)
		r, err := s.journalled(k).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if err != nil || r.Sent != n || r.Deleted != n {
			t.Fatalf("report %s, %v", asJSON(t, r), err)
		}
		if per := float64(total(s.emulator)-before) / n; per > 0.31 {
			t.Errorf("%.3f requests a message, want 0.30 and a few for the job", per)
		}
		if per := float64(notes) / n; per > 0.21 {
			t.Errorf("%.3f notes a message, want 0.20 at most and a few for the job", per)
		}
	})
}
