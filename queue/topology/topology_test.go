package topology_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

var fresh = []string{
	"create queue sqs://dlq (dead letters of accounting, dead letters of extraordinary): MessageRetentionPeriod 1209600",
	"create queue sqs://accounting (endpoint accounting): MessageRetentionPeriod 345600, VisibilityTimeout 45, DelaySeconds 0, RedrivePolicy dlq after 3 receives",
	"create queue sqs://extraordinary (endpoint extraordinary): MessageRetentionPeriod 345600, VisibilityTimeout 30, DelaySeconds 5, RedrivePolicy dlq after 5 receives",
	"create topic sns://rides (endpoint rides)",
	"create permission sns://rides -> sqs://accounting (endpoint rides delivers to accounting)",
	"create subscription sns://rides -> sqs://accounting (endpoint rides delivers to accounting): RawMessageDelivery true",
	"create permission sns://rides -> sqs://extraordinary (endpoint rides delivers to extraordinary)",
	`create subscription sns://rides -> sqs://extraordinary (endpoint rides delivers to extraordinary): RawMessageDelivery false, FilterPolicy {"fare":[{"numeric":[">=",50]}]}`,
}

func TestFreshApply(t *testing.T) {
	on(t, func(t *testing.T, s *server, ns string) {
		set := endpoints(t, ns, rides()...)
		p := plan(t, s, set)
		equal(t, lines(p, ns), fresh)
		if p.Changes() != len(fresh) {
			t.Errorf("%d changes, want %d", p.Changes(), len(fresh))
		}
		equal(t, lines(plan(t, s, set), ns), fresh) // planning made nothing

		var done []string
		p.OnStep = func(step topology.Step) { done = append(done, strings.ReplaceAll(step.String(), ns+"-", "")) }
		if err := p.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		equal(t, done, fresh)
		settled(t, s, set)

		have := s.attributes(t, ns+"-accounting")
		for name, want := range map[string]string{"VisibilityTimeout": "45", "MessageRetentionPeriod": "345600", "DelaySeconds": "0"} {
			if have[name] != want {
				t.Errorf("%s is %s, want %s", name, have[name], want)
			}
		}
		if got := s.attributes(t, ns+"-dlq")["MessageRetentionPeriod"]; got != "1209600" {
			t.Errorf("the dead-letter queue keeps messages for %s s, want 14 days", got)
		}
	})
}

// What is made works: a message of the topic arrives where it should, in the
// form it should have.
func TestDelivery(t *testing.T) {
	on(t, func(t *testing.T, s *server, ns string) {
		list := rides()
		list[2].Delay = 0
		apply(t, s, endpoints(t, ns, list...))
		topics, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(ns + "-rides")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.sns.Publish(t.Context(), &sns.PublishInput{TopicArn: topics.TopicArn, Message: aws.String("hello")}); err != nil {
			t.Fatal(err)
		}
		receive := func(name string, wait int32) []sqstypes.Message {
			out, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(s.queueURL(t, ns+"-"+name)), WaitTimeSeconds: wait})
			if err != nil {
				t.Fatal(err)
			}
			return out.Messages
		}
		if got := receive("accounting", 10); len(got) != 1 || *got[0].Body != "hello" {
			t.Errorf("accounting received %d messages, want hello, raw", len(got))
		}
		if got := receive("extraordinary", 1); len(got) != 0 {
			t.Errorf("extraordinary received %s, want nothing past its filter", *got[0].Body)
		}
	})
}

