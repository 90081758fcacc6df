package pipeline_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
)

// redrive sends the dead letters of the endpoint in back to it.
func (s *stack) redrive() dlq.Report {
	s.Helper()
	admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws(nil), Endpoints: s.endpoints})
	if err != nil {
		s.Fatal(err)
	}
	client, err := dlq.New(dlq.Config{Queues: admin})
	if err != nil {
		s.Fatal(err)
	}
	report, err := client.Redrive(s.Context(), dlq.Options{From: "in-dlq"})
	if err != nil {
		s.Fatal(err)
	}
	return report
}

// A message that was moved to the dead-letter queue and is redriven has the
// attributes that it came with, natively and under their names: whatever its
// writer was, and however many there are.
func TestMoveAndRedriveLeaveTheMessageAsItWas(t *testing.T) {
	text := func(value string) sqstypes.MessageAttributeValue {
		return sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(value)}
	}
	ten := map[string]sqstypes.MessageAttributeValue{"fare": {DataType: aws.String("Number"), StringValue: aws.String("1.50")}}
	for i := range 9 {
		ten[fmt.Sprint("key", i)] = text("v")
	}
	nine := maps.Clone(ten)
	delete(nine, "key8")
	cases := []struct {
		name       string
		attributes map[string]sqstypes.MessageAttributeValue
		marks      int // attributes that it has beyond its own
		unmarked   int
	}{
		{"ten attributes", ten, 0, 1},
		{"nine attributes", nine, 1, 1}, // its id
		{"packed metadata that cannot be read", map[string]sqstypes.MessageAttributeValue{queue.AttrMetadata: text("{"), "colour": text("red")}, 3, 0},
		{"an encoding that the body has not", map[string]sqstypes.MessageAttributeValue{queue.AttrEncoding: text("base64"), "colour": text("red")}, 3, 0},
		{"a later format", map[string]sqstypes.MessageAttributeValue{queue.AttrMetadata: text(`{"v":2,"s":["x"]}`), queue.AttrEncoding: text("zstd")}, 3, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, endpoint("in"), endpoint("out"))
				p := s.process().pipeline()
				charge := newScript(always(pipeline.Permanent(errDeclined)))
				p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
				stop := s.start(p)
				url, body := s.urls["in"], `{"id":"f1"}`
				if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageAttributes: c.attributes}); err != nil {
					t.Fatal(err)
				}
				settle(5 * time.Minute)
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				if n := s.left("in-dlq"); n != 1 {
					t.Fatalf("the dead-letter queue holds %d messages", n)
				}
				if report := s.redrive(); report.Sent != 1 || report.Unmarked != c.unmarked {
					t.Errorf("report %s", asJSON(t, report))
				}
				got := s.one("in")
				for name, want := range c.attributes {
					if v, ok := got.attributes[name]; !ok || v != aws.ToString(want.StringValue) {
						t.Errorf("%s is %q, want %q", name, v, aws.ToString(want.StringValue))
					}
				}
				if n := len(got.attributes) - len(c.attributes); n != c.marks || got.body != body {
					t.Errorf("%d attributes beyond its own, want %d: %v", n, c.marks, got.attributes)
				}
			})
		})
	}
}

// A message of a form that only a later release knows goes back to its queue,
// where a process of that release may receive it; it is buried on the last
// receive.
func TestMessagesOfALaterReleaseWaitForIt(t *testing.T) {
	for name, attributes := range map[string][]string{
		"metadata": {queue.AttrMetadata, `{"v":2,"s":["x"]}`},
		"encoding": {queue.AttrEncoding, "zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, endpoint("in"), endpoint("out"))
				p := s.process().pipeline()
				charge := newScript(always(nil))
				p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
				s.start(p)
				s.send("in", `{"id":"f1"}`, attributes...)
				settle(25 * time.Second) // receives at 0 and 10 s
				if n := s.left("in-dlq"); n != 0 {
					t.Fatal("it is buried before its last receive")
				}
				settle(time.Minute)
				got := s.one("in-dlq").failure(t)
				if got.Reason != queue.ReasonUndecodable || got.ReceiveCount != 3 || !strings.Contains(got.Message, queue.ErrNewer.Error()) {
					t.Errorf("got %s", asJSON(t, got))
				}
				if len(charge.ran()) != 0 {
					t.Error("the filter ran")
				}
			})
		})
	}
}
