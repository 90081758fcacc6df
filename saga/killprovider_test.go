package saga_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/waybill-dev/waybill/internal/killtest"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

// An answer is what the provider makes of a call that it does not simply carry
// out.
type answer int

const (
	refuses answer = iota + 1 // always
	garbles                   // the first call is carried out and its answer garbled, and others are refused
	hangs                     // is carried out and never answered
	cancels                   // is answered once the execution's cancellation is ordered
	blocks                    // is refused until an operator retries
	fails                     // is carried out at the third call
	once                      // the first call is carried out, and others are refused
)

// A fare is a kind of order: the provider's answers to some of its calls, and
// what must become of it however often its workers are killed.
type fare struct {
	saga    string
	answers map[string]answer // by what is asked, such as "do A"
	status  saga.Status       // empty: it hangs on what is killed whether all is done or undone
	// calls are those that are made, without repeats; in a fork in any order.
	calls []string
	// unknown is the undo that is told of an unknown outcome.
	unknown string
}

var fares = map[string]fare{
	"row": {
		saga: "row", status: saga.Completed,
		calls: []string{"do A", "do B", "do C", "do D"},
	},
	"row-refused": {
		saga: "row", answers: map[string]answer{"do D": refuses}, status: saga.Compensated,
		calls: []string{"do A", "do B", "do C", "do D", "undo C", "undo B", "undo A"},
	},
	"row-garbled": {
		saga: "row", answers: map[string]answer{"do C": garbles}, status: saga.Compensated,
		calls:   []string{"do A", "do B", "do C", "undo C", "undo B", "undo A"},
		unknown: "undo C",
	},
	"row-hangs": {
		saga: "row", answers: map[string]answer{"do B": hangs}, status: saga.Compensated,
		calls:   []string{"do A", "do B", "undo B", "undo A"},
		unknown: "undo B",
	},
	"row-cancelled": {
		saga: "row", answers: map[string]answer{"do B": cancels}, status: saga.Compensated,
		calls: []string{"do A", "do B", "undo B", "undo A"},
	},
	"row-blocked": {
		saga: "row", answers: map[string]answer{"do D": refuses, "undo B": blocks}, status: saga.Compensated,
		calls: []string{"do A", "do B", "do C", "do D", "undo C", "undo B", "undo A"},
	},
	"fork": {
		saga: "fork", status: saga.Completed,
		calls: []string{"do A", "do D", "do P:0,M:0/I", "do P:0,M:1/I", "do P:0,M:2/I", "do P:0/X1", "do P:1/Y1", "do P:1/Y2"},
	},
	"fork-refused": {
		saga: "fork", answers: map[string]answer{"do D": refuses}, status: saga.Compensated,
	},
	"fork-branch": {saga: "fork", answers: map[string]answer{"do P:1/Y2": refuses}, status: saga.Compensated},
	"fork-item": {
		saga: "fork", answers: map[string]answer{"do P:0,M:1/I": garbles}, status: saga.Compensated, unknown: "undo P:0,M:1/I",
	},
	"fork-hangs": {
		saga: "fork", answers: map[string]answer{"do P:0/X1": hangs}, status: saga.Compensated, unknown: "undo P:0/X1",
	},
	"fork-cancelled": {saga: "fork", answers: map[string]answer{"do P:1/Y1": cancels}, status: saga.Compensated},
	"fork-blocked": {
		saga: "fork", answers: map[string]answer{"do D": refuses, "undo P:1/Y1": blocks}, status: saga.Compensated,
	},
}

// A killProvider is what the handlers of killed workers call, in the parent
// process. It has each effect once a key.
type killProvider struct {
	kinds  map[string]fare
	name   func(killtest.Call) string // of a call, in a fare's answers
	ledger killtest.Ledger
	// groups are the workers that call, by the path of the URL that they call.
	groups map[string]*killtest.Group
	client *saga.Client

	mu       sync.Mutex
	seen     map[string]int  // by key: calls
	had      map[string]bool // by key: effects
	retried  map[string]bool // by execution: an operator said so
	book     []bookEntry
	problems []string
	fences   map[string]fenced // by lock: the highest that has come
}

// A fenced execution is one that came under a fence.
type fenced struct {
	fence     int64
	execution string
}

// A bookEntry is a call that came, or one that had its effect.
type bookEntry struct {
	killtest.Call
	effect bool
}

func newKillProvider(kinds map[string]fare, name func(killtest.Call) string) *killProvider {
	return &killProvider{
		kinds: kinds, name: name, groups: make(map[string]*killtest.Group), seen: make(map[string]int),
		had: make(map[string]bool), retried: make(map[string]bool),
	}
}

