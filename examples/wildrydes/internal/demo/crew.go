package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
)

// A crew is the worker's process, and those that were killed before it.
type crew struct {
	command    []string
	env        []string
	assignment worker.Assignment
	stderr     io.Writer

	process *process
	kills   int

	mu   sync.Mutex
	gone worker.Count // of processes that have ended
}

// A process is one process of a worker.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ready chan struct{} // closed when it is at work
	ended chan struct{} // closed when it has ended, with err
	err   error

	mu    sync.Mutex
	count worker.Count
}

// start starts a process, and returns when it is at work.
func (c *crew) start(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.command[0], c.command[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stderr = c.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = leaveTimeout
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	p := &process{cmd: cmd, stdin: stdin, ready: make(chan struct{}), ended: make(chan struct{})}
	go p.follow(stdout)
	c.process = p
	if err := json.NewEncoder(stdin).Encode(c.assignment); err != nil {
		return errors.Join(fmt.Errorf("worker: %w", err), c.kill())
	}
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return fmt.Errorf("the worker ended before it was at work: %w", p.err)
	}
}

// follow reads counts until the process ends.
func (p *process) follow(stdout io.Reader) {
	defer close(p.ended)
	counts := json.NewDecoder(stdout)
	ready := sync.OnceFunc(func() { close(p.ready) })
	for {
		var c worker.Count
		if counts.Decode(&c) != nil {
			break // its end, or half a line of a process that was killed
		}
		p.mu.Lock()
		p.count = c
		p.mu.Unlock()
		ready()
	}
	_, _ = io.Copy(io.Discard, stdout)
	p.err = p.cmd.Wait()
	if p.err == nil {
		p.err = errors.New("it ended without an error")
	}
}

// kill kills the process on the spot.
func (c *crew) kill() error {
	if err := c.process.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the worker: %w", err)
	}
	<-c.process.ended
	c.dismiss()
	return nil
}

// crash kills the process and starts another.
func (c *crew) crash(ctx context.Context) error {
	if err := c.kill(); err != nil {
		return err
	}
	c.kills++
	return c.start(ctx)
}

// leaveTimeout is how long a process that is told to end may take.
const leaveTimeout = 15 * time.Second

// leave tells the process to finish what it does and end.
func (c *crew) leave() error {
	p := c.process
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the worker: %w", err)
	}
	select {
	case <-p.ended:
	case <-time.After(leaveTimeout):
		return errors.Join(fmt.Errorf("the worker does not end within %s", leaveTimeout), c.kill())
	}
	c.dismiss()
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("the worker: %w", p.err)
	}
	return nil
}

// dismiss keeps the counts of the process, which has ended.
func (c *crew) dismiss() {
	p := c.process
	_ = p.stdin.Close() // the process is gone
	p.mu.Lock()
	defer p.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = c.gone.Plus(p.count)
	c.process = nil
}

// count is what all processes together have done.
func (c *crew) count() worker.Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}
