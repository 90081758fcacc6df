package topology

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/waybill-dev/waybill/queue"
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

	// For gives the endpoints of each [queue.Place] clients of their own, and
	// SQS and SNS are not used then. It is called once for a place, with the
	// first endpoint that is there. Nil has all use SQS and SNS.
	For func(queue.Endpoint) Clients
}

// NewClients returns clients that are made from the configuration.
func NewClients(cfg aws.Config) Clients {
	return Clients{SQS: sqs.NewFromConfig(cfg), SNS: sns.NewFromConfig(cfg)}
}

// NewClientsFor returns clients that are made from the configuration of each
// endpoint, as that of package config's AWS.LoadFor.
func NewClientsFor(awsFor func(queue.Endpoint) aws.Config) Clients {
	return Clients{For: func(e queue.Endpoint) Clients { return NewClients(awsFor(e)) }}
}

// of returns the clients of the places of all endpoints.
func (c Clients) of(endpoints *queue.Endpoints) (map[site]Clients, error) {
	all := make(map[site]Clients)
	for e := range endpoints.All() {
		s := site{e.Place()}
		its, ok := all[s]
		if !ok && (e.IsQueue() || e.IsTopic()) {
			if its = c; c.For != nil {
				its = c.For(e)
			}
			all[s] = its
		}
		switch {
		case e.IsQueue() && its.SQS == nil:
			return nil, fmt.Errorf("topology: endpoint %q: Clients.SQS is nil, and there are queues", e.Name)
		case e.IsTopic() && its.SNS == nil:
			return nil, fmt.Errorf("topology: endpoint %q: Clients.SNS is nil, and there are topics", e.Name)
		case c.For == nil && (e.Profile != "" || e.RoleARN != ""):
			return nil, fmt.Errorf("topology: endpoint %q has a Profile or a RoleARN, and there is no Clients.For; see NewClientsFor", e.Name)
		}
	}
	return all, nil
}

// A site is where a resource is, beyond its URL.
type site struct{ queue.Place }

// An atlas tells where endpoints are: those that name the region which they would
// have anyway, where those are that name none.
type atlas map[site]site

func newAtlas(clients map[site]Clients) atlas {
	a := atlas{}
	for s := range clients {
		base := s
		base.Region = ""
		if its, ok := clients[base]; ok && s.Region != "" && its.region() == s.Region {
			a[s] = base
		}
	}
	return a
}

func (a atlas) site(e queue.Endpoint) site {
	s := site{e.Place()}
	if base, ok := a[s]; ok {
		return base
	}
	return s
}

// region returns the region of the clients, as far as it is known.
func (c Clients) region() string {
	if its, ok := c.SQS.(*sqs.Client); ok && its != nil {
		return its.Options().Region
	}
	if its, ok := c.SNS.(*sns.Client); ok && its != nil {
		return its.Options().Region
	}
	return ""
}

// name returns what errors call the queue or topic of a URL: one that is not where
// all are, by what it is for as well.
func (s site) name(url string, purposes []string) string {
	if s == (site{}) || len(purposes) == 0 {
		return url
	}
	return url + " (" + purposes[0] + ")"
}

// accountOf returns the account in which things are made at a site, if it is
// known.
func accountOf(s site) string { return queue.Endpoint{RoleARN: s.RoleARN}.RoleAccount() }

// foreign reports whether what has a URL with an account may be another's than the
// client's. It is neither made nor tagged, and its tags are not asked for: SQS gives
// no other account leave to read them ("Cross-account permissions don't apply to this
// action", API reference of ListQueueTags), and SNS none to set them.
func foreign(account string, s site) bool { return account != "" && account != accountOf(s) }

func (s site) sqs(o *sqs.Options) {
	if s.Region != "" {
		o.Region = s.Region
	}
	if s.EndpointURL != "" {
		o.BaseEndpoint = aws.String(s.EndpointURL)
	}
}

func (s site) sns(o *sns.Options) {
	if s.Region != "" {
		o.Region = s.Region
	}
	if s.EndpointURL != "" {
		o.BaseEndpoint = aws.String(s.EndpointURL)
	}
}

// hasCode reports whether a service answered with one of the codes.
func hasCode(err error, codes ...string) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	// ElasticMQ gives the code in full.
	return slices.Contains(codes, strings.TrimPrefix(api.ErrorCode(), "com.amazonaws.sqs#"))
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
