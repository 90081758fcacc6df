package topology_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

// found returns the findings in short, without the namespace.
func found(list []topology.Finding, ns string) []string {
	lines := []string{}
	for _, f := range list {
		line := fmt.Sprintf("%s %s %s %s (%s)", f.Severity, f.Rule, f.Endpoint, f.Resource, f.Apply)
		lines = append(lines, strings.ReplaceAll(line, ns+"-", ""))
	}
	return lines
}

func check(t testing.TB, s *server, set *queue.Endpoints, cfg topology.CheckConfig) []topology.Finding {
	t.Helper()
	list, err := topology.Check(t.Context(), s.clients(), set, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Problem == "" || f.Remedy == "" || strings.Contains(f.String(), "%!") {
			t.Errorf("%+v lacks a text", f)
		}
	}
	return list
}

const account = "arn:aws:sqs:us-east-1:000000000000:"

// redrive is a RedrivePolicy on the emulator.
func redrive(to string, receives int) string {
	return fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, account+to, receives)
}

// Each rule finds what it is for, and what an apply would do about it.
func TestCheck(t *testing.T) {
	type queues []struct {
		name       string
		attributes map[string]string
	}
	const day, fortnight = "86400", "1209600"
	dlq := map[string]string{"MessageRetentionPeriod": fortnight}
	tests := []struct {
		name      string
		there     queues
		endpoints []queue.Endpoint
		cfg       topology.CheckConfig
		want      []string
		says      string // one of them
	}{
		{name: "nothing is there", endpoints: []queue.Endpoint{
			{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"},
		}, want: []string{"error missing a sqs://a (mends)", "error dead-letter-missing a sqs://dlq (mends)"}},
		{name: "all is well", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}}},
		{name: "the redrive policy is the service's alone", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a"}}},
		{name: "no redrive policy", there: queues{{"a", nil}}, endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a"}},
			want: []string{"error no-redrive-policy a sqs://a (leaves)"}, says: "until it is 4d old, and is lost then; set dead_letter, for example sqs://a-dlq"},
		{name: "a redrive policy only in configuration", there: queues{{"dlq", dlq}, {"a", nil}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"error no-redrive-policy a sqs://a (mends)"}},
		{name: "a queue to be made has none", endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a.fifo"}},
			want: []string{"error missing a sqs://a.fifo (mends)", "error no-redrive-policy a sqs://a.fifo (brings)"}, says: "sqs://a-dlq.fifo"},
		{name: "an endpoint that reads dead letters needs none", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "dead", URL: "sqs://dlq"}, {Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}}},
		{name: "nor does one of queues that configuration does not name", there: queues{{"dlq", dlq}, {"other", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "dead", URL: "sqs://dlq"}},
			want:      []string{"notice dead-letter-sources dead sqs://dlq (leaves)"}, says: "the dead letters of other, too"},
		{name: "another dead-letter queue", there: queues{{"old", dlq}, {"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("old", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"warning dead-letter-other a sqs://a (mends)"}, says: "names sqs://old, and the configuration sqs://dlq"},
		{name: "shorter than its source", there: queues{{"dlq", map[string]string{"MessageRetentionPeriod": day}}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"error dead-letter-retention a sqs://dlq (leaves)"}, says: "keeps dead letters for 1d, and sqs://a messages for 4d"},
		{name: "which configuration would mend", there: queues{{"dlq", map[string]string{"MessageRetentionPeriod": day}}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq", DeadLetterRetention: queue.DefaultDeadLetterRetention}},
			want:      []string{"error dead-letter-retention a sqs://dlq (mends)"}},
		{name: "which configuration would make", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq", DeadLetterRetention: time.Hour}},
			want:      []string{"error dead-letter-retention a sqs://dlq (brings)"}},
		{name: "as long as its source", there: queues{{"dlq", nil}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"warning dead-letter-retention a sqs://dlq (leaves)"}},
		{name: "longer, and not as long as can be", there: queues{{"dlq", map[string]string{"MessageRetentionPeriod": "432000"}}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"notice dead-letter-retention a sqs://dlq (leaves)"}, says: "keeps dead letters for 5d, and could for 14d"},
		{name: "a FIFO queue's letters start anew", there: queues{{"dlq.fifo", map[string]string{"MessageRetentionPeriod": day}}, {"a.fifo", map[string]string{"RedrivePolicy": redrive("dlq.fifo", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a.fifo", DeadLetter: "sqs://dlq.fifo"}},
			want:      []string{"warning dead-letter-retention a sqs://dlq.fifo (leaves)"}, says: "from their move"},
		{name: "as long, of a FIFO queue", there: queues{{"dlq.fifo", nil}, {"a.fifo", map[string]string{"RedrivePolicy": redrive("dlq.fifo", 2), "MessageRetentionPeriod": "345600"}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a.fifo", DeadLetter: "sqs://dlq.fifo"}},
			want:      []string{"notice dead-letter-retention a sqs://dlq.fifo (leaves)"}},
		{name: "one receive", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 1)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"warning max-receive-count a sqs://a (leaves)"}},
		{name: "one receive, to be", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq", MaxReceiveCount: 1}},
			want:      []string{"warning max-receive-count a sqs://a (brings)"}},
		{name: "too old before it is dead", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 10), "VisibilityTimeout": "43200"}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"warning receives-outlast-retention a sqs://a (leaves)"}, says: "10 receives that end by the visibility timeout of 12h take 5d"},
		{name: "the handler takes longer", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			cfg:       topology.CheckConfig{HandlerTimeouts: map[string]time.Duration{"a": 90*time.Second + time.Millisecond}},
			want:      []string{"warning visibility a sqs://a (leaves)"}, says: "set visibility to 1m31s or more"},
		{name: "the handler takes as long", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			cfg:       topology.CheckConfig{HandlerTimeouts: map[string]time.Duration{"a": queue.DefaultVisibility}}},
		{name: "payloads are refused", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq", Retention: 24 * time.Hour, DeadLetterRetention: 14 * 24 * time.Hour}},
			cfg:       topology.CheckConfig{PayloadsKept: 14 * 24 * time.Hour},
			want:      []string{"error payload-retention a sqs://a (leaves)"}, says: "have to last for 15d, and their store keeps them for 14d: what is too large for SQS cannot be published; have the lifecycle rule of the bucket, and payloads.expire_days, say 15 days or more"},
		{name: "payloads last just long enough", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5), "MessageRetentionPeriod": day}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq", Retention: 24 * time.Hour, DeadLetterRetention: 14 * 24 * time.Hour}},
			cfg:       topology.CheckConfig{PayloadsKept: 15 * 24 * time.Hour}},
		{name: "the queue keeps messages for longer than configured", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5), "MessageRetentionPeriod": fortnight}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq", Retention: 24 * time.Hour, DeadLetterRetention: 14 * 24 * time.Hour}},
			cfg:       topology.CheckConfig{PayloadsKept: 15 * 24 * time.Hour},
			want:      []string{"warning payload-retention a sqs://a (mends)"}, says: "messages last for up to 28d, in the queue and as dead letters, and payloads in their store for 15d"},
		{name: "payloads of a topic", there: queues{},
			endpoints: []queue.Endpoint{{Name: "t", URL: "sns://t"}},
			cfg:       topology.CheckConfig{PayloadsKept: 27 * 24 * time.Hour},
			want:      []string{"error missing t sns://t (mends)", "error payload-retention t sns://t (leaves)"}, says: "for 28d"},
		{name: "the dead-letter queue has one", there: queues{{"last", dlq}, {"dlq", map[string]string{"MessageRetentionPeriod": fortnight, "RedrivePolicy": redrive("last", 7)}}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"warning dead-letter-redrives a sqs://dlq (leaves)"}, says: "looked at 7 times moves on to sqs://last"},
		{name: "the dead-letter queue delays", there: queues{{"dlq", map[string]string{"MessageRetentionPeriod": fortnight, "DelaySeconds": "60"}}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"warning dead-letter-delay a sqs://dlq (leaves)"}, says: "for 1m"},
		{name: "the dead-letter queue takes less", there: queues{{"dlq", map[string]string{"MessageRetentionPeriod": fortnight, "MaximumMessageSize": "262144"}}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"error dead-letter-size a sqs://dlq (leaves)"}, says: "MaximumMessageSize to 1048576 or more"},
		{name: "the queue takes less", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5), "MaximumMessageSize": "262144"}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"warning message-size a sqs://a (leaves)"}},
		{name: "sources of different retention, one not named", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}, {"b", map[string]string{"RedrivePolicy": redrive("dlq", 5), "MessageRetentionPeriod": day}}, {"c", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}, {Name: "b", URL: "sqs://b", DeadLetter: "sqs://dlq"}},
			want:      []string{"notice dead-letter-sources a sqs://dlq (leaves)", "notice dead-letter-sources a sqs://dlq (leaves)"}, says: "different times (sqs://a for 4d, sqs://b for 1d)"},
		{name: "encrypted, and its dead letters are not", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5), "KmsMasterKeyId": "alias/fares"}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"warning dead-letter-encryption a sqs://dlq (leaves)"}},
		{name: "a delay that outlasts the retention", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 1), "DelaySeconds": "300", "MessageRetentionPeriod": "120"}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"error delay a sqs://a (leaves)", "warning max-receive-count a sqs://a (leaves)", "warning receives-outlast-retention a sqs://a (leaves)"}, says: "none is ever received"},
		{name: "a delay as long as the retention", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 2), "DelaySeconds": "900", "VisibilityTimeout": "0", "MessageRetentionPeriod": "900"}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"error delay a sqs://a (leaves)", "warning receives-outlast-retention a sqs://a (leaves)"}},
		{name: "a FIFO queue has no long delays", there: queues{{"dlq.fifo", dlq}, {"a.fifo", map[string]string{"RedrivePolicy": redrive("dlq.fifo", 5), "MessageRetentionPeriod": "900"}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a.fifo", DeadLetter: "sqs://dlq.fifo"}}},
		{name: "long delays cannot be met", there: queues{{"dlq", dlq}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5), "MessageRetentionPeriod": "900"}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"warning delay a sqs://a (leaves)"}, says: "set a retention of more than 15m"},
		{name: "denied by the dead-letter queue", there: queues{{"dlq", map[string]string{"MessageRetentionPeriod": fortnight}}, {"a", map[string]string{"RedrivePolicy": redrive("dlq", 5)}}, {"dlq", map[string]string{"RedriveAllowPolicy": `{"redrivePermission":"denyAll"}`}}},
			endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			want:      []string{"error dead-letter-refuses a sqs://a (leaves)"}, says: "change it to allowAll or byQueue"},
		{name: "a conflict", endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://b"}, {Name: "b", URL: "sqs://b", DeadLetter: "sqs://a"}},
			want: []string{
				"error conflict a sqs://a (refuses)", "error dead-letter-ring a sqs://a (brings)", "error missing a sqs://a (mends)",
				"error conflict b sqs://b (refuses)", "error dead-letter-ring b sqs://b (brings)", "error missing b sqs://b (mends)",
			}},
		{name: "a missing queue of another account", endpoints: []queue.Endpoint{{Name: "a", URL: "sqs://123456789012/a"}, {Name: "k", URL: "kafka://k"}},
			want: []string{"error missing a sqs://123456789012/a (leaves)"}, says: "have account 123456789012 make it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := embedded()
			made := map[string]bool{}
			for _, q := range tt.there {
				attributes := map[string]string{}
				for name, value := range q.attributes {
					attributes[name] = value
				}
				if strings.HasSuffix(q.name, ".fifo") {
					attributes["FifoQueue"] = "true"
				}
				if made[q.name] {
					s.set(t, q.name, attributes)
				} else {
					s.create(t, q.name, attributes)
				}
				made[q.name] = true
			}
			list := check(t, s, endpoints(t, "", tt.endpoints...), tt.cfg)
			equal(t, found(list, "no namespace"), tt.want)
			if tt.says != "" && !slices.ContainsFunc(list, func(f topology.Finding) bool { return strings.Contains(f.String(), tt.says) }) {
				t.Errorf("%v does not say %s", list, tt.says)
			}
		})
	}
}

