package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Schemes of the endpoint URLs that this package serves. Any other scheme
// belongs to another watermill transport and is carried opaque.
const (
	SchemeSQS = "sqs"
	SchemeSNS = "sns"
)

// Defaults of the fields of an [Endpoint] that are zero, and the bounds that
// SQS sets them.
const (
	DefaultMaxReceiveCount     = 5
	DefaultVisibility          = 30 * time.Second
	DefaultRetention           = 4 * 24 * time.Hour
	DefaultDeadLetterRetention = 14 * 24 * time.Hour
	DefaultConcurrency         = 64
	DefaultPollers             = 4
	DefaultMinPollers          = 1

	// DefaultMaxQueueMessage is the size limit of an SQS message: 1 MiB, with
	// its attributes.
	DefaultMaxQueueMessage = 1 << 20

	// DefaultMaxTopicMessage is the size limit of an SNS message: 256 KiB,
	// with its attributes.
	DefaultMaxTopicMessage = 256 << 10

	maxVisibility = 12 * time.Hour
	minRetention  = time.Minute
	maxRetention  = 14 * 24 * time.Hour
	maxDelay      = 15 * time.Minute
)

// An Endpoint is what configuration says about one logical name: where its
// messages are, and how they are handled there. Only Name and URL are
// required; [Endpoint.WithDefaults] fills in the rest.
//
// Concurrency, Pollers, MinPollers, Visibility, MaxReceiveCount, DeadLetter, Retention and
// Delay are about queues, and Subscriptions are about topics; [Endpoint.Validate]
// refuses them where they have no meaning.
type Endpoint struct {
	// Name is the logical name that code uses, such as "fares": the topic
	// argument of Publish and Subscribe.
	Name string

	// URL says where the endpoint is:
	//
	//	sqs://fares                 a queue of the client's own account
	//	sqs://123456789012/fares    a queue of another account
	//	sns://fares                 a topic, looked up by its name
	//	sns://123456789012/fares    a topic, addressed without a look-up
	//
	// Any other scheme is carried opaque, for another watermill transport.
	URL string

	// DeadLetter is the URL of the queue (sqs://fares-dlq) that takes the
	// messages of this one that failed for good. It is in the region and the
	// account of the endpoint. Empty means that there is none: a message that
	// fails stays until its retention ends.
	DeadLetter string

	// MaxReceiveCount is how many times a message may be received before it
	// goes to DeadLetter. Where the queue itself has a redrive policy, that
	// one counts. Defaults to 5.
	MaxReceiveCount int

	// Visibility is how long a received message is hidden from other
	// receivers, and so how soon it comes back after its receiver died. A
	// subscriber extends it while a handler runs. Whole seconds, at most 12
	// hours. Defaults to 30 s.
	Visibility time.Duration

	// Retention is how long the queue keeps a message, from 1 minute to 14
	// days in whole seconds. Defaults to 4 days, or for the dead-letter queue of
	// other endpoints to their DeadLetterRetention.
	Retention time.Duration

	// DeadLetterRetention is the retention of the dead-letter queue. On a
	// standard queue it counts from when the message was first sent, not from
	// when it was moved. Defaults to 14 days.
	DeadLetterRetention time.Duration

	// Delay hides every new message for a time, at most 15 minutes in whole
	// seconds. Defaults to none. [KeyDelay] delays a single message.
	Delay time.Duration

	// Concurrency caps the messages that handlers of one subscription hold at
	// once. Defaults to 64.
	//
	// A receive that is under way counts as well, for what it may bring:
	// handlers that take less time than a request to SQS want a higher cap.
	//
	// A subscription receives no more than it can hand out at once, because
	// what it gives back when it ends has spent one of the receives after which
	// a message goes to DeadLetter. What remains is what a receive brings that
	// is under way when the subscription ends, and the messages of a FIFO group
	// behind one that is out.
	Concurrency int

	// Pollers caps the receive calls that one subscription has open at once.
	// MinPollers are open while Concurrency has room; the others join while
	// receives come back full.
	// Defaults to 4, or to MinPollers where that is more.
	Pollers int

	// MinPollers is how many receive calls one subscription has open when its
	// queue is empty, too, so that a burst need not wait for the others to join.
	// Each costs a request in 20 s, and keeps up to ten of Concurrency to itself
	// while it waits. While SQS throttles there are fewer, and while a breaker is
	// not closed there is one at most. At most Pollers. Defaults to 1.
	MinPollers int

	// MaxMessageSize is the limit in bytes of a message with its attributes,
	// and of a batch. Publish checks it before sending. Defaults to 1 MiB for
	// a queue, and 256 KiB for a topic. Lower it where the queue's own
	// MaximumMessageSize attribute is lower.
	MaxMessageSize int

	// Attributes names metadata keys that stay native attributes of the
	// message when there are more than fit, because something filters on
	// them. The keys that the filters of Subscriptions name are added.
	Attributes []string

	// Region overrides the region of the aws.Config.
	Region string

	// Profile names the profile of the AWS SDK's own files whose credentials
	// are for this endpoint. Defaults to none, for those of the aws.Config.
	// Profile, RoleARN and ExternalID take effect through AWSFor, such as that of
	// package config; without AWSFor they are refused.
	Profile string

	// RoleARN is the role that is assumed for this endpoint, with the
	// credentials of Profile, and so the account whose queues and topics its
	// URL names: arn:aws:iam::123456789012:role/fares. Defaults to none.
	RoleARN string

	// ExternalID is what the trust policy of RoleARN asks for, if it does.
	ExternalID string

	// EndpointURL overrides the base URL of the service, as in
	// http://127.0.0.1:4566.
	EndpointURL string

	// Subscriptions are the queues that a topic delivers to.
	Subscriptions []Subscription
}

