package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
	"github.com/waybill-dev/waybill/store"
)

// Exit codes. The help of the root command lists them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartial     = 3
	exitNotFound    = 4
	exitHeld        = 5
	exitInterrupted = 130
)

// run is the program. It writes data to stdout and all else to stderr, and
// returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var usage *usageError
	if !a.started && !errors.As(err, &usage) {
		err = &usageError{err} // cobra refused the command line
	}
	code := exitCode(ctx, err)
	for line := range strings.Lines(a.explain(err)) {
		line = printable(strings.TrimSuffix(line, "\n"))
		if !strings.HasPrefix(line, "waybill ") && !strings.HasPrefix(line, "waybill: ") { // a command's path
			line = "waybill: " + line
		}
		fmt.Fprintln(stderr, line)
	}
	return code
}

// A usageError is a mistake in the command line or the configuration.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// A partialError says that what was to be done was done in part, and that the
// same command goes on.
type partialError struct{ err error }

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }

// A notFoundError says that what the command line names is not there.
type notFoundError struct{ text string }

func (e *notFoundError) Error() string { return e.text }

// exitCode tells which exit code an error is.
func exitCode(ctx context.Context, err error) int {
	var (
		usage    *usageError
		missing  *notFoundError
		partial  *partialError
		letters  *dlq.PartialError
		settings *config.Error
		apply    *topology.ApplyError
		held     *store.JobHeldError
		open     *store.JobOpenError
	)
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &held), errors.As(err, &open):
		return exitHeld
	case errors.As(err, &apply) && apply.Done > 0, errors.As(err, &partial), errors.As(err, &letters):
		return exitPartial
	case errors.As(err, &usage), errors.As(err, &settings):
		return exitUsage
	case errors.As(err, &missing), errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrGone),
		errors.Is(err, queue.ErrNotFound), errors.Is(err, queue.ErrUnknownEndpoint), errors.Is(err, dlq.ErrNoMessage):
		return exitNotFound
	default:
		return exitFailed
	}
}

// explain returns the error as it is shown, with what may help.
func (a *app) explain(err error) string {
	text := err.Error()
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		text += "\nno host has that name: check the region, --endpoint-url and --redis (`waybill config show` tells where they come from)"
	case errors.Is(err, syscall.ECONNREFUSED):
		text += "\nnothing answers there: check --endpoint-url and --redis (`waybill config show` tells where they come from); `waybill dev` starts both for development"
	case strings.Contains(text, "get identity: get credentials"), strings.Contains(text, "failed to refresh cached credentials"):
		text += "\nno AWS credentials were found: set them up for the AWS SDK, or give --endpoint-url for a server outside AWS"
	}
	return text
}

// operator names who gives an order: the user and the machine.
func operator() string {
	name := os.Getenv("USER")
	if name == "" {
		name = "unknown"
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
