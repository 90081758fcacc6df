package topology_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

func TestConflicts(t *testing.T) {
	subscribe := func(names ...string) (list []queue.Subscription) {
		for _, n := range names {
			list = append(list, queue.Subscription{Endpoint: n})
		}
		return list
	}
	tests := []struct {
		name      string
		queues    map[string]map[string]string // what is there
		endpoints []queue.Endpoint
		want      []string
	}{
		{"one queue, two wishes", nil, []queue.Endpoint{
			{Name: "a", URL: "sqs://q"}, {Name: "b", URL: "sqs://q", Visibility: time.Minute},
		}, []string{"sqs://q: the endpoints a and b are this queue and want different attributes"}},
		{"retention of dead letters", nil, []queue.Endpoint{
			{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"},
			{Name: "b", URL: "sqs://b", DeadLetter: "sqs://dlq", DeadLetterRetention: time.Hour},
		}, []string{"sqs://dlq: dead letters of a wants a retention of 336h0m0s, and dead letters of b one of 1h0m0s"}},
		{"retention of an endpoint of dead letters", nil, []queue.Endpoint{
			{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"},
			{Name: "dead", URL: "sqs://dlq", Retention: time.Hour},
		}, []string{"sqs://dlq: endpoint dead wants a retention of 1h0m0s"}},
		{"ring", nil, []queue.Endpoint{
			{Name: "a", URL: "sqs://a", DeadLetter: "sqs://b"}, {Name: "b", URL: "sqs://b", DeadLetter: "sqs://a"},
		}, []string{"sqs://a: is its own dead-letter queue, by way of sqs://b"}},
		{"subscribed twice", nil, []queue.Endpoint{
			{Name: "q", URL: "sqs://q"}, {Name: "t", URL: "sns://t", Subscriptions: subscribe("q", "q")},
		}, []string{"sns://t -> sqs://q: is configured twice"}},
		{"FIFO queue of a standard topic", nil, []queue.Endpoint{
			{Name: "q", URL: "sqs://q.fifo"}, {Name: "t", URL: "sns://t", Subscriptions: subscribe("q")},
		}, []string{"sns://t -> sqs://q.fifo: a standard topic cannot deliver to a FIFO queue; name the topic t.fifo"}},
		{"missing queue and topic of another account", nil, []queue.Endpoint{
			{Name: "q", URL: "sqs://123456789012/q"}, {Name: "t", URL: "sns://123456789012/t"},
		}, []string{"sqs://123456789012/q: the queue does not exist, and queues are made in the client's own account only", "sns://123456789012/t: the topic does not exist"}},
		{"dead letters denied", map[string]map[string]string{
			"a": nil, "dlq": {"RedriveAllowPolicy": `{"redrivePermission":"denyAll"}`},
		}, []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			[]string{"sqs://a: the RedriveAllowPolicy of sqs://dlq is denyAll"}},
		{"dead letters of others only", map[string]map[string]string{
			"a": nil, "dlq": {"RedriveAllowPolicy": `{"redrivePermission":"byQueue","sourceQueueArns":["arn:aws:sqs:us-east-1:000000000000:b"]}`},
		}, []queue.Endpoint{{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}},
			[]string{"does not list arn:aws:sqs:us-east-1:000000000000:a; add it to sourceQueueArns"}},
		{"unreadable policy", map[string]map[string]string{"q": {"Policy": `[]`}}, []queue.Endpoint{
			{Name: "q", URL: "sqs://q"}, {Name: "t", URL: "sns://t", Subscriptions: subscribe("q")},
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := embedded()
			for name, attributes := range tt.queues {
				s.create(t, name, attributes)
			}
			if tt.want == nil { // the topic has to be there for the policy to be read
				if _, err := s.sns.CreateTopic(t.Context(), newTopic("t")); err != nil {
					t.Fatal(err)
				}
				tt.want = []string{"sqs://q: the queue's policy is not a JSON object"}
			}
			_, err := topology.NewPlan(t.Context(), s.clients(), endpoints(t, "", tt.endpoints...))
			var conflict *topology.ConflictError
			if !errors.As(err, &conflict) {
				t.Fatalf("got %v, want a conflict", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v\nwant %s", err, want)
				}
			}
		})
	}
}

// An endpoint that reads dead letters does not shorten their retention by
// having no word of its own.
func TestDeadLetterEndpoint(t *testing.T) {
	s := embedded()
	set := endpoints(t, "",
		queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"},
		queue.Endpoint{Name: "dead", URL: "sqs://dlq", Visibility: time.Minute},
		queue.Endpoint{Name: "z", URL: "sqs://z", DeadLetter: "sqs://dlq"})
	apply(t, s, set)
	have := s.attributes(t, "dlq")
	if have["MessageRetentionPeriod"] != "1209600" || have["VisibilityTimeout"] != "60" {
		t.Errorf("dead-letter queue has %v", have)
	}
}

// A dead-letter queue that is deleted is made again; the policy that names it
// never changed.
func TestDeletedDeadLetterQueue(t *testing.T) {
	s := embedded()
	set := endpoints(t, "", rides()...)
	apply(t, s, set)
	if _, err := s.sqs.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: aws.String(s.queueURL(t, "dlq"))}); err != nil {
		t.Fatal(err)
	}
	p := plan(t, s, set)
	if p.Changes() != 1 || p.Steps()[0].Action != topology.Create {
		t.Errorf("plan is %v, want only the dead-letter queue made", p.Steps())
	}
	apply(t, s, set)
}

