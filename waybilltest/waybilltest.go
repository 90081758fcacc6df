package waybilltest

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

// An Option changes the stack of a test.
type Option func(*Config)

// NoSockets makes the stack listen nowhere, so that it runs in a bubble of
// testing/synctest.
func NoSockets() Option { return func(c *Config) { c.NoSockets = true } }

// Namespace sets the namespace of the keys and queues.
func Namespace(ns string) Option { return func(c *Config) { c.Namespace = ns } }

// Emulator configures SQS and SNS.
func Emulator(cfg emulator.Config) Option { return func(c *Config) { c.Emulator = cfg } }

// Start starts a stack that ends with the test. It fails the test if it
// cannot.
func Start(t testing.TB, opts ...Option) *Stack {
	t.Helper()
	var cfg Config
	for _, opt := range opts {
		opt(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("waybilltest: close: %v", err)
		}
	})
	return s
}

// Apply makes the queues, topics and subscriptions of the endpoints, as
// `waybill topology apply` does, in the stack's namespace. It returns their
// set.
func (s *Stack) Apply(t testing.TB, endpoints ...queue.Endpoint) *queue.Endpoints {
	t.Helper()
	set, err := queue.NewEndpoints(s.Namespace, endpoints...)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := topology.NewPlan(t.Context(), topology.NewClientsFor(s.AWSFor), set)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	return set
}

// AWSFor returns AWS, whatever the Profile and the RoleARN of an endpoint: the stack
// has one account, and takes any credentials. It is for the configurations that
// have an AWSFor.
func (s *Stack) AWSFor(queue.Endpoint) aws.Config { return s.AWS.Copy() }

// named returns AWSFor if endpoints have a Profile or a RoleARN, which need it.
func (s *Stack) named(endpoints *queue.Endpoints) func(queue.Endpoint) aws.Config {
	for e := range endpoints.All() {
		if e.Profile != "" || e.RoleARN != "" {
			return s.AWSFor
		}
	}
	return nil
}

// Publisher returns a publisher to the endpoints that is closed with the test.
// The functions may change its configuration, in which AWS and Endpoints are set.
func (s *Stack) Publisher(t testing.TB, endpoints *queue.Endpoints, configure ...func(*queue.PublisherConfig)) *queue.Publisher {
	t.Helper()
	cfg := queue.PublisherConfig{AWS: s.AWS, AWSFor: s.named(endpoints), Endpoints: endpoints}
	for _, f := range configure {
		f(&cfg)
	}
	p, err := queue.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("waybilltest: close the publisher: %v", err)
		}
	})
	return p
}

// Subscriber returns a subscriber to the endpoints that is closed with the
// test. A message that is nacked comes back at once, unless a function sets
// another Backoff.
func (s *Stack) Subscriber(t testing.TB, endpoints *queue.Endpoints, configure ...func(*queue.SubscriberConfig)) *queue.Subscriber {
	t.Helper()
	cfg := queue.SubscriberConfig{AWS: s.AWS, AWSFor: s.named(endpoints), Endpoints: endpoints, Backoff: queue.NoBackoff}
	for _, f := range configure {
		f(&cfg)
	}
	sub, err := queue.NewSubscriber(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sub.Close(); err != nil {
			t.Errorf("waybilltest: close the subscriber: %v", err)
		}
	})
	return sub
}
