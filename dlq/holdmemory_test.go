package dlq_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
)

// What is looked at and not chosen is in hand until the end, but not its body.
func TestRedriveKeepsNoBodies(t *testing.T) {
	filter, err := dlq.ParseFilter(`.id == "none"`)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		const n, size = 400, 50 << 10
		s, _ := filled(t, 0)
		for i := range n {
			if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{
				QueueUrl: s.url("fares-dlq"), MessageBody: aws.String(fmt.Sprint(i, strings.Repeat("x", size))),
			}); err != nil {
				t.Fatal(err)
			}
		}
		heap := func() int {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		before, grown := heap(), 0
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Filter: filter, Progress: func(r dlq.Report) {
			if r.Seen == n {
				grown = heap() - before
			}
		}})
		if err != nil || report.Filtered != n {
			t.Fatalf("%s, %v", asJSON(t, report), err)
		}
		if grown == 0 || grown > n*size/4 {
			t.Errorf("with %d messages of %d bytes in hand, the heap has %d bytes more", n, size, grown)
		}
	})
}