// deny has an emulator refuse what a test says, as IAM does.
func (s *server) deny(calls func(emulator.Request) bool) {
	s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if calls(r) {
			f.Err = &emulator.Error{Code: "AccessDenied", Message: "no", Status: 403}
		}
		return f
	})
}

// What may not be looked at is said, and the rest is judged.
func TestCheckDenied(t *testing.T) {
	s := embedded()
	set := endpoints(t, "",
		queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq", DeadLetterRetention: time.Hour, Retention: 2 * time.Hour},
		queue.Endpoint{Name: "b", URL: "sqs://b"},
		queue.Endpoint{Name: "t", URL: "sns://t", Subscriptions: []queue.Subscription{{Endpoint: "a"}}})
	apply(t, s, set)
	for name, tt := range map[string]struct {
		deny func(emulator.Request) bool
		want []string
	}{
		"nothing": {func(emulator.Request) bool { return false }, []string{
			"error dead-letter-retention a sqs://dlq (leaves)", "error no-redrive-policy b sqs://b (leaves)"}},
		"a queue": {func(r emulator.Request) bool { return r.Resource == "a" }, []string{
			"error dead-letter-retention a sqs://dlq (brings)", "error no-redrive-policy b sqs://b (leaves)", "warning unreadable a sqs://a (leaves)"}},
		"a dead-letter queue": {func(r emulator.Request) bool { return r.Resource == "dlq" }, []string{
			"error dead-letter-retention a sqs://dlq (brings)", "error no-redrive-policy b sqs://b (leaves)", "warning unreadable a sqs://dlq (leaves)"}},
		"attributes": {func(r emulator.Request) bool { return r.Operation == "GetQueueAttributes" && r.Resource == "b" }, []string{
			"error dead-letter-retention a sqs://dlq (leaves)", "warning unreadable b sqs://b (leaves)"}},
		"sources": {func(r emulator.Request) bool {
			return r.Operation == "ListDeadLetterSourceQueues" && r.Resource == "dlq"
		}, []string{
			"error dead-letter-retention a sqs://dlq (leaves)", "error no-redrive-policy b sqs://b (leaves)", "notice unreadable a sqs://dlq (leaves)"}},
		"topics": {func(r emulator.Request) bool { return r.Service == "sns" }, []string{
			"error dead-letter-retention a sqs://dlq (leaves)", "error no-redrive-policy b sqs://b (leaves)", "warning unreadable t sns://t (leaves)"}},
		"all": {func(emulator.Request) bool { return true }, []string{
			"error dead-letter-retention a sqs://dlq (brings)", "warning unreadable a sqs://a (leaves)", "warning unreadable a sqs://dlq (leaves)",
			"warning unreadable b sqs://b (leaves)", "warning unreadable t sns://t (leaves)"}},
	} {
		s.deny(tt.deny)
		t.Run(name, func(t *testing.T) {
			equal(t, found(check(t, s, set, topology.CheckConfig{}), "no namespace"), tt.want)
		})
	}
}

