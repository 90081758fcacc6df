package saga_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A family notes what parents and children do.
type family struct {
	mu    sync.Mutex
	lines []string
	plans map[string]func(context.Context) error // by step, or "undo " and step
}

func (f *family) note(ctx context.Context, what string) error {
	f.mu.Lock()
	f.lines = append(f.lines, what)
	plan := f.plans[what]
	f.mu.Unlock()
	if plan != nil {
		return plan(ctx)
	}
	return nil
}

func (f *family) plan(what string, plan func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plans == nil {
		f.plans = make(map[string]func(context.Context) error)
	}
	f.plans[what] = plan
}

func (f *family) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines, ", ")
}

// do is a step, and step one that can be undone.
func (f *family) do(name string) *saga.Step[trip] {
	return saga.Do(name, func(ctx context.Context, s *trip) error {
		s.Log = append(s.Log, name)
		return f.note(ctx, name)
	})
}

func (f *family) step(name string) *saga.Step[trip] {
	return f.do(name).Undo(func(ctx context.Context, _ *trip, o saga.Outcome) error { return f.note(ctx, "undo "+name) })
}

func hand(s *trip) (trip, error) { return *s, nil }

func take(s *trip, child trip) error { *s = child; return nil }

func no(context.Context) error { return errNo }

func after(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A home is a store with one coordinator, on virtual time.
type home struct {
	*testing.T
	*family
	store  *memstore.Store
	c      *saga.Coordinator
	client *saga.Client
	def    *saga.Saga[trip]
	stop   func() error
}

func athome(t *testing.T, build func(f *family) *saga.Saga[trip], play func(h *home)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &home{T: t, family: &family{}, store: memstore.New(memstore.Config{Partitions: 8})}
		h.def = build(h.family)
		if err := h.def.Validate(); err != nil {
			t.Fatal(err)
		}
		h.c, h.stop = run(t, saga.CoordinatorConfig{Store: h.store, Sagas: []saga.Definer{h.def}})
		h.client = h.c.Client()
		play(h)
		if err := h.stop(); err != nil {
			t.Error(err)
		}
	})
}

// ends starts the saga and checks how it ends, and what was done.
func (h *home) ends(want saga.Status, lines string) *saga.Execution {
	h.Helper()
	if _, err := h.def.Start(h.Context(), h.client, "1", trip{}); err != nil {
		h.Fatal(err)
	}
	return h.waits(want, lines)
}

func (h *home) waits(want saga.Status, lines string) *saga.Execution {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 100*24*time.Hour)
	defer cancel()
	x, err := h.client.Wait(ctx, "1")
	if err != nil {
		h.Fatal(err)
	}
	if got := h.family.String(); x.Status != want || got != lines {
		h.Errorf("it is %s after\n\t%s\nwant %s after\n\t%s\nfor %v", x.Status, got, want, lines, x.Err())
	}
	return x
}

// closed checks that nothing is left open, of the whole family.
func (h *home) closed() {
	h.Helper()
	time.Sleep(2 * time.Second)
	audited(h.T, h.store, h.client, "")
}

func (h *home) get(id string) *saga.Execution {
	h.Helper()
	x, err := h.client.Get(h.Context(), id)
	if err != nil {
		h.Fatal(err)
	}
	return x
}

// parent is a saga with a child between two steps, which has two steps itself.
func parent(f *family) *saga.Saga[trip] {
	child := saga.New("child", f.step("X"), f.step("Y"))
	return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, take), f.do("D"))
}

// purged ends a held child in the store, and purges it.
func purged(t *testing.T, st *memstore.Store, id string) {
	t.Helper()
	time.Sleep(time.Second)
	r, err := st.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Post(t.Context(), store.PostRequest{ID: id, MailID: "x", Body: []byte("{}"), Limit: 10}); err != nil {
		t.Fatal(err)
	}
	o, err := st.Open(t.Context(), store.OpenRequest{ID: id, Nonce: "n", Lease: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), &store.Commit{
		Lease: o.Lease, CommitID: "n.1", Previous: r.Commit, Absorbed: o.Read, Next: store.End, Wake: o.Now,
	}); err != nil {
		t.Fatal(err)
	}
	if ok, err := st.Purge(t.Context(), id, time.Hour); err != nil || !ok {
		t.Fatal(ok, err)
	}
}
