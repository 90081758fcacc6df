package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// A Config configures a [Client].
type Config struct {
	// Queues finds the queues, and has the endpoints of configuration.
	// Required.
	Queues *queue.Admin

	// Payloads is the store of the payloads that messages refer to: a redrive
	// has it keep them for as long as it gives their messages, and a peek, a
	// filter and an edit see them. Without it, one that is redriven late may
	// come without its payload. Defaults to none.
	Payloads queue.PayloadStore

	// MaxPayload is the size in bytes of the largest payload that a peek, a
	// filter or an edit sees. A redrive keeps those of any size. Defaults to
	// [queue.DefaultMaxPayload].
	MaxPayload int

	// Jobs keeps the journals of redrives, and the lease that lets one at a time
	// work on a queue. Without it there is neither, and what was interrupted
	// cannot be resumed. Defaults to none.
	Jobs store.Jobs

	// Records tells a canary which messages their receivers are done with. Without
	// it that is inferred. Defaults to none.
	Records store.KeyRecords

	// Lease is for how long a redrive that is not heard of keeps others from its
	// queue. Defaults to 30 seconds.
	Lease time.Duration

	// Audit keeps a record of each redrive that sends, and of each that is
	// cancelled. Defaults to none.
	Audit store.Audit

	// Catalogue keeps the dead letters that [Client.Ingest] has taken out of their
	// queues. Defaults to none.
	Catalogue store.Catalogue

	// Logger receives what is not part of a result, such as a message that
	// could not be returned to its queue. Defaults to none.
	Logger *slog.Logger
}

// DefaultLease is the default of Config.Lease.
const DefaultLease = 30 * time.Second

// A Client looks into dead-letter queues and redrives them. It is safe for
// concurrent use.
type Client struct {
	queues     *queue.Admin
	payloads   queue.PayloadStore
	maxPayload int
	jobs       store.Jobs
	lease      time.Duration
	audit      store.Audit
	records    store.KeyRecords
	catalogue  store.Catalogue
	catalogued bool // it works on the catalogue
	log        *slog.Logger
}

