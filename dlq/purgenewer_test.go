package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store/memstore"
)

// latecomers is a client of a queue that has said that it holds 20 messages, and into
// which those with the body "new" came after that.
type latecomers struct{ *sqs.Client }

func (l latecomers) GetQueueAttributes(ctx context.Context, in *sqs.GetQueueAttributesInput, opts ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	out, err := l.Client.GetQueueAttributes(ctx, in, opts...)
	if err == nil {
		out.Attributes["ApproximateNumberOfMessages"] = "20"
	}
	return out, err
}

func (l latecomers) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, opts ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	out, err := l.Client.ReceiveMessage(ctx, in, opts...)
	if err != nil {
		return nil, err
	}
	for _, m := range out.Messages {
		if *m.Body == "new" {
			m.Attributes["SentTimestamp"] = "4102444800000"
		}
	}
	return out, nil
}

// What came since a purge or an ingestion began takes the place of none that was
// there, and does not keep it from its end.
func TestPurgeAmongNewer(t *testing.T) {
	for _, tt := range []struct{ newer, deleted int }{{15, 20}, {60, 0}} {
		for _, verb := range []string{"purge", "ingest"} {
			t.Run(fmt.Sprint(verb, " among ", tt.newer), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := embedded(t)
					s.queue("fares-dlq", "", 0)
					for range tt.newer {
						s.send("fares-dlq", "new")
					}
					for i := range 20 {
						s.send("fares-dlq", fmt.Sprint(i))
					}
					admin, err := queue.NewAdmin(queue.AdminConfig{SQS: latecomers{s.sqs}})
					if err != nil {
						t.Fatal(err)
					}
					k := memstore.New(memstore.Config{})
					c, err := dlq.New(dlq.Config{Queues: admin, Catalogue: k})
					if err != nil {
						t.Fatal(err)
					}
					var seen, deleted, newer int
					if verb == "purge" {
						r, failed := c.Purge(t.Context(), s.full("fares-dlq"), dlq.PurgeOptions{All: s.full("fares-dlq")})
						seen, deleted, newer, err = r.Seen, r.Deleted, r.Newer, failed
					} else {
						r, failed := c.Ingest(t.Context(), s.full("fares-dlq"), dlq.IngestOptions{})
						seen, deleted, newer, err = r.Seen, r.Deleted, r.Newer, failed
					}
					if errors.Is(err, dlq.ErrCrowded) != (tt.newer == 60) || err != nil && tt.newer != 60 || deleted != tt.deleted || seen != deleted || newer > 2*20 || newer < 15 {
						t.Errorf("%d of 20 were seen, and %d deleted, among %d newer, %v", seen, deleted, newer, err)
					}
					if left := s.left("fares-dlq"); left != 20+tt.newer-deleted {
						t.Errorf("%d are left", left)
					}
				})
			})
		}
	}
}

// A message's id, or a field of an archive, can be as long as its writer likes: that
// keeps nothing off the record.
func TestRecordsOfLongTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.sendWith("fares-dlq", "text", queue.AttrUUID, strings.Repeat("x", 100_000))
		k := memstore.New(memstore.Config{})
		c := s.journalled(k, withCatalogue(k))
		odd := filter(t, ".body + 1 > 2")
		if r, err := c.Purge(t.Context(), "fares-dlq", dlq.PurgeOptions{Filter: odd}); err != nil || r.FilterErrors != 1 {
			t.Errorf("purge: %d errors, %.1000v", r.FilterErrors, err)
		}
		if r, err := c.Ingest(t.Context(), "fares-dlq", dlq.IngestOptions{Filter: odd}); err != nil || r.FilterErrors != 1 {
			t.Errorf("ingest: %d errors, %.1000v", r.FilterErrors, err)
		}
		text := strings.Replace(archive(1, ""), `"id"`, `"`+strings.Repeat("x", 100_000)+`"`, 1)
		_, err := c.Import(t.Context(), "fares-dlq", strings.NewReader(text), dlq.ImportOptions{Records: k})
		if err == nil || strings.Contains(err.Error(), "on record") {
			t.Errorf("import: %.1000v", err)
		}
		list, err := c.Audits(t.Context(), dlq.AuditQuery{})
		if err != nil || len(list) != 3 {
			t.Fatalf("%d records, %v", len(list), err)
		}
		for _, a := range list {
			if a.Ended.IsZero() {
				t.Errorf("the end of the %s is not on record", a.Verb)
			}
		}
	})
}
