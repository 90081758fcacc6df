package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SQSAdmin is the part of [*sqs.Client] that an [Admin] calls.
type SQSAdmin interface {
	SQSReceiver
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
	ListQueues(context.Context, *sqs.ListQueuesInput, ...func(*sqs.Options)) (*sqs.ListQueuesOutput, error)
	ListDeadLetterSourceQueues(context.Context, *sqs.ListDeadLetterSourceQueuesInput, ...func(*sqs.Options)) (*sqs.ListDeadLetterSourceQueuesOutput, error)
}

// An AdminConfig configures an [Admin].
type AdminConfig struct {
	// AWS is the configuration of the client that is made where SQS is nil.
	// Its HTTP client is improved as [NewHTTPClient] describes.
	AWS aws.Config

	// SQS is the client to use. It defaults to a client of AWS. The Region and
	// EndpointURL of an endpoint take effect with either.
	SQS SQSAdmin

	// AWSFor gives the queues of each [Place] a configuration of their own; AWS
	// and SQS are not used then. It is called once for each place, with the
	// first endpoint that is there; and with an endpoint of no name for all
	// that configuration does not name. Nil has all use AWS, or SQS.
	AWSFor func(Endpoint) aws.Config

	// Endpoints resolves logical names. Nil knows none.
	Endpoints *Endpoints

	// Logger receives what is not part of a result. Defaults to none.
	Logger *slog.Logger

	// Stats counts requests. Defaults to none.
	Stats *Stats
}

// An Admin finds queues, for tools that look at queues and move what is in
// them, whoever filled them. It is safe for concurrent use.
type Admin struct {
	client    SQSAdmin // without awsFor
	region    string   // of what has none of its own
	endpoints *Endpoints
	log       *slog.Logger
	stats     *Stats

	awsFor func(Endpoint) aws.Config // nil: all use client

	mu      sync.Mutex
	clients map[Place]SQSAdmin
}

