package waybilltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// Defaults of a [Config].
const (
	DefaultAddr      = "127.0.0.1:0"
	DefaultNamespace = "test"
)

// Config says where a [Stack] listens. Its zero value is good: two free ports
// of the loopback interface.
type Config struct {
	// AWSAddr is the host:port for SQS and SNS. Port 0 takes a free one.
	// Defaults to 127.0.0.1:0.
	AWSAddr string

	// RedisAddr is the host:port for Redis. Port 0 takes a free one. Defaults
	// to 127.0.0.1:0.
	RedisAddr string

	// NoSockets makes the stack listen nowhere. Only the Stack's own AWS and
	// Redis reach it; the addresses must be empty.
	NoSockets bool

	// Namespace is that of Stack.Store, and begins the names of the queues
	// that Stack.Apply makes. Defaults to "test".
	Namespace string

	// Data is a file that keeps queues and topics from one stack to the next:
	// they are restored from it, if it exists, and saved at the start, every two
	// seconds and by Close. One stack keeps a file at a time. What Redis has is not kept. Defaults to none.
	Data string

	// Emulator configures SQS and SNS. Its zero value behaves as AWS does, and
	// EnforcePolicies is on in any case: a topic delivers only to queues whose
	// policy lets it. Stack.Apply, and a topology that is applied, see to that;
	// what subscribes a queue by other means must do so itself, there as on AWS.
	Emulator emulator.Config
}

// A Stack is a running SQS, SNS and Redis.
type Stack struct {
	// AWS configures clients of the AWS SDK for SQS and SNS. They reach the
	// emulator within the process.
	AWS aws.Config

	// AWSURL is the base URL of both, for other processes. It takes any
	// credentials. With NoSockets nothing listens there.
	AWSURL string

	// Emulator is SQS and SNS, for faults and for its count of requests.
	Emulator *emulator.Server

	// Redis is a client of the Redis. Keys expire as time passes.
	Redis redis.UniversalClient

	// RedisAddr is its host:port, for other processes. Empty with NoSockets.
	RedisAddr string

	// Store keeps executions and records in Redis.
	Store *redisstore.Store

	// Namespace is that of Store and of the queues.
	Namespace string

	redis  *miniredis.Miniredis
	memory *memory // leads to redis without sockets
	cancel context.CancelFunc
	served chan error   // what the emulator's server ended with; nil without sockets
	save   func() error // saves Data for the last time
	done   chan struct{}
	close  func() error
}

// Open starts a stack. The caller closes it. An address that cannot be
// listened on is an error that names it. The context bounds the start alone.
func Open(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.NoSockets && (cfg.AWSAddr != "" || cfg.RedisAddr != "") {
		return nil, errors.New("waybilltest: Config: NoSockets and an address exclude each other")
	}
	cfg.Emulator.EnforcePolicies = true // what passes here must not be dropped by AWS
	s := &Stack{Namespace: cfg.Namespace, Emulator: emulator.New(cfg.Emulator), done: make(chan struct{})}
	if s.Namespace == "" {
		s.Namespace = DefaultNamespace
	}
	s.close = sync.OnceValue(s.stop)
	if err := s.start(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// saveInterval is how often Config.Data is saved, if anything was asked.
const saveInterval = 2 * time.Second

func (s *Stack) start(ctx context.Context, cfg Config) error {
	if cfg.Data != "" {
		if err := s.Emulator.RestoreFile(cfg.Data); err != nil {
			return fmt.Errorf("waybilltest: %w", err)
		}
	}
	region := cfg.Emulator.Region
	if region == "" {
		region = emulator.DefaultRegion
	}
	s.AWSURL = "http://waybill.test"
	if !cfg.NoSockets {
		if err := s.listen(ctx, cfg.AWSAddr); err != nil {
			return err
		}
	}
	s.AWS = aws.Config{
		Region:       region,
		BaseEndpoint: aws.String(s.AWSURL),
		Credentials:  credentials.NewStaticCredentialsProvider("waybill", "waybill", ""),
		HTTPClient:   &http.Client{Transport: s.Emulator.Client().Transport},
	}
	if err := s.startRedis(cfg); err != nil {
		return err
	}
	store, err := redisstore.Open(ctx, redisstore.Config{Client: s.Redis, Namespace: s.Namespace})
	if err != nil {
		return fmt.Errorf("waybilltest: %w", err)
	}
	s.Store = store
	if cfg.Data == "" {
		return nil
	}
	// Not before: one that cannot start may be the second that keeps the file.
	if err := s.Emulator.SaveFile(cfg.Data); err != nil {
		return fmt.Errorf("waybilltest: %s cannot be written: %w", cfg.Data, err)
	}
	s.keep(cfg.Data)
	return nil
}

// keep saves SQS and SNS to a file until the stack stops.
func (s *Stack) keep(path string) {
	ctx, cancel := context.WithCancel(context.Background())
	saved := make(chan error, 1)
	go func() { saved <- s.Emulator.KeepFile(ctx, path, saveInterval) }()
	s.save = func() error {
		cancel()
		return <-saved
	}
}

// listen serves SQS and SNS on an address.
func (s *Stack) listen(ctx context.Context, addr string) error {
	if addr == "" {
		addr = DefaultAddr
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("waybilltest: SQS and SNS cannot listen on %s: %w", addr, err)
	}
	s.AWSURL = "http://" + ln.Addr().String()
	serving, cancel := context.WithCancel(context.Background())
	s.cancel, s.served = cancel, make(chan error, 1)
	go func() {
		defer close(s.done)
		s.served <- s.Emulator.Serve(serving, ln)
	}()
	return nil
}

// Done is closed when the stack serves no more: after Close, or because its
// listener failed. With NoSockets it is closed by Close alone.
func (s *Stack) Done() <-chan struct{} { return s.done }

// Close stops the servers and waits until they have ended. Long polls end at
// once; other requests get five seconds. Later calls return what the first
// returned.
func (s *Stack) Close() error { return s.close() }

func (s *Stack) stop() error {
	var errs []error
	if s.Redis != nil {
		errs = append(errs, s.Redis.Close())
	}
	if s.memory != nil {
		s.memory.close()
	}
	if s.redis != nil {
		s.redis.Close()
	}
	s.Emulator.Close()
	if s.served != nil {
		s.cancel()
		errs = append(errs, <-s.served)
		<-s.done
	} else {
		close(s.done)
	}
	if s.save != nil {
		errs = append(errs, s.save())
	}
	return errors.Join(errs...)
}
