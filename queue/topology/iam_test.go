package topology_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

// A guard lets a server do what a policy allows, and remembers what was done.
type guard struct {
	mu     sync.Mutex
	policy *topology.Policy
	used   map[string]bool // "action resource"
	denied []string
}

// action names what IAM asks for an operation.
func action(r emulator.Request) string {
	return r.Service + ":" + strings.TrimSuffix(r.Operation, "Batch")
}

func (g *guard) fault(r emulator.Request) emulator.Fault {
	g.mu.Lock()
	defer g.mu.Unlock()
	arn := fmt.Sprintf("arn:aws:%s:us-east-1:000000000000:%s", r.Service, r.Resource)
	if strings.HasPrefix(r.Resource, "arn:") {
		arn = r.Resource
	}
	for _, s := range g.policy.Statement {
		for _, resource := range s.Resource {
			if slices.Contains(s.Action, action(r)) && (resource == arn || resource == "*" || r.Resource == "") { // a handle names none
				g.used[action(r)+" "+resource] = true
				return emulator.Fault{}
			}
		}
	}
	g.denied = append(g.denied, action(r)+" "+arn)
	return emulator.Fault{Err: &emulator.Error{Code: "AccessDenied", Message: action(r) + " is not allowed on " + arn, Status: 403}}
}

// A role can do all that it is for with its policy, and each action that a policy
// allows is used: it is the least.
func TestLeastPolicy(t *testing.T) {
	for _, topic := range []string{"sns://rides", "sns://000000000000/rides"} {
		for _, role := range topology.Roles() {
			t.Run(topic+"/"+string(role), func(t *testing.T) { least(t, topic, role) })
		}
	}
}

func least(t *testing.T, topic string, role topology.Role) {
	s := embedded()
	set := endpoints(t, "", ridesAt(topic)...)
	if topic != "sns://rides" { // its owner makes it
		if _, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("rides")}); err != nil {
			t.Fatal(err)
		}
	}
	if role != topology.RoleTopology {
		apply(t, s, set)
	}
	policy, err := topology.LeastPolicy(set, role, topology.PolicyConfig{Region: "us-east-1", Account: "000000000000"})
	if err != nil {
		t.Fatal(err)
	}
	if prepare := preparations[role]; prepare != nil {
		prepare(t, s, set)
	}
	g := &guard{policy: policy, used: make(map[string]bool)}
	s.emulator.SetFault(g.fault)
	duties[role](t, s, set)
	s.emulator.SetFault(nil)
	if len(g.denied) > 0 {
		t.Errorf("denied was %q", g.denied)
	}
	for _, st := range policy.Statement {
		for _, a := range st.Action {
			if !slices.ContainsFunc(st.Resource, func(r string) bool { return g.used[a+" "+r] }) {
				t.Errorf("%s was never used", a)
			}
		}
	}
}

func ridesAt(topic string) []queue.Endpoint {
	list := rides()
	list[0].URL = topic
	return list
}