// NewAdmin returns an admin. It makes no calls.
func NewAdmin(config AdminConfig) (*Admin, error) {
	if config.AWSFor == nil {
		if err := checkIdentities("AdminConfig", config.Endpoints); err != nil {
			return nil, err
		}
	}
	if config.AWS.Region == "" && config.SQS == nil && config.AWSFor == nil && !allRegional(config.Endpoints) {
		return nil, errors.New("queue: AdminConfig: AWS has no Region; set it, AWS_REGION, or the Region of every endpoint")
	}
	if config.SQS == nil {
		config.SQS = sqs.NewFromConfig(clientConfig(config.AWS))
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Admin{client: config.SQS, endpoints: config.Endpoints, log: config.Logger, stats: config.Stats, awsFor: config.AWSFor, region: config.AWS.Region}
	if c, ok := config.SQS.(*sqs.Client); ok {
		a.region = c.Options().Region
	}
	if a.awsFor != nil {
		a.clients = make(map[Place]SQSAdmin)
		a.region = a.awsFor(Endpoint{}).Region
	}
	return a, nil
}

// clientOf returns the client of an endpoint.
func (a *Admin) clientOf(e Endpoint) SQSAdmin {
	if a.awsFor == nil {
		return a.client
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := e.Place()
	c, ok := a.clients[p]
	if !ok {
		first := Endpoint{}.At(p)
		for other := range a.endpoints.All() {
			if other.Place() == p {
				first = other
				break
			}
		}
		c = sqs.NewFromConfig(clientConfig(a.awsFor(first)))
		a.clients[p] = c
	}
	return c
}

// Place returns where an endpoint is. Endpoints that name the region which they
// would have anyway are where those are that name none.
func (a *Admin) Place(e Endpoint) Place {
	p := e.Place()
	if p.Region == a.region {
		p.Region = ""
	}
	return p
}

// Endpoints returns the endpoints that the admin resolves.
func (a *Admin) Endpoints() *Endpoints { return a.endpoints }

// A Queue is a queue that exists. Its methods handle messages as they are on
// the wire.
type Queue struct {
	// Endpoint is the endpoint whose queue it is. For a queue that
	// configuration does not name it has defaults, and the name of the queue.
	Endpoint Endpoint

	// Name is the queue's name, URL the URL by which SQS knows it.
	Name, URL string

	client SQSAdmin
	log    *slog.Logger
	opt    func(*sqs.Options)
}

// Queue finds a queue. It takes the name of an endpoint, an endpoint's URL
// (sqs://fares), the name of a queue with or without the namespace, its URL
// (https://sqs.eu-west-1.amazonaws.com/123456789012/fares), and its ARN. What
// is none of them is an [*UnknownEndpointError]; a queue that does not exist is
// [ErrNotFound].
func (a *Admin) Queue(ctx context.Context, name string) (*Queue, error) {
	candidates, err := a.candidates(name)
	if err != nil {
		return nil, err
	}
	for i, e := range candidates {
		q := a.at(e)
		if q.URL, err = lookupQueue(ctx, q.client, e, q.opt); err == nil {
			return q, nil
		}
		// The credentials of another place may not look.
		if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrAccess) || i == len(candidates)-1 {
			return nil, err
		}
	}
	return nil, a.endpoints.unknown(name)
}

// candidates returns the endpoints that the name may mean, the likeliest first.
func (a *Admin) candidates(name string) ([]Endpoint, error) {
	if rawURL, region, ok := parseServiceName(name); ok {
		return a.configured(rawURL, region), nil
	}
	if e, err := a.endpoints.Resolve(name); err == nil {
		if !e.IsQueue() {
			return nil, fmt.Errorf("queue: endpoint %q: %w: %s is not a queue", name, ErrInvalid, e.URL)
		}
		if e.Name == name && e.URL == name { // not of the set
			return a.configured(name, ""), nil
		}
		return []Endpoint{e}, nil
	} else if errors.Is(err, ErrInvalid) {
		return nil, err
	}
	bare := SchemeSQS + "://" + name
	if _, _, err := ParseURL(bare); err != nil {
		return nil, a.endpoints.unknown(name)
	}
	urls := []string{bare}
	if full := Qualify(a.endpoints.Namespace(), bare); full != bare {
		urls = append(urls, full)
	}
	var candidates []Endpoint
	for _, u := range urls {
		if _, err := a.endpoints.deadLetterPlace(u); err != nil {
			return nil, err
		}
		candidates = append(candidates, a.configured(u, "")...)
	}
	return candidates, nil
}

// QueueName returns the name of the queue that an sqs:// URL, a URL of SQS's
// own or an ARN names, or empty if it is none of them.
func QueueName(url string) string {
	if rawURL, _, ok := parseServiceName(url); ok {
		url = rawURL
	}
	if !strings.HasPrefix(url, SchemeSQS+"://") {
		return ""
	}
	name, _, _ := ParseURL(url)
	return name
}

// parseServiceName reads SQS's own URL or the ARN of a queue. The region is
// empty where the name does not tell.
func parseServiceName(name string) (rawURL, region string, ok bool) {
	if arn := strings.Split(name, ":"); len(arn) == 6 && arn[0] == "arn" && arn[2] == "sqs" {
		rawURL = SchemeSQS + "://" + arn[4] + "/" + arn[5]
		if strings.Contains(arn[3], "-") { // ElasticMQ's ARNs have its name there
			region = arn[3]
		}
	} else {
		u, err := url.Parse(name)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
			return "", "", false
		}
		path := strings.Split(strings.Trim(u.Path, "/"), "/")
		if len(path) < 2 {
			return "", "", false
		}
		rawURL = SchemeSQS + "://" + strings.Join(path[len(path)-2:], "/")
		if host := strings.Split(u.Hostname(), "."); len(host) >= 4 && host[0] == "sqs" && host[2] == "amazonaws" {
			region = host[1]
		}
	}
	_, _, err := ParseURL(rawURL)
	return rawURL, region, err == nil
}

