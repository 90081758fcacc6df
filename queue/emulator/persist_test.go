package emulator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue/emulator"
)

func saved(t testing.TB, s *emulator.Server) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := s.Save(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// furnished returns a server that has some of everything, and handles of two messages in flight: of a standard
// queue and of a FIFO queue.
func furnished(t *testing.T, cfg emulator.Config) (s *emulator.Server, handle, fifoHandle string) {
	t.Helper()
	s, c := newSQS(t, cfg)
	topics := sns.NewFromConfig(awsConfig(s))
	createQueue(t, c, "dlq")
	q := createQueue(t, c, "q", "RedrivePolicy", `{"deadLetterTargetArn":"`+arnPrefix+`dlq","maxReceiveCount":5}`, "DelaySeconds", "0")
	if _, err := c.TagQueue(t.Context(), &sqs.TagQueueInput{QueueUrl: &q, Tags: map[string]string{"team": "rides"}}); err != nil {
		t.Fatal(err)
	}
	send(t, c, q, "first")
	handle = *receive(t, c, q)[0].ReceiptHandle
	for i := range 3 {
		send(t, c, q, fmt.Sprint("more ", i, " <&> \u2028 \U0001f695"))
	}
	if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &q, MessageBody: aws.String("later"), DelaySeconds: 100, MessageGroupId: aws.String("tenant"),
		MessageAttributes:       map[string]sqstypes.MessageAttributeValue{"b": {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255}}},
		MessageSystemAttributes: map[string]sqstypes.MessageSystemAttributeValue{"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String("Root=1")}},
	}); err != nil {
		t.Fatal(err)
	}
	f := createQueue(t, c, "f.fifo", "FifoQueue", "true", "DeduplicationScope", "messageGroup", "FifoThroughputLimit", "perMessageGroupId")
	for i := range 6 {
		sendFIFO(t, c, f, fmt.Sprint(i), fmt.Sprint("g", i%2), fmt.Sprint("d", i))
	}
	fifoHandle = *receive(t, c, f)[0].ReceiptHandle
	gone := createQueue(t, c, "gone")
	if _, err := c.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &gone}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"t", "t.fifo"} {
		in := &sns.CreateTopicInput{Name: &name}
		if name == "t.fifo" {
			in.Attributes = map[string]string{"FifoTopic": "true"}
		}
		topic, err := topics.CreateTopic(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{
			TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(arnPrefix + "q"),
			Attributes: map[string]string{"RawMessageDelivery": "true", "FilterPolicy": `{"k":["v"]}`},
		}); err != nil {
			t.Fatal(err)
		}
		if name == "t.fifo" {
			if _, err := topics.Publish(t.Context(), &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("x"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d")}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("http"), Endpoint: aws.String("http://site/in")}); err != nil {
			t.Fatal(err)
		}
	}
	return s, handle, fifoHandle
}

func sendFIFO(t *testing.T, c *sqs.Client, url, body, group, dedup string) *sqs.SendMessageOutput {
	t.Helper()
	out, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &dedup})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A server that is restored goes on where the other was.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := &http.Client{Transport: &site{began: time.Now()}}
		s, handle, fifoHandle := furnished(t, emulator.Config{HTTPClient: web})
		defer s.Close()
		first := saved(t, s)
		again := emulator.New(emulator.Config{HTTPClient: web})
		defer again.Close()
		if err := again.Restore(bytes.NewReader(first)); err != nil {
			t.Fatal(err)
		}
		if second := saved(t, again); !bytes.Equal(first, second) {
			t.Fatalf("saved was\n%s\nand what is restored is\n%s", first, second)
		}

		c, topics := sqs.NewFromConfig(awsConfig(again)), sns.NewFromConfig(awsConfig(again))
		q, f := "http://emulator/000000000000/q", "http://emulator/000000000000/f.fifo"
		for url, h := range map[string]string{q: handle, f: fifoHandle} {
			if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: &h}); err != nil {
				t.Errorf("deleting by the receipt handle of before: %v", err)
			}
		}
		got := receive(t, c, q)
		for i := range 3 {
			if len(got) != 3 || !strings.HasPrefix(*got[i].Body, fmt.Sprint("more ", i)) {
				t.Errorf("received %d messages, want three in order", len(got))
			}
		}
		if got := receive(t, c, q); len(got) != 0 {
			t.Errorf("received %v, want nothing", got)
		}
		time.Sleep(100 * time.Second)
		var later bool
		for _, m := range receive(t, c, q, func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 10 }) {
			if *m.Body == "later" {
				later = m.MessageAttributes["b"].BinaryValue[1] == 255 && m.Attributes["AWSTraceHeader"] == "Root=1" && m.Attributes["MessageGroupId"] == "tenant"
			}
		}
		if !later {
			t.Error("the delayed message did not come, or not as a whole")
		}

		if out := sendFIFO(t, c, f, "again", "g1", "d5"); out.MessageId == nil {
			t.Error("no message id")
		}
		var bodies []string
		for _, m := range receive(t, c, f, func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 10 }) {
			bodies = append(bodies, *m.Body)
		}
		if got := strings.Join(bodies, " "); got != "1 3 5 2 4" && got != "2 4 1 3 5" {
			t.Errorf("the FIFO queue has %s, want 1 3 5 and 2 4: what was sent again within five minutes is a duplicate", got)
		}
		arn := "arn:aws:sns:us-east-1:000000000000:t.fifo"
		publish := func(dedup string) string {
			out, err := topics.Publish(t.Context(), &sns.PublishInput{TopicArn: &arn, Message: aws.String("x"), MessageGroupId: aws.String("g"), MessageDeduplicationId: &dedup})
			if err != nil {
				t.Fatal(err)
			}
			return *out.SequenceNumber
		}
		if old, next := publish("d"), publish("e"); old >= next {
			t.Errorf("the numbers are %s and %s", old, next)
		}
		if _, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q"), Attributes: map[string]string{"DelaySeconds": "1"}}); err == nil {
			t.Error("the queue's attributes are not those of before")
		}
	})
}

