package emulator

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/waybill-dev/waybill/eventpattern"
)

// Bounds of what a subscription is made of. A filter policy has at most 256 KiB: SNS developer guide, "Filter policy
// constraints".
const (
	maxSubscriptionSettingLen = 256 << 10
	maxEndpointLen            = 2048
)

// subscription is that of a queue, a URL or a function to a topic.
type subscription struct {
	arn      string
	topic    *topic
	protocol string
	address  string   // the queue's or function's ARN, or the URL
	endpoint endpoint // nil for a queue
	owner    string

	// Those over HTTP must be confirmed, with this token.
	token string
	asked time.Time

	mu      sync.Mutex
	pending bool
	guarded bool      // only signed requests may end it
	next    time.Time // when the next delivery may be, where a policy says how many a second

	// set is replaced and never changed, so that publishing reads it without a lock. The topic's lock
	// guards its replacement.
	set atomic.Pointer[subscriptionSettings]
}

// subscriptionSettings are the attributes of a subscription, as text and as what the text means.
type subscriptionSettings struct {
	text       map[string]string
	raw        bool
	filter     *eventpattern.Pattern // nil lets everything through
	onBody     bool
	deadLetter string          // an ARN, or ""
	delivery   *deliveryPolicy // nil if there is none
}

// with returns the settings with some attributes changed.
func (set *subscriptionSettings) with(changes map[string]string) (*subscriptionSettings, *Error) {
	out := &subscriptionSettings{text: make(map[string]string)}
	maps.Copy(out.text, set.text)
	for name, value := range changes {
		if len(value) > maxSubscriptionSettingLen {
			return nil, errInvalidParameter("AttributeValue Reason: %s must be at most %d bytes long", clip(name), maxSubscriptionSettingLen)
		}
		switch name {
		case "RawMessageDelivery", "FilterPolicy", "FilterPolicyScope", "RedrivePolicy", "DeliveryPolicy":
			if value == "" {
				delete(out.text, name)
			} else {
				out.text[name] = value
			}
		default:
			return nil, errInvalidParameter("AttributeName")
		}
	}
	switch v := out.text["RawMessageDelivery"]; v {
	case "", "false":
	case "true":
		out.raw = true
	default:
		return nil, errInvalidParameter("RawMessageDelivery Reason: must be true or false, not %s", clip(v))
	}
	if err := out.compileFilter(); err != nil {
		return nil, err
	}
	if text := out.text["RedrivePolicy"]; text != "" {
		var p struct {
			DeadLetterTargetArn string `json:"deadLetterTargetArn"`
		}
		if err := json.Unmarshal([]byte(text), &p); err != nil || !strings.HasPrefix(p.DeadLetterTargetArn, "arn:aws:sqs:") {
			return nil, errInvalidParameter("RedrivePolicy: deadLetterTargetArn must be the ARN of a queue")
		}
		out.deadLetter = p.DeadLetterTargetArn
	}
	if text := out.text["DeliveryPolicy"]; text != "" {
		p, err := parseDeliveryPolicy(text)
		if err != nil {
			return nil, err
		}
		out.delivery = p
	}
	return out, nil
}

func (set *subscriptionSettings) compileFilter() *Error {
	dialect := eventpattern.SNSAttributes
	switch scope := set.text["FilterPolicyScope"]; scope {
	case "", "MessageAttributes":
	case "MessageBody":
		set.onBody, dialect = true, eventpattern.SNSBody
	default:
		return errInvalidParameter("FilterPolicyScope: must be MessageAttributes or MessageBody, not %s", clip(scope))
	}
	policy := set.text["FilterPolicy"]
	if policy == "" || policy == "{}" {
		return nil
	}
	p, err := eventpattern.Compile([]byte(policy), dialect)
	if err != nil {
		return errInvalidParameter("FilterPolicy: %s", strings.TrimPrefix(err.Error(), "eventpattern: "))
	}
	set.filter = p
	return nil
}

// attributes returns all attributes of the subscription.
func (sub *subscription) attributes() map[string]string {
	set := sub.set.Load()
	out := maps.Clone(set.text)
	if set.text["FilterPolicy"] != "" && set.text["FilterPolicyScope"] == "" {
		out["FilterPolicyScope"] = "MessageAttributes"
	}
	if set.text["RawMessageDelivery"] == "" {
		out["RawMessageDelivery"] = "false"
	}
	sub.mu.Lock()
	out["ConfirmationWasAuthenticated"] = strconv.FormatBool(sub.token == "" || sub.guarded)
	out["PendingConfirmation"] = strconv.FormatBool(sub.pending)
	sub.mu.Unlock()
	if sub.token != "" {
		out["EffectiveDeliveryPolicy"] = string(mustMarshal(sub.policy()))
	}
	out["Endpoint"] = sub.address
	out["Owner"] = sub.owner
	out["Protocol"] = sub.protocol
	out["SubscriptionArn"] = sub.arn
	out["SubscriptionPrincipal"] = "arn:aws:iam::" + sub.owner + ":root"
	out["TopicArn"] = sub.topic.key.arn()
	return out
}

