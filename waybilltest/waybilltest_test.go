package waybilltest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store/redisstore"
	"github.com/waybill-dev/waybill/waybilltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var fares = []queue.Endpoint{
	{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"},
	{Name: "rides", URL: "sns://rides", Subscriptions: []queue.Subscription{{Endpoint: "fares", Filter: json.RawMessage(`{"long":["yes"]}`)}}},
}

func receive(t testing.TB, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg := <-messages:
		return msg
	case <-time.After(time.Minute):
		t.Fatal("no message for a minute")
		return nil
	}
}

// roundTrip sends a message through a topic and its queue.
func roundTrip(t *testing.T, stack *waybilltest.Stack) {
	t.Helper()
	endpoints := stack.Apply(t, fares...)
	messages, err := stack.Subscriber(t, endpoints).Subscribe(t.Context(), "fares")
	if err != nil {
		t.Fatal(err)
	}
	msg := message.NewMessage("1", []byte("hello"))
	msg.Metadata.Set("long", "yes")
	if err := stack.Publisher(t, endpoints).Publish("rides", msg); err != nil {
		t.Fatal(err)
	}
	got := receive(t, messages)
	if string(got.Payload) != "hello" {
		t.Errorf("received %s", got.Payload)
	}
	got.Ack()
}

func TestStart(t *testing.T) {
	stack := waybilltest.Start(t)
	roundTrip(t, stack)
	if n := stack.Store.Partitions(); n != redisstore.DefaultPartitions {
		t.Errorf("the store has %d partitions", n)
	}
}

// Clients that know nothing but the addresses reach the same servers.
func TestAddresses(t *testing.T) {
	stack := waybilltest.Start(t, waybilltest.Namespace("other"))
	stack.Apply(t, fares...)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	cfg := stack.AWS.Copy()
	cfg.HTTPClient = &http.Client{Transport: transport}
	queues, err := sqs.NewFromConfig(cfg).ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil || strings.Join(queues.QueueUrls, " ") != stack.AWSURL+"/000000000000/other-fares "+stack.AWSURL+"/000000000000/other-fares-dlq" {
		t.Errorf("queues %v, %v", queues, err)
	}
	topics, err := sns.NewFromConfig(cfg).ListTopics(t.Context(), &sns.ListTopicsInput{})
	if err != nil || len(topics.Topics) != 1 || !strings.HasSuffix(*topics.Topics[0].TopicArn, ":other-rides") {
		t.Errorf("topics %v, %v", topics, err)
	}
	client := redis.NewClient(&redis.Options{Addr: stack.RedisAddr})
	defer client.Close()
	if n, err := client.Exists(t.Context(), "other:settings").Result(); n != 1 || err != nil {
		t.Errorf("Redis has %d settings, %v", n, err)
	}
}

// Two stacks know nothing of each other.
func TestStacksAreSeparate(t *testing.T) {
	a, b := waybilltest.Start(t), waybilltest.Start(t)
	a.Apply(t, fares...)
	queues, err := sqs.NewFromConfig(b.AWS).ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil || len(queues.QueueUrls) != 0 {
		t.Errorf("the other stack has %v, %v", queues.QueueUrls, err)
	}
	if err := a.Redis.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Redis.Exists(t.Context(), "k").Result(); n != 0 || err != nil {
		t.Errorf("the other stack has the key, %v", err)
	}
}

// Hours pass in a moment: messages become visible again, and keys expire.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stack := waybilltest.Start(t, waybilltest.NoSockets())
		if stack.RedisAddr != "" {
			t.Errorf("Redis listens on %s", stack.RedisAddr)
		}
		roundTrip(t, stack)
		client := sqs.NewFromConfig(stack.AWS)
		out, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("test-fares-dlq")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: out.QueueUrl, MessageBody: aws.String("x")}); err != nil {
			t.Fatal(err)
		}
		take := func() int {
			got, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: out.QueueUrl, VisibilityTimeout: 12 * 3600})
			if err != nil {
				t.Fatal(err)
			}
			return len(got.Messages)
		}
		if err := stack.Redis.Set(t.Context(), "k", "v", 3*time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		if n := take(); n != 1 {
			t.Fatalf("received %d messages, want 1", n)
		}
		time.Sleep(2 * time.Hour)
		if n, err := stack.Redis.Exists(t.Context(), "k").Result(); n != 1 || err != nil {
			t.Errorf("after 2 hours of 3 the key is gone, %v", err)
		}
		time.Sleep(9 * time.Hour)
		if n, err := stack.Redis.Exists(t.Context(), "k").Result(); n != 0 || err != nil {
			t.Errorf("after 11 hours of 3 the key is there, %v", err)
		}
		if n := take(); n != 0 {
			t.Errorf("after 11 hours of 12 the message is visible")
		}
		time.Sleep(time.Hour + time.Second)
		if n := take(); n != 1 {
			t.Errorf("after 12 hours received %d messages, want 1", n)
		}
	})
}

