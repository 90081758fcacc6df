package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
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
	at := s.assignment.Backend
	err = reach(ctx, cfg, "Redis", backend.Place(at.Redis), func(ctx context.Context) error {
		s.backend, err = backend.Connect(ctx, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.onClose(s.backend.Close)
	s.services = fare.NewServices(s.assignment.Register, s.assignment.Payments, s.assignment.Accounting)
	s.onClose(func() error {
		s.services.Close()
		return nil
	})
	err = reach(ctx, cfg, "SQS and SNS", backend.Place(cmp.Or(at.Endpoint, AWS)), func(ctx context.Context) error {
		plan, err := topology.NewPlan(ctx, topology.NewClientsFor(s.backend.AWSFor), s.backend.Endpoints)
		if err != nil {
			return err
		}
		if err := own(plan); err != nil {
			return err
		}
		return plan.Apply(ctx)
	})
	if err != nil {
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

// reach does what needs a server, for as long as there is patience, and tells
// when that takes a while.
func reach(ctx context.Context, cfg Config, server, place string, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, cfg.Patience)
	defer cancel()
	told := make(chan struct{})
	waiting := time.AfterFunc(news, func() {
		defer close(told)
		fmt.Fprintf(cfg.Progress, "%s: waiting for %s at %s\n", cfg.Mode, server, place)
	})
	defer func() {
		if !waiting.Stop() {
			<-told
		}
	}()
	err := knock(limited, place)
	if err == nil {
		err = do(limited)
	}
	switch {
	case err == nil:
		return nil
	case limited.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("%s at %s: no answer within %s: %w", server, place, cfg.Patience, err)
	default:
		return fmt.Errorf("%s at %s: %w", server, place, err)
	}
}

// knock reports a place where nobody listens, without the retries of those who
// want something there.
func knock(ctx context.Context, place string) error {
	host := place
	if u, err := url.Parse(place); err == nil && u.Host != "" {
		host = u.Host
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err == nil {
		return conn.Close()
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return nil // it may be a name, or several places: they find out
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
