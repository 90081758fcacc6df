package emulator_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// only returns a hook with a fault for one operation.
func only(operation string, f emulator.Fault) func(emulator.Request) emulator.Fault {
	return func(r emulator.Request) emulator.Fault {
		if r.Operation == operation {
			return f
		}
		return emulator.Fault{}
	}
}

func TestFaultError(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	url := createQueue(t, c, "q")
	s.SetFault(only("SendMessage", emulator.Fault{Err: &emulator.Error{Code: "OverLimit", Message: "slow down", Status: 403}}))
	_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
	if e, ok := errors.AsType[*sqstypes.OverLimit](err); !ok || e.ErrorMessage() != "slow down" {
		t.Errorf("SendMessage: %v, want OverLimit", err)
	}
	if got := receive(t, c, url); len(got) != 0 {
		t.Errorf("the failed send was carried out")
	}
	s.SetFault(nil)
	send(t, c, url, "x")
}

func TestFaultErrorOfSNS(t *testing.T) {
	s := emulator.New(emulator.Config{Fault: only("Publish", emulator.Fault{Err: &emulator.Error{Code: "InternalError", Receiver: true}})})
	c := sns.NewFromConfig(awsConfig(s))
	topic, err := c.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Publish(t.Context(), &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("x")})
	if codeOf(err) != "InternalError" {
		t.Errorf("Publish: %v, want InternalError", err)
	}
}

func TestFaultDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSQS(t, emulator.Config{})
		url := createQueue(t, c, "q")
		s.SetFault(only("SendMessage", emulator.Fault{Delay: 3 * time.Second}))
		start := time.Now()
		send(t, c, url, "x")
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("the send took %v, want 3s", took)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("given up")}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the send given up: %v", err)
		}
		time.Sleep(5 * time.Second)
		if got := receive(t, c, url); len(got) != 1 || *got[0].Body != "x" {
			t.Errorf("received %d messages, want the first alone", len(got))
		}
	})
}

func TestFaultDrop(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault emulator.Fault
		sent  int
	}{
		{"request", emulator.Fault{DropRequest: true}, 0},
		{"answer", emulator.Fault{DropAnswer: true}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := emulator.New(emulator.Config{})
			direct := sqs.NewFromConfig(awsConfig(s))
			overSocket := awsConfig(s)
			overSocket.BaseEndpoint, overSocket.HTTPClient = aws.String(listen(t, s)), &http.Client{Transport: &http.Transport{}}
			for name, client := range map[string]*sqs.Client{"direct": direct, "socket": sqs.NewFromConfig(overSocket)} {
				url := createQueue(t, direct, name)
				s.SetFault(only("SendMessage", c.fault))
				_, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
				s.SetFault(nil)
				if err == nil {
					t.Errorf("%s: the send was answered", name)
				}
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s: the send failed with %v, want a closed connection", name, err)
				}
				if got := receive(t, direct, url); len(got) != c.sent {
					t.Errorf("%s: %d messages were sent, want %d", name, len(got), c.sent)
				}
			}
		})
	}
}

// The SDK retries a dropped answer by itself, which sends the message twice.
func TestFaultDropAnswerIsRetried(t *testing.T) {
	s := emulator.New(emulator.Config{})
	cfg := awsConfig(s)
	cfg.Retryer = nil
	c := sqs.NewFromConfig(cfg)
	url := createQueue(t, c, "q")
	s.SetFault(func(r emulator.Request) emulator.Fault {
		return emulator.Fault{DropAnswer: r.Operation == "SendMessage" && r.Number == 1}
	})
	send(t, c, url, "x")
	if got := receive(t, c, url); len(got) != 2 {
		t.Errorf("received %d messages, want 2", len(got))
	}
}

