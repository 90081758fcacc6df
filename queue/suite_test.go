package queue_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
)

// TestUniversal runs watermill's suite for Pub/Subs. It wants prompt
// redelivery, so the backoff is off, and the contexts of forgotten messages to
// end soon after Close, so the drain is short. Real servers go on giving
// messages to a receive that was cancelled, so none is; the emulator does not,
// and the suite closes fifty subscribers in turn.
func TestUniversal(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		t.Parallel() // it mostly waits
		ns := testserver.Namespace(t)
		grace := 5 * time.Second
		if s.emulator != nil {
			grace = time.Millisecond
		}
		tests.TestPubSub(t, tests.Features{
			Persistent:        true,
			GenerateTopicFunc: func(c tests.TestContext) string { return "sqs://" + ns + "-" + string(c.TestID) },
			ForceShort:        s.emulator == nil,
		}, func(t *testing.T) (message.Publisher, message.Subscriber) {
			return newPublisher(t, queue.PublisherConfig{AWS: s.aws}), &initializer{
				Subscriber: newSubscriber(t, queue.SubscriberConfig{
					AWS:          s.aws,
					Backoff:      queue.NoBackoff,
					PollWait:     time.Second,
					ReceiveGrace: grace,
					DrainTimeout: 2 * time.Second,
				}),
				t: t, server: s,
			}
		}, nil)
	})
}

// An initializer makes the queues that the suite subscribes to, which is
// otherwise the business of configuration.
type initializer struct {
	*queue.Subscriber
	t      *testing.T
	server *server
}

func (i *initializer) SubscribeInitialize(topic string) error {
	_, err := i.server.sqs.CreateQueue(background, &sqs.CreateQueueInput{
		QueueName:  aws.String(strings.TrimPrefix(topic, "sqs://")),
		Attributes: map[string]string{"VisibilityTimeout": "30"},
	})
	return err
}
