package emulator_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// A journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// take returns what was logged since the last time.
func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.text.Reset()
	return j.text.String()
}

// allowing is a policy that lets a topic send to a queue.
func allowing(queue, topic string) string {
	return `{"Statement":{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"` + queue +
		`","Condition":{"ArnEquals":{"aws:SourceArn":"` + topic + `"}}}}`
}

// TestLogOfDeliveries holds that of each message that a topic could not deliver the log has the reason, and no
// password.
func TestLogOfDeliveries(t *testing.T) {
	log := new(journal)
	inNewsroom(t, emulator.Config{EnforcePolicies: true, Logger: log.logger()}, func(n *newsroom) {
		says := func(what string, want ...string) {
			n.Helper()
			n.publish("x")
			time.Sleep(2 * time.Minute)
			got := log.take()
			for _, w := range want {
				if !strings.Contains(got, w) {
					n.Errorf("%s: the log has no %q:\n%s", what, w, got)
				}
			}
			if strings.Contains(got, "secret") {
				n.Errorf("%s: the log has a password:\n%s", what, got)
			}
			if len(want) == 0 && got != "" {
				n.Errorf("%s: the log has\n%s", what, got)
			}
		}
		url := createQueue(n.T, n.sqs, "q", "MaximumMessageSize", "1024")
		createQueue(n.T, n.sqs, "dlq", "Policy", allowing(arnPrefix+"dlq", n.topic))
		sub := n.subscribe("sqs", arnPrefix+"q")
		says("no policy", "is lost", "Policy does not let", sub)
		if _, err := n.sqs.SetQueueAttributes(n.Context(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{"Policy": allowing(arnPrefix+"q", n.topic)}}); err != nil {
			n.Fatal(err)
		}
		says("all well")
		n.publish(strings.Repeat("x", 2000))
		says("too large", "is lost", "too large")
		other := n.subscribe("sqs", arnPrefix+"none", "RedrivePolicy", `{"deadLetterTargetArn":"`+arnPrefix+`dlq"}`)
		says("no queue", "in the dead-letter queue", "does not exist", other)
		for _, arn := range []string{sub, other} {
			if _, err := n.sns.Unsubscribe(n.Context(), &sns.UnsubscribeInput{SubscriptionArn: &arn}); err != nil {
				n.Fatal(err)
			}
		}
		n.reader()
		n.site.answer(404)
		says("a client error", "is lost", "404")
		n.site.answer(200)
		n.subscribe("http", "http://user:secret@site/down")
		synctest.Wait()
		n.site.answer(0, 0, 0, 0, 0, 0, 0, 0)
		says("no connection", "is lost", "connection refused")
	})
}

// TestLogOfSaves holds that a file that cannot be saved is told of before the end.
func TestLogOfSaves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "state")
	synctest.Test(t, func(t *testing.T) {
		log := new(journal)
		s := emulator.New(emulator.Config{Logger: log.logger()})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.KeepFile(ctx, path, time.Second) }()
		time.Sleep(1500 * time.Millisecond)
		if got := log.take(); !strings.Contains(got, "cannot save") || !strings.Contains(got, "state") {
			t.Errorf("the log has %q", got)
		}
		cancel()
		if err := <-ended; err == nil {
			t.Error("saved to a directory that is not there")
		}
	})
}

// A crowd is an endpoint that counts those who are there at once.
type crowd struct {
	mu        sync.Mutex
	now, most int
	all       int
}

func (c *crowd) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.now++
	c.all++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	time.Sleep(time.Second)
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// TestManyDeliveries holds that no number of messages opens as many connections to an endpoint.
func TestManyDeliveries(t *testing.T) {
	inNewsroom(t, emulator.Config{}, func(n *newsroom) {
		n.reader()
		c := new(crowd)
		n.site.serve(c)
		for i := range 300 {
			n.publish(fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.all != 300 || c.most != 64 {
			t.Errorf("%d deliveries, up to %d at once; want 300, up to 64", c.all, c.most)
		}
	})
}
