package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// TestHeartbeat holds that a message stays with a handler that takes longer
// than the visibility timeout.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		for i := range 25 {
			s.send(t, url, fmt.Sprint(i))
		}
		stats := new(queue.Stats)
		q := testQueue{s, "q", url}
		cfg := queue.SubscriberConfig{AWS: s.aws, Endpoints: q.endpoints(t, queue.Endpoint{Visibility: 10 * time.Second}), Stats: stats}
		ch, other := subscribe(t, newSubscriber(t, cfg), "q"), subscribe(t, newSubscriber(t, cfg), "q")
		var wg sync.WaitGroup
		for range 25 {
			wg.Go(func() {
				select {
				case msg := <-ch:
					time.Sleep(time.Minute)
					if err := msg.Context().Err(); err != nil {
						t.Error(context.Cause(msg.Context()))
					}
					msg.Ack()
				case msg := <-other:
					time.Sleep(time.Minute)
					msg.Ack()
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		f := stats.Figures()
		if f.Received != 25 || f.Deleted != 25 || f.Returned != 0 {
			t.Errorf("%+v, want each of 25 messages received once", f)
		}
		// Extended every 5 to 7.5 s, ten to a request but for the remainders.
		if n := f.Requests["ChangeMessageVisibilityBatch"]; n < 24 || n > 55 {
			t.Errorf("%d requests to extend visibility for a minute, want 24 to 55", n)
		}
		if got := s.depth(t, url); got != "0 visible, 0 in flight" {
			t.Error(got)
		}
	})
}

// TestVisibilityLost holds that a handler learns that its message may be with
// another.
func TestVisibilityLost(t *testing.T) {
	tests := []struct {
		name        string
		fault       emulator.Fault
		after, late time.Duration
	}{
		{"service unavailable", emulator.Fault{Err: &emulator.Error{Code: "ServiceUnavailable", Message: "no", Status: 503}}, 28 * time.Second, 29 * time.Second},
		{"entry refused", emulator.Fault{FailEntry: func(emulator.Entry) *emulator.Error {
			return &emulator.Error{Code: "ReceiptHandleIsInvalid", Message: "no", Status: 400}
		}}, 14 * time.Second, 23 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				url := s.createQueue(t, "q")
				s.send(t, url, "x")
				s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
					if r.Operation != "ChangeMessageVisibilityBatch" {
						return emulator.Fault{}
					}
					return tt.fault
				})
				stats := new(queue.Stats)
				ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Stats: stats, Backoff: queue.NoBackoff}), "sqs://q")
				began := time.Now()
				msg := next(t, ch)
				<-msg.Context().Done()
				if cause := context.Cause(msg.Context()); !errors.Is(cause, queue.ErrVisibilityLost) {
					t.Errorf("cause %v, want ErrVisibilityLost", cause)
				}
				// Before its visibility of 30 s has ended.
				if d := time.Since(began); d < tt.after || d > tt.late {
					t.Errorf("lost after %v, want %v to %v", d, tt.after, tt.late)
				}
				again := next(t, ch)
				s.emulator.SetFault(nil)
				before := s.emulator.Requests()["sqs.ChangeMessageVisibilityBatch"]
				msg.Nack() // must not end the visibility of the other delivery
				none(t, ch, 10*time.Second)
				if n := s.emulator.Requests()["sqs.ChangeMessageVisibilityBatch"] - before; n != 0 {
					t.Errorf("%d requests with a receipt that is lost", n)
				}
				again.Ack()
				time.Sleep(time.Second)
				if f := stats.Figures(); f.Returned != 0 || f.Deleted != 1 {
					t.Errorf("%+v", f)
				}
			})
		})
	}
}

