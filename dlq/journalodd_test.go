package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store/memstore"
)

// However much came into the queue since, a job is brought to its end, wherever it
// died: what it had in hand is looked for among all that.
func TestResumeAmongNewer(t *testing.T) {
	for after := 1; after < 30; after++ {
		synctest.Test(t, func(t *testing.T) {
			s, _ := filled(t, 3)
			k, l := memstore.New(memstore.Config{}), &life{after: after, answered: true}
			opts := dlq.Options{From: "fares-dlq", Workers: 1}
			_, _ = s.mortalClient(k, l).Redrive(t.Context(), opts)
			time.Sleep(leaseOver)
			for i := range 25 {
				s.bury("fares-dlq", fmt.Sprintf("new%d", i), `{}`, "fares")
			}
			report, err := goOn(t.Context(), s.journalled(k), opts)
			var r *dlq.ResumableError
			if errors.As(err, &r) {
				t.Errorf("%d: %s, %v", after, asJSON(t, report), err)
			}
		})
	}
}

// An id can be as long as its writer likes. That is in no way of the job, whether the
// message is sent or fails.
func TestJournalLongID(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, edit := range map[string]func(context.Context, *dlq.Letter) error{
		"sent":  nil,
		"fails": func(context.Context, *dlq.Letter) error { return errors.New(long) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := filled(t, 1)
				for range 5 {
					if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
						QueueUrl: s.url("fares-dlq"), MessageBody: aws.String("{}"),
						MessageAttributes: map[string]sqstypes.MessageAttributeValue{queue.AttrUUID: {DataType: aws.String("String"), StringValue: &long}},
					}); err != nil {
						t.Fatal(err)
					}
				}
				report, err := s.journalled(memstore.New(memstore.Config{})).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Edit: edit})
				var r *dlq.ResumableError
				switch {
				case errors.As(err, &r) || err != nil && strings.Contains(err.Error(), "on record"):
					t.Errorf("%.1000v", err)
				case edit == nil && (err != nil || report.Sent != 6), edit != nil && report.Failed != 6:
					t.Errorf("%d were sent, %d failed, %.1000v", report.Sent, report.Failed, err)
				}
			})
		})
	}
}
