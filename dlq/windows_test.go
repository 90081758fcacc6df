package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// The tests of this file go through the windows in which a redrive that
// receives, sends and deletes can duplicate messages, or lose them.

// filled returns a server whose dead-letter queue holds n messages, m0 to mN.
func filled(t *testing.T, n int) (s *server, ids []string) {
	s = embedded(t)
	s.queue("fares-dlq", "", 0)
	s.queue("fares", "fares-dlq", 5)
	for i := range n {
		id := fmt.Sprintf("m%02d", i)
		s.bury("fares-dlq", id, fmt.Sprintf(`{"id":%q}`, id), "fares")
		ids = append(ids, id)
	}
	return s, ids
}

// A plug cuts a process off after some requests, as SIGKILL does.
type plug struct {
	next     http.RoundTripper
	after    int
	answered bool // whether the last answer arrives

	mu sync.Mutex
	n  int
}

func (p *plug) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.n++
	n := p.n
	p.mu.Unlock()
	if n > p.after {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, fmt.Errorf("the process is dead: %w", io.ErrUnexpectedEOF)
	}
	resp, err := p.next.RoundTrip(r)
	if n == p.after && !p.answered && err == nil {
		resp.Body.Close()
		return nil, fmt.Errorf("the process is dead: %w", io.ErrUnexpectedEOF)
	}
	return resp, err
}

// Windows 1, 2, 3 and 6: the process dies between any two requests, with the
// last answer received or not. No message is ever in neither queue; the next
// redrive takes up what is left; each message is handled once.
func TestCrashBetweenAnyTwoRequests(t *testing.T) {
	const n = 12
	run := func(t *testing.T, after int, answered bool) (requests int) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filled(t, n)
			p := &plug{next: s.emulator.Client().Transport, after: after, answered: answered}
			doomed := s.aws
			doomed.HTTPClient = &http.Client{Transport: p}
			cut, err := s.clientVia(doomed, fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 2})
			requests = p.n
			if err == nil && cut.Deleted < n {
				t.Error("the job did not notice that it was cut off")
			}
			if left := s.left("fares-dlq") + s.left("fares"); left < n {
				t.Errorf("%d messages are in the queues, want %d or more", left, n)
			}
			time.Sleep(dlq.DefaultVisibility)
			report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
			if err != nil || report.Remaining != 0 {
				t.Errorf("the next redrive: %s, %v", asJSON(t, report), err)
			}
			handledOnce(s, ids)
		})
		return requests
	}
	for _, answered := range []bool{true, false} {
		t.Run(fmt.Sprintf("answered=%v", answered), func(t *testing.T) {
			for after := 1; ; after++ {
				requests := run(t, after, answered)
				if t.Failed() {
					t.Fatalf("cut off after request %d", after)
				}
				if requests <= after {
					if after < 8 {
						t.Errorf("the job took %d requests; the test does not reach its crashes", requests)
					}
					return
				}
			}
		})
	}
}

// Window 2: the answer to the send is lost, and the SDK sends again.
func TestWindowAnswerOfTheSendLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 5)
		var sends atomic.Int64
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			return emulator.Fault{DropAnswer: operation == "SendMessageBatch" && sends.Add(1) == 1}
		})
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		if err != nil || report.Sent != 5 {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		if n := s.left("fares"); n != 10 {
			t.Errorf("the source holds %d messages; the test wants each twice", n)
		}
		handledOnce(s, ids)
	})
}

// Where every answer is lost, what may have been sent is said to be open, and
// stays.
func TestWindowAllAnswersLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 5)
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			return emulator.Fault{DropAnswer: operation == "SendMessageBatch"}
		})
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		var partial *dlq.PartialError
		if !errors.As(err, &partial) || report.Sent != 0 || report.Failed != 5 || !report.Failures[0].Unknown || report.Failures[0].Stage != dlq.StageSend {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		if v := s.visible("fares-dlq"); v != "5" {
			t.Errorf("%s messages can be received, want 5", v)
		}
		s.emulator.SetFault(nil)
		if _, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil {
			t.Error(err)
		}
		handledOnce(s, ids)
	})
}

