package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// Defaults of a [PublisherConfig].
const (
	DefaultLinger       = 5 * time.Millisecond
	DefaultSends        = 16
	DefaultCloseTimeout = 30 * time.Second
)

// A PublisherConfig configures a [Publisher].
type PublisherConfig struct {
	// AWS is the configuration of the clients that are made where SQS or SNS
	// is nil. Its HTTP client is improved as [NewHTTPClient] describes.
	AWS aws.Config

	// SQS and SNS are the clients to use. They default to clients of AWS. The
	// Region and EndpointURL of an endpoint take effect with either.
	SQS SQSSender
	SNS SNSPublisher

	// AWSFor gives each endpoint a configuration of its own, and so its own
	// account, region and credentials; AWS, SQS and SNS are not used then. It
	// is called once for each endpoint. The endpoint's Region and EndpointURL
	// still take effect. A configuration without an HTTP client shares that of
	// AWS. Nil has all endpoints use AWS, or SQS and SNS.
	AWSFor func(Endpoint) aws.Config

	// Endpoints resolves the names that Publish is given. Nil resolves URLs
	// alone.
	Endpoints *Endpoints

	// Linger is how long a message may wait for others to share its request.
	// Ten messages do not wait. Negative sends each call's messages at once.
	// Defaults to 5 ms.
	Linger time.Duration

	// Sends caps the requests to one endpoint that are under way at once. To
	// a FIFO endpoint, the messages of a group are in one of them at a time.
	// Defaults to 16.
	Sends int

	// Payloads takes the payloads of messages that are too large, which then
	// carry a reference. Their subscribers need the same store. Publish stores
	// a payload before it sends its message. Defaults to none: a message that
	// is too large is an [ErrTooLarge].
	Payloads PayloadStore

	// ClaimAbove is the size in bytes, with attributes, above which the payload
	// of a message goes to Payloads. Defaults to, and is at most, the
	// endpoint's MaxMessageSize. One of up to 128 bytes stays: a reference
	// takes as much.
	ClaimAbove int

	// CloseTimeout is how long Close waits for what is being sent. Defaults
	// to 30 s.
	CloseTimeout time.Duration

	// Logger receives what no caller gets to see. Defaults to none.
	Logger *slog.Logger

	// Stats counts requests and messages. Defaults to none.
	Stats *Stats

	// Tracer makes spans of what is published, and has messages carry their
	// trace. Defaults to none.
	Tracer PublishTracer

	clients *endpointClients // nil without AWSFor
}

// setDefaults returns a function that closes the connections of the clients it
// made.
func (c *PublisherConfig) setDefaults() func() {
	setDefault(&c.Linger, DefaultLinger)
	setDefault(&c.Sends, DefaultSends)
	setDefault(&c.CloseTimeout, DefaultCloseTimeout)
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
	if c.SNS == nil {
		c.SNS = sns.NewFromConfig(cfg)
	}
	closeIdle := idleCloser(c.AWS.HTTPClient, cfg.HTTPClient)
	if c.AWSFor == nil {
		return closeIdle
	}
	c.clients = &endpointClients{awsFor: c.AWSFor, shared: cfg.HTTPClient, closeIdle: closeIdle}
	return c.clients.close
}

// forEndpoint returns the configuration with the clients of the endpoint.
func (c PublisherConfig) forEndpoint(e Endpoint) PublisherConfig {
	if c.clients != nil {
		cfg := c.clients.config(e)
		c.SQS, c.SNS = sqs.NewFromConfig(cfg), sns.NewFromConfig(cfg)
	}
	return c
}

func (c *PublisherConfig) validate() error {
	if c.Sends < 0 {
		return fmt.Errorf("queue: PublisherConfig: Sends is %d; want 1 or more, or 0 for the default", c.Sends)
	}
	if c.ClaimAbove < 0 || c.ClaimAbove > 0 && c.Payloads == nil {
		return fmt.Errorf("queue: PublisherConfig: ClaimAbove is %d; want more than 0, with Payloads, or 0 for the default", c.ClaimAbove)
	}
	if c.CloseTimeout < 0 {
		return fmt.Errorf("queue: PublisherConfig: CloseTimeout is %v; want more than 0, or 0 for the default", c.CloseTimeout)
	}
	if c.AWSFor == nil {
		if err := checkIdentities("PublisherConfig", c.Endpoints); err != nil {
			return err
		}
	}
	if c.AWS.Region == "" && c.SQS == nil && c.SNS == nil && c.AWSFor == nil && !allRegional(c.Endpoints) {
		return errors.New("queue: PublisherConfig: AWS has no Region; set it, AWS_REGION, or the Region of every endpoint")
	}
	return nil
}

// allRegional reports whether there are endpoints and each has a region.
func allRegional(s *Endpoints) bool {
	for e := range s.All() {
		if e.Region == "" {
			return false
		}
	}
	return len(s.Names()) > 0
}

