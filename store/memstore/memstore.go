package memstore

import (
	"hash/fnv"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// DefaultPartitions is how many partitions a Store has unless told otherwise.
const DefaultPartitions = 256

// Config says how a Store is made. Its zero value is ready to use.
type Config struct {
	// Partitions is how many parts the executions are spread over, by the same
	// hash as in Redis. Below 1 it is DefaultPartitions.
	Partitions int

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Store implements the interfaces of package store in memory.
type Store struct {
	now func() int64 // in ms since 1970

	mu          sync.Mutex
	partitions  []partition
	definitions map[definition][]byte
	workers     map[string]int64 // until when each is taken to live
	claims      map[string]*claim
	letters     map[string]map[string]store.Letter // queue -> id
	letterOrder map[string][]string                // their ids, sorted, where nothing was put since
	sweepAt     int                                // number of claims at which the expired ones are dropped
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

// New makes an empty store.
func New(cfg Config) *Store {
	if cfg.Partitions < 1 {
		cfg.Partitions = DefaultPartitions
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{
		now:         func() int64 { return cfg.Now().UnixMilli() },
		partitions:  make([]partition, cfg.Partitions),
		definitions: make(map[definition][]byte),
		workers:     make(map[string]int64),
		claims:      make(map[string]*claim),
		letters:     make(map[string]map[string]store.Letter),
		letterOrder: make(map[string][]string),
	}
	for i := range s.partitions {
		s.partitions[i] = partition{
			executions: make(map[string]*execution),
			timers:     make(map[string]int64),
			tombstones: make(map[string]int64),
			early:      make(map[string]*mailbox),
			indexes:    make(map[string]map[string]int64),
			locks:      make(map[string]*lock),
			subjects:   make(map[string]*subject),
			audits:     make(map[string]map[string]*audited),
		}
	}
	return s
}

// Partitions implements store.Executions.
func (s *Store) Partitions() int { return len(s.partitions) }

// Partition implements store.Executions.
func (s *Store) Partition(id string) int {
	h := fnv.New64a()
	h.Write([]byte(id))
	return int(h.Sum64() % uint64(len(s.partitions)))
}

func (s *Store) partition(id string) *partition { return &s.partitions[s.Partition(id)] }

// A partition holds executions and what finds them. Times are in ms since 1970.
type partition struct {
	executions map[string]*execution
	timers     map[string]int64               // one wake-up an execution
	tombstones map[string]int64               // until when a purged id cannot be used
	indexes    map[string]map[string]int64    // index -> id -> start
	early      map[string]*mailbox            // of executions that are yet to start
	locks      map[string]*lock               // by resource
	forgetAt   int                            // number of locks at which free ones are dropped
	fence      int64                          // the last one given
	subjects   map[string]*subject            // that have or had jobs
	audits     map[string]map[string]*audited // subject -> id
	number     int64                          // of the last audit record
}

// gone reports whether a tombstone stands for the id.
func (p *partition) gone(id string, now int64) bool { return p.tombstones[id] > now }

// enlist puts an execution on an index.
func (p *partition) enlist(index, id string, started int64) {
	if p.indexes[index] == nil {
		p.indexes[index] = make(map[string]int64)
	}
	p.indexes[index][id] = started
}

// ceil is a duration in milliseconds, rounded up: a lease or a delay never ends
// before its time.
func ceil(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// ceilTime is a time in milliseconds since 1970, rounded up likewise.
func ceilTime(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}

// millis is the time of a stored number; 0 stands for none.
func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
