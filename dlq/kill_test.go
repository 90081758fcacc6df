package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/internal/killtest"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// What a process that redrives is told.
const (
	killedQueues = "WAYBILL_DLQ_QUEUES" // the endpoint of SQS
	killedRedis  = "WAYBILL_DLQ_REDIS"  // host:port
	killedName   = "WAYBILL_DLQ_NAMESPACE"
)

// How soon a killed process is given up, and what it had hidden shows.
const (
	killedLease      = 300 * time.Millisecond
	killedVisibility = 2 * time.Second
)

// TestRedriveKilled has the process of a redrive killed with SIGKILL, at random, in
// the middle of calls of the queues and of Redis, and started again, which goes on:
// all messages arrive, an idempotent receiver handles none twice, and nothing is
// left. Set WAYBILL_SOAK to the number of kills.
func TestRedriveKilled(t *testing.T) {
	kills, soak := 4, false
	if text := os.Getenv("WAYBILL_SOAK"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil || kills < 1 {
			t.Fatalf("WAYBILL_SOAK is %q, want a number of kills", text)
		}
		soak = true
	}
	t.Run("emulator", func(t *testing.T) {
		t.Parallel() // what it does is wait, but for the soak
		e := emulator.New(emulator.Config{NoCooldowns: true})
		k := &killing{addr: redisOf(t), messages: 200 * kills, kills: kills, every: 200}
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			k.group.Step()
			e.ServeHTTP(w, r)
			k.group.Step() // the answer is not out yet
		}))
		t.Cleanup(web.Close)
		k.server, k.url = newServer(t, "emulator", "http://emulator.test", e.Client()), web.URL
		k.run(t)
	})
	if endpoint, ok := testserver.LocalStack(t); ok {
		t.Run("localstack", func(t *testing.T) {
			if !soak {
				t.Parallel()
			}
			k := &killing{addr: redisOf(t), messages: 20 * kills, kills: kills, every: 150}
			u, err := url.Parse(endpoint)
			if err != nil {
				t.Fatal(err)
			}
			proxy, err := killtest.NewProxy(u.Host, func() { k.group.Step() })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = proxy.Close() })
			client := &http.Client{Transport: &http.Transport{}}
			t.Cleanup(client.CloseIdleConnections)
			k.server, k.url = newServer(t, "localstack", endpoint, whole{client}), "http://"+proxy.Addr()
			k.run(t)
		})
	}
}

// redisOf returns where there is a Redis.
func redisOf(t *testing.T) string {
	if addr, ok := testserver.Redis(t); ok {
		return addr
	}
	return miniredis.RunT(t).Addr()
}

// A killing is a redrive whose process is killed.
type killing struct {
	server                 *server
	url, addr              string // of the queues, and of Redis
	messages, kills, every int

	group *killtest.Group
}

func (k *killing) run(t *testing.T) {
	s, seed := k.server, uint64(time.Now().UnixNano())
	proxy, err := killtest.NewProxy(k.addr, func() { k.group.Step() })
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	k.group, err = killtest.New(killtest.Config{Kills: k.kills, Every: k.every, Seed: seed, Command: func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asProcess+"=redrive", killedQueues+"="+k.url, killedRedis+"="+proxy.Addr(), killedName+"="+s.ns)
		return cmd
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.queue("fares-dlq", "", 0)
	s.queue("fares", "fares-dlq", 5)
	s.fill("fares-dlq", "fares", 0, k.messages)
	began := time.Now()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute+time.Duration(k.kills)*5*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- k.group.Run(ctx) }()
	j := k.await(ctx, t)
	for k.group.Kills() < k.kills && !t.Failed() { // it was through before
		s.fill("fares-dlq", "fares", k.messages, 100)
		k.messages += 100
		j = k.await(ctx, t)
	}
	took := time.Since(began)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	sent := s.left("fares")
	t.Logf("seed %d: %d messages, killed %d times, %d openings of the last job, %d sent, in %v",
		seed, k.messages, k.group.Kills(), j.Openings, sent, took.Round(time.Millisecond))
	if n := s.left("fares-dlq"); n != 0 {
		t.Errorf("%d messages are left in the dead-letter queue", n)
	}
	k.handled(t)
}