// A visibility timeout that is not known is not judged.
func TestCheckDeniedVisibility(t *testing.T) {
	s := embedded()
	set := endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"})
	apply(t, s, set)
	s.deny(func(r emulator.Request) bool { return r.Resource == "a" })
	list := check(t, s, set, topology.CheckConfig{HandlerTimeouts: map[string]time.Duration{"a": time.Hour}})
	equal(t, found(list, "no namespace"), []string{"warning unreadable a sqs://a (leaves)"})
}

// That the service cannot be asked, or that a name is wrong, is an error.
func TestCheckFails(t *testing.T) {
	s := embedded()
	set := endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}, queue.Endpoint{Name: "t", URL: "sns://t"})
	apply(t, s, set)
	for _, operation := range []string{"GetQueueUrl", "GetQueueAttributes", "ListDeadLetterSourceQueues", "ListTopics"} {
		s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
			if r.Operation == operation {
				f.Err = &emulator.Error{Code: "InvalidClientTokenId", Message: "who?", Status: 403}
			}
			return f
		})
		if list, err := topology.Check(t.Context(), s.clients(), set, topology.CheckConfig{}); err == nil || !strings.Contains(err.Error(), operation) {
			t.Errorf("%s failed: %v, %v", operation, list, err)
		}
	}
	s.emulator.SetFault(nil)
	for want, timeouts := range map[string]map[string]time.Duration{
		`"b", which is no endpoint of a queue; want one of ["a"]`: {"b": time.Second},
		`"t", which is no endpoint of a queue`:                    {"t": time.Second},
		`of "a" is -1s`:                                           {"a": -time.Second},
	} {
		_, err := topology.Check(t.Context(), s.clients(), set, topology.CheckConfig{HandlerTimeouts: timeouts})
		if !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := topology.Check(t.Context(), topology.Clients{}, set, topology.CheckConfig{}); err == nil || !strings.Contains(err.Error(), "is nil") {
		t.Errorf("without clients: %v", err)
	}
	if list, err := topology.Check(t.Context(), topology.Clients{}, nil, topology.CheckConfig{}); err != nil || list == nil || len(list) != 0 {
		t.Errorf("check of nothing: %v, %v", list, err)
	}
}

