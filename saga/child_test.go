package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

func TestChild(t *testing.T) {
	athome(t, parent, func(h *home) {
		x := h.ends(saga.Completed, "A, X, Y, D")
		if got := string(x.State); got != `{"Log":["A","X","Y","D"]}` {
			t.Errorf("state %s", got)
		}
		child := h.get("1/Sub")
		if child.Parent != "1" || child.Definition != "child" || child.Status != saga.Completed {
			t.Errorf("the child is %+v", child)
		}
		h.closed()
	})
}

// What a child did is undone in its place, in reverse.
func TestChildThatHadSucceededIsUndone(t *testing.T) {
	athome(t, parent, func(h *home) {
		h.plan("D", no)
		h.ends(saga.Compensated, "A, X, Y, D, undo Y, undo X, undo A")
		child := h.get("1/Sub")
		if child.Status != saga.Compensated || child.Cause == nil || child.Cause.Kind != saga.CauseReverted || child.Cause.By != "saga 1" {
			t.Errorf("the child is %s, %+v", child.Status, child.Cause)
		}
		h.closed()
	})
}

// A child of which nothing can be undone is through when it has completed.
func TestChildWithNothingToUndo(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.do("X").ReadOnly())
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, nil), f.do("D"))
	}, func(h *home) {
		h.plan("D", func(ctx context.Context) error {
			if r, err := h.store.Get(ctx, "1/Sub"); err != nil || !r.Ended {
				t.Errorf("the child is %+v, %v", r, err)
			}
			return errNo
		})
		h.ends(saga.Compensated, "A, X, D, undo A")
		h.closed()
	})
}

func TestChildFails(t *testing.T) {
	athome(t, parent, func(h *home) {
		h.plan("Y", func(context.Context) error { return saga.Named("NoSeats", errNo) })
		x := h.ends(saga.Compensated, "A, X, Y, undo X, undo A")
		if c := x.Cause; c == nil || c.Step != "Sub" || c.Name != "NoSeats" || !strings.Contains(c.Error, "Y failed") {
			t.Errorf("the cause is %+v", x.Cause)
		}
		h.closed()
	})
}

func TestChildFailureIsCaught(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"), f.step("Y"))
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, nil).Catch("H", "NoSeats").End(), f.do("H"))
	}, func(h *home) {
		h.plan("Y", func(context.Context) error { return saga.Named("NoSeats", errNo) })
		h.ends(saga.Completed, "A, X, Y, undo X, H")
		h.closed()
	})
}

// Each attempt of the step is a child of its own.
func TestChildIsTriedAgain(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"), f.step("Y"))
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, nil).Retry(saga.Retry{Attempts: 3}), f.do("D"))
	}, func(h *home) {
		tries := 0
		h.plan("Y", func(context.Context) error {
			if tries++; tries < 3 {
				return errNo
			}
			return nil
		})
		h.plan("D", no)
		h.ends(saga.Compensated, "A, X, Y, undo X, X, Y, undo X, X, Y, D, undo Y, undo X, undo A")
		for id, want := range map[string]string{"1/Sub": saga.CauseFailed, "1/Sub@2": saga.CauseFailed, "1/Sub@3": saga.CauseReverted} {
			if x := h.get(id); x.Cause.Kind != want {
				t.Errorf("%s was undone because it %s, want %s", id, x.Cause.Kind, want)
			}
		}
		h.closed()
	})
}

