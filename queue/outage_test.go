package queue_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// TestOutage holds that a message which was handled is not handled again because
// the service, or a part of it, could not be reached for a while.
func TestOutage(t *testing.T) {
	expired := &emulator.Error{Code: "ExpiredTokenException", Message: "the security token is expired", Status: 403}
	internal := &emulator.Error{Code: "InternalError", Message: "try again", Status: 500, Receiver: true}
	settling := func(operation string) bool {
		return operation == "DeleteMessageBatch" || operation == "ChangeMessageVisibilityBatch"
	}
	tests := []struct {
		name  string
		lasts time.Duration
		fault func(r emulator.Request) emulator.Fault
	}{
		{"the service is gone", time.Minute, func(emulator.Request) emulator.Fault { return emulator.Fault{DropRequest: true} }},
		{"no answer comes", time.Minute, func(r emulator.Request) emulator.Fault {
			return emulator.Fault{DropAnswer: r.Operation != "ReceiveMessage", DropRequest: r.Operation == "ReceiveMessage"}
		}},
		{"credentials have expired", 5 * time.Minute, func(emulator.Request) emulator.Fault { return emulator.Fault{Err: expired} }},
		// Then the messages come again before they can be deleted.
		{"nothing is settled", 3 * time.Minute, func(r emulator.Request) emulator.Fault {
			if settling(r.Operation) {
				return emulator.Fault{Err: internal}
			}
			return emulator.Fault{}
		}},
	}
	for _, tt := range tests {
		for _, kind := range []string{"", ".fifo"} {
			t.Run(tt.name+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { outage(t, kind, tt.lasts, tt.fault) })
			})
		}
	}
}

func outage(t *testing.T, kind string, lasts time.Duration, fault func(emulator.Request) emulator.Fault) {
	s := embedded(t)
	q := map[string]string{}
	if kind != "" {
		q["FifoQueue"], q["ContentBasedDeduplication"] = "true", "true"
	}
	out, err := s.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q" + kind), Attributes: q})
	if err != nil {
		t.Fatal(err)
	}
	send := func(bodies ...string) {
		t.Helper()
		for _, body := range bodies {
			in := &sqs.SendMessageInput{QueueUrl: out.QueueUrl, MessageBody: &body}
			if kind != "" {
				in.MessageGroupId = &body
			}
			if _, err := s.sqs.SendMessage(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
	}
	send("a", "b", "c")
	sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws})
	ch := subscribe(t, sub, "sqs://q"+kind)
	var all []*message.Message
	for range 3 {
		all = append(all, next(t, ch))
	}
	s.emulator.SetFault(fault)
	for _, msg := range all {
		msg.Ack()
	}
	none(t, ch, lasts)
	s.emulator.SetFault(nil)
	none(t, ch, time.Minute)
	if got := s.depth(t, *out.QueueUrl); got != "0 visible, 0 in flight" {
		t.Errorf("%s, want the handled messages deleted", got)
	}
	send("d")
	next(t, ch).Ack()
	none(t, ch, time.Minute)
	if err := sub.Err(); err != nil {
		t.Errorf("Err after the outage: %v", err)
	}
}

// TestOutageEnds holds that what never works is given up: a delete that is not
// permitted soon, and one of a service that stays away when the subscriber has
// waited for its drain.
func TestOutageEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		s.send(t, url, "a")
		denied := &emulator.Error{Code: "AccessDeniedException", Message: "not permitted", Status: 403}
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			if r.Operation == "DeleteMessageBatch" {
				return emulator.Fault{Err: denied}
			}
			return emulator.Fault{}
		})
		log := new(recorder)
		sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, DrainTimeout: 10 * time.Second, Logger: log.logger()})
		ch := subscribe(t, sub, "sqs://q")
		next(t, ch).Ack()
		time.Sleep(queue.DefaultVisibility / 2)
		msg := next(t, ch) // it comes again
		if log.count("cannot delete a message that was handled") != 1 {
			t.Error("that a message cannot be deleted is not logged")
		}
		s.emulator.SetFault(func(emulator.Request) emulator.Fault { return emulator.Fault{DropRequest: true} })
		msg.Ack()
		time.Sleep(time.Minute)
		began := time.Now()
		if err := sub.Close(); err != nil || time.Since(began) > 20*time.Second {
			t.Errorf("Close took %v: %v", time.Since(began), err)
		}
	})
}

// TestCredentialsThatCannotBeFetched holds that a message which was handled while the
// source of credentials did not answer is deleted later, and not handled again, and
// that a handler at work then keeps its message.
func TestCredentialsThatCannotBeFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		s.send(t, url, "a", "b")
		var down atomic.Bool
		cfg := s.aws
		cfg.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			if down.Load() {
				return aws.Credentials{}, errors.New("no answer of the metadata service")
			}
			return s.aws.Credentials.Retrieve(ctx)
		})
		ch := subscribe(t, newSubscriber(t, queue.SubscriberConfig{AWS: cfg}), "sqs://q")
		first, second := next(t, ch), next(t, ch)
		down.Store(true)
		first.Ack()
		none(t, ch, 12*time.Second) // of a visibility of 30 s
		down.Store(false)
		none(t, ch, time.Minute)
		if err := second.Context().Err(); err != nil {
			t.Errorf("the handler's context has ended: %v", context.Cause(second.Context()))
		}
		down.Store(true)
		second.Ack()
		none(t, ch, 5*time.Minute)
		down.Store(false)
		none(t, ch, time.Minute)
		if got := s.depth(t, url); got != "0 visible, 0 in flight" {
			t.Errorf("%s, want the handled messages deleted", got)
		}
	})
}
