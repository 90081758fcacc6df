package emulator

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// snsOperations is the API of SNS as far as the server has it.
var snsOperations = map[string]snsOperation{
	"AddPermission":             snsOp((*Server).addTopicPermission),
	"ConfirmSubscription":       snsOp((*Server).confirmSubscription),
	"CreateTopic":               snsOp((*Server).createTopic),
	"DeleteTopic":               snsOp((*Server).deleteTopic),
	"GetSubscriptionAttributes": snsOp((*Server).getSubscriptionAttributes),
	"GetTopicAttributes":        snsOp((*Server).getTopicAttributes),
	"ListSubscriptions":         snsOp((*Server).listSubscriptions),
	"ListSubscriptionsByTopic":  snsOp((*Server).listSubscriptionsByTopic),
	"ListTagsForResource":       snsOp((*Server).listTagsForResource),
	"ListTopics":                snsOp((*Server).listTopics),
	"Publish":                   snsOp((*Server).publish),
	"PublishBatch":              snsOp((*Server).publishBatch),
	"RemovePermission":          snsOp((*Server).removeTopicPermission),
	"SetSubscriptionAttributes": snsOp((*Server).setSubscriptionAttributes),
	"SetTopicAttributes":        snsOp((*Server).setTopicAttributes),
	"Subscribe":                 snsOp((*Server).subscribe),
	"TagResource":               snsOp((*Server).tagResource),
	"Unsubscribe":               snsOp((*Server).unsubscribe),
	"UntagResource":             snsOp((*Server).untagResource),
}

// snsOp makes an operation of a function with its own type of output.
func snsOp[Out any](run func(*Server, *call, form) (Out, *Error)) snsOperation {
	return func(s *Server, c *call, f form) (any, *Error) { return run(s, c, f) }
}

// topicKey names a topic. The account is kept, since a caller's ARN may name another's.
type topicKey struct{ region, account, name string }

func (k topicKey) arn() string {
	return "arn:aws:sns:" + k.region + ":" + k.account + ":" + k.name
}

// parseTopicARN reads arn:aws:sns:region:account:name.
func parseTopicARN(arn string) (topicKey, *Error) {
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "sns" || parts[5] == "" {
		return topicKey{}, errInvalidParameter("TopicArn Reason: An ARN must have at least 6 elements, not %d", len(parts))
	}
	return topicKey{parts[3], parts[4], parts[5]}, nil
}

// topicOfSubscription cuts a subscription's ARN down to its topic's. It leaves a topic's alone.
func topicOfSubscription(arn string) string {
	if parts := strings.SplitN(arn, ":", 7); len(parts) == 7 {
		return strings.Join(parts[:6], ":")
	}
	return arn
}