// What waits for a child names it.
func TestChildIsShown(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"))
		return saga.New("parent", saga.Child("Sub", child, hand, nil).Retry(saga.Retry{Attempts: 2, Initial: time.Second, Jitter: -1}),
			saga.Parallel("P", saga.Branch("b", saga.Child("Sub2", child, hand, nil))).Merge(func(*trip, []trip) error { return nil }),
			f.do("D"))
	}, func(h *home) {
		n := 0
		h.plan("X", func(ctx context.Context) error {
			n++
			x := h.get("1")
			switch n {
			case 1, 2:
				if want := map[int]string{1: "1/Sub", 2: "1/Sub@2"}[n]; x.Child != want || !x.Waiting {
					t.Errorf("it waits for %q, want %q", x.Child, want)
				}
			case 3:
				if len(x.Branches) != 1 || x.Branches[0].Child != "1/P:0,Sub2" || x.Child != "" {
					t.Errorf("it is %+v", x)
				}
				if c := h.get("1/Sub@2"); !c.Held || c.Parent != "1" {
					t.Errorf("the child is %+v", c)
				}
			}
			if n == 1 {
				return errNo
			}
			return nil
		})
		h.plan("D", no)
		h.plan("undo X", func(context.Context) error {
			n++
			if x := h.get("1"); n == 5 && x.Child != "1/Sub@2" || n == 4 && (len(x.Branches) != 1 || x.Branches[0].Child != "1/P:0,Sub2") {
				t.Errorf("undoing, it is %+v", x)
			}
			return nil
		})
		h.ends(saga.Compensated, "X, X, X, D, undo X, undo X")
		h.closed()
	})
}

// Children in branches, and children of children, are undone like all else.
func TestGrandchildren(t *testing.T) {
	build := func(f *family) *saga.Saga[trip] {
		grandchild := saga.New("grandchild", f.step("G"), f.step("H"))
		child := saga.New("child", f.step("X"), saga.Child("Grand", grandchild, hand, nil), f.step("Y"))
		return saga.New("parent", f.step("A"),
			saga.Parallel("P", saga.Branch("b", f.step("B"), saga.Child("Sub", child, hand, nil), f.step("C"))).
				Merge(func(*trip, []trip) error { return nil }),
			f.do("D"))
	}
	athome(t, build, func(h *home) {
		h.ends(saga.Completed, "A, B, X, G, H, Y, C, D")
		h.closed()
	})
	athome(t, build, func(h *home) {
		h.plan("D", no)
		h.ends(saga.Compensated, "A, B, X, G, H, Y, C, D, undo C, undo Y, undo H, undo G, undo X, undo B, undo A")
		h.closed()
	})
	athome(t, build, func(h *home) {
		h.plan("H", no)
		h.ends(saga.Compensated, "A, B, X, G, H, undo G, undo X, undo B, undo A")
		h.closed()
	})
}

// A child whose parent is no more does not wait for ever.
func TestOrphan(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.step("X"))
		return saga.New("parent", saga.Child("Sub", child, hand, nil), saga.Receive("Go", "go", func(*trip, string) error { return nil }))
	}, func(h *home) {
		if _, err := h.def.Start(h.Context(), h.client, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if x := h.get("1/Sub"); !x.Held {
			t.Fatalf("the child is %+v", x)
		}
		purged(h.T, h.store, "1") // as if its outbox had been lost
		time.Sleep(26 * time.Hour)
		if r, err := h.store.Get(h.Context(), "1/Sub"); err != nil || !r.Ended || r.Status != string(saga.Completed) {
			t.Errorf("the child is left as %+v, %v", r, err)
		}
	})
}

// An input that the child refuses fails the step, for good.
func TestChildIsRefused(t *testing.T) {
	athome(t, func(f *family) *saga.Saga[trip] {
		child := saga.New("child", saga.Do("X", func(context.Context, *picky) error { return nil }).ReadOnly())
		return saga.New("parent", f.step("A"),
			saga.Child("Sub", child, func(*trip) (picky, error) { return picky{}, nil }, nil).Retry(saga.Retry{Attempts: saga.Forever}),
			f.do("D"))
	}, func(h *home) {
		x := h.ends(saga.Compensated, "A, undo A")
		if c := x.Cause; c.Step != "Sub" || !strings.Contains(c.Error, "start the child execution: its input: it has no name") {
			t.Errorf("the cause is %+v", c)
		}
		h.closed()
	})
	// So does an id that is another's.
	athome(t, parent, func(h *home) {
		if _, err := h.def.Start(h.Context(), h.client, "1/Sub", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		x := h.ends(saga.Compensated, "A, X, Y, D, A, undo A")
		if c := x.Cause; !strings.Contains(c.Error, store.ErrExists.Error()) {
			t.Errorf("the cause is %+v", c)
		}
	})
}

// What a child needs of its coordinator, its parent's has to have.
func TestCoordinatorOfAChildThatIsRemote(t *testing.T) {
	child := saga.New("child", saga.Remote("R", "payments", func(*trip) (int, error) { return 1, nil }, func(*trip, int) error { return nil }).UndoRemote())
	def := saga.New("parent", saga.Child("Sub", child, hand, nil))
	_, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{def}})
	if err == nil || !strings.Contains(err.Error(), `saga "child" has steps that are done elsewhere`) {
		t.Errorf("got %v", err)
	}
}

