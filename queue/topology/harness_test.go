package topology_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

// A server is an SQS and SNS to run a test on.
type server struct {
	sqs      *sqs.Client
	sns      *sns.Client
	emulator *emulator.Server // nil on the real ones

	// forgetsPolicy says that to set other attributes of a queue takes its
	// policy away, as moto does (5.2.3).
	forgetsPolicy bool
}

func (s *server) clients() topology.Clients { return topology.Clients{SQS: s.sqs, SNS: s.sns} }

func newServer(cfg aws.Config) *server {
	cfg.Region = "us-east-1"
	cfg.Credentials = credentials.NewStaticCredentialsProvider("test", "test", "")
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = queue.NewHTTPClient()
	}
	return &server{sqs: sqs.NewFromConfig(cfg), sns: sns.NewFromConfig(cfg)}
}

// asSQS shows no messages without their being received, as SQS does not.
type asSQS struct{ aws.HTTPClient }

func (c asSQS) Do(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/_aws/") {
		return &http.Response{Status: "404 Not Found", StatusCode: http.StatusNotFound, Body: http.NoBody, Request: r}, nil
	}
	return c.HTTPClient.Do(r)
}

func embedded() *server {
	e := emulator.New(emulator.Config{NoCooldowns: true})
	s := newServer(aws.Config{
		BaseEndpoint: aws.String("http://emulator.test"),
		HTTPClient:   asSQS{e.Client()},
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		},
	})
	s.emulator = e
	return s
}

// on runs the test on the emulator and on the real servers that have SNS.
func on(t *testing.T, test func(t *testing.T, s *server, ns string)) {
	targets := map[string]*server{"emulator": embedded()}
	if url, ok := testserver.LocalStack(t); ok {
		targets["localstack"] = newServer(aws.Config{BaseEndpoint: aws.String(url)})
	}
	if url, ok := testserver.Moto(t); ok {
		targets["moto"] = newServer(aws.Config{BaseEndpoint: aws.String(url)})
		targets["moto"].forgetsPolicy = true
	}
	for name, s := range targets {
		t.Run(name, func(t *testing.T) { test(t, s, testserver.Namespace(t)) })
	}
}

// rides is a topology with all there is: a topic that delivers to two queues,
// one of them filtered, with a dead-letter queue that they share.
func rides() []queue.Endpoint {
	return []queue.Endpoint{
		{Name: "rides", URL: "sns://rides", Subscriptions: []queue.Subscription{
			{Endpoint: "accounting"},
			{Endpoint: "extraordinary", Enveloped: true, Filter: json.RawMessage(`{"fare":[{"numeric":[">=",50]}]}`)},
		}},
		{Name: "accounting", URL: "sqs://accounting", DeadLetter: "sqs://dlq", MaxReceiveCount: 3, Visibility: 45 * time.Second, Retention: 96 * time.Hour},
		{Name: "extraordinary", URL: "sqs://extraordinary", DeadLetter: "sqs://dlq", MaxReceiveCount: 5, Visibility: 30 * time.Second, Delay: 5 * time.Second},
	}
}

func endpoints(t testing.TB, ns string, list ...queue.Endpoint) *queue.Endpoints {
	t.Helper()
	set, err := queue.NewEndpoints(ns, list...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func plan(t testing.TB, s *server, set *queue.Endpoints) *topology.Plan {
	t.Helper()
	p, err := topology.NewPlan(t.Context(), s.clients(), set)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// apply applies the endpoints and checks that a second plan keeps everything.
func apply(t testing.TB, s *server, set *queue.Endpoints) *topology.Plan {
	t.Helper()
	p := plan(t, s, set)
	if err := p.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, s, set)
	return p
}

func settled(t testing.TB, s *server, set *queue.Endpoints) {
	t.Helper()
	p := plan(t, s, set)
	for _, step := range p.Steps() {
		if step.Action != topology.Keep {
			t.Errorf("after the apply the plan has: %v", step)
		}
	}
	if p.Changes() != 0 {
		t.Errorf("after the apply the plan has %d changes", p.Changes())
	}
}

// lines returns the steps as text, without the namespace.
func lines(p *topology.Plan, ns string) []string {
	var list []string
	for _, s := range p.Steps() {
		list = append(list, strings.ReplaceAll(s.String(), ns+"-", ""))
	}
	return list
}

func equal(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func (s *server) queueURL(t testing.TB, name string) string {
	t.Helper()
	out, err := s.sqs.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String(name)})
	if err != nil {
		t.Fatal(err)
	}
	return *out.QueueUrl
}

func (s *server) attributes(t testing.TB, name string) map[string]string {
	t.Helper()
	out, err := s.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: aws.String(s.queueURL(t, name)), AttributeNames: []sqstypes.QueueAttributeName{"All"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Attributes
}

func (s *server) set(t testing.TB, name string, attributes map[string]string) {
	t.Helper()
	_, err := s.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: aws.String(s.queueURL(t, name)), Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *server) create(t testing.TB, name string, attributes map[string]string) {
	t.Helper()
	if _, err := s.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name), Attributes: attributes}); err != nil {
		t.Fatal(err)
	}
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}
