package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
)

// AcquireLock implements store.Locks.
func (s *Store) AcquireLock(ctx context.Context, r store.LockRequest) (store.LockAnswer, error) {
	if err := r.Validate(); err != nil {
		return store.LockAnswer{}, err
	}
	k := s.keys.lock(r.Resource)
	a, err := s.ask(ctx, s.scripts.lock,
		[]string{k.record(), k.queue(), k.sharers(), k.released(), k.fence(), k.held()},
		r.Resource, r.Owner, r.Sharers(), r.Request, ceilTime(r.NotAfter))
	if err != nil {
		return store.LockAnswer{}, err
	}
	switch a.str(0) {
	case "HELD", "WAIT":
		return store.LockAnswer{Holder: a.lockUse(), Place: int(a.int(5))}, nil
	case "RELEASED":
		return store.LockAnswer{}, fmt.Errorf("lock %q: %w", r.Resource, store.ErrReleased)
	case "LATE":
		return store.LockAnswer{}, fmt.Errorf("lock %q: %w", r.Resource, store.ErrLate)
	}
	return store.LockAnswer{}, failure(a, "lock", r.Resource)
}

// ReleaseLock implements store.Locks.
func (s *Store) ReleaseLock(ctx context.Context, resource, request string, remember time.Duration) (store.LockUse, error) {
	if err := errors.Join(store.CheckLock(resource, request), store.CheckDuration("memory of a request", remember)); err != nil {
		return store.LockUse{}, err
	}
	k := s.keys.lock(resource)
	a, err := s.ask(ctx, s.scripts.unlock,
		[]string{k.record(), k.queue(), k.sharers(), k.released(), k.fence(), k.held()},
		resource, request, ceilMillis(remember))
	if err != nil {
		return store.LockUse{}, err
	}
	switch a.str(0) {
	case "HELD":
		return a.lockUse(), nil
	case "FREE":
		return store.LockUse{}, nil
	}
	return store.LockUse{}, failure(a, "unlock", resource)
}

// lockUse is the holder in an answer that begins with one more word.
func (a answer) lockUse() store.LockUse {
	return store.LockUse{Owner: a.str(1), Request: a.str(2), Fence: a.int(3), Since: a.time(4)}
}

// InspectLock implements store.Locks.
func (s *Store) InspectLock(ctx context.Context, resource string, waiters int) (store.LockState, error) {
	l := store.LockState{Resource: resource}
	if err := store.CheckID("lock", resource); err != nil {
		return l, err
	}
	k := s.keys.lock(resource)
	a, err := s.ask(ctx, s.scripts.inspect, []string{k.record(), k.queue(), k.sharers()}, max(waiters, 0))
	if err != nil || len(a) < 7 {
		return l, err
	}
	l.Holder = append(answer{""}, a...).lockUse()
	l.Waiting = int(a.int(4))
	l.Sharing, l.Queue = a.lockUses(5), a.lockUses(6)
	for i := range l.Sharing {
		l.Sharing[i].Fence, l.Sharing[i].Since = l.Holder.Fence, l.Holder.Since
	}
	return l, nil
}

// lockUses are requests with their uses: since when, how long the group's name
// is, that, and the owner.
func (a answer) lockUses(i int) (list []store.LockUse) {
	items, _ := a[i].([]any)
	pairs := answer(items)
	for j := 0; j+1 < len(pairs); j += 2 {
		since, rest, _ := strings.Cut(pairs.str(j+1), " ")
		length, rest, _ := strings.Cut(rest, " ")
		ms, _ := strconv.ParseInt(since, 10, 64)
		n, _ := strconv.Atoi(length)
		list = append(list, store.LockUse{Owner: rest[min(n, len(rest)):], Request: pairs.str(j), Since: millis(ms)})
	}
	return list
}

// ListLocks implements store.Locks. It reads offset+limit names of every
// partition: page with small offsets.
func (s *Store) ListLocks(ctx context.Context, offset, limit int) ([]string, error) {
	if limit < 1 || offset < 0 {
		return nil, nil
	}
	limit = min(limit, math.MaxInt-offset)
	cmds := make([]*redis.ZSliceCmd, s.keys.partitions)
	err := s.pipelined(ctx, func(p redis.Pipeliner) {
		for i := range cmds {
			cmds[i] = p.ZRangeWithScores(ctx, s.keys.locks(i), 0, int64(offset+limit-1))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("redisstore: list locks: %w", err)
	}
	var all []redis.Z
	for _, cmd := range cmds {
		all = append(all, cmd.Val()...)
	}
	slices.SortFunc(all, func(a, b redis.Z) int {
		return cmp.Or(cmp.Compare(a.Score, b.Score), cmp.Compare(a.Member.(string), b.Member.(string)))
	})
	all = all[min(offset, len(all)):min(offset+limit, len(all))]
	names := make([]string, len(all))
	for i, z := range all {
		names[i] = z.Member.(string)
	}
	return names, nil
}
