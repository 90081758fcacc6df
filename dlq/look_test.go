package dlq_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
)

// Where the endpoint shows messages without their being received, peek, groups and
// show leave them as they are, and a queue with a redrive policy can be peeked into.
func TestLook(t *testing.T) {
	on(t, func(s *server) {
		if s.name == "elasticmq" || s.name == "moto" {
			return // which show none
		}
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		for _, id := range []string{"m1", "m2", "m3"} {
			s.bury("fares-dlq", id, `{"n":1}`, "fares")
		}
		s.send("fares", "alive")
		c := s.clientVia(s.seeing, fares())
		for range 3 {
			letters, err := c.Peek(s.Context(), s.full("fares-dlq"), 2)
			if err != nil || len(letters) != 2 || !letters[0].Looked || letters[0].ReceiveCount != 0 || letters[0].Failure == nil {
				s.Fatalf("peek: %s, %v", asJSON(s, letters), err)
			}
			if letters, err := c.Peek(s.Context(), s.full("fares"), 2); err != nil || len(letters) != 1 || string(letters[0].Body) != "alive" {
				s.Errorf("peek into a queue with a redrive policy: %s, %v", asJSON(s, letters), err)
			}
			g, err := c.Groups(s.Context(), s.full("fares-dlq"), dlq.GroupOptions{Limit: 2})
			if err != nil || g.Seen != 2 || g.Total != 3 || len(g.Groups) != 1 {
				s.Errorf("groups: %+v, %v", g, err)
			}
			l, err := c.Show(s.Context(), s.full("fares-dlq"), "m3", 0)
			if err != nil || l.ID != "m3" || !l.Looked {
				s.Errorf("show: %s, %v", asJSON(s, l), err)
			}
			if _, err := c.Show(s.Context(), s.full("fares-dlq"), "m4", 0); !errors.Is(err, dlq.ErrNoMessage) {
				s.Errorf("show what is not there: %v", err)
			}
		}
		for _, name := range []string{"fares-dlq", "fares"} {
			for _, m := range s.take(name) {
				if m.receives != "1" {
					s.Errorf("a message of %s was received %s times, want once", name, m.receives)
				}
			}
		}
	})
}

// A look that fails midway is an error, and no receive follows.
func TestLookFails(t *testing.T) {
	s := embedded(t)
	s.queue("q", "", 0)
	if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: s.url("q"), MessageBody: aws.String("x")}); err != nil {
		t.Fatal(err)
	}
	cfg := s.seeing
	cfg.HTTPClient = cutOff{cfg.HTTPClient}
	c := s.clientVia(cfg)
	_, peek := c.Peek(t.Context(), s.full("q"), 1)
	_, groups := c.Groups(t.Context(), s.full("q"), dlq.GroupOptions{})
	for _, err := range []error{peek, groups} {
		if err == nil {
			t.Error("it succeeded")
		}
	}
	if m := s.take("q"); !slices.Equal(bodies(m), []string{"x"}) || m[0].receives != "1" {
		t.Errorf("the queue has %+v", m)
	}
}

// cutOff cuts off what the server shows.
type cutOff struct{ aws.HTTPClient }

func (c cutOff) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.HTTPClient.Do(r)
	if err == nil && strings.HasPrefix(r.URL.Path, "/_aws/") {
		b, _ := io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(bytes.NewReader(b[:len(b)/2]))
	}
	return resp, err
}