// TestMaxHold holds for how long a handler can keep a message, by default as
// long as SQS lets it, and that it learns of the end in time.
func TestMaxHold(t *testing.T) {
	const visibility = 10 * time.Minute
	for _, tt := range []struct{ set, want time.Duration }{
		{0, 12 * time.Hour},
		{time.Hour, time.Hour},
	} {
		t.Run(fmt.Sprint(tt.set), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				q := newQueue(t, s)
				s.send(t, q.url, "x")
				ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, MaxHold: tt.set,
					Endpoints: q.endpoints(t, queue.Endpoint{Visibility: visibility})}), "q")
				began := time.Now()
				msg := next(t, ch)
				<-msg.Context().Done()
				if cause := context.Cause(msg.Context()); !errors.Is(cause, queue.ErrVisibilityLost) || !strings.Contains(cause.Error(), "at most") {
					t.Errorf("cause %v, want ErrVisibilityLost", cause)
				}
				if d := time.Since(began); d < tt.want-visibility-time.Minute || d > tt.want {
					t.Errorf("lost after %v, want less than %v earlier than %v", d, visibility, tt.want)
				}
				again := <-ch
				if n := queue.FromContext(again.Context()).ReceiveCount; n != 2 {
					t.Errorf("received %d times, want 2", n)
				}
				again.Ack()
			})
		})
	}
}

// TestNackAfterExtension holds that a nack is not undone by an extension that
// is still under way.
func TestNackAfterExtension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.send(t, s.createQueue(t, "q"), "x")
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation == "ChangeMessageVisibilityBatch" && r.Number == 1 {
				return emulator.Fault{Delay: 3 * time.Second}
			}
			return emulator.Fault{}
		})
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://q")
		msg := next(t, ch)
		time.Sleep(16 * time.Second) // the extension is sent at 15 s, and arrives at 18 s
		began := time.Now()
		queue.FromContext(msg.Context()).Retry(4*time.Second, "busy")
		msg.Nack()
		(<-ch).Ack()
		if d := time.Since(began); d > 7*time.Second {
			t.Errorf("redelivered after %v, want 4 s after the extension has arrived", d)
		}
	})
}

// A slowReader takes its time for the body of the answers to an operation.
type slowReader struct {
	next      aws.HTTPClient
	operation string
	delay     time.Duration
}

func (r slowReader) Do(req *http.Request) (*http.Response, error) {
	resp, err := r.next.Do(req)
	if err == nil && strings.HasSuffix(req.Header.Get("X-Amz-Target"), "."+r.operation) {
		if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.GotFirstResponseByte != nil {
			trace.GotFirstResponseByte() // as the transport of net/http does
		}
		resp.Body = &slowBody{resp.Body, r.delay}
	}
	return resp, err
}

type slowBody struct {
	io.ReadCloser
	delay time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	time.Sleep(b.delay)
	b.delay = 0
	return b.ReadCloser.Read(p)
}

// TestVisibilityCountsFromTheFirstByte holds that the time which reading an
// answer takes is not counted as visibility that is left.
func TestVisibilityCountsFromTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.send(t, s.createQueue(t, "q"), "x")
		s.aws.HTTPClient = slowReader{s.aws.HTTPClient, "ReceiveMessage", 10 * time.Second}
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation != "ChangeMessageVisibilityBatch" {
				return emulator.Fault{}
			}
			return emulator.Fault{Err: &emulator.Error{Code: "ServiceUnavailable", Message: "no", Status: 503}}
		})
		began := time.Now()
		msg := next(t, subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws}), "sqs://q"))
		if got := queue.FromContext(msg.Context()).ReceivedAt; !got.Equal(began) {
			t.Errorf("received at %v, want %v", got, began)
		}
		<-msg.Context().Done()
		if d := time.Since(began); d < 28*time.Second || d >= 30*time.Second {
			t.Errorf("lost after %v, want shortly before the visibility of 30 s has ended", d)
		}
		msg.Nack()
	})
}

// TestAckIsNoLoss holds that an extension which finds an acked message deleted,
// because the answer of the delete is late, is not taken for a loss.
func TestAckIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		s.send(t, url, "x")
		s.aws.HTTPClient = slowReader{s.aws.HTTPClient, "DeleteMessageBatch", 20 * time.Second}
		log := &recorder{}
		stats := new(queue.Stats)
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Logger: log.logger(), Stats: stats}), "sqs://q")
		msg := next(t, ch)
		time.Sleep(10 * time.Second)
		msg.Ack()
		time.Sleep(time.Minute)
		if n := s.emulator.Requests()["sqs.ChangeMessageVisibilityBatch"]; n == 0 {
			t.Error("no extension met the delete")
		}
		if n := log.count("lost the visibility"); n != 0 {
			t.Errorf("logged %d losses", n)
		}
		if f := stats.Figures(); f.Deleted != 1 {
			t.Errorf("%+v", f)
		}
	})
}
