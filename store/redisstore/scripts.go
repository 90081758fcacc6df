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
	// shares says that it runs for each step or message and answers briefly: its
	// calls may go out with others.
	shares bool
}

// scripts are all the scripts there are.
type scripts struct {
	start, open, commit, renew, release, post, due, purge *script
	heartbeat, claim, complete, forget, adopt, define     *script
	record                                                *script
	lock, unlock, inspect                                 *script
	openJob, noteJob, closeJob, cancelJob                 *script
	showJob, listJobs, journal                            *script
	audit, audited, addItems, items                       *script
	putLetters, deleteLetters                             *script
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
	for _, sc := range []*script{s.start, s.open, s.commit, s.renew, s.post, s.claim, s.complete, s.putLetters, s.deleteLetters} {
		sc.shares = true
	}
	return s, nil
}

func (s *scripts) byName() map[string]**script {
	return map[string]**script{
		"start": &s.start, "open": &s.open, "commit": &s.commit, "renew": &s.renew,
		"release": &s.release, "post": &s.post, "due": &s.due, "purge": &s.purge,
		"heartbeat": &s.heartbeat, "claim": &s.claim, "complete": &s.complete,
		"forget": &s.forget, "record": &s.record, "adopt": &s.adopt, "define": &s.define,
		"lock": &s.lock, "unlock": &s.unlock, "inspect": &s.inspect,
		"openjob": &s.openJob, "notejob": &s.noteJob, "closejob": &s.closeJob, "canceljob": &s.cancelJob,
		"showjob": &s.showJob, "listjobs": &s.listJobs, "journal": &s.journal,
		"audit": &s.audit, "audited": &s.audited, "additems": &s.addItems, "items": &s.items,
		"putletters": &s.putLetters, "deleteletters": &s.deleteLetters,
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
	return newScript(name, text.String()), nil
}

func newScript(name, text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{name: name, text: text, sha: hex.EncodeToString(sum[:])}
}

// A caller calls a Redis, and again while it cannot be reached.
type caller struct {
	client redis.UniversalClient
	giveUp time.Duration
	group  *group // nil: each call goes by itself
}

// defaultGiveUp is for how long a caller tries unless told otherwise.
const defaultGiveUp = 15 * time.Second

// run runs a script, and again while Redis cannot be reached: every script
// finds what it wrote before and answers alike.
func (s *caller) run(ctx context.Context, sc *script, keys []string, args ...any) ([]any, error) {
	var reply []any
	group := s.group
	if !sc.shares {
		group = nil
	}
	err := s.retry(ctx, func(ctx context.Context) error {
		v, err := s.eval(ctx, group, sc, keys, args)
		group = nil // what failed others is not to do so again
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

func (s *caller) eval(ctx context.Context, group *group, sc *script, keys []string, args []any) (any, error) {
	cmd := command(ctx, "evalsha", sc.sha, keys, args)
	sc.calls.Add(1)
	var err error
	if group != nil && size(args) <= maxShared {
		var sent bool
		if sent, err = group.process(ctx, cmd); !sent {
			sc.calls.Add(-1)
		}
	} else {
		err = s.client.Process(ctx, cmd)
	}
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		cmd = command(ctx, "eval", sc.text, keys, args)
		err = s.client.Process(ctx, cmd)
	}
	if err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}

func command(ctx context.Context, name, sc string, keys []string, args []any) sentOnce {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, name, sc, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	return sentOnce{redis.NewCmd(ctx, append(all, args...)...)}
}

// size is how many bytes arguments have, but for numbers.
func size(args []any) (n int) {
	for _, arg := range args {
		switch arg := arg.(type) {
		case string:
			n += len(arg)
		case []byte:
			n += len(arg)
		}
	}
	return n
}

// sentOnce is a command that the client does not repeat by itself, however the
// caller has set it up: one call is one attempt, and the store alone says how
// many there are, and for how long.
type sentOnce struct{ *redis.Cmd }

func (sentOnce) NoRetry() bool { return true }

// retry calls f until it succeeds, fails for good, or Redis has been out of
// reach for as long as the configuration and the context allow. The second call
// comes at once: mostly it was one connection that went. The context that f gets
// ends when the time is up, whatever the client is about: its own retries of
// reads, or a dial.
func (s *caller) retry(ctx context.Context, f func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, s.giveUp)
	defer cancel()
	last := f(bounded)
	if last == nil || ctx.Err() != nil || !unreachable(last) {
		return last
	}
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(10*time.Millisecond),
		backoff.WithMaxInterval(time.Second),
		backoff.WithMaxElapsedTime(0), // the context's
	)
	err := bounded.Err()
	if err == nil {
		err = backoff.Retry(func() error {
			err := f(bounded)
			switch {
			case err == nil:
				return nil
			case !unreachable(err):
				return backoff.Permanent(err)
			case bounded.Err() == nil:
				last = err // one that was cut short tells less than the one before
			}
			return err
		}, backoff.WithContext(b, bounded))
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w; before that: %w", err, last)
	case unreachable(err):
		return fmt.Errorf("gave up after %s: %w", s.giveUp, last)
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
	return slices.ContainsFunc(passingReplies, func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) }) ||
		strings.Contains(err.Error(), outOfMemory)
}

// passingReplies begin the errors, after ERR if it is there, of a server that
// starts, fails over, moves slots or is overrun.
var passingReplies = []string{
	"LOADING", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOREPLICAS", "BUSY ", "max number of clients reached",
}

// outOfMemory is in the errors of a server that has no memory until something is
// purged or expires, which had the script write nothing: Redis refuses the first
// write of a script or none. Before Redis 7 it stands in the middle of one.
const outOfMemory = "OOM command not allowed"

// Scripts returns how often each script was sent to Redis, by name, repeats
// included. Reads that need no script are not in it.
func (s *Store) Scripts() map[string]int64 {
	calls := make(map[string]int64)
	for name, sc := range s.scripts.byName() {
		calls[name] = (*sc).calls.Load()
	}
	return calls
}