// topic is one topic.
type topic struct {
	key  topicKey
	fifo *fifoTopic // nil for a standard one

	mu    sync.Mutex
	attrs map[string]string
	tags  map[string]string

	// policy is what the attribute DeliveryPolicy says, nil if there is none.
	policy atomic.Pointer[topicDeliveryPolicy]

	// subs is replaced and never changed, so that publishing reads it without a lock.
	subs atomic.Pointer[[]*subscription]
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

// topic returns the topic that a request names as TopicArn.
func (s *Server) topic(arn string) (*topic, *Error) {
	if arn == "" {
		return nil, errInvalidParameter("TopicArn Reason: no value for required parameter")
	}
	key, err := parseTopicARN(arn)
	if err != nil {
		return nil, err
	}
	if t, ok := s.topics.Load(key); ok {
		return t.(*topic), nil
	}
	return nil, errNotFound("Topic")
}

type createTopicOutput struct{ TopicArn string }

// topicSettings are the attributes of any topic that can be set. The server acts on DeliveryPolicy, and
// keeps the others.
var topicSettings = []string{
	"DataProtectionPolicy", "DeliveryPolicy", "DisplayName", "KmsMasterKeyId", "Policy",
	"SignatureVersion", "TracingConfig",
	"ApplicationFailureFeedbackRoleArn", "ApplicationSuccessFeedbackRoleArn", "ApplicationSuccessFeedbackSampleRate",
	"FirehoseFailureFeedbackRoleArn", "FirehoseSuccessFeedbackRoleArn", "FirehoseSuccessFeedbackSampleRate",
	"HTTPFailureFeedbackRoleArn", "HTTPSuccessFeedbackRoleArn", "HTTPSuccessFeedbackSampleRate",
	"LambdaFailureFeedbackRoleArn", "LambdaSuccessFeedbackRoleArn", "LambdaSuccessFeedbackSampleRate",
	"SQSFailureFeedbackRoleArn", "SQSSuccessFeedbackRoleArn", "SQSSuccessFeedbackSampleRate",
}

func (t *topic) settingFault(name, value string) *Error {
	if values, ok := fifoTopicSettings[name]; ok {
		return t.fifoFault(name, value, values)
	}
	switch {
	case name == "ArchivePolicy":
		return errInvalidParameter("ArchivePolicy: this server archives no messages")
	case !slices.Contains(topicSettings, name):
		return errInvalidParameter("AttributeName")
	}
	return nil
}

func (s *Server) createTopic(c *call, f form) (*createTopicOutput, *Error) {
	key := topicKey{c.region, s.account, f.Get("Name")}
	attrs, tags := f.stringMap("Attributes"), f.tags()
	t, err := newTopic(key, attrs, tags, s.clock.Now())
	if err != nil {
		return nil, err
	}

	s.making.Lock()
	defer s.making.Unlock()
	if v, ok := s.topics.Load(key); ok {
		return &createTopicOutput{key.arn()}, v.(*topic).sameAs(t.attrs, attrs, tags)
	}
	s.topics.Store(key, t)
	return &createTopicOutput{key.arn()}, nil
}

// newTopic returns a topic without subscriptions.
func newTopic(key topicKey, attrs, tags map[string]string, now time.Time) (*topic, *Error) {
	t := &topic{key: key, attrs: make(map[string]string), tags: tags}
	if attrs["FifoTopic"] == "true" {
		t.fifo = newFIFOTopic(t.attrs, now)
	}
	if err := snsTagsFault(tags); err != nil {
		return nil, err
	}
	base, isFIFO := strings.CutSuffix(key.name, ".fifo")
	switch {
	case t.fifo != nil && !isFIFO:
		return nil, errInvalidParameter("Topic Name: the name of a FIFO topic ends with .fifo")
	case t.fifo != nil && (!topicName.MatchString(base) || len(key.name) > 256):
		return nil, errInvalidParameter("Topic Name")
	case t.fifo == nil && !topicName.MatchString(key.name):
		return nil, errInvalidParameter("Topic Name")
	}
	for name, value := range attrs {
		if err := t.setAttribute(name, value); err != nil {
			return nil, err
		}
	}
	t.subs.Store(new([]*subscription))
	return t, nil
}

// maxTopicSettingLen bounds an attribute of a topic. AWS has a policy be of 30 KiB.
const maxTopicSettingLen = 32 << 10

// setAttribute checks an attribute, and keeps it.
func (t *topic) setAttribute(name, value string) *Error {
	if err := t.settingFault(name, value); err != nil {
		return err
	}
	switch {
	case len(value) > maxTopicSettingLen:
		return errInvalidParameter("AttributeValue Reason: %s must be at most %d bytes long", name, maxTopicSettingLen)
	case name == "DeliveryPolicy":
		if err := t.setDelivery(value); err != nil {
			return err
		}
	case name == "FifoTopic" && t.fifo == nil:
		return nil // it is said to be false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attrs[name] = value
	return nil
}

// setDelivery keeps what a DeliveryPolicy says.
func (t *topic) setDelivery(text string) *Error {
	var p *topicDeliveryPolicy
	if text != "" {
		var err *Error
		if p, err = parseTopicDeliveryPolicy(text); err != nil {
			return err
		}
	}
	t.policy.Store(p)
	return nil
}

// sameAs checks that a repeated CreateTopic, which gave some attributes, asks for what is there.
func (t *topic) sameAs(attrs, given, tags map[string]string) *Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range given {
		if t.attrs[name] != attrs[name] {
			return errInvalidParameter("Attributes Reason: Topic already exists with different attributes")
		}
	}
	if len(tags) > 0 && !maps.Equal(tags, t.tags) {
		return errInvalidParameter("Tags Reason: Topic already exists with different tags")
	}
	return nil
}

func (s *Server) deleteTopic(c *call, f form) (nothing, *Error) {
	key, err := parseTopicARN(f.Get("TopicArn"))
	if err != nil {
		return nothing{}, err
	}
	s.making.Lock()
	defer s.making.Unlock()
	v, ok := s.topics.LoadAndDelete(key)
	if !ok {
		return nothing{}, nil // deleting is idempotent: SNS API reference (DeleteTopic)
	}
	t := v.(*topic)
	t.mu.Lock() // so that no subscription is being made
	defer t.mu.Unlock()
	for _, sub := range *t.subs.Load() {
		s.subs.Delete(sub.arn)
	}
	return nothing{}, nil
}

type entry struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type snsAttributesOutput struct {
	Entries []entry `xml:"Attributes>entry"`
}

func newSNSAttributes(m map[string]string) *snsAttributesOutput {
	out := new(snsAttributesOutput)
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out.Entries = append(out.Entries, entry{k, m[k]})
	}
	return out
}

