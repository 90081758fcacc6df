package topology_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

// Each rule has a name of its own.
func TestRules(t *testing.T) {
	all := topology.Rules()
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != len(topology.Rules()) || n < 20 || slices.Contains(all, "") {
		t.Errorf("the rules are %v", topology.Rules())
	}
}

// A configuration may have several conflicts, with one thing or with another.
func TestCheckConflicts(t *testing.T) {
	s := embedded()
	set := endpoints(t, "",
		queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"},
		queue.Endpoint{Name: "b", URL: "sqs://b.fifo", DeadLetter: "sqs://dlq.fifo"},
		queue.Endpoint{Name: "t", URL: "sns://t", Subscriptions: []queue.Subscription{{Endpoint: "a"}, {Endpoint: "a"}, {Endpoint: "b"}, {Endpoint: "b"}}})
	var got []string
	for _, f := range check(t, s, set, topology.CheckConfig{}) {
		if f.Rule == topology.RuleConflict {
			got = append(got, f.Resource+" "+f.Endpoint+": "+f.Remedy)
		}
	}
	equal(t, got, []string{
		"sns://t -> sqs://a t: a topic delivers to a queue once, so make it one subscription, with a filter that has $or",
		"sns://t -> sqs://b.fifo t: name the topic t.fifo",
		"sns://t -> sqs://b.fifo t: a topic delivers to a queue once, so make it one subscription, with a filter that has $or",
	})
}

// A dead-letter queue that configuration does not name may be one that the
// credentials may not see.
func TestCheckBeyondIsDenied(t *testing.T) {
	s := embedded()
	s.create(t, "dlq", nil)
	s.create(t, "a", map[string]string{"RedrivePolicy": redrive("dlq", 5)})
	set := endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a"})
	s.deny(func(r emulator.Request) bool { return r.Resource == "dlq" })
	equal(t, found(check(t, s, set, topology.CheckConfig{}), "no namespace"), []string{"warning unreadable a sqs://dlq (leaves)"})
	s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Resource == "dlq" {
			f.Err = &emulator.Error{Code: "InvalidClientTokenId", Message: "who?", Status: 403}
		}
		return f
	})
	if list, err := topology.Check(t.Context(), s.clients(), set, topology.CheckConfig{}); err == nil {
		t.Errorf("found %v", list)
	}
}

// A server may lack the call that tells whose dead letters a queue takes.
func TestCheckWithoutSources(t *testing.T) {
	s := embedded()
	s.create(t, "dlq", map[string]string{"MessageRetentionPeriod": "1209600"})
	s.create(t, "other", map[string]string{"RedrivePolicy": redrive("dlq", 5)})
	s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Operation == "ListDeadLetterSourceQueues" {
			f.Err = &emulator.Error{Code: "UnknownOperationException", Message: "what?", Status: 400}
		}
		return f
	})
	equal(t, found(check(t, s, endpoints(t, "", queue.Endpoint{Name: "d", URL: "sqs://dlq"}), topology.CheckConfig{}), "no namespace"),
		[]string{"error no-redrive-policy d sqs://dlq (leaves)"})
}

// Queues of one name in two regions are two.
func TestCheckSites(t *testing.T) {
	s := embedded()
	set := endpoints(t, "", queue.Endpoint{Name: "here", URL: "sqs://q", DeadLetter: "sqs://dlq"}, queue.Endpoint{Name: "there", URL: "sqs://q", Region: "eu-west-1"})
	apply(t, s, set)
	equal(t, found(check(t, s, set, topology.CheckConfig{}), "no namespace"), []string{"error no-redrive-policy there sqs://q (leaves)"})
}

