package saga_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/internal/killtest"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// The environment of a worker process, and how often workers are killed.
const (
	workerEnv = "WAYBILL_SAGA_WORKER" // "redis address,namespace,provider URL"
	soakEnv   = "WAYBILL_SOAK"        // number of kills; a few by default
)

const (
	// killLease is short, so that what a killed worker held goes on soon.
	killLease = 400 * time.Millisecond
	// Every policy is finite. A step that is killed as often as that is given
	// up, with an unknown outcome, like one that hangs.
	killAttempts, killUndos = 4, 3
	killTimeout             = 600 * time.Millisecond
)

// An order is the state of the sagas that workers are killed in.
type order struct{ Log []string }

// ask makes a call of the provider at a URL for the handler that gets ctx.
func ask(ctx context.Context, provider string, outcome saga.Outcome) error {
	info := saga.StepFrom(ctx)
	query := url.Values{
		"execution": {info.Execution}, "frame": {info.Frame}, "step": {info.Step}, "visit": {strconv.Itoa(info.Visit)},
		"attempt": {strconv.Itoa(info.Attempt)}, "undo": {strconv.FormatBool(info.Undo)}, "outcome": {string(outcome)},
		"key": {info.Key},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, provider+"?"+query.Encode(), nil)
	if err != nil {
		return saga.NoEffect(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode == http.StatusConflict:
		return saga.Permanent(errors.New(string(text)))
	case response.StatusCode != http.StatusOK:
		return saga.Uncertain(errors.New(response.Status))
	}
	return nil
}

// killSagas are what workers are killed in: steps in a row, and branches of which
// one has items.
func killSagas(provider string) map[string]*saga.Saga[order] {
	step := func(name string) *saga.Step[order] {
		return saga.Do(name, func(ctx context.Context, o *order) error {
			o.Log = append(o.Log, name)
			return ask(ctx, provider, "")
		}).Timeout(killTimeout).
			Retry(saga.Retry{Attempts: killAttempts, Initial: 10 * time.Millisecond, Max: 100 * time.Millisecond})
	}
	undone := func(name string) *saga.Step[order] {
		return step(name).UndoRetry(saga.Retry{Attempts: killUndos, Initial: 10 * time.Millisecond, Max: 100 * time.Millisecond}).
			Undo(func(ctx context.Context, _ *order, outcome saga.Outcome) error { return ask(ctx, provider, outcome) })
	}
	items := func(*order) []order { return make([]order, 3) }
	return map[string]*saga.Saga[order]{
		"row": saga.New("row", undone("A"), undone("B"), undone("C"), step("D")),
		"fork": saga.New("fork", undone("A"),
			saga.Parallel("P",
				saga.Branch("x", undone("X1"), saga.ForEach("M", items, nil, undone("I"))),
				saga.Branch("y", undone("Y1"), undone("Y2")),
			).Merge(func(o *order, branches []order) error {
				for _, b := range branches {
					o.Log = append(o.Log, b.Log[len(o.Log):]...)
				}
				return nil
			}),
			step("D")),
	}
}

// work is the main function of a worker process.
func work(address, namespace, provider string) error {
	killtest.ExitWithParent()
	client := redis.NewClient(&redis.Options{Addr: address})
	st, err := redisstore.Open(context.Background(), redisstore.Config{
		Client: client, Namespace: namespace, Partitions: 8, AcceptUnknownEviction: true,
	})
	if err != nil {
		return err
	}
	var sagas []saga.Definer
	for _, s := range killSagas(provider) {
		sagas = append(sagas, s)
	}
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: st, Sagas: sagas, Lease: killLease, Sweep: 50 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	return c.Run(context.Background())
}

// An answer is what the provider makes of a call that it does not simply carry
// out.
type answer int

const (
	refuses answer = iota + 1 // always
	garbles                   // the first call is carried out and its answer garbled, and others are refused
	hangs                     // is carried out and never answered
	cancels                   // is answered once the execution's cancellation is ordered
	blocks                    // is refused until an operator retries
)

// A fare is a kind of order: the provider's answers to some of its calls, and
// what must become of it however often its workers are killed.
type fare struct {
	saga    string
	answers map[string]answer // by what is asked, such as "do A"
	status  saga.Status
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

// kind is what kind of an order an execution is.
func kind(execution string) fare { return fares[strings.SplitN(execution, ".", 2)[0]] }

// A provider of killed workers, in the parent process.
type killProvider struct {
	ledger killtest.Ledger
	group  *killtest.Group
	client *saga.Client

	mu       sync.Mutex
	seen     map[string]bool // by key: calls that are answered once
	retried  map[string]bool // by execution: an operator said so
	problems []string
}

func (p *killProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	visit, err1 := strconv.Atoi(q.Get("visit"))
	attempt, err2 := strconv.Atoi(q.Get("attempt"))
	c := killtest.Call{
		Execution: q.Get("execution"), Frame: q.Get("frame"), Step: q.Get("step"), Visit: visit, Attempt: attempt,
		Undo: q.Get("undo") == "true", Outcome: q.Get("outcome"), Key: q.Get("key"),
	}
	n := p.ledger.Begin(c, p.group.Kills())
	if err := errors.Join(err1, err2); err != nil {
		p.problem("%s of %s: %v", c.Name(), c.Execution, err)
	}
	p.group.Step() // here nothing has happened,
	status := p.answer(r, c)
	if status == http.StatusOK {
		p.ledger.Answered(n, p.group.Kills())
	}
	p.group.Step() // and here it has, and nobody knows
	if status != http.StatusOK {
		http.Error(w, fmt.Sprint(c.Name(), " is refused"), status)
	}
}

// answer carries out a call, or does not, and returns the status of its answer.
func (p *killProvider) answer(r *http.Request, c killtest.Call) int {
	switch kind(c.Execution).answers[c.Name()] {
	case refuses:
		return http.StatusConflict
	case garbles:
		if p.first(c.Key) {
			return http.StatusInternalServerError
		}
		return http.StatusConflict
	case hangs:
		<-r.Context().Done()
		return http.StatusInternalServerError
	case cancels:
		if err := p.client.Cancel(context.Background(), c.Execution, saga.Order{By: "ann"}); err != nil && !errors.Is(err, store.ErrEnded) {
			p.problem("cancel %s: %v", c.Execution, err)
		}
	case blocks:
		if !p.hasRetried(c.Execution) {
			return http.StatusConflict
		}
	}
	return http.StatusOK
}

func (p *killProvider) problem(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

func (p *killProvider) first(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	again := p.seen[key]
	p.seen[key] = true
	return !again
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
		p.mu.Lock()
		p.retried[id] = true
		p.mu.Unlock()
		if err := p.client.Retry(ctx, id, saga.Order{By: "ann"}); err != nil {
			return err
		}
	}
}

// TestWorkersAreKilled lets worker processes be killed with SIGKILL in the
// middle of sagas of all kinds, for as many times as it is told. All of them end
// as they must; attempts under one key only go up, no action comes after its
// undo, and what was done is undone in reverse of its dispatch.
func TestWorkersAreKilled(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) {
		server := miniredis.RunT(t)
		killWorkers(t, server.Addr())
	})
	if address, ok := testserver.Redis(t); ok {
		t.Run("redis", func(t *testing.T) { killWorkers(t, address) })
	}
}

