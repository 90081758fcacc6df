package queue_test

import (
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/waybill-dev/waybill/queue"
)

// TestKeyOrder holds that the order of a message is its group on a FIFO queue or
// topic, if it has no group, and that a standard queue gets neither.
func TestKeyOrder(t *testing.T) {
	for _, tt := range []struct {
		name, kind, order, group, want string
		topic                          bool
	}{
		{name: "FIFO", kind: ".fifo", order: "o", want: "o"},
		{name: "FIFO, with a group", kind: ".fifo", order: "o", group: "g", want: "g"},
		{name: "FIFO topic", kind: ".fifo", order: "o", want: "o", topic: true},
		{name: "standard", order: "o"},
		{name: "standard, with a group", order: "o", group: "g", want: "g"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				var attributes []string
				if tt.kind != "" {
					attributes = []string{"FifoQueue", "true"}
				}
				to := "sqs://q" + tt.kind
				url := s.createQueue(t, "q"+tt.kind, attributes...)
				if tt.topic {
					to = "sns://t.fifo"
					topic, err := s.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("t.fifo"), Attributes: map[string]string{"FifoTopic": "true"}})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := s.sns.Subscribe(t.Context(), &sns.SubscribeInput{
						TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: aws.String(s.queueARN(t, url)),
						Attributes: map[string]string{"RawMessageDelivery": "true"},
					}); err != nil {
						t.Fatal(err)
					}
				}
				msg := message.NewMessage("u", []byte("x"))
				for key, value := range map[string]string{queue.KeyOrder: tt.order, queue.KeyGroup: tt.group} {
					if value != "" {
						msg.Metadata.Set(key, value)
					}
				}
				if err := newPublisher(t, queue.PublisherConfig{AWS: s.aws}).Publish(to, msg); err != nil {
					t.Fatal(err)
				}
				got := s.receive(t, url)
				if group := got.Attributes["MessageGroupId"]; group != tt.want {
					t.Errorf("the group is %q, want %q", group, tt.want)
				}
				if _, ok := got.MessageAttributes[queue.KeyOrder]; ok {
					t.Error("the order is sent")
				}
			})
		})
	}
}
