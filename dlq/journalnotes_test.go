package dlq_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A note whose answer is lost is made again under the same number, and the job
// goes on as if nothing had been.
func TestJournalRepeatsANote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 25)
		var numbers []int64 // of one goroutine
		failed := map[int64]bool{}
		k := noteFault{memstore.New(memstore.Config{}), func(n store.JobNote, do func() (store.JobNoted, error)) (store.JobNoted, error) {
			numbers = append(numbers, n.Number)
			noted, err := do()
			if !failed[n.Number] {
				failed[n.Number] = true
				return store.JobNoted{}, errors.New("no answer")
			}
			return noted, err
		}}
		report, err := s.journalled(k).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if err != nil || report.Sent != 25 || report.Deleted != 25 {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
		for i := 0; i+1 < len(numbers); i += 2 {
			if numbers[i] != numbers[i+1] || numbers[i] != int64(i/2+1) {
				t.Fatalf("the notes have numbers %v, want each twice", numbers)
			}
		}
		if n := s.left("fares"); n != 25 {
			t.Errorf("the source holds %d messages, want each once", n)
		}
		handledOnce(s, ids)
	})
}

// Nothing is sent before the journal has it, and nothing deleted before the
// journal has that it was sent.
func TestJournalIsWrittenFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 10)
		m := memstore.New(memstore.Config{})
		c := s.journalled(m)
		check := func(state string) {
			for _, e := range entries(t, m, c, "fares-dlq") {
				var got struct{ State, To, ID string }
				if err := json.Unmarshal(e.State, &got); err != nil || got.State != state || got.To != *s.url("fares") || got.ID == "" {
					t.Errorf("entry %s, want state %s", e.State, state)
				}
			}
		}
		var sends, deletes atomic.Int64
		k := noteFault{m, func(n store.JobNote, do func() (store.JobNoted, error)) (store.JobNoted, error) {
			before := [2]int64{sends.Load(), deletes.Load()}
			noted, err := do()
			for _, e := range n.Set {
				var got struct{ State string }
				if err := json.Unmarshal(e.State, &got); err != nil {
					t.Error(err)
				}
				if got.State == "sending" {
					check("sending")
				}
				if got.State == "sending" && before[0] != 0 || got.State == "sent" && (before[0] == 0 || before[1] != 0) {
					t.Errorf("%s was noted after %d sends and %d deletes", got.State, before[0], before[1])
				}
			}
			return noted, err
		}}
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			switch operation {
			case "SendMessageBatch":
				sends.Add(1)
			case "DeleteMessageBatch":
				deletes.Add(1)
			}
			return emulator.Fault{}
		})
		if report, err := s.journalled(k).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1}); err != nil || report.Sent != 10 || sends.Load() != 1 || deletes.Load() != 1 {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
	})
}

// Who has lost the lease sends nothing more, and returns what it holds.
func TestJournalLeaseLost(t *testing.T) {
	for _, how := range []string{"lost", "silent"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ids := filled(t, 60)
				m := memstore.New(memstore.Config{})
				var lost atomic.Bool
				var sends, late atomic.Int64
				k := noteFault{m, func(n store.JobNote, do func() (store.JobNoted, error)) (store.JobNoted, error) {
					if sends.Load() < 2 {
						return do()
					}
					lost.Store(true)
					if how == "silent" {
						return store.JobNoted{}, errors.New("no answer")
					}
					return store.JobNoted{}, store.ErrLeaseLost
				}}
				s.faulty(func(operation, _ string, _ int64) emulator.Fault {
					if operation == "SendMessageBatch" {
						sends.Add(1)
						if lost.Load() {
							late.Add(1)
						}
					}
					return emulator.Fault{}
				})
				report, err := s.journalled(k).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1})
				if !errors.Is(err, store.ErrLeaseLost) || late.Load() > 0 || report.Sent == 60 {
					t.Errorf("%d were sent after the lease was lost; report %s, %v", late.Load(), asJSON(t, report), err)
				}
				time.Sleep(leaseOver)
				again, err := s.journalled(m).Resume(t.Context(), "fares-dlq", "", dlq.Options{})
				if err != nil || again.Sent != 60 {
					t.Errorf("resumed: %s, %v", asJSON(t, again), err)
				}
				handledOnce(s, ids)
			})
		})
	}
}

