package dlq_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// A damager is a client that receives the body "bad" damaged, so many times.
type damager struct {
	*sqs.Client
	times int
}

func (d *damager) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, opts ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	out, err := d.Client.ReceiveMessage(ctx, in, opts...)
	if err != nil {
		return nil, err
	}
	for i := range out.Messages {
		if *out.Messages[i].Body == "bad" && d.times > 0 {
			d.times--
			out.Messages[i].Body = aws.String("damaged")
		}
	}
	return out, nil
}

// What is damaged on its way is read again, and stays where it is if it is
// damaged every time: no damaged message is sent, and none is deleted.
func TestRedriveMovesNoDamagedMessage(t *testing.T) {
	for name, c := range map[string]struct {
		times     int
		from, to  []string
		permanent bool
	}{
		"once":   {1, nil, []string{"bad", "good"}, false},
		"always": {1 << 30, []string{"bad"}, []string{"good"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				s.queue("from", "", 0)
				s.queue("to", "", 0)
				s.send("from", "good", "bad")
				admin, err := queue.NewAdmin(queue.AdminConfig{SQS: &damager{s.sqs, c.times}})
				if err != nil {
					t.Fatal(err)
				}
				client, err := dlq.New(dlq.Config{Queues: admin})
				if err != nil {
					t.Fatal(err)
				}
				report, err := client.Redrive(t.Context(), dlq.Options{From: s.full("from"), To: s.full("to")})
				if errors.Is(err, queue.ErrDamaged) != c.permanent || err != nil && !c.permanent {
					t.Errorf("report %s, %v", asJSON(t, report), err)
				}
				if from, to := bodies(s.take("from")), bodies(s.take("to")); !slices.Equal(from, c.from) || !slices.Equal(to, c.to) {
					t.Errorf("left %q, moved %q", from, to)
				}
			})
		})
	}
}
