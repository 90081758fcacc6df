package topology

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"
)

// Tag marks the queues and topics that Waybill manages; its value is
// [TagValue].
const (
	Tag      = "waybill:managed"
	TagValue = "true"
)

// readers caps the requests that a plan has open at once.
const readers = 8

// An observer finds out what is there.
type observer struct {
	clients map[site]Clients

	mu     sync.Mutex
	topics map[site]map[string]string // name -> ARN, listed once a site
}

func (o *observer) sqs(s site) SQS { return o.clients[s].SQS }
func (o *observer) sns(s site) SNS { return o.clients[s].SNS }

// observe fills in what is there of all that is desired.
func (o *observer) observe(ctx context.Context, d *desire) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, q := range d.queues {
		g.Go(func() error { return o.queue(gctx, q) })
	}
	for _, t := range d.topics {
		g.Go(func() error { return o.topic(gctx, t) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, s := range d.subscriptions {
		s.arn = s.topic.subscriptions[s.queue.arn]
		if s.queue.exists && s.arn != "" && s.arn != pendingConfirmation {
			g.Go(func() error { return o.subscription(gctx, s) })
		}
	}
	return g.Wait()
}

func failed(name, op string, err error) error {
	return fmt.Errorf("topology: %s: %s: %w", name, op, err)
}

// find fills in what is there of a queue, but for its tags.
func (o *observer) find(ctx context.Context, q *queueNode) error {
	in := &sqs.GetQueueUrlInput{QueueName: aws.String(q.name)}
	if q.account != "" {
		in.QueueOwnerAWSAccountId = aws.String(q.account)
	}
	out, err := o.sqs(q.site).GetQueueUrl(ctx, in, q.site.sqs)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return failed(q.site.name(q.url, q.purposes), "GetQueueUrl", err)
	}
	q.exists, q.queueURL = true, aws.ToString(out.QueueUrl)
	return o.queueAttributes(ctx, q)
}

func (o *observer) queue(ctx context.Context, q *queueNode) error {
	if err := o.find(ctx, q); err != nil || !q.exists {
		return err
	}
	if foreign(q.account, q.site) {
		q.tagged = true
		return nil
	}
	tags, err := o.sqs(q.site).ListQueueTags(ctx, &sqs.ListQueueTagsInput{QueueUrl: aws.String(q.queueURL)}, q.site.sqs)
	switch {
	case unknownCall(err):
		q.tagged = true // there are no tags here, so nothing needs one
	case err != nil:
		return failed(q.site.name(q.url, q.purposes), "ListQueueTags", err)
	default:
		q.tagged = tags.Tags[Tag] != ""
	}
	return nil
}

func (o *observer) queueAttributes(ctx context.Context, q *queueNode) error {
	attributes, err := o.sqs(q.site).GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: aws.String(q.queueURL), AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameAll},
	}, q.site.sqs)
	if err != nil {
		return failed(q.site.name(q.url, q.purposes), "GetQueueAttributes", err)
	}
	q.have = attributes.Attributes
	q.arn = q.have[string(sqstypes.QueueAttributeNameQueueArn)]
	if q.arn == "" {
		return fmt.Errorf("topology: %s: GetQueueAttributes: the answer has no QueueArn", q.url)
	}
	return nil
}