// await waits for the end of the last job, with nothing left.
func (k *killing) await(ctx context.Context, t *testing.T) dlq.Job {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: k.addr})
	defer client.Close()
	st, err := openKilled(ctx, client, k.server.ns)
	if err != nil {
		t.Fatal(err)
	}
	c := k.server.journalled(st)
	for {
		j, err := c.Status(ctx, "fares-dlq", "")
		if err == nil && j.State == dlq.JobEnded && k.server.left("fares-dlq") == 0 {
			return j
		}
		select {
		case <-ctx.Done():
			t.Fatalf("it does not end: job %s, %v", asJSON(t, j), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// handled runs an idempotent receiver until the source is empty, and checks what it
// handled.
func (k *killing) handled(t *testing.T) {
	var mu sync.Mutex
	handled := map[string]int{}
	receiving(k.server, func(id string) {
		mu.Lock()
		defer mu.Unlock()
		handled[id]++
	}, func() {
		for deadline := time.Now().Add(2 * time.Minute); k.server.left("fares") > 0 && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
	})
	var missing, twice []string
	for i := range k.messages {
		switch id := fmt.Sprintf("m%06d", i); handled[id] {
		case 0:
			missing = append(missing, id)
		case 1:
		default:
			twice = append(twice, id)
		}
	}
	if len(missing) > 0 || len(twice) > 0 || len(handled) != k.messages {
		t.Errorf("%d of %d handled; %d are missing: %v; handled twice: %v", len(handled), k.messages, len(missing), missing[:min(len(missing), 20)], twice)
	}
}

func openKilled(ctx context.Context, client redis.UniversalClient, namespace string) (*redisstore.Store, error) {
	return redisstore.Open(ctx, redisstore.Config{Client: client, Namespace: namespace, AcceptUnknownEviction: true})
}

// redriveProcess is a process that redrives whatever there is, until it is ended.
func redriveProcess() error {
	killtest.ExitWithParent()
	ctx := context.Background()
	st, err := openKilled(ctx, redis.NewClient(&redis.Options{Addr: os.Getenv(killedRedis)}), os.Getenv(killedName))
	if err != nil {
		return err
	}
	endpoints, err := queue.NewEndpoints(os.Getenv(killedName), fares())
	if err != nil {
		return err
	}
	admin, err := queue.NewAdmin(queue.AdminConfig{Endpoints: endpoints, AWS: aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(os.Getenv(killedQueues)), HTTPClient: whole{http.DefaultClient},
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}})
	if err != nil {
		return err
	}
	c, err := dlq.New(dlq.Config{Queues: admin, Jobs: st, Audit: st, Lease: killedLease})
	if err != nil {
		return err
	}
	for {
		report, err := goOn(ctx, c, dlq.Options{From: "fares-dlq", Visibility: killedVisibility, Owner: strconv.Itoa(os.Getpid())})
		var held *store.JobHeldError
		switch {
		case errors.As(err, &held):
			time.Sleep(20 * time.Millisecond)
		case err != nil:
			fmt.Fprintln(os.Stderr, time.Now(), err)
		case report.Snapshot == 0:
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// receiving runs an idempotent receiver on the source until a function returns.
func receiving(s *server, handle func(id string), until func()) {
	s.Helper()
	endpoints, err := queue.NewEndpoints(s.ns, fares())
	if err != nil {
		s.Fatal(err)
	}
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws, Endpoints: endpoints})
	if err != nil {
		s.Fatal(err)
	}
	defer pub.Close()
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: s.aws, Endpoints: endpoints, DeliverUndecodable: true})
	if err != nil {
		s.Fatal(err)
	}
	defer sub.Close()
	p, err := pipeline.New(pipeline.Config{Publisher: pub, Subscriber: sub, Endpoints: endpoints})
	if err != nil {
		s.Fatal(err)
	}
	p.Handle("handle", pipeline.Sink(func(_ context.Context, m struct{ ID string }) error {
		handle(m.ID)
		return nil
	}), pipeline.From("fares"), pipeline.Use(pipeline.Idempotent(store.Once{Records: memstore.New(memstore.Config{})})))
	ctx, stop := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	until()
	stop()
	if err := <-done; err != nil {
		s.Error(err)
	}
}

// handledOnce runs an idempotent receiver on the source, and checks that it
// handled every message, and none twice.
func handledOnce(s *server, ids []string) {
	s.Helper()
	var mu sync.Mutex
	var handled []string
	receiving(s, func(id string) {
		mu.Lock()
		defer mu.Unlock()
		handled = append(handled, id)
	}, func() { time.Sleep(5 * time.Second) })
	slices.Sort(handled)
	if !slices.Equal(handled, ids) {
		s.Errorf("handled %v, want each of %v once", handled, ids)
	}
	if left := s.left("fares") + s.left("fares-dlq"); left != 0 {
		s.Errorf("%d messages are left", left)
	}
}
