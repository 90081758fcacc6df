package killtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// workerEnv makes the test binary a worker: it says what kind.
const workerEnv = "WAYBILL_KILLTEST_WORKER"

func TestMain(m *testing.M) {
	switch kind := os.Getenv(workerEnv); {
	case kind == "":
		goleak.VerifyTestMain(m)
	case kind == "fail":
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(1)
	default: // an address to send to, again and again
		ExitWithParent()
		c, err := net.Dial("tcp", kind)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for {
			if _, err := fmt.Fprintln(c, os.Getpid()); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func worker(kind string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+kind)
	return cmd
}

// Workers are killed as often as was asked for, start again, and are gone when
// Run returns.
func TestKillsAndStartsAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pids := make(chan string, 1000)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					pids <- lines.Text()
				}
			}()
		}
	}()
	const kills, workers = 6, 2
	var starts atomic.Int64
	g, err := New(Config{
		Command: func() *exec.Cmd {
			starts.Add(1)
			return worker(l.Addr().String())
		},
		Workers: workers, Kills: kills, Every: 20, Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	// Some are killed before they say a word, so starts are what counts.
	for starts.Load() < kills+workers {
		select {
		case <-pids:
			g.Step()
		case err := <-done:
			t.Fatalf("Run ended after %d processes: %v", starts.Load(), err)
		}
	}
	if got := g.Kills(); got != kills {
		t.Errorf("%d kills, want %d", got, kills)
	}
	cancel()
	for ended := false; !ended; {
		select {
		case <-pids: // what is under way still
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			ended = true
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	<-served
	for drained := false; !drained; {
		select {
		case <-pids:
		case <-time.After(100 * time.Millisecond):
			drained = true
		}
	}
}

// A worker that ends by itself is an error that tells why.
func TestWorkerThatEndsIsAnError(t *testing.T) {
	g, err := New(Config{Command: func() *exec.Cmd { return worker("fail") }})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("got %v", err)
	}
	g, err = New(Config{Command: func() *exec.Cmd { return exec.Command("/nonexistent") }})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "start a worker") {
		t.Errorf("got %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{
		{}, {Command: func() *exec.Cmd { return nil }, Kills: -1}, {Command: func() *exec.Cmd { return nil }, Every: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}

// A proxy passes on what it is given, in both directions, and counts.
func TestProxy(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	var steps atomic.Int64
	p, err := NewProxy(echo.Addr().String(), func() { steps.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	lines := bufio.NewScanner(c)
	for i := range 10 {
		fmt.Fprintln(c, "line", i)
		if !lines.Scan() || lines.Text() != fmt.Sprint("line ", i) {
			t.Fatalf("line %d came back as %q (%v)", i, lines.Text(), lines.Err())
		}
	}
	if got := steps.Load(); got < 20 {
		t.Errorf("%d steps for ten lines there and back", got)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if lines.Scan() {
		t.Errorf("after Close came %q", lines.Text())
	}
}