// Scopes of a subscription's filter policy.
const (
	// FilterAttributes matches the filter against the message's attributes.
	FilterAttributes = "MessageAttributes"

	// FilterBody matches the filter against the message's JSON body.
	FilterBody = "MessageBody"
)

// A Subscription delivers the messages of a topic to a queue.
type Subscription struct {
	// Endpoint is the name of the endpoint whose queue receives the messages.
	Endpoint string

	// Enveloped wraps every message in SNS's JSON envelope. By default
	// delivery is raw: body and attributes arrive as they were published. A
	// subscriber reads both.
	Enveloped bool

	// Filter is an SNS filter policy, a JSON object. Empty delivers all.
	Filter json.RawMessage

	// FilterScope is what Filter is matched against: [FilterAttributes], the
	// default, or [FilterBody].
	FilterScope string
}

// Scheme returns the scheme of the endpoint's URL, such as "sqs".
func (e Endpoint) Scheme() string {
	scheme, _, _ := strings.Cut(e.URL, "://")
	return scheme
}

// IsQueue reports whether the endpoint is an SQS queue.
func (e Endpoint) IsQueue() bool { return e.Scheme() == SchemeSQS }

// IsTopic reports whether the endpoint is an SNS topic.
func (e Endpoint) IsTopic() bool { return e.Scheme() == SchemeSNS }

// Resource returns the name of the queue or topic that the URL names, and the
// account that owns it where the URL says so. Both are empty for other
// schemes.
func (e Endpoint) Resource() (name, account string) {
	name, account, _ = ParseURL(e.URL)
	return name, account
}

// FIFO reports whether the endpoint is a FIFO queue or topic.
func (e Endpoint) FIFO() bool {
	return (e.IsQueue() || e.IsTopic()) && strings.HasSuffix(e.URL, fifoSuffix)
}

// WithDefaults returns the endpoint with its zero fields set to their
// defaults.
func (e Endpoint) WithDefaults() Endpoint {
	switch {
	case e.IsQueue():
		setDefault(&e.MaxReceiveCount, DefaultMaxReceiveCount)
		setDefault(&e.Visibility, DefaultVisibility)
		setDefault(&e.Retention, DefaultRetention)
		if e.DeadLetter != "" {
			setDefault(&e.DeadLetterRetention, DefaultDeadLetterRetention)
		}
		setDefault(&e.Concurrency, DefaultConcurrency)
		setDefault(&e.Pollers, max(DefaultPollers, e.MinPollers))
		setDefault(&e.MinPollers, DefaultMinPollers)
		setDefault(&e.MaxMessageSize, DefaultMaxQueueMessage)
	case e.IsTopic():
		setDefault(&e.MaxMessageSize, DefaultMaxTopicMessage)
		e.Subscriptions = slices.Clone(e.Subscriptions)
		for i := range e.Subscriptions {
			setDefault(&e.Subscriptions[i].FilterScope, FilterAttributes)
		}
	}
	return e
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports everything that is wrong with the endpoint. Fields that
// are zero are valid.
func (e Endpoint) Validate() error {
	v := &validation{name: e.Name}
	if e.Name == "" {
		v.add("Name", "is empty; want the logical name that code uses, such as fares")
	} else if strings.Contains(e.Name, "://") {
		v.add("Name", "%q is a URL; want a logical name, such as fares", e.Name)
	}
	if _, _, err := ParseURL(e.URL); err != nil {
		v.add("URL", "%v", err)
		return v.err()
	}
	v.validateServer(e)
	switch {
	case e.IsQueue():
		v.validateQueue(e)
	case e.IsTopic():
		v.validateTopic(e)
	default:
		v.validateOther(e)
	}
	return v.err()
}

// A validation collects what is wrong with one endpoint.
type validation struct {
	name string
	errs []error
}

func (v *validation) add(field, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("queue: endpoint %q: %s %s", v.name, field, fmt.Sprintf(format, args...)))
}

func (v *validation) err() error { return errors.Join(v.errs...) }

func (v *validation) validateServer(e Endpoint) {
	if e.EndpointURL != "" {
		u, err := url.Parse(e.EndpointURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			v.add("EndpointURL", "%q is not the base URL of a service; want for example http://127.0.0.1:4566", e.EndpointURL)
		} else if u.User != nil {
			v.add("EndpointURL", "has a user name or password; credentials come from the aws.Config")
		}
	}
	if e.RoleARN != "" && !roleRule.MatchString(e.RoleARN) {
		v.add("RoleARN", "%q is not the ARN of a role; want for example arn:aws:iam::123456789012:role/%s", e.RoleARN, e.Name)
	}
	if e.ExternalID != "" && e.RoleARN == "" {
		v.add("ExternalID", "is set, but RoleARN is not; it is what a role's trust policy asks for")
	}
	if e.MaxMessageSize < 0 {
		v.add("MaxMessageSize", "is %d bytes; want 0 for the default, or more", e.MaxMessageSize)
	}
}

func (v *validation) validateQueue(e Endpoint) {
	if e.DeadLetter != "" {
		name, account, err := ParseURL(e.DeadLetter)
		own, ownAccount := e.Resource()
		switch {
		case err != nil:
			v.add("DeadLetter", "%v", err)
		case !strings.HasPrefix(e.DeadLetter, SchemeSQS+"://"):
			v.add("DeadLetter", "%q is not a queue; want for example sqs://%s-dlq", e.DeadLetter, e.Name)
		case SameQueue(e.DeadLetter, e.URL):
			v.add("DeadLetter", "%q is the endpoint's own queue", e.DeadLetter)
		case account != ownAccount:
			v.add("DeadLetter", "%q: SQS moves messages within an account only, and the endpoint's queue is %s; want %s", e.DeadLetter, e.URL, strings.TrimSuffix(e.URL, own)+name)
		case strings.HasSuffix(e.DeadLetter, fifoSuffix) != e.FIFO():
			v.add("DeadLetter", "%q: the dead-letter queue of a FIFO queue is FIFO, and of a standard queue standard", e.DeadLetter)
		}
	}
	if e.MaxMessageSize > DefaultMaxQueueMessage {
		v.add("MaxMessageSize", "is %d bytes; SQS takes at most %d", e.MaxMessageSize, DefaultMaxQueueMessage)
	}
	v.number("MaxReceiveCount", e.MaxReceiveCount, 1000)
	v.number("Concurrency", e.Concurrency, 100_000)
	v.number("Pollers", e.Pollers, 1000)
	v.number("MinPollers", e.MinPollers, 1000)
	if e.Pollers > 0 && e.MinPollers > e.Pollers {
		v.add("MinPollers", "is %d; want at most Pollers, which is %d", e.MinPollers, e.Pollers)
	}
	v.seconds("Visibility", e.Visibility, time.Second, maxVisibility)
	v.seconds("Retention", e.Retention, minRetention, maxRetention)
	v.seconds("DeadLetterRetention", e.DeadLetterRetention, minRetention, maxRetention)
	v.seconds("Delay", e.Delay, time.Second, maxDelay)
	if len(e.Subscriptions) > 0 {
		v.add("Subscriptions", "are set, but %s is a queue; subscriptions belong to the topic's endpoint", e.URL)
	}
}

