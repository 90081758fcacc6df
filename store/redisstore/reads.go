package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
)

// recordFields are what Get reads.
var recordFields = []string{"v", "s", "z", "h", store.RootFrame, "o", "c", "n", "w", "mn", "mt"}

// Get implements store.Executions.
func (s *Store) Get(ctx context.Context, id string) (*store.Record, error) {
	var values []any
	k := s.keys.execution(id)
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		values, err = s.client.HMGet(ctx, k.record(), recordFields...).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("redisstore: get %q: %w", id, err)
	}
	a := answer(values)
	if a.str(0) == "" {
		return nil, s.missing(ctx, k)
	}
	r := &store.Record{
		ID: id, Ended: a.str(2) != "", Meta: a.bytes(3), Root: a.bytes(4), Outbox: a.bytes(5),
		Unread: a.int(9) - a.int(10),
	}
	r.Version, r.Started, r.Match = origin(a.str(0))
	r.Status, r.Index, _ = strings.Cut(a.str(1), "\n")
	epoch, nonce, _ := strings.Cut(a.str(7), ":")
	r.Epoch = number(epoch)
	if nonce == "" {
		r.Wake = a.time(8)
	} else {
		r.LeaseUntil = a.time(8)
	}
	commit, openings, _ := strings.Cut(a.str(6), " ")
	r.Commit, r.Openings = commit, int(number(openings))
	return r, nil
}

// origin is what the field v holds.
func origin(v string) (version int, started time.Time, match string) {
	format, rest, _ := strings.Cut(v, " ")
	at, match, _ := strings.Cut(rest, " ")
	return int(number(format)), millis(number(at)), match
}

// missing tells whether an execution was purged or never was.
func (s *Store) missing(ctx context.Context, k executionKeys) error {
	var until float64
	var now time.Time
	err := s.retry(ctx, func(ctx context.Context) error {
		pipe := s.client.Pipeline()
		score := pipe.ZScore(ctx, k.tombstones(), k.id)
		clock := pipe.Time(ctx)
		_, err := pipe.Exec(ctx)
		if errors.Is(err, redis.Nil) {
			err = nil
		}
		until, now = score.Val(), clock.Val()
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("redisstore: get %q: %w", k.id, err)
	case int64(until) > now.UnixMilli():
		return fmt.Errorf("execution %q: %w", k.id, store.ErrGone)
	}
	return fmt.Errorf("execution %q: %w", k.id, store.ErrNotFound)
}

// field reads one field of an execution; a missing one is empty.
func (s *Store) field(ctx context.Context, id, name string) (value string, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		var err error
		value, err = s.client.HGet(ctx, s.keys.execution(id).record(), name).Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	return value, err
}

// Frames implements store.Executions.
func (s *Store) Frames(ctx context.Context, id string, names ...string) (map[string][]byte, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var values []any
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		values, err = s.client.HMGet(ctx, s.keys.execution(id).record(), names...).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("redisstore: frames of %q: %w", id, err)
	}
	frames := make(map[string][]byte, len(names))
	for i, name := range names {
		if v, ok := values[i].(string); ok {
			frames[name] = []byte(v)
		}
	}
	return frames, nil
}

// History implements store.Executions.
func (s *Store) History(ctx context.Context, id string, from int64, limit int) ([][]byte, error) {
	from, last := max(from, 0), int64(-1)
	if limit > 0 {
		last = from + int64(limit) - 1
	}
	var values []string
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		values, err = s.client.LRange(ctx, s.keys.execution(id).history(), from, last).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("redisstore: history of %q: %w", id, err)
	}
	entries := make([][]byte, len(values))
	for i, v := range values {
		entries[i] = []byte(v)
	}
	return entries, nil
}