func killWorkers(t *testing.T, address string) {
	kills := 5
	if text := os.Getenv(soakEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s is %q, want a number of kills", soakEnv, text)
		}
		kills = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, kills)

	p := &killProvider{seen: make(map[string]bool), retried: make(map[string]bool)}
	proxy, err := killtest.NewProxy(address, func() { p.group.Step() })
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	provider := httptest.NewServer(p)
	defer provider.Close()
	namespace := testserver.Namespace(t)
	p.group, err = killtest.New(killtest.Config{
		Command: func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), workerEnv+"="+strings.Join([]string{proxy.Addr(), namespace, provider.URL}, ","))
			return cmd
		},
		Workers: 2, Kills: kills, Every: 400, Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute+time.Duration(kills)*5*time.Second)
	defer stop()
	db := redis.NewClient(&redis.Options{Addr: address}) // not through the proxy
	defer db.Close()
	st, err := redisstore.Open(ctx, redisstore.Config{Client: db, Namespace: namespace, Partitions: 8, AcceptUnknownEviction: true})
	if err != nil {
		t.Fatal(err)
	}
	p.client = outsider(t, st)
	running, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.group.Run(running) }()
	defer func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	sagas := killSagas(provider.URL)
	ids := p.serve(ctx, t, sagas, kills)
	if got := p.group.Kills(); got != kills {
		t.Errorf("%d workers were killed, want %d", got, kills)
	}
	calls, repeats := p.ledger.Repeats()
	t.Logf("%d kills, %d sagas, %d calls, %d of them again for no reason", p.group.Kills(), len(ids), calls, repeats)
	if repeats > calls/20 {
		t.Errorf("%d of %d calls came again although they were answered and nobody was killed", repeats, calls)
	}
	for _, problem := range append(p.ledger.Problems(), p.problems...) {
		t.Error(problem)
	}
	spent := 0
	for _, id := range ids {
		if p.check(t, sagas[kind(id).saga].Definition(), id) {
			spent++
		}
	}
	if spent > len(ids)/2 {
		t.Errorf("%d of %d sagas ran out of attempts: too few are left to show anything", spent, len(ids))
	}
	for name := range sagas {
		audited(t, st, p.client, name)
	}
}

