package redisstore_test

import (
	"net"
	"sync"
	"testing"
)

// A proxy stands between a client and Redis and breaks connections.
type proxy struct {
	listener net.Listener
	upstream string
	wg       sync.WaitGroup

	mu      sync.Mutex
	down    bool
	refused chan struct{} // gets a value for each connection that is refused
	fate    func(request []byte) fate
	conns   map[net.Conn]bool
}

// fate is what becomes of a request.
type fate int

const (
	pass   fate = iota
	cut         // the connection ends before the server has the request
	unsaid      // the server has done its work, and its answer is lost
	silent      // nothing becomes of it, and the connection stays
)

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		listener: l, upstream: upstream,
		refused: make(chan struct{}, 1000), conns: make(map[net.Conn]bool),
		fate: func([]byte) fate { return pass },
	}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.setDown(true)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// setDown breaks all connections and refuses new ones, or accepts them again.
func (p *proxy) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for c := range p.conns {
			c.Close()
		}
	}
}

// setFate decides over all further requests.
func (p *proxy) setFate(f func(request []byte) fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fate = f
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server := p.connect(client)
		if server == nil {
			client.Close()
			continue
		}
		lost := make(chan struct{})
		p.wg.Go(func() { p.requests(client, server, lost) })
		p.wg.Go(func() { p.replies(client, server, lost) })
	}
}

// connect reaches the server for a client, unless the proxy is down.
func (p *proxy) connect(client net.Conn) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		select {
		case p.refused <- struct{}{}:
		default:
		}
		return nil
	}
	server, err := net.Dial("tcp", p.upstream)
	if err != nil {
		return nil
	}
	p.conns[client], p.conns[server] = true, true
	return server
}

// forget closes both ends.
func (p *proxy) forget(client, server net.Conn) {
	client.Close()
	server.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// requests forwards what the client sends. Requests are small, and so come in
// one piece each.
func (p *proxy) requests(client, server net.Conn, lost chan struct{}) {
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			server.Close()
			return
		}
		p.mu.Lock()
		fate := p.fate(buf[:n])
		p.mu.Unlock()
		switch fate {
		case cut:
			server.Close()
			return
		case unsaid:
			close(lost)
		case silent:
			continue
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
		if fate == unsaid {
			return
		}
	}
}

// replies forwards what the server sends, until an answer is to be lost.
func (p *proxy) replies(client, server net.Conn, lost chan struct{}) {
	defer p.forget(client, server)
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-lost:
			return
		default:
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}
