package saga

import (
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

// strangers are the executions that this process found due and cannot run.
type strangers struct {
	mu   sync.Mutex
	seen map[string]span // by id
}

type span struct {
	first, last time.Time
	commit      string // the execution's last, where that tells
}

// mostStrangers bounds the memory of them.
const mostStrangers = 10_000

// leave tells for how long an execution is left alone: not long at first,
// because somebody who can run it may be about to look, and ever longer as it
// keeps turning up, because perhaps there is nobody. Where the execution has moved
// since, there is somebody, and it is as if it turned up for the first time.
func (s *strangers) leave(id, commit string, cfg *CoordinatorConfig) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, longest := time.Now(), 2*cfg.Lease
	forgotten := func(_ string, sp span) bool { return now.Sub(sp.last) > 2*longest }
	if len(s.seen) >= mostStrangers {
		maps.DeleteFunc(s.seen, forgotten)
	}
	sp, known := s.seen[id]
	switch {
	case known && !forgotten(id, sp) && sp.commit == commit:
		sp.last = now
	case !known && len(s.seen) >= mostStrangers:
		return longest
	default:
		sp = span{first: now, last: now, commit: commit}
	}
	if s.seen == nil {
		s.seen = make(map[string]span)
	}
	s.seen[id] = sp
	d := min(max(now.Sub(sp.first)/8, cfg.Sweep/10), longest)
	return d/2 + rand.N(d/2+1) + time.Millisecond
}