// configured returns the endpoint of a queue: one of configuration whose queue
// it is, or one of defaults, in each place where there can be one. A dead-letter
// queue is where its endpoint is. A region or an account that is known tells apart
// those of one name; but not every server means a region by that of its ARNs.
func (a *Admin) configured(rawURL, region string) []Endpoint {
	name, account, _ := ParseURL(rawURL)
	var found, others []Endpoint
	seen := make(map[Place]bool)
	add := func(near, e Endpoint) {
		ours, role := near.Region, near.RoleAccount()
		setDefault(&ours, a.region)
		fits := (region == "" || ours == "" || ours == region) && (account == "" || role == "" || account == role)
		p := near.Place()
		if seen[p] {
			return
		}
		seen[p] = true
		if fits {
			found = append(found, e.At(p))
		} else {
			others = append(others, e.At(p))
		}
	}
	for e := range a.endpoints.All() {
		if e.IsQueue() && SameQueue(e.URL, rawURL) {
			add(e, e)
		}
	}
	byDefault := Endpoint{Name: name, URL: rawURL}.WithDefaults()
	for e := range a.endpoints.All() {
		if e.DeadLetter != "" && SameQueue(e.DeadLetter, rawURL) {
			dead := byDefault
			dead.Retention = a.endpoints.deadLetterRetention(Endpoint{URL: e.DeadLetter}.At(e.Place()))
			add(e, dead)
		}
	}
	if len(found) == 0 {
		e := append(others, byDefault)[0]
		if e.Profile == "" && e.RoleARN == "" && region != a.region {
			setDefault(&e.Region, region)
		}
		return []Endpoint{e}
	}
	if account == "" {
		return found[:1]
	}
	return found
}

// nearby returns the endpoint of a queue at a place: one of configuration, or
// one of defaults.
func (a *Admin) nearby(name string, near Endpoint) Endpoint {
	rawURL := SchemeSQS + "://" + name
	for e := range a.endpoints.All() {
		if e.IsQueue() && SameQueue(e.URL, rawURL) && a.Place(e) == a.Place(near) {
			return e
		}
	}
	return Endpoint{Name: name, URL: rawURL}.At(near.Place()).WithDefaults()
}

// SameQueue reports whether two sqs:// URLs can mean the same queue: an account
// that only one of them names is the client's own.
func SameQueue(a, b string) bool {
	nameA, accountA, errA := ParseURL(a)
	nameB, accountB, errB := ParseURL(b)
	return errA == nil && errB == nil && nameA != "" && nameA == nameB &&
		(accountA == accountB || accountA == "" || accountB == "")
}

func (a *Admin) at(e Endpoint) *Queue {
	name, _ := e.Resource()
	return &Queue{Endpoint: e, Name: name, client: a.clientOf(e), log: a.log, opt: sqsOptions(e, a.stats)}
}

// Queues yields the queues whose names begin with the prefix, in the account
// and region of the client, and in each [Place] of an endpoint.
func (a *Admin) Queues(ctx context.Context, prefix string) iter.Seq2[*Queue, error] {
	return func(yield func(*Queue, error) bool) {
		// Those of several credentials may be the same. Not every server's URLs
		// tell regions apart.
		type listed struct{ url, region, server string }
		seen := make(map[listed]bool)
		for _, near := range a.places() {
			for q, err := range a.queuesAt(ctx, prefix, near) {
				if err != nil {
					yield(nil, err)
					return
				}
				p := a.Place(near)
				key := listed{q.URL, p.Region, p.EndpointURL}
				if seen[key] {
					continue
				}
				if !yield(q, nil) {
					return
				}
				seen[key] = true
			}
		}
	}
}

// places returns an endpoint for each place that there is.
func (a *Admin) places() []Endpoint {
	list := []Endpoint{{}}
	if a.region == "" && a.awsFor == nil && a.client != nil {
		list = nil
	}
	seen := map[Place]bool{{}: true}
	for e := range a.endpoints.All() {
		if p := a.Place(e); e.IsQueue() && !seen[p] {
			seen[p] = true
			list = append(list, Endpoint{Name: e.Name}.At(e.Place()))
		}
	}
	return list
}

func (a *Admin) queuesAt(ctx context.Context, prefix string, near Endpoint) iter.Seq2[*Queue, error] {
	return func(yield func(*Queue, error) bool) {
		in := &sqs.ListQueuesInput{MaxResults: aws.Int32(1000)}
		if prefix != "" {
			in.QueueNamePrefix = aws.String(prefix)
		}
		for {
			out, err := a.clientOf(near).ListQueues(ctx, in, sqsOptions(near, a.stats))
			if err != nil {
				yield(nil, newError("ListQueues", Endpoint{Name: cmp.Or(near.Name, prefix+"*"), URL: "all queues"}, err))
				return
			}
			for _, u := range out.QueueUrls {
				q, err := a.listed(u, near)
				if !yield(q, err) || err != nil {
					return
				}
			}
			if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
				return
			}
		}
	}
}

