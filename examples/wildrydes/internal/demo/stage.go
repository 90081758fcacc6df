package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/accounting"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/backend"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/payments"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/register"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/service"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
	"github.com/waybill-dev/waybill/queue/topology"
	"github.com/waybill-dev/waybill/waybilltest"
)

// A stage is everything that outlives the workers: the services, and queues
// and Redis where they are embedded.
type stage struct {
	assignment worker.Assignment
	backend    *backend.Backend
	services   *fare.Services

	closers []func() error
}

// openStage starts the services, finds queues and Redis, and makes the queues
// that are missing.
func openStage(ctx context.Context, cfg Config) (_ *stage, err error) {
	s := &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.assignment = worker.Assignment{Mode: cfg.Mode, Verbose: cfg.Verbose}
	for url, service := range map[*string]*service.Server{
		&s.assignment.Register:   register.New(),
		&s.assignment.Payments:   payments.New(),
		&s.assignment.Accounting: accounting.New(),
	} {
		if *url, err = s.serve(ctx, service); err != nil {
			return nil, err
		}
	}
	if s.assignment.Backend, err = s.address(ctx, cfg); err != nil {
		return nil, err
	}
	if s.backend, err = backend.Connect(ctx, s.assignment.Backend); err != nil {
		return nil, err
	}
	s.onClose(s.backend.Close)
	s.services = fare.NewServices(s.assignment.Register, s.assignment.Payments, s.assignment.Accounting)
	s.onClose(func() error {
		s.services.Close()
		return nil
	})
	plan, err := topology.NewPlan(ctx, topology.NewClients(s.backend.AWS), s.backend.Endpoints)
	if err != nil {
		return nil, err
	}
	if err := own(plan); err != nil {
		return nil, err
	}
	if err := plan.Apply(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// own refuses queues and topics that are there and that Waybill has not made:
// the example would change their attributes, and take what is in them.
func own(plan *topology.Plan) error {
	var foreign []string
	for _, step := range plan.Steps() {
		if step.Action == topology.Adopt {
			foreign = append(foreign, step.Name)
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	return fmt.Errorf("%s: it exists without the tag %s, and so is not the example's to use; have the example take other names, by a namespace in the file of --config, or delete it",
		strings.Join(foreign, ", "), topology.Tag)
}

// address is where queues and Redis are. What the configuration leaves out is
// embedded.
func (s *stage) address(ctx context.Context, cfg Config) (backend.Address, error) {
	a := backend.Address{File: cfg.File, Endpoint: cfg.Endpoint, Redis: cfg.Redis, Namespace: namespace()}
	if cfg.Endpoint == AWS {
		a.Endpoint = ""
	}
	if cfg.Endpoint != "" && cfg.Redis != "" {
		return a, nil
	}
	stack, err := waybilltest.Open(ctx, waybilltest.Config{})
	if err != nil {
		return a, err
	}
	s.onClose(stack.Close)
	tap := cfg.tap
	if tap == nil {
		tap = func(addr string) string { return addr }
	}
	if cfg.Endpoint == "" {
		a.Endpoint = "http://" + tap(strings.TrimPrefix(stack.AWSURL, "http://"))
	}
	if cfg.Redis == "" {
		a.Redis = tap(stack.RedisAddr)
	}
	return a, nil
}

// serve serves a service on a free port of the loopback interface.
func (s *stage) serve(ctx context.Context, handler *service.Server) (string, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("serve: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	s.onClose(func() error {
		handler.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return "http://" + ln.Addr().String(), nil
}

func (s *stage) onClose(f func() error) { s.closers = append(s.closers, f) }

// close closes everything, the last opened first.
func (s *stage) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}
