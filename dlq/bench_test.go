package dlq_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// BenchmarkRedrive sends b.N dead letters back, with a journal in memory and, where
// there is one, in Redis, and without. The queues are the emulator's, in a process
// of its own. It reports messages a second, and requests to the queues and notes of
// the journal a message.
func BenchmarkRedrive(b *testing.B) {
	for _, way := range []struct {
		name string
		make func(b *testing.B) keeper // nil: no journal
	}{
		{"journal=none", func(*testing.B) keeper { return nil }},
		{"journal=memory", func(*testing.B) keeper { return memstore.New(memstore.Config{}) }},
		{"journal=redis", benchRedis},
	} {
		b.Run(way.name, func(b *testing.B) {
			k := way.make(b)
			s := elsewhere(b)
			var notes int
			redriven(b, s, k, b.N, &notes, nil)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(notes)/float64(b.N), "notes/msg")
		})
	}
}

// BenchmarkRedriveMemory redrives 1,000 messages and 500,000, and reports the
// largest live heap that it saw.
func BenchmarkRedriveMemory(b *testing.B) {
	for _, n := range []int{1_000, 500_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for range b.N {
				s := elsewhere(b)
				var notes, batches int
				var peak uint64
				redriven(b, s, forgetful{memstore.New(memstore.Config{})}, n, &notes, func(dlq.Report) {
					if batches++; batches%(n/100) == 0 { // every ten times
						runtime.GC()
						var m runtime.MemStats
						runtime.ReadMemStats(&m)
						peak = max(peak, m.HeapAlloc)
					}
				})
				b.ReportMetric(float64(peak)/(1<<20), "MiB")
			}
		})
	}
}

// A forgetful store keeps no ids of an audit record: they are as many as the
// messages, wherever they are kept.
type forgetful struct{ *memstore.Store }

func (forgetful) AppendAuditItems(context.Context, string, string, int, []string) error { return nil }

func benchRedis(b *testing.B) keeper {
	addr, ok := testserver.Redis(b)
	if !ok {
		if !testserver.HasRedisServer() {
			b.Skip("there is no Redis")
		}
		addr = testserver.StartRedis(b)
	}
	client := redis.NewClient(&redis.Options{Addr: addr})
	b.Cleanup(func() { _ = client.Close() })
	k, err := redisstore.Open(b.Context(), redisstore.Config{Client: client, Namespace: testserver.Namespace(b), AcceptUnknownEviction: true})
	if err != nil {
		b.Fatal(err)
	}
	return k
}

// redriven fills a dead-letter queue and measures its redrive.
func redriven(b *testing.B, s *server, k keeper, n int, notes *int, progress func(dlq.Report)) {
	b.Helper()
	s.queue("fares-dlq", "", 0)
	s.queue("fares", "fares-dlq", 5)
	s.fill("fares-dlq", "fares", 0, n)
	stats := new(queue.Stats)
	cfg := s.aws.Copy()
	cfg.APIOptions = append(cfg.APIOptions, stats.Count)
	config := dlq.Config{}
	if k != nil {
		config.Audit, config.Jobs = k, noteFault{k, func(_ store.JobNote, do func() (store.JobNoted, error)) (store.JobNoted, error) {
			*notes++ // by one goroutine
			return do()
		}}
	}
	var err error
	if config.Queues, err = queue.NewAdmin(queue.AdminConfig{AWS: cfg}); err != nil {
		b.Fatal(err)
	}
	c, err := dlq.New(config)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	report, err := c.Redrive(b.Context(), dlq.Options{From: s.full("fares-dlq"), Progress: progress})
	b.StopTimer()
	if err != nil || report.Deleted != n {
		b.Fatalf("report %s, %v", asJSON(b, report), err)
	}
	b.ReportMetric(float64(stats.Figures().Total())/float64(n), "requests/msg")
	b.Logf("%d messages: %v", n, stats.Figures().Requests)
}

// fill sends n dead letters of half a kilobyte, as a pipeline writes them, the first
// one with the id of that number.
func (s *server) fill(name, source string, first, n int) {
	s.Helper()
	url := s.url(name)
	f := queue.NewFailure(queue.ReasonPermanent, fmt.Errorf("card declined"))
	f.Filter, f.Source = "charge", "sqs://"+s.full(source)
	msg := message.NewMessage("", nil)
	if err := f.Encode(msg); err != nil {
		s.Fatal(err)
	}
	attribute := func(v string) sqstypes.MessageAttributeValue {
		return sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
	}
	failure := attribute(msg.Metadata[queue.KeyFailure])
	for start := first; start < first+n; start += 10 {
		in := &sqs.SendMessageBatchInput{QueueUrl: url}
		for i := start; i < min(start+10, first+n); i++ {
			id := fmt.Sprintf("m%06d", i)
			in.Entries = append(in.Entries, sqstypes.SendMessageBatchRequestEntry{
				Id: aws.String(id), MessageBody: aws.String(fmt.Sprintf(`{"id":%q,"customerId":"c-1","fareAmount":"$20.00","note":%q}`, id, fmt.Sprintf("%0400d", i))),
				MessageAttributes: map[string]sqstypes.MessageAttributeValue{queue.AttrUUID: attribute(id), queue.KeyFailure: failure},
			})
		}
		if _, err := s.sqs.SendMessageBatch(s.Context(), in); err != nil {
			s.Fatal(err)
		}
	}
}
