package saga_test

import (
	"sync"
	"time"

	"github.com/waybill-dev/waybill/store/storetest"
)

// A mishap is what happens to one call to the store.
type mishap struct {
	name string
	// fault is what becomes of the call, at 0, and of those after it.
	fault func(after int, since time.Duration) storetest.Fault
	kills bool // the worker dies of it
	twice bool // effects are as if nothing had happened
	peer  bool // another worker is there to take over
}

var mishaps = []mishap{
	{name: "fails", fault: func(after int, _ time.Duration) storetest.Fault {
		if after > 0 {
			return storetest.Fault{}
		}
		return storetest.Fault{Before: storetest.ErrInjected}
	}},
	{name: "loses its answer", fault: func(after int, _ time.Duration) storetest.Fault {
		if after > 0 {
			return storetest.Fault{}
		}
		return storetest.Fault{After: storetest.ErrInjected}
	}},
	{name: "is made twice", twice: true, fault: func(after int, _ time.Duration) storetest.Fault {
		return storetest.Fault{Twice: after == 0}
	}},
	{name: "comes late", fault: func(after int, _ time.Duration) storetest.Fault {
		if after > 0 {
			return storetest.Fault{}
		}
		return storetest.Fault{Delay: 50 * time.Second}
	}},
	{name: "is answered when the lease is long over", peer: true, fault: func(after int, _ time.Duration) storetest.Fault {
		if after > 0 {
			return storetest.Fault{}
		}
		return storetest.Fault{Late: 3 * time.Minute}
	}},
	{name: "is the first of many that fail", fault: func(_ int, since time.Duration) storetest.Fault {
		if since > 100*time.Second {
			return storetest.Fault{}
		}
		return storetest.Fault{Before: storetest.ErrInjected}
	}},
	{name: "never comes from a dead worker", kills: true, fault: func(int, time.Duration) storetest.Fault {
		return storetest.Fault{Before: storetest.ErrInjected}
	}},
	{name: "is a dead worker's last", kills: true, fault: func(after int, _ time.Duration) storetest.Fault {
		if after > 0 {
			return storetest.Fault{Before: storetest.ErrInjected}
		}
		return storetest.Fault{After: storetest.ErrInjected}
	}},
}

// A meter counts a worker's calls to the store and brings the mishap.
type meter struct {
	mishap mishap
	k      int
	hit    chan struct{} // closed at the kth

	mu    sync.Mutex
	calls int
	idle  map[string]int
	since time.Time
}

// idleCalls is how many of those calls count that a coordinator makes all the
// time, whatever there is to do.
const idleCalls = 3

func (m *meter) fault(c storetest.Call) storetest.Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch c.Op {
	case "Due", "Heartbeat":
		if m.idle == nil {
			m.idle = make(map[string]int)
		}
		if m.idle[c.Op]++; m.idle[c.Op] > idleCalls {
			if m.since.IsZero() {
				return storetest.Fault{}
			}
			return m.mishap.fault(1, time.Since(m.since))
		}
	case "Get", "List", "Count", "History", "DefinitionVersions", "Definition", "PutDefinition":
		return storetest.Fault{}
	}
	if c.Op == "Heartbeat" && m.idle[c.Op] == 1 {
		return storetest.Fault{} // without this one Run fails, and says so
	}
	m.calls++
	switch {
	case m.k == 0 || m.calls < m.k:
		return storetest.Fault{}
	case m.calls == m.k:
		m.since = time.Now()
		close(m.hit)
	}
	return m.mishap.fault(m.calls-m.k, time.Since(m.since))
}

func (m *meter) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}
