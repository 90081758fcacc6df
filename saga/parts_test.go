package saga_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// Up to 1,000 items run within an execution, more in executions of their own.
func TestForEachOfMany(t *testing.T) {
	for _, n := range []int{1000, 1001, 2500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { testForEachOfMany(t, n, 0, saga.Completed) })
	}
	t.Run("one fails", func(t *testing.T) { testForEachOfMany(t, 1100, 1, saga.Compensated) })
}

func testForEachOfMany(t *testing.T, n, bad int, want saga.Status) {
	type bag struct {
		N    int
		Sums []int
	}
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		atWork, most, parts := 0, 0, 0
		net := make(map[string]int) // by key of the action
		item := saga.Do("Item", func(ctx context.Context, i *int) error {
			mu.Lock()
			atWork++
			most = max(most, atWork)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			atWork--
			if bad > 0 && *i == n-1 {
				return errNo
			}
			net[strings.TrimSuffix(saga.StepFrom(ctx).Key, "/do")]++
			*i *= 2
			return nil
		}).Undo(func(ctx context.Context, i *int, _ saga.Outcome) error {
			mu.Lock()
			defer mu.Unlock()
			net[strings.TrimSuffix(saga.StepFrom(ctx).Key, "/undo")]--
			return nil
		})
		def := saga.New("many",
			saga.ForEach("Each", func(b *bag) []int {
				items := make([]int, b.N)
				for i := range items {
					items[i] = i
				}
				return items
			}, func(b *bag, items []saga.Item[int]) error {
				for _, i := range items {
					b.Sums = append(b.Sums, i.State)
				}
				return nil
			}, item).Concurrency(50).UndoTogether())
		st := memstore.New(memstore.Config{Partitions: 8})
		c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{def}, MaxState: 1 << 20})
		got, err := def.Run(t.Context(), c.Client(), "1", bag{N: n})
		x, getErr := c.Client().Get(t.Context(), "1")
		if getErr != nil || x.Status != want {
			t.Errorf("it is %+v: %v, %v", x, err, getErr)
		}
		if most > 50 || most < 45 {
			t.Errorf("%d items were under way at once, want 50", most)
		}
		mu.Lock()
		sum := 0
		for _, k := range net {
			sum += k
		}
		mu.Unlock()
		if want == saga.Completed {
			if err != nil || len(got.Sums) != n || sum != n {
				t.Errorf("%d results, %d effects: %v", len(got.Sums), sum, err)
			}
			for i, v := range got.Sums {
				if v != 2*i {
					t.Fatalf("item %d came out as %d", i, v)
				}
			}
		} else if sum != 0 {
			t.Errorf("%d effects are left", sum)
		}
		time.Sleep(2 * time.Second)
		audited(t, st, c.Client(), "")
		for _, status := range []saga.Status{saga.Completed, saga.Compensated} {
			ids, err := st.List(t.Context(), string(status)+":many#Each", 0, 1000)
			if err != nil {
				t.Error(err)
			}
			for _, id := range ids {
				if r, err := st.Get(t.Context(), id); err != nil || !r.Ended {
					t.Errorf("part %s is left as %+v, %v", id, r, err)
				}
			}
			parts += len(ids)
		}
		if want := map[bool]int{true: (n + 399) / 400}[n > 1000]; parts != want {
			t.Errorf("it took %d executions more, want %d", parts, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// What a part's items come to counts together.
func TestToleratedFailuresOfMany(t *testing.T) {
	for _, tt := range []struct {
		tolerate int
		want     saga.Status
	}{{3, saga.Completed}, {2, saga.Compensated}, {0, saga.Compensated}} {
		synctest.Test(t, func(t *testing.T) {
			type bag struct{ Failed []int }
			var mu sync.Mutex
			net := make(map[int]int)
			item := saga.Do("Item", func(ctx context.Context, i *int) error {
				if *i%3 == 1 {
					return saga.Named("Odd", errNo)
				}
				mu.Lock()
				defer mu.Unlock()
				net[*i]++
				return nil
			}).Undo(func(_ context.Context, i *int, _ saga.Outcome) error {
				mu.Lock()
				defer mu.Unlock()
				net[*i]--
				return nil
			})
			each := saga.ForEach("Each", func(*bag) []int { return []int{0, 1, 2, 3, 4, 5, 6, 7, 8} }, func(b *bag, items []saga.Item[int]) error {
				for _, i := range items {
					if i.Failed != nil {
						if i.Failed.Name != "Odd" {
							t.Errorf("item %d failed as %+v", i.State, i.Failed)
						}
						b.Failed = append(b.Failed, i.State)
					}
				}
				return nil
			}, item)
			if tt.tolerate > 0 {
				each.Tolerate(tt.tolerate)
			}
			def := saga.New("many", each)
			saga.SetMapSize(def, 5, 2)
			st := memstore.New(memstore.Config{Partitions: 8})
			c, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{def}})
			got, err := def.Run(t.Context(), c.Client(), "1", bag{})
			x, getErr := c.Client().Get(t.Context(), "1")
			if getErr != nil || x.Status != tt.want {
				t.Errorf("it is %+v: %v, %v", x, err, getErr)
			}
			if tt.want == saga.Completed && !slices.Equal(got.Failed, []int{1, 4, 7}) {
				t.Errorf("%v failed", got.Failed)
			}
			if name := map[int]string{2: saga.ErrorTolerance, 0: "Odd"}[tt.tolerate]; x.Cause != nil && x.Cause.Name != name {
				t.Errorf("the cause is %+v, want the error %s", x.Cause, name)
			}
			time.Sleep(time.Minute)
			mu.Lock()
			for i, n := range net {
				if want := map[saga.Status]int{saga.Completed: 1}[tt.want]; n != want {
					t.Errorf("item %d has %d effects, want %d", i, n, want)
				}
			}
			mu.Unlock()
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Several coordinators share the parts of a ForEach, each with its part of the
// partitions; children of sagas run where their parents do, while there is room.
func TestPartsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		by := make(map[string]int)
		build := func(worker string) *saga.Saga[trip] {
			s := saga.New("many", saga.ForEach("Each", func(*trip) []int { return make([]int, 200) }, nil,
				saga.Do("Item", func(context.Context, *int) error {
					mu.Lock()
					defer mu.Unlock()
					by[worker]++
					return nil
				}).ReadOnly()).Concurrency(100))
			saga.SetMapSize(s, 10, 4)
			return s
		}
		st := memstore.New(memstore.Config{Partitions: 64})
		var stops []func() error
		var c *saga.Coordinator
		for _, worker := range []string{"one", "two", "three"} {
			var stop func() error
			c, stop = run(t, saga.CoordinatorConfig{Store: st, Name: worker, Sagas: []saga.Definer{build(worker)}})
			stops = append(stops, stop)
		}
		time.Sleep(10 * time.Second) // until all know of all
		if _, err := build("client").Run(t.Context(), c.Client(), "1", trip{}); err != nil {
			t.Error(err)
		}
		mu.Lock()
		if len(by) != 3 || by["one"] < 20 || by["two"] < 20 || by["three"] < 20 || by["one"]+by["two"]+by["three"] != 200 {
			t.Errorf("the items were shared as %v", by)
		}
		mu.Unlock()
		for _, stop := range stops {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
}
