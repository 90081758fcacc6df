package topology

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
)

// SQS is the part of [*sqs.Client] that a [Plan] calls.
type SQS interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
	SetQueueAttributes(context.Context, *sqs.SetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.SetQueueAttributesOutput, error)
	CreateQueue(context.Context, *sqs.CreateQueueInput, ...func(*sqs.Options)) (*sqs.CreateQueueOutput, error)
	ListQueueTags(context.Context, *sqs.ListQueueTagsInput, ...func(*sqs.Options)) (*sqs.ListQueueTagsOutput, error)
	TagQueue(context.Context, *sqs.TagQueueInput, ...func(*sqs.Options)) (*sqs.TagQueueOutput, error)
}

// SNS is the part of [*sns.Client] that a [Plan] calls.
type SNS interface {
	ListTopics(context.Context, *sns.ListTopicsInput, ...func(*sns.Options)) (*sns.ListTopicsOutput, error)
	GetTopicAttributes(context.Context, *sns.GetTopicAttributesInput, ...func(*sns.Options)) (*sns.GetTopicAttributesOutput, error)
	CreateTopic(context.Context, *sns.CreateTopicInput, ...func(*sns.Options)) (*sns.CreateTopicOutput, error)
	ListTagsForResource(context.Context, *sns.ListTagsForResourceInput, ...func(*sns.Options)) (*sns.ListTagsForResourceOutput, error)
	TagResource(context.Context, *sns.TagResourceInput, ...func(*sns.Options)) (*sns.TagResourceOutput, error)
	Subscribe(context.Context, *sns.SubscribeInput, ...func(*sns.Options)) (*sns.SubscribeOutput, error)
	ListSubscriptionsByTopic(context.Context, *sns.ListSubscriptionsByTopicInput, ...func(*sns.Options)) (*sns.ListSubscriptionsByTopicOutput, error)
	GetSubscriptionAttributes(context.Context, *sns.GetSubscriptionAttributesInput, ...func(*sns.Options)) (*sns.GetSubscriptionAttributesOutput, error)
	SetSubscriptionAttributes(context.Context, *sns.SetSubscriptionAttributesInput, ...func(*sns.Options)) (*sns.SetSubscriptionAttributesOutput, error)
}

// Clients are the clients of both services. The Region and EndpointURL of an
// endpoint take effect with any. SNS may be nil where no endpoint is a topic.
type Clients struct {
	SQS SQS
	SNS SNS
}

// NewClients returns clients that are made from the configuration.
func NewClients(cfg aws.Config) Clients {
	return Clients{SQS: sqs.NewFromConfig(cfg), SNS: sns.NewFromConfig(cfg)}
}

// A site is where a resource is, beyond what the clients know.
type site struct{ region, endpointURL string }

func (s site) sqs(o *sqs.Options) {
	if s.region != "" {
		o.Region = s.region
	}
	if s.endpointURL != "" {
		o.BaseEndpoint = aws.String(s.endpointURL)
	}
}

func (s site) sns(o *sns.Options) {
	if s.region != "" {
		o.Region = s.region
	}
	if s.endpointURL != "" {
		o.BaseEndpoint = aws.String(s.endpointURL)
	}
}

// hasCode reports whether a service answered with one of the codes.
func hasCode(err error, codes ...string) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	for _, code := range codes {
		if api.ErrorCode() == code {
			return true
		}
	}
	return false
}

func notFound(err error) bool {
	return hasCode(err, "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "NonExistentQueue",
		"NotFound", "NotFoundException", "ResourceNotFound", "ResourceNotFoundException")
}

// unknownCall reports whether a server, an emulator, lacks the operation. That it
// failed is another matter, whatever the server means by it.
func unknownCall(err error) bool {
	return hasCode(err, "InvalidAction", "UnknownOperation", "UnknownOperationException", "NotImplemented",
		"UnsupportedOperation")
}
