package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
)

// DefaultPartitions is how many partitions a namespace has unless told
// otherwise.
const DefaultPartitions = 256

// Config says where a Store keeps its data.
type Config struct {
	// Client reaches Redis. It stays the caller's to close. One made with
	// ContextTimeoutEnabled lets go of a call as soon as its context ends or
	// GiveUp is over; others do after their ReadTimeout. Required.
	Client redis.UniversalClient

	// Namespace begins the name of every key. Letters, digits, - and _.
	// Required.
	Namespace string

	// Partitions is how many parts the executions are spread over; it limits
	// how many coordinators, and nodes of a cluster, share the work. It is
	// fixed when the namespace is first used. Defaults to 256; 0 also takes
	// over whatever the namespace was made with.
	Partitions int

	// Existing opens only a namespace that is in use, and answers
	// [store.ErrNotFound] for another instead of making it: for those who only
	// look, whose namespace may be a typing error.
	Existing bool

	// GiveUp is for how long a call tries while Redis cannot be reached, if its
	// context allows. Scripts are tried by the store alone, whatever MaxRetries
	// the client has; its retries of reads end with GiveUp, too. A call that is
	// under way then ends at once with ContextTimeoutEnabled, else after the
	// client's ReadTimeout; one that carries others of the same moment (see the
	// package documentation) ends with the last of them. Defaults to 15 s.
	GiveUp time.Duration

	// AcceptUnknownEviction starts on a server that does not show its
	// maxmemory-policy. Set it once you have made sure that it is noeviction.
	AcceptUnknownEviction bool
}

// EvictionError reports a Redis that may evict keys, or does not say.
type EvictionError struct {
	Policy string // empty where the server does not show it
	Err    error  // why it could not be read
}

func (e *EvictionError) Error() string {
	if e.Policy == "" {
		return fmt.Sprintf("redisstore: cannot read Redis's maxmemory-policy (%v): make sure it is noeviction and set Config.AcceptUnknownEviction", e.Err)
	}
	return fmt.Sprintf("redisstore: Redis's maxmemory-policy is %s and would evict what must not be lost: set it to noeviction", e.Policy)
}

func (e *EvictionError) Unwrap() error { return e.Err }

// Store implements the interfaces of package store on Redis.
type Store struct {
	caller
	keys    keys
	scripts *scripts
}

var (
	_ store.Executions  = (*Store)(nil)
	_ store.Definitions = (*Store)(nil)
	_ store.Members     = (*Store)(nil)
	_ store.Idempotency = (*Store)(nil)
	_ store.KeyRecords  = (*Store)(nil)
	_ store.Locks       = (*Store)(nil)
	_ store.Jobs        = (*Store)(nil)
	_ store.Audit       = (*Store)(nil)
	_ store.Catalogue   = (*Store)(nil)
)

// Open checks the server and the namespace, and makes the namespace at its
// first use. It fails with an EvictionError or a store.FormatError, or because
// Redis cannot be reached.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Client == nil {
		return nil, errors.New("redisstore: Config.Client is nil")
	}
	if err := checkNamespace("Config.Namespace", cfg.Namespace); err != nil {
		return nil, err
	}
	if cfg.Partitions < 0 || cfg.Partitions > 16384 {
		return nil, fmt.Errorf("redisstore: Config.Partitions is %d, want 1 to 16384", cfg.Partitions)
	}
	if cfg.GiveUp < 0 {
		return nil, fmt.Errorf("redisstore: Config.GiveUp is %s, want it positive", cfg.GiveUp)
	}
	sc, err := loadScripts()
	if err != nil {
		return nil, err
	}
	s := &Store{
		caller:  caller{client: cfg.Client, giveUp: cmp.Or(cfg.GiveUp, defaultGiveUp), group: newGroup(cfg.Client)},
		keys:    keys{namespace: cfg.Namespace, partitions: DefaultPartitions},
		scripts: sc,
	}
	if cfg.Partitions > 0 {
		s.keys.partitions = cfg.Partitions
	}
	if err := s.checkEviction(ctx, cfg.AcceptUnknownEviction); err != nil {
		return nil, err
	}
	if err := s.adopt(ctx, cfg.Partitions, cfg.Existing); err != nil {
		return nil, err
	}
	return s, nil
}

// adopt compares the namespace's settings with ours, or records ours.
func (s *Store) adopt(ctx context.Context, partitions int, existing bool) error {
	record := strconv.Itoa(s.keys.partitions)
	if existing {
		record = ""
	}
	reply, err := s.run(ctx, s.scripts.adopt, []string{s.keys.settings()}, store.FormatVersion, record)
	if err != nil {
		return err
	}
	r := answer(reply)
	if existing && r.str(0) == "" && r.str(1) == "" {
		return fmt.Errorf("redisstore: namespace %q is not in use on this Redis: %w", s.keys.namespace, store.ErrNotFound)
	}
	if format := r.str(0); format != strconv.Itoa(store.FormatVersion) {
		return &store.FormatError{
			What: fmt.Sprintf("the format of namespace %q", s.keys.namespace),
			Got:  cmp.Or(format, "not recorded"), Want: strconv.Itoa(store.FormatVersion),
		}
	}
	recorded := int(r.int(1))
	if partitions != 0 && recorded != partitions {
		return &store.FormatError{
			What: fmt.Sprintf("the number of partitions of namespace %q", s.keys.namespace),
			Got:  strconv.Itoa(recorded), Want: strconv.Itoa(partitions),
		}
	}
	s.keys.partitions = recorded
	return nil
}

func (s *caller) checkEviction(ctx context.Context, acceptUnknown bool) error {
	check := func(ctx context.Context, c redis.Cmdable) error {
		policy, err := evictionPolicy(ctx, c)
		switch {
		case err != nil && unreachable(err):
			return fmt.Errorf("redisstore: reach Redis: %w", err)
		case err != nil && acceptUnknown:
			return nil
		case err != nil:
			return &EvictionError{Err: err}
		case policy != "noeviction":
			return &EvictionError{Policy: policy}
		}
		return nil
	}
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return check(ctx, c) })
	}
	return check(ctx, s.client)
}

// evictionPolicy asks INFO first: services that forbid CONFIG show it there.
func evictionPolicy(ctx context.Context, c redis.Cmdable) (string, error) {
	info, err := c.Info(ctx, "memory").Result()
	if err == nil {
		for line := range strings.Lines(info) {
			if policy, ok := strings.CutPrefix(line, "maxmemory_policy:"); ok {
				return strings.TrimSpace(policy), nil
			}
		}
	}
	if err != nil && unreachable(err) {
		return "", err
	}
	config, err := c.ConfigGet(ctx, "maxmemory-policy").Result()
	if err != nil {
		return "", err
	}
	policy, ok := config["maxmemory-policy"]
	if !ok {
		return "", errors.New("neither INFO nor CONFIG shows it")
	}
	return policy, nil
}

// Partitions returns the namespace's number of partitions.
func (s *Store) Partitions() int { return s.keys.partitions }

// Partition returns the partition that an id belongs to.
func (s *Store) Partition(id string) int { return s.keys.partition(id) }
