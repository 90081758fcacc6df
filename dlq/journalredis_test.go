package dlq_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// The journal in Redis, with a crash here and there, in real time: leases and
// visibility are short.
func TestJournalInRedis(t *testing.T) {
	addrs := map[string]string{"miniredis": miniredis.RunT(t).Addr()}
	if addr, ok := testserver.Redis(t); ok {
		addrs["redis"] = addr
	}
	for name, addr := range addrs {
		for _, after := range []int{8, 13, 23} {
			t.Run(fmt.Sprint(name, after), func(t *testing.T) {
				t.Parallel() // what they do is wait
				crashInRedis(t, addr, after)
			})
		}
	}
}

func crashInRedis(t *testing.T, addr string, after int) {
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	short := func(config *dlq.Config, _ *aws.Config) { config.Lease = 200 * time.Millisecond }
	s, ids := filled(t, 12)
	k, err := redisstore.Open(t.Context(), redisstore.Config{Client: client, Namespace: s.ns, AcceptUnknownEviction: true})
	if err != nil {
		t.Fatal(err)
	}
	opts := dlq.Options{From: "fares-dlq", Workers: 2, Visibility: time.Second, Owner: "ada"}
	l := &life{after: after}
	_, _ = s.mortalClient(k, l, short).Redrive(t.Context(), opts)
	if left := s.left("fares-dlq") + s.left("fares"); left < len(ids) {
		t.Errorf("%d messages are in the queues", left)
	}
	var report dlq.Report
	for range 50 {
		// Until the lease of the dead has run out.
		if report, err = goOn(t.Context(), s.journalled(k, short), opts); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil || report.Remaining != 0 || report.Sent != report.Deleted {
		t.Fatalf("it went on: %s, %v", asJSON(t, report), err)
	}
	arrived := map[string]bool{}
	for _, m := range s.take("fares") {
		arrived[m.uuid()] = true
	}
	if len(arrived) != len(ids) {
		t.Errorf("%d messages arrived, want %d", len(arrived), len(ids))
	}
}