func TestDriftIsFixed(t *testing.T) {
	on(t, func(t *testing.T, s *server, ns string) {
		set := endpoints(t, ns, rides()...)
		apply(t, s, set)
		s.set(t, ns+"-accounting", map[string]string{"VisibilityTimeout": "10", "MessageRetentionPeriod": "60"})
		s.create(t, ns+"-other", nil)
		s.set(t, ns+"-extraordinary", map[string]string{
			"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"9"}`, s.attributes(t, ns+"-other")["QueueArn"]),
		})
		changed := rides()
		changed[0].Subscriptions[0] = queue.Subscription{Endpoint: "accounting", Enveloped: true,
			Filter: json.RawMessage(`{"a":{"b":["c"]}}`), FilterScope: queue.FilterBody}
		changed[0].Subscriptions[1].Filter = nil
		set = endpoints(t, ns, changed...)
		p := plan(t, s, set)
		permission := "keep"
		if s.forgetsPolicy {
			permission = "create"
		}
		equal(t, lines(p, ns), []string{
			"keep queue sqs://dlq (dead letters of accounting, dead letters of extraordinary)",
			"change queue sqs://accounting (endpoint accounting): MessageRetentionPeriod 60 -> 345600, VisibilityTimeout 10 -> 45",
			"change queue sqs://extraordinary (endpoint extraordinary): RedrivePolicy other after 9 receives -> dlq after 5 receives",
			"keep topic sns://rides (endpoint rides)",
			permission + " permission sns://rides -> sqs://accounting (endpoint rides delivers to accounting)",
			`change subscription sns://rides -> sqs://accounting (endpoint rides delivers to accounting): RawMessageDelivery true -> false, FilterPolicyScope MessageBody, FilterPolicy {"a":{"b":["c"]}}`,
			permission + " permission sns://rides -> sqs://extraordinary (endpoint rides delivers to extraordinary)",
			`change subscription sns://rides -> sqs://extraordinary (endpoint rides delivers to extraordinary): FilterPolicy {"fare":[{"numeric":[">=",50]}]} -> `,
		})
		if err := p.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled(t, s, set)

		// And from the body back to the attributes.
		set = endpoints(t, ns, rides()...)
		apply(t, s, set)
	})
}

// What is there is adopted: attributes that configuration does not know stay.
func TestAdopt(t *testing.T) {
	on(t, func(t *testing.T, s *server, ns string) {
		s.create(t, ns+"-accounting", map[string]string{"VisibilityTimeout": "77", "ReceiveMessageWaitTimeSeconds": "7", "MaximumMessageSize": "2048"})
		if _, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{
			Name: aws.String(ns + "-rides"), Attributes: map[string]string{"DisplayName": "Rides"},
		}); err != nil {
			t.Fatal(err)
		}
		set := endpoints(t, ns,
			queue.Endpoint{Name: "accounting", URL: "sqs://accounting", Visibility: 30 * time.Second},
			queue.Endpoint{Name: "rides", URL: "sns://rides"})
		p := plan(t, s, set)
		equal(t, lines(p, ns), []string{
			"adopt queue sqs://accounting (endpoint accounting): VisibilityTimeout 77 -> 30",
			"adopt topic sns://rides (endpoint rides)",
		})
		if err := p.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled(t, s, set)
		have := s.attributes(t, ns+"-accounting")
		if have["ReceiveMessageWaitTimeSeconds"] != "7" || have["MaximumMessageSize"] != "2048" {
			t.Errorf("attributes of others were changed: %v", have)
		}
	})
}

// Where configuration has no dead-letter queue, the queue's own stays.
func TestRedrivePolicyIsKept(t *testing.T) {
	on(t, func(t *testing.T, s *server, ns string) {
		s.create(t, ns+"-dlq", nil)
		policy := fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":4}`, s.attributes(t, ns+"-dlq")["QueueArn"])
		s.create(t, ns+"-q", map[string]string{"RedrivePolicy": policy})
		before := s.attributes(t, ns+"-q")["RedrivePolicy"]
		apply(t, s, endpoints(t, ns, queue.Endpoint{Name: "q", URL: "sqs://q"}))
		if after := s.attributes(t, ns+"-q")["RedrivePolicy"]; after != before || before == "" {
			t.Errorf("redrive policy is %s, was %s", after, before)
		}
	})
}

type policyDocument struct {
	ID        string `json:"Id"`
	Statement []map[string]any
}

