package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Defaults of a [SubscriberConfig].
const (
	DefaultPollWait     = 20 * time.Second
	DefaultDrainTimeout = 20 * time.Second
	DefaultDeleteLinger = 50 * time.Millisecond
	DefaultReceiveGrace = 500 * time.Millisecond
	DefaultMaxHold      = maxHold
)

// A SubscriberConfig configures a [Subscriber].
type SubscriberConfig struct {
	// AWS is the configuration of the client that is made where SQS is nil.
	// Its HTTP client is improved as [NewHTTPClient] describes.
	AWS aws.Config

	// SQS is the client to use. It defaults to a client of AWS. The Region and
	// EndpointURL of an endpoint take effect with either.
	SQS SQSReceiver

	// AWSFor gives each endpoint a configuration of its own, and so its own
	// account, region and credentials; AWS and SQS are not used then. It is
	// called once for each call of Subscribe. The endpoint's Region and
	// EndpointURL still take effect. A configuration without an HTTP client
	// shares that of AWS. Nil has all endpoints use AWS or SQS.
	AWSFor func(Endpoint) aws.Config

	// Endpoints resolves the names that Subscribe is given. Nil resolves URLs
	// alone.
	Endpoints *Endpoints

	// PollWait is how long a receive waits for a message to arrive: whole
	// seconds, at most 20. Defaults to 20 s.
	PollWait time.Duration

	// DrainTimeout is how long a subscription that ends leaves running
	// handlers be before it ends their contexts. Defaults to 20 s.
	DrainTimeout time.Duration

	// ReceiveGrace is how long a receive may have been waiting for messages
	// before the end of the subscription cancels it. One that finds messages
	// is answered sooner. SQS may not notice that a receive was cancelled, and
	// give it messages until its PollWait is over, which then come again only
	// when their visibility ends: a ReceiveGrace of PollWait waits for every
	// receive, and has Close take that long. Defaults to 500 ms.
	ReceiveGrace time.Duration

	// DeleteLinger is how long an acked message may wait for others to share
	// the request that deletes it. If the process dies meanwhile, the message
	// comes again. Ten messages do not wait. Negative deletes each message at
	// once. Defaults to 50 ms.
	DeleteLinger time.Duration

	// MaxHold is for how long after it was received the heartbeat keeps a
	// message hidden; then its context ends with [ErrVisibilityLost], and it
	// comes again. It bounds what a handler that hangs can do. Defaults to,
	// and is at most, SQS's 12 hours less a minute.
	MaxHold time.Duration

	// Backoff returns after which delay a nacked message is redelivered, for
	// its receive count from 1. Whole seconds; a fraction is rounded up.
	// [Delivery.Retry] overrides it. Defaults to [DefaultBackoff]. [NoBackoff]
	// redelivers at once.
	Backoff func(receiveCount int) time.Duration

	// DeliverUndecodable has messages that cannot be decoded delivered, with
	// the reason in Delivery.Undecodable, so that what handles them can move
	// them to a dead-letter queue with the reason; package pipeline does. By
	// default they are returned to the queue as a nack would, until its
	// redrive policy takes them.
	DeliverUndecodable bool

	// BreakerFor gives each endpoint the breaker that stops it from receiving
	// while what its handlers need is down, or nil for none. It is called once
	// for each call of Subscribe. Defaults to none.
	BreakerFor func(Endpoint) *Breaker

	// Payloads has the payloads that publishers stored beside their messages. A
	// message that refers to one is returned to its queue as a damaged one is
	// when there is no store, or it cannot be reached; one whose payload is gone
	// is undecodable. Defaults to none.
	Payloads PayloadStore

	// MaxPayload is the size in bytes of the largest payload that is fetched
	// from Payloads. A message with a larger one is returned to its queue.
	// Up to ten are fetched at once by each poller. Defaults to 64 MiB.
	MaxPayload int

	// Logger receives what no handler gets to see. Defaults to none.
	Logger *slog.Logger

	// Stats counts requests and messages. Defaults to none.
	Stats *Stats

	// Tracer makes spans of what is received and handled. Defaults to none.
	Tracer SubscribeTracer

	clients *endpointClients // nil without AWSFor
}

