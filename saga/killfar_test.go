package saga_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/killtest"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/waybilltest"
)

// Commands wait on one queue, and replies on another. What a killed process had
// received comes back after farVisibility.
const (
	farCommands, farReplies = "commands", "replies"
	farVisibility           = 2 * time.Second
	farLease                = time.Second // of coordinators and of participants
)

func farEndpoints() []queue.Endpoint {
	return []queue.Endpoint{
		{Name: farCommands, URL: "sqs://commands", Visibility: farVisibility, Concurrency: 16},
		{Name: farReplies, URL: "sqs://replies", Visibility: farVisibility, Concurrency: 16},
	}
}

// A wireworker is a worker's way to the queues.
type wireworker struct {
	*queue.Publisher
	subscriber *queue.Subscriber
	log        *slog.Logger
}

func reach(url string) (*wireworker, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	endpoints, err := queue.NewEndpoints(waybilltest.DefaultNamespace, farEndpoints()...)
	if err != nil {
		return nil, err
	}
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("x", "x", "")}
	publisher, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Endpoints: endpoints, Linger: -1, Logger: log})
	if err != nil {
		return nil, err
	}
	subscriber, err := queue.NewSubscriber(queue.SubscriberConfig{
		AWS: cfg, Endpoints: endpoints, Backoff: func(int) time.Duration { return time.Second }, Logger: log,
	})
	return &wireworker{publisher, subscriber, log}, err
}

// consume gives a queue's messages to a handler, for as long as the process lives.
func (w *wireworker) consume(topic string, handle func(*message.Message) error) error {
	messages, err := w.subscriber.Subscribe(context.Background(), topic)
	if err != nil {
		return err
	}
	for msg := range messages {
		go func() {
			if err := handle(msg); err != nil {
				w.log.Warn("a message comes again", "error", err)
				msg.Nack()
				return
			}
			msg.Ack()
		}()
	}
	return nil
}

// workFar is a worker process that has a coordinator of farSagas.
func workFar(address, namespace, provider, aws string) error {
	st, err := openKilled(context.Background(), address, namespace)
	if err != nil {
		return err
	}
	w, err := reach(aws)
	if err != nil {
		return err
	}
	var sagas []saga.Definer
	for _, s := range farSagas(provider) {
		sagas = append(sagas, s)
	}
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: st, Sagas: sagas, Publisher: w, ReplyTo: farReplies, Lease: farLease, Sweep: 50 * time.Millisecond,
		MaxOpenings: 1000, // however often workers are killed, what becomes of a saga hangs on its kind
		Logger:      w.log,
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- c.Run(context.Background()) }()
	go func() { ended <- w.consume(farReplies, c.HandleMessage) }()
	return <-ended
}

// participate is a worker process that does the remote steps of farSagas.
func participate(address, namespace, provider, aws string) error {
	st, err := openKilled(context.Background(), address, namespace)
	if err != nil {
		return err
	}
	w, err := reach(aws)
	if err != nil {
		return err
	}
	var steps []saga.Served
	for _, name := range farRemote {
		steps = append(steps, saga.Serve(name, func(ctx context.Context, o order) (string, error) {
			return name, ask(ctx, provider, "")
		}).Undo(func(ctx context.Context, _ order, outcome saga.Outcome, _ *string) error {
			return ask(ctx, provider, outcome)
		}))
	}
	p, err := saga.NewParticipant(saga.ParticipantConfig{Records: st, Publisher: w, Steps: steps, Lease: farLease, Logger: w.log})
	if err != nil {
		return err
	}
	return w.consume(farCommands, p.Handle)
}

// TestFarWorkersAreKilled lets processes be killed with SIGKILL, coordinators and
// the participants that do their remote steps, in sagas with branches, items,
// parts of large Maps, children, and a lock. Whatever is killed when: all end as
// they must; who has the lock is alone with it; each effect is had once; of what is
// undone nothing is left done, and each undo comes after those of all that was done
// later; and nothing is left in Redis that somebody waits for, nor on the queues.
func TestFarWorkersAreKilled(t *testing.T) {
	stack := waybilltest.Start(t)
	address, ok := testserver.Redis(t)
	if !ok {
		address = stack.RedisAddr
	}
	kills, seed := killCount(t, 6), uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, kills)
	stack.Apply(t, farEndpoints()...)

	p := newKillProvider(farFares, farName)
	provider := httptest.NewServer(p)
	defer provider.Close()
	namespace := testserver.Namespace(t)
	for kind, n := range map[string]int{byCoordinators: kills - kills/2, byParticipants: kills / 2} {
		command := func(address, aws string) func() *exec.Cmd {
			return func() *exec.Cmd { return workerCommand(kind, address, namespace, provider.URL+kind, aws) }
		}
		step := func() { p.groups[kind].Step() }
		toRedis, err := killtest.NewProxy(address, step)
		if err != nil {
			t.Fatal(err)
		}
		defer toRedis.Close()
		toAWS, err := killtest.NewProxy(stack.AWSURL[len("http://"):], step)
		if err != nil {
			t.Fatal(err)
		}
		defer toAWS.Close()
		if p.groups[kind], err = killtest.New(killtest.Config{
			Command: command(toRedis.Addr(), "http://"+toAWS.Addr()), Workers: 2, Kills: n, Every: 200, Seed: seed,
		}); err != nil {
			t.Fatal(err)
		}
	}

	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute+time.Duration(kills)*5*time.Second)
	defer stop()
	st, err := openKilled(ctx, address, namespace)
	if err != nil {
		t.Fatal(err)
	}
	p.client = outsider(t, st)
	end := p.run(ctx, t)
	defer end()
	sagas := farSagas(provider.URL)
	operating, rest := context.WithCancel(ctx)
	operated := make(chan error, 1)
	go func() { operated <- p.operate(operating, sagas) }()
	ids := p.serve(ctx, t, 1, kills, func(id string) error {
		_, err := sagas[p.kind(id).saga].Start(ctx, p.client, id, order{})
		return err
	})
	rest()
	if err := <-operated; err != nil {
		t.Error(err)
	}
	f := &farCheck{killProvider: p, T: t, sagas: sagas, store: st, db: redis.NewClient(&redis.Options{Addr: address}), prefix: namespace + ":"}
	defer f.db.Close()
	f.settled(ctx, stack)
	end()
	p.summarize(t, len(ids), kills)
	families := f.families()
	undone := 0
	for _, id := range ids {
		undone += f.check(id, families[id])
	}
	t.Logf("%d executions in all, %d effects, %d of them undone", len(f.executions), len(p.had), undone)
	f.exclusive()
	f.left()
}

// operate has children that are blocked go on, until the context ends.
func (p *killProvider) operate(ctx context.Context, sagas map[string]*saga.Saga[order]) error {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for name := range sagas {
			blocked, err := p.client.List(ctx, saga.Query{Definition: name, Status: saga.Blocked})
			for _, x := range blocked {
				if x.Parent != "" {
					err = p.retry(ctx, x.ID)
				}
				if err != nil {
					break
				}
			}
			if err != nil && ctx.Err() == nil && !isGone(err) {
				return err
			}
		}
	}
}

// isGone reports whether an execution was not there, or had ended, when something
// was to become of it.
func isGone(err error) bool { return errorsIs(err, store.ErrEnded, store.ErrGone, store.ErrNotFound) }
