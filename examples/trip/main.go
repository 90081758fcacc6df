// Trip books flights and a hotel side by side, and a car by a saga of its own, and
// shows how each way to fail is undone. See the README.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/waybill-dev/waybill/waybilltest"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("trip", flag.ContinueOnError)
	flags.SetOutput(stderr)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "trip: it takes no argument, and got %q\n", flags.Arg(0))
		return exitUsage
	}
	ok, err := play(ctx, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "trip:", err)
	}
	if err != nil || !ok {
		return exitFailed
	}
	return exitOK
}

// play plays the demo. What is blocked is told in it, so nothing is logged.
func play(ctx context.Context, out io.Writer) (ok bool, err error) {
	a, err := openAgency(ctx, waybilltest.Config{}, out, slog.New(slog.DiscardHandler))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	return demo(ctx, a, scenes())
}