// Nor are those of two servers the same that have the same ARN.
func TestCheckServersApart(t *testing.T) {
	servers := map[string]*server{"http://one.test": embedded(), "http://two.test": embedded()}
	for url, s := range servers {
		s.create(t, "dlq", map[string]string{"MessageRetentionPeriod": map[bool]string{true: "3600", false: "1209600"}[url == "http://two.test"]})
		s.create(t, "q", map[string]string{"RedrivePolicy": redrive("dlq", 5)})
	}
	clients := topology.Clients{For: func(e queue.Endpoint) topology.Clients { return servers[e.EndpointURL].clients() }}
	list, err := topology.Check(t.Context(), clients, endpoints(t, "",
		queue.Endpoint{Name: "one", URL: "sqs://q", EndpointURL: "http://one.test"}, queue.Endpoint{Name: "two", URL: "sqs://q", EndpointURL: "http://two.test"}), topology.CheckConfig{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, found(list, "no namespace"), []string{"error dead-letter-retention two sqs://dlq (leaves)"})
}

// unconfirmed shows every subscription as one that waits.
type unconfirmed struct{ topology.SNS }

func (u unconfirmed) ListSubscriptionsByTopic(ctx context.Context, in *sns.ListSubscriptionsByTopicInput, opts ...func(*sns.Options)) (*sns.ListSubscriptionsByTopicOutput, error) {
	out, err := u.SNS.ListSubscriptionsByTopic(ctx, in, opts...)
	if err == nil {
		for i := range out.Subscriptions {
			out.Subscriptions[i].SubscriptionArn = aws.String("PendingConfirmation")
		}
	}
	return out, err
}

func TestCheckUnconfirmed(t *testing.T) {
	s := embedded()
	set := endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}, queue.Endpoint{Name: "t", URL: "sns://t", Subscriptions: []queue.Subscription{{Endpoint: "a"}}})
	apply(t, s, set)
	clients := s.clients()
	clients.SNS = unconfirmed{clients.SNS}
	list, err := topology.Check(t.Context(), clients, set, topology.CheckConfig{})
	if err != nil || len(list) != 1 || list[0].Rule != topology.RuleNotSubscribed || list[0].Apply != topology.Leaves || !strings.Contains(list[0].Problem, "waits to be confirmed") {
		t.Errorf("found %v, %v", list, err)
	}
}

// A policy of the queue that cannot be read is not for a check to judge.
func TestCheckUnreadablePolicy(t *testing.T) {
	s := embedded()
	set := endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}, queue.Endpoint{Name: "t", URL: "sns://t", Subscriptions: []queue.Subscription{{Endpoint: "a"}}})
	apply(t, s, set)
	s.set(t, "a", map[string]string{"Policy": "[]"})
	equal(t, found(check(t, s, set, topology.CheckConfig{}), "no namespace"), nil)
}

// What a server does not tell is not judged: ElasticMQ has no retention, no size of
// messages, and no topics.
func TestCheckOnElasticMQ(t *testing.T) {
	url, ok := testserver.ElasticMQ(t)
	if !ok {
		return
	}
	s, ns := newServer(aws.Config{BaseEndpoint: aws.String(url)}), testserver.Namespace(t)
	s.create(t, ns+"-dlq", map[string]string{"MessageRetentionPeriod": "86400", "DelaySeconds": "5"})
	s.create(t, ns+"-bare", nil)
	s.create(t, ns+"-fares", map[string]string{"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":1}`, s.attributes(t, ns+"-dlq")["QueueArn"])})
	for _, dead := range []string{"", "sqs://dlq"} { // by its redrive policy, and by configuration
		list, err := topology.Check(t.Context(), topology.Clients{SQS: s.sqs}, endpoints(t, ns,
			queue.Endpoint{Name: "bare", URL: "sqs://bare"}, queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: dead}), topology.CheckConfig{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, found(list, ns), []string{
			"error no-redrive-policy bare sqs://bare (leaves)",
			"warning dead-letter-delay fares sqs://dlq (leaves)",
			"warning max-receive-count fares sqs://fares (leaves)",
		})
		if !strings.Contains(list[0].Problem, "until it is too old, and is lost then") {
			t.Error(list[0])
		}
	}
}

// ElasticMQ, which names its errors in full, has its queues made, and they are kept.
func TestApplyOnElasticMQ(t *testing.T) {
	url, ok := testserver.ElasticMQ(t)
	if !ok {
		return
	}
	s := newServer(aws.Config{BaseEndpoint: aws.String(url)})
	set := endpoints(t, testserver.Namespace(t), queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"})
	for i, want := range []topology.Action{topology.Create, topology.Keep} {
		p, err := topology.NewPlan(t.Context(), topology.Clients{SQS: s.sqs}, set)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Steps() {
			if c.Action != want {
				t.Errorf("plan %d: %+v, want %s", i+1, c, want)
			}
		}
		if err := p.Apply(t.Context()); err != nil || len(p.Steps()) != 2 {
			t.Fatal(p.Steps(), err)
		}
	}
}