// kind is what kind of an order an execution is, or belongs to.
func (p *killProvider) kind(execution string) fare {
	return p.kinds[strings.SplitN(execution, ".", 2)[0]]
}

// kills is how often workers were killed.
func (p *killProvider) kills() (n int) {
	for _, g := range p.groups {
		n += g.Kills()
	}
	return n
}

func (p *killProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	visit, err1 := strconv.Atoi(q.Get("visit"))
	attempt, err2 := strconv.Atoi(q.Get("attempt"))
	c := killtest.Call{
		Execution: q.Get("execution"), Frame: q.Get("frame"), Step: q.Get("step"), Visit: visit, Attempt: attempt,
		Undo: q.Get("undo") == "true", Outcome: q.Get("outcome"), Key: q.Get("key"), Redelivered: r.URL.Path == byParticipants,
	}
	group := p.groups[r.URL.Path]
	n := p.ledger.Begin(c, p.kills())
	p.write(bookEntry{Call: c})
	if err := errors.Join(err1, err2); err != nil {
		p.problem("%s of %s: %v", c.Name(), c.Execution, err)
	}
	if lock := q.Get("lock"); lock != "" {
		p.fence(lock, q.Get("fence"), c)
	}
	group.Step() // here nothing has happened,
	status, effect := p.answer(r, c)
	if effect {
		p.write(bookEntry{c, true})
	}
	if status == http.StatusOK {
		p.ledger.Answered(n, p.kills())
	}
	group.Step() // and here it has, and nobody knows
	if status != http.StatusOK {
		http.Error(w, fmt.Sprint(c.Name(), " is refused"), status)
	}
}

// fence holds a call to its lock: no fence comes after a higher one, or is another
// execution's.
func (p *killProvider) fence(lock, text string, c killtest.Call) {
	fence, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		p.problem("%s of %s: %v", c.Name(), c.Execution, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fences == nil {
		p.fences = make(map[string]fenced)
	}
	before := p.fences[lock]
	if fence < before.fence || fence == before.fence && c.Execution != before.execution {
		p.problems = append(p.problems, fmt.Sprintf("%s of %s comes under fence %d of %s, after %+v", c.Name(), c.Execution, fence, lock, before))
	}
	p.fences[lock] = fenced{max(fence, before.fence), c.Execution}
}

func (p *killProvider) write(e bookEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.effect && p.had[e.Key] {
		return // once
	}
	p.had[e.Key] = p.had[e.Key] || e.effect
	p.book = append(p.book, e)
}

// answer carries out a call, or does not, and returns the status of its answer.
func (p *killProvider) answer(r *http.Request, c killtest.Call) (status int, effect bool) {
	root, _, _ := strings.Cut(c.Execution, "/") // of which it is a child
	switch p.kind(c.Execution).answers[p.name(c)] {
	case refuses:
		return http.StatusConflict, false
	case garbles:
		if p.count(c.Key) == 1 {
			return http.StatusInternalServerError, true
		}
		return http.StatusConflict, false
	case once:
		if p.count(c.Key) > 1 {
			return http.StatusConflict, false
		}
	case fails:
		if p.count(c.Key) < 3 {
			return http.StatusServiceUnavailable, false
		}
	case hangs:
		<-r.Context().Done()
		return http.StatusInternalServerError, true
	case cancels:
		if err := p.client.Cancel(context.Background(), root, saga.Order{By: "ann"}); err != nil && !errors.Is(err, store.ErrEnded) {
			p.problem("cancel %s: %v", root, err)
		}
	case blocks:
		if !p.hasRetried(root) {
			return http.StatusConflict, false
		}
	}
	return http.StatusOK, true
}

func (p *killProvider) problem(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// count counts the calls under a key.
func (p *killProvider) count(key string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[key]++
	return p.seen[key]
}

func (p *killProvider) hasRetried(execution string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retried[execution]
}

// await waits for the end of an execution, as its operator.
func (p *killProvider) await(ctx context.Context, id string) error {
	for {
		x, err := p.client.Wait(ctx, id)
		if err != nil || x.Status != saga.Blocked {
			return err
		}
		if err := p.retry(ctx, id); err != nil {
			return err
		}
	}
}

// retry mends what an execution is blocked at.
func (p *killProvider) retry(ctx context.Context, id string) error {
	root, _, _ := strings.Cut(id, "/")
	p.mu.Lock()
	p.retried[root] = true
	p.mu.Unlock()
	return p.client.Retry(ctx, id, saga.Order{By: "ann"})
}
