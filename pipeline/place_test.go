package pipeline_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// Queues of two regions that have the same names.
var (
	here     = queue.Endpoint{Name: "here", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"}
	there    = queue.Endpoint{Name: "there", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq", Region: "eu-west-1"}
	hereDLQ  = queue.Endpoint{Name: "here-dlq", URL: "sqs://fares-dlq"}
	thereDLQ = queue.Endpoint{Name: "there-dlq", URL: "sqs://fares-dlq", Region: "eu-west-1"}
)

// A dead letter goes to the dead-letter queue that is where its queue is, and a
// pipeline that cannot tell which that is does not start.
func TestDeadLettersOfTwoPlaces(t *testing.T) {
	for name, tt := range map[string]struct {
		endpoints []queue.Endpoint
		want      string // of the error of Run
	}{
		"one place":                   {[]queue.Endpoint{there}, ""},
		"two places, with endpoints":  {[]queue.Endpoint{here, there, hereDLQ, thereDLQ}, ""},
		"an endpoint of another one":  {[]queue.Endpoint{there, hereDLQ}, `that of "here-dlq", which is in another region or account`},
		"two places, without":         {[]queue.Endpoint{here, there}, "make each an endpoint of its own"},
		"two places, with one of two": {[]queue.Endpoint{here, there, thereDLQ}, `that of "there-dlq", which is in another region or account`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { deadLettersOf(t, tt.endpoints, tt.want) })
		})
	}
}

func deadLettersOf(t *testing.T, list []queue.Endpoint, want string) {
	servers := map[string]aws.Config{}
	for region, its := range map[string]string{"": "us-east-1", "eu-west-1": "eu-west-1"} {
		cfg := aws.Config{
			Region: its, BaseEndpoint: aws.String("http://emulator.test"), HTTPClient: emulator.New(emulator.Config{}).Client(),
			Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		}
		for _, queue := range []string{"fares", "fares-dlq"} {
			if _, err := sqs.NewFromConfig(cfg).CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &queue}); err != nil {
				t.Fatal(err)
			}
		}
		servers[region] = cfg
	}
	awsFor := func(e queue.Endpoint) aws.Config { return servers[e.Region] }
	endpoints, err := queue.NewEndpoints("", list...)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWSFor: awsFor, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWSFor: awsFor, Endpoints: endpoints, DeliverUndecodable: true, ReceiveGrace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	p, err := pipeline.New(pipeline.Config{Publisher: pub, Subscriber: sub, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]int{}
	for e := range endpoints.All() {
		if e.DeadLetter == "" {
			continue
		}
		p.Handle("refuse-"+e.Name, pipeline.Sink(func(context.Context, fare) error { return pipeline.Permanent(errDeclined) }), pipeline.From(e.Name))
		if err := pub.Publish(e.Name, message.NewMessage(e.Name, []byte(`{"id":"f1"}`))); err != nil {
			t.Fatal(err)
		}
		sent[e.Region]++
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.Run(ctx); (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("run: %v, want %q", err, want)
	}
	if want != "" {
		return
	}
	dead := map[string]int{}
	for region, cfg := range servers {
		out, err := sqs.NewFromConfig(cfg).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("http://emulator.test/000000000000/fares-dlq"), MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(out.Messages); n > 0 {
			dead[region] = n
		}
	}
	if !maps.Equal(dead, sent) {
		t.Errorf("dead letters by region: %v, want %v", dead, sent)
	}
}