// A redrive policy that names a queue which is gone buries nothing.
func TestCheckDeletedDeadLetterQueue(t *testing.T) {
	s := embedded()
	s.create(t, "dlq", nil)
	s.create(t, "a", map[string]string{"RedrivePolicy": redrive("dlq", 5)})
	if _, err := s.sqs.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: aws.String(s.queueURL(t, "dlq"))}); err != nil {
		t.Fatal(err)
	}
	for want, e := range map[string]queue.Endpoint{
		"error dead-letter-missing a sqs://dlq (leaves)": {Name: "a", URL: "sqs://a"},
		"error dead-letter-missing a sqs://dlq (mends)":  {Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"},
	} {
		equal(t, found(check(t, s, endpoints(t, "", e), topology.CheckConfig{}), "no namespace"), []string{want})
	}
}

// Redrive policies that lead back to their queue are told of all its endpoints.
func TestCheckRing(t *testing.T) {
	s := embedded()
	s.create(t, "b", map[string]string{"MessageRetentionPeriod": "1209600"})
	s.create(t, "a", map[string]string{"MessageRetentionPeriod": "1209600", "RedrivePolicy": redrive("b", 5)})
	s.set(t, "b", map[string]string{"RedrivePolicy": redrive("a", 5)})
	equal(t, found(check(t, s, endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a"}), topology.CheckConfig{}), "no namespace"), []string{
		"error dead-letter-ring a sqs://a (leaves)", "error dead-letter-ring a sqs://b (leaves)",
	})
	s.create(t, "c", map[string]string{"MessageRetentionPeriod": "1209600", "RedrivePolicy": redrive("a", 5)}) // leads there, and is none itself
	equal(t, found(check(t, s, endpoints(t, "", queue.Endpoint{Name: "c", URL: "sqs://c"}), topology.CheckConfig{}), "no namespace"), []string{
		"error dead-letter-ring c sqs://a (leaves)", "error dead-letter-ring c sqs://b (leaves)",
	})
}

// What a topic cannot deliver goes nowhere at all.
func TestCheckSubscriptions(t *testing.T) {
	s := embedded()
	s.create(t, "dlq", map[string]string{"MessageRetentionPeriod": "1209600"})
	s.create(t, "a", map[string]string{"RedrivePolicy": redrive("dlq", 5)})
	set := endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a"}, queue.Endpoint{Name: "t", URL: "sns://t", Subscriptions: []queue.Subscription{{Endpoint: "a"}}})
	is := func(want ...string) {
		t.Helper()
		equal(t, found(check(t, s, set, topology.CheckConfig{}), "no namespace"), want)
	}
	is("error missing t sns://t (mends)")
	if _, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")}); err != nil {
		t.Fatal(err)
	}
	is("error not-subscribed t sns://t -> sqs://a (mends)", "error queue-refuses-topic t sns://t -> sqs://a (mends)")
	apply(t, s, set)
	is()
	s.set(t, "dlq", map[string]string{"KmsMasterKeyId": "alias/fares"})
	s.set(t, "a", map[string]string{"KmsMasterKeyId": "alias/fares"})
	is("notice encrypted-subscription t sns://t -> sqs://a (leaves)")
	for _, key := range []string{"alias/aws/sqs", "arn:aws:kms:us-east-1:000000000000:alias/aws/sqs"} {
		s.set(t, "a", map[string]string{"KmsMasterKeyId": key})
		is("error encrypted-subscription t sns://t -> sqs://a (leaves)")
	}
	s.deny(func(r emulator.Request) bool { return r.Resource == "dlq" }) // which may be encrypted, too
	is("error encrypted-subscription t sns://t -> sqs://a (leaves)", "warning unreadable a sqs://dlq (leaves)")
}

