package killtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Config says what a Group runs and how it kills.
type Config struct {
	// Command makes a worker's process, anew for each start. Its Stdin is the
	// Group's: see [ExitWithParent]. Required.
	Command func() *exec.Cmd

	// Workers is how many processes run at once. Defaults to 1.
	Workers int

	// Kills is how many processes are killed in all. Defaults to none.
	Kills int

	// Every bounds the steps between two kills: their number is random, from 1
	// to Every. Defaults to 100.
	Every int

	// Seed makes the numbers of steps repeatable. What the workers do between
	// two steps is not.
	Seed uint64
}

// A Group keeps worker processes running. Its methods may be called side by
// side.
type Group struct {
	cfg Config

	mu      sync.Mutex
	random  *rand.Rand
	left    int // steps to the next kill
	kills   int
	workers []*process // by slot; nil while one starts
}

type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *tail
	killed bool // by the group
	done   chan struct{}
}

// New checks the configuration. Nothing runs before Run.
func New(cfg Config) (*Group, error) {
	if cfg.Command == nil {
		return nil, errors.New("killtest: Config.Command is nil")
	}
	if cfg.Workers < 0 || cfg.Kills < 0 || cfg.Every < 0 {
		return nil, fmt.Errorf("killtest: Workers %d, Kills %d, Every %d: want them positive", cfg.Workers, cfg.Kills, cfg.Every)
	}
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	if cfg.Every == 0 {
		cfg.Every = 100
	}
	g := &Group{cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 0)), workers: make([]*process, cfg.Workers)}
	g.left = 1 + g.random.IntN(cfg.Every)
	return g, nil
}

// Run starts the workers, and starts another for each that was killed, until
// the context ends; then it kills them all. A worker that ends by itself is an
// error, which holds the end of what it wrote to its standard error.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, g.cfg.Workers)
	var slots sync.WaitGroup
	for slot := range g.cfg.Workers {
		slots.Go(func() {
			defer cancel()
			errs[slot] = g.keep(ctx, slot)
		})
	}
	slots.Wait()
	return errors.Join(errs...)
}

// Kills returns how many workers were killed by steps.
func (g *Group) Kills() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.kills
}

// Step tells of a step of work, and may kill a worker before it returns.
func (g *Group) Step() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.kills >= g.cfg.Kills {
		return
	}
	if g.left--; g.left > 0 {
		return
	}
	p := g.workers[g.random.IntN(len(g.workers))]
	if p == nil || p.killed {
		g.left = 1 // it is on its way; the next step then
		return
	}
	p.kill()
	g.kills++
	g.left = 1 + g.random.IntN(g.cfg.Every)
}

// keep runs one worker after the other in a slot.
func (g *Group) keep(ctx context.Context, slot int) error {
	for {
		p, err := g.start(slot)
		if err != nil {
			return err
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			g.mu.Lock()
			p.kill()
			g.mu.Unlock()
			<-p.done
			return nil
		}
		g.mu.Lock()
		g.workers[slot] = nil
		killed := p.killed
		g.mu.Unlock()
		if !killed {
			return fmt.Errorf("killtest: a worker ended by itself: %s\n%s", p.cmd.ProcessState, p.stderr)
		}
	}
}

func (g *Group) start(slot int) (*process, error) {
	p := &process{cmd: g.cfg.Command(), stderr: &tail{}, done: make(chan struct{})}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("killtest: %w", err)
	}
	p.stdin = stdin
	if p.cmd.Stderr == nil {
		p.cmd.Stderr = p.stderr
	}
	// Whatever holds on to its standard error does not hold up the next one.
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("killtest: start a worker: %w", err)
	}
	g.mu.Lock()
	g.workers[slot] = p
	g.mu.Unlock()
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // its state tells
	}()
	return p, nil
}

// kill sends SIGKILL. The group's lock is held.
func (p *process) kill() {
	p.killed = true
	_ = p.cmd.Process.Kill() // it may have ended just now
	_ = p.stdin.Close()
}

// ExitWithParent ends this process when its standard input does: when the Group
// that started it is gone, however that came.
func ExitWithParent() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
}

// A tail keeps the last bytes that were written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = t.buf[n:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.Clone(t.buf))
}