func (s *server) policy(t testing.TB, name string) policyDocument {
	t.Helper()
	var d policyDocument
	if err := json.Unmarshal([]byte(s.attributes(t, name)["Policy"]), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Two topics on one queue both stay allowed, and so does whoever was before.
func TestPolicyMerges(t *testing.T) {
	on(t, func(t *testing.T, s *server, ns string) {
		s.create(t, ns+"-q", nil)
		arn := s.attributes(t, ns+"-q")["QueueArn"]
		s.set(t, ns+"-q", map[string]string{"Policy": fmt.Sprintf(
			`{"Version":"2012-10-17","Id":"theirs","Statement":{"Sid":"Theirs","Effect":"Allow","Principal":{"AWS":"*"},"Action":["sqs:ReceiveMessage"],"Resource":%q}}`, arn)})
		topic := func(name string) queue.Endpoint {
			return queue.Endpoint{Name: name, URL: "sns://" + name, Subscriptions: []queue.Subscription{{Endpoint: "q"}}}
		}
		q := queue.Endpoint{Name: "q", URL: "sqs://q"}
		apply(t, s, endpoints(t, ns, q, topic("a"), topic("b")))
		apply(t, s, endpoints(t, ns, q, topic("c"))) // a and b are configured no more, and stay

		d := s.policy(t, ns+"-q")
		if d.ID != "theirs" || len(d.Statement) != 4 || d.Statement[0]["Sid"] != "Theirs" {
			t.Fatalf("policy is %+v, want theirs and three of ours", d)
		}
		text := s.attributes(t, ns+"-q")["Policy"]
		for _, name := range []string{"a", "b", "c"} {
			if strings.Count(text, fmt.Sprintf(`:%s-%s"`, ns, name)) != 1 {
				t.Errorf("topic %s is not allowed once in %s", name, text)
			}
		}
	})
}

// A statement that somebody else wrote and that says the same is enough; one
// of ours that was tampered with is restored.
func TestPolicyStatements(t *testing.T) {
	s := embedded()
	set := endpoints(t, "", queue.Endpoint{Name: "q", URL: "sqs://q"},
		queue.Endpoint{Name: "t", URL: "sns://t", Subscriptions: []queue.Subscription{{Endpoint: "q"}}})
	apply(t, s, set)
	text := s.attributes(t, "q")["Policy"]
	ours := s.policy(t, "q").Statement[0]["Sid"].(string)

	foreign := strings.NewReplacer(ours, "Terraform", `"sqs:SendMessage"`, `["SQS:SendMessage"]`).Replace(text)
	s.set(t, "q", map[string]string{"Policy": foreign})
	settled(t, s, set)

	s.set(t, "q", map[string]string{"Policy": strings.Replace(text, "Allow", "Deny", 1)})
	steps := plan(t, s, set).Steps()
	if got := steps[2]; got.Kind != topology.KindPermission || got.Action != topology.Change {
		t.Errorf("step is %v, want to change the permission", got)
	}
	apply(t, s, set)
	if d := s.policy(t, "q"); len(d.Statement) != 1 || d.Statement[0]["Effect"] != "Allow" {
		t.Errorf("policy is %+v", d)
	}
}

// Whatever request fails, the next apply finishes the work.
func TestPartialFailure(t *testing.T) {
	for n := 1; ; n++ {
		s := embedded()
		set := endpoints(t, "", rides()...)
		p := plan(t, s, set)
		count := 0
		s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
			if count++; count == n {
				f.Err = &emulator.Error{Code: "AccessDenied", Message: "not now", Status: 403}
			}
			return f
		})
		err := p.Apply(t.Context())
		s.emulator.SetFault(nil)
		if err == nil {
			if n < 10 {
				t.Fatalf("an apply takes %d requests, want more", n-1)
			}
			return
		}
		var failure *topology.ApplyError
		if !errors.As(err, &failure) || failure.Left != len(fresh)-failure.Done || failure.Left < 1 || !strings.Contains(err.Error(), "apply again") {
			t.Fatalf("failure of request %d: %v", n, err)
		}
		apply(t, s, set)
	}
}