// setDefaults returns a function that closes the connections of the client it
// made.
func (c *SubscriberConfig) setDefaults() func() {
	setDefault(&c.PollWait, DefaultPollWait)
	setDefault(&c.DrainTimeout, DefaultDrainTimeout)
	setDefault(&c.ReceiveGrace, DefaultReceiveGrace)
	setDefault(&c.MaxHold, DefaultMaxHold)
	setDefault(&c.DeleteLinger, DefaultDeleteLinger)
	setDefault(&c.MaxPayload, DefaultMaxPayload)
	if c.Backoff == nil {
		c.Backoff = DefaultBackoff
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Stats == nil {
		c.Stats = new(Stats)
	}
	cfg := clientConfig(c.AWS)
	if c.SQS == nil {
		c.SQS = sqs.NewFromConfig(cfg)
	}
	closeIdle := idleCloser(c.AWS.HTTPClient, cfg.HTTPClient)
	if c.AWSFor == nil {
		return closeIdle
	}
	c.clients = &endpointClients{awsFor: c.AWSFor, shared: cfg.HTTPClient, closeIdle: closeIdle}
	return c.clients.close
}

// forEndpoint returns the configuration with the client of the endpoint.
func (c SubscriberConfig) forEndpoint(e Endpoint) SubscriberConfig {
	if c.clients != nil {
		c.SQS = sqs.NewFromConfig(c.clients.config(e))
	}
	return c
}

func (c *SubscriberConfig) validate() error {
	switch {
	case c.PollWait < 0 || c.PollWait > DefaultPollWait || c.PollWait%time.Second != 0:
		return fmt.Errorf("queue: SubscriberConfig: PollWait is %v; want whole seconds up to %v", c.PollWait, DefaultPollWait)
	case c.DrainTimeout < 0:
		return fmt.Errorf("queue: SubscriberConfig: DrainTimeout is %v; want more than 0, or 0 for the default", c.DrainTimeout)
	case c.ReceiveGrace < 0 || c.ReceiveGrace > DefaultPollWait:
		return fmt.Errorf("queue: SubscriberConfig: ReceiveGrace is %v; want up to %v, or 0 for the default", c.ReceiveGrace, DefaultPollWait)
	case c.MaxHold < 0 || c.MaxHold > DefaultMaxHold:
		return fmt.Errorf("queue: SubscriberConfig: MaxHold is %v; want up to %v, or 0 for the default", c.MaxHold, DefaultMaxHold)
	case c.MaxPayload < 0:
		return fmt.Errorf("queue: SubscriberConfig: MaxPayload is %d; want more than 0, or 0 for the default", c.MaxPayload)
	case c.AWS.Region == "" && c.SQS == nil && c.AWSFor == nil && !allRegional(c.Endpoints):
		return errors.New("queue: SubscriberConfig: AWS has no Region; set it, AWS_REGION, or the Region of every endpoint")
	case c.AWSFor == nil:
		return checkIdentities("SubscriberConfig", c.Endpoints)
	}
	return nil
}

// DefaultBackoff is the backoff of a [SubscriberConfig] without one: it doubles
// from 1 s with the receive count up to 15 minutes, less up to half of it at
// random, so that messages which failed together do not come back together.
func DefaultBackoff(receiveCount int) time.Duration {
	const most = 15 * time.Minute
	d := most
	if n := max(receiveCount, 1) - 1; n < 10 {
		d = min(time.Second<<n, most)
	}
	return d/2 + rand.N(d/2+1)
}

// NoBackoff redelivers nacked messages at once.
func NoBackoff(int) time.Duration { return 0 }

// A Subscriber receives messages from SQS queues. It implements watermill's
// message.Subscriber. The topic of Subscribe is the name of an endpoint, or the
// URL of a queue. It is safe for concurrent use.
type Subscriber struct {
	config    SubscriberConfig
	closeIdle func()

	mu      sync.Mutex
	closed  bool
	closing chan struct{}
	subs    map[*subscription]struct{}
	running sync.WaitGroup
}

var _ message.Subscriber = (*Subscriber)(nil)

// NewSubscriber returns a subscriber. It makes no calls.
func NewSubscriber(config SubscriberConfig) (*Subscriber, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	closeIdle := config.setDefaults()
	return &Subscriber{config: config, closeIdle: closeIdle, closing: make(chan struct{}), subs: map[*subscription]struct{}{}}, nil
}

// Subscribe receives the messages of the endpoint's queue until ctx ends or the
// subscriber is closed. It looks the queue up first: an endpoint that is not
// configured, a queue that does not exist and credentials that are wrong are
// its errors, of the kinds that this package names. Afterwards it outlasts
// every error: it logs it and tries again.
//
// Messages come without order and concurrently: each must be acked or nacked,
// and up to Endpoint.Concurrency of them are out at once. From a FIFO queue,
// the messages of a group come one after the other, and one that fails holds
// those behind it until it is handled or goes to the dead-letter queue.
//
// A message's context has the values of ctx and carries a [Delivery]. It ends
// when the message is acked or nacked, when its visibility is lost
// ([ErrVisibilityLost]), and when a drain runs out of time ([ErrClosed]); it
// does not end with ctx.
//
// When ctx ends the subscription drains: it stops receiving, returns to the
// queue what it has not delivered, waits for the messages that are out, and
// then closes the channel.
func (s *Subscriber) Subscribe(ctx context.Context, endpoint string) (<-chan *message.Message, error) {
	e, err := s.resolve(endpoint)
	if err != nil {
		return nil, err
	}
	sub := newSubscription(s.config.forEndpoint(e), e)
	if err := sub.lookup(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("queue: subscribe to %q: the subscriber is %w", endpoint, ErrClosed)
	}
	s.subs[sub] = struct{}{}
	s.running.Go(func() {
		sub.run(ctx, s.closing)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, sub)
	})
	return sub.out, nil
}

