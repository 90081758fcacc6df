// Approval has people approve expense claims: a step of a saga that waits for
// somebody. See the README.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("approval", flag.ContinueOnError)
	flags.SetOutput(stderr)
	serve := flags.Bool("serve", false, "serve a page on which you file claims and answer them, until interrupted")
	addr := flags.String("addr", "127.0.0.1:8080", "with -serve, the host:port of the page, on the loopback interface")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "approval: %q is not a flag; it takes flags alone\n", flags.Arg(0))
		return exitUsage
	case !loopback(*addr):
		fmt.Fprintf(stderr, "approval: -addr is %q; want an address of the loopback interface, such as 127.0.0.1:8080: the page shows every token\n", *addr)
		return exitUsage
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	do := play
	if *serve {
		do = func(ctx context.Context, out io.Writer, log *slog.Logger) (bool, error) {
			return true, serveUntil(ctx, *addr, out, log)
		}
	}
	ok, err := do(ctx, stdout, log)
	if err != nil {
		fmt.Fprintln(stderr, "approval:", err)
	}
	if err != nil || !ok {
		return exitFailed
	}
	return exitOK
}

// play plays the demo.
func play(ctx context.Context, out io.Writer, log *slog.Logger) (ok bool, err error) {
	s := newStories()
	h, err := openHouse(ctx, waybilltest.Config{}, patience(), s.tell, log)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	at, err := listen(ctx, "127.0.0.1:0", h)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	return demo(ctx, h, s, at.post, out)
}

// serveUntil lets people file and answer claims until the context ends.
func serveUntil(ctx context.Context, addr string, out io.Writer, log *slog.Logger) (err error) {
	tell := func(claim, line string) { fmt.Fprintf(out, "%s: %s\n", claim, line) }
	h, err := openHouse(ctx, waybilltest.Config{}, Patience{Person: 2 * time.Minute, Audit: 10 * time.Minute, Heartbeat: time.Minute, Sweep: 100 * time.Millisecond}, tell, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	at, err := listen(ctx, addr, h)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The desk is at %s/. Who is asked has two minutes.\n", at.url)
	select {
	case <-ctx.Done(): // being interrupted is how it ends
	case <-h.stack.Done():
	}
	return at.close()
}

// A listener serves the desk.
type listener struct {
	url    string
	server *http.Server
	served chan error
}

func listen(ctx context.Context, addr string, h *house) (*listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	l := &listener{
		url:    "http://" + ln.Addr().String(),
		server: &http.Server{Handler: (&desk{h}).handler(), ReadHeaderTimeout: 10 * time.Second},
		served: make(chan error, 1),
	}
	go func() { l.served <- l.server.Serve(ln) }()
	return l, nil
}

func (l *listener) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := l.server.Shutdown(ctx)
	if served := <-l.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// post posts an answer, as a browser does.
func (l *listener) post(ctx context.Context, form url.Values) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/answer", strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}
