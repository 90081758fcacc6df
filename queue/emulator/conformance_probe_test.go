package emulator_test

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// The calls that rules are written in. Those whose name starts with try return the error; the others stop
// the test at it.

// pairs makes a map of name, value, name, value.
func pairs(list []string) map[string]string {
	out := make(map[string]string)
	for i := 0; i+1 < len(list); i += 2 {
		out[list[i]] = list[i+1]
	}
	return out
}

// tryQueue makes a queue of a name.
func (p *probe) tryQueue(name string, attributes ...string) (string, error) {
	out, err := p.sqs.CreateQueue(p.ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: pairs(attributes)})
	if err != nil {
		return "", err
	}
	p.queues = append(p.queues, *out.QueueUrl)
	return *out.QueueUrl, nil
}

// queue makes a queue with attributes given as name, value, name, value.
func (p *probe) queue(attributes ...string) (url string) {
	url, err := p.tryQueue(p.name(), attributes...)
	p.ok(err, "CreateQueue")
	return url
}

func (p *probe) attributes(url string, names ...string) map[string]string {
	in := &sqs.GetQueueAttributesInput{QueueUrl: &url}
	for _, name := range names {
		in.AttributeNames = append(in.AttributeNames, sqstypes.QueueAttributeName(name))
	}
	out, err := p.sqs.GetQueueAttributes(p.ctx, in)
	p.ok(err, "GetQueueAttributes")
	return out.Attributes
}

func (p *probe) attribute(url, name string) string { return p.attributes(url, name)[name] }

func (p *probe) arn(url string) string { return p.attribute(url, "QueueArn") }

func (p *probe) trySet(url string, attributes ...string) error {
	_, err := p.sqs.SetQueueAttributes(p.ctx, &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: pairs(attributes)})
	return err
}

func (p *probe) set(url string, attributes ...string) {
	p.ok(p.trySet(url, attributes...), "SetQueueAttributes")
}

type sendEdit = func(*sqs.SendMessageInput)

func (p *probe) trySend(url, body string, edits ...sendEdit) (*sqs.SendMessageOutput, error) {
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
	for _, f := range edits {
		f(in)
	}
	return p.sqs.SendMessage(p.ctx, in)
}

func (p *probe) send(url, body string, edits ...sendEdit) *sqs.SendMessageOutput {
	out, err := p.trySend(url, body, edits...)
	p.ok(err, "SendMessage")
	return out
}

// withAttribute adds a message attribute to what is sent.
func withAttribute(name, dataType, value string) sendEdit {
	return func(in *sqs.SendMessageInput) {
		if in.MessageAttributes == nil {
			in.MessageAttributes = make(map[string]sqstypes.MessageAttributeValue)
		}
		in.MessageAttributes[name] = attributeValue(dataType, value)
	}
}

func attributeValue(dataType, value string) sqstypes.MessageAttributeValue {
	if strings.HasPrefix(dataType, "Binary") {
		return sqstypes.MessageAttributeValue{DataType: &dataType, BinaryValue: []byte(value)}
	}
	return sqstypes.MessageAttributeValue{DataType: &dataType, StringValue: &value}
}

type receiveEdit = func(*sqs.ReceiveMessageInput)

func (p *probe) tryReceive(url string, edits ...receiveEdit) ([]sqstypes.Message, error) {
	in := &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: 10,
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"All"},
	}
	for _, f := range edits {
		f(in)
	}
	defer p.pace.waiting(time.Duration(in.WaitTimeSeconds) * time.Second)()
	out, err := p.sqs.ReceiveMessage(p.ctx, in)
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

func (p *probe) receive(url string, edits ...receiveEdit) []sqstypes.Message {
	out, err := p.tryReceive(url, edits...)
	p.ok(err, "ReceiveMessage")
	return out
}

// next receives one message, waiting a few seconds for it.
func (p *probe) next(url string, edits ...receiveEdit) sqstypes.Message {
	edits = append([]receiveEdit{func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages, in.WaitTimeSeconds = 1, 6 }}, edits...)
	got := p.receive(url, edits...)
	if len(got) == 0 {
		p.fatalf("ReceiveMessage: nothing came, want a message")
	}
	return got[0]
}

// drain receives messages until n have come, waiting a few seconds for each.
func (p *probe) drain(url string, n int) []sqstypes.Message {
	var out []sqstypes.Message
	for len(out) < n {
		got := p.receive(url, waiting(5))
		if len(got) == 0 {
			p.fatalf("ReceiveMessage: %d messages came, want %d", len(out), n)
		}
		out = append(out, got...)
	}
	return out
}

// empty expects that nothing can be received.
func (p *probe) empty(url, when string) {
	if got := p.receive(url); len(got) > 0 {
		p.errorf("received %d messages %s, want none", len(got), when)
	}
}

func waiting(seconds int32) receiveEdit {
	return func(in *sqs.ReceiveMessageInput) { in.WaitTimeSeconds = seconds }
}

func hiding(seconds int32) receiveEdit {
	return func(in *sqs.ReceiveMessageInput) { in.VisibilityTimeout = seconds }
}

