package redisstore

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
)

//go:embed barrier.lua
var barrierLua string

// BarrierConfig says where a Barrier keeps what it knows.
type BarrierConfig struct {
	// Client reaches the Redis that has the effects: the service's own, rather
	// than the one that keeps the sagas. It stays the caller's to close.
	// Required.
	Client redis.UniversalClient

	// Namespace begins the names of the barrier's keys. Letters, digits, - and _.
	// Required.
	Namespace string

	// Retention is how long the barrier knows of a call. An undo that comes
	// later than that after its action is not run, so it has to be longer than
	// any saga lasts from a step until it is undone, waits for people and for
	// operators included. At least [store.MinBarrierRetention], which tells more
	// and is the default: 15 days.
	Retention time.Duration

	// GiveUp is for how long a call tries while Redis cannot be reached, as in
	// [Config]. Defaults to 15 s.
	GiveUp time.Duration

	// AcceptUnknownEviction is as in [Config].
	AcceptUnknownEviction bool
}

// A Barrier lets a handler that owns a Redis have its effect there once, and
// undo it only where it is. It is to a Redis what saga.Barrier is to a SQL
// database; since Redis has no transactions that a program decides in, the
// effect is a script, and the barrier is put around it:
//
//	barrier, err := redisstore.OpenBarrier(ctx, redisstore.BarrierConfig{Client: client, Namespace: "accounts"})
//	...
//	func credit(ctx context.Context, f *Fare) error {
//		balance, err := barrier.Run(ctx, saga.StepFrom(ctx).Call(),
//			`return redis.call('INCRBY', KEYS[1], ARGV[1])`, []string{"account:{" + f.Customer + "}"}, f.Cents)
//		...
//	}
//
// The action and its undo go through the same barrier, with keys of the same
// slot. Whatever comes twice, late or in the wrong order:
//
//   - an action that is repeated is not run again; Run returns what the first
//     run returned;
//   - an undo whose action is not done is not run, since there is nothing to
//     undo, and the action is refused from then on;
//   - an action that comes after its undo is not run; Run returns a
//     [store.RefusedError], which package saga takes as permanent and not done;
//   - an undo that is repeated is not run again.
//
// An undo whose action is known to be done, and that the barrier knows nothing
// of, gets a [store.NoTraceError]: the two go through different barriers, or
// Redis has lost its last writes, the effect among them, or the retention is too
// short.
//
// # The script
//
// It is Lua as Redis runs it, and has its own keys and arguments in KEYS and ARGV
// from 1 on. It may return a string or a number, or a table, which becomes JSON;
// that is what Run returns, and what is kept for repeats. An undo has what its
// action returned in the variable kept, and "" where that was nothing.
//
// A script that answers an error, by redis.error_reply, has to have written
// nothing; nothing is remembered then, and the next attempt runs it anew. Redis
// does not take back what a script has written when it fails in the middle, and
// neither does the barrier: so let the script check before it writes.
//
// # Keys
//
// What the barrier knows of a call is a hash beside the effect, in the same slot,
// so that one script writes both, and a failover loses both or neither:
//
//	accounts:barrier:{anna}:ride-1/1//Credit/1
//
// with the tag that the script's keys have between { and }, which has to be the
// same in all of them, and in those of the undo. On a Redis Cluster they need
// one; elsewhere they may have none. A hash takes 200 bytes and the reply. Redis
// must not evict it, which OpenBarrier checks as Open does.
type Barrier struct {
	caller
	namespace string
	retention time.Duration
	cluster   bool
}

// OpenBarrier returns a barrier. It fails with an EvictionError, or because Redis
// cannot be reached.
func OpenBarrier(ctx context.Context, cfg BarrierConfig) (*Barrier, error) {
	if cfg.Client == nil {
		return nil, errors.New("redisstore: BarrierConfig.Client is nil")
	}
	if err := checkNamespace("BarrierConfig.Namespace", cfg.Namespace); err != nil {
		return nil, err
	}
	if cfg.Retention != 0 && cfg.Retention < store.MinBarrierRetention {
		return nil, fmt.Errorf("redisstore: BarrierConfig.Retention is %s, want at least %s, and longer than any saga lasts: an undo whose action is forgotten is not run", cfg.Retention, store.MinBarrierRetention)
	}
	if cfg.GiveUp < 0 {
		return nil, fmt.Errorf("redisstore: BarrierConfig.GiveUp is %s, want it positive", cfg.GiveUp)
	}
	_, cluster := cfg.Client.(*redis.ClusterClient)
	b := &Barrier{
		caller:    caller{client: cfg.Client, giveUp: cmp.Or(cfg.GiveUp, defaultGiveUp)},
		namespace: cfg.Namespace,
		retention: cmp.Or(cfg.Retention, store.MinBarrierRetention),
		cluster:   cluster,
	}
	if err := b.checkEviction(ctx, cfg.AcceptUnknownEviction); err != nil {
		return nil, err
	}
	return b, nil
}

