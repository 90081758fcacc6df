package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// What may have been sent, and is refused for good by the time somebody goes on, is
// reported and stays in the queue, and the job ends.
func TestJournalRefusedForGood(t *testing.T) {
	for name, refuse := range map[string]struct {
		fault func(e emulator.Entry) *emulator.Error
		edit  func(resumed bool) error
	}{
		"by the destination": {
			fault: func(e emulator.Entry) *emulator.Error {
				if e.Body == `{"id":"m01"}` {
					return &emulator.Error{Code: "InvalidMessageContents", Message: "no"}
				}
				return nil
			},
		},
		"by an edit that fails": {edit: func(resumed bool) error {
			if resumed {
				return errors.New("no")
			}
			return nil
		}},
		"by an edit that skips": {edit: func(resumed bool) error {
			if resumed {
				return dlq.ErrSkip
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ids := filled(t, 3)
				s.faulty(func(operation, _ string, _ int64) emulator.Fault {
					if operation == "SendMessageBatch" {
						return emulator.Fault{Err: errInternal} // which does not say that nothing was sent
					}
					return emulator.Fault{}
				})
				c, resumed := s.journalled(memstore.New(memstore.Config{})), false
				opts := dlq.Options{From: "fares-dlq"}
				if refuse.edit != nil {
					opts.Edit = func(_ context.Context, l *dlq.Letter) error {
						if l.ID == "m01" {
							return refuse.edit(resumed)
						}
						return nil
					}
				}
				var going *dlq.ResumableError
				if report, err := c.Redrive(t.Context(), opts); !errors.As(err, &going) || report.Failed != 3 {
					t.Fatalf("report %s, %v", asJSON(t, report), err)
				}
				resumed = true
				s.emulator.SetFault(func(emulator.Request) emulator.Fault { return emulator.Fault{FailEntry: refuse.fault} })
				report, err := c.Resume(t.Context(), "fares-dlq", "", dlq.Options{Edit: opts.Edit})
				var partial *dlq.PartialError
				if !errors.As(err, &partial) || errors.As(err, &going) || report.Failed != 1 || !report.Failures[0].Unknown || report.Failures[0].ID != "m01" || report.Sent != 2 {
					t.Errorf("resumed: %s, %v", asJSON(t, report), err)
				}
				ended(t, c, "done in part")
				s.emulator.SetFault(nil)
				if report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil || report.Sent != 1 {
					t.Errorf("the next redrive: %s, %v", asJSON(t, report), err)
				}
				handledOnce(s, ids)
			})
		})
	}
}

// Who goes on knows a message that failed again although it had no room for the
// marks: by its id.
func TestJournalWindowFailedAgainUnmarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		send := func(id string, attributes int) {
			in := &sqs.SendMessageInput{QueueUrl: s.url("fares-dlq"), MessageBody: &id, MessageAttributes: map[string]sqstypes.MessageAttributeValue{}}
			for i := range attributes {
				in.MessageAttributes[fmt.Sprint("a", i)] = sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &id}
			}
			if _, err := s.sqs.SendMessage(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		send("full", 10)
		k := memstore.New(memstore.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		opts := dlq.Options{From: "fares-dlq", To: "fares", Workers: 1, Progress: func(dlq.Report) { cancel() }}
		for range 15 {
			send("plain", 1)
		}
		first, err := s.journalled(k).Redrive(ctx, opts)
		if err == nil || first.Sent != 10 || first.Unmarked != 1 {
			t.Fatalf("report %s, %v", asJSON(t, first), err)
		}
		// Its receiver fails, and SQS takes it back, under the id that it has now.
		for s.left("fares") > 0 {
			out, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url("fares"), MaxNumberOfMessages: 10, VisibilityTimeout: 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range out.Messages {
				if *m.Body == "plain" {
					if _, err := s.sqs.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: s.url("fares"), ReceiptHandle: m.ReceiptHandle}); err != nil {
						t.Fatal(err)
					}
				}
			}
			sleepSecond()
		}
		if n := s.left("fares-dlq"); n != 7 {
			t.Fatalf("the dead-letter queue has %d messages, want the 6 that were left and one that failed again", n)
		}
		// Somebody has taken one, so that there is room in the snapshot.
		out, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url("fares-dlq")})
		if err != nil || *out.Messages[0].Body != "plain" {
			t.Fatal(out, err)
		}
		if _, err := s.sqs.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: s.url("fares-dlq"), ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
		report, err := s.journalled(k).Resume(t.Context(), "fares-dlq", "", dlq.Options{})
		if err != nil || report.Sent != 15 || report.CameBack != 1 || report.Remaining != 1 {
			t.Errorf("resumed: %s, %v", asJSON(t, report), err)
		}
	})
}