func (p *probe) tryDelete(url string, handle *string) error {
	_, err := p.sqs.DeleteMessage(p.ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: handle})
	return err
}

func (p *probe) delete(url string, handle *string) { p.ok(p.tryDelete(url, handle), "DeleteMessage") }

func (p *probe) tryVisibility(url string, handle *string, seconds int32) error {
	_, err := p.sqs.ChangeMessageVisibility(p.ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &url, ReceiptHandle: handle, VisibilityTimeout: seconds,
	})
	return err
}

func (p *probe) visibility(url string, handle *string, seconds int32) {
	p.ok(p.tryVisibility(url, handle, seconds), "ChangeMessageVisibility")
}

// counts returns the numbers of visible, hidden and delayed messages.
func (p *probe) counts(url string) [3]string {
	a := p.attributes(url, "All")
	return [3]string{
		a["ApproximateNumberOfMessages"], a["ApproximateNumberOfMessagesNotVisible"], a["ApproximateNumberOfMessagesDelayed"],
	}
}

// post sends a request of SQS as bytes, and returns the status, the headers and the body of the answer.
func (p *probe) post(target, body string) (int, http.Header, string) {
	return p.exchange(map[string]string{
		"Content-Type": "application/x-amz-json-1.0",
		"X-Amz-Target": target,
	}, body, "sqs")
}

// postForm sends a request of SNS.
func (p *probe) postForm(form string) (int, http.Header, string) {
	return p.exchange(map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, form, "sns")
}

func (p *probe) exchange(header map[string]string, body, service string) (int, http.Header, string) {
	r, err := http.NewRequestWithContext(p.ctx, http.MethodPost, p.endpoint+"/", strings.NewReader(body))
	p.ok(err, "NewRequest")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260102/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=00")
	resp, err := p.http.Do(r)
	p.ok(err, "POST")
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	p.ok(err, "reading the answer")
	return resp.StatusCode, resp.Header, string(b)
}

func (p *probe) tryTopic(name string, attributes ...string) (string, error) {
	out, err := p.sns.CreateTopic(p.ctx, &sns.CreateTopicInput{Name: &name, Attributes: pairs(attributes)})
	if err != nil {
		return "", err
	}
	p.topics = append(p.topics, *out.TopicArn)
	return *out.TopicArn, nil
}

func (p *probe) topic() (arn string) {
	arn, err := p.tryTopic(p.name())
	p.ok(err, "CreateTopic")
	return arn
}

func (p *probe) trySubscribe(topic, queueARN string, attributes ...string) (string, error) {
	out, err := p.sns.Subscribe(p.ctx, &sns.SubscribeInput{
		TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: &queueARN,
		Attributes: pairs(attributes), ReturnSubscriptionArn: true,
	})
	if err != nil {
		return "", err
	}
	return *out.SubscriptionArn, nil
}

// permit lets a topic send to a queue.
func (p *probe) permit(topic, url string) {
	p.set(url, "Policy", p.statement("Allow", url, topic))
}

// statement returns a policy whose only statement allows, or denies, a topic to send to a queue.
func (p *probe) statement(effect, url, topic string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Principal":{"Service":"sns.amazonaws.com"},` +
		`"Action":"sqs:SendMessage","Resource":"` + p.arn(url) + `","Condition":{"ArnEquals":{"aws:SourceArn":"` + topic + `"}}}]}`
}

// subscribed makes a topic with one queue subscribed to it, to which it may send.
func (p *probe) subscribed(attributes ...string) (topic, url, subscription string) {
	topic, url = p.topic(), p.queue()
	p.permit(topic, url)
	subscription, err := p.trySubscribe(topic, p.arn(url), attributes...)
	p.ok(err, "Subscribe")
	return topic, url, subscription
}

type publishInput = sns.PublishInput

type publishEdit = func(*publishInput)

func (p *probe) tryPublish(topic, message string, edits ...publishEdit) (string, error) {
	in := &sns.PublishInput{TopicArn: &topic, Message: &message}
	for _, f := range edits {
		f(in)
	}
	out, err := p.sns.Publish(p.ctx, in)
	if err != nil {
		return "", err
	}
	return *out.MessageId, nil
}

func (p *probe) publish(topic, message string, edits ...publishEdit) string {
	id, err := p.tryPublish(topic, message, edits...)
	p.ok(err, "Publish")
	return id
}

func publishing(name, dataType, value string) publishEdit {
	return func(in *sns.PublishInput) {
		if in.MessageAttributes == nil {
			in.MessageAttributes = make(map[string]snstypes.MessageAttributeValue)
		}
		v := snstypes.MessageAttributeValue{DataType: &dataType, StringValue: &value}
		if strings.HasPrefix(dataType, "Binary") {
			v.StringValue, v.BinaryValue = nil, []byte(value)
		}
		in.MessageAttributes[name] = v
	}
}

// glance receives a message, and makes it visible again at once.
func (p *probe) glance(url string) sqstypes.Message {
	m := p.next(url)
	p.visibility(url, m.ReceiptHandle, 0)
	return m
}
