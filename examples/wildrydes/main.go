// Wildrydes processes the fares of rides, as a saga and as a pipeline, while its
// worker is killed on the way. See the README.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	_ "embed"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/pflag"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/backend"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/demo"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
)

// Exit statuses.
const (
	exitOK          = 0
	exitFailed      = 1 // a cent is missing, a saga is open, a message is lost, or it could not run
	exitUsage       = 2
	exitInterrupted = 130
)

// workerCommand is the argument that makes the program a worker.
const workerCommand = "worker"

//go:embed waybill.yaml
var topology []byte

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logging.Disable() // what go-redis logs, its errors say again
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == workerCommand {
		if err := worker.Run(ctx, stdin, stdout, stderr); err != nil {
			fmt.Fprintln(stderr, "wildrydes worker:", err)
			return exitFailed
		}
		return exitOK
	}
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		return misused(stderr, err)
	}
	var settings *config.Error
	r, err := play(ctx, o, stderr)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "wildrydes: interrupted")
		return exitInterrupted
	case errors.As(err, &settings):
		return misused(stderr, err)
	case err != nil:
		fmt.Fprintln(stderr, "wildrydes:", err)
		if errors.Is(err, syscall.ECONNREFUSED) {
			fmt.Fprintln(stderr, "wildrydes: nothing answers there: check --endpoint and --redis; `waybill dev` starts both for development")
		}
		return exitFailed
	}
	write := r.WriteText
	if o.output == "json" {
		write = r.WriteJSON
	}
	if err := write(stdout); err != nil {
		fmt.Fprintln(stderr, "wildrydes:", err)
		return exitFailed
	}
	if !r.OK() {
		return exitFailed
	}
	return exitOK
}

// misused says what is wrong with the command line, or with a file that it
// names.
func misused(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "wildrydes: %v\nRun it with -h to see what it takes.\n", err)
	return exitUsage
}

// play runs the demo in each mode.
func play(ctx context.Context, o *options, progress io.Writer) (_ *report.Report, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file, err := o.configuration()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.remove()) }()
	at := backend.Address{File: file.path, Endpoint: o.endpoint, Redis: o.redis}
	if at.Endpoint == demo.AWS {
		at.Endpoint = ""
	}
	if err := at.Check(); err != nil {
		return nil, err
	}
	progress = &lockedWriter{w: progress} // the workers write there, too
	var reports []*report.Report
	for i, mode := range o.modes {
		r, err := demo.Run(ctx, demo.Config{
			Clear: o.yes || i > 0, // what the first mode left is our own
			Mode:  mode, Rides: o.rides, Crashes: o.crashes, Seed: o.seed,
			File: file.path, Endpoint: o.endpoint, Redis: o.redis,
			Command: []string{program, workerCommand}, Env: o.workerEnv,
			Verbose: o.verbose, Progress: progress, Logs: progress,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", mode, err)
		}
		reports = append(reports, r)
	}
	return report.Combine(reports...), nil
}

// A lockedWriter is a writer for several goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
