// Package worker is the process that processes fares. Any number of them do it
// together, and each may be killed at any moment.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/backend"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/saga"
)

// A Mode is a way to chain the handlers of fare processing.
type Mode string

const (
	Saga     Mode = "saga"
	Pipeline Mode = "pipeline"
)

// An Assignment is what a worker is told on its standard input.
type Assignment struct {
	Mode    Mode            `json:"mode"`
	Backend backend.Address `json:"backend"`

	// The base URLs of the services.
	Register   string `json:"register"`
	Payments   string `json:"payments"`
	Accounting string `json:"accounting"`

	Verbose bool `json:"verbose"` // log warnings and errors
}

// A Count is what a worker reports on its standard output: one a line, each
// with everything since the worker began. A worker that is killed takes what
// happened since its last line with it.
type Count struct {
	Requests int64 `json:"requests"` // to queues and topics
	Received int64 `json:"received"` // messages
	Scripts  int64 `json:"scripts"`  // run in Redis for executions
}

// Plus adds two counts up.
func (c Count) Plus(other Count) Count {
	return Count{c.Requests + other.Requests, c.Received + other.Received, c.Scripts + other.Scripts}
}

// reports are how often a Count is written while it changes.
const reports = 20 * time.Millisecond

// Short times for a demonstration: what a worker that is killed had in its
// hands goes on this much later.
const (
	lease = 2 * time.Second
	sweep = 200 * time.Millisecond
	drain = 5 * time.Second
)

// linger is how long a message waits for others to share its request: longer
// than by default, since here the requests are counted, and nobody is in a
// hurry.
const linger = 20 * time.Millisecond

// Run reads an Assignment and works until the input ends, as it does when the
// parent dies, or the process is told to terminate. The first Count says that
// it is at work.
func Run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	input := json.NewDecoder(stdin)
	var a Assignment
	if err := input.Decode(&a); err != nil {
		return fmt.Errorf("read the assignment: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // until it ends
		stop()
	}()
	log := slog.New(slog.DiscardHandler)
	if a.Verbose {
		log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	w, err := open(ctx, a, log)
	if err != nil {
		return err
	}
	err = w.run(ctx, stdout)
	return errors.Join(err, w.close())
}

// A worker is everything that a worker's process has.
type worker struct {
	backend    *backend.Backend
	services   *fare.Services
	stats      *queue.Stats
	publisher  *queue.Publisher
	subscriber *queue.Subscriber
	jobs       []func(context.Context) error
}

func open(ctx context.Context, a Assignment, log *slog.Logger) (*worker, error) {
	b, err := backend.Connect(ctx, a.Backend)
	if err != nil {
		return nil, err
	}
	w := &worker{backend: b, services: fare.NewServices(a.Register, a.Payments, a.Accounting), stats: new(queue.Stats)}
	w.publisher, err = queue.NewPublisher(queue.PublisherConfig{
		AWSFor: b.AWSFor, Endpoints: b.Endpoints, Linger: linger, Logger: log, Stats: w.stats,
	})
	if err != nil {
		return nil, err
	}
	w.subscriber, err = queue.NewSubscriber(queue.SubscriberConfig{
		AWSFor: b.AWSFor, Endpoints: b.Endpoints, Logger: log, Stats: w.stats,
		DeliverUndecodable: true, DrainTimeout: drain,
	})
	if err != nil {
		return nil, err
	}
	p, err := pipeline.New(pipeline.Config{
		Publisher: w.publisher, Subscriber: w.subscriber, Endpoints: b.Endpoints,
		Retry: fare.Retry(), DrainTimeout: drain, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	w.jobs = append(w.jobs, func(ctx context.Context) error { return p.Run(ctx) })
	if a.Mode == Pipeline {
		fare.Handle(p, w.services)
		return w, nil
	}
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: b.Store, Sagas: []saga.Definer{fare.NewSaga(w.services, w.publisher)},
		// A worker that starts after a crash has the name of the one that died,
		// and so takes over its share of the work at once.
		Name:  "worker",
		Lease: lease, Sweep: sweep, Drain: drain, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	p.Handle("StartFare", pipeline.Consume(c.HandleStart), pipeline.From(fare.Rides))
	w.jobs = append(w.jobs, c.Run)
	return w, nil
}

// run works until the context ends.
func (w *worker) run(ctx context.Context, stdout io.Writer) error {
	done := make(chan struct{})
	var counting errgroup.Group
	counting.Go(func() error { return w.report(stdout, done) })
	jobs, ctx := errgroup.WithContext(ctx)
	for _, job := range w.jobs {
		jobs.Go(func() error { return job(ctx) })
	}
	err := jobs.Wait()
	close(done)
	return errors.Join(err, counting.Wait())
}

// report writes counts until done is closed.
func (w *worker) report(stdout io.Writer, done <-chan struct{}) error {
	tick := time.NewTicker(reports)
	defer tick.Stop()
	out := json.NewEncoder(stdout)
	last := Count{Requests: -1}
	for ended := false; !ended; {
		if now := w.count(); now != last {
			if err := out.Encode(now); err != nil {
				return fmt.Errorf("report counts: %w", err)
			}
			last = now
		}
		select {
		case <-tick.C:
		case <-done:
			ended = true
		}
	}
	return out.Encode(w.count())
}

func (w *worker) count() Count {
	f := w.stats.Figures()
	c := Count{Requests: f.Total(), Received: f.Received}
	for name, n := range w.backend.Store.Scripts() {
		if name != "adopt" && name != "heartbeat" { // the worker's own affairs
			c.Scripts += n
		}
	}
	return c
}

func (w *worker) close() error {
	err := errors.Join(w.subscriber.Close(), w.publisher.Close())
	w.services.Close()
	return errors.Join(err, w.backend.Close())
}
