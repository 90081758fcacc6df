package emulator_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

func TestListenAndServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- emulator.New(emulator.Config{}).ListenAndServe(ctx, "127.0.0.1:0") }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ListenAndServe: %v", err)
	}
}

func TestListenAndServeOnABusyPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	err = emulator.New(emulator.Config{}).ListenAndServe(t.Context(), ln.Addr().String())
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("ListenAndServe: %v, want an error that names %s", err, ln.Addr())
	}
}

// Stopping the server ends long polls at once, with an empty answer.
func TestServeEndsLongPolls(t *testing.T) {
	s := emulator.New(emulator.Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()

	cfg := awsConfig(s)
	direct := sqs.NewFromConfig(cfg)
	url := createQueue(t, direct, "q")
	endpoint := "http://" + ln.Addr().String()
	cfg.BaseEndpoint, cfg.HTTPClient = &endpoint, &http.Client{Transport: &http.Transport{}}
	client := sqs.NewFromConfig(cfg)
	var poll sync.WaitGroup
	poll.Go(func() {
		out, err := client.ReceiveMessage(context.WithoutCancel(t.Context()), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
		if err != nil || len(out.Messages) != 0 {
			t.Errorf("the poll ended with %v", err)
		}
	})
	awaitWaiting(t, s, 1)
	start := time.Now()
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	poll.Wait()
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// A client that goes away from its long poll takes no message with it.
func TestLongPollOfAClientThatLeft(t *testing.T) {
	s := emulator.New(emulator.Config{})
	endpoint := listen(t, s)
	cfg := awsConfig(s)
	direct := sqs.NewFromConfig(cfg)
	url := createQueue(t, direct, "q")
	cfg.BaseEndpoint, cfg.HTTPClient = &endpoint, &http.Client{Transport: &http.Transport{}}
	client := sqs.NewFromConfig(cfg)

	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
		left <- err
	}()
	awaitWaiting(t, s, 1)
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Fatalf("the poll ended with %v", err)
	}
	awaitWaiting(t, s, 0)
	send(t, direct, url, "x")
	if got := receive(t, direct, url); len(got) != 1 || got[0].Attributes["ApproximateReceiveCount"] != "1" {
		t.Errorf("received %d messages, want 1 for the first time", len(got))
	}
}

// awaitWaiting waits until n long polls stand in line at the queue q.
func awaitWaiting(t *testing.T, s *emulator.Server, n int) {
	t.Helper()
	for start := time.Now(); s.Waiting("us-east-1", "q") != n; time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%d long polls wait, want %d", s.Waiting("us-east-1", "q"), n)
		}
	}
}

func TestRequestsThatAreNone(t *testing.T) {
	endpoint := listen(t, emulator.New(emulator.Config{}))
	for _, c := range []struct {
		name, method, contentType, target, body string
		status                                  int
		contains                                string
	}{
		{"too long", "POST", "application/x-amz-json-1.0", "AmazonSQS.SendMessage", strings.Repeat(" ", 8<<20+1), 413, "SerializationException"},
		{"a form too long", "POST", "application/x-www-form-urlencoded", "", "Action=Publish&Message=" + strings.Repeat("x", 4<<20), 413, "MalformedInput"},
		{"another service", "POST", "application/x-amz-json-1.0", "DynamoDB_20120810.ListTables", "{}", 400, "UnknownOperationException"},
		{"no action", "POST", "application/x-www-form-urlencoded", "", "Version=2010-03-31", 400, "MissingAction"},
		{"no protocol", "POST", "text/plain", "", "hello", 400, "X-Amz-Target"},
		{"no content type", "POST", "", "", "hello", 400, "X-Amz-Target"},
		{"a bad form", "POST", "application/x-www-form-urlencoded", "", "Action=%zz", 400, "MalformedInput"},
		{"a browser", "GET", "", "", "", 400, "MissingAction"},
		{"SQS by the Query protocol", "POST", "application/x-www-form-urlencoded", "", "Action=ListQueues&Version=2012-11-05", 200, "ListQueuesResult"},
		{"no UTF-8", "POST", "application/x-amz-json-1.0", "AmazonSQS.ListQueues", "{\"QueueNamePrefix\":\"\xff\"}", 400, "UTF-8"},
		{"half a character", "POST", "application/x-amz-json-1.0", "AmazonSQS.ListQueues", `{"QueueNamePrefix":"\ud83d x"}`, 400, "UTF-8"},
		{"a character of two halves", "POST", "application/x-amz-json-1.0", "AmazonSQS.ListQueues", `{"QueueNamePrefix":"\\ud83d \ud83d\ude00"}`, 200, "{}"},
		{"a wrong type", "POST", "application/x-amz-json-1.0", "AmazonSQS.ListQueues", `{"MaxResults":"x"}`, 400, "MaxResults"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, endpoint+"/", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			if c.target != "" {
				r.Header.Set("X-Amz-Target", c.target)
			}
			client := &http.Client{Transport: buffered{&http.Transport{DisableKeepAlives: true}}}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var body strings.Builder
			if _, err := fmt.Fprint(&body, resp.Status, " "); err != nil {
				t.Fatal(err)
			}
			if err := resp.Write(&body); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status || !strings.Contains(body.String(), c.contains) {
				t.Errorf("the answer is %d, want %d and %q in:\n%s", resp.StatusCode, c.status, c.contains, body.String())
			}
		})
	}
}

func TestRegionsAreApart(t *testing.T) {
	s := emulator.New(emulator.Config{Region: "eu-central-1", Account: "123456789012"})
	for _, region := range []string{"us-east-1", "eu-west-1"} {
		cfg := awsConfig(s)
		cfg.Region = region
		c := sqs.NewFromConfig(cfg)
		url := createQueue(t, c, "q")
		send(t, c, url, region)
		if got := receive(t, c, url); len(got) != 1 || *got[0].Body != region {
			t.Errorf("%s: received %d messages, want its own", region, len(got))
		}
		out, err := c.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqsAttribute{"QueueArn"}})
		if want := "arn:aws:sqs:" + region + ":123456789012:q"; err != nil || out.Attributes["QueueArn"] != want {
			t.Errorf("the ARN is %s, want %s (%v)", out.Attributes["QueueArn"], want, err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://emulator/", strings.NewReader(`{"QueueName":"q"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "AmazonSQS.GetQueueUrl")
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("an unsigned request finds a queue of another region: %s", resp.Status)
	}
}

func TestNewChecksTheAccount(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New took the account x")
		}
	}()
	emulator.New(emulator.Config{Account: "x"})
}
