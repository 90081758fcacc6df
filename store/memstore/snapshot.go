package memstore

import (
	"maps"
	"slices"

	"github.com/waybill-dev/waybill/store"
)

// A Snapshot is what a Store held at one moment.
type Snapshot struct {
	partitions  []partition
	definitions map[definition][]byte
	workers     map[string]int64
	claims      map[string]*claim
	letters     map[string]map[string]store.Letter
}

// Snapshot keeps what the store holds, for [Store.Restore].
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (&Snapshot{s.partitions, s.definitions, s.workers, s.claims, s.letters}).clone()
}

// Restore makes the store hold what it held then, and nothing else: a test sees what
// becomes of executions when a Redis that acknowledged their writes has lost the last
// ones. The snapshot is this store's, or one's with as many partitions.
func (s *Store) Restore(from *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := from.clone()
	if len(kept.partitions) != len(s.partitions) {
		panic("memstore: a snapshot of a store with another number of partitions")
	}
	copy(s.partitions, kept.partitions) // their number is read without the lock
	s.definitions, s.workers, s.claims, s.letters = kept.definitions, kept.workers, kept.claims, kept.letters
	clear(s.letterOrder)
}

// clone copies all that the store changes. Bytes it only replaces.
func (s *Snapshot) clone() *Snapshot {
	c := &Snapshot{partitions: slices.Clone(s.partitions), definitions: maps.Clone(s.definitions), workers: maps.Clone(s.workers)}
	c.claims = cloneMap(s.claims, func(x claim) claim { return x })
	c.letters = make(map[string]map[string]store.Letter, len(s.letters))
	for queue, letters := range s.letters {
		c.letters[queue] = maps.Clone(letters)
	}
	for i := range c.partitions {
		c.partitions[i] = c.partitions[i].clone()
	}
	return c
}

func (p partition) clone() partition {
	p.timers, p.tombstones, p.indexes = maps.Clone(p.timers), maps.Clone(p.tombstones), maps.Clone(p.indexes)
	for name, ids := range p.indexes {
		p.indexes[name] = maps.Clone(ids)
	}
	p.early = cloneMap(p.early, mailbox.clone)
	p.executions = cloneMap(p.executions, func(x execution) execution {
		x.frames, x.history, x.mailbox = maps.Clone(x.frames), slices.Clone(x.history), x.mailbox.clone()
		return x
	})
	p.locks = cloneMap(p.locks, func(l lock) lock {
		uses := func(list []*use) []*use {
			list = slices.Clone(list)
			for i, u := range list {
				c := *u
				list[i] = &c
			}
			return list
		}
		l.holders, l.queue, l.released = uses(l.holders), uses(l.queue), maps.Clone(l.released)
		return l
	})
	p.subjects = cloneMap(p.subjects, subject.clone)
	p.audits = maps.Clone(p.audits)
	for name, records := range p.audits {
		p.audits[name] = cloneMap(records, func(r audited) audited {
			r.pages = maps.Clone(r.pages)
			return r
		})
	}
	return p
}

func (s subject) clone() subject {
	s.jobs = cloneMap(s.jobs, func(j job) job {
		j.entries = maps.Clone(j.entries)
		return j
	})
	if s.open != nil {
		s.open = s.jobs[s.open.id]
	}
	return s
}

func (b mailbox) clone() mailbox {
	b.mail, b.seen, b.order = slices.Clone(b.mail), maps.Clone(b.seen), slices.Clone(b.order)
	return b
}

// cloneMap copies a map and what its values point to.
func cloneMap[K comparable, V any](m map[K]*V, clone func(V) V) map[K]*V {
	c := make(map[K]*V, len(m))
	for k, v := range m {
		x := clone(*v)
		c[k] = &x
	}
	return c
}
