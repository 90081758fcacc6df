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
	"github.com/waybill-dev/waybill/store/redisstore"
)

// The environment of a worker process, and how often workers are killed.
const (
	workerEnv = "WAYBILL_SAGA_WORKER" // its kind, and what that is told, with commas between
	soakEnv   = "WAYBILL_SOAK"        // number of kills; a few by default
)

// The kinds of workers, which are also the paths of the URLs by which they call
// the provider.
const (
	byWorkers      = "/worker"      // TestWorkersAreKilled's
	byCoordinators = "/coordinator" // TestFarWorkersAreKilled's
	byParticipants = "/participant"
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
type order struct {
	Log     []string
	Account int `json:",omitempty"`
}

// ask makes a call of the provider at a URL for the handler that gets ctx.
func ask(ctx context.Context, provider string, outcome saga.Outcome) error {
	info := saga.StepFrom(ctx)
	query := url.Values{
		"execution": {info.Execution}, "frame": {info.Frame}, "step": {info.Step}, "visit": {strconv.Itoa(info.Visit)},
		"attempt": {strconv.Itoa(info.Attempt)}, "undo": {strconv.FormatBool(info.Undo)}, "outcome": {string(outcome)},
		"key": {info.Key},
	}
	for lock, fence := range info.Locks {
		query.Set("lock", lock)
		query.Set("fence", strconv.FormatInt(fence, 10))
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
	case response.StatusCode == http.StatusServiceUnavailable:
		return saga.NoEffect(errors.New(response.Status))
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
	account := saga.Lock("account", func(o *order) string { return strconv.Itoa(o.Account) }).Wait(10 * time.Minute)
	items := func(*order) []order { return make([]order, 3) }
	return map[string]*saga.Saga[order]{
		"row": saga.New("row", undone("A"), undone("B").Lock(account), undone("C"), step("D")),
		"fork": saga.New("fork", undone("A").Lock(account),
			saga.Parallel("P",
				saga.Branch("x", undone("X1"), saga.ForEach("M", items, nil, undone("I"))),
				saga.Branch("y", undone("Y1"), undone("Y2")),
			).Merge(func(o *order, branches []order) error {
				before := len(o.Log)
				for _, b := range branches {
					o.Log = append(o.Log, b.Log[before:]...)
				}
				return nil
			}),
			step("D")),
	}
}

// work is the main function of a worker process.
func work(args []string) error {
	killtest.ExitWithParent()
	switch kind := args[0]; kind {
	case byWorkers:
		return workNear(args[1], args[2], args[3])
	case byCoordinators:
		return workFar(args[1], args[2], args[3], args[4])
	case byParticipants:
		return participate(args[1], args[2], args[3], args[4])
	default:
		return fmt.Errorf("%s begins with %q, which is no kind of worker", workerEnv, kind)
	}
}

// workerCommand is the command of a worker process.
func workerCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+strings.Join(args, ","))
	return cmd
}

// openKilled opens the store of killed workers.
func openKilled(ctx context.Context, address, namespace string) (*redisstore.Store, error) {
	return redisstore.Open(ctx, redisstore.Config{
		Client: redis.NewClient(&redis.Options{Addr: address}), Namespace: namespace, Partitions: 8, AcceptUnknownEviction: true,
	})
}

// workNear runs a coordinator of killSagas.
func workNear(address, namespace, provider string) error {
	st, err := openKilled(context.Background(), address, namespace)
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

// killCount is how many workers are killed, some by default.
func killCount(t *testing.T, some int) int {
	text := os.Getenv(soakEnv)
	if text == "" {
		return some
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a number of kills", soakEnv, text)
	}
	return n
}

func killWorkers(t *testing.T, address string) {
	kills, seed := killCount(t, 5), uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, kills)

	p := newKillProvider(fares, killtest.Call.Name)
	proxy, err := killtest.NewProxy(address, func() { p.groups[byWorkers].Step() })
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	provider := httptest.NewServer(p)
	defer provider.Close()
	namespace := testserver.Namespace(t)
	p.groups[byWorkers], err = killtest.New(killtest.Config{
		Command: func() *exec.Cmd { return workerCommand(byWorkers, proxy.Addr(), namespace, provider.URL+byWorkers) },
		Workers: 2, Kills: kills, Every: 400, Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute+time.Duration(kills)*5*time.Second)
	defer stop()
	st, err := openKilled(ctx, address, namespace) // not through the proxy
	if err != nil {
		t.Fatal(err)
	}
	p.client = outsider(t, st)
	defer p.run(ctx, t)()

	sagas := killSagas(provider.URL)
	ids := p.serve(ctx, t, 3, kills, func(id string) error {
		_, err := sagas[p.kind(id).saga].Start(ctx, p.client, id, order{Account: len(id) + int(id[len(id)-1])%3})
		return err
	})
	allUnlocked(ctx, t, st)
	if p.mu.Lock(); len(p.fences) < 3 {
		t.Errorf("the fences are %v: too few locks were taken to show anything", p.fences)
	}
	p.mu.Unlock()
	p.summarize(t, len(ids), kills)
	spent := 0
	for _, id := range ids {
		if p.check(t, sagas[p.kind(id).saga].Definition(), id) {
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

// allUnlocked waits until no lock is left: a worker that was killed at the end of
// an execution leaves that to the next.
func allUnlocked(ctx context.Context, t *testing.T, st *redisstore.Store) {
	t.Helper()
	for {
		left, err := st.ListLocks(ctx, 0, 10)
		if err != nil {
			t.Errorf("locks are left: %q, %v", left, err)
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// run runs the workers until what it returns is called.
func (p *killProvider) run(ctx context.Context, t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, g := range p.groups {
		all.Go(func() {
			if err := g.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// serve starts orders of each kind in turn, some at once, until there were enough
// kills and each kind had its share, and waits for their ends.
func (p *killProvider) serve(ctx context.Context, t *testing.T, ofEach, kills int, start func(id string) error) (ids []string) {
	const atOnce = 12
	names := slices.Sorted(maps.Keys(p.kinds))
	room := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	defer all.Wait()
	for n := 0; (n < ofEach*len(names) || p.kills() < kills) && !t.Failed(); n++ {
		room <- struct{}{}
		id := fmt.Sprintf("%s.%d", names[n%len(names)], n)
		ids = append(ids, id)
		if err := start(id); err != nil {
			t.Error(err)
			return ids
		}
		all.Go(func() {
			defer func() { <-room }()
			if err := p.await(ctx, id); err != nil {
				t.Errorf("%s, after %d kills: %v", id, p.kills(), err)
			}
		})
	}
	return ids
}

// summarize tells what happened, and reports what must not happen in any saga.
func (p *killProvider) summarize(t *testing.T, sagas, kills int) {
	t.Helper()
	if got := p.kills(); got != kills {
		t.Errorf("%d workers were killed, want %d", got, kills)
	}
	calls, repeats := p.ledger.Repeats()
	t.Logf("%d kills, %d sagas, %d calls, %d of them again for no reason", p.kills(), sagas, calls, repeats)
	if repeats > calls/20 {
		t.Errorf("%d of %d calls came again although they were answered and nobody was killed", repeats, calls)
	}
	for _, problem := range append(p.ledger.Problems(), p.problems...) {
		t.Error(problem)
	}
}
