//go:build unix

package queue_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmsqs "github.com/ThreeDotsLabs/watermill-aws/sqs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// BenchmarkHop moves messages from one queue to another and deletes them, in
// four ways: with this package under watermill's Router and without it, with
// watermill-aws under the same Router, and with a loop on the bare SDK that
// receives, sends and deletes ten at a time, attributes included. The service is
// the emulator in a process of its own, at once and with 8 ms a request, which is
// like the real one. It reports the requests a message, the messages a second, and the CPU
// time that this process spent on a message.
func BenchmarkHop(b *testing.B) {
	for _, delay := range []time.Duration{0, 8 * time.Millisecond} {
		for _, way := range ways {
			b.Run(fmt.Sprintf("delay=%v/%s", delay, way.name), func(b *testing.B) {
				s, stats := elsewhere(b, delay)
				fill(b, s, "in", b.N)
				before := stats.Figures().Total()
				b.ResetTimer()
				spent := cpu(b)
				way.move(b, s, b.N, b.StopTimer)
				b.ReportMetric(float64((cpu(b)-spent).Microseconds())/float64(b.N), "cpu-us/msg")
				b.ReportMetric(float64(stats.Figures().Total()-before)/float64(b.N), "requests/msg")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// BenchmarkHopRatio moves messages by turns with this package under watermill's
// Router, with this package alone, and with the bare SDK, 16 pollers each, so that
// all have the same of whatever else the machine does. It reports how fast and at
// which CPU time the first two are in relation to the loop.
func BenchmarkHopRatio(b *testing.B) {
	const rounds = 5
	turns := []struct {
		name string
		move func(testing.TB, *server, int, func())
	}{{"waybill", waybill16}, {"no-router", relay16}, {"bare", bareHop}}
	for _, delay := range []time.Duration{0, 8 * time.Millisecond} {
		b.Run(fmt.Sprintf("delay=%v", delay), func(b *testing.B) {
			s, _ := elsewhere(b, delay)
			n := max(b.N/rounds, 1)
			took, spent := make([]time.Duration, len(turns)), make([]time.Duration, len(turns))
			b.ResetTimer()
			for range rounds {
				for i, turn := range turns {
					b.StopTimer()
					fill(b, s, "in", n)
					b.StartTimer()
					began, before := time.Now(), cpu(b)
					turn.move(b, s, n, func() { took[i] += time.Since(began) })
					spent[i] += cpu(b) - before
				}
			}
			bare := len(turns) - 1
			for i, turn := range turns {
				b.ReportMetric(float64(rounds*n)/took[i].Seconds(), turn.name+"-msg/s")
				b.ReportMetric(float64(spent[i].Microseconds())/float64(rounds*n), turn.name+"-cpu-us/msg")
				if i != bare {
					b.ReportMetric(took[bare].Seconds()/took[i].Seconds(), turn.name+"/bare-msg/s")
					b.ReportMetric(spent[i].Seconds()/spent[bare].Seconds(), turn.name+"/bare-cpu")
				}
			}
		})
	}
}

// ways are the ways of a hop.
var ways = []struct {
	name string
	move func(t testing.TB, s *server, n int, published func())
}{
	{"waybill", func(t testing.TB, s *server, n int, published func()) {
		hop(t, s, queue.Endpoint{}, nil, 0, n, published)
	}},
	{"waybill-16", waybill16},
	{"waybill-16-no-router", relay16},
	{"bare-16", bareHop},
	{"watermill-aws", watermillHop(1)},
	{"watermill-aws-16", watermillHop(16)},
	{"watermill-aws-64", watermillHop(64)},
}

func waybill16(t testing.TB, s *server, n int, published func()) {
	hop(t, s, queue.Endpoint{Pollers: 16, MinPollers: 16, Concurrency: 320}, nil, 0, n, published)
}

// relay16 moves messages without a Router.
func relay16(t testing.TB, s *server, n int, published func()) {
	t.Helper()
	in := testQueue{s, "in", ""}
	sub := newSubscriber(t, queue.SubscriberConfig{AWS: s.aws, Endpoints: in.endpoints(t, queue.Endpoint{Pollers: 16, MinPollers: 16, Concurrency: 320})})
	pub := &counter{Publisher: newPublisher(t, queue.PublisherConfig{AWS: s.aws}), left: int64(n), done: make(chan struct{})}
	messages, err := sub.Subscribe(background, "q")
	if err != nil {
		t.Fatal(err)
	}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for msg := range messages {
			handlers.Go(func() {
				if err := pub.Publish("sqs://out", msg.Copy()); err != nil {
					t.Error(err)
				}
				msg.Ack()
			})
		}
	})
	<-pub.done
	published()
	if err := sub.Close(); err != nil {
		t.Fatal(err)
	}
	handlers.Wait()
	if err := pub.Close(); err != nil {
		t.Fatal(err)
	}
}

// cpu returns the CPU time that this process has spent.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchServer is the environment variable that makes this test binary the server
// of a benchmark, with that delay of every request.
const benchServer = "WAYBILL_QUEUE_BENCH_SERVER"

func TestMain(m *testing.M) {
	if delay, err := time.ParseDuration(os.Getenv(benchServer)); err == nil {
		serve(delay)
		return
	}
	os.Exit(m.Run())
}

// serve is an emulator that prints its address and ends with its input.
func serve(delay time.Duration) {
	e := emulator.New(emulator.Config{NoCooldowns: true})
	e.SetFault(func(emulator.Request) emulator.Fault { return emulator.Fault{Delay: delay} })
	web := httptest.NewServer(e)
	defer web.Close()
	fmt.Println(web.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// elsewhere returns an emulator in another process, with the queues "in" and
// "out", and what counts the requests to it.
func elsewhere(b *testing.B, delay time.Duration) (*server, *queue.Stats) {
	b.Helper()
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), benchServer+"="+delay.String())
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stop.Close()
		_ = cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	s, stats := newServer("emulator", strings.TrimSpace(url)), new(queue.Stats)
	s.aws.APIOptions = append(s.aws.APIOptions, stats.Count)
	s.sqs = sqs.NewFromConfig(s.aws)
	s.createQueue(b, "in")
	s.createQueue(b, "out")
	return s, stats
}

func fill(t testing.TB, s *server, name string, n int) {
	t.Helper()
	p, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws})
	if err != nil {
		t.Fatal(err)
	}
	var all []*message.Message
	for i := range n {
		all = append(all, message.NewMessage(strconv.Itoa(i), []byte(`{"customerId":"c-1","fareAmount":"$20.00"}`)))
	}
	if err := p.Publish("sqs://"+name, all...); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// bareHop is what the SDK itself does with batches of ten.
func bareHop(t testing.TB, s *server, n int, published func()) {
	url := func(name string) *string {
		out, err := s.sqs.GetQueueUrl(background, &sqs.GetQueueUrlInput{QueueName: aws.String(name)})
		if err != nil {
			t.Fatal(err)
		}
		return out.QueueUrl
	}
	in, out := url("in"), url("out")
	var moved atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for moved.Load() < int64(n) {
				got, err := s.sqs.ReceiveMessage(background, &sqs.ReceiveMessageInput{QueueUrl: in, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}})
				if err != nil {
					t.Error(err)
					return
				}
				if len(got.Messages) == 0 {
					continue
				}
				send := &sqs.SendMessageBatchInput{QueueUrl: out}
				del := &sqs.DeleteMessageBatchInput{QueueUrl: in}
				for i, m := range got.Messages {
					send.Entries = append(send.Entries, sqstypes.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: m.Body, MessageAttributes: m.MessageAttributes})
					del.Entries = append(del.Entries, sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
				}
				if _, err := s.sqs.SendMessageBatch(background, send); err != nil {
					t.Error(err)
					return
				}
				if _, err := s.sqs.DeleteMessageBatch(background, del); err != nil {
					t.Error(err)
					return
				}
				moved.Add(int64(len(got.Messages)))
			}
		})
	}
	wg.Wait()
	published()
}

func watermillHop(workers int) func(testing.TB, *server, int, func()) {
	return func(t testing.TB, s *server, n int, published func()) { routeWatermillAWS(t, s, workers, n, published) }
}

func routeWatermillAWS(t testing.TB, s *server, workers, n int, published func()) {
	pub, err := wmsqs.NewPublisher(wmsqs.PublisherConfig{AWSConfig: s.aws}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := wmsqs.SubscriberConfig{AWSConfig: s.aws, ConsumeWorkers: workers}
	if workers > 1 {
		cfg.GenerateReceiveMessageInput = func(ctx context.Context, url wmsqs.QueueURL) (*sqs.ReceiveMessageInput, error) {
			in, err := wmsqs.GenerateReceiveMessageInputDefault(ctx, url)
			in.MaxNumberOfMessages = 10
			return in, err
		}
	}
	sub, err := wmsqs.NewSubscriber(cfg, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	route(t, sub, "in", pub, "out", 0, n, published)
}
