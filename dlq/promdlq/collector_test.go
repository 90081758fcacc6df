package promdlq_test

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/dlq/promdlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// newWatcher returns a watcher of a dead-letter queue with n messages, and what
// makes requests fail.
func newWatcher(ctx context.Context, n int) (*dlq.Watcher, *emulator.Server) {
	server := emulator.New(emulator.Config{})
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String("http://emulator"), HTTPClient: server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("any", "any", ""),
	}
	client := sqs.NewFromConfig(cfg)
	dead, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("fares-dlq")})
	if err != nil {
		log.Fatal(err)
	}
	for range n {
		if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: dead.QueueUrl, MessageBody: aws.String("{}")}); err != nil {
			log.Fatal(err)
		}
	}
	queues, err := queue.NewAdmin(queue.AdminConfig{AWS: cfg})
	if err != nil {
		log.Fatal(err)
	}
	c, err := dlq.New(dlq.Config{Queues: queues})
	if err != nil {
		log.Fatal(err)
	}
	w, err := c.NewWatcher(dlq.WatchConfig{Queues: []string{"fares-dlq"}, Ages: ages{}})
	if err != nil {
		log.Fatal(err)
	}
	return w, server
}

// ages say that the oldest message is a minute old.
type ages struct{}

func (ages) OldestAges(_ context.Context, queues []*queue.Queue) []queue.OldestAge {
	return slices.Repeat([]queue.OldestAge{{Age: time.Minute}}, len(queues))
}

func TestCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server := newWatcher(t.Context(), 3)
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(promdlq.NewCollector(w))
		expect := func(what, want string) {
			t.Helper()
			synctest.Wait()
			if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "waybill_dlq_messages", "waybill_dlq_alarm", "waybill_dlq_read_errors_total", "waybill_dlq_oldest_age_seconds", "waybill_dlq_polls_total"); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		const polls = "# HELP waybill_dlq_polls_total How often all dead-letter queues were read.\n# TYPE waybill_dlq_polls_total counter\nwaybill_dlq_polls_total %d\n"
		expect("before it runs", fmt.Sprintf(polls, 0))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(dlq.DefaultWatchInterval)
		const read = `# HELP waybill_dlq_messages Messages in the dead-letter queue, those in flight and delayed among them.
# TYPE waybill_dlq_messages gauge
waybill_dlq_messages{queue="fares-dlq"} 3
# HELP waybill_dlq_oldest_age_seconds Age of the oldest message of the dead-letter queue.
# TYPE waybill_dlq_oldest_age_seconds gauge
waybill_dlq_oldest_age_seconds{queue="fares-dlq"} 60
# HELP waybill_dlq_alarm Whether the alarm is raised.
# TYPE waybill_dlq_alarm gauge
waybill_dlq_alarm{alarm="depth",queue="fares-dlq"} 1
waybill_dlq_alarm{alarm="growth",queue="fares-dlq"} 0
waybill_dlq_alarm{alarm="unreadable",queue="fares-dlq"} %d
# HELP waybill_dlq_read_errors_total How often the dead-letter queue could not be read.
# TYPE waybill_dlq_read_errors_total counter
waybill_dlq_read_errors_total{queue="fares-dlq"} %d
`
		expect("when it runs", fmt.Sprintf(read+polls, 0, 0, 2))
		server.SetFault(func(emulator.Request) emulator.Fault {
			return emulator.Fault{Err: &emulator.Error{Code: "AccessDenied", Status: 403}}
		})
		time.Sleep(3 * dlq.DefaultWatchInterval)
		expect("when it may not read", fmt.Sprintf(read+polls, 1, 3, 5))
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func ExampleNewCollector() {
	w, _ := newWatcher(context.Background(), 0)
	registry := prometheus.NewRegistry()
	registry.MustRegister(promdlq.NewCollector(w))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := w.Run(ctx); err != nil { // until it is told to end
		log.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "waybill_dlq_messages" {
			fmt.Println(f.GetMetric()[0].GetLabel()[0].GetValue(), f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output: fares-dlq 0
}
