package dlq_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store/memstore"
)

// ended checks that the last job of a queue has ended as it should, and has
// nothing in hand.
func ended(t *testing.T, c *dlq.Client, status string) {
	t.Helper()
	j, err := c.Status(t.Context(), "fares-dlq", "")
	if err != nil || j.State != dlq.JobEnded || j.InHand != 0 || j.Status != status {
		t.Errorf("job %s, %v; want it ended, %q", asJSON(t, j), err, status)
	}
}

// Window 5: what the destination refused is known not to be sent, and is in no
// journal: the job ends, and the next redrive takes it up.
func TestJournalWindowPartialFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 20)
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				if operation == "SendMessageBatch" && e.Body == `{"id":"m03"}` {
					return &emulator.Error{Code: "InvalidMessageContents", Message: "no"}
				} else if operation == "SendMessageBatch" && e.Body == `{"id":"m14"}` {
					return errInternal
				}
				return nil
			}}
		})
		c := s.journalled(memstore.New(memstore.Config{}))
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		var partial *dlq.PartialError
		var going *dlq.ResumableError
		if !errors.As(err, &partial) || errors.As(err, &going) || report.Sent != 18 || report.Deleted != 18 || report.Failed != 2 {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		ended(t, c, "done in part")
		s.emulator.SetFault(nil)
		if report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil || report.Sent != 2 {
			t.Errorf("the next redrive: %s, %v", asJSON(t, report), err)
		}
		handledOnce(s, ids)
	})
}

// Window 4: what may be with another receiver is not sent, and is in no journal.
func TestJournalWindowVisibilityLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 10)
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			if operation == "ChangeMessageVisibilityBatch" {
				return emulator.Fault{Err: errInternal}
			}
			return emulator.Fault{}
		})
		c := s.journalled(memstore.New(memstore.Config{}))
		report, err := c.Redrive(t.Context(), dlq.Options{
			From: "fares-dlq", Visibility: 10 * time.Second, Workers: 1,
			Edit: func(context.Context, *dlq.Letter) error {
				time.Sleep(2 * time.Second)
				return nil
			},
		})
		if !errors.Is(err, queue.ErrVisibilityLost) || report.Sent != 0 || report.Failures[0].Stage != dlq.StageHold {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		ended(t, c, "done in part")
		s.emulator.SetFault(nil)
		time.Sleep(10 * time.Second)
		if _, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil {
			t.Error(err)
		}
		handledOnce(s, ids)
	})
}

// Window 11: what the job had sent before it was interrupted, and failed again
// meanwhile, stays when it goes on.
func TestJournalWindowFailedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 30)
		k := memstore.New(memstore.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		first, err := s.journalled(k).Redrive(ctx, dlq.Options{From: "fares-dlq", Workers: 1, Progress: func(dlq.Report) { cancel() }})
		if err == nil || first.Sent == 0 {
			t.Fatalf("report %s, %v", asJSON(t, first), err)
		}
		for range 4 {
			s.sendMarked("fares-dlq", first.ID)
		}
		c := s.journalled(k)
		report, err := c.Resume(t.Context(), "fares-dlq", "", dlq.Options{})
		if err != nil || report.Sent != 30 || report.Remaining != 4 {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
		ended(t, c, "done")
	})
}

// What the queue deletes for its age while the job has it in hand, after it was
// sent, is in no journal.
func TestJournalWindowRetentionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 5)
		s.short("fares-dlq")
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			switch operation {
			case "SendMessageBatch":
				return emulator.Fault{Delay: 20 * time.Second}
			case "DeleteMessageBatch":
				return emulator.Fault{Err: errInternal, Delay: 15 * time.Second}
			}
			return emulator.Fault{}
		})
		c := s.journalled(memstore.New(memstore.Config{}))
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1})
		if report.Sent != 5 || report.Expired != 0 {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		j, err := c.Status(t.Context(), "fares-dlq", "")
		if err != nil {
			t.Fatal(err)
		}
		if j.State != dlq.JobEnded { // it was through before the time was
			s.emulator.SetFault(nil)
			time.Sleep(time.Minute)
			if report, err := c.Resume(t.Context(), "fares-dlq", "", dlq.Options{}); err != nil || report.Deleted != 5 {
				t.Errorf("resumed: %s, %v", asJSON(t, report), err)
			}
		}
		if j, err = c.Status(t.Context(), "fares-dlq", ""); err != nil || j.State != dlq.JobEnded || j.InHand != 0 {
			t.Errorf("job %s, %v", asJSON(t, j), err)
		}
		if n := s.left("fares"); n != 5 {
			t.Errorf("the source holds %d messages", n)
		}
	})
}
