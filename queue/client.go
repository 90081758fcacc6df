package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// SQSSender is the part of [*sqs.Client] that a [Publisher] calls.
type SQSSender interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
}

// SNSPublisher is the part of [*sns.Client] that a [Publisher] calls.
type SNSPublisher interface {
	ListTopics(context.Context, *sns.ListTopicsInput, ...func(*sns.Options)) (*sns.ListTopicsOutput, error)
	PublishBatch(context.Context, *sns.PublishBatchInput, ...func(*sns.Options)) (*sns.PublishBatchOutput, error)
}

// SQSReceiver is the part of [*sqs.Client] that a [Subscriber] calls.
type SQSReceiver interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
}

// maxIdleConnsPerHost keeps the connections of all pollers and senders of a
// process open. At the SDK's 10, each of 64 concurrent callers opens a new
// connection for most of its calls.
const maxIdleConnsPerHost = 256

// NewHTTPClient returns an HTTP client for an aws.Config that suits queues: it
// keeps more idle connections to a host than the SDK's, and sends each request
// from a buffer of its own. The SDK closes a request's body as soon as the
// answer's headers arrive; on a loopback interface that can be before net/http
// has finished with the body, and fails a request that the server has carried
// out. A received message then seems lost until its visibility timeout ends.
//
// A [Publisher] and a [Subscriber] that are given an aws.Config do the same to
// its client. Share one client between them, and they share its connections.
func NewHTTPClient() aws.HTTPClient {
	return queueHTTPClient(awshttp.NewBuildableClient())
}

// queueHTTPClient returns a client with the properties of [NewHTTPClient] and
// otherwise those of c, which may be nil.
func queueHTTPClient(c aws.HTTPClient) *bufferedClient {
	if c == nil {
		c = awshttp.NewBuildableClient()
	}
	switch c := c.(type) {
	case *bufferedClient:
		return c
	case *awshttp.BuildableClient:
		return &bufferedClient{ownClient(c)}
	default:
		return &bufferedClient{c}
	}
}

// ownClient builds the client that b describes, with more idle connections.
func ownClient(b *awshttp.BuildableClient) aws.HTTPClient {
	keepIdle := func(t *http.Transport) {
		t.MaxIdleConnsPerHost = max(t.MaxIdleConnsPerHost, maxIdleConnsPerHost)
		if t.MaxIdleConns != 0 {
			t.MaxIdleConns = max(t.MaxIdleConns, 2*maxIdleConnsPerHost)
		}
	}
	if _, ok := b.GetReadTimeout(); ok {
		// Only the SDK can build this, and its transport cannot be closed.
		return b.WithTransportOptions(keepIdle).Freeze()
	}
	t := b.GetTransport()
	keepIdle(t)
	return &http.Client{
		Transport:     t,
		Timeout:       b.GetTimeout(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// A bufferedClient sends requests whose body nobody can close under it.
type bufferedClient struct {
	client aws.HTTPClient
}

func (c *bufferedClient) Do(req *http.Request) (*http.Response, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return c.client.Do(req)
	}
	var read bytes.Buffer
	if req.ContentLength > 0 { // and ReadFrom wants some room beyond it
		read.Grow(int(req.ContentLength) + bytes.MinRead)
	}
	_, err := read.ReadFrom(req.Body)
	if closeErr := req.Body.Close(); err == nil {
		err = closeErr
	}
	body := read.Bytes()
	if err != nil {
		return nil, fmt.Errorf("read request body: %w", err)
	}
	req = req.WithContext(req.Context()) // the caller's request stays as it is
	req.ContentLength = int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	return c.client.Do(req)
}

// clientConfig prepares the user's configuration for the clients that this
// package makes from it.
func clientConfig(cfg aws.Config) aws.Config {
	cfg = cfg.Copy()
	cfg.HTTPClient = queueHTTPClient(cfg.HTTPClient)
	if cfg.Credentials != nil && !aws.IsCredentialsProvider(cfg.Credentials, (*aws.AnonymousCredentials)(nil)) {
		cfg.Credentials = credentials{cfg.Credentials}
	}
	return cfg
}

// idleCloser returns a function that closes the idle connections of the client
// that clientConfig made from the user's, unless the user's connections are
// used.
func idleCloser(users, made aws.HTTPClient) func() {
	if _, ok := users.(*awshttp.BuildableClient); ok || users == nil {
		if c, ok := made.(*bufferedClient).client.(*http.Client); ok {
			return c.CloseIdleConnections
		}
	}
	return func() {}
}

// credentials marks a failure to find credentials with its kind, because the
// SDK gives it no type.
type credentials struct {
	aws.CredentialsProvider
}

func (c credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	value, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrAccess, err)
	}
	return value, err
}

// sqsOptions returns what every call for the endpoint is made with. The SDK's
// own check of MD5s is off because it fails a whole batch for one message;
// this package checks each.
func sqsOptions(e Endpoint, stats *Stats) func(*sqs.Options) {
	return func(o *sqs.Options) {
		if e.Region != "" {
			o.Region = e.Region
		}
		if e.EndpointURL != "" {
			o.BaseEndpoint = aws.String(e.EndpointURL)
		}
		o.DisableMessageChecksumValidation = true
		o.APIOptions = append(o.APIOptions, stats.Count)
	}
}

func snsOptions(e Endpoint, stats *Stats) func(*sns.Options) {
	return func(o *sns.Options) {
		if e.Region != "" {
			o.Region = e.Region
		}
		if e.EndpointURL != "" {
			o.BaseEndpoint = aws.String(e.EndpointURL)
		}
		o.APIOptions = append(o.APIOptions, stats.Count)
	}
}

// callTimeout bounds a call that does not wait for messages, with the SDK's
// retries.
const callTimeout = 30 * time.Second

// queueURLClient is what looking up a queue takes.
type queueURLClient interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
}

// lookupQueue returns the URL by which SQS knows the endpoint's queue.
func lookupQueue(ctx context.Context, client queueURLClient, e Endpoint, opt func(*sqs.Options)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name, account := e.Resource()
	in := &sqs.GetQueueUrlInput{QueueName: aws.String(name)}
	if account != "" {
		in.QueueOwnerAWSAccountId = aws.String(account)
	}
	out, err := client.GetQueueUrl(ctx, in, opt)
	if err != nil {
		return "", newError("GetQueueUrl", e, err)
	}
	return aws.ToString(out.QueueUrl), nil
}

// lookupTopic returns the ARN of the endpoint's topic. SNS has no call for it:
// with the account in the endpoint's URL the ARN follows, without it the topics
// are listed.
func lookupTopic(ctx context.Context, client SNSPublisher, e Endpoint, region string, opt func(*sns.Options)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name, account := e.Resource()
	if account != "" {
		if region == "" {
			return "", fmt.Errorf("queue: endpoint %q (%s): the topic's region is not known; set Region", e.Name, e.URL)
		}
		return fmt.Sprintf("arn:%s:sns:%s:%s:%s", partition(region), region, account, name), nil
	}
	in := &sns.ListTopicsInput{}
	for {
		out, err := client.ListTopics(ctx, in, opt)
		if err != nil {
			return "", newError("ListTopics", e, err)
		}
		for _, t := range out.Topics {
			if arn := aws.ToString(t.TopicArn); strings.HasSuffix(arn, ":"+name) {
				return arn, nil
			}
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return "", &Error{Op: "ListTopics", Endpoint: e.Name, URL: e.URL, Kind: ErrNotFound}
		}
	}
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