// Run runs a script behind the barrier, or does not run it, as [Barrier] tells,
// and returns what it returned. The call of a handler of package saga is
// saga.StepFrom(ctx).Call(). Where a handler runs several scripts, each call
// needs its Part, or the second is taken for a repeat of the first.
//
// While Redis cannot be reached Run tries again, which the barrier makes
// harmless. Where it gives up, and the script may have been run for all that it
// knows, the error has a method Uncertain, which tells package saga. Errors that the script
// answered are those of the client, and can be told by [redis.HasErrorPrefix].
func (b *Barrier) Run(ctx context.Context, call store.Call, script string, keys []string, args ...any) (string, error) {
	id, undo, err := call.ID()
	if err != nil {
		return "", fmt.Errorf("redisstore: barrier: %w", err)
	}
	key, err := b.key(id, keys)
	if err != nil {
		return "", fmt.Errorf("redisstore: barrier %q: %w", id, err)
	}
	direction, known := "do", 0
	if undo {
		direction = "undo"
	}
	if call.Done {
		known = 1
	}
	sc := newScript("barrier", BarrierScript(script))
	allKeys := append([]string{key}, keys...)
	allArgs := append([]any{direction, ceilMillis(b.retention), known}, args...)
	var a answer
	mayHaveRun := false
	err = b.retry(ctx, func(ctx context.Context) error {
		v, err := b.eval(ctx, nil, sc, allKeys, allArgs)
		mayHaveRun = mayHaveRun || err != nil && !neverRan(err)
		a, _ = v.([]any)
		return err
	})
	if err != nil {
		err = fmt.Errorf("redisstore: barrier %q: %w", id, err)
		if mayHaveRun {
			err = &uncertainError{err}
		}
		return "", err
	}
	switch a.str(0) {
	case "RUN", "REPEATED":
		return a.str(1), nil
	case "EMPTY":
		return "", nil
	case "REFUSED":
		return "", &store.RefusedError{Key: call.Key}
	case "NOTRACE":
		return "", &store.NoTraceError{Key: call.Key}
	}
	return "", &uncertainError{fmt.Errorf("redisstore: barrier %q: it answers %q", id, a.str(0))}
}

// BarrierScript is the script that [Barrier.Run] makes of an effect's, for
// programs that use another client. A comment at its head tells its keys, its
// arguments and its answers.
func BarrierScript(effect string) string {
	return strings.Replace(barrierLua, "-- EFFECT", effect, 1)
}

// key is the name of the record of a call, in the slot of the script's keys.
func (b *Barrier) key(id string, keys []string) (string, error) {
	if len(keys) == 0 {
		return "", errors.New("the script has no keys: name those that it touches")
	}
	tag, tagged := hashTag(keys[0])
	for _, key := range keys[1:] {
		if other, ok := hashTag(key); other != tag || ok != tagged {
			return "", fmt.Errorf("the keys %q and %q are not in one slot: give them the same tag, as in account:{anna} and debts:{anna}", keys[0], key)
		}
	}
	if tagged {
		return b.namespace + ":barrier:{" + tag + "}:" + id, nil
	}
	if b.cluster {
		return "", fmt.Errorf("the key %q has no tag, and this is a Redis Cluster: name it like account:{anna}, so that the barrier's key is in its slot", keys[0])
	}
	return b.namespace + ":barrier:" + id, nil
}

// hashTag is the part of a key that decides on its slot, where it is not all of
// it.
func hashTag(key string) (tag string, ok bool) {
	_, rest, _ := strings.Cut(key, "{")
	if tag, _, ok = strings.Cut(rest, "}"); !ok || tag == "" {
		return "", false
	}
	return tag, true
}

// neverRan tells errors after which a script surely has not done its work: it
// was not sent, or it was answered with an error.
func neverRan(err error) bool {
	var reply redis.Error
	var op *net.OpError
	return errors.As(err, &reply) || errors.As(err, &op) && op.Op == "dial" ||
		errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrClosed)
}

// An uncertainError leaves open whether the script was run.
type uncertainError struct{ err error }

func (e *uncertainError) Error() string   { return e.err.Error() }
func (e *uncertainError) Unwrap() error   { return e.err }
func (e *uncertainError) Uncertain() bool { return true }
