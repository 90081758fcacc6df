package emulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// ListenAndServe serves on addr until ctx ends, and returns nil then. An empty addr is [DefaultAddr],
// which only this machine reaches; the server checks no credentials, so think before binding to more.
func (s *Server) ListenAndServe(ctx context.Context, addr string) error {
	if addr == "" {
		addr = DefaultAddr
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	return s.Serve(ctx, ln)
}

// Serve serves on a listener until ctx ends, and returns nil then. It closes the listener. When ctx
// ends, long polls return at once with nothing, and requests under way get five seconds to end.
// Connections that have sent nothing yet are closed.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	const grace = 5 * time.Second
	polls, endPolls := context.WithCancel(context.WithoutCancel(ctx))
	defer endPolls()
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return polls },
	}
	unused := unusedConns{conns: make(map[net.Conn]bool)}
	server.ConnState = unused.track

	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(ln) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("emulator: %w", err)
	case <-ctx.Done():
	}
	endPolls()
	unused.close()
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(deadline)
	if err != nil {
		err = errors.Join(err, server.Close())
	}
	<-stopped
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	return nil
}

// unusedConns are connections that have sent nothing yet. Clients open some ahead of need, and
// [http.Server.Shutdown] waits five seconds for each to send something.
type unusedConns struct {
	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
}

func (u *unusedConns) track(conn net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(u.conns, conn)
	case u.closed:
		_ = conn.Close() // nothing is lost with it
	default:
		u.conns[conn] = true
	}
}

func (u *unusedConns) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for conn := range u.conns {
		_ = conn.Close()
	}
}

// Client returns an HTTP client whose every request the server answers in the caller's goroutine,
// whatever its host, with no socket in between. As aws.Config.HTTPClient it gives an SDK a server that
// needs no port, and that runs in a testing/synctest bubble.
func (s *Server) Client() *http.Client {
	return &http.Client{Transport: transport{s}}
}

type transport struct{ server *Server }

// RoundTrip answers a request. A dropped request or answer is an error that wraps io.ErrUnexpectedEOF.
// An answer that says something is given even if the context has ended meanwhile, so that a client which
// cancels a receive as a message arrives does not lose it until its visibility ends.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		closeBody(r)
		return nil, err
	}
	in := r
	if r.Body == nil {
		in = r.WithContext(r.Context())
		in.Body = http.NoBody
	}
	resp := t.server.answer(in, r.URL.Scheme+"://"+r.URL.Host)
	closeBody(r)
	if err := r.Context().Err(); err != nil && (resp.drop || len(resp.body) <= len("{}")) {
		return nil, err
	}
	if resp.drop {
		return nil, fmt.Errorf("emulator: connection closed: %w", io.ErrUnexpectedEOF)
	}
	return &http.Response{
		Status:        strconv.Itoa(resp.status) + " " + http.StatusText(resp.status),
		StatusCode:    resp.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        resp.header,
		Body:          io.NopCloser(bytes.NewReader(resp.body)),
		ContentLength: int64(len(resp.body)),
		Request:       r,
	}, nil
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close() // it has been read; nothing hangs on its closing
	}
}
