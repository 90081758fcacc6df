package queue

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// An address is the URL of a queue or the ARN of a topic, looked up when it is
// first needed. Neither changes when the queue or topic is made again.
type address struct {
	mu    sync.Mutex
	value string
}

func (a *address) get(lookup func() (string, error)) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.value == "" {
		value, err := lookup()
		if err != nil {
			return "", err
		}
		a.value = value
	}
	return a.value, nil
}

// known returns the address if it was looked up.
func (a *address) known() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.value
}

// entryIDs returns the ids of a batch's entries, which are their indexes.
func entryIDs() *[maxBatch]string {
	return &[maxBatch]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
}

// errNoResult is for an entry that the service did not mention.
var errNoResult = errors.New("the service gave no result for the message")

// A queueTarget sends to an SQS queue.
type queueTarget struct {
	endpoint Endpoint
	client   SQSSender
	opt      func(*sqs.Options)
	url      address

	// maps are used again, because they are most of what a message takes here.
	// Only the SDK's client is known to be done with them after a call.
	maps  sync.Pool // of map[string]sqstypes.MessageAttributeValue
	reuse bool
}

func newQueueTarget(e Endpoint, config PublisherConfig) *queueTarget {
	_, reuse := config.SQS.(*sqs.Client)
	return &queueTarget{endpoint: e, client: config.SQS, opt: sqsOptions(e, config.Stats), reuse: reuse}
}

func (t *queueTarget) send(ctx context.Context, batch []*outgoing) ([]error, error) {
	const op = "SendMessageBatch"
	url, err := t.url.get(func() (string, error) { return lookupQueue(ctx, t.client, t.endpoint, t.opt) })
	if err != nil {
		return nil, err
	}
	ids := entryIDs()
	in := &sqs.SendMessageBatchInput{QueueUrl: aws.String(url), Entries: make([]sqstypes.SendMessageBatchRequestEntry, len(batch))}
	for i, o := range batch {
		in.Entries[i] = sqstypes.SendMessageBatchRequestEntry{
			Id:                     &ids[i],
			MessageBody:            &o.wire.body,
			MessageAttributes:      t.attributes(o.wire.attributes),
			DelaySeconds:           o.delay,
			MessageGroupId:         optional(o.group),
			MessageDeduplicationId: optional(o.dedup),
		}
	}
	out, err := t.client.SendMessageBatch(ctx, in, t.opt)
	t.release(in.Entries)
	if err != nil {
		return nil, newError(op, t.endpoint, err)
	}
	r := newResults(len(batch), &Error{Op: op, Endpoint: t.endpoint.Name, URL: t.endpoint.URL, Kind: ErrUnavailable, Err: errNoResult})
	for _, s := range out.Successful {
		if i, ok := r.index(s.Id); ok {
			r.errs[i] = checkSent(batch[i], aws.ToString(s.MD5OfMessageBody))
			batch[i].span.sentAs(s.MessageId)
		}
	}
	for _, f := range out.Failed {
		if i, ok := r.index(f.Id); ok {
			r.errs[i] = entryError(op, t.endpoint, aws.ToString(f.Code), aws.ToString(f.Message))
		}
	}
	return r.errs, nil
}

func (t *queueTarget) where() string { return t.url.known() }

// checkSent compares the service's MD5 of a body with ours.
func checkSent(o *outgoing, sum string) error {
	if !sumOf(o.wire.body, sum) {
		return fmt.Errorf("%w: the body was damaged on its way to the service, which has accepted it: its MD5 is %s", ErrUnavailable, sum)
	}
	return nil
}

// sumOf reports whether the service's MD5 of a text, which it may leave out, is
// right.
func sumOf(text, sum string) bool {
	if sum == "" {
		return true
	}
	ours := md5.Sum([]byte(text))
	var digits [2 * md5.Size]byte
	hex.Encode(digits[:], ours[:])
	return string(digits[:]) == sum
}

// attributes returns the attributes as the SDK has them.
func (t *queueTarget) attributes(all attributes) map[string]sqstypes.MessageAttributeValue {
	m, ok := t.maps.Get().(map[string]sqstypes.MessageAttributeValue)
	if !ok {
		return sqsAttributes(all)
	}
	addAttributes(m, all)
	return m
}