// protocols are those that the server delivers by.
var protocols = []string{"http", "https", "lambda", "sqs"}

// policy is how deliveries over HTTP go: as the subscription says, or else the topic.
func (sub *subscription) policy() *deliveryPolicy {
	own := sub.set.Load().delivery
	top := sub.topic.policy.Load()
	switch {
	case top == nil && own == nil:
		retries := httpRetries
		return &deliveryPolicy{Retries: &retries}
	case top == nil, own != nil && !top.HTTP.Overrides:
		return own
	}
	p := &deliveryPolicy{Retries: top.HTTP.Retries}
	p.Throttle.MaxReceivesPerSecond = top.HTTP.Throttle.MaxReceivesPerSecond
	p.Request.ContentType = top.HTTP.Request.ContentType
	return p
}

func (sub *subscription) retries() retryPolicy {
	if sub.protocol == "lambda" {
		return functionRetries
	}
	return *sub.policy().Retries
}

// throttle returns how many deliveries there may be in a second, 0 for any number.
func (sub *subscription) throttle() int {
	if sub.protocol == "lambda" {
		return 0
	}
	return sub.policy().Throttle.MaxReceivesPerSecond
}

func (sub *subscription) contentType() string {
	if t := sub.policy().Request.ContentType; t != "" {
		return t
	}
	return "text/plain; charset=UTF-8"
}

type subscribeOutput struct{ SubscriptionArn string }

// newSubscription makes a subscription of what a request names, with nothing but its endpoint.
func (s *Server) newSubscription(t *topic, protocol, address string) (*subscription, *Error) {
	sub := &subscription{arn: t.key.arn() + ":" + uuid.NewString(), topic: t, protocol: protocol, address: address, owner: s.account}
	if t.fifo != nil && protocol != "sqs" && slices.Contains(protocols, protocol) {
		return nil, errInvalidParameter("Protocol: a FIFO topic delivers to queues alone, not by %s", protocol)
	}
	if len(address) > maxEndpointLen {
		return nil, errInvalidParameter("Endpoint Reason: must be at most %d bytes long", maxEndpointLen)
	}
	switch protocol {
	case "sqs":
		if parts := strings.Split(address, ":"); len(parts) != 6 || !strings.HasPrefix(address, "arn:aws:sqs:") || parts[5] == "" {
			return nil, errInvalidParameter("SQS endpoint ARN")
		}
		if strings.HasSuffix(address, ".fifo") && t.fifo == nil {
			return nil, errInvalidParameter("Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics")
		}
	case "lambda":
		f, err := s.function(address)
		if err != nil {
			return nil, err
		}
		sub.endpoint = f
	case "http", "https":
		if err := httpEndpointFault(protocol, address); err != nil {
			return nil, err
		}
		sub.endpoint = &httpEndpoint{client: s.web, url: address, sub: sub, slots: make(chan struct{}, httpDeliveries)}
		sub.token, sub.asked, sub.pending = newToken(), s.clock.Now(), true
	case "application", "email", "email-json", "firehose", "sms":
		return nil, errInvalidParameter("Protocol: this server delivers by %s, not by %s", strings.Join(protocols, ", "), protocol)
	default:
		return nil, errInvalidParameter("Amazon SNS does not support this protocol string: %s", clip(protocol))
	}
	return sub, nil
}

func (s *Server) subscribe(c *call, f form) (*subscribeOutput, *Error) {
	t, err := s.topic(f.Get("TopicArn"))
	if err != nil {
		return nil, err
	}
	sub, err := s.newSubscription(t, f.Get("Protocol"), f.Get("Endpoint"))
	if err != nil {
		return nil, err
	}
	attrs := f.stringMap("Attributes")
	if _, has := attrs["DeliveryPolicy"]; has && sub.token == "" {
		return nil, errInvalidParameter("DeliveryPolicy: only subscriptions over http and https have one")
	}
	set, err := new(subscriptionSettings).with(attrs)
	if err != nil {
		return nil, err
	}
	sub.set.Store(set)
	if sub, err = s.join(t, sub, attrs); err != nil {
		return nil, err
	}
	if !sub.isPending() {
		return &subscribeOutput{sub.arn}, nil
	}
	s.ask(c, sub, kindConfirmation)
	if f.Get("ReturnSubscriptionArn") == "true" {
		return &subscribeOutput{sub.arn}, nil
	}
	return &subscribeOutput{"pending confirmation"}, nil
}

