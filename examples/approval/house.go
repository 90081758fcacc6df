package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/waybilltest"
)

// answers is the endpoint that answers may be sent to by message.
const answers = "answers"

// A house is an office with its saga, on queues and a Redis in this process.
type house struct {
	stack     *waybilltest.Stack
	endpoints *queue.Endpoints
	office    *office
	saga      *saga.Saga[Claim]
	client    *saga.Client // needs no worker to be there
	publisher *queue.Publisher
	patience  Patience
	log       *slog.Logger
	filed     atomic.Int64
	worker    *worker
}

func openHouse(ctx context.Context, cfg waybilltest.Config, p Patience, tell func(claim, line string), log *slog.Logger) (_ *house, err error) {
	cfg.Namespace = "approval"
	stack, err := waybilltest.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h := &house{stack: stack, office: newOffice(tell), patience: p, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	h.saga = newSaga(h.office, p)
	if h.client, err = saga.NewClient(saga.ClientConfig{Store: stack.Store}); err != nil {
		return nil, err
	}
	h.endpoints, err = queue.NewEndpoints(cfg.Namespace, queue.Endpoint{Name: answers, URL: "sqs://answers", DeadLetter: "sqs://answers-dlq"})
	if err != nil {
		return nil, err
	}
	plan, err := topology.NewPlan(ctx, topology.NewClients(stack.AWS), h.endpoints)
	if err != nil {
		return nil, err
	}
	if err := plan.Apply(ctx); err != nil {
		return nil, err
	}
	h.publisher, err = queue.NewPublisher(queue.PublisherConfig{AWS: stack.AWS, Endpoints: h.endpoints, Logger: log})
	if err != nil {
		return nil, err
	}
	return h, h.startWorker()
}

// A worker runs the saga, and hears the answers that come by message. Any number
// of processes would run one.
type worker struct {
	subscriber *queue.Subscriber
	stop       context.CancelFunc
	jobs       *errgroup.Group
}

func (h *house) startWorker() error {
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: h.stack.Store, Sagas: []saga.Definer{h.saga}, Logger: h.log,
		Name: "worker", Sweep: h.patience.Sweep,
	})
	if err != nil {
		return err
	}
	subscriber, err := queue.NewSubscriber(queue.SubscriberConfig{
		AWS: h.stack.AWS, Endpoints: h.endpoints, Logger: h.log, DeliverUndecodable: true,
	})
	if err != nil {
		return err
	}
	p, err := pipeline.New(pipeline.Config{
		Publisher: h.publisher, Subscriber: subscriber, Endpoints: h.endpoints, Logger: h.log,
	})
	if err != nil {
		return errors.Join(err, subscriber.Close())
	}
	p.Handle("Answer", pipeline.Consume(c.HandleMessage), pipeline.From(answers))
	ctx, stop := context.WithCancel(context.Background())
	w := &worker{subscriber: subscriber, stop: stop, jobs: new(errgroup.Group)}
	for _, run := range []func(context.Context) error{c.Run, func(ctx context.Context) error { return p.Run(ctx) }} {
		w.jobs.Go(func() error {
			defer stop() // one is of no use without the other
			return run(ctx)
		})
	}
	h.worker = w
	select {
	case <-c.Ready():
		return nil
	case <-ctx.Done():
		return h.stopWorker()
	}
}

// stopWorker lets the worker finish what it is at. What waits for somebody is in
// nobody's hands, and takes no time.
func (h *house) stopWorker() error {
	w := h.worker
	if w == nil {
		return nil
	}
	h.worker = nil
	w.stop()
	return errors.Join(w.jobs.Wait(), w.subscriber.Close())
}

func (h *house) close() error {
	err := h.stopWorker()
	if h.publisher != nil {
		err = errors.Join(err, h.publisher.Close())
	}
	return errors.Join(err, h.stack.Close())
}

func (h *house) nextID() string { return "claim-" + strconv.FormatInt(h.filed.Add(1), 10) }

// claims are all claims, and who is to answer.
func (h *house) claims(ctx context.Context) ([]claimView, error) {
	list, err := h.client.List(ctx, saga.Query{Definition: "claim"})
	if err != nil {
		return nil, err
	}
	views := make([]claimView, len(list))
	for i, x := range list {
		v := &views[i]
		v.ID = x.ID
		if err := json.Unmarshal(x.State, &v.Claim); err != nil {
			return nil, fmt.Errorf("claim %q: %w", x.ID, err)
		}
		v.Status, v.Request = h.office.stands(x)
	}
	return views, nil
}
