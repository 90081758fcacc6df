package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
)

// looked returns what a look shows, by body, and the error that ended it.
func looked(ctx context.Context, q *queue.Queue) (map[string]queue.RawMessage, error) {
	all := map[string]queue.RawMessage{}
	for m, err := range q.Look(ctx) {
		if err != nil {
			return all, err
		}
		all[m.Body] = m
	}
	return all, nil
}

// A look shows what a receive would bring, and neither hides nor counts it. An
// endpoint that has none says so.
func TestLook(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		url := s.createQueue(t, testserver.Namespace(t))
		q, err := newAdmin(t, s, nil).Queue(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if s.name == "elasticmq" || s.name == "moto" {
			if _, err := looked(t.Context(), q); !errors.Is(err, queue.ErrNoLook) {
				t.Errorf("a look at %s: %v", s.name, err)
			}
			return
		}
		if all, err := looked(t.Context(), q); err != nil || len(all) != 0 {
			t.Errorf("an empty queue shows %v, %v", all, err)
		}
		text := "a\tbody\r\n <&> \"värde\" ]]>"
		if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &text, MessageAttributes: map[string]sqstypes.MessageAttributeValue{
			"plain": {DataType: aws.String("String"), StringValue: aws.String("a \"quoted\" värde\r\n")},
			"photo": {DataType: aws.String("Binary.png"), BinaryValue: []byte{0, 255, 7}},
		}}); err != nil {
			t.Fatal(err)
		}
		for i := range 11 {
			s.send(t, url, fmt.Sprint(i))
		}
		for range 2 {
			all, err := looked(t.Context(), q)
			if err != nil || len(all) != 12 {
				t.Fatalf("it shows %v, %v", slices.Sorted(maps.Keys(all)), err)
			}
			m := all[text]
			if m.ReceiveCount != 0 || m.Receipt != "" && s.name == "emulator" || m.SentAt.IsZero() || m.ID == "" {
				t.Errorf("it shows %+v", m)
			}
			want := map[string]queue.RawAttribute{
				"plain": {Type: "String", Value: "a \"quoted\" värde\r\n"}, "photo": {Type: "Binary.png", Value: "\x00\xff\x07"},
			}
			if !maps.Equal(m.Attributes, want) {
				t.Errorf("attributes %q, want %q", m.Attributes, want)
			}
		}
		for range q.Look(t.Context()) {
			break // whoever has seen enough stops
		}
		received := 0
		for received < 12 {
			all, err := q.Receive(t.Context(), 10, 0, 0)
			if err != nil || len(all) == 0 {
				t.Fatal(received, err)
			}
			for _, m := range all {
				if m.ReceiveCount == 1 {
					received++
				}
			}
		}
	})
}

// What is not AWS's own, and answers anything, is asked for no more than it has.
func TestLookAtAnything(t *testing.T) {
	const message = "<Message><MessageId>m</MessageId><Body>x</Body><MD5OfBody>9dd4e461268c8034f5c8564e155c67a6</MD5OfBody></Message>"
	page := func(inner string) string {
		return "<ReceiveMessageResponse><ReceiveMessageResult>" + inner + "</ReceiveMessageResult></ReceiveMessageResponse>"
	}
	for name, tt := range map[string]struct {
		status   int
		body     string
		messages int
		no       bool   // ErrNoLook
		want     string // in the error
	}{
		"nothing":              {200, "", 0, true, "EOF"},
		"not found":            {404, page(message), 0, true, "404"},
		"HTML":                 {200, "<html><body>hello</body></html>", 0, true, "the answer is a html"},
		"JSON":                 {200, `{"Messages":[]}`, 0, true, "EOF"},
		"no messages":          {200, page(""), 0, false, ""},
		"messages":             {200, page(message + message), 2, false, ""},
		"cut off":              {200, page(message)[:len(page(message))-30], 1, false, "unexpected EOF"},
		"another body":         {200, page(strings.Replace(message, ">x<", ">y<", 1)), 0, false, "MD5"},
		"an endless message":   {200, page("<Message><Body>" + strings.Repeat("x", 9<<20)), 0, false, "unexpected EOF"},
		"the same page always": {200, page(message + "<NextToken>again</NextToken>"), 2, false, ""},
		"no base64": {200, page(strings.Replace(message, "</Message>",
			"<MessageAttribute><Name>a</Name><Value><DataType>Binary</DataType><BinaryValue>%</BinaryValue></Value></MessageAttribute></Message>", 1)), 0, false, "attribute a"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			n, err := lookAt(t, "http://localhost:4566", func(r *http.Request) (*http.Response, error) {
				asked++
				return &http.Response{StatusCode: tt.status, Status: fmt.Sprint(tt.status), Body: io.NopCloser(strings.NewReader(tt.body))}, nil
			})
			if n != tt.messages || asked > 2 {
				t.Errorf("it shows %d messages of %d pages, want %d", n, asked, tt.messages)
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || errors.Is(err, queue.ErrNoLook) != tt.no {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	t.Run("AWS", func(t *testing.T) {
		if _, err := lookAt(t, "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com", func(*http.Request) (*http.Response, error) {
			t.Error("AWS was asked")
			return nil, io.EOF
		}); !errors.Is(err, queue.ErrNoLook) {
			t.Error(err)
		}
	})
}

type answers func(*http.Request) (*http.Response, error)

func (f answers) Do(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/_aws/sqs/messages" {
		return f(r)
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"QueueUrl":"http://localhost:4566/000000000000/fares"}`))}, nil
}

func lookAt(t *testing.T, base string, answer answers) (messages int, err error) {
	a, err := queue.NewAdmin(queue.AdminConfig{SQS: sqs.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: &base, HTTPClient: answer, Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""),
	})})
	if err != nil {
		t.Fatal(err)
	}
	q, err := a.Queue(t.Context(), "sqs://fares")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range q.Look(t.Context()) {
		if err != nil {
			return messages, err
		}
		messages++
	}
	return messages, nil
}
