package waybilltest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// connect returns both ends of a connection in memory. Unlike those of net.Pipe
// they buffer what is written, as sockets do: a client that writes many commands
// before it reads an answer, and a server that answers each, would otherwise wait
// for one another. The buffers have no bound, so that a write never waits.
func connect() (client, server net.Conn) {
	up, down := newStream(), newStream()
	return &conn{in: down, out: up}, &conn{in: up, out: down}
}

// A conn is one end of a connection.
type conn struct{ in, out *stream }

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close lets the other end read what was written, and then its end.
func (c *conn) Close() error {
	c.in.close(true)
	c.out.close(false)
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return addr{} }
func (c *conn) RemoteAddr() net.Addr { return addr{} }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.readers.set(t)
	c.out.writers.set(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.readers.set(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.writers.set(t)
	return nil
}

// addr is where a connection in memory leads.
type addr struct{}

func (addr) Network() string { return "memory" }
func (addr) String() string  { return "memory" }

// A stream is one direction of a connection.
type stream struct {
	mu      sync.Mutex
	changed *sync.Cond
	buf     []byte
	shut    bool // by its reader: nothing more is read or written
	ended   bool // by its writer: what is there is read, and then its end

	readers, writers deadline
}

func newStream() *stream {
	s := &stream{}
	s.changed = sync.NewCond(&s.mu)
	s.readers.stream, s.writers.stream = s, s
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.shut:
			return 0, net.ErrClosed
		case s.readers.passed():
			return 0, os.ErrDeadlineExceeded
		case len(s.buf) > 0 || len(p) == 0:
			n := copy(p, s.buf)
			if s.buf = s.buf[n:]; len(s.buf) == 0 {
				s.buf = nil // what was read is not kept
			}
			return n, nil
		case s.ended:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return 0, net.ErrClosed
	case s.shut:
		return 0, io.ErrClosedPipe
	case s.writers.passed():
		return 0, os.ErrDeadlineExceeded
	}
	s.buf = append(s.buf, p...)
	s.changed.Broadcast()
	return len(p), nil
}

func (s *stream) close(byReader bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if byReader {
		s.shut, s.buf = true, nil
		s.readers.stop()
	} else {
		s.ended = true
		s.writers.stop()
	}
	s.changed.Broadcast()
}

// A deadline is when the readers or writers of a stream give up.
type deadline struct {
	stream *stream
	at     time.Time
	timer  *time.Timer
}

func (d *deadline) set(t time.Time) {
	d.stream.mu.Lock()
	defer d.stream.mu.Unlock()
	d.stop()
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), func() {
			d.stream.mu.Lock()
			defer d.stream.mu.Unlock()
			d.stream.changed.Broadcast()
		})
	}
	d.stream.changed.Broadcast()
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }
