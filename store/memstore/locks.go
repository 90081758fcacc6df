package memstore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A lock is one that is held, or whose released requests are remembered.
type lock struct {
	holders  []*use // of one group; none: it is free
	queue    []*use
	released map[string]int64 // until when each is remembered
	forgetAt int              // number of them at which those that were for long enough are dropped
}

// A use is a request for a lock. Times are in ms since 1970.
type use struct {
	owner, group, request string
	fence, since          int64
}

func (u *use) show() store.LockUse {
	return store.LockUse{Owner: u.owner, Request: u.request, Fence: u.fence, Since: millis(u.since)}
}

func showUses(uses []*use) (list []store.LockUse) {
	for _, u := range uses {
		list = append(list, u.show())
	}
	return list
}

// holder is who has the lock, or the first of those who share it.
func (l *lock) holder() store.LockUse {
	if len(l.holders) == 0 {
		return store.LockUse{}
	}
	return l.holders[0].show()
}

// grant makes a use the holder.
func (p *partition) grant(l *lock, u *use, now int64) {
	p.fence = max(p.fence+1, now*1000)
	u.fence, u.since = p.fence, now
	l.holders = []*use{u}
}

// place is a request's place in a list, from 1 on, or 0.
func place(list []*use, request string) int {
	return 1 + slices.IndexFunc(list, func(u *use) bool { return u.request == request })
}

// AcquireLock implements store.Locks.
func (s *Store) AcquireLock(ctx context.Context, r store.LockRequest) (store.LockAnswer, error) {
	if err := r.Validate(); err != nil {
		return store.LockAnswer{}, err
	}
	if err := s.begin(ctx, "lock", r.Resource); err != nil {
		return store.LockAnswer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(r.Resource), s.now()
	l := p.locks[r.Resource]
	if l == nil {
		l = new(lock)
	}
	if n := place(l.holders, r.Request); n > 0 {
		return store.LockAnswer{Holder: l.holders[n-1].show()}, nil
	}
	waits := place(l.queue, r.Request)
	shares := len(l.holders) > 0 && l.holders[0].group == r.Sharers()
	switch {
	case waits > 0 && !shares:
		return store.LockAnswer{Holder: l.holder(), Place: waits}, nil
	case waits > 0:
		l.queue = slices.Delete(l.queue, waits-1, waits)
	case l.released[r.Request] > now:
		return store.LockAnswer{}, fmt.Errorf("lock %q: %w", r.Resource, store.ErrReleased)
	case now > ceilTime(r.NotAfter):
		return store.LockAnswer{}, fmt.Errorf("lock %q: %w", r.Resource, store.ErrLate)
	}
	p.locks[r.Resource] = l
	u := &use{owner: r.Owner, group: r.Sharers(), request: r.Request, since: now}
	switch {
	case shares:
		u.fence, u.since = l.holders[0].fence, l.holders[0].since
		l.holders = append(l.holders, u)
	case len(l.holders) == 0:
		p.grant(l, u, now)
	default:
		l.queue = append(l.queue, u)
		return store.LockAnswer{Holder: l.holder(), Place: len(l.queue)}, nil
	}
	return store.LockAnswer{Holder: u.show()}, nil
}

// ReleaseLock implements store.Locks.
func (s *Store) ReleaseLock(ctx context.Context, resource, request string, remember time.Duration) (store.LockUse, error) {
	if err := store.CheckLock(resource, request); err != nil {
		return store.LockUse{}, err
	}
	if err := store.CheckDuration("memory of a request", remember); err != nil {
		return store.LockUse{}, err
	}
	if err := s.begin(ctx, "unlock", resource); err != nil {
		return store.LockUse{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, now := s.partition(resource), s.now()
	p.forgetLocks(now)
	l := p.locks[resource]
	if l == nil {
		l = new(lock)
		p.locks[resource] = l
	}
	l.remember(request, now+ceil(remember), now)
	if n := place(l.queue, request); n > 0 {
		l.queue = slices.Delete(l.queue, n-1, n)
	}
	if n := place(l.holders, request); n > 0 {
		l.holders = slices.Delete(l.holders, n-1, n)
		if len(l.holders) == 0 && len(l.queue) > 0 {
			next := l.queue[0]
			l.queue = l.queue[1:]
			p.grant(l, next, now)
		}
	}
	return l.holder(), nil
}

// remember keeps a request that was released, and drops others each time that
// their number has doubled.
func (l *lock) remember(request string, until, now int64) {
	if len(l.released) >= l.forgetAt {
		l.forget(now)
		l.forgetAt = max(64, 2*len(l.released))
	}
	if l.released == nil {
		l.released = make(map[string]int64)
	}
	l.released[request] = until
}

func (l *lock) forget(now int64) {
	maps.DeleteFunc(l.released, func(_ string, until int64) bool { return until <= now })
}

// forgetLocks drops locks that are free and of which nothing is remembered, each
// time that the number of locks has doubled.
func (p *partition) forgetLocks(now int64) {
	if len(p.locks) < p.forgetAt {
		return
	}
	maps.DeleteFunc(p.locks, func(_ string, l *lock) bool {
		l.forget(now)
		return len(l.holders)+len(l.released) == 0
	})
	p.forgetAt = max(1024, 2*len(p.locks))
}

// InspectLock implements store.Locks.
func (s *Store) InspectLock(ctx context.Context, resource string, waiters int) (store.LockState, error) {
	state := store.LockState{Resource: resource}
	if err := store.CheckID("lock", resource); err != nil {
		return state, err
	}
	if err := s.begin(ctx, "inspect lock", resource); err != nil {
		return state, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.partition(resource).locks[resource]
	if l == nil || len(l.holders) == 0 {
		return state, nil
	}
	state.Holder, state.Waiting = l.holder(), len(l.queue)
	waiters = max(waiters, 0)
	state.Sharing = showUses(l.holders[1:min(1+waiters, len(l.holders))])
	state.Queue = showUses(l.queue[:min(waiters, len(l.queue))])
	return state, nil
}

// ListLocks implements store.Locks.
func (s *Store) ListLocks(ctx context.Context, offset, limit int) ([]string, error) {
	if limit < 1 || offset < 0 {
		return nil, nil
	}
	if err := s.begin(ctx, "list locks", ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []timer
	for _, p := range s.partitions {
		for resource, l := range p.locks {
			if len(l.holders) > 0 {
				all = append(all, timer{resource, l.holders[0].since})
			}
		}
	}
	slices.SortFunc(all, func(a, b timer) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id))
	})
	all = all[min(offset, len(all)):]
	all = all[:min(limit, len(all))]
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = t.id
	}
	return names, nil
}