// settle waits until a queue that was just made is known everywhere: SQS asks
// for a second after CreateQueue.
func (o *observer) settle(ctx context.Context, q *queueNode) error {
	const pause, tries = 250 * time.Millisecond, 20
	for try := 1; ; try++ {
		err := o.queueAttributes(ctx, q)
		if err == nil || !notFound(err) || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// findTopic fills in what is there of a topic, but for its tags.
func (o *observer) findTopic(ctx context.Context, t *topicNode) error {
	arn, err := o.topicARN(ctx, t)
	if err != nil || arn == "" {
		return err
	}
	t.exists, t.arn = true, arn
	return o.topicSubscriptions(ctx, t)
}

func (o *observer) topic(ctx context.Context, t *topicNode) error {
	if err := o.findTopic(ctx, t); err != nil || !t.exists {
		return err
	}
	if foreign(t.account, t.site) {
		t.tagged = true
		return nil
	}
	tags, err := o.sns(t.site).ListTagsForResource(ctx, &sns.ListTagsForResourceInput{ResourceArn: aws.String(t.arn)}, t.site.sns)
	switch {
	case unknownCall(err):
		t.tagged = true
	case err != nil:
		return failed(t.site.name(t.url, t.purposes), "ListTagsForResource", err)
	default:
		for _, tag := range tags.Tags {
			if aws.ToString(tag.Key) == Tag {
				t.tagged = true
			}
		}
	}
	return nil
}

// topicARN returns the ARN of a topic that exists, or "". SNS has no call that
// finds one by its name, so the topics are listed.
func (o *observer) topicARN(ctx context.Context, t *topicNode) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.account != "" {
		return o.foreignTopic(ctx, t)
	}
	if names, ok := o.topics[t.site]; ok {
		return names[t.name], nil
	}
	names := map[string]string{}
	in := &sns.ListTopicsInput{}
	for {
		out, err := o.sns(t.site).ListTopics(ctx, in, t.site.sns)
		if err != nil {
			return "", failed(t.site.name(t.url, t.purposes), "ListTopics", err)
		}
		for _, topic := range out.Topics {
			arn := aws.ToString(topic.TopicArn)
			names[arn[strings.LastIndexByte(arn, ':')+1:]] = arn
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			break
		}
	}
	if o.topics == nil {
		o.topics = map[site]map[string]string{}
	}
	o.topics[t.site] = names
	return names[t.name], nil
}

// foreignTopic returns the ARN of a topic whose account its URL names.
func (o *observer) foreignTopic(ctx context.Context, t *topicNode) (string, error) {
	region := t.site.Region
	if c, ok := o.sns(t.site).(*sns.Client); ok && region == "" {
		region = c.Options().Region
	}
	if region == "" {
		return "", &ConflictError{Name: t.url, Problem: "the topic's region is not known; set the endpoint's region"}
	}
	arn := "arn:" + partition(region) + ":sns:" + region + ":" + t.account + ":" + t.name
	_, err := o.sns(t.site).GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: aws.String(arn)}, t.site.sns)
	if notFound(err) {
		return "", nil
	}
	if err != nil {
		return "", failed(t.site.name(t.url, t.purposes), "GetTopicAttributes", err)
	}
	return arn, nil
}

// partition returns the AWS partition of a region.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	default:
		return "aws"
	}
}

// pendingConfirmation is what SNS shows instead of the ARN of a subscription
// that the queue's owner has not confirmed.
const pendingConfirmation = "PendingConfirmation"

func (o *observer) topicSubscriptions(ctx context.Context, t *topicNode) error {
	t.subscriptions = map[string]string{}
	in := &sns.ListSubscriptionsByTopicInput{TopicArn: aws.String(t.arn)}
	for {
		out, err := o.sns(t.site).ListSubscriptionsByTopic(ctx, in, t.site.sns)
		if err != nil {
			return failed(t.site.name(t.url, t.purposes), "ListSubscriptionsByTopic", err)
		}
		for _, s := range out.Subscriptions {
			if aws.ToString(s.Protocol) == "sqs" {
				t.subscriptions[aws.ToString(s.Endpoint)] = aws.ToString(s.SubscriptionArn)
			}
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return nil
		}
	}
}

func (o *observer) subscription(ctx context.Context, s *subscriptionNode) error {
	out, err := o.sns(s.topic.site).GetSubscriptionAttributes(ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: aws.String(s.arn)}, s.topic.site.sns)
	if err != nil {
		return failed(s.topic.site.name(s.name(), s.topic.purposes), "GetSubscriptionAttributes", err)
	}
	s.have = out.Attributes
	return nil
}
