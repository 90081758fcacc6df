package waybilltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
)

func (s *Stack) startRedis(cfg Config) error {
	s.redis = miniredis.NewMiniRedis()
	options := &redis.UniversalOptions{}
	if cfg.NoSockets {
		// The first connection makes the server. It is not of use: it would
		// let both ends wait for one another.
		first, err := s.redis.Dial()
		if err != nil {
			return fmt.Errorf("waybilltest: start Redis: %w", err)
		}
		if err := first.Close(); err != nil {
			return fmt.Errorf("waybilltest: start Redis: %w", err)
		}
		s.memory = &memory{server: s.redis.Server()}
		options.Addrs = []string{"127.0.0.1:6379"} // never dialled; a name would be looked up
		options.Dialer = s.memory.dial
	} else {
		addr := cfg.RedisAddr
		if addr == "" {
			addr = DefaultAddr
		}
		if err := s.redis.StartAddr(addr); err != nil {
			return fmt.Errorf("waybilltest: Redis cannot listen on %s: %w", addr, err)
		}
		s.RedisAddr = s.redis.Addr()
		options.Addrs = []string{s.RedisAddr}
	}
	s.redis.Server().SetPreHook(expiry(s.redis))
	if err := s.redis.Server().Register("CONFIG", config); err != nil {
		return fmt.Errorf("waybilltest: start Redis: %w", err)
	}
	s.Redis = redis.NewUniversalClient(options)
	return nil
}

// memory leads to a server that listens nowhere.
type memory struct {
	server *server.Server

	mu     sync.Mutex
	closed bool // the server would not notice
}

func (m *memory) dial(context.Context, string, string) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errors.New("waybilltest: the stack is closed")
	}
	near, far := connect()
	m.server.ServeConn(far)
	return near, nil
}

func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

// config answers CONFIG GET for the one setting that stores ask for. miniredis
// evicts nothing, and has no CONFIG that would say so.
func config(c *server.Peer, _ string, args []string) {
	if len(args) < 2 || !strings.EqualFold(args[0], "get") {
		c.WriteError("ERR this embedded Redis has no CONFIG but GET")
		return
	}
	const name, value = "maxmemory-policy", "noeviction"
	for _, pattern := range args[1:] {
		if ok, err := path.Match(strings.ToLower(pattern), name); ok && err == nil {
			c.WriteMapLen(1)
			c.WriteBulk(name)
			c.WriteBulk(value)
			return
		}
	}
	c.WriteMapLen(0)
}

// expiry returns what has to run before every command so that keys expire as
// time passes. miniredis can do it too (ClockTTL), and then goes through all its
// keys with every command; this does so every 10 ms, or less often where there
// are so many keys that it would take more than a twentieth of the time. A key
// can expire that much too early.
func expiry(m *miniredis.Miniredis) server.Hook {
	const least, share = 10 * time.Millisecond, 20
	var mu sync.Mutex
	last, pause := time.Now(), least
	return func(*server.Peer, string, ...string) bool {
		// Who is busy is left alone: a command of a script comes here with
		// the server locked.
		if !mu.TryLock() {
			return false
		}
		defer mu.Unlock()
		now := time.Now()
		elapsed := now.Sub(last)
		if elapsed < pause || !m.TryLock() {
			return false
		}
		m.Unlock()
		last = now
		m.FastForward(elapsed)
		pause = max(least, share*time.Since(now))
		return false
	}
}