// List implements store.Executions. It reads offset+limit ids of every
// partition: page with small offsets.
func (s *Store) List(ctx context.Context, index string, offset, limit int) ([]string, error) {
	if limit < 1 || offset < 0 {
		return nil, nil
	}
	limit = min(limit, math.MaxInt-offset)
	cmds := make([]*redis.ZSliceCmd, s.keys.partitions)
	err := s.pipelined(ctx, func(p redis.Pipeliner) {
		for i := range cmds {
			cmds[i] = p.ZRevRangeWithScores(ctx, s.keys.index(i, index), 0, int64(offset+limit-1))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("redisstore: list %q: %w", index, err)
	}
	var all []redis.Z
	for _, cmd := range cmds {
		all = append(all, cmd.Val()...)
	}
	slices.SortFunc(all, func(a, b redis.Z) int {
		if c := cmp.Compare(b.Score, a.Score); c != 0 {
			return c
		}
		// As Redis orders equal scores in reverse, so that pages fit together.
		return cmp.Compare(b.Member.(string), a.Member.(string))
	})
	all = all[min(offset, len(all)):min(offset+limit, len(all))]
	ids := make([]string, len(all))
	for i, z := range all {
		ids[i] = z.Member.(string)
	}
	return ids, nil
}

// walkPage is how many ids of a partition one call of a Walk reads.
const walkPage = 500

// Walk implements store.Executions. It reads the partitions one after the other,
// in pages from the oldest on. ZSCAN would do the same with less, but miniredis
// leaves out what others shift.
func (s *Store) Walk(ctx context.Context, index string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range s.keys.partitions {
			last, page := redis.Z{Member: ""}, walkPage
			for {
				found, err := s.indexed(ctx, i, index, last.Score, page)
				if err != nil {
					yield("", fmt.Errorf("redisstore: walk %q: %w", index, err))
					return
				}
				full := len(found) == page
				// Those that started together are in the order of their ids.
				found = slices.DeleteFunc(found, func(z redis.Z) bool {
					return z.Score == last.Score && z.Member.(string) <= last.Member.(string)
				})
				for _, z := range found {
					if !yield(z.Member.(string), nil) {
						return
					}
				}
				switch {
				case !full:
				case len(found) > 0:
					last, page = found[len(found)-1], walkPage
					continue
				default: // more started together than a page holds
					page *= 2
					continue
				}
				break
			}
		}
	}
}

// indexed reads what a partition has of an index, from a score on.
func (s *Store) indexed(ctx context.Context, partition int, index string, from float64, limit int) (found []redis.Z, err error) {
	err = s.retry(ctx, func(ctx context.Context) (err error) {
		found, err = s.client.ZRangeByScoreWithScores(ctx, s.keys.index(partition, index), &redis.ZRangeBy{
			Min: strconv.FormatFloat(from, 'f', -1, 64), Max: "+inf", Count: int64(limit),
		}).Result()
		return err
	})
	return found, err
}

// Count implements store.Executions.
func (s *Store) Count(ctx context.Context, index string) (int64, error) {
	cmds := make([]*redis.IntCmd, s.keys.partitions)
	err := s.pipelined(ctx, func(p redis.Pipeliner) {
		for i := range cmds {
			cmds[i] = p.ZCard(ctx, s.keys.index(i, index))
		}
	})
	if err != nil {
		return 0, fmt.Errorf("redisstore: count %q: %w", index, err)
	}
	var n int64
	for _, cmd := range cmds {
		n += cmd.Val()
	}
	return n, nil
}

// Due implements store.Executions. It looks at the first timer of every
// partition in one pipelined call, and runs the script only where one is due.
func (s *Store) Due(ctx context.Context, partitions []int, limit int, d time.Duration) ([]string, error) {
	if len(partitions) == 0 || limit < 1 {
		return nil, nil
	}
	if err := errors.Join(store.CheckPartitions(partitions, s.keys.partitions), store.CheckDuration("hiding", d)); err != nil {
		return nil, err
	}
	due, err := s.duePartitions(ctx, partitions)
	if err != nil {
		return nil, fmt.Errorf("redisstore: due: %w", err)
	}
	var ids []string
	for _, n := range due {
		for len(ids) < limit {
			most := min(limit-len(ids), maxDue)
			a, err := s.ask(ctx, s.scripts.due, []string{s.keys.timers(n)}, most, ceilMillis(d))
			if err != nil {
				return ids, err
			}
			for i := range a {
				ids = append(ids, a.str(i))
			}
			if len(a) < most {
				break
			}
		}
	}
	return ids, nil
}

// duePartitions returns the partitions where something is due, the one that
// has waited longest first: under a backlog that is larger than what is asked
// for, none starves.
func (s *Store) duePartitions(ctx context.Context, partitions []int) ([]int, error) {
	firsts := make([]*redis.ZSliceCmd, len(partitions))
	var clock *redis.TimeCmd
	err := s.pipelined(ctx, func(p redis.Pipeliner) {
		for i, n := range partitions {
			firsts[i] = p.ZRangeWithScores(ctx, s.keys.timers(n), 0, 0)
		}
		clock = p.Time(ctx)
	})
	if err != nil {
		return nil, err
	}
	now := float64(clock.Val().UnixMilli())
	var due []int
	since := make(map[int]float64)
	for i, n := range partitions {
		first := firsts[i].Val()
		if len(first) == 0 || first[0].Score > now {
			continue
		}
		if _, twice := since[n]; !twice {
			since[n] = first[0].Score
			due = append(due, n)
		}
	}
	slices.SortStableFunc(due, func(a, b int) int { return cmp.Compare(since[a], since[b]) })
	return due, nil
}

// maxDue keeps one call of the script, which passes all it finds to ZADD,
// below what a Lua call takes.
const maxDue = 1000

func (s *Store) pipelined(ctx context.Context, queue func(redis.Pipeliner)) error {
	return s.retry(ctx, func(ctx context.Context) error {
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			queue(p)
			return nil
		})
		return err
	})
}