// While the job waits for its rate, the lease is renewed.
func TestJournalRenewsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 30)
		k := memstore.New(memstore.Config{})
		report, err := s.journalled(k).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Rate: 0.1, Workers: 1, Visibility: 20 * time.Minute})
		if err != nil || report.Sent != 30 || report.Ended.Sub(report.Started) < 2*dlq.DefaultLease {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
		handledOnce(s, ids)
	})
}

// A job that is cancelled returns what it holds, and ends.
func TestJournalCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 60)
		k := memstore.New(memstore.Config{})
		c := s.journalled(k)
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Progress: func(r dlq.Report) {
			if r.Sent == 20 {
				if j, err := c.Cancel(t.Context(), "fares-dlq", "", "ben", "wrong queue"); err != nil || j.CancelledBy != "ben" || j.State != dlq.JobRunning {
					t.Errorf("job %s, %v", asJSON(t, j), err)
				}
			}
		}})
		if !errors.Is(err, dlq.ErrCancelled) || report.Sent != 20 || report.Deleted != 20 || report.Failed != 0 {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
		if v := s.visible("fares-dlq"); v != "40" {
			t.Errorf("%s messages can be received, want 40", v)
		}
		j, err := c.Status(t.Context(), "fares-dlq", "")
		if err != nil || j.State != dlq.JobEnded || j.Status != store.CancelledJob || j.Report.Deleted != 20 {
			t.Errorf("job %s, %v", asJSON(t, j), err)
		}
		if _, err := c.Cancel(t.Context(), "fares-dlq", "", "ben", ""); !errors.Is(err, store.ErrEnded) {
			t.Errorf("it was cancelled twice: %v", err)
		}
		if report, err = c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil || report.Sent != 40 {
			t.Errorf("the next redrive: %s, %v", asJSON(t, report), err)
		}
	})
}

// A job that is cancelled with messages in hand, and resumed, sends nothing: what
// was sent is deleted, what may have been sent stays and is reported.
func TestJournalCancelWithMessagesInHand(t *testing.T) {
	for after := 8; after < 20; after++ {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filled(t, 12)
			k := memstore.New(memstore.Config{})
			_, _ = s.mortalClient(k, &life{after: after}).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1})
			time.Sleep(leaseOver)
			c := s.journalled(k)
			in := len(entries(t, k, c, "fares-dlq"))
			j, err := c.Cancel(t.Context(), "fares-dlq", "", "ben", "")
			switch {
			case errors.Is(err, store.ErrEnded):
				return
			case err != nil:
				t.Fatal(err)
			case in == 0 && j.State != dlq.JobEnded, in > 0 && j.State == dlq.JobEnded:
				t.Errorf("with %d in hand: job %s", in, asJSON(t, j))
			}
			arrived := s.left("fares")
			if in > 0 {
				report, err := c.Resume(t.Context(), "fares-dlq", "", dlq.Options{})
				if !errors.Is(err, dlq.ErrCancelled) {
					t.Errorf("report %s, %v", asJSON(t, report), err)
				}
				if j, err := c.Status(t.Context(), "fares-dlq", ""); err != nil || j.State != dlq.JobEnded {
					t.Errorf("job %s, %v", asJSON(t, j), err)
				}
			}
			if n := s.left("fares"); n != arrived {
				t.Errorf("%d messages were sent after it was cancelled", n-arrived)
			}
			time.Sleep(dlq.DefaultVisibility)
			if _, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil {
				t.Error(err)
			}
			handledOnce(s, ids)
		})
		if t.Failed() {
			t.Fatalf("cut off after call %d", after)
		}
	}
}