func TestFaultFailEntry(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	topics := sns.NewFromConfig(awsConfig(s))
	url := createQueue(t, c, "q")
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")})
	if err != nil {
		t.Fatal(err)
	}
	s.SetFault(func(emulator.Request) emulator.Fault {
		return emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
			if e.Body == "bad" || e.ID == "bad" {
				return &emulator.Error{Code: "InternalError", Message: "sorry", Receiver: true}
			}
			return nil
		}}
	})
	out, err := c.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: []sqstypes.SendMessageBatchRequestEntry{
		entryOf("a", "good"), entryOf("b", "bad"), entryOf("c", "fine"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Successful) != 2 || len(out.Failed) != 1 || *out.Failed[0].Id != "b" || *out.Failed[0].Code != "InternalError" || out.Failed[0].SenderFault {
		t.Errorf("SendMessageBatch: %d succeeded, failed: %+v", len(out.Successful), out.Failed)
	}
	got := receive(t, c, url)
	if len(got) != 2 || *got[0].MessageId != *out.Successful[0].MessageId || *got[1].MessageId != *out.Successful[1].MessageId {
		t.Errorf("received %d messages, want the two that succeeded, under their ids", len(got))
	}
	deleted, err := c.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: []sqstypes.DeleteMessageBatchRequestEntry{
		{Id: aws.String("bad"), ReceiptHandle: got[0].ReceiptHandle}, {Id: aws.String("good"), ReceiptHandle: got[1].ReceiptHandle},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(deleted.Successful) != 1 || len(deleted.Failed) != 1 {
		t.Errorf("DeleteMessageBatch: %d succeeded, %d failed", len(deleted.Successful), len(deleted.Failed))
	}
	changeVisibility(t, c, url, got[0].ReceiptHandle, 0)
	if left := receive(t, c, url); len(left) != 1 || *left[0].MessageId != *got[0].MessageId {
		t.Errorf("%d messages are left, want the one whose deletion failed", len(left))
	}
	published, err := topics.PublishBatch(t.Context(), &sns.PublishBatchInput{TopicArn: topic.TopicArn, PublishBatchRequestEntries: publishEntries(2)})
	if err != nil || len(published.Successful) != 2 {
		t.Errorf("PublishBatch: %v", err)
	}
}

func TestFaultTwice(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	url := createQueue(t, c, "q")
	send(t, c, url, "x")
	s.SetFault(only("ReceiveMessage", emulator.Fault{Twice: true}))
	first := receive(t, c, url)
	s.SetFault(nil)
	if len(first) != 1 {
		t.Fatalf("received %d messages, want 1", len(first))
	}
	if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: first[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	second := receive(t, c, url)
	if len(second) != 1 || *second[0].MessageId != *first[0].MessageId || *second[0].Body != "x" {
		t.Fatalf("received %d messages after the deletion, want the copy", len(second))
	}
	if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: second[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	if third := receive(t, c, url, hiding(1)); len(third) != 0 {
		t.Errorf("received %d messages more", len(third))
	}
}

func TestFaultRequest(t *testing.T) {
	var got []emulator.Request
	s, c := newSQS(t, emulator.Config{Fault: func(r emulator.Request) emulator.Fault {
		got = append(got, r)
		return emulator.Fault{}
	}})
	url := createQueue(t, c, "q")
	send(t, c, url, "x")
	send(t, c, url, "x")
	topics := sns.NewFromConfig(awsConfig(s))
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topics.Publish(t.Context(), &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("x")}); err != nil {
		t.Fatal(err)
	}
	want := []emulator.Request{
		{Service: "sqs", Operation: "CreateQueue", Region: "us-east-1", Resource: "q", Number: 1},
		{Service: "sqs", Operation: "SendMessage", Region: "us-east-1", Resource: "q", Number: 1},
		{Service: "sqs", Operation: "SendMessage", Region: "us-east-1", Resource: "q", Number: 2},
		{Service: "sns", Operation: "CreateTopic", Region: "us-east-1", Resource: "t", Number: 1},
		{Service: "sns", Operation: "Publish", Region: "us-east-1", Resource: "t", Number: 1},
	}
	if len(got) != len(want) {
		t.Fatalf("the hook was asked %d times, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("request %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	counts := map[string]int64{"sqs.CreateQueue": 1, "sqs.SendMessage": 2, "sns.CreateTopic": 1, "sns.Publish": 1}
	if n := s.Requests(); !maps.Equal(n, counts) {
		t.Errorf("Requests are %v, want %v", n, counts)
	}
}

// A receive of a FIFO queue whose answer is lost can be repeated: that is what attempt ids are for.
func TestFaultDropAnswerOfAttempt(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	url := createQueue(t, c, "q.fifo", "FifoQueue", "true", "ContentBasedDeduplication", "true")
	for _, body := range []string{"1", "2"} {
		if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageGroupId: aws.String("g")}); err != nil {
			t.Fatal(err)
		}
	}
	s.SetFault(only("ReceiveMessage", emulator.Fault{DropAnswer: true}))
	in := &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, ReceiveRequestAttemptId: aws.String("try")}
	if _, err := c.ReceiveMessage(t.Context(), in); err == nil {
		t.Fatal("the receive was answered")
	}
	s.SetFault(nil)
	if got := receive(t, c, url); len(got) != 0 {
		t.Errorf("received %d messages of a group that is in flight", len(got))
	}
	out, err := c.ReceiveMessage(t.Context(), in)
	if err != nil || len(out.Messages) != 2 {
		t.Fatalf("received %v, %v, want both messages", out, err)
	}
	for _, m := range out.Messages {
		if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
			t.Error(err)
		}
	}
}
