package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/waybill-dev/waybill/queue"
)

// DefaultDrainTimeout is the DrainTimeout of a [Config] without one: that of a
// queue.Subscriber.
const DefaultDrainTimeout = queue.DefaultDrainTimeout

// A Config configures a [Pipeline].
type Config struct {
	// Publisher and Subscriber carry the messages. Required. The pipeline
	// closes neither. A queue.Subscriber must have DeliverUndecodable set, so
	// that what cannot be decoded goes to a dead-letter queue with the reason.
	Publisher  message.Publisher
	Subscriber message.Subscriber

	// Endpoints are what the names in routes mean: Run checks that they are
	// configured, and dead letters go to the DeadLetter of the endpoint that
	// they came from. Give it the set that Publisher and Subscriber have. Nil
	// is for other transports: names are topics then, and nothing is checked.
	Endpoints *queue.Endpoints

	// Wiring overrides the routes that the program gives its filters.
	Wiring Wiring

	// DeadLetter is the endpoint or topic for dead letters from endpoints that
	// have none of their own. Defaults to none: what failed for good is then
	// nacked, and stays in its queue.
	DeadLetter string

	// Retry is the policy of filters without one of their own.
	Retry Retry

	// Codec turns bodies into values. Defaults to [JSON].
	Codec Codec

	// Middleware wraps all filters; the first is the outermost.
	Middleware []Middleware

	// Propagate names metadata that is copied from inputs to outputs which
	// lack it. The correlation id and the message group always are.
	Propagate []string

	// History has messages list the filters that they came through, in the
	// metadata [KeyHistory]; the last 32 are kept.
	History bool

	// DrainTimeout is how long Run leaves running filters be after its context
	// ended, before it ends theirs. A queue.Subscriber has a timeout of its
	// own for that; the shorter counts. Defaults to 20 s.
	DrainTimeout time.Duration

	// Logger receives what becomes of messages that fail. Defaults to none.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Publisher == nil:
		return errors.New("pipeline: Config has no Publisher")
	case c.Subscriber == nil:
		return errors.New("pipeline: Config has no Subscriber")
	case !deliversAll(c.Subscriber):
		return errors.New("pipeline: Config: the Subscriber keeps messages that cannot be decoded to itself, and they would go to the dead-letter queue without a reason; set DeliverUndecodable in its queue.SubscriberConfig")
	case c.DrainTimeout < 0:
		return fmt.Errorf("pipeline: Config: DrainTimeout is %v; want more than 0, or 0 for the default", c.DrainTimeout)
	}
	if err := c.Retry.validate(); err != nil {
		return fmt.Errorf("pipeline: Config: Retry: %w", err)
	}
	if c.DeadLetter != "" && c.Endpoints != nil {
		if _, err := c.Endpoints.Resolve(c.DeadLetter); err != nil {
			return fmt.Errorf("pipeline: Config: DeadLetter: %w", err)
		}
	}
	return nil
}

// deliversAll reports whether a subscriber delivers the messages that it cannot
// decode, as far as it tells.
func deliversAll(s message.Subscriber) bool {
	d, ok := s.(interface{ DeliversUndecodable() bool })
	return !ok || d.DeliversUndecodable()
}

func (c *Config) setDefaults() {
	c.Retry = defaultRetry.over(c.Retry)
	setDefault(&c.DrainTimeout, DefaultDrainTimeout)
	if c.Codec == nil {
		c.Codec = JSON
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// A Pipeline is a set of filters and the routes between them.
type Pipeline struct {
	config  Config
	filters map[string]*filter
	errs    []error // of Handle
}

// New returns a pipeline without filters. It makes no calls.
func New(config Config) (*Pipeline, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	config.setDefaults()
	return &Pipeline{config: config, filters: map[string]*filter{}}, nil
}

// nameRule holds for names of filters, which go into configuration, metadata
// and idempotency keys.
var nameRule = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,80}$`)

// Handle adds a filter under a name that no other has. Its route is given by
// options, by Config.Wiring, or by both. What is wrong is an error of Run.
// Handle must not be called after Run.
func (p *Pipeline) Handle(name string, h Handler, opts ...Option) {
	f := &filter{name: name, config: &p.config, handler: h}
	for _, o := range opts {
		o(f)
	}
	switch {
	case !nameRule.MatchString(name):
		p.errs = append(p.errs, fmt.Errorf("pipeline: %q cannot name a filter; want 1 to 80 of letters, digits, '.', - and _", name))
	case p.filters[name] != nil:
		p.errs = append(p.errs, fmt.Errorf("pipeline: filter %q is there twice", name))
	default:
		p.filters[name] = f
	}
	f.route = f.route.over(p.config.Wiring[name])
	if err := f.prepare(); err != nil {
		p.errs = append(p.errs, err)
	}
}

// Filters returns the names of the filters, sorted.
func (p *Pipeline) Filters() []string { return slices.Sorted(maps.Keys(p.filters)) }

// Route returns the route of a filter, as options and Config.Wiring make it.
func (p *Pipeline) Route(name string) (Route, bool) {
	f, ok := p.filters[name]
	if !ok {
		return Route{}, false
	}
	return f.route, true
}

// Run runs the filters of those names, or all, until ctx ends. Each may run
// alone in a process of its own, and in any number of processes. Run returns an
// error at once if anything is wrong with a filter's route or endpoint.
//
// When ctx ends, Run stops receiving, waits for the filters that are at work,
// and returns nil. After Config.DrainTimeout it ends their contexts, and their
// messages go back to their queues. A filter that does not return even then is
// left behind, and the error says which.
func (p *Pipeline) Run(ctx context.Context, names ...string) error {
	filters, err := p.choose(names)
	if err != nil {
		return err
	}
	r := newRun(ctx, p.config.DrainTimeout)
	defer r.close()
	for _, f := range filters {
		if err := r.start(f); err != nil {
			r.stop(err)
			break
		}
	}
	<-r.ctx.Done()
	err = context.Cause(r.ctx)
	if err == context.Cause(ctx) {
		err = nil
	}
	return errors.Join(err, r.wait())
}

// choose returns the filters of those names, or all, after checking them.
func (p *Pipeline) choose(names []string) ([]*filter, error) {
	errs := slices.Clone(p.errs)
	if len(names) == 0 {
		names = p.Filters()
	}
	if len(names) == 0 {
		errs = append(errs, errors.New("pipeline: there is no filter to run; add one with Handle"))
	}
	var filters []*filter
	for _, name := range names {
		f, ok := p.filters[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("pipeline: there is no filter %q; there are: %s", name, strings.Join(p.Filters(), ", ")))
		case !slices.Contains(filters, f):
			filters = append(filters, f)
			errs = append(errs, f.validate()...)
		}
	}
	if p.config.Endpoints != nil {
		errs = append(errs, rivals(filters)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return filters, nil
}

// rivals reports filters that receive from the same queue, where each message
// would reach only one of them.
func rivals(filters []*filter) (errs []error) {
	receivers := map[string]string{}
	for _, f := range filters {
		if other, ok := receivers[f.route.From]; ok {
			errs = append(errs, fmt.Errorf("pipeline: filters %q and %q both receive from endpoint %q, where a message reaches one of them; send to a queue for each, or to a topic that both queues subscribe to", other, f.name, f.route.From))
		}
		receivers[f.route.From] = f.name
	}
	return errs
}
