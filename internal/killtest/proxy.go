package killtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// A Proxy passes TCP connections on to a server, and calls a function for each
// packet in either direction before it passes it on.
type Proxy struct {
	listener net.Listener
	target   string
	step     func()

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	wait   sync.WaitGroup
}

// NewProxy starts a proxy on a free port of the loopback interface.
func NewProxy(target string, step func()) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("killtest: %w", err)
	}
	p := &Proxy{listener: l, target: target, step: step, conns: make(map[net.Conn]struct{})}
	p.wait.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends all connections and waits for what handles them.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	err := p.listener.Close()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wait.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wait.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.forget(client)
	if !p.remember(client) {
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.forget(server)
	if !p.remember(server) {
		return
	}
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		// One end's end is the other's.
		defer func() { _, _ = to.Close(), from.Close() }()
		p.pass(to, from)
	}
	both.Go(func() { pass(server, client) })
	both.Go(func() { pass(client, server) })
	both.Wait()
}

func (p *Proxy) pass(to io.Writer, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.step()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) remember(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) forget(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
