package queue_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// TestSizeLimit holds that the size which Publish checks is the one that the
// service counts: a message of the limit passes, and one of a byte more is
// refused before it is sent, or by a queue of a lower limit.
func TestSizeLimit(t *testing.T) {
	on(t, func(t *testing.T, s *server) {
		const limit = 256 << 10 // which all servers can be told to keep
		q := newQueue(t, s, "MaximumMessageSize", fmt.Sprint(limit))
		p := newPublisher(t, queue.PublisherConfig{AWS: s.aws, Endpoints: q.endpoints(t, queue.Endpoint{MaxMessageSize: limit})})
		unchecked := newPublisher(t, queue.PublisherConfig{AWS: s.aws})
		sized := func(n int) *message.Message {
			msg := message.NewMessage("u", nil)
			msg.Metadata.Set("key", "Zürich")
			overhead := len("_watermill_message_uuid"+"String"+"u") + len("key"+"String"+"Zürich")
			msg.Payload = []byte(strings.Repeat("x", n-overhead))
			return msg
		}
		if err := p.Publish("q", sized(limit)); err != nil {
			t.Errorf("a message of the limit: %v", err)
		}
		if err := p.Publish("q", sized(limit+1)); !errors.Is(err, queue.ErrTooLarge) {
			t.Errorf("a message of a byte more: %v, want ErrTooLarge", err)
		}
		if s.name == "elasticmq" { // 1.7.1 takes messages over the queue's limit
			return
		}
		// Not all servers count the attributes.
		if err := unchecked.Publish("sqs://"+q.name, sized(2*limit)); !errors.Is(err, queue.ErrTooLarge) {
			t.Errorf("refused by the queue: %v, want ErrTooLarge", err)
		}
		if got := s.depth(t, q.url); got != "1 visible, 0 in flight" {
			t.Error(got)
		}
	})
}
