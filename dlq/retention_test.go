package dlq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// The tests of this file are about window 8: the retention of the dead-letter
// queue ends while a job runs.

// short has the dead-letter queue keep messages for a minute.
func (s *server) short(name string) {
	s.Helper()
	if _, err := s.sqs.SetQueueAttributes(s.Context(), &sqs.SetQueueAttributesInput{
		QueueUrl: s.url(name), Attributes: map[string]string{"MessageRetentionPeriod": "60"},
	}); err != nil {
		s.Fatal(err)
	}
}

// A job that by its rate takes longer than the queue keeps its messages says so
// as soon as it has seen one, in a dry run too, and tells the rate that would do.
func TestWindowRetentionEndsBeforeTheJob(t *testing.T) {
	filter, err := dlq.ParseFilter(`.id == "m99"`)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		opts dlq.Options
		warn bool
	}{
		"too slow":            {dlq.Options{Rate: 1, Workers: 1}, true},
		"too slow, in theory": {dlq.Options{Rate: 1, DryRun: true}, true},
		"fast enough":         {dlq.Options{Rate: 4}, false},
		"no limit":            {dlq.Options{}, false},
		"few":                 {dlq.Options{Rate: 1, Limit: 20}, false},
		"few chosen":          {dlq.Options{Rate: 1, Filter: filter}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := filled(t, 100)
				s.short("fares-dlq")
				time.Sleep(20 * time.Second)
				endpoints, err := queue.NewEndpoints(s.ns, fares())
				if err != nil {
					t.Fatal(err)
				}
				admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws, Endpoints: endpoints})
				if err != nil {
					t.Fatal(err)
				}
				var log bytes.Buffer
				c, err := dlq.New(dlq.Config{Queues: admin, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				opts := tt.opts
				opts.From = "fares-dlq"
				report, err := c.Redrive(t.Context(), opts)
				if !tt.warn {
					if err != nil || report.Warning != "" || log.Len() > 0 {
						t.Errorf("report %s, %v, log %s", asJSON(t, report), err, log.String())
					}
					return
				}
				for _, want := range []string{"at a rate of 1 a second, 100 messages take 1m40s", "oldest of those seen in 40s", "raise Rate to 3 or more, or the queue's retention, which is 1m0s"} {
					if !strings.Contains(report.Warning, want) || !strings.Contains(log.String(), want) {
						t.Errorf("%q is not in the warning %q, or not in the log %s", want, report.Warning, log.String())
					}
				}
				if opts.DryRun {
					if err != nil || report.WouldSend != 100 {
						t.Errorf("report %s, %v", asJSON(t, report), err)
					}
					return
				}
				// What was not reached is said to be.
				var partial *dlq.PartialError
				if !errors.As(err, &partial) || report.Sent < 40 || report.Seen == 100 || report.NotReached != 100-report.Seen ||
					!strings.Contains(err.Error(), "the queue has deleted them for their age") {
					t.Errorf("report %s, %v", asJSON(t, report), err)
				}
			})
		})
	}
}

// A message whose retention ends while the job holds it is sent all the same:
// nobody else will. One that cannot be sent is lost, and the report says so.
func TestWindowRetentionEndsWhileHeld(t *testing.T) {
	for _, after := range []bool{false, true} { // the last extension fails, or the last delete
		t.Run(fmt.Sprintf("deletes fail=%v", after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := filled(t, 10)
				s.short("fares-dlq")
				if after {
					s.faulty(func(operation, _ string, _ int64) (f emulator.Fault) {
						if operation == "DeleteMessageBatch" {
							f.Err = errInternal
						}
						return f
					})
				}
				report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{
					From: "fares-dlq", Visibility: 10 * time.Second, Workers: 1,
					Edit: func(_ context.Context, l *dlq.Letter) error {
						time.Sleep(7 * time.Second)
						if l.ID == "m03" {
							return errors.New("no")
						}
						return nil
					},
				})
				var partial *dlq.PartialError
				if !errors.As(err, &partial) || report.Sent != 9 || report.Failed != 1 || report.Expired != 1 || report.Remaining != 0 {
					t.Fatalf("report %s, %v", asJSON(t, report), err)
				}
				if f := report.Failures[0]; f.ID != "m03" || f.Stage != dlq.StageEdit || !f.Expired {
					t.Errorf("failure %+v", f)
				}
				if !strings.Contains(err.Error(), "lost, because the queue deleted them for their age: 1") {
					t.Errorf("got %v", err)
				}
				if n := s.left("fares"); n != 9 {
					t.Errorf("the source holds %d messages, want 9", n)
				}
			})
		})
	}
}