// A queue that was deleted is not forgotten at once.
func TestRestoreOfDeletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSQS(t, emulator.Config{})
		url := createQueue(t, c, "q")
		if _, err := c.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
			t.Fatal(err)
		}
		again := emulator.New(emulator.Config{})
		if err := again.Restore(bytes.NewReader(saved(t, s))); err != nil {
			t.Fatal(err)
		}
		_, err := sqs.NewFromConfig(awsConfig(again)).CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")})
		if _, ok := errors.AsType[*sqstypes.QueueDeletedRecently](err); !ok {
			t.Errorf("made again: %v", err)
		}
	})
}

// What is not a saved server as a whole is refused, with the place.
func TestRestoreRefuses(t *testing.T) {
	var text string
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := furnished(t, emulator.Config{HTTPClient: &http.Client{Transport: &site{}}})
		defer s.Close()
		text = string(saved(t, s))
	})
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	for n := range lines {
		if err := emulator.New(emulator.Config{}).Restore(strings.NewReader(strings.Join(lines[:n], ""))); err == nil {
			t.Errorf("the first %d of %d records are taken for a server", n, len(lines))
		}
		less := strings.Join(lines[:n], "") + strings.Join(lines[n+1:], "")
		if err := emulator.New(emulator.Config{}).Restore(strings.NewReader(less)); err == nil {
			t.Errorf("a server without record %d, %s, is taken", n+1, lines[n])
		}
	}
	functions := map[string]func(context.Context, emulator.Notification) error{"f": func(context.Context, emulator.Notification) error { return nil }}
	withFunction := emulator.New(emulator.Config{Functions: functions})
	topics := sns.NewFromConfig(awsConfig(withFunction))
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("lambda"), Endpoint: aws.String("arn:aws:lambda:us-east-1:000000000000:function:f")}); err != nil {
		t.Fatal(err)
	}
	used, c := newSQS(t, emulator.Config{})
	createQueue(t, c, "q")
	for name, tt := range map[string]struct {
		server     *emulator.Server
		text, want string
	}{
		"nothing":           {text: "", want: "the end is missing"},
		"no JSON":           {text: "x", want: "record 1: this is no saved server"},
		"another format":    {text: strings.Replace(text, "waybill-emulator", "other", 1), want: `the format is "other"`},
		"a later version":   {text: strings.Replace(text, `"version":1`, `"version":2`, 1), want: "the version is 2"},
		"another account":   {text: strings.Replace(text, `"account":"000000000000"`, `"account":"111122223333"`, 1), want: "of account 111122223333"},
		"a bad attribute":   {text: strings.Replace(text, `"DelaySeconds":"0"`, `"DelaySeconds":"901"`, 1), want: "DelaySeconds"},
		"a number twice":    {text: strings.Replace(text, `{"m":{"n":2,`, `{"m":{"n":1,`, 1), want: "has the number 1"},
		"more than the end": {text: text + lines[0], want: "after the end"},
		"a server in use":   {server: used, text: text, want: "has queues or topics already"},
		"a function":        {text: string(saved(t, withFunction)), want: "no function f"},
	} {
		s := tt.server
		if s == nil {
			s = emulator.New(emulator.Config{})
		}
		if err := s.Restore(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A message that goes from one queue to another while the server is saved is in one of them at least.
func TestSaveWhileMessagesMove(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	createQueue(t, c, "dlq")
	q := createQueue(t, c, "q", "VisibilityTimeout", "0", "RedrivePolicy", `{"deadLetterTargetArn":"`+arnPrefix+`dlq","maxReceiveCount":1}`)
	const n = 2000
	for i := range n {
		send(t, c, q, fmt.Sprint(i))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range n / 4 {
			receive(t, c, q, func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 10 })
		}
	})
	wg.Go(func() {
		for range n / 200 {
			_, err := c.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arnPrefix + "dlq")})
			if err != nil && !strings.Contains(err.Error(), "already a task") {
				t.Error(err)
			}
		}
	})
	for range 20 {
		if got := strings.Count(string(saved(t, s)), `{"m":{`); got != n {
			t.Errorf("%d messages are saved, want %d", got, n)
		}
	}
	wg.Wait()
}