// join adds a subscription to a topic, or returns the one that the topic has of the endpoint.
func (s *Server) join(t *topic, sub *subscription, attrs map[string]string) (*subscription, *Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now, ok := s.topics.Load(t.key); !ok || now != t {
		return nil, errNotFound("Topic")
	}
	subs := t.live(s.clock.Now())
	for _, stale := range *t.subs.Load() {
		if !slices.Contains(subs, stale) {
			s.subs.Delete(stale.arn)
		}
	}
	for _, other := range subs {
		if other.protocol != sub.protocol || other.address != sub.address {
			continue
		}
		have := other.attributes()
		for name, value := range attrs {
			if value != have[name] {
				return nil, errInvalidParameter("Attributes Reason: Subscription already exists with different attributes")
			}
		}
		return other, nil
	}
	s.subs.Store(sub.arn, sub)
	subs = append(subs, sub)
	t.subs.Store(&subs)
	return sub, nil
}

// subscription returns the one that a request names as SubscriptionArn.
func (s *Server) subscription(f form) (*subscription, *Error) {
	arn := f.Get("SubscriptionArn")
	if parts := strings.Split(arn, ":"); len(parts) != 7 || parts[2] != "sns" {
		return nil, errInvalidParameter("SubscriptionArn Reason: An ARN must have at least 6 elements, not %d", len(parts))
	}
	if sub, ok := s.subs.Load(arn); ok && !sub.(*subscription).isStale(s.clock.Now()) {
		return sub.(*subscription), nil
	}
	return nil, errNotFound("Subscription")
}

func (s *Server) unsubscribe(c *call, f form) (nothing, *Error) {
	sub, err := s.subscription(f)
	if err != nil {
		if err.Code == "NotFound" {
			err = nil // unsubscribing twice is no error
		}
		return nothing{}, err
	}
	if err := sub.mayUnsubscribe(c); err != nil {
		return nothing{}, err
	}
	if sub.token != "" && !c.signed {
		s.ask(c, sub, kindUnsubscribed) // so that the endpoint knows who was not asked
	}
	t := sub.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	subs := slices.DeleteFunc(slices.Clone(*t.subs.Load()), func(other *subscription) bool { return other == sub })
	t.subs.Store(&subs)
	s.subs.Delete(sub.arn)
	return nothing{}, nil
}

type subscriptionEntry struct {
	SubscriptionArn, Owner, Protocol, Endpoint, TopicArn string
}

type listSubscriptionsOutput struct {
	Subscriptions []subscriptionEntry `xml:"Subscriptions>member"`
	NextToken     string              `xml:",omitempty"`
}

func (s *Server) listSubscriptions(c *call, f form) (*listSubscriptionsOutput, *Error) {
	return s.listSubs(f, func(sub *subscription) bool { return sub.topic.key.region == c.region })
}

func (s *Server) listSubscriptionsByTopic(c *call, f form) (*listSubscriptionsOutput, *Error) {
	t, err := s.topic(f.Get("TopicArn"))
	if err != nil {
		return nil, err
	}
	return s.listSubs(f, func(sub *subscription) bool { return sub.topic == t })
}

func (s *Server) listSubs(f form, want func(*subscription) bool) (*listSubscriptionsOutput, *Error) {
	all := make(map[string]*subscription)
	now := s.clock.Now()
	s.subs.Range(func(arn, v any) bool {
		if sub := v.(*subscription); want(sub) && !sub.isStale(now) {
			all[arn.(string)] = sub
		}
		return true
	})
	arns, next, err := snsPage(slices.Collect(maps.Keys(all)), f.Get("NextToken"))
	if err != nil {
		return nil, err
	}
	out := &listSubscriptionsOutput{NextToken: next}
	for _, arn := range arns {
		sub := all[arn]
		if sub.isPending() {
			arn = "PendingConfirmation"
		}
		out.Subscriptions = append(out.Subscriptions, subscriptionEntry{arn, sub.owner, sub.protocol, sub.address, sub.topic.key.arn()})
	}
	return out, nil
}

func (s *Server) getSubscriptionAttributes(c *call, f form) (*snsAttributesOutput, *Error) {
	sub, err := s.subscription(f)
	if err != nil {
		return nil, err
	}
	return newSNSAttributes(sub.attributes()), nil
}

func (s *Server) setSubscriptionAttributes(c *call, f form) (nothing, *Error) {
	sub, err := s.subscription(f)
	if err != nil {
		return nothing{}, err
	}
	name := f.Get("AttributeName")
	if name == "DeliveryPolicy" && sub.token == "" {
		return nothing{}, errInvalidParameter("DeliveryPolicy: only subscriptions over http and https have one")
	}
	sub.topic.mu.Lock()
	defer sub.topic.mu.Unlock()
	set, err := sub.set.Load().with(map[string]string{name: f.Get("AttributeValue")})
	if err != nil {
		return nothing{}, err
	}
	sub.set.Store(set)
	return nothing{}, nil
}
