package memstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// Due implements store.Executions.
func (s *Store) Due(ctx context.Context, partitions []int, limit int, d time.Duration) ([]string, error) {
	if len(partitions) == 0 || limit < 1 {
		return nil, nil
	}
	if err := errors.Join(store.CheckPartitions(partitions, len(s.partitions)), store.CheckDuration("hiding", d)); err != nil {
		return nil, err
	}
	if err := s.begin(ctx, "due", ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	due := make(map[*partition][]timer)
	var order []*partition
	for _, n := range partitions {
		p := &s.partitions[n]
		if _, ok := due[p]; ok {
			continue
		}
		if timers := p.due(now); len(timers) > 0 {
			due[p] = timers
			order = append(order, p)
		}
	}
	// The partition that has waited longest goes first, so that none starves.
	slices.SortStableFunc(order, func(a, b *partition) int { return cmp.Compare(due[a][0].at, due[b][0].at) })
	var ids []string
	for _, p := range order {
		for _, t := range due[p][:min(limit-len(ids), len(due[p]))] {
			ids = append(ids, t.id)
			p.timers[t.id] = now + ceil(d)
		}
	}
	return ids, nil
}

type timer struct {
	id string
	at int64
}

// due returns the timers that have come, earliest first.
func (p *partition) due(now int64) []timer {
	var timers []timer
	for id, at := range p.timers {
		if at <= now {
			timers = append(timers, timer{id, at})
		}
	}
	slices.SortFunc(timers, func(a, b timer) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id))
	})
	return timers
}

// Get implements store.Executions.
func (s *Store) Get(ctx context.Context, id string) (*store.Record, error) {
	if err := s.begin(ctx, "get", id); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partition(id)
	x := p.executions[id]
	if x == nil {
		return nil, fmt.Errorf("execution %q: %w", id, p.missing(id, s.now()))
	}
	r := &store.Record{
		ID: id, Version: store.FormatVersion, Status: x.status, Ended: x.ended, Match: x.match,
		Index: x.index, Meta: clone(x.meta), Root: clone(x.frames[store.RootFrame]), Outbox: clone(x.outbox),
		Commit: x.commit, Epoch: x.epoch, LeaseUntil: millis(x.until), Wake: millis(x.wake),
		Unread: x.posted - x.absorbed, Started: millis(x.started), Openings: x.openings,
	}
	return r, nil
}

// Frames implements store.Executions.
func (s *Store) Frames(ctx context.Context, id string, names ...string) (map[string][]byte, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if err := s.begin(ctx, "frames of", id); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	frames := make(map[string][]byte, len(names))
	if x := s.partition(id).executions[id]; x != nil {
		for _, name := range names {
			if frame, ok := x.frames[name]; ok {
				frames[name] = append([]byte{}, frame...)
			}
		}
	}
	return frames, nil
}

// History implements store.Executions.
func (s *Store) History(ctx context.Context, id string, from int64, limit int) ([][]byte, error) {
	if err := s.begin(ctx, "history of", id); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.partition(id).executions[id]
	if x == nil {
		return nil, nil
	}
	from = max(from, 0)
	entries := x.history[min(from, int64(len(x.history))):]
	if limit > 0 {
		entries = entries[:min(limit, len(entries))]
	}
	return cloneAll(entries), nil
}

// List implements store.Executions.
func (s *Store) List(ctx context.Context, index string, offset, limit int) ([]string, error) {
	if limit < 1 || offset < 0 {
		return nil, nil
	}
	if err := s.begin(ctx, "list", index); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []timer
	for _, p := range s.partitions {
		for id, started := range p.indexes[index] {
			all = append(all, timer{id, started})
		}
	}
	slices.SortFunc(all, func(a, b timer) int {
		return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.id, a.id))
	})
	all = all[min(offset, len(all)):]
	all = all[:min(limit, len(all))]
	ids := make([]string, len(all))
	for i, t := range all {
		ids[i] = t.id
	}
	return ids, nil
}

// Walk implements store.Executions.
func (s *Store) Walk(ctx context.Context, index string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range s.partitions {
			ids, err := s.indexed(ctx, &s.partitions[i], index)
			if err != nil {
				yield("", err)
				return
			}
			for _, id := range ids {
				if !yield(id, nil) {
					return
				}
			}
		}
	}
}

// indexed returns what a partition has of an index.
func (s *Store) indexed(ctx context.Context, p *partition, index string) ([]string, error) {
	if err := s.begin(ctx, "walk", index); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(p.indexes[index])), nil
}

// Count implements store.Executions.
func (s *Store) Count(ctx context.Context, index string) (int64, error) {
	if err := s.begin(ctx, "count", index); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int64
	for _, p := range s.partitions {
		n += int64(len(p.indexes[index]))
	}
	return n, nil
}
