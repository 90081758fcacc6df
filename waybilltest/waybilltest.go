package waybilltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// Config says where a stack listens. The zero Config is for tests.
type Config struct {
	// AWSAddr and RedisAddr are the host and port of each server. Port 0 means
	// a free one. Default to 127.0.0.1:0.
	AWSAddr, RedisAddr string

	// Emulator configures SQS and SNS. NoCooldowns is always set, so that
	// queues can be deleted and made again.
	Emulator emulator.Config

	// Namespace begins the keys of Store. Defaults to "test".
	Namespace string
}

// A Stack is an SQS, an SNS and a Redis in this process.
type Stack struct {
	// AWS reaches the emulator, with credentials that mean nothing.
	AWS aws.Config
	// AWSURL is the emulator's base URL, as for AWS_ENDPOINT_URL.
	AWSURL string
	// Emulator is the emulator itself, to count requests and inject faults.
	Emulator *emulator.Server

	// Redis is a client, and RedisAddr the server's host and port.
	Redis     *redis.Client
	RedisAddr string
	// Store keeps executions and records in that Redis.
	Store *redisstore.Store

	server *miniredis.Miniredis
	stop   context.CancelFunc
	done   chan error
}

// Start starts a stack that ends with the test.
func Start(t testing.TB) *Stack {
	t.Helper()
	s, err := Open(context.Background(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("waybilltest: close: %v", err)
		}
	})
	return s
}

// Open starts a stack that ends with Close. A port that is taken is an error
// that names it.
func Open(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.AWSAddr == "" {
		cfg.AWSAddr = "127.0.0.1:0"
	}
	if cfg.RedisAddr == "" {
		cfg.RedisAddr = "127.0.0.1:0"
	}
	if cfg.Namespace == "" {
		cfg.Namespace = "test"
	}
	s := &Stack{}
	if err := s.open(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) open(ctx context.Context, cfg Config) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.AWSAddr)
	if err != nil {
		return fmt.Errorf("waybilltest: listen for SQS and SNS on %s: %w", cfg.AWSAddr, err)
	}
	cfg.Emulator.NoCooldowns = true
	s.Emulator = emulator.New(cfg.Emulator)
	// The servers live until Close, not until the caller's context ends.
	serving, stop := context.WithCancel(context.Background())
	s.stop, s.done = stop, make(chan error, 1)
	go func() { s.done <- s.Emulator.Serve(serving, ln) }()
	s.AWSURL = "http://" + ln.Addr().String()
	s.AWS = aws.Config{
		Region:       emulator.DefaultRegion,
		BaseEndpoint: aws.String(s.AWSURL),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:   queue.NewHTTPClient(),
	}

	s.server = miniredis.NewMiniRedis()
	// Keys expire as in Redis, by the clock.
	s.server.ClockTTL(true)
	if err := s.server.StartAddr(cfg.RedisAddr); err != nil {
		s.server = nil
		return fmt.Errorf("waybilltest: listen for Redis on %s: %w", cfg.RedisAddr, err)
	}
	s.RedisAddr = s.server.Addr()
	s.Redis = redis.NewClient(&redis.Options{Addr: s.RedisAddr})
	// This Redis never evicts, and has no way to say so.
	s.Store, err = redisstore.Open(ctx, redisstore.Config{
		Client: s.Redis, Namespace: cfg.Namespace, AcceptUnknownEviction: true,
	})
	return err
}

// Close ends the stack, and what it kept is gone.
func (s *Stack) Close() error {
	var errs []error
	if s.Redis != nil {
		errs = append(errs, s.Redis.Close())
	}
	if s.server != nil {
		s.server.Close()
	}
	if s.stop != nil {
		s.stop()
		errs = append(errs, <-s.done)
	}
	return errors.Join(errs...)
}

// Apply makes the queues, topics and subscriptions of the endpoints.
func (s *Stack) Apply(t testing.TB, endpoints *queue.Endpoints) {
	t.Helper()
	plan, err := topology.NewPlan(t.Context(), topology.NewClients(s.AWS), endpoints)
	if err == nil {
		err = plan.Apply(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Publisher returns a publisher to the endpoints. It is closed at the end of the
// test.
func (s *Stack) Publisher(t testing.TB, endpoints *queue.Endpoints) *queue.Publisher {
	t.Helper()
	p, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.AWS, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closing(t, p) })
	return p
}

// Subscriber returns a subscriber to the endpoints, which gives a message back
// at once when it is nacked, and delivers what cannot be decoded. It is closed at
// the end of the test.
func (s *Stack) Subscriber(t testing.TB, endpoints *queue.Endpoints) *queue.Subscriber {
	t.Helper()
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{
		AWS: s.AWS, Endpoints: endpoints, Backoff: queue.NoBackoff, DeliverUndecodable: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closing(t, sub) })
	return sub
}

func closing(t testing.TB, c interface{ Close() error }) {
	if err := c.Close(); err != nil {
		t.Errorf("waybilltest: close: %v", err)
	}
}