// What was not sent at the first try, and whose lease has run out by the second, is
// not sent.
func TestJournalSendsNothingAfterItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 5)
		m := memstore.New(memstore.Config{})
		var sends atomic.Int64
		k := noteFault{m, func(_ store.JobNote, do func() (store.JobNoted, error)) (store.JobNoted, error) {
			if sends.Load() > 0 {
				return store.JobNoted{}, errors.New("no answer")
			}
			return do()
		}}
		s.faulty(func(operation, _ string, _ int64) (f emulator.Fault) {
			if operation == "SendMessageBatch" && sends.Add(1) == 1 {
				f.FailEntry = func(emulator.Entry) *emulator.Error { return &emulator.Error{Code: "ThrottlingException"} }
			}
			return f
		})
		short := func(config *dlq.Config, _ *aws.Config) { config.Lease = 500 * time.Millisecond }
		report, err := s.journalled(k, short).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if !errors.Is(err, store.ErrLeaseLost) || sends.Load() != 1 {
			t.Errorf("it sent %d times: %s, %v", sends.Load(), asJSON(t, report), err)
		}
		s.emulator.SetFault(nil)
		if report, err := s.journalled(m).Resume(t.Context(), "fares-dlq", "", dlq.Options{}); err != nil || report.Sent != 5 {
			t.Errorf("resumed: %s, %v", asJSON(t, report), err)
		}
		handledOnce(s, ids)
	})
}

// Who has lost the lease keeps messages hidden no longer, however long it is at them:
// who goes on waits for them no longer than their visibility.
func TestJournalHidesNothingAfterItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 5)
		m := memstore.New(memstore.Config{})
		var stuck atomic.Bool
		k := noteFault{m, func(_ store.JobNote, do func() (store.JobNoted, error)) (store.JobNoted, error) {
			if stuck.Load() {
				return store.JobNoted{}, errors.New("no answer")
			}
			return do()
		}}
		done := make(chan error)
		go func() {
			_, err := s.journalled(k).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Visibility: time.Minute, Edit: func(context.Context, *dlq.Letter) error {
				if !stuck.Swap(true) {
					time.Sleep(time.Hour)
				}
				return nil
			}})
			done <- err
		}()
		time.Sleep(5 * time.Minute)
		report, err := s.journalled(m).Resume(t.Context(), "fares-dlq", "", dlq.Options{Edit: func(context.Context, *dlq.Letter) error { return nil }})
		if err != nil || report.Sent != 5 {
			t.Errorf("resumed: %s, %v", asJSON(t, report), err)
		}
		if err := <-done; !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("who had lost the lease: %v", err)
		}
		handledOnce(s, ids)
	})
}

// What may have been sent stays in the journal for as long as sending it again fails
// in passing.
func TestJournalKeepsDoubtfulEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filledFIFO(t, 3)
		k := memstore.New(memstore.Config{})
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			return emulator.Fault{DropAnswer: operation == "SendMessageBatch"}
		})
		c := s.journalled(k)
		var going *dlq.ResumableError
		if report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq.fifo", To: "fares.fifo"}); !errors.As(err, &going) {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		s.emulator.SetFault(func(emulator.Request) emulator.Fault {
			return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				if e.Body == "" {
					return nil
				}
				return &emulator.Error{Code: "ThrottlingException"}
			}}
		})
		if report, err := c.Resume(t.Context(), "fares-dlq.fifo", "", dlq.Options{}); !errors.As(err, &going) || report.Failed != 3 || !report.Failures[0].Unknown {
			t.Errorf("throttled: %s, %v", asJSON(t, report), err)
		}
		if n := len(entries(t, k, c, "fares-dlq.fifo")); n != 3 {
			t.Errorf("%d entries are left, want 3", n)
		}
		s.emulator.SetFault(nil)
		if report, err := c.Resume(t.Context(), "fares-dlq.fifo", "", dlq.Options{}); err != nil || report.Sent != 3 {
			t.Errorf("resumed: %s, %v", asJSON(t, report), err)
		}
		if got := bodies(s.take("fares.fifo")); !slices.Equal(got, ids) {
			t.Errorf("the destination has %v, want each of %v once", got, ids)
		}
	})
}