// DeliversUndecodable returns SubscriberConfig.DeliverUndecodable, for what
// depends on it.
func (s *Subscriber) DeliversUndecodable() bool { return s.config.DeliverUndecodable }

// Err returns the errors with which subscriptions currently fail to receive,
// or nil if all work. It is for readiness checks: subscriptions go on trying.
func (s *Subscriber) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for sub := range s.subs {
		if err := sub.failing.Load(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Subscriber) resolve(name string) (Endpoint, error) {
	e, err := s.config.Endpoints.Resolve(name)
	if err != nil {
		return Endpoint{}, fmt.Errorf("queue: subscribe: %w", err)
	}
	switch {
	case e.IsQueue():
		return e, nil
	case e.IsTopic():
		return Endpoint{}, fmt.Errorf("queue: subscribe to %q: %w: %s is a topic, and messages are received from queues; %s", name, ErrInvalid, e.URL, subscribeHint(e))
	default:
		return Endpoint{}, fmt.Errorf("queue: subscribe to %q: %w: %s is not sqs://; another watermill subscriber serves it", name, ErrInvalid, e.URL)
	}
}

// subscribeHint says what to subscribe to in place of a topic.
func subscribeHint(topic Endpoint) string {
	if len(topic.Subscriptions) == 0 {
		return "add a queue to the endpoint's subscriptions, and subscribe to the endpoint of that queue"
	}
	names := make([]string, len(topic.Subscriptions))
	for i, s := range topic.Subscriptions {
		names[i] = strconv.Quote(s.Endpoint)
	}
	return "subscribe to an endpoint that the topic delivers to: " + strings.Join(names, ", ")
}

// Close drains all subscriptions, as the end of their contexts does, and waits
// for them. It takes at most about SubscriberConfig.DrainTimeout. Further calls
// wait for the first.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.running.Wait()
	s.closeIdle()
	return nil
}

// lookup finds the queue, and what its redrive policy allows.
func (s *subscription) lookup(ctx context.Context) error {
	url, err := lookupQueue(ctx, s.client, s.endpoint, s.opt)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	limit, redrive := 0, 0
	if s.endpoint.DeadLetter != "" {
		limit = s.endpoint.MaxReceiveCount
	}
	out, err := s.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl:       aws.String(url),
		AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameRedrivePolicy},
	}, s.opt)
	switch {
	case err == nil:
		if n, ok := maxReceiveCount(out.Attributes[string(sqstypes.QueueAttributeNameRedrivePolicy)]); ok {
			limit, redrive = n, n
		}
	case errors.Is(newError("GetQueueAttributes", s.endpoint, err), ErrAccess):
		// A consumer can do without this permission.
		s.log.Warn("the queue's redrive policy is not readable; going by the endpoint's MaxReceiveCount", "max_receive_count", limit, "error", err)
	default:
		return newError("GetQueueAttributes", s.endpoint, err)
	}
	s.url.Store(&url)
	s.maxReceiveCount.Store(int64(limit))
	s.redriveCount.Store(int64(redrive))
	return nil
}

// maxReceiveCount reads a redrive policy, in which the count occurs as a number
// and as a string.
func maxReceiveCount(policy string) (int, bool) {
	var p struct {
		MaxReceiveCount json.RawMessage `json:"maxReceiveCount"`
	}
	if policy == "" || json.Unmarshal([]byte(policy), &p) != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.Trim(string(p.MaxReceiveCount), `"`))
	return n, err == nil && n > 0
}