// Region and endpoint URL of an endpoint take effect.
func TestSites(t *testing.T) {
	s := embedded()
	set := endpoints(t, "",
		queue.Endpoint{Name: "here", URL: "sqs://q"},
		queue.Endpoint{Name: "there", URL: "sqs://q", Region: "eu-west-1", EndpointURL: "http://other.test"},
		queue.Endpoint{Name: "topic", URL: "sns://t", Region: "eu-west-1", Subscriptions: []queue.Subscription{{Endpoint: "there"}}})
	apply(t, s, set)
	arns := ""
	for _, st := range plan(t, s, set).Status() {
		arns += st.ARN + " "
	}
	if want := "arn:aws:sqs:us-east-1:000000000000:q arn:aws:sqs:eu-west-1:000000000000:q arn:aws:sns:eu-west-1:000000000000:t "; arns != want {
		t.Errorf("got %s, want %s", arns, want)
	}
}

// Of two queues of one name, the one that differs does.
func TestStatusOfSites(t *testing.T) {
	s := embedded()
	set := endpoints(t, "",
		queue.Endpoint{Name: "here", URL: "sqs://q", Visibility: time.Minute},
		queue.Endpoint{Name: "there", URL: "sqs://q", Region: "eu-west-1", Visibility: time.Minute})
	apply(t, s, set)
	if _, err := s.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: aws.String(s.queueURL(t, "q")), Attributes: map[string]string{"VisibilityTimeout": "5"}}); err != nil {
		t.Fatal(err)
	}
	states := ""
	for _, st := range plan(t, s, set).Status() {
		states += st.Endpoint + " is " + st.State + "; "
	}
	if want := "here is different; there is as configured; "; states != want {
		t.Errorf("got %s, want %s", states, want)
	}
}