// An answer that is lost is asked for again by the SDK, and does no harm.
func TestLostAnswers(t *testing.T) {
	s := embedded()
	set := endpoints(t, "", rides()...)
	p := plan(t, s, set)
	lost := map[string]bool{}
	s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if key := r.Operation + r.Resource; !lost[key] {
			lost[key], f.DropAnswer = true, true
		}
		return f
	})
	if err := p.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.emulator.SetFault(nil)
	settled(t, s, set)
}

func TestCancel(t *testing.T) {
	s := embedded()
	p := plan(t, s, endpoints(t, "", rides()...))
	ctx, cancel := contextWithCancel(t)
	p.OnStep = func(topology.Step) { cancel() }
	var failure *topology.ApplyError
	if err := p.Apply(ctx); !errors.As(err, &failure) || failure.Done != 1 || failure.Left != len(fresh)-1 {
		t.Errorf("got %v, want 1 step done", err)
	}
}

func TestUnsupportedTags(t *testing.T) {
	s := embedded()
	s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if strings.Contains(r.Operation, "Tag") {
			f.Err = &emulator.Error{Code: "InvalidAction", Message: "no such action", Status: 400}
		}
		return f
	})
	apply(t, s, endpoints(t, "", rides()...))
}

// A server that fails to tell the tags has some: what is there is not taken for
// managed, and a tag that could not be set is no success.
func TestFailureToTag(t *testing.T) {
	for _, operation := range []string{"ListQueueTags", "ListTagsForResource", "TagQueue", "TagResource"} {
		t.Run(operation, func(t *testing.T) {
			s := embedded()
			s.create(t, "accounting", nil)
			if _, err := s.sns.CreateTopic(t.Context(), newTopic("rides")); err != nil {
				t.Fatal(err)
			}
			s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
				if r.Operation == operation {
					f.Err = &emulator.Error{Code: "InternalFailure", Message: "We failed.", Status: 500}
				}
				return f
			})
			p, err := topology.NewPlan(t.Context(), s.clients(), endpoints(t, "", rides()...))
			if err == nil {
				err = p.Apply(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), operation) || !strings.Contains(err.Error(), "InternalFailure") {
				t.Errorf("got %v, want the failure of %s", err, operation)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	s := embedded()
	list := append(rides(), queue.Endpoint{Name: "other", URL: "nats://subject"})
	set := endpoints(t, "", list...)
	for _, st := range plan(t, s, set).Status() {
		if want := topology.Missing; st.State != want && st.Endpoint != "other" {
			t.Errorf("%s is %s, want %s", st.Endpoint, st.State, want)
		}
	}
	apply(t, s, set)
	for i := range 3 {
		if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(s.queueURL(t, "dlq")), MessageBody: aws.String(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	s.set(t, "extraordinary", map[string]string{"VisibilityTimeout": "1"})
	var got []string
	for _, st := range plan(t, s, set).Status() {
		got = append(got, fmt.Sprintf("%s %s %s %q %q %v %q", st.Endpoint, st.URL, st.State, st.Messages, st.DeadLetters, st.DeliversTo, st.ARN))
	}
	equal(t, got, []string{
		`accounting sqs://accounting as configured "0" "3" [] "arn:aws:sqs:us-east-1:000000000000:accounting"`,
		`extraordinary sqs://extraordinary different "0" "3" [] "arn:aws:sqs:us-east-1:000000000000:extraordinary"`,
		`other nats://subject unmanaged "" "" [] ""`,
		`rides sns://rides as configured "" "" [accounting extraordinary] "arn:aws:sns:us-east-1:000000000000:rides"`,
	})
}

func TestFIFO(t *testing.T) {
	on(t, func(t *testing.T, s *server, ns string) {
		set := endpoints(t, ns,
			queue.Endpoint{Name: "fares", URL: "sqs://fares.fifo", DeadLetter: "sqs://fares-dlq.fifo"},
			queue.Endpoint{Name: "rides", URL: "sns://rides.fifo", Subscriptions: []queue.Subscription{{Endpoint: "fares"}}})
		apply(t, s, set)
		if got := s.attributes(t, ns+"-fares.fifo")["FifoQueue"]; got != "true" {
			t.Errorf("FifoQueue is %q", got)
		}
	})
}
