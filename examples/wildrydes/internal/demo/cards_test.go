package demo

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
)

// TestMain makes the test binary a worker when it is called as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		if err := worker.Run(context.Background(), os.Stdin, os.Stdout, os.Stderr); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestNoCards listens to all that goes to the queues and to Redis and back, and
// finds no card in it.
func TestNoCards(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	list := rides.Generate(60, 5, rides.DefaultMix())
	for _, mode := range []worker.Mode{worker.Saga, worker.Pipeline} {
		t.Run(string(mode), func(t *testing.T) {
			var wire recorder
			var logs recorder
			r, err := Run(t.Context(), Config{
				Mode: mode, Rides: list, File: "../../waybill.yaml", Crashes: 1,
				Command: []string{program, "worker"}, Verbose: true, Progress: &logs, Logs: &logs,
				tap: func(addr string) string { return wire.tap(t, addr) },
			})
			if err != nil {
				t.Fatal(err)
			}
			wire.close()
			if !r.OK() {
				t.Errorf("the run has problems: %q", r.Problems)
			}
			for _, ride := range list {
				if !wire.has(ride.RideID) {
					t.Errorf("%s did not come by: the test listens in the wrong place", ride.RideID)
				}
				if wire.has(ride.Card.Number) || logs.has(ride.Card.Number) {
					t.Errorf("the card of %s was sent or logged", ride.RideID)
				}
			}
		})
	}
}

// A recorder keeps what is written to it.
type recorder struct {
	mu   sync.Mutex
	data bytes.Buffer

	listeners []net.Listener
	serving   sync.WaitGroup
}

// close waits until all connections that pass by have ended, and are recorded.
func (r *recorder) close() {
	for _, ln := range r.listeners {
		ln.Close()
	}
	r.serving.Wait()
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data.Write(p)
}

func (r *recorder) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.data.Bytes(), []byte(text))
}

// tap passes connections on to an address, records both ways, and returns where
// it listens.
func (r *recorder) tap(t *testing.T, addr string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return addr
	}
	r.listeners = append(r.listeners, ln)
	r.serving.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				in.Close()
				continue
			}
			r.serving.Go(func() { r.pass(out, in) })
			r.serving.Go(func() { r.pass(in, out) })
		}
	})
	return ln.Addr().String()
}

// pass copies and records one direction. Each direction of a connection has a
// record of its own, so that the chunks of others do not tear it.
func (r *recorder) pass(to, from net.Conn) {
	var own bytes.Buffer
	_, _ = io.Copy(io.MultiWriter(to, &own), from)
	to.Close()
	from.Close()
	_, _ = r.Write(append(own.Bytes(), 0))
}