// preparations are what others have done before.
var preparations = map[topology.Role]func(*testing.T, *server, *queue.Endpoints){
	topology.RoleConsumer: func(t *testing.T, s *server, set *queue.Endpoints) { send(t, s, set, "accounting") },
	topology.RoleOperator: func(t *testing.T, s *server, set *queue.Endpoints) { // a dead letter
		send(t, s, set, "accounting")
		for range 4 {
			in := &sqs.ReceiveMessageInput{QueueUrl: aws.String(s.queueURL(t, "accounting")), VisibilityTimeout: 1}
			out, err := s.sqs.ReceiveMessage(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range out.Messages {
				change := &sqs.ChangeMessageVisibilityInput{QueueUrl: in.QueueUrl, ReceiptHandle: m.ReceiptHandle}
				if _, err := s.sqs.ChangeMessageVisibility(t.Context(), change); err != nil {
					t.Fatal(err)
				}
			}
		}
	},
}

// duties are what the roles are for.
var duties = map[topology.Role]func(*testing.T, *server, *queue.Endpoints){
	topology.RolePublisher: func(t *testing.T, s *server, set *queue.Endpoints) {
		send(t, s, set, "rides")
		send(t, s, set, "accounting")
	},
	topology.RoleConsumer: consume,
	topology.RoleWorker: func(t *testing.T, s *server, set *queue.Endpoints) {
		send(t, s, set, "rides")
		send(t, s, set, "accounting")
		consume(t, s, set)
		send(t, s, set, "sqs://dlq") // as a pipeline does with what failed
	},
	topology.RoleOperator: func(t *testing.T, s *server, set *queue.Endpoints) {
		admin, err := queue.NewAdmin(queue.AdminConfig{SQS: s.sqs, Endpoints: set})
		if err != nil {
			t.Fatal(err)
		}
		letters, err := dlq.New(dlq.Config{Queues: admin})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := letters.List(t.Context()); err != nil {
			t.Error(err)
		}
		if found, err := letters.Peek(t.Context(), "dlq", 10); err != nil || len(found) != 1 {
			t.Errorf("peeked at %v, %v", found, err)
		}
		if report, err := letters.Redrive(t.Context(), dlq.Options{From: "dlq"}); err != nil {
			t.Errorf("redrive: %+v, %v", report, err)
		}
		if task, err := letters.Move(t.Context(), dlq.MoveOptions{From: "dlq", To: "accounting"}); err != nil {
			t.Errorf("move: %+v, %v", task, err)
		}
		dead, err := admin.Queue(t.Context(), "dlq")
		if err != nil {
			t.Fatal(err)
		}
		_ = dead.CancelMove(t.Context(), "handle") // there is nothing to cancel, but who asks may
	},
	topology.RoleViewer: func(t *testing.T, s *server, set *queue.Endpoints) {
		plan(t, s, set)
		equal(t, found(check(t, s, set, topology.CheckConfig{}), "no namespace"), nil)
	},
	topology.RoleTopology: func(t *testing.T, s *server, set *queue.Endpoints) {
		apply(t, s, set)
		e, err := set.Resolve("rides")
		if err != nil {
			t.Fatal(err)
		}
		changed := ridesAt(e.URL)
		changed[0].Subscriptions[1].Enveloped = false
		changed[1].Visibility = time.Minute
		apply(t, s, endpoints(t, "", changed...))
	},
}

func send(t *testing.T, s *server, set *queue.Endpoints, to string) {
	t.Helper()
	pub, err := queue.NewPublisher(queue.PublisherConfig{SQS: s.sqs, SNS: s.sns, Endpoints: set})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pub.Publish(to, message.NewMessage("m", []byte("x"))), pub.Close()); err != nil {
		t.Error(err)
	}
}

// consume nacks the message in the queue accounting, and acks it when it comes
// again.
func consume(t *testing.T, s *server, set *queue.Endpoints) {
	t.Helper()
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{SQS: s.sqs, Endpoints: set, Backoff: queue.NoBackoff, PollWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := sub.Subscribe(t.Context(), "accounting")
	if err != nil {
		t.Fatal(err)
	}
	for _, settle := range []func(*message.Message) bool{(*message.Message).Nack, (*message.Message).Ack} {
		select {
		case m := <-messages:
			settle(m)
		case <-time.After(10 * time.Second):
			t.Fatal("no message came within 10 s")
		}
	}
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
}

// Of queues and topics of another account, a policy has what their owner can allow.
func TestPolicyOfAnotherAccount(t *testing.T) {
	set := endpoints(t, "",
		queue.Endpoint{Name: "own", URL: "sqs://111122223333/own", DeadLetter: "sqs://111122223333/dlq"}, queue.Endpoint{Name: "q", URL: "sqs://444455556666/q"},
		queue.Endpoint{Name: "t", URL: "sns://444455556666/t", Subscriptions: []queue.Subscription{{Endpoint: "own"}}},
		queue.Endpoint{Name: "role", URL: "sqs://role", RoleARN: "arn:aws:iam::777788889999:role/fares"},
	)
	for role, want := range map[topology.Role]map[string]string{
		topology.RoleWorker: {
			"sqs:us-east-1:444455556666:q": "sqs:ChangeMessageVisibility sqs:DeleteMessage sqs:GetQueueAttributes sqs:GetQueueUrl sqs:ReceiveMessage sqs:SendMessage",
			"sns:us-east-1:444455556666:t": "sns:Publish",
		},
		topology.RoleViewer: {
			"sqs:us-east-1:444455556666:q":   "sqs:GetQueueAttributes sqs:GetQueueUrl sqs:ListDeadLetterSourceQueues",
			"sqs:us-east-1:111122223333:own": "sqs:GetQueueAttributes sqs:GetQueueUrl sqs:ListDeadLetterSourceQueues",
			"sns:us-east-1:444455556666:t":   "sns:GetSubscriptionAttributes sns:GetTopicAttributes sns:ListSubscriptionsByTopic",
		},
		topology.RoleTopology: {
			"sqs:us-east-1:444455556666:q":   "sqs:GetQueueAttributes sqs:GetQueueUrl",
			"sqs:us-east-1:111122223333:own": "sqs:GetQueueAttributes sqs:GetQueueUrl sqs:SetQueueAttributes",
			"sqs:us-east-1:111122223333:dlq": "sqs:GetQueueAttributes sqs:GetQueueUrl sqs:SetQueueAttributes",
			"sns:us-east-1:444455556666:t":   "sns:GetSubscriptionAttributes sns:GetTopicAttributes sns:ListSubscriptionsByTopic sns:SetSubscriptionAttributes sns:Subscribe",
		},
	} {
		policy, err := topology.LeastPolicy(set, role, topology.PolicyConfig{Region: "us-east-1", Account: "111122223333"})
		if err != nil {
			t.Fatal(err)
		}
		for resource, actions := range want {
			var got []string
			for _, s := range policy.Statement {
				if slices.Contains(s.Resource, "arn:aws:"+resource) {
					got = append(got, s.Action...)
				}
			}
			if strings.Join(got, " ") != actions {
				t.Errorf("%s may %q on %s, want %s", role, got, resource, actions)
			}
		}
	}
}

// Who receives decrypts, who sends encrypts as well, and nobody else needs a key; a
// dead-letter queue has its own, by which an operator only looks.
func TestKeysOfRoles(t *testing.T) {
	set := endpoints(t, "", queue.Endpoint{Name: "q", URL: "sqs://q", DeadLetter: "sqs://dlq"})
	send := "kms:Decrypt kms:GenerateDataKey"
	for role, want := range map[topology.Role][2]string{ // of the queue, and of its dead-letter queue
		topology.RoleWorker: {send, send}, topology.RolePublisher: {send, ""}, topology.RoleConsumer: {"kms:Decrypt", ""},
		topology.RoleOperator: {send, "kms:Decrypt"}, topology.RoleViewer: {}, topology.RoleTopology: {},
	} {
		policy, err := topology.LeastPolicy(set, role, topology.PolicyConfig{
			Region: "us-east-1", Account: "111122223333", Keys: map[string]string{"q": "key-q", "dlq": "key-dlq"},
		})
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		for _, s := range policy.Statement {
			for _, r := range s.Resource {
				if _, key, ok := strings.Cut(r, "arn:aws:kms:us-east-1:111122223333:key/"); ok {
					got[key] = strings.Join(s.Action, " ")
				}
			}
		}
		if got["key-q"] != want[0] || got["key-dlq"] != want[1] {
			t.Errorf("%s may %q, want %q", role, got, want)
		}
	}
}

// The key of a bucket that an alias names is one of the bucket's place, as far as that
// is known.
func TestAliasOfABucketsKey(t *testing.T) {
	set := endpoints(t, "", queue.Endpoint{Name: "q", URL: "sqs://111122223333/q", Region: "eu-west-1"})
	for want, bucket := range map[string]topology.PayloadBucket{
		"arn:aws:kms:us-east-1:111122223333:key/*": {Bucket: "b12", KMSKey: "arn:aws:kms:us-east-1:111122223333:alias/payloads"},
		"arn:aws:kms:eu-west-1:*:key/*":            {Bucket: "b12", KMSKey: "alias/payloads"},
	} {
		policy, err := topology.LeastPolicy(set, topology.RoleConsumer, topology.PolicyConfig{Region: "eu-west-1", Payloads: &bucket})
		if err != nil {
			t.Fatal(err)
		}
		last := policy.Statement[len(policy.Statement)-1]
		if !slices.Equal(last.Resource, []string{want}) || last.Condition["ForAnyValue:StringEquals"]["kms:ResourceAliases"] != "alias/payloads" {
			t.Errorf("%s: %+v, want %s", bucket.KMSKey, last, want)
		}
	}
}

func TestPolicyOfKeys(t *testing.T) {
	set := endpoints(t, "", []queue.Endpoint{
		{Name: "a", URL: "sqs://a"}, {Name: "b", URL: "sqs://444455556666/b", Region: "eu-west-1"}, {Name: "c", URL: "sqs://c"}, {Name: "d", URL: "sqs://d"},
		{Name: "e", URL: "kafka://e"}, {Name: "f", URL: "sqs://f"}, {Name: "g", URL: "sqs://g"},
	}...)
	policy, err := topology.LeastPolicy(set, topology.RoleConsumer, topology.PolicyConfig{
		Region: "us-east-1", Account: "111122223333",
		Keys: map[string]string{"a": "alias/fares", "b": "1234-abcd", "c": "alias/aws/sqs", "d": "arn:aws:kms:us-east-1:111122223333:key/k",
			"f": "arn:aws:kms:eu-west-1:777788889999:alias/rides", "g": "arn:aws:kms:us-east-1:111122223333:alias/aws/sqs",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(policy, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"arn:aws:sqs:us-east-1:111122223333:a"`, `"arn:aws:sqs:eu-west-1:444455556666:b"`,
		`"arn:aws:kms:us-east-1:111122223333:key/*"`, `"arn:aws:kms:eu-west-1:777788889999:key/*"`, `"kms:ResourceAliases": "alias/fares"`, `"kms:ResourceAliases": "alias/rides"`, `"arn:aws:kms:eu-west-1:444455556666:key/1234-abcd"`, `"arn:aws:kms:us-east-1:111122223333:key/k"`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the policy has no %s:\n%s", want, got)
		}
	}
	for _, bad := range []string{"aws/sqs", "GenerateDataKey", "kafka", `"*"`} {
		if strings.Contains(string(got), bad) {
			t.Errorf("the policy has %s:\n%s", bad, got)
		}
	}
	for want, cfg := range map[string]topology.PolicyConfig{
		"no region":  {Account: "111122223333"},
		"no account": {Region: "us-east-1"},
		`"me"`:       {Region: "us-east-1", Account: "me"},
		`queue "z"`:  {Region: "us-east-1", Account: "111122223333", Keys: map[string]string{"z": "alias/z"}},
	} {
		if _, err := topology.LeastPolicy(set, topology.RoleConsumer, cfg); !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
	set = endpoints(t, "", queue.Endpoint{Name: "here", URL: "sqs://q"}, queue.Endpoint{Name: "there", URL: "sqs://q", Region: "eu-west-1"},
		queue.Endpoint{Name: "plain", URL: "sqs://q", Region: "eu-west-2"})
	policy, err = topology.LeastPolicy(set, topology.RoleConsumer, topology.PolicyConfig{
		Region: "us-east-1", Account: "111122223333",
		Keys: map[string]string{"q": "here", "arn:aws:sqs:eu-west-1:111122223333:q": "there", "arn:aws:sqs:eu-west-2:111122223333:q": ""},
	})
	if text := fmt.Sprint(policy); err != nil || !strings.Contains(text, "us-east-1:111122223333:key/here") || !strings.Contains(text, "eu-west-1:111122223333:key/there") || strings.Count(text, ":key/") != 2 {
		t.Errorf("queues of one name in two regions: %s, %v", text, err)
	}
	if _, err := topology.LeastPolicy(set, "king", topology.PolicyConfig{}); !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), "worker") {
		t.Errorf("another role: %v", err)
	}
}