type picky struct{ Name string }

func (p *picky) Validate() error {
	if p.Name == "" {
		return errors.New("it has no name")
	}
	return nil
}

func TestChildDefinition(t *testing.T) {
	f := &family{}
	exempt := saga.New("child", f.step("X"), f.do("Y"))
	broken := saga.New("child", f.do("X"), f.do("Y"))
	good := saga.New("child", f.step("X"))
	turn := saga.New("child", f.do("P").Pivot())
	var none *saga.Saga[trip]
	for want, s := range map[string]*saga.Saga[trip]{
		"its saga is nil":      saga.New("parent", saga.Child("Sub", none, hand, nil)),
		"its saga is not vali": saga.New("parent", saga.Child("Sub", broken, hand, nil)),
		`its saga "child" may be undone when it has ended: say how to undo its last step "Y"`: saga.New("parent", saga.Child("Sub", exempt, hand, nil)),
		"it has no function that makes the child's input":                                     saga.New("parent", saga.Child[trip, trip]("Sub", good, nil, nil)),
		"a Child is undone by its own steps": saga.New("parent", saga.Child("Sub", good, hand, nil).
			Undo(func(context.Context, *trip, saga.Outcome) error { return nil })),
		"by its own steps, which say": saga.New("parent", saga.Child("Sub", good, hand, nil).ReadOnly()),
		"a pivot stands in the saga itself": saga.New("parent", saga.Parallel("P", saga.Branch("b", saga.Child("Sub", turn, hand, nil))).
			Merge(func(*trip, []trip) error { return nil })),
		"say how with Retry": saga.New("parent", f.do("P").Pivot(), saga.Child("Sub", good, hand, nil)),
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	if err := saga.New("parent", f.do("P").Pivot(), saga.Child("Sub", good, hand, nil).Retry(saga.Retry{Attempts: saga.Forever}), f.do("Z")).Validate(); err != nil {
		t.Error(err)
	}
	// The child is part of the graph.
	s := saga.New("parent", saga.Child("Sub", good, hand, nil), f.do("Z"))
	graph, err := json.Marshal(s.Definition())
	if err != nil || !strings.Contains(string(graph), `"child":"child"`) {
		t.Errorf("%s, %v", graph, err)
	}
}

// Executions of an older version of their saga go on with the children of that.
func TestChildOfAnOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent := func(version, step string) *saga.Saga[trip] {
			return saga.New("parent", saga.Child("Sub", saga.New("child", saga.Do(step, nothing).ReadOnly()), hand, take)).Version(version)
		}
		old := parent("1", "X")
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{old, parent("2", "Y")}})
		if _, err := old.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Error(err)
		}
	})
}

// One name and version is one graph, also where it is a child's.
func TestChildrenOfOneVersion(t *testing.T) {
	parent := func(name, step string) *saga.Saga[trip] {
		return saga.New(name, saga.Child("Sub", saga.New("child", saga.Do(step, nothing).ReadOnly()).Version("1"), hand, take))
	}
	for _, tt := range []struct{ first, second, want string }{
		{"X", "X", ""},
		{"X", "Y", `saga "p2", step "Sub": two graphs of saga "child" have the version "1"`},
	} {
		_, err := saga.NewCoordinator(saga.CoordinatorConfig{
			Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{parent("p1", tt.first), parent("p2", tt.second)},
		})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s and %s: %v, want %q", tt.first, tt.second, err, tt.want)
		}
	}
}

