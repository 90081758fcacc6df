package topology

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

func (p *Plan) createQueue(ctx context.Context, q *queueNode) error {
	attributes := map[string]string{}
	for _, a := range q.settings() {
		attributes[a.Name] = a.Want
	}
	if fifo(q.name) {
		attributes["FifoQueue"] = "true"
	}
	if q.deadLetter != nil {
		text, err := q.redriveText()
		if err != nil {
			return err
		}
		attributes["RedrivePolicy"] = text
	}
	out, err := p.observer.sqs(q.site).CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName: aws.String(q.name), Attributes: attributes,
	}, q.site.sqs)
	switch {
	case hasCode(err, "AWS.SimpleQueueService.QueueDeletedRecently", "QueueDeletedRecently"):
		return fmt.Errorf("SQS makes a queue again only 60 s after it was deleted: %w", err)
	case err != nil:
		return fmt.Errorf("CreateQueue: %w", err)
	}
	q.queueURL = aws.ToString(out.QueueUrl)
	if err := p.observer.settle(ctx, q); err != nil {
		return err
	}
	return p.tagQueue(ctx, q)
}

// redriveText returns the RedrivePolicy attribute. By now the dead-letter
// queue exists.
func (q *queueNode) redriveText() (string, error) {
	text, err := json.Marshal(q.wantRedrive())
	return string(text), err
}

func (p *Plan) changeQueue(ctx context.Context, q *queueNode, differ []Attribute) error {
	if len(differ) > 0 {
		attributes := map[string]string{}
		for _, a := range differ {
			attributes[a.Name] = a.Want
			if a.Name == "RedrivePolicy" {
				text, err := q.redriveText()
				if err != nil {
					return err
				}
				attributes[a.Name] = text
			}
		}
		if err := p.setQueue(ctx, q, attributes); err != nil {
			return err
		}
	}
	if q.tagged {
		return nil
	}
	return p.tagQueue(ctx, q)
}

func (p *Plan) setQueue(ctx context.Context, q *queueNode, attributes map[string]string) error {
	_, err := p.observer.sqs(q.site).SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{
		QueueUrl: aws.String(q.queueURL), Attributes: attributes,
	}, q.site.sqs)
	if err != nil {
		return fmt.Errorf("SetQueueAttributes: %w", err)
	}
	return nil
}

// tagQueue marks a queue as managed. It comes last, so that a queue whose
// attributes could not be set still shows as one to adopt.
func (p *Plan) tagQueue(ctx context.Context, q *queueNode) error {
	_, err := p.observer.sqs(q.site).TagQueue(ctx, &sqs.TagQueueInput{
		QueueUrl: aws.String(q.queueURL), Tags: map[string]string{Tag: TagValue},
	}, q.site.sqs)
	if err != nil && !unknownCall(err) {
		return fmt.Errorf("TagQueue: %w", err)
	}
	return nil
}

func (p *Plan) createTopic(ctx context.Context, t *topicNode) error {
	in := &sns.CreateTopicInput{Name: aws.String(t.name)}
	if fifo(t.name) {
		in.Attributes = map[string]string{"FifoTopic": "true"}
	}
	out, err := p.observer.sns(t.site).CreateTopic(ctx, in, t.site.sns)
	if err != nil {
		return fmt.Errorf("CreateTopic: %w", err)
	}
	t.arn = aws.ToString(out.TopicArn)
	return p.tagTopic(ctx, t)
}

func (p *Plan) tagTopic(ctx context.Context, t *topicNode) error {
	_, err := p.observer.sns(t.site).TagResource(ctx, &sns.TagResourceInput{
		ResourceArn: aws.String(t.arn),
		Tags:        []snstypes.Tag{{Key: aws.String(Tag), Value: aws.String(TagValue)}},
	}, t.site.sns)
	if err != nil && !unknownCall(err) {
		return fmt.Errorf("TagResource: %w", err)
	}
	return nil
}

// permit adds the statement to the queue's policy as it is now: another
// topic's may have been added by this very apply.
func (p *Plan) permit(ctx context.Context, s *subscriptionNode) error {
	if err := p.observer.settle(ctx, s.queue); err != nil {
		return err
	}
	policy, err := parsePolicy(s.queue.have["Policy"])
	if err != nil {
		return err
	}
	// SQS takes up to 60 s to show a change, so what this apply has granted is
	// granted again.
	granted := append(s.queue.granted, letSend(s.topic.arn, s.queue.arn))
	text, err := policy.with(granted...)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if err := p.setQueue(ctx, s.queue, map[string]string{"Policy": text}); err != nil {
		return err
	}
	s.queue.granted = granted
	return nil
}

func (p *Plan) subscribe(ctx context.Context, s *subscriptionNode) error {
	attributes := map[string]string{}
	for _, a := range s.settings() {
		if a.Want != "" {
			attributes[a.Name] = a.Want
		}
	}
	_, err := p.observer.sns(s.topic.site).Subscribe(ctx, &sns.SubscribeInput{
		TopicArn: aws.String(s.topic.arn), Protocol: aws.String("sqs"), Endpoint: aws.String(s.queue.arn),
		Attributes: attributes, ReturnSubscriptionArn: true,
	}, s.topic.site.sns)
	if err != nil {
		return fmt.Errorf("subscribe the queue: %w", err)
	}
	return nil
}

func (p *Plan) changeSubscription(ctx context.Context, s *subscriptionNode, differ []Attribute) error {
	for _, a := range differ {
		value := a.Want
		if a.Name == "FilterPolicy" && value == "" {
			value = "{}" // takes the filter away
		}
		_, err := p.observer.sns(s.topic.site).SetSubscriptionAttributes(ctx, &sns.SetSubscriptionAttributesInput{
			SubscriptionArn: aws.String(s.arn), AttributeName: aws.String(a.Name), AttributeValue: aws.String(value),
		}, s.topic.site.sns)
		if err != nil {
			return fmt.Errorf("SetSubscriptionAttributes %s: %w", a.Name, err)
		}
	}
	return nil
}
