package queue_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

func newAdmin(t *testing.T, s *server, endpoints *queue.Endpoints) *queue.Admin {
	t.Helper()
	a, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A queue is found by everything that an operator may know it by.
func TestAdminFindsQueues(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		ns := testserver.Namespace(t)
		dead := s.createQueue(t, ns+"-fares-dlq")
		fares := s.createQueue(t, ns+"-fares", "RedrivePolicy", s.redrivePolicy(t, dead, 4))
		endpoints, err := queue.NewEndpoints(ns, queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq", Visibility: time.Minute},
			queue.Endpoint{Name: "notices", URL: "sns://notices"})
		if err != nil {
			t.Fatal(err)
		}
		a := newAdmin(t, s, endpoints)
		for _, name := range []string{"fares", "sqs://" + ns + "-fares", ns + "-fares", fares, s.queueARN(t, fares)} {
			q, err := a.Queue(t.Context(), name)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if q.Name != ns+"-fares" || q.Endpoint.Name != "fares" || q.Endpoint.Visibility != time.Minute || q.URL == "" {
				t.Errorf("%s: found %+v", name, q)
			}
		}
		for _, name := range []string{"fares-dlq", ns + "-fares-dlq", dead, s.queueARN(t, dead), "sqs://" + ns + "-fares-dlq"} {
			q, err := a.Queue(t.Context(), name)
			if err != nil || q.Name != ns+"-fares-dlq" {
				t.Errorf("%s: %+v, %v", name, q, err)
			}
		}
		for name, want := range map[string]error{
			"no-such-queue": queue.ErrNotFound, "sqs://no-such": queue.ErrNotFound,
			"notices": queue.ErrInvalid, "what is this?": queue.ErrUnknownEndpoint, "": queue.ErrUnknownEndpoint,
		} {
			if _, err := a.Queue(t.Context(), name); !errors.Is(err, want) {
				t.Errorf("%q: %v, want %v", name, err, want)
			}
		}

		q, err := a.Queue(t.Context(), "fares")
		if err != nil {
			t.Fatal(err)
		}
		s.send(t, fares, "a", "b")
		attributes, err := q.Attributes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.name == "elasticmq" { // to which what comes in this millisecond is delayed until the next
			attributes.Visible += attributes.Delayed
		}
		if attributes.ARN != s.queueARN(t, fares) || attributes.DeadLetter != s.queueARN(t, dead) || attributes.MaxReceiveCount != 4 ||
			attributes.Visible != 2 || attributes.InFlight != 0 {
			t.Errorf("attributes %+v", attributes)
		}
		if want := 4 * 24 * time.Hour; attributes.Retention != want && s.name != "elasticmq" { // which does not tell
			t.Errorf("retention %v, want %v", attributes.Retention, want)
		}
		if d := time.Since(attributes.At); d < -5*time.Second || d > 5*time.Second {
			t.Errorf("the service's time is %v ago", d)
		}
		var names []string
		for q, err := range a.Queues(t.Context(), ns) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, q.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{ns + "-fares", ns + "-fares-dlq"}) {
			t.Errorf("listed %q", names)
		}
		dq, err := a.Queue(t.Context(), dead)
		if err != nil {
			t.Fatal(err)
		}
		sources, err := a.Sources(t.Context(), dq)
		if err != nil {
			t.Fatal(err)
		}
		if len(sources) != 1 || sources[0].Name != ns+"-fares" || sources[0].Endpoint.Name != "fares" {
			t.Errorf("sources %+v", sources)
		}
	})
}

