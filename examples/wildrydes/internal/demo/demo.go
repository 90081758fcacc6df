// Package demo is the example's parent process: it lets rides in, kills the
// worker on the way, repairs what is left, and counts the cents.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
	"github.com/waybill-dev/waybill/saga"
)

// AWS as a Config's Endpoint is AWS itself.
const AWS = "aws"

// A Config says what to run, and on what.
type Config struct {
	Mode  worker.Mode
	Rides []rides.Ride

	// Crashes is how often the worker's process is killed on the way. Seed
	// decides when.
	Crashes int
	Seed    uint64

	// File is the configuration file with the endpoints.
	File string

	// Endpoint is the base URL of SQS and SNS, or AWS; Redis is host:port or a
	// redis:// URL. What is empty is embedded.
	Endpoint, Redis string

	// Clear has the run delete what it finds in the queues of AWS. Elsewhere it
	// does so in any case.
	Clear bool

	// Command starts a worker, and Env is added to its environment.
	Command, Env []string

	// Patience is how long nothing may happen before the run is given up, and
	// how long queues and Redis may take to answer at first.
	Patience time.Duration

	// tap, if it is set, returns the address to use in place of an embedded
	// server's, host:port. Tests listen there.
	tap func(addr string) string

	Verbose  bool      // show the workers' warnings
	Progress io.Writer // tells what happens
	Logs     io.Writer // of the workers
}

// DefaultPatience is longer than all leases, visibility timeouts and retries.
const DefaultPatience = 30 * time.Second

// A demo is one run in one mode.
type demo struct {
	cfg      Config
	stage    *stage
	sagas    *saga.Client
	audience *audience
	door     *door
	crew     *crew
	mortuary *mortuary
	tickets  []*ticket

	began  time.Time
	report report.Report
}

// namespace is a new one for the keys of each run, so that runs which share a
// Redis do not meet.
func namespace() string { return "wildrydes-" + strings.ToLower(rand.Text()[:8]) }

// Run lets all rides in, and returns when all that can be is at its end.
func Run(ctx context.Context, cfg Config) (_ *report.Report, err error) {
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	d := &demo{cfg: cfg}
	d.report.Problems = []string{}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	return &d.report, nil
}

func (d *demo) open(ctx context.Context) (err error) {
	if d.stage, err = openStage(ctx, d.cfg); err != nil {
		return err
	}
	b := d.stage.backend
	if d.sagas, err = saga.NewClient(saga.ClientConfig{Store: b.Store}); err != nil {
		return err
	}
	if d.mortuary, err = newMortuary(ctx, b); err != nil {
		return err
	}
	if d.cfg.Endpoint != "" {
		if err := d.sweep(ctx); err != nil {
			return err
		}
	}
	if d.door, err = newDoor(d.cfg.Mode, b, d.stage.services.Payments); err != nil {
		return err
	}
	if d.audience, err = newAudience(ctx, b); err != nil {
		return err
	}
	d.crew = &crew{command: d.cfg.Command, env: d.cfg.Env, assignment: d.stage.assignment, stderr: d.cfg.Logs}
	return d.crew.start(ctx)
}

// sweep deletes what an earlier run has left in the queues. All of them are the
// example's own by now: openStage has seen to that.
func (d *demo) sweep(ctx context.Context) error {
	if d.cfg.Endpoint == AWS && !d.cfg.Clear {
		left, err := d.mortuary.backlog(ctx)
		if err != nil {
			return err
		}
		dead, err := d.mortuary.count(ctx)
		if err != nil {
			return err
		}
		if left+dead > 0 {
			return fmt.Errorf("an earlier run has left about %s in the queues; give --yes to delete them", report.Count(left+dead, "message"))
		}
		return nil
	}
	n, err := d.mortuary.clear(ctx)
	if n > 0 {
		d.say("deleted %s that an earlier run has left in the queues", report.Count(n, "message"))
	}
	return err
}

func (d *demo) run(ctx context.Context) error {
	d.say("%s in; the worker will be killed %s", report.Were(len(d.cfg.Rides), "ride", "comes", "come"), report.Times(d.cfg.Crashes))
	before, err := d.day(ctx)
	if err != nil {
		return err
	}
	if err := d.note(ctx, before); err != nil {
		return err
	}
	d.say("settled: %s", line(d.report.Before))
	after, err := d.repair(ctx, before)
	if err != nil {
		return err
	}
	d.say("repaired: %s", line(after.tally(len(d.tickets))))
	if err := d.crew.leave(); err != nil {
		d.problem("%v", err)
	}
	return d.conclude(ctx, before, after)
}

func (d *demo) close() error {
	var errs []error
	if d.crew != nil && d.crew.process != nil {
		errs = append(errs, d.crew.kill())
	}
	if d.audience != nil {
		errs = append(errs, d.audience.close())
	}
	if d.door != nil {
		errs = append(errs, d.door.close())
	}
	if d.stage == nil {
		return errors.Join(errs...)
	}
	if d.stage.backend != nil && d.cfg.Redis != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		errs = append(errs, d.stage.backend.Forget(ctx, d.stage.assignment.Backend.Namespace))
	}
	return errors.Join(append(errs, d.stage.close())...)
}

// say tells what happens.
func (d *demo) say(format string, args ...any) {
	since := 0.0
	if !d.began.IsZero() {
		since = time.Since(d.began).Seconds()
	}
	fmt.Fprintf(d.cfg.Progress, "%s %5.1f s  %s\n", d.cfg.Mode, since, fmt.Sprintf(format, args...))
}

// problem notes something that must not be.
func (d *demo) problem(format string, args ...any) {
	const most = 20
	switch text := fmt.Sprintf(format, args...); len(d.report.Problems) {
	case most:
	case most - 1:
		d.report.Problems = append(d.report.Problems, "and more")
	default:
		d.report.Problems = append(d.report.Problems, text)
	}
}

func line(t report.Tally) string {
	return fmt.Sprintf("%d completed, %d compensated, %d dead-lettered, %d open, %d lost",
		t.Completed, t.Compensated, t.DeadLettered, t.Open, t.Lost)
}