func TestFaults(t *testing.T) {
	stack := waybilltest.Start(t, waybilltest.Emulator(emulator.Config{Region: "eu-west-1"}))
	stack.Apply(t, fares...)
	stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Region != "eu-west-1" {
			t.Errorf("region is %s", r.Region)
		}
		f.Err = &emulator.Error{Code: "AccessDenied", Message: "no", Status: 403}
		return f
	})
	if _, err := sqs.NewFromConfig(stack.AWS).ListQueues(t.Context(), &sqs.ListQueuesInput{}); err == nil {
		t.Error("no error")
	}
}

// busy returns an address that is taken.
func busy(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func TestBusyAddress(t *testing.T) {
	addr := busy(t)
	for what, cfg := range map[string]waybilltest.Config{
		"SQS and SNS": {AWSAddr: addr},
		"Redis":       {RedisAddr: addr},
	} {
		_, err := waybilltest.Open(t.Context(), cfg)
		want := fmt.Sprintf("waybilltest: %s cannot listen on %s: ", what, addr)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s...", err, want)
		}
	}
	if _, err := waybilltest.Open(t.Context(), waybilltest.Config{NoSockets: true, AWSAddr: addr}); err == nil {
		t.Error("an address without sockets is no error")
	}
	if _, err := waybilltest.Open(t.Context(), waybilltest.Config{Namespace: "a:b"}); err == nil || !strings.Contains(err.Error(), "Namespace") {
		t.Errorf("namespace: %v", err)
	}
}

// Close ends what is under way, even long polls of other processes, and may
// be called twice.
func TestClose(t *testing.T) {
	stack, err := waybilltest.Open(t.Context(), waybilltest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	stack.Apply(t, fares...)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	cfg := stack.AWS.Copy()
	cfg.HTTPClient = &http.Client{Transport: transport}
	client := sqs.NewFromConfig(cfg, func(o *sqs.Options) { o.RetryMaxAttempts = 1 })
	polling, polled := make(chan struct{}), make(chan struct{})
	stack.Emulator.SetFault(func(r emulator.Request) (f emulator.Fault) {
		if r.Operation == "ReceiveMessage" {
			close(polling)
		}
		return f
	})
	go func() {
		defer close(polled)
		_, _ = client.ReceiveMessage(context.WithoutCancel(t.Context()), &sqs.ReceiveMessageInput{
			QueueUrl: aws.String(stack.AWSURL + "/000000000000/test-fares"), WaitTimeSeconds: 20,
		})
	}()
	<-polling
	start := time.Now()
	for range 2 {
		if err := stack.Close(); err != nil {
			t.Error(err)
		}
	}
	<-polled
	<-stack.Done()
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("closing took %v", took)
	}
	if conn, err := net.Dial("tcp", stack.RedisAddr); err == nil {
		conn.Close()
		t.Error("Redis still listens")
	}
}

// Commands take no longer because there are many keys.
func BenchmarkManyKeys(b *testing.B) {
	stack := waybilltest.Start(b)
	ctx := b.Context()
	pipe := stack.Redis.Pipeline()
	for i := range 5000 {
		pipe.Set(ctx, fmt.Sprintf("key-%d", i), "v", time.Hour)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := stack.Redis.Get(ctx, "key-1").Err(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPlaces holds that endpoints of other regions, roles and profiles are in the
// stack, as a configuration for production has them.
func TestPlaces(t *testing.T) {
	stack := waybilltest.Start(t, waybilltest.NoSockets())
	endpoints := stack.Apply(t,
		queue.Endpoint{Name: "role", URL: "sqs://fares", Region: "eu-west-1", RoleARN: "arn:aws:iam::222222222222:role/fares"},
		queue.Endpoint{Name: "profile", URL: "sqs://rides", Profile: "rides"},
	)
	pub, sub := stack.Publisher(t, endpoints), stack.Subscriber(t, endpoints)
	admin, err := queue.NewAdmin(queue.AdminConfig{AWSFor: stack.AWSFor, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range endpoints.Names() {
		if err := pub.Publish(name, message.NewMessage("u", []byte(name))); err != nil {
			t.Fatal(err)
		}
		messages, err := sub.Subscribe(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		msg := receive(t, messages)
		msg.Ack()
		if string(msg.Payload) != name {
			t.Errorf("received %s from %s", msg.Payload, name)
		}
		if _, err := admin.Queue(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
}
