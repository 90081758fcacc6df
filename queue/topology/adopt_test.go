package topology_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
)

// Defaults are for queues that are made: one that exists keeps every attribute
// that configuration says nothing of, whoever made it.
func TestDefaultsAreForNewQueues(t *testing.T) {
	on(t, func(t *testing.T, s *server, ns string) {
		theirs := map[string]string{"MessageRetentionPeriod": "1209600", "VisibilityTimeout": "900", "DelaySeconds": "60"}
		s.create(t, ns+"-dlq", map[string]string{"MessageRetentionPeriod": "604800", "VisibilityTimeout": "77"})
		s.create(t, ns+"-orders", theirs)
		s.set(t, ns+"-orders", map[string]string{"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":9}`, s.attributes(t, ns+"-dlq")["QueueArn"])})
		set := endpoints(t, ns, queue.Endpoint{Name: "orders", URL: "sqs://orders", DeadLetter: "sqs://dlq"})
		p := plan(t, s, set)
		equal(t, lines(p, ns), []string{
			"adopt queue sqs://dlq (dead letters of orders)",
			"adopt queue sqs://orders (endpoint orders)",
		})
		if err := p.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled(t, s, set)
		have := s.attributes(t, ns+"-orders")
		for name, want := range theirs {
			if have[name] != want {
				t.Errorf("%s became %s, and was %s", name, have[name], want)
			}
		}
		if policy := have["RedrivePolicy"]; !strings.Contains(policy, "9") {
			t.Errorf("the redrive policy became %s", policy)
		}
		if have := s.attributes(t, ns+"-dlq"); have["MessageRetentionPeriod"] != "604800" || have["VisibilityTimeout"] != "77" {
			t.Errorf("the dead-letter queue has %v", have)
		}
	})
}

// What configuration sets is enforced on a queue that exists, a value that is
// the default included.
func TestSettingsAreForAllQueues(t *testing.T) {
	s := embedded()
	s.create(t, "dlq", map[string]string{"MessageRetentionPeriod": "60"})
	s.create(t, "orders", map[string]string{"MessageRetentionPeriod": "60", "VisibilityTimeout": "900", "DelaySeconds": "60"})
	s.set(t, "orders", map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dlq","maxReceiveCount":9}`})
	set := endpoints(t, "", queue.Endpoint{Name: "orders", URL: "sqs://orders", DeadLetter: "sqs://dlq", MaxReceiveCount: queue.DefaultMaxReceiveCount,
		Visibility: queue.DefaultVisibility, Retention: queue.DefaultRetention, DeadLetterRetention: queue.DefaultDeadLetterRetention, Delay: time.Second})
	equal(t, lines(plan(t, s, set), "no namespace"), []string{
		"adopt queue sqs://dlq (dead letters of orders): MessageRetentionPeriod 60 -> 1209600",
		"adopt queue sqs://orders (endpoint orders): MessageRetentionPeriod 60 -> 345600, VisibilityTimeout 900 -> 30, DelaySeconds 60 -> 1, RedrivePolicy dlq after 9 receives -> dlq after 5 receives",
	})
	apply(t, s, set)
}

// To lower the retention of a queue that exists deletes messages, and takes
// consent: of a queue, and of a dead-letter queue.
func TestLowerRetentionTakesConsent(t *testing.T) {
	s := embedded()
	s.create(t, "orders", map[string]string{"MessageRetentionPeriod": "1209600"})
	s.create(t, "dlq", map[string]string{"MessageRetentionPeriod": "1209600"})
	set := endpoints(t, "", queue.Endpoint{Name: "orders", URL: "sqs://orders", Retention: 24 * time.Hour, DeadLetter: "sqs://dlq", DeadLetterRetention: 48 * time.Hour})
	_, err := topology.NewPlan(t.Context(), s.clients(), set)
	var conflict *topology.ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("got %v, want a conflict", err)
	}
	for _, want := range []string{
		"sqs://orders: MessageRetentionPeriod 1209600 -> 86400 would have SQS delete the messages that are older than 24h0m0s",
		"sqs://dlq: MessageRetentionPeriod 1209600 -> 172800", "--lower-retention",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	p, err := topology.NewPlan(t.Context(), s.clients(), set, topology.AllowLowerRetention())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, s, set) // a plan that lowers nothing needs no consent
	if have := s.attributes(t, "orders")["MessageRetentionPeriod"]; have != "86400" {
		t.Errorf("the retention is %s", have)
	}
}