// Window 3: sent, and the delete fails. The job tries again; while the delete
// fails, it does not send a second time, even when it receives the message
// again; in the end it says what is left.
func TestWindowDeleteFails(t *testing.T) {
	t.Run("for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filled(t, 25)
			s.faulty(func(operation, _ string, number int64) emulator.Fault {
				if operation == "DeleteMessageBatch" && number <= 12 {
					return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error { return errInternal }}
				}
				return emulator.Fault{}
			})
			report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1})
			if err != nil || report.Sent != 25 || report.Deleted != 25 {
				t.Fatalf("report %s, %v", asJSON(t, report), err)
			}
			if n := s.left("fares"); n != 25 {
				t.Errorf("the source holds %d messages, want each once", n)
			}
			handledOnce(s, ids)
		})
	})
	t.Run("for good", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, ids := filled(t, 5)
			s.faulty(func(operation, _ string, _ int64) emulator.Fault {
				if operation == "DeleteMessageBatch" {
					return emulator.Fault{Err: errInternal}
				}
				return emulator.Fault{}
			})
			report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
			var partial *dlq.PartialError
			if !errors.As(err, &partial) || report.Sent != 5 || report.Deleted != 0 || report.Failed != 5 || report.Failures[0].Stage != dlq.StageDelete {
				t.Fatalf("report %s, %v", asJSON(t, report), err)
			}
			if v := s.visible("fares-dlq"); v != "0" {
				t.Errorf("%s messages that were sent can be received at once", v)
			}
			s.emulator.SetFault(nil)
			time.Sleep(dlq.DefaultVisibility)
			if _, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil {
				t.Error(err)
			}
			handledOnce(s, ids)
		})
	})
}

// A message that is received a second time while its delete is pending is not
// sent a second time.
func TestWindowReceivedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 5)
		s.send("fares-dlq", `{"id":"x"}`, `{"id":"x"}`) // so that the job goes on
		s.faulty(func(operation, queueName string, number int64) emulator.Fault {
			switch {
			case operation == "ReceiveMessage" && number == 1:
				return emulator.Fault{Twice: true}
			case operation == "DeleteMessageBatch" && number <= 5:
				return emulator.Fault{FailEntry: func(emulator.Entry) *emulator.Error { return errInternal }}
			}
			return emulator.Fault{}
		})
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Workers: 1, Limit: 5})
		if err != nil || report.Sent != 5 {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		if n := s.left("fares"); n != 5 {
			t.Errorf("the source holds %d messages, want each of %v once", n, ids)
		}
	})
}

// Window 4: a send takes longer than the visibility timeout. It is extended, so
// nobody else receives the messages meanwhile.
func TestWindowVisibilityEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 10)
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			if operation == "SendMessageBatch" {
				return emulator.Fault{Delay: 25 * time.Second}
			}
			return emulator.Fault{}
		})
		stolen := 0
		ctx, stop := context.WithCancel(t.Context())
		var thief sync.WaitGroup
		url := s.url("fares-dlq")
		time.AfterFunc(2*time.Second, func() {
			thief.Go(func() {
				for ctx.Err() == nil {
					if out, err := s.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds: 1}); err == nil {
						stolen += len(out.Messages)
					}
				}
			})
		})
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Visibility: 10 * time.Second})
		stop()
		thief.Wait()
		if err != nil || report.Sent != 10 || stolen != 0 {
			t.Errorf("%d messages reached another receiver; report %s, %v", stolen, asJSON(t, report), err)
		}
		s.emulator.SetFault(nil)
		handledOnce(s, ids)
	})
}

// Where the visibility cannot be extended, messages that may be with another
// receiver are not sent.
func TestWindowVisibilityLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 10)
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			if operation == "ChangeMessageVisibilityBatch" {
				return emulator.Fault{Err: errInternal}
			}
			return emulator.Fault{}
		})
		slow := func(context.Context, *dlq.Letter) error {
			time.Sleep(2 * time.Second)
			return nil
		}
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Visibility: 10 * time.Second, Edit: slow, Workers: 1})
		var partial *dlq.PartialError
		if !errors.As(err, &partial) || !errors.Is(err, queue.ErrVisibilityLost) || report.Sent != 0 || report.Failures[0].Stage != dlq.StageHold {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		s.emulator.SetFault(nil)
		time.Sleep(10 * time.Second)
		if _, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil {
			t.Error(err)
		}
		handledOnce(s, ids)
	})
}

