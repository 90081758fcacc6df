package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store/memstore"
)

// Where a letter of a FIFO queue's catalogue fails, the rest of its group stays, also
// of what is read later, and the other groups go.
func TestCatalogueOfFIFOKeepsBackAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := filledFIFO(t, 9)
		for i := range 20 {
			id := fmt.Sprintf("m1x%02d", i) // of the second group
			ids = append(ids, id)
			if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
				QueueUrl: s.url("fares-dlq.fifo"), MessageBody: &id, MessageGroupId: aws.String("1"), MessageDeduplicationId: &id,
			}); err != nil {
				t.Fatal(err)
			}
		}
		k := memstore.New(memstore.Config{})
		c := s.journalled(k, withCatalogue(k))
		if r, err := c.Ingest(t.Context(), "fares-dlq.fifo", dlq.IngestOptions{}); err != nil || r.Letters != int64(len(ids)) {
			t.Fatalf("%+v, %v", r, err)
		}
		opts := dlq.Options{From: "fares-dlq.fifo", To: "fares.fifo", Edit: func(_ context.Context, l *dlq.Letter) error {
			if string(l.Body) == "m04" {
				return errors.New("not this one")
			}
			return nil
		}}
		report, err := c.Catalogue().Redrive(t.Context(), opts)
		var partial *dlq.PartialError
		if !errors.As(err, &partial) || report.Sent != 7 || report.Failed != 22 || report.Remaining != 22 {
			t.Errorf("%d were sent, %d failed, %d are left, %v", report.Sent, report.Failed, report.Remaining, err)
		}
		if got, want := bodies(s.take("fares.fifo")), []string{"m00", "m01", "m02", "m03", "m06", "m07", "m08"}; !slices.Equal(got, want) {
			t.Errorf("the destination has %v, want %v", got, want)
		}
		opts.Edit = nil
		if report, err = c.Catalogue().Redrive(t.Context(), opts); err != nil || report.Sent != 22 || report.Remaining != 0 {
			t.Errorf("%d were sent, %v", report.Sent, err)
		}
		var got []string
		for _, f := range s.take("fares.fifo") {
			got = append(got, f.body)
		}
		if !slices.IsSorted(got) || len(got) != 22 {
			t.Errorf("the second group came as %v", got)
		}
	})
}

// Large messages take more than one request. To a FIFO queue nothing goes of a group
// after a request that failed: not by an import, nor by a redrive.
func TestFIFOOrderOfLargeMessages(t *testing.T) {
	large := strings.Repeat("x", 300<<10)
	for _, code := range []string{"AccessDenied", "RequestThrottled"} {
		for _, verb := range []string{"import", "redrive"} {
			t.Run(verb+" "+code, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, _ := filledFIFO(t, 0)
					sends := 0
					fault := func(operation, name string, _ int64) (f emulator.Fault) {
						if operation == "SendMessageBatch" && name == "fares.fifo" {
							if sends++; sends == 1 {
								f.FailEntry = func(emulator.Entry) *emulator.Error { return &emulator.Error{Code: code} }
							}
						}
						return f
					}
					var err error
					if verb == "import" {
						text := strings.ReplaceAll(archive(6, `,"group":"g"`), `"body":"`, `"body":"`+large)
						s.faulty(fault)
						_, err = s.client(fares()).Import(t.Context(), s.full("fares.fifo"), strings.NewReader(text), dlq.ImportOptions{Records: newRecords()})
					} else {
						for i := range 6 {
							if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
								QueueUrl: s.url("fares-dlq.fifo"), MessageBody: aws.String(large + fmt.Sprint(i)), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String(fmt.Sprint(i)),
							}); err != nil {
								t.Fatal(err)
							}
						}
						s.faulty(fault)
						_, err = s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq.fifo", To: "fares.fifo"})
					}
					var got []string
					for _, f := range s.take("fares.fifo") {
						got = append(got, strings.TrimLeft(f.body, "x"))
					}
					want := []string{"0", "1", "2", "3", "4", "5"}
					if code == "AccessDenied" { // for good
						want = nil
					}
					if !slices.Equal(got, want) || (err != nil) != (want == nil) {
						t.Errorf("the queue has %v, want %v; %v", got, want, err)
					}
				})
			})
		}
	}
}