func (v *validation) validateTopic(e Endpoint) {
	v.noQueue(e, "is set, but %s is a topic; set it on the endpoints of the queues that subscribe")
	for i, s := range e.Subscriptions {
		field := fmt.Sprintf("Subscriptions[%d]", i)
		if s.Endpoint == "" {
			v.add(field, "has no Endpoint; want the name of the endpoint that receives the messages")
		}
		if len(s.Filter) > 0 {
			var policy map[string]json.RawMessage
			if err := json.Unmarshal(s.Filter, &policy); err != nil {
				v.add(field, "(%s): Filter is not a JSON object: %v", s.Endpoint, err)
			}
		}
		if s.FilterScope != "" && s.FilterScope != FilterAttributes && s.FilterScope != FilterBody {
			v.add(field, "(%s): FilterScope is %q; want %s or %s", s.Endpoint, s.FilterScope, FilterAttributes, FilterBody)
		}
	}
}

// validateOther refuses what another transport would not do.
func (v *validation) validateOther(e Endpoint) {
	v.noQueue(e, "is set, but %s is of another transport, which this setting has no effect on")
	if len(e.Subscriptions) > 0 {
		v.add("Subscriptions", "are set, but %s is no topic of SNS", e.URL)
	}
}

// noQueue refuses what only queues have. The format is given the URL.
func (v *validation) noQueue(e Endpoint, format string) {
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"DeadLetter", e.DeadLetter != ""},
		{"MaxReceiveCount", e.MaxReceiveCount != 0},
		{"Visibility", e.Visibility != 0},
		{"Retention", e.Retention != 0},
		{"DeadLetterRetention", e.DeadLetterRetention != 0},
		{"Delay", e.Delay != 0},
		{"Concurrency", e.Concurrency != 0},
		{"Pollers", e.Pollers != 0},
		{"MinPollers", e.MinPollers != 0},
	} {
		if f.set {
			v.add(f.field, format, e.URL)
		}
	}
}

func (v *validation) number(field string, n, limit int) {
	if n < 0 || n > limit {
		v.add(field, "is %d; want 1 to %d, or 0 for the default", n, limit)
	}
}

func (v *validation) seconds(field string, d, least, most time.Duration) {
	switch {
	case d == 0:
	case d < least || d > most:
		v.add(field, "is %v; want %v to %v, or 0 for the default", d, least, most)
	case d%time.Second != 0:
		v.add(field, "is %v; SQS counts whole seconds", d)
	}
}

const fifoSuffix = ".fifo"

var (
	schemeRule  = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)
	accountRule = regexp.MustCompile(`^[0-9]{12}$`)
	roleRule    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\x21-\x7e]{1,576}$`)
	queueRule   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$|^[A-Za-z0-9_-]{1,75}\.fifo$`)
	topicRule   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$|^[A-Za-z0-9_-]{1,251}\.fifo$`)
)

// ParseURL checks an endpoint's URL and returns the name of the queue or topic
// and, where the URL has one, the account that owns it. For a scheme other
// than sqs and sns it returns neither.
func ParseURL(rawURL string) (name, account string, err error) {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok || !schemeRule.MatchString(scheme) {
		return "", "", fmt.Errorf("%q is not an endpoint URL; want for example sqs://fares or sns://fares", rawURL)
	}
	rule := queueRule
	switch scheme {
	case SchemeSQS:
	case SchemeSNS:
		rule = topicRule
	default:
		return "", "", nil
	}
	name = rest
	if before, after, ok := strings.Cut(rest, "/"); ok {
		account, name = before, after
		if !accountRule.MatchString(account) {
			return "", "", fmt.Errorf("%q: %q is not an account of 12 digits; want %s://NAME or %s://ACCOUNT/NAME", rawURL, account, scheme, scheme)
		}
	}
	if !rule.MatchString(name) {
		limit := 80
		if scheme == SchemeSNS {
			limit = 256
		}
		return "", "", fmt.Errorf("%q: %q cannot name a queue or topic; want 1 to %d letters, digits, - or _, with .fifo at the end if it is FIFO", rawURL, name, limit)
	}
	return name, account, nil
}