// Window 5: some entries of a batch fail. Only those that were sent are
// deleted.
func TestWindowPartialFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 20)
		s.faulty(func(operation, _ string, _ int64) emulator.Fault {
			return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				switch {
				case operation != "SendMessageBatch":
				case e.Body == `{"id":"m03"}`:
					return &emulator.Error{Code: "InvalidMessageContents", Message: "no"}
				case e.Body == `{"id":"m14"}`:
					return errInternal
				}
				return nil
			}}
		})
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		var partial *dlq.PartialError
		if !errors.As(err, &partial) || !errors.Is(err, queue.ErrInvalid) || report.Sent != 18 || report.Deleted != 18 || report.Failed != 2 || report.Remaining != 2 {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		var failed []string
		for _, f := range report.Failures {
			if f.Stage != dlq.StageSend || f.Unknown {
				t.Errorf("failure %+v", f)
			}
			failed = append(failed, f.ID)
		}
		if slices.Sort(failed); !slices.Equal(failed, []string{"m03", "m14"}) {
			t.Errorf("failed %v", failed)
		}
		s.emulator.SetFault(nil)
		if _, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil {
			t.Error(err)
		}
		handledOnce(s, ids)
	})
}

// Ctrl-C: what is in hand is returned at once, and what was sent is deleted.
func TestRedriveStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filled(t, 60)
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("interrupted")
		report, err := s.client(fares()).Redrive(ctx, dlq.Options{From: "fares-dlq", Workers: 2, Progress: func(r dlq.Report) {
			if r.Sent >= 20 {
				cancel(stopped)
			}
		}, Edit: func(ctx context.Context, l *dlq.Letter) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		}})
		if !errors.Is(err, stopped) {
			t.Fatalf("got %v", err)
		}
		if report.Sent < 20 || report.Sent == 60 || report.Sent != report.Deleted || report.Failed != 0 || report.Remaining != 60-report.Sent {
			t.Errorf("report %s", asJSON(t, report))
		}
		if v := s.visible("fares-dlq"); v != fmt.Sprint(60-report.Sent) {
			t.Errorf("%s messages can be received, want the other %d", v, 60-report.Sent)
		}
		if _, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil {
			t.Error(err)
		}
		handledOnce(s, ids)
	})
}

// A message near the size limit has no room for the marks, and goes without.
func TestRedriveAtTheSizeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		s.queue("b", "", 0)
		body := strings.Repeat("x", queue.DefaultMaxQueueMessage)
		s.send("a", body)
		report, err := s.client().Redrive(t.Context(), dlq.Options{From: "a", To: "b"})
		if err != nil || report.Sent != 1 || report.Unmarked != 1 {
			t.Fatalf("report %s, %v", asJSON(t, report), err)
		}
		if all := s.take("b"); len(all) != 1 || all[0].body != body {
			t.Error("the message did not arrive as it was")
		}
	})
}

// Messages come back when the job ends, however many were looked at.
func TestRedriveReturnsWhatItDidNotChoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		s.queue("b", "", 0)
		for i := range 300 {
			s.send("a", fmt.Sprint(i))
		}
		none, err := dlq.ParseFilter("false")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		report, err := s.client().Redrive(t.Context(), dlq.Options{From: "a", To: "b", Filter: none, Visibility: time.Second * 4})
		if err != nil || report.Seen != 300 || report.Filtered != 300 || report.Sent != 0 {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
		if v := s.visible("a"); v != "300" || time.Since(begin) > 3*time.Second {
			t.Errorf("%s messages can be received after %v", v, time.Since(begin))
		}
	})
}

// Window 10: two operators at once share the messages. None is lost, and none is
// handled twice, also where one of them dies.
func TestWindowTwoOperators(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprintf("one dies=%v", dies), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, ids := filled(t, 90)
				first := s.aws
				if dies {
					first.HTTPClient = &http.Client{Transport: &plug{next: s.emulator.Client().Transport, after: 15}}
				}
				reports := make([]dlq.Report, 2)
				var operators sync.WaitGroup
				for i, c := range []*dlq.Client{s.clientVia(first, fares()), s.client(fares())} {
					operators.Go(func() {
						var err error
						if reports[i], err = c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", Rate: 10, Workers: 2}); err != nil && (!dies || i == 1) {
							t.Error(err)
						}
					})
				}
				operators.Wait()
				if a, b := reports[0].Sent, reports[1].Sent; a == 0 || b == 0 || !dies && a+b != len(ids) {
					t.Errorf("%d and %d were sent", a, b)
				}
				time.Sleep(dlq.DefaultVisibility)
				if _, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq"}); err != nil {
					t.Error(err)
				}
				handledOnce(s, ids)
			})
		})
	}
}