// listed returns the queue of a URL that SQS gave: one of the client's own
// account, where near is.
func (a *Admin) listed(rawURL string, near Endpoint) (*Queue, error) {
	u, _, ok := parseServiceName(rawURL)
	if !ok {
		return nil, fmt.Errorf("queue: %w: the service lists %q, which is not the URL of a queue", ErrUnavailable, rawURL)
	}
	name, _, _ := ParseURL(u)
	q := a.at(a.nearby(name, near))
	q.URL = rawURL
	return q, nil
}

// QueueAttributes are what SQS says about a queue. Its counts are approximate.
type QueueAttributes struct {
	ARN string

	// Visible, InFlight and Delayed count the messages that can be received,
	// that some receiver holds, and that are delayed.
	Visible, InFlight, Delayed int

	// Retention is how long the queue keeps a message.
	Retention time.Duration

	// DeadLetter is the ARN of the queue's dead-letter queue, and
	// MaxReceiveCount the receives after which it goes there. Empty and 0
	// where the queue has no redrive policy.
	DeadLetter      string
	MaxReceiveCount int

	// Visibility is the queue's visibility timeout.
	Visibility time.Duration

	// At is the service's time of the answer, in whole seconds; the local
	// time where the service does not tell.
	At time.Time
}

// Attributes asks for the attributes of the queue.
func (q *Queue) Attributes(ctx context.Context) (QueueAttributes, error) {
	const op = "GetQueueAttributes"
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := q.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: aws.String(q.URL), AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameAll},
	}, q.opt)
	if err != nil {
		return QueueAttributes{}, newError(op, q.Endpoint, err)
	}
	number := func(name sqstypes.QueueAttributeName) int {
		n, _ := strconv.Atoi(out.Attributes[string(name)])
		return n
	}
	a := QueueAttributes{
		ARN:        out.Attributes[string(sqstypes.QueueAttributeNameQueueArn)],
		Visible:    number(sqstypes.QueueAttributeNameApproximateNumberOfMessages),
		InFlight:   number(sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible),
		Delayed:    number(sqstypes.QueueAttributeNameApproximateNumberOfMessagesDelayed),
		Retention:  time.Duration(number(sqstypes.QueueAttributeNameMessageRetentionPeriod)) * time.Second,
		Visibility: time.Duration(number(sqstypes.QueueAttributeNameVisibilityTimeout)) * time.Second,
		At:         time.Now(),
	}
	policy := out.Attributes[string(sqstypes.QueueAttributeNameRedrivePolicy)]
	a.DeadLetter = deadLetterTarget(policy)
	a.MaxReceiveCount, _ = maxReceiveCount(policy)
	if at, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
		a.At = at
	}
	return a, nil
}

// Sources returns the queues whose redrive policy names this one as their
// dead-letter queue.
func (a *Admin) Sources(ctx context.Context, q *Queue) ([]*Queue, error) {
	var sources []*Queue
	in := &sqs.ListDeadLetterSourceQueuesInput{QueueUrl: aws.String(q.URL), MaxResults: aws.Int32(1000)}
	for {
		out, err := q.client.ListDeadLetterSourceQueues(ctx, in, q.opt)
		if err != nil {
			return nil, newError("ListDeadLetterSourceQueues", q.Endpoint, err)
		}
		for _, u := range out.QueueUrls {
			source, err := a.listed(u, q.Endpoint)
			if err != nil {
				return nil, err
			}
			sources = append(sources, source)
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return sources, nil
		}
	}
}

// deadLetterTarget reads the ARN in a redrive policy.
func deadLetterTarget(policy string) string {
	var p struct {
		Target string `json:"deadLetterTargetArn"`
	}
	if json.Unmarshal([]byte(policy), &p) != nil {
		return ""
	}
	return p.Target
}