// A preview lists what children would undo, in its place.
func TestPreviewUndoOfChildren(t *testing.T) {
	build := func(f *family) *saga.Saga[trip] {
		grandchild := saga.New("grandchild", f.step("G"), f.step("H"))
		child := saga.New("child", f.step("X"), saga.Child("Grand", grandchild, hand, nil), f.step("Y"))
		return saga.New("parent", f.step("A"),
			saga.Parallel("P", saga.Branch("b", f.step("B"), saga.Child("Sub", child, hand, nil), f.step("C"))).
				Merge(func(*trip, []trip) error { return nil }),
			f.do("D"))
	}
	for _, tt := range []struct{ during, want string }{
		{"D", "1 C, 1/P:0,Sub Y, 1/P:0,Sub/Grand H, 1/P:0,Sub/Grand G, 1/P:0,Sub X, 1 B, 1 A"},
		{"H", "1/P:0,Sub/Grand H, 1/P:0,Sub/Grand G, 1/P:0,Sub X, 1 B, 1 A"},
		{"undo H", "1/P:0,Sub/Grand H, 1/P:0,Sub/Grand G, 1/P:0,Sub X, 1 B, 1 A"},
	} {
		athome(t, build, func(h *home) {
			if tt.during == "undo H" {
				h.plan("Y", no)
			}
			h.plan(tt.during, func(ctx context.Context) error {
				list, err := h.client.PreviewUndo(ctx, "1")
				if err != nil {
					t.Error(err)
				}
				var lines []string
				for _, u := range list {
					lines = append(lines, u.Execution+" "+u.Step)
				}
				if got := strings.Join(lines, ", "); got != tt.want {
					t.Errorf("during %s it lists\n\t%s\nwant\n\t%s", tt.during, got, tt.want)
				}
				return nil
			})
			if _, err := h.def.Start(h.Context(), h.client, "1", trip{}); err != nil {
				t.Fatal(err)
			}
			if _, err := h.client.Wait(h.Context(), "1"); err != nil {
				t.Error(err)
			}
			h.closed()
		})
	}
}

// A child costs a bounded number of calls to the store, beside those of steps.
func TestCallsOfAChild(t *testing.T) {
	calls := func(build func(*family) *saga.Saga[trip]) (n int) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			counts := make(map[string]int)
			st := storetest.NewFaulty(memstore.New(memstore.Config{Partitions: 8}), func(c storetest.Call) storetest.Fault {
				mu.Lock()
				defer mu.Unlock()
				counts[c.Op]++
				return storetest.Fault{}
			})
			def := build(&family{})
			c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{def}})
			if _, err := def.Run(t.Context(), c.Client(), "1", trip{}); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Minute)
			mu.Lock()
			for _, op := range []string{"Start", "Open", "Commit", "Post", "Deliver", "Release", "Renew"} {
				n += counts[op]
			}
			mu.Unlock()
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
		return n
	}
	plain := calls(func(f *family) *saga.Saga[trip] { return saga.New("parent", f.step("A"), f.do("D")) })
	held := calls(parent)
	through := calls(func(f *family) *saga.Saga[trip] {
		child := saga.New("child", f.do("X").ReadOnly(), f.do("Y").ReadOnly())
		return saga.New("parent", f.step("A"), saga.Child("Sub", child, hand, take), f.do("D"))
	})
	// Of the parent: the commit that the report brings, and two commits and a message
	// at its end. Of the child: start, steps, report, the commit after it, and the
	// commit at its parent's end. The messages open whom they are for.
	if plain != 3 || held != plain+9 || through != plain+6 {
		t.Errorf("%d calls, with a child that can be undone %d, and with another %d; want 3, 12 and 9", plain, held, through)
	}
}
