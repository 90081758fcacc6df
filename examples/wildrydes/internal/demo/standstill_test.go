package demo

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/backend"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/waybilltest"
)

// TestStandstill: while what a killed worker held is hidden, the progress says so.
func TestStandstill(t *testing.T) {
	stack := waybilltest.Start(t)
	endpoints := stack.Apply(t, queue.Endpoint{Name: "rides", URL: "sqs://rides", DeadLetter: "sqs://rides-dlq", Visibility: 5 * time.Second})
	awsFor := func(queue.Endpoint) aws.Config { return stack.AWS }
	m, err := newMortuary(t.Context(), &backend.Backend{AWSFor: awsFor, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{crew: &crew{kills: 1}, mortuary: m}
	standstill := func(want string) {
		t.Helper()
		if got, err := d.standstill(t.Context()); got != want || err != nil {
			t.Errorf("it says %q, %v; want %q", got, err, want)
		}
	}
	if err := stack.Publisher(t, endpoints).Publish("rides", message.NewMessage("1", []byte("{}"))); err != nil {
		t.Fatal(err)
	}
	standstill("")
	if got, err := m.others[0].Receive(t.Context(), 1, time.Minute, 0); len(got) != 1 || err != nil {
		t.Fatalf("received %d messages, %v", len(got), err)
	}
	standstill("; hidden for up to 5s after a killed worker held them: 1 message")
	d.crew.kills = 0
	standstill("")
}