func (s *Server) getTopicAttributes(c *call, f form) (*snsAttributesOutput, *Error) {
	t, err := s.topic(f.Get("TopicArn"))
	if err != nil {
		return nil, err
	}
	confirmed, pending := 0, 0
	for _, sub := range t.live(s.clock.Now()) {
		if sub.isPending() {
			pending++
		} else {
			confirmed++
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out := maps.Clone(t.attrs)
	out["TopicArn"] = t.key.arn()
	out["Owner"] = t.key.account
	out["SubscriptionsConfirmed"] = strconv.Itoa(confirmed)
	out["SubscriptionsPending"] = strconv.Itoa(pending)
	out["SubscriptionsDeleted"] = "0"
	if _, ok := out["DisplayName"]; !ok {
		out["DisplayName"] = ""
	}
	return newSNSAttributes(out), nil
}

func (s *Server) setTopicAttributes(c *call, f form) (nothing, *Error) {
	t, err := s.topic(f.Get("TopicArn"))
	if err != nil {
		return nothing{}, err
	}
	name, value := f.Get("AttributeName"), f.Get("AttributeValue")
	if name == "FifoTopic" {
		return nothing{}, errInvalidParameter("AttributeName Reason: the type of a topic cannot be changed")
	}
	return nothing{}, t.setAttribute(name, value)
}

type listTopicsOutput struct {
	Topics    []createTopicOutput `xml:"Topics>member"`
	NextToken string              `xml:",omitempty"`
}

func (s *Server) listTopics(c *call, f form) (*listTopicsOutput, *Error) {
	var arns []string
	s.topics.Range(func(k, _ any) bool {
		if key := k.(topicKey); key.region == c.region {
			arns = append(arns, key.arn())
		}
		return true
	})
	arns, next, err := snsPage(arns, f.Get("NextToken"))
	if err != nil {
		return nil, err
	}
	out := &listTopicsOutput{NextToken: next}
	for _, arn := range arns {
		out.Topics = append(out.Topics, createTopicOutput{arn})
	}
	return out, nil
}

// snsPage sorts names, and cuts out the hundred that follow token: SNS API reference (ListTopics).
func snsPage(names []string, token string) ([]string, string, *Error) {
	slices.Sort(names)
	size := 100
	out, next, err := page(names, &size, token)
	if err != nil {
		return nil, "", errInvalidParameter("NextToken")
	}
	return out, next, nil
}
