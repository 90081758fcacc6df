package emulator

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/waybill-dev/waybill/eventpattern"
)

// subscription is a queue's subscription to a topic.
type subscription struct {
	arn      string
	topic    *topic
	endpoint string // the queue's ARN
	owner    string

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
	deadLetter string // an ARN, or ""
}

// with returns the settings with some attributes changed.
func (set *subscriptionSettings) with(changes map[string]string) (*subscriptionSettings, *Error) {
	out := &subscriptionSettings{text: make(map[string]string)}
	maps.Copy(out.text, set.text)
	for name, value := range changes {
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
	out["ConfirmationWasAuthenticated"] = "true"
	out["Endpoint"] = sub.endpoint
	out["Owner"] = sub.owner
	out["PendingConfirmation"] = "false"
	out["Protocol"] = "sqs"
	out["SubscriptionArn"] = sub.arn
	out["SubscriptionPrincipal"] = "arn:aws:iam::" + sub.owner + ":root"
	out["TopicArn"] = sub.topic.key.arn()
	return out
}

type subscribeOutput struct{ SubscriptionArn string }

func (s *Server) subscribe(c *call, f form) (*subscribeOutput, *Error) {
	t, err := s.topic(f.Get("TopicArn"))
	if err != nil {
		return nil, err
	}
	endpoint := f.Get("Endpoint")
	switch protocol := f.Get("Protocol"); protocol {
	case "sqs":
	case "application", "email", "email-json", "firehose", "http", "https", "lambda", "sms":
		return nil, errInvalidParameter("Protocol: this server delivers to sqs only, not to %s", protocol)
	default:
		return nil, errInvalidParameter("Amazon SNS does not support this protocol string: %s", clip(protocol))
	}
	if parts := strings.Split(endpoint, ":"); len(parts) != 6 || !strings.HasPrefix(endpoint, "arn:aws:sqs:") || parts[5] == "" {
		return nil, errInvalidParameter("SQS endpoint ARN")
	}
	if strings.HasSuffix(endpoint, ".fifo") {
		return nil, errInvalidParameter("Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics")
	}
	attrs := f.stringMap("Attributes")
	set, err := new(subscriptionSettings).with(attrs)
	if err != nil {
		return nil, err
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if now, ok := s.topics.Load(t.key); !ok || now != t {
		return nil, errNotFound("Topic")
	}
	subs := *t.subs.Load()
	for _, sub := range subs {
		if sub.endpoint != endpoint {
			continue
		}
		have := sub.attributes()
		for name, value := range attrs {
			if value != have[name] {
				return nil, errInvalidParameter("Attributes Reason: Subscription already exists with different attributes")
			}
		}
		return &subscribeOutput{sub.arn}, nil
	}
	sub := &subscription{arn: t.key.arn() + ":" + uuid.NewString(), topic: t, endpoint: endpoint, owner: s.account}
	sub.set.Store(set)
	subs = append(slices.Clip(subs), sub)
	s.subs.Store(sub.arn, sub)
	t.subs.Store(&subs)
	return &subscribeOutput{sub.arn}, nil
}

// subscription returns the one that a request names as SubscriptionArn.
func (s *Server) subscription(f form) (*subscription, *Error) {
	arn := f.Get("SubscriptionArn")
	if parts := strings.Split(arn, ":"); len(parts) != 7 || parts[2] != "sns" {
		return nil, errInvalidParameter("SubscriptionArn Reason: An ARN must have at least 6 elements, not %d", len(parts))
	}
	if sub, ok := s.subs.Load(arn); ok {
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
	s.subs.Range(func(arn, v any) bool {
		if sub := v.(*subscription); want(sub) {
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
		out.Subscriptions = append(out.Subscriptions, subscriptionEntry{arn, sub.owner, "sqs", sub.endpoint, sub.topic.key.arn()})
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
	sub.topic.mu.Lock()
	defer sub.topic.mu.Unlock()
	set, err := sub.set.Load().with(map[string]string{f.Get("AttributeName"): f.Get("AttributeValue")})
	if err != nil {
		return nothing{}, err
	}
	sub.set.Store(set)
	return nothing{}, nil
}
