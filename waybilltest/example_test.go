package waybilltest_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/waybilltest"
)

// A test of one's own gets the stack in one line.
func ExampleStart() {
	_ = func(t *testing.T) { // TestFares
		stack := waybilltest.Start(t)
		endpoints := stack.Apply(t, queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"})
		messages, err := stack.Subscriber(t, endpoints).Subscribe(t.Context(), "fares")
		if err != nil {
			t.Fatal(err)
		}
		if err := stack.Publisher(t, endpoints).Publish("fares", message.NewMessage("1", []byte(`{"amount":20}`))); err != nil {
			t.Fatal(err)
		}
		msg := <-messages
		if got := string(msg.Payload); got != `{"amount":20}` {
			t.Errorf("received %s", got)
		}
		msg.Ack()
	}
}

// A program that is not a test opens and closes the stack itself.
func ExampleOpen() {
	ctx := context.Background()
	stack, err := waybilltest.Open(ctx, waybilltest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer stack.Close()
	fmt.Println(stack.Redis.Set(ctx, "ride", "1", 0).Val())
	// Output: OK
}
