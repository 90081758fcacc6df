package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// The tests of this file are about sends that fail.

// A message that is throttled for a moment is sent a moment later.
func TestSendIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 5)
		s.faulty(func(operation, _ string, number int64) emulator.Fault {
			return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				if operation == "SendMessageBatch" && number < 3 && e.Body != `{"id":"m00"}` {
					return errInternal
				}
				return nil
			}}
		})
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if err != nil || report.Sent != 5 {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
		if n := s.left("fares"); n != 5 {
			t.Errorf("the source holds %d messages", n)
		}
		handledOnce(s, ids)
	})
}

// Where nothing can be sent, the job gives up before it has received the whole
// queue for nothing.
func TestRedriveGivesUp(t *testing.T) {
	for name, fault := range map[string]emulator.Fault{
		"the queue is gone": {Err: &emulator.Error{Code: "QueueDoesNotExist", Message: "gone"}},
		"no permission":     {Err: &emulator.Error{Code: "AccessDeniedException", Message: "no"}},
		"no service":        {Err: errInternal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := filled(t, 100)
				s.faulty(func(operation, _ string, _ int64) emulator.Fault {
					if operation == "SendMessageBatch" {
						return fault
					}
					return emulator.Fault{}
				})
				report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", Workers: 1})
				var partial *dlq.PartialError
				if err == nil || errors.As(err, &partial) || report.Seen > 50 {
					t.Errorf("report %s, %v", asJSON(t, report), err)
				}
				if v := s.visible("fares-dlq"); v != "100" {
					t.Errorf("%s messages can be received, want 100", v)
				}
			})
		})
	}
}

// A destination that refuses everything does not keep the others from getting
// what is theirs, whether it is known at once or after some tries.
func TestOneRefusedDestination(t *testing.T) {
	for name, fault := range map[string]emulator.Fault{
		"no permission": {Err: &emulator.Error{Code: "AccessDenied", Status: 403}},
		"each entry":    {FailEntry: func(emulator.Entry) *emulator.Error { return errInternal }},
		"no service":    {Err: errInternal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				s.queue("fares-dlq", "", 0)
				s.queue("bad", "fares-dlq", 5)
				s.queue("good", "fares-dlq", 5)
				for i := range 200 {
					s.bury("fares-dlq", fmt.Sprint("b", i), "{}", "bad")
				}
				for i := range 20 {
					s.bury("fares-dlq", fmt.Sprint("g", i), "{}", "good")
				}
				sends := 0
				s.faulty(func(operation, queueName string, _ int64) emulator.Fault {
					if operation != "SendMessageBatch" || queueName != "bad" {
						return emulator.Fault{}
					}
					sends++
					return fault
				})
				report, err := s.client().Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1})
				var partial *dlq.PartialError
				if !errors.As(err, &partial) || report.Sent != 20 || report.Failed != 200 || report.Seen != 220 {
					t.Errorf("report %s, %v", asJSON(t, report), err)
				}
				if sends > 5*3 {
					t.Errorf("%d sends to a queue that refuses everything, want it to be left alone after five batches", sends)
				}
				unknown := 0
				for _, f := range report.Failures {
					if f.Unknown {
						unknown++
					}
				}
				if want := map[string]int{"no service": 50}[name]; unknown != want {
					t.Errorf("%d messages are said to be maybe sent, want %d", unknown, want)
				}
			})
		})
	}
}

// Where the only source takes nothing, the job ends early, named or not.
func TestTheOnlyDestinationRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 100)
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			if operation == "SendMessageBatch" {
				return emulator.Fault{Err: errInternal}
			}
			return emulator.Fault{}
		})
		report, err := s.client(fares(), queue.Endpoint{Name: "results", URL: "sns://results"}).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1})
		var partial *dlq.PartialError
		if err == nil || errors.As(err, &partial) || report.Seen > 50 || !strings.Contains(err.Error(), s.full("fares")) {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
	})
}

// A damaging service accepts messages, and answers the MD5 of others.
type damaging struct {
	*sqs.Client
	sends int
}

func (d *damaging) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, opts ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	d.sends++
	out, err := d.Client.SendMessageBatch(ctx, in, opts...)
	if err == nil {
		for i := range out.Successful {
			out.Successful[i].MD5OfMessageBody = aws.String("00000000000000000000000000000000")
		}
	}
	return out, err
}

// A message that the destination has is not sent again, whatever is wrong with
// it; the failure says where to look.
func TestWindowAcceptedDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 1)
		d := &damaging{Client: s.sqs}
		endpoints, err := queue.NewEndpoints(s.ns, fares())
		if err != nil {
			t.Fatal(err)
		}
		admin, err := queue.NewAdmin(queue.AdminConfig{SQS: d, Endpoints: endpoints})
		if err != nil {
			t.Fatal(err)
		}
		c, err := dlq.New(dlq.Config{Queues: admin})
		if err != nil {
			t.Fatal(err)
		}
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if !errors.Is(err, dlq.ErrDamaged) || !strings.Contains(err.Error(), s.full("fares")) {
			t.Fatalf("got %v, want ErrDamaged with the name of the destination", err)
		}
		if report.Sent != 0 || report.Failed != 1 || !report.Failures[0].Unknown || report.Failures[0].Stage != dlq.StageSend {
			t.Errorf("report %s", asJSON(t, report))
		}
		if n := s.left("fares"); d.sends != 1 || n != 1 {
			t.Errorf("%d sends, and the source holds %d messages; want one", d.sends, n)
		}
		if v := s.visible("fares-dlq"); v != "1" {
			t.Errorf("%s messages can be received, want the one that was not sent as it is", v)
		}
	})
}

// Where the service says no more than that it failed, the message may have been
// sent: the SDK has tried again, and the job does not.
func TestWindowServiceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 5)
		sends := 0
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			if operation == "SendMessageBatch" {
				sends++
				return emulator.Fault{Err: errInternal}
			}
			return emulator.Fault{}
		})
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if !errors.Is(err, queue.ErrUnavailable) || report.Failed != 5 || !report.Failures[0].Unknown {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		if sends != 3 {
			t.Errorf("%d sends, want the SDK's 3", sends)
		}
	})
}

// A message that cannot be kept hidden says in which queue, why, and what helps.
func TestHoldLostTellsWhatHelps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := filled(t, 10)
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			if operation == "ChangeMessageVisibilityBatch" {
				return emulator.Fault{Err: &emulator.Error{Code: "AccessDenied", Status: 403, Message: "no"}}
			}
			return emulator.Fault{}
		})
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{
			From: "fares-dlq", Visibility: 10 * time.Second, Workers: 1,
			Edit: func(context.Context, *dlq.Letter) error { time.Sleep(2 * time.Second); return nil },
		})
		if !errors.Is(err, queue.ErrVisibilityLost) || !errors.Is(err, queue.ErrAccess) {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		for _, want := range []string{s.full("fares-dlq"), "raise Options.Visibility, which is 10s, or lower Options.Rate"} {
			if got := report.Failures[0].Error; !strings.Contains(got, want) {
				t.Errorf("the failure says %q, want it to say %q", got, want)
			}
		}
	})
}