// A Publisher publishes messages to SQS queues and SNS topics. It implements
// watermill's message.Publisher. The topic of Publish is the name of an
// endpoint, or the URL of a queue or topic. It is safe for concurrent use.
//
// Calls of Publish that run at the same time share requests of ten messages.
// A message waits for others for at most PublisherConfig.Linger.
type Publisher struct {
	config    PublisherConfig
	closeIdle func()

	// ctx ends when Close has waited long enough.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	outs   map[string]*outlet // by name or URL as given to Publish
	closed bool
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher returns a publisher. It makes no calls: a queue that does not
// exist is an error of Publish.
func NewPublisher(config PublisherConfig) (*Publisher, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	closeIdle := config.setDefaults()
	p := &Publisher{config: config, closeIdle: closeIdle, outs: map[string]*outlet{}}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p, nil
}

// Publish publishes the messages to the endpoint and returns when the service
// has accepted or refused them. The context of each message bounds how long
// that may take; when it ends first, the message may have been sent.
//
// Messages are independent: that one fails keeps no other from being sent. Only
// to a FIFO endpoint, a message that fails holds those behind it in its group,
// in the same call: they fail with [ErrHeld], so that the caller can publish them
// again in their order. It cannot hold those that were in the same request, and
// were accepted there; then it is not sent again, as it would come behind them.
// If any fails, the error is a [*PublishError] that says which and why. An
// endpoint that cannot be published to fails them all, with an
// [*UnknownEndpointError], [ErrInvalid] or [ErrClosed].
//
// An error of kind [ErrUnavailable] or a context that ended can mean that the
// message was sent although its answer was lost. It has the same UUID when it
// is published again.
func (p *Publisher) Publish(endpoint string, messages ...*message.Message) error {
	out, err := p.outlet(endpoint)
	if err != nil {
		return err
	}
	errs := make([]error, len(messages))
	sends := make([]*outgoing, len(messages))
	for i, msg := range messages {
		if out.tracer != nil {
			sends[i], errs[i] = out.prepareTraced(msg)
			continue
		}
		sends[i], errs[i] = out.prepare(msg.Context(), msg, nil)
	}
	if out.fifo {
		out.tie(messages, sends, errs)
	}
	ready := sends
	if slices.Contains(sends, nil) {
		ready = slices.DeleteFunc(slices.Clone(sends), func(o *outgoing) bool { return o == nil })
	}
	if !out.batches.add(ready...) {
		err := p.errClosed(endpoint)
		for _, o := range sends {
			if o != nil {
				o.span.end(err)
			}
		}
		return err
	}
	for i, o := range sends {
		if o != nil {
			errs[i] = o.wait()
		}
	}
	return publishError(endpoint, messages, errs)
}

func (p *Publisher) errClosed(endpoint string) error {
	return fmt.Errorf("queue: publish to %q: the publisher is %w", endpoint, ErrClosed)
}

// outlet returns what publishes to the endpoint.
func (p *Publisher) outlet(name string) (*outlet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, p.errClosed(name)
	}
	if out, ok := p.outs[name]; ok {
		return out, nil
	}
	return p.addOutlet(name)
}

// addOutlet adds what publishes to the endpoint. It is apart because of what its
// variables take of the stack. p.mu is held.
func (p *Publisher) addOutlet(name string) (*outlet, error) {
	e, err := p.config.Endpoints.Resolve(name)
	if err != nil {
		return nil, fmt.Errorf("queue: publish: %w", err)
	}
	out, err := newOutlet(p.ctx, p.config.forEndpoint(e), e)
	if err != nil {
		return nil, err
	}
	p.outs[name] = out
	return out, nil
}

// Close sends what waits for company, and returns when everything is sent or
// CloseTimeout has passed; then the calls of Publish that still wait fail with
// [ErrClosed]. Further calls wait for the first.
func (p *Publisher) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	stop := time.AfterFunc(p.config.CloseTimeout, func() {
		p.cancel(fmt.Errorf("queue: the publisher is %w, and could not send within %v", ErrClosed, p.config.CloseTimeout))
	})
	defer stop.Stop()
	// No outlet is added any more.
	var closing sync.WaitGroup
	for _, out := range p.outs {
		closing.Go(out.batches.close)
	}
	closing.Wait()
	p.cancel(ErrClosed)
	p.closeIdle()
	return nil
}

// A PublishError says which messages of a call of [Publisher.Publish] failed.
// The others were sent. It matches the errors of all that failed.
type PublishError struct {
	// Endpoint is the topic that Publish was given.
	Endpoint string

	// Messages is the number of messages that Publish was given.
	Messages int

	// Failed are the messages that failed, in the order they were given.
	Failed []FailedMessage
}

// A FailedMessage is a message that was not published, as far as is known.
type FailedMessage struct {
	Index int // among the messages that Publish was given
	UUID  string
	Err   error
}

func publishError(endpoint string, messages []*message.Message, errs []error) error {
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return nil
	}
	e := &PublishError{Endpoint: endpoint, Messages: len(messages)}
	for i, err := range errs {
		if err != nil {
			e.Failed = append(e.Failed, FailedMessage{Index: i, UUID: messages[i].UUID, Err: err})
		}
	}
	return e
}

// maxReported bounds the failures that the text of a PublishError lists.
const maxReported = 3

func (e *PublishError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "queue: publish to %q: %d of %d messages failed", e.Endpoint, len(e.Failed), e.Messages)
	for i, f := range e.Failed {
		if i == maxReported {
			fmt.Fprintf(&b, "; and %d more", len(e.Failed)-i)
			break
		}
		fmt.Fprintf(&b, "; message %d (%s): %v", f.Index, f.UUID, f.Err)
	}
	return b.String()
}

// Unwrap returns the errors of the messages that failed.
func (e *PublishError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f.Err
	}
	return errs
}