// It is the same on real servers.
func TestCheckOnServers(t *testing.T) {
	on(t, func(t *testing.T, s *server, ns string) {
		s.create(t, ns+"-dlq", map[string]string{"MessageRetentionPeriod": "86400", "DelaySeconds": "5", "MaximumMessageSize": "2048"})
		s.create(t, ns+"-fares", map[string]string{"VisibilityTimeout": "20", "MaximumMessageSize": "4096"})
		s.create(t, ns+"-bare", nil)
		arn := s.attributes(t, ns+"-dlq")["QueueArn"]
		s.set(t, ns+"-fares", map[string]string{"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":1}`, arn)})
		set := endpoints(t, ns,
			queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://dlq", MaxMessageSize: 4096},
			queue.Endpoint{Name: "bare", URL: "sqs://bare", MaxMessageSize: 1024}, queue.Endpoint{Name: "gone", URL: "sqs://gone", DeadLetter: "sqs://dlq"},
			queue.Endpoint{Name: "rides", URL: "sns://rides"})
		got := found(check(t, s, set, topology.CheckConfig{HandlerTimeouts: map[string]time.Duration{"fares": time.Minute}}), ns)
		equal(t, got, []string{
			"error no-redrive-policy bare sqs://bare (leaves)",
			"error dead-letter-retention fares sqs://dlq (leaves)",
			"error dead-letter-size fares sqs://dlq (leaves)",
			"error dead-letter-retention gone sqs://dlq (brings)",
			"error missing gone sqs://gone (mends)",
			"error missing rides sns://rides (mends)",
			"warning dead-letter-delay fares sqs://dlq (leaves)",
			"warning max-receive-count fares sqs://fares (leaves)",
			"warning visibility fares sqs://fares (leaves)",
		})
	})
}

// A client that shows other attributes, and cannot tell whose dead letters a queue
// takes.
type otherAttributes struct {
	topology.SQS
	attributes map[string]string
}

func (o otherAttributes) GetQueueAttributes(ctx context.Context, in *sqs.GetQueueAttributesInput, opts ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	out, err := o.SQS.GetQueueAttributes(ctx, in, opts...)
	if err == nil && strings.HasSuffix(*in.QueueUrl, "/a.fifo") {
		maps.Copy(out.Attributes, o.attributes)
	}
	return out, err
}

// SQS itself refuses such a policy; not every server does.
func TestCheckTypes(t *testing.T) {
	s := embedded()
	s.create(t, "dlq", map[string]string{"MessageRetentionPeriod": "1209600"})
	s.create(t, "a.fifo", map[string]string{"FifoQueue": "true"})
	clients := s.clients()
	clients.SQS = otherAttributes{clients.SQS, map[string]string{"RedrivePolicy": redrive("dlq", 5)}}
	list, err := topology.Check(t.Context(), clients, endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a.fifo"}), topology.CheckConfig{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, found(list, "no namespace"), []string{"error dead-letter-type a sqs://dlq (leaves)"})
}

// A dead-letter queue may let some queues only have their dead letters there.
func TestCheckRedriveAllowPolicy(t *testing.T) {
	s := embedded()
	s.create(t, "dlq", map[string]string{"MessageRetentionPeriod": "1209600"})
	for _, name := range []string{"a", "b"} {
		s.create(t, name, map[string]string{"RedrivePolicy": redrive("dlq", 5)})
	}
	s.set(t, "dlq", map[string]string{"RedriveAllowPolicy": `{"redrivePermission":"byQueue","sourceQueueArns":["` + account + `b"]}`})
	list := check(t, s, endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a"}, queue.Endpoint{Name: "b", URL: "sqs://b"}), topology.CheckConfig{})
	equal(t, found(list, "no namespace"), []string{"error dead-letter-refuses a sqs://a (leaves)"})
	if !strings.Contains(list[0].String(), "add it to sourceQueueArns") {
		t.Error(list[0])
	}
}

func TestSeverity(t *testing.T) {
	for _, tt := range []struct {
		a, b topology.Severity
		want bool
	}{
		{topology.SeverityError, topology.SeverityNotice, true}, {topology.SeverityWarning, topology.SeverityWarning, true},
		{topology.SeverityNotice, topology.SeverityWarning, false},
	} {
		if got := tt.a.AtLeast(tt.b); got != tt.want {
			t.Errorf("%s at least %s: %t", tt.a, tt.b, got)
		}
	}
}
