// Python has a step of a Go saga done by a service in Python. See the README.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/waybill-dev/waybill/waybilltest"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

//go:embed participant.py warehouse.py
var programs embed.FS

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("python", flag.ContinueOnError)
	flags.SetOutput(stderr)
	python := flags.String("python", "python3", "the Python to run, which must have boto3")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "python: %q is not a flag; it takes flags alone\n", flags.Arg(0))
		return exitUsage
	}
	if err := demo(ctx, *python, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "python:", err)
		return exitFailed
	}
	return exitOK
}

// demo takes four orders for the three lamps that there are.
func demo(ctx context.Context, python string, out, errs io.Writer) (err error) {
	if text, err := exec.CommandContext(ctx, python, "-c", "import boto3, sqlite3").CombinedOutput(); err != nil {
		return fmt.Errorf("%s cannot be run, or has no boto3; install it (pip install boto3), or name another by -python: %w\n%s", python, err, text)
	}
	stack, err := waybilltest.Open(ctx, waybilltest.Config{Namespace: "shop"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	tell := func(order, line string) { fmt.Fprintf(out, "  %s\n", line) }
	s, err := openShop(ctx, shopConfig{
		AWS: stack.AWS, Namespace: stack.Namespace, Store: stack.Store, Saga: newSaga(patience, attempts, tell),
		Log: slog.New(slog.NewTextHandler(errs, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	dir, err := os.MkdirTemp("", "waybill-python-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.CopyFS(dir, programs); err != nil {
		return err
	}
	p, err := startWarehouse(place{python: python, script: filepath.Join(dir, "warehouse.py"), url: stack.AWSURL, region: stack.AWS.Region,
		namespace: stack.Namespace, database: filepath.Join(dir, "warehouse.db"), stock: "lamp=3"}, errs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	for i, o := range []Order{
		{Item: "lamp", Count: 2},
		{Item: "lamp", Count: 2},
		{Item: "lamp", Count: 1, Card: "expired"},
		{Item: "lamp", Count: 1},
	} {
		id := fmt.Sprint("order-", i+1)
		fmt.Fprintf(out, "%s, %d %s:\n", id, o.Count, o.Item)
		end, err := s.order(ctx, id, o)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s\n", end)
	}
	return nil
}

// A place is where a warehouse runs, and what it is given.
type place struct {
	python, script, url, region, namespace, database, stock string
	kind                                                    string // of its queues: "" or ".fifo"
}

// A process is a warehouse that runs.
type process struct {
	cmd    *exec.Cmd
	exited chan error
}

// startWarehouse starts warehouse.py, or a script that takes the same arguments.
func startWarehouse(at place, log io.Writer) (*process, error) {
	name := func(queue string) string { return at.namespace + "-" + queue + at.kind }
	cmd := exec.Command(at.python, at.script, "--queue", name("warehouse"), "--dead-letters", name("warehouse-dlq"),
		"--reply-to", replies+"="+name("replies"), "--database", at.database, "--stock", at.stock)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"AWS_ENDPOINT_URL=" + at.url, "AWS_DEFAULT_REGION=" + at.region, "AWS_ACCESS_KEY_ID=waybill",
		"AWS_SECRET_ACCESS_KEY=waybill", "AWS_EC2_METADATA_DISABLED=true", "PYTHONDONTWRITEBYTECODE=1"}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	p := &process{cmd: cmd, exited: make(chan error, 1)}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the warehouse: %w", err)
	}
	go func() {
		p.exited <- cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// end asks the warehouse to end, and waits until it has.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		<-p.exited
		return fmt.Errorf("the warehouse has ended by itself: %w", err)
	}
	select {
	case err := <-p.exited:
		if err != nil {
			return fmt.Errorf("the warehouse: %w", err)
		}
		return nil
	case <-time.After(20 * time.Second):
		err := p.cmd.Process.Kill()
		<-p.exited
		return errors.Join(errors.New("the warehouse does not end, and was killed"), err)
	}
}