// Each run is on record: who, why, what, and the ids of what it sent.
func TestJournalAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 0)
		const n = 1200
		for i := range n {
			s.sendWith("fares-dlq", fmt.Sprint(i), "k", "v")
		}
		k := memstore.New(memstore.Config{})
		report, err := s.journalled(k).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Owner: "ada", Reason: "mended"})
		if err != nil || report.Sent != n {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		records, _, err := k.ListAudit(t.Context(), s.attribute("fares-dlq", "QueueArn"), "", 10)
		if err != nil || len(records) != 2 {
			t.Fatalf("%d records, %v", len(records), err)
		}
		var end, begin dlq.AuditEntry
		for i, into := range []*dlq.AuditEntry{&end, &begin} {
			if err := json.Unmarshal(records[i].Body, into); err != nil {
				t.Fatal(err)
			}
		}
		var spec dlq.Spec
		var last dlq.Report
		if err := errors.Join(json.Unmarshal(begin.Spec, &spec), json.Unmarshal(end.Report, &last)); err != nil {
			t.Fatal(err)
		}
		if begin.Verb != dlq.AuditRedrive || begin.Phase != dlq.AuditBegin || begin.By != "ada" || begin.Reason != "mended" || spec.Snapshot != n || begin.Job != report.ID {
			t.Errorf("it began as %s", records[1].Body)
		}
		if end.Verb != dlq.AuditRedrive || end.Phase != dlq.AuditEnd || last.Sent != n || end.By != "ada" || end.Count != n {
			t.Errorf("it ended as %s", records[0].Body)
		}
		var all []string
		for page := 0; ; page++ {
			items, pages, err := k.AuditItems(t.Context(), records[1].Subject, records[1].ID, page)
			if err != nil {
				t.Fatal(err)
			}
			if page == pages {
				break
			}
			all = append(all, items...)
		}
		slices.Sort(all)
		if all = slices.Compact(all); len(all) != n {
			t.Errorf("%d ids are on record, want %d", len(all), n)
		}
	})
}

// History has the jobs of a queue, the newest first, and a dry run makes none.
func TestJournalHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 3)
		c := s.journalled(memstore.New(memstore.Config{}))
		if _, err := c.Status(t.Context(), "fares-dlq", ""); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("status of a queue without a job: %v", err)
		}
		var ids []string
		for i := range 3 {
			report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Limit: 1, DryRun: i == 1})
			if err != nil {
				t.Fatal(err)
			}
			if i != 1 {
				ids = append(ids, report.ID)
			}
			time.Sleep(time.Second)
		}
		list, err := c.History(t.Context(), "fares-dlq", 10)
		if err != nil || len(list) != 2 || list[0].ID != ids[1] || list[1].ID != ids[0] || list[0].Report.Deleted != 1 || list[0].Spec.Limit != 1 {
			t.Errorf("history %s, %v", asJSON(t, list), err)
		}
		all, err := c.History(t.Context(), "", 10)
		if err != nil || len(all) != 2 {
			t.Errorf("history of all %s, %v", asJSON(t, all), err)
		}
	})
}

func TestJournalUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 1)
		plain, c := s.client(fares()), s.journalled(memstore.New(memstore.Config{}))
		for name, call := range map[string]func() error{
			"status":  func() error { _, err := plain.Status(t.Context(), "fares-dlq", ""); return err },
			"history": func() error { _, err := plain.History(t.Context(), "", 1); return err },
			"cancel":  func() error { _, err := plain.Cancel(t.Context(), "fares-dlq", "", "ben", ""); return err },
			"resume":  func() error { _, err := plain.Resume(t.Context(), "fares-dlq", "", dlq.Options{}); return err },
			"nothing": func() error { _, err := c.Resume(t.Context(), "fares-dlq", "", dlq.Options{}); return err },
			"other":   func() error { _, err := c.Resume(t.Context(), "fares-dlq", "x", dlq.Options{}); return err },
			"options": func() error { _, err := c.Resume(t.Context(), "fares-dlq", "x", dlq.Options{Limit: 1}); return err },
			"edit": func() error {
				_, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", EditText: "]"})
				return err
			},
		} {
			if err := call(); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if n := s.left("fares-dlq"); n != 1 {
			t.Errorf("%d messages are left", n)
		}
	})
}