func sqsAttributes(all attributes) map[string]sqstypes.MessageAttributeValue {
	m := make(map[string]sqstypes.MessageAttributeValue, len(all))
	addAttributes(m, all)
	return m
}

func addAttributes(m map[string]sqstypes.MessageAttributeValue, all attributes) {
	for i := range all {
		a := &all[i]
		v := sqstypes.MessageAttributeValue{DataType: &a.dataType}
		if a.binary() {
			v.BinaryValue = []byte(a.value)
		} else {
			v.StringValue = &a.value
		}
		m[a.name] = v
	}
}

// release has the attributes of entries that were sent used again.
func (t *queueTarget) release(entries []sqstypes.SendMessageBatchRequestEntry) {
	if !t.reuse {
		return
	}
	for i := range entries {
		m := entries[i].MessageAttributes
		clear(m)
		t.maps.Put(m)
	}
}

// A topicTarget publishes to an SNS topic.
type topicTarget struct {
	endpoint Endpoint
	client   SNSPublisher
	opt      func(*sns.Options)
	region   string
	arn      address
}

// topicRegion returns the region of the endpoint's topic as far as it is
// known.
func topicRegion(config PublisherConfig, e Endpoint) string {
	if e.Region != "" {
		return e.Region
	}
	if c, ok := config.SNS.(*sns.Client); ok {
		return c.Options().Region
	}
	return config.AWS.Region
}

func (t *topicTarget) send(ctx context.Context, batch []*outgoing) ([]error, error) {
	const op = "PublishBatch"
	arn, err := t.arn.get(func() (string, error) { return lookupTopic(ctx, t.client, t.endpoint, t.region, t.opt) })
	if err != nil {
		return nil, err
	}
	ids := entryIDs()
	in := &sns.PublishBatchInput{TopicArn: aws.String(arn), PublishBatchRequestEntries: make([]snstypes.PublishBatchRequestEntry, len(batch))}
	for i, o := range batch {
		in.PublishBatchRequestEntries[i] = snstypes.PublishBatchRequestEntry{
			Id:                     &ids[i],
			Message:                &o.wire.body,
			MessageAttributes:      snsAttributes(o.wire.attributes),
			MessageGroupId:         optional(o.group),
			MessageDeduplicationId: optional(o.dedup),
			Subject:                optional(o.subject),
		}
	}
	out, err := t.client.PublishBatch(ctx, in, t.opt)
	if err != nil {
		return nil, newError(op, t.endpoint, err)
	}
	r := newResults(len(batch), &Error{Op: op, Endpoint: t.endpoint.Name, URL: t.endpoint.URL, Kind: ErrUnavailable, Err: errNoResult})
	for _, s := range out.Successful {
		if i, ok := r.index(s.Id); ok {
			r.errs[i] = nil
			batch[i].span.sentAs(s.MessageId)
		}
	}
	for _, f := range out.Failed {
		if i, ok := r.index(f.Id); ok {
			r.errs[i] = entryError(op, t.endpoint, aws.ToString(f.Code), aws.ToString(f.Message))
		}
	}
	return r.errs, nil
}

func (t *topicTarget) where() string { return t.arn.known() }

func snsAttributes(all attributes) map[string]snstypes.MessageAttributeValue {
	m := make(map[string]snstypes.MessageAttributeValue, len(all))
	for _, a := range all {
		v := snstypes.MessageAttributeValue{DataType: aws.String(a.dataType)}
		if a.binary() {
			v.BinaryValue = []byte(a.value)
		} else {
			v.StringValue = aws.String(a.value)
		}
		m[a.name] = v
	}
	return m
}

// results are the errors of a batch's entries, whose ids are their indexes.
type results struct {
	errs []error
}

// newResults returns the results of n entries of which nothing is known yet.
func newResults(n int, unknown error) results {
	r := results{make([]error, n)}
	for i := range r.errs {
		r.errs[i] = unknown
	}
	return r
}

func (r results) index(id *string) (int, bool) {
	i, err := strconv.Atoi(aws.ToString(id))
	return i, err == nil && i >= 0 && i < len(r.errs)
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return aws.String(text)
}
