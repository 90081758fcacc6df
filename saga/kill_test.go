package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"github.com/waybill-dev/waybill/store/redisstore"
)

// The environment of a worker process, and how often workers are killed.
const (
	workerEnv = "WAYBILL_SAGA_WORKER" // "redis address,namespace,provider URL"
	soakEnv   = "WAYBILL_SOAK"        // number of kills; a few by default
)

// An order is the state of the sagas that workers are killed in.
type order struct{ Log []string }

// orderSaga is a saga whose handlers call the provider at a URL.
func orderSaga(provider string) *saga.Saga[order] {
	call := func(ctx context.Context) error {
		info := saga.StepFrom(ctx)
		query := url.Values{
			"key": {info.Key}, "execution": {info.Execution}, "step": {info.Step},
			"undo": {strconv.FormatBool(info.Undo)}, "attempt": {strconv.Itoa(info.Attempt)},
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
	step := func(name string) *saga.Step[order] {
		return saga.Do(name, func(ctx context.Context, o *order) error {
			o.Log = append(o.Log, name)
			return call(ctx)
		}).Timeout(500 * time.Millisecond).
			Retry(saga.Retry{Attempts: saga.Forever, Initial: 10 * time.Millisecond, Max: 100 * time.Millisecond})
	}
	undone := func(name string) *saga.Step[order] {
		return step(name).UndoRetry(saga.Retry{Attempts: saga.Forever, Initial: 10 * time.Millisecond, Max: 100 * time.Millisecond}).
			Undo(func(ctx context.Context, _ *order, _ saga.Outcome) error { return call(ctx) })
	}
	return saga.New("order", undone("A"), undone("B"), undone("C"), step("D"))
}

// killLease is short, so that what a killed worker held goes on soon.
const killLease = 300 * time.Millisecond

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
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: st, Sagas: []saga.Definer{orderSaga(provider)}, Lease: killLease, Sweep: 50 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	return c.Run(context.Background())
}

// A ledger is the provider in the parent process. It has an effect once a key,
// and refuses the last step of every third order.
type ledger struct {
	step func() // tells the killer

	mu       sync.Mutex
	done     map[string]map[string]bool // by execution: keys whose effect happened
	log      map[string][]string        // by execution: effects in their order
	attempts map[string]int
	problems []string
}

func newLedger(step func()) *ledger {
	return &ledger{step: step, done: make(map[string]map[string]bool), log: make(map[string][]string), attempts: make(map[string]int)}
}

func refused(execution string) bool {
	n, err := strconv.Atoi(strings.TrimPrefix(execution, "order-"))
	return err == nil && n%3 == 0
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.step() // here the effect has not happened,
	q := r.URL.Query()
	l.mu.Lock()
	no := q.Get("step") == "D" && refused(q.Get("execution"))
	if !no {
		l.have(q)
	}
	l.mu.Unlock()
	l.step() // and here it has, and nobody knows
	if no {
		http.Error(w, "refused", http.StatusConflict)
	}
}

func (l *ledger) have(q url.Values) {
	execution, step, key := q.Get("execution"), q.Get("step"), q.Get("key")
	effect, direction := "do "+step, "do"
	if q.Get("undo") == "true" {
		effect, direction = "undo "+step, "undo"
	}
	if want := execution + "/1//" + step + "/1/" + direction; key != want {
		l.problems = append(l.problems, fmt.Sprintf("%s of %s has key %q, want %q", effect, execution, key, want))
	}
	attempt, err := strconv.Atoi(q.Get("attempt"))
	if err != nil || attempt <= l.attempts[key] {
		l.problems = append(l.problems, fmt.Sprintf("%s: attempt %q comes after attempt %d", key, q.Get("attempt"), l.attempts[key]))
	}
	l.attempts[key] = attempt
	if l.done[execution] == nil {
		l.done[execution] = make(map[string]bool)
	}
	if l.done[execution][key] {
		return
	}
	l.done[execution][key] = true
	l.log[execution] = append(l.log[execution], effect)
}

// TestWorkersAreKilled lets worker processes be killed with SIGKILL in the
// middle of many sagas: all of them end, with each effect once a key, and what
// was done is undone in reverse.
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
	orders := 12 * kills
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills, %d sagas", seed, kills, orders)

	var group *killtest.Group
	step := func() { group.Step() }
	proxy, err := killtest.NewProxy(address, step)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	books := newLedger(step)
	provider := httptest.NewServer(books)
	defer provider.Close()
	namespace := testserver.Namespace(t)
	group, err = killtest.New(killtest.Config{
		Command: func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), workerEnv+"="+strings.Join([]string{proxy.Addr(), namespace, provider.URL}, ","))
			return cmd
		},
		Workers: 2, Kills: kills, Every: 120, Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(kills)*2*time.Second)
	defer cancel()
	db := redis.NewClient(&redis.Options{Addr: address}) // not through the proxy
	defer db.Close()
	st, err := redisstore.Open(ctx, redisstore.Config{Client: db, Namespace: namespace, Partitions: 8, AcceptUnknownEviction: true})
	if err != nil {
		t.Fatal(err)
	}
	client := outsider(t, st)
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- group.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	s := orderSaga(provider.URL)
	for i := range orders {
		if _, err := s.Start(ctx, client, fmt.Sprint("order-", i), order{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range orders {
		if _, err := client.Wait(ctx, fmt.Sprint("order-", i)); err != nil {
			t.Fatalf("after %d kills: %v", group.Kills(), err)
		}
	}
	t.Logf("%d kills", group.Kills())
	if group.Kills() == 0 {
		t.Error("nobody was killed")
	}
	books.mu.Lock()
	defer books.mu.Unlock()
	for _, problem := range books.problems {
		t.Error(problem)
	}
	for i := range orders {
		checkOrder(t, client, books, s.Definition(), fmt.Sprint("order-", i))
	}
	audited(t, st, client, "order")
}

func checkOrder(t *testing.T, client *saga.Client, books *ledger, def *saga.Definition, id string) {
	t.Helper()
	x, err := client.Get(t.Context(), id)
	if err != nil {
		t.Error(err)
		return
	}
	h, err := client.History(t.Context(), id)
	if err != nil {
		t.Error(err)
		return
	}
	status, want := saga.Completed, []string{"do A", "do B", "do C", "do D"}
	if refused(id) {
		status, want = saga.Compensated, []string{"do A", "do B", "do C", "undo C", "undo B", "undo A"}
	}
	if got := books.log[id]; x.Status != status || !slices.Equal(got, want) {
		t.Errorf("%s is %s with the effects %q, want %s with %q", id, x.Status, got, status, want)
	}
	for _, problem := range auditHistory(def, x.Status, h) {
		t.Errorf("%s: %s", id, problem)
	}
	var state order
	if err := json.Unmarshal(x.State, &state); err != nil {
		t.Error(err)
	}
	if n := len(want); status == saga.Completed && len(state.Log) != n {
		t.Errorf("%s ends with the state %v", id, state.Log)
	}
}