// An endpoint that names the region which it would have anyway is where those are
// that name none.
func TestSameSite(t *testing.T) {
	s := embedded()
	for name, clients := range map[string]topology.Clients{
		"given": s.clients(), "for each": {For: func(queue.Endpoint) topology.Clients { return s.clients() }},
	} {
		set := endpoints(t, "",
			queue.Endpoint{Name: "a", URL: "sqs://q", Visibility: time.Minute, DeadLetter: "sqs://dlq"},
			queue.Endpoint{Name: "b", URL: "sqs://q", Visibility: time.Minute, DeadLetter: "sqs://dlq", Region: "us-east-1"})
		p, err := topology.NewPlan(t.Context(), clients, set)
		if err != nil || len(p.Steps()) != 2 {
			t.Errorf("%s: %v, %v; want a queue and its dead-letter queue", name, p, err)
		}
		set = endpoints(t, "",
			queue.Endpoint{Name: "a", URL: "sqs://q", Visibility: time.Minute},
			queue.Endpoint{Name: "b", URL: "sqs://q", Visibility: time.Hour, Region: "us-east-1"})
		if _, err := topology.NewPlan(t.Context(), clients, set); err == nil || !strings.Contains(err.Error(), "want different attributes") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A topic of the own account may be named with it.
func TestOwnAccount(t *testing.T) {
	s := embedded()
	apply(t, s, endpoints(t, "", queue.Endpoint{Name: "t", URL: "sns://t"}, queue.Endpoint{Name: "q", URL: "sqs://q"}))
	settled(t, s, endpoints(t, "", queue.Endpoint{Name: "t", URL: "sns://000000000000/t"}, queue.Endpoint{Name: "q", URL: "sqs://000000000000/q"}))
}

// What a URL has the account of may be another's, to whom SQS and SNS give no leave
// to read or set tags, nor to set a queue's attributes. A plan asks for none of that.
func TestAnotherAccount(t *testing.T) {
	s := embedded()
	apply(t, s, endpoints(t, "", queue.Endpoint{Name: "own", URL: "sqs://own"}))
	s.create(t, "q", map[string]string{"VisibilityTimeout": "77"})
	if _, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t")}); err != nil {
		t.Fatal(err)
	}
	s.emulator.SetFault(func(r emulator.Request) emulator.Fault {
		if r.Resource == "own" || !slices.Contains([]string{"ListQueueTags", "TagQueue", "SetQueueAttributes", "ListTagsForResource", "TagResource"}, r.Operation) {
			return emulator.Fault{}
		}
		return emulator.Fault{Err: &emulator.Error{Code: "AccessDenied", Message: "not from another account", Status: 403}}
	})
	set := endpoints(t, "", queue.Endpoint{Name: "own", URL: "sqs://own"}, queue.Endpoint{Name: "q", URL: "sqs://000000000000/q"},
		queue.Endpoint{Name: "t", URL: "sns://000000000000/t", Subscriptions: []queue.Subscription{{Endpoint: "own"}}})
	apply(t, s, set)
	// What configuration sets all the same is the owner's to change.
	set = endpoints(t, "", queue.Endpoint{Name: "q", URL: "sqs://000000000000/q", Visibility: time.Minute})
	if got := plan(t, s, set).Steps()[0].String(); got != "change queue sqs://000000000000/q (endpoint q): VisibilityTimeout 77 -> 60" {
		t.Errorf("the plan is to %s", got)
	}
}

func TestErrorsNameTheirPlace(t *testing.T) {
	s := embedded()
	s.emulator.SetFault(func(emulator.Request) emulator.Fault {
		return emulator.Fault{Err: &emulator.Error{Code: "AccessDenied", Message: "no", Status: 403}}
	})
	_, err := topology.NewPlan(t.Context(), s.clients(), endpoints(t, "", queue.Endpoint{Name: "q", URL: "sqs://q"}))
	if err == nil || !strings.Contains(err.Error(), "topology: sqs://q: GetQueueUrl: ") {
		t.Errorf("got %v", err)
	}
	for _, e := range rides()[:2] {
		e.Subscriptions = nil
		if _, err := topology.NewPlan(t.Context(), topology.Clients{}, endpoints(t, "", e)); err == nil || !strings.Contains(err.Error(), "is nil") {
			t.Errorf("without clients: %v", err)
		}
	}
}

func TestNothing(t *testing.T) {
	p, err := topology.NewPlan(t.Context(), topology.Clients{}, nil)
	if err != nil || len(p.Steps()) != 0 || p.Apply(t.Context()) != nil {
		t.Errorf("plan of nothing: %v, %v", p, err)
	}
}

// SQS asks for a second between CreateQueue and the use of the queue.
func TestQueueIsSlowToAppear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded()
		set := endpoints(t, "", queue.Endpoint{Name: "q", URL: "sqs://q"})
		p := plan(t, s, set)
		created := time.Now()
		s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
			if r.Operation == "GetQueueAttributes" && time.Since(created) < 2*time.Second {
				f.Err = &emulator.Error{Code: "QueueDoesNotExist", QueryCode: "AWS.SimpleQueueService.NonExistentQueue", Message: "not yet", Status: 400}
			}
			return f
		})
		if err := p.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled(t, s, set)

		// For ever is too slow.
		p = plan(t, s, endpoints(t, "", queue.Endpoint{Name: "other", URL: "sqs://other"}))
		created = time.Now().Add(time.Hour)
		if err := p.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "not yet") {
			t.Errorf("got %v", err)
		}
	})
}

func TestQueueWasDeletedRecently(t *testing.T) {
	s := embedded()
	s.emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Operation == "CreateQueue" {
			f.Err = &emulator.Error{Code: "QueueDeletedRecently", QueryCode: "AWS.SimpleQueueService.QueueDeletedRecently", Message: "wait", Status: 400}
		}
		return f
	})
	err := plan(t, s, endpoints(t, "", queue.Endpoint{Name: "q", URL: "sqs://q"})).Apply(t.Context())
	if err == nil || !strings.Contains(err.Error(), "only 60 s after it was deleted") {
		t.Errorf("got %v", err)
	}
}
