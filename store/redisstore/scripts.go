package redisstore

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// A script is one .lua file with its includes before it.
type script struct {
	name  string
	text  string
	sha   string
	calls atomic.Int64
}

// scripts are all the scripts there are.
type scripts struct {
	start, open, commit, renew, release, post, due, purge *script
	heartbeat, claim, complete, forget, adopt             *script
}

func loadScripts() (*scripts, error) {
	s := new(scripts)
	for name, dst := range s.byName() {
		loaded, err := loadScript(name)
		if err != nil {
			return nil, err
		}
		*dst = loaded
	}
	return s, nil
}

func (s *scripts) byName() map[string]**script {
	return map[string]**script{
		"start": &s.start, "open": &s.open, "commit": &s.commit, "renew": &s.renew,
		"release": &s.release, "post": &s.post, "due": &s.due, "purge": &s.purge,
		"heartbeat": &s.heartbeat, "claim": &s.claim, "complete": &s.complete,
		"forget": &s.forget, "adopt": &s.adopt,
	}
}

func loadScript(name string) (*script, error) {
	body, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		return nil, fmt.Errorf("redisstore: script %s: %w", name, err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(body)) {
		include, ok := strings.CutPrefix(strings.TrimSpace(line), "-- include ")
		if !ok {
			continue
		}
		part, err := luaFiles.ReadFile("lua/" + include + ".lua")
		if err != nil {
			return nil, fmt.Errorf("redisstore: script %s includes %s: %w", name, include, err)
		}
		text.Write(part)
	}
	text.Write(body)
	sum := sha1.Sum([]byte(text.String()))
	return &script{name: name, text: text.String(), sha: hex.EncodeToString(sum[:])}, nil
}

// run runs a script, and again while Redis cannot be reached: every script
// finds what it wrote before and answers alike. The client's own retries are
// as harmless for the same reason.
func (s *Store) run(ctx context.Context, sc *script, keys []string, args ...any) ([]any, error) {
	var reply []any
	err := s.retry(ctx, func() error {
		v, err := s.eval(ctx, sc, keys, args)
		if err != nil {
			return err
		}
		var ok bool
		if reply, ok = v.([]any); !ok {
			reply = []any{v}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("redisstore: %s: %w", sc.name, err)
	}
	return reply, nil
}

func (s *Store) eval(ctx context.Context, sc *script, keys []string, args []any) (any, error) {
	sc.calls.Add(1)
	v, err := s.client.EvalSha(ctx, sc.sha, keys, args...).Result()
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		v, err = s.client.Eval(ctx, sc.text, keys, args...).Result()
	}
	return v, err
}

// retry calls f until it succeeds, fails for good, or Redis has been out of
// reach for as long as the configuration and the context allow. The second call
// comes at once: mostly it was one connection that went.
func (s *Store) retry(ctx context.Context, f func() error) error {
	last := f()
	if last == nil || ctx.Err() != nil || !unreachable(last) {
		return last
	}
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(10*time.Millisecond),
		backoff.WithMaxInterval(time.Second),
		backoff.WithMaxElapsedTime(s.giveUp),
	)
	err := backoff.Retry(func() error {
		err := f()
		switch {
		case err == nil:
			return nil
		case unreachable(err):
			last = err
			return err
		}
		return backoff.Permanent(err)
	}, backoff.WithContext(b, ctx))
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w; before that: %w", err, last)
	}
	return err
}

// unreachable tells errors that pass by themselves from those that stay. It
// does not ask for the context's errors: a dial that times out is one, too.
func unreachable(err error) bool {
	if errors.Is(err, redis.ErrClosed) {
		return false
	}
	var netErr net.Error
	if errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, redis.ErrPoolTimeout) {
		return true
	}
	return slices.ContainsFunc(passingReplies, func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) })
}

// passingReplies begin the errors, after ERR if it is there, of a server that
// starts, fails over, moves slots or is overrun.
var passingReplies = []string{"LOADING", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "BUSY ", "max number of clients reached"}

// Scripts returns how often each script was run, by name. Reads that need no
// script are not in it.
func (s *Store) Scripts() map[string]int64 {
	calls := make(map[string]int64)
	for name, sc := range s.scripts.byName() {
		calls[name] = (*sc).calls.Load()
	}
	return calls
}