// serve starts orders of each kind in turn, some at once, until there were enough
// kills and each kind had its share, and waits for their ends.
func (p *killProvider) serve(ctx context.Context, t *testing.T, sagas map[string]*saga.Saga[order], kills int) (ids []string) {
	const atOnce, ofEach = 12, 3
	names := slices.Sorted(maps.Keys(fares))
	room := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	defer all.Wait()
	for n := 0; (n < ofEach*len(names) || p.group.Kills() < kills) && !t.Failed(); n++ {
		room <- struct{}{}
		id := fmt.Sprintf("%s.%d", names[n%len(names)], n)
		ids = append(ids, id)
		if _, err := sagas[kind(id).saga].Start(ctx, p.client, id, order{}); err != nil {
			t.Error(err)
			return ids
		}
		all.Go(func() {
			defer func() { <-room }()
			if err := p.await(ctx, id); err != nil {
				t.Errorf("after %d kills: %v", p.group.Kills(), err)
			}
		})
	}
	return ids
}

// check holds an execution to what must become of its kind, and reports whether
// it ran out of attempts, so that it may have come to another end.
func (p *killProvider) check(t *testing.T, def *saga.Definition, id string) (spent bool) {
	t.Helper()
	x, err := p.client.Get(t.Context(), id)
	if err != nil {
		t.Error(err)
		return false
	}
	events, err := p.client.History(t.Context(), id)
	if err != nil {
		t.Error(err)
		return false
	}
	want, calls := kind(id), p.ledger.Calls(id)
	problem := func(format string, args ...any) { t.Errorf("%s: %s", id, fmt.Sprintf(format, args...)) }

	var names, undone []string // without repeats
	var asCalls []call
	for i, c := range calls {
		if !c.Undo && len(undone) > 0 {
			problem("%s after %s", c.Name(), undone[len(undone)-1])
		}
		if !slices.Contains(names, c.Name()) {
			names = append(names, c.Name())
			if c.Undo {
				undone = append(undone, c.Name())
			}
		}
		direction := "/do"
		if c.Undo {
			direction = "/undo"
		}
		if key := id + "/1/" + c.Frame + "/" + c.Step + "/1" + direction; c.Key != key {
			problem("%s has key %q, want %q", c.Name(), c.Key, key)
		}
		if c.Undo && c.Name() == want.unknown && c.Outcome != string(saga.Unknown) {
			problem("%s is told of the outcome %q, want unknown", c.Name(), c.Outcome)
		}
		asCalls = append(asCalls, call{
			execution: id, frame: c.Frame, step: c.Step, undo: c.Undo, attempt: c.Attempt, key: c.Key,
			outcome: saga.Outcome(c.Outcome),
			// Once a key: of those that are refused for a while, the last.
			effect: want.answers[c.Name()] != refuses && i == lastWith(calls, c.Key),
		})
	}
	var inHistory []string
	blocked := false
	lost := make(map[string]bool) // actions with an attempt that nobody answered
	for _, e := range events {
		name := (killtest.Call{Frame: e.Frame, Step: e.Step}).Name()
		switch e.Type {
		case saga.TaskScheduled:
			spent = spent || e.Attempt >= killAttempts && want.answers[name] != hangs
		case saga.TaskTimedOut:
			lost[name] = true
		case saga.CompensationDone:
			inHistory = append(inHistory, (killtest.Call{Frame: e.Frame, Step: e.Step, Undo: true}).Name())
		case saga.ExecutionBlocked:
			blocked = true
		}
	}
	// The history is held to the order of dispatch, and the calls to the history.
	for _, complaint := range append(auditHistory(def, x.Status, events), auditEffects(def, x.Status, events, asCalls)...) {
		problem("%s", complaint)
	}
	if !slices.Equal(undone, inHistory) {
		problem("the undos %q came as %q", inHistory, undone)
	}
	if !x.Status.Ended() {
		problem("it is %s", x.Status)
	}
	if spent {
		return true
	}
	// A worker may be killed between the commit that dispatches an action and the
	// call: that action is unknown, and undone, although it never came here.
	names = slices.DeleteFunc(names, func(name string) bool {
		action, undo := strings.CutPrefix(name, "undo ")
		action = "do " + action
		return undo && lost[action] && !slices.Contains(names, action) && p.toldUnknown(calls, name)
	})
	if want.saga == "fork" {
		slices.Sort(names)
	}
	if x.Status != want.status || want.calls != nil && !slices.Equal(names, want.calls) {
		problem("it is %s after %q, want %s after %q", x.Status, names, want.status, want.calls)
	}
	if want.unknown != "" && !slices.Contains(undone, want.unknown) {
		problem("%s was not called", want.unknown)
	}
	if !blocked && slices.Contains(slices.Collect(maps.Values(want.answers)), blocks) {
		problem("it was never blocked")
	}
	if n := len(x.State); want.status == saga.Completed && strings.Count(string(x.State), ",") < 3 {
		problem("it ends with the state %s of %d bytes", x.State, n)
	}
	return false
}

// toldUnknown reports whether all calls of a name were told of an unknown outcome.
func (p *killProvider) toldUnknown(calls []killtest.Call, name string) bool {
	return !slices.ContainsFunc(calls, func(c killtest.Call) bool {
		return c.Name() == name && c.Outcome != string(saga.Unknown)
	})
}

func lastWith(calls []killtest.Call, key string) int {
	for i, c := range slices.Backward(calls) {
		if c.Key == key {
			return i
		}
	}
	return -1
}
