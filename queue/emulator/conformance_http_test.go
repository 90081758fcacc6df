package emulator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// A visit is what an endpoint of http has had.
type visit struct {
	header http.Header
	body   string
	fields map[string]any
}

// A reader is an endpoint of http.
type reader struct {
	*probe
	visits chan visit
	status chan int // what it answers; 200 without one
}

// reads subscribes a new endpoint to a topic, and stops it when the test ends.
func (p *probe) reads(topic string, attributes ...string) (r *reader, subscription string) {
	r = &reader{probe: p, visits: make(chan visit, 10), status: make(chan int, 10)}
	url, stop := p.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body) // what is missing, the rules miss
		v := visit{header: req.Header.Clone(), body: string(body)}
		_ = json.Unmarshal(body, &v.fields)
		select {
		case status := <-r.status:
			w.WriteHeader(status)
		default:
		}
		r.visits <- v
	}))
	p.stops = append(p.stops, stop)
	out, err := p.sns.Subscribe(p.ctx, &sns.SubscribeInput{
		TopicArn: &topic, Protocol: aws.String("http"), Endpoint: &url, ReturnSubscriptionArn: true, Attributes: pairs(attributes),
	})
	p.ok(err, "Subscribe")
	return r, *out.SubscriptionArn
}

func (r *reader) next() visit {
	select {
	case v := <-r.visits:
		return v
	case <-time.After(10 * time.Second):
		r.fatalf("nothing was delivered within 10 s")
	}
	panic("unreachable")
}

// confirmed subscribes a new endpoint, and confirms that.
func (p *probe) confirmed(topic string, attributes ...string) *reader {
	r, _ := p.reads(topic, attributes...)
	token, _ := r.next().fields["Token"].(string)
	_, err := p.sns.ConfirmSubscription(p.ctx, &sns.ConfirmSubscriptionInput{TopicArn: &topic, Token: &token})
	p.ok(err, "ConfirmSubscription")
	return r
}

const overHTTP = "Fanout Amazon SNS notifications to HTTPS endpoints"

var httpRules = []rule{
	{
		name: "http/confirmation", source: snsGuide(overHTTP), sns: true,
		says: "An endpoint of http is asked with a SubscriptionConfirmation, and gets nothing before its token is returned.",
		test: func(p *probe) {
			topic := p.topic()
			r, subscription := p.reads(topic)
			asked := r.next()
			p.equal("x-amz-sns-message-type", asked.header.Get("X-Amz-Sns-Message-Type"), "SubscriptionConfirmation")
			p.equal("Type", asked.fields["Type"], any("SubscriptionConfirmation"))
			p.equal("TopicArn", asked.fields["TopicArn"], any(topic))
			p.equal("whether there is a SubscribeURL", asked.fields["SubscribeURL"] != nil, true)
			p.equal("PendingConfirmation", p.subscriptionAttributes(subscription)["PendingConfirmation"], "true")
			p.publish(topic, "early")
			token, _ := asked.fields["Token"].(string)
			out, err := p.sns.ConfirmSubscription(p.ctx, &sns.ConfirmSubscriptionInput{TopicArn: &topic, Token: &token})
			p.ok(err, "ConfirmSubscription")
			p.equal("the ARN", *out.SubscriptionArn, subscription)
			p.equal("PendingConfirmation", p.subscriptionAttributes(subscription)["PendingConfirmation"], "false")
			p.publish(topic, "late")
			p.equal("the first message", r.next().fields["Message"], any("late"))
		},
	},
	{
		name: "http/token", source: snsAPI("ConfirmSubscription"), sns: true,
		says: "Another token is InvalidParameter.",
		test: func(p *probe) {
			topic := p.topic()
			r, _ := p.reads(topic)
			r.next()
			_, err := p.sns.ConfirmSubscription(p.ctx, &sns.ConfirmSubscriptionInput{TopicArn: &topic, Token: aws.String("guessed")})
			p.refused(err, "InvalidParameter", "a token that was guessed")
		},
	},
	{
		name: "http/notification", source: snsGuide("Parsing Amazon SNS message formats"), sns: true,
		says: "A notification is a POST of text/plain, whose headers name its type, id, topic and subscription.",
		test: func(p *probe) {
			topic := p.topic()
			r := p.confirmed(topic)
			id := p.publish(topic, "x")
			v := r.next()
			p.equal("Type", v.fields["Type"], any("Notification"))
			p.equal("MessageId", v.fields["MessageId"], any(id))
			p.equal("Content-Type", v.header.Get("Content-Type"), "text/plain; charset=UTF-8")
			p.equal("x-amz-sns-message-id", v.header.Get("X-Amz-Sns-Message-Id"), id)
			p.equal("x-amz-sns-topic-arn", v.header.Get("X-Amz-Sns-Topic-Arn"), topic)
			p.equal("whether there is an x-amz-sns-subscription-arn", v.header.Get("X-Amz-Sns-Subscription-Arn") != "", true)
		},
	},
	{
		name: "http/raw", source: snsGuide("Amazon SNS raw message delivery"), sns: true,
		says: "With RawMessageDelivery the body is the message, and x-amz-sns-rawdelivery is true.",
		test: func(p *probe) {
			topic := p.topic()
			r := p.confirmed(topic, "RawMessageDelivery", "true")
			p.publish(topic, "x")
			v := r.next()
			p.equal("the body", v.body, "x")
			p.equal("x-amz-sns-rawdelivery", v.header.Get("X-Amz-Sns-Rawdelivery"), "true")
		},
	},
	{
		name: "http/refused", source: snsGuide("Amazon SNS dead-letter queues"), sns: true,
		says: "What an endpoint refuses as a client error is not tried again, and goes to the dead-letter queue.",
		test: func(p *probe) {
			topic, dlq := p.topic(), p.queue()
			p.permit(topic, dlq)
			r := p.confirmed(topic, "RedrivePolicy", `{"deadLetterTargetArn":"`+p.arn(dlq)+`"}`)
			r.status <- 403
			p.publish(topic, "x")
			r.next()
			p.next(dlq)
		},
	},
	{
		name: "http/retried", source: snsGuide("Amazon SNS message delivery retries"), sns: true,
		says: "What an endpoint fails to take is tried again, as the subscription's DeliveryPolicy says.",
		test: func(p *probe) {
			topic := p.topic()
			r := p.confirmed(topic, "DeliveryPolicy", `{"healthyRetryPolicy":{"numRetries":3,"minDelayTarget":1,"maxDelayTarget":1}}`)
			r.status <- 503
			p.publish(topic, "x")
			r.next()
			p.equal("the message that comes again", r.next().fields["Message"], any("x"))
		},
	},
}