// Messages are sent again just as they were received, whatever their writer put
// into them.
func TestAdminMovesMessagesAsTheyAre(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		ns := testserver.Namespace(t)
		from, to := s.createQueue(t, ns+"-from"), s.createQueue(t, ns+"-to")
		text := func(v string) sqstypes.MessageAttributeValue {
			return sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(v)}
		}
		attributes := map[string]sqstypes.MessageAttributeValue{
			"plain":  text("a \"quoted\" värde"),
			"label":  {DataType: aws.String("String.json"), StringValue: aws.String(`{"a":1}`)},
			"number": {DataType: aws.String("Number"), StringValue: aws.String("1.50")},
			"photo":  {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255, 7}},
		}
		for i := range 6 {
			attributes[fmt.Sprint("more", i)] = text("v")
		}
		if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &from, MessageBody: aws.String("a\tbody <&>"), MessageAttributes: attributes}); err != nil {
			t.Fatal(err)
		}
		s.send(t, from, "bare")

		a := newAdmin(t, s, nil)
		fromQ, err := a.Queue(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		toQ, err := a.Queue(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		move := func(from, to *queue.Queue) map[string]queue.RawMessage {
			t.Helper()
			byBody := map[string]queue.RawMessage{}
			for len(byBody) < 2 {
				all, err := from.Receive(t.Context(), 10, time.Minute, time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if len(all) == 0 {
					t.Fatalf("received %v, want 2 messages", byBody)
				}
				for i, sent := range to.Send(t.Context(), all) {
					if sent.Err != nil || sent.ID == "" {
						t.Fatal(sent)
					}
					byBody[all[i].Body] = all[i]
				}
				for _, err := range from.Delete(t.Context(), all) {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			return byBody
		}
		first, second := move(fromQ, toQ), move(toQ, fromQ)
		for body, m := range first {
			if !maps.Equal(m.Attributes, second[body].Attributes) {
				t.Errorf("%q: sent %v, and received %v", body, m.Attributes, second[body].Attributes)
			}
			if m.ReceiveCount != 1 || m.SentAt.IsZero() || m.FirstReceivedAt.IsZero() || m.ID == "" {
				t.Errorf("%q: %+v", body, m)
			}
		}
		want := first["a\tbody <&>"]
		if len(want.Attributes) != 10 || want.Attributes["photo"] != (queue.RawAttribute{Type: "Binary", Value: "\x00\xff\x07"}) || want.Attributes["label"].Type != "String.json" {
			t.Errorf("attributes %v", want.Attributes)
		}
		if d := s.depth(t, to); !strings.HasPrefix(d, "0 visible, 0") {
			t.Errorf("after the moves: %s", d)
		}
	})
}

func TestAdminHidesAndReturnsMessages(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		url := s.createQueue(t, testserver.Namespace(t))
		s.send(t, url, "a")
		q, err := newAdmin(t, s, nil).Queue(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			all, err := q.Receive(t.Context(), 10, time.Hour, 2*time.Second)
			if err != nil || len(all) != 1 || all[0].ReceiveCount != i+1 {
				t.Fatalf("receive %d: %v, %v", i+1, all, err)
			}
			if errs := q.SetVisibility(t.Context(), 0, all); errs[0] != nil {
				t.Fatal(errs)
			}
		}
		if errs := q.SetVisibility(t.Context(), 0, []queue.RawMessage{{Receipt: "nonsense"}}); errs[0] == nil {
			t.Error("a receipt of nonsense was taken")
		}
	})
}

// Each entry of a batch has a result of its own; deletes are tried again, and
// sends are not.
func TestAdminPartialFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		url := s.createQueue(t, "q")
		q, err := newAdmin(t, s, nil).Queue(t.Context(), "q")
		if err != nil {
			t.Fatal(err)
		}
		fail := func(e emulator.Entry) *emulator.Error {
			if e.ID == "1" {
				return &emulator.Error{Code: "InternalError", Receiver: true}
			}
			return nil
		}
		s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
			return emulator.Fault{FailEntry: fail}
		})
		sent := q.Send(t.Context(), []queue.RawMessage{{Body: "a"}, {Body: "b"}, {Body: "c"}})
		if sent[0].Err != nil || !errors.Is(sent[1].Err, queue.ErrUnavailable) || sent[2].Err != nil {
			t.Fatalf("sent %v", sent)
		}
		all, err := q.Receive(t.Context(), 10, time.Minute, 0)
		if err != nil || len(all) != 2 {
			t.Fatalf("%v, %v", all, err)
		}
		// The second entry fails in a batch of two, and then succeeds alone.
		if errs := q.Delete(t.Context(), all); errs[0] != nil || errs[1] != nil {
			t.Errorf("delete: %v", errs)
		}
		if d := s.depth(t, url); d != "0 visible, 0 in flight" {
			t.Error(d)
		}
	})
}

// Batches keep within ten messages and the size limit.
func TestAdminSplitsBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.createQueue(t, "q")
		q, err := newAdmin(t, s, nil).Queue(t.Context(), "q")
		if err != nil {
			t.Fatal(err)
		}
		var all []queue.RawMessage
		for range 12 {
			all = append(all, queue.RawMessage{Body: "small"})
		}
		for range 5 {
			all = append(all, queue.RawMessage{Body: strings.Repeat("x", 400<<10)})
		}
		for i, r := range q.Send(t.Context(), all) {
			if r.Err != nil {
				t.Errorf("message %d: %v", i, r.Err)
			}
		}
		if n := s.emulator.Requests()["sqs.SendMessageBatch"]; n != 4 {
			t.Errorf("%d requests, want 4", n)
		}
	})
}

func TestAdminListsManyQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		const n = 1500
		for i := range n {
			s.createQueue(t, fmt.Sprint("q", i))
		}
		seen := map[string]bool{}
		for q, err := range newAdmin(t, s, nil).Queues(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			seen[q.Name] = true
		}
		if len(seen) != n {
			t.Errorf("listed %d queues, want %d", len(seen), n)
		}
	})
}

func TestQueueName(t *testing.T) {
	for url, want := range map[string]string{
		"sqs://fares":              "fares",
		"sqs://123456789012/fares": "fares",
		"https://sqs.eu-west-1.amazonaws.com/123456789012/fares": "fares",
		"arn:aws:sqs:eu-west-1:123456789012:fares.fifo":          "fares.fifo",
		"arn:aws:sns:eu-west-1:123456789012:fares":               "",
		"sns://fares": "", "fares": "", "": "", "https://example.com/": "", "sqs://a b": "",
	} {
		if got := queue.QueueName(url); got != want {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
}