// New returns a client. It makes no calls.
func New(config Config) (*Client, error) {
	if config.Queues == nil {
		return nil, errors.New("dlq: Config has no Queues")
	}
	if config.MaxPayload < 0 {
		return nil, fmt.Errorf("dlq: Config: MaxPayload is %d; want more than 0, or 0 for the default", config.MaxPayload)
	}
	if config.MaxPayload == 0 {
		config.MaxPayload = queue.DefaultMaxPayload
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Lease < 0 {
		return nil, fmt.Errorf("dlq: Config: Lease is %v; want more than 0, or 0 for the default", config.Lease)
	}
	return &Client{
		queues: config.Queues, payloads: config.Payloads, maxPayload: config.MaxPayload,
		jobs: config.Jobs, lease: cmp.Or(config.Lease, DefaultLease), audit: config.Audit, records: config.Records, catalogue: config.Catalogue, log: config.Logger,
	}, nil
}

// A Queue is a dead-letter queue as [Client.List] finds it.
type Queue struct {
	// Name is the queue's name, and URL what SQS knows it by.
	Name string `json:"name"`
	URL  string `json:"url"`

	// Messages, InFlight and Delayed count the messages that can be received,
	// that some receiver holds, and that are delayed. SQS calls its counts
	// approximate.
	Messages int `json:"messages"`
	InFlight int `json:"in_flight"`
	Delayed  int `json:"delayed"`

	// Retention is how long the queue keeps a message, counted from when it was
	// first sent on a standard queue. 0 where the service does not tell. In JSON
	// it is retention_seconds.
	Retention time.Duration `json:"-"`

	// Missing says that configuration or a redrive policy names the queue, and
	// it does not exist.
	Missing bool `json:"missing,omitempty"`

	// Unreadable says that the credentials do not permit to read the queue's
	// attributes: counts and retention are not known, nor whether it is the
	// dead-letter queue of others, or has one. Its Sources are those that tell.
	Unreadable bool `json:"unreadable,omitempty"`

	// Sources are the queues whose dead letters it takes.
	Sources []Source `json:"sources"`

	// Growth is how it has grown since it was seen last, or nil where that is not
	// known: see [Seen]. Oldest is the age of its oldest message, or nil where
	// [Client.FindAges] was not asked.
	Growth *Growth `json:"growth,omitempty"`
	Oldest *Oldest `json:"oldest,omitempty"`

	queue *queue.Queue // nil where it is missing
	arn   string       // empty where it could not be read
}

// A Source is a queue that a dead-letter queue belongs to.
type Source struct {
	// Name is the queue's name, and Endpoint the name that configuration has
	// for it, if any.
	Name     string `json:"name"`
	Endpoint string `json:"endpoint,omitempty"`

	// MaxReceiveCount is the number of receives after which the queue's
	// redrive policy moves a message; 0 if it has none.
	MaxReceiveCount int `json:"max_receive_count"`
}

// listCalls is how many queues List asks about at once.
const listCalls = 16

// List returns the dead-letter queues: the queues that a redrive policy names,
// and those that configuration does. It looks at all queues of the account and
// region, and of those that endpoints have of their own, or of the namespace if the endpoints have one, with a request for
// each. A queue that may not be read is listed as Unreadable, whether others
// have it as their dead-letter queue or not; if none may be read, List returns
// the error.
func (c *Client) List(ctx context.Context) ([]Queue, error) {
	prefix := c.queues.Endpoints().Namespace()
	if prefix != "" {
		prefix += "-"
	}
	var all []*queue.Queue
	for q, err := range c.queues.Queues(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("dlq: %w", err)
		}
		all = append(all, q)
	}
	attributes := make([]queue.QueueAttributes, len(all))
	denied := make([]error, len(all))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(listCalls)
	for i, q := range all {
		group.Go(func() error {
			var err error
			attributes[i], err = q.Attributes(gctx)
			switch {
			case errors.Is(err, queue.ErrNotFound): // deleted meanwhile
				return nil
			case errors.Is(err, queue.ErrAccess):
				denied[i] = err
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	if len(all) > 0 && !slices.Contains(denied, nil) {
		return nil, fmt.Errorf("dlq: none of %d queues may be read: %w", len(all), denied[0])
	}
	return c.assemble(all, attributes, denied), nil
}

// assemble finds the dead-letter queues among all queues.
func (c *Client) assemble(all []*queue.Queue, attributes []queue.QueueAttributes, denied []error) []Queue {
	type key struct {
		place queue.Place
		name  string
	}
	found := map[key]*Queue{}
	at := func(near queue.Endpoint, name string) *Queue {
		k := key{c.queues.Place(near), name}
		q, ok := found[k]
		if !ok {
			q = &Queue{Name: name, Missing: true, Sources: []Source{}}
			found[k] = q
		}
		return q
	}
	for i, q := range all {
		if target := attributes[i].DeadLetter; target != "" {
			dead := at(q.Endpoint, target[strings.LastIndexByte(target, ':')+1:])
			dead.Sources = append(dead.Sources, Source{Name: q.Name, Endpoint: configuredName(q), MaxReceiveCount: attributes[i].MaxReceiveCount})
		}
	}
	for e := range c.queues.Endpoints().All() {
		if e.DeadLetter == "" {
			continue
		}
		name, _, _ := queue.ParseURL(e.DeadLetter)
		dead, source := at(e, name), Source{Endpoint: e.Name}
		source.Name, _ = e.Resource()
		if !slices.ContainsFunc(dead.Sources, func(s Source) bool { return s.Name == source.Name }) {
			dead.Sources = append(dead.Sources, source)
		}
	}
	for i, q := range all {
		if denied[i] != nil {
			dead := at(q.Endpoint, q.Name)
			dead.URL, dead.Missing, dead.Unreadable, dead.queue = q.URL, false, true, q
		} else if dead, ok := found[key{c.queues.Place(q.Endpoint), q.Name}]; ok {
			a := attributes[i]
			dead.URL, dead.Missing, dead.queue = q.URL, a.ARN == "", q
			dead.arn = a.ARN
			dead.Messages, dead.InFlight, dead.Delayed, dead.Retention = a.Visible, a.InFlight, a.Delayed, a.Retention
		}
	}
	var list []Queue
	for _, q := range found {
		slices.SortFunc(q.Sources, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
		list = append(list, *q)
	}
	slices.SortFunc(list, func(a, b Queue) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.URL, b.URL)) })
	return list
}

// configuredName returns the name that configuration has for the queue.
func configuredName(q *queue.Queue) string {
	if q.Endpoint.Name == q.Name {
		return ""
	}
	return q.Endpoint.Name
}
