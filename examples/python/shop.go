package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// The endpoints: of commands, and of what comes back.
const (
	warehouse = "warehouse"
	replies   = "replies"
)

// A shop takes orders. Its warehouse is another process.
type shop struct {
	saga      *saga.Saga[Order]
	client    *saga.Client
	publisher *queue.Publisher
	stop      context.CancelFunc
	jobs      *errgroup.Group
	sub       *queue.Subscriber
}

// shopConfig says where a shop is.
type shopConfig struct {
	AWS        aws.Config
	Namespace  string
	Kind       string // of the queues: "" or ".fifo"
	Store      *redisstore.Store
	Saga       *saga.Saga[Order]
	Visibility time.Duration // how soon a command of a process that died comes again
	// Wrap, if it is not nil, is put around what sends the commands.
	Wrap func(message.Publisher) message.Publisher
	Log  *slog.Logger
}

// endpointsOf names the queues of a namespace.
func endpointsOf(namespace, kind string, visibility time.Duration) (*queue.Endpoints, error) {
	return queue.NewEndpoints(namespace,
		queue.Endpoint{Name: warehouse, URL: "sqs://warehouse" + kind, DeadLetter: "sqs://warehouse-dlq" + kind, Visibility: visibility},
		queue.Endpoint{Name: replies, URL: "sqs://replies" + kind, DeadLetter: "sqs://replies-dlq" + kind},
	)
}

// openShop makes the queues, and runs the sagas of orders until the shop is closed.
func openShop(ctx context.Context, cfg shopConfig) (_ *shop, err error) {
	endpoints, err := endpointsOf(cfg.Namespace, cfg.Kind, cfg.Visibility)
	if err != nil {
		return nil, err
	}
	plan, err := topology.NewPlan(ctx, topology.NewClients(cfg.AWS), endpoints)
	if err != nil {
		return nil, err
	}
	if err := plan.Apply(ctx); err != nil {
		return nil, err
	}
	s := &shop{saga: cfg.Saga, jobs: new(errgroup.Group), stop: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.publisher, err = queue.NewPublisher(queue.PublisherConfig{AWS: cfg.AWS, Endpoints: endpoints, Logger: cfg.Log}); err != nil {
		return nil, err
	}
	if s.sub, err = queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg.AWS, Endpoints: endpoints, Logger: cfg.Log, DeliverUndecodable: true}); err != nil {
		return nil, err
	}
	var commands message.Publisher = s.publisher
	if cfg.Wrap != nil {
		commands = cfg.Wrap(commands)
	}
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: cfg.Store, Sagas: []saga.Definer{cfg.Saga}, Publisher: commands, ReplyTo: replies, Logger: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	s.client = c.Client()
	p, err := pipeline.New(pipeline.Config{Publisher: s.publisher, Subscriber: s.sub, Endpoints: endpoints, Logger: cfg.Log})
	if err != nil {
		return nil, err
	}
	p.Handle("Reply", pipeline.Consume(c.HandleMessage), pipeline.From(replies))
	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	for _, run := range []func(context.Context) error{c.Run, func(ctx context.Context) error { return p.Run(ctx) }} {
		s.jobs.Go(func() error {
			defer stop() // one is of no use without the other
			return run(running)
		})
	}
	return s, nil
}

// order runs an order to its end, and tells what came of it.
func (s *shop) order(ctx context.Context, id string, o Order) (string, error) {
	_, err := s.saga.Run(ctx, s.client, id, o)
	if err != nil && !errors.Is(err, saga.ErrCompensated) {
		return "", err
	}
	x, err := s.client.Get(ctx, id)
	if err != nil {
		return "", err
	}
	if x.Cause == nil {
		return string(x.Status), nil
	}
	return fmt.Sprint(x.Status, ": ", x.Cause), nil
}

func (s *shop) close() error {
	s.stop()
	errs := []error{s.jobs.Wait()}
	if s.sub != nil {
		errs = append(errs, s.sub.Close())
	}
	if s.publisher != nil {
		errs = append(errs, s.publisher.Close())
	}
	return errors.Join(errs...)
}