// TestRestoreAtTheEpoch holds that a clock may begin at 0.
func TestRestoreAtTheEpoch(t *testing.T) {
	clock := &manualClock{now: time.Unix(0, 0), timers: map[*manualTimer]bool{}}
	s, c := newSQS(t, emulator.Config{Clock: clock})
	url := createQueue(t, c, "q")
	send(t, c, url, "x")
	receive(t, c, url, hiding(30))
	again, c := newSQS(t, emulator.Config{Clock: clock})
	if err := again.Restore(bytes.NewReader(saved(t, s))); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c, url); len(got) != 0 {
		t.Error("what was in flight is not")
	}
	clock.advance(30 * time.Second)
	if got := receive(t, c, url); len(got) != 1 {
		t.Error("what was in flight is not there again")
	}
}

// Nothing that is read makes the server panic, and what is restored can be saved and restored.
func FuzzRestore(f *testing.F) {
	s := emulator.New(emulator.Config{})
	c := sqs.NewFromConfig(awsConfig(s))
	for _, in := range []*sqs.CreateQueueInput{
		{QueueName: aws.String("q")},
		{QueueName: aws.String("q.fifo"), Attributes: map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true"}},
	} {
		out, err := c.CreateQueue(context.Background(), in)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := c.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: out.QueueUrl, MessageBody: aws.String("x"), MessageGroupId: aws.String("g")}); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(saved(f, s))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := emulator.New(emulator.Config{})
		if s.Restore(bytes.NewReader(text)) != nil {
			return
		}
		c := sqs.NewFromConfig(awsConfig(s))
		again := emulator.New(emulator.Config{})
		if err := again.Restore(bytes.NewReader(saved(t, s))); err != nil {
			t.Errorf("%s is restored and saved, and then refused: %v", text, err)
		}
		for _, name := range []string{"q", "q.fifo"} { // whatever they hold, they work
			url := aws.String("http://emulator/000000000000/" + name)
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond) // of a queue that polls long
				defer cancel()
				_, _ = c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10, VisibilityTimeout: 1})
				_, _ = c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("x"), MessageGroupId: aws.String("g")})
			}
			_, _ = c.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: url})
		}
	})
}
