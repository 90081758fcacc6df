package saga_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A scribe is a store that notes commits, and may take its time with them.
type scribe struct {
	*memstore.Store
	takes time.Duration

	mu      sync.Mutex
	commits []*store.Commit
	at      []time.Duration
	begun   time.Time
}

func (s *scribe) Commit(ctx context.Context, c *store.Commit) (store.CommitResult, error) {
	s.mu.Lock()
	s.commits, s.at = append(s.commits, c), append(s.at, time.Since(s.begun))
	s.mu.Unlock()
	time.Sleep(s.takes)
	return s.Store.Commit(ctx, c)
}

// One commit is in flight at a time, and branches that finish meanwhile share the
// next: a hundred answers within a commit's time cost one commit.
func TestBranchesThatFinishMeanwhileShareACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &scribe{Store: memstore.New(memstore.Config{}), takes: 100 * time.Millisecond, begun: time.Now()}
		const n = 100
		s := saga.New("trip", saga.ForEach("M", func(*trip) []int { return make([]int, n) }, nil,
			saga.Do("I", func(ctx context.Context, _ *int) error {
				// They finish one after the other, within two commits' time.
				_, i, _ := strings.Cut(saga.StepFrom(ctx).Frame, ":")
				var ms int
				if err := json.Unmarshal([]byte(i), &ms); err != nil {
					return err
				}
				time.Sleep(time.Second + time.Duration(2*ms)*time.Millisecond)
				return nil
			}).ReadOnly()))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		// The items begin; the first answers; those of the first commit's time, of the
		// second's, and perhaps the last; and the end.
		if got := len(st.commits); got > 6 {
			t.Errorf("%d commits, want 6 at most, at %v", got, st.at)
		}
		for i := 1; i < len(st.at); i++ {
			if st.at[i]-st.at[i-1] < st.takes {
				t.Errorf("commits are sent at %v: two were in flight", st.at)
			}
			if st.commits[i].Previous != st.commits[i-1].CommitID {
				t.Errorf("commit %d follows %q, want %q", i, st.commits[i].Previous, st.commits[i-1].CommitID)
			}
		}
	})
}

// A commit writes the frames that changed, and no others; so the cost of a step
// in a branch does not hang on how many branches there are.
func TestCommitWritesChangedFramesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &scribe{Store: memstore.New(memstore.Config{}), begun: time.Now()}
		const n = 50
		s := saga.New("trip", saga.ForEach("M", func(*trip) []int { return make([]int, n) }, nil,
			saga.Do("I", func(ctx context.Context, _ *int) error {
				if strings.HasSuffix(saga.StepFrom(ctx).Frame, ":7") {
					time.Sleep(time.Second)
					return nil
				}
				time.Sleep(10 * time.Second)
				return nil
			}).ReadOnly(), saga.Do("J", func(context.Context, *int) error { time.Sleep(time.Second); return nil }).ReadOnly()))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		found := 0
		for i, commit := range st.commits {
			if at := st.at[i]; at != time.Second && at != 2*time.Second {
				continue // item 7 has done I, and J
			}
			found++
			var names []string
			for name := range commit.Set {
				names = append(names, name)
			}
			slices.Sort(names)
			if want := []string{"f:", "f:M:7"}; !slices.Equal(names, want) {
				t.Errorf("the commit of one item's step writes %q, want %q", names, want)
			}
		}
		if found != 2 {
			t.Errorf("%d commits of the early item, want 2: %v", found, st.at)
		}
	})
}

// The keys of branches, items, visits and directions are all different, the same
// in each attempt, and new where a step is come to again, also by a Parallel
// that is tried again.
func TestKeysOfVisits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		attempts := make(map[string][]int) // by key
		note := func(ctx context.Context) saga.StepInfo {
			info := saga.StepFrom(ctx)
			mu.Lock()
			defer mu.Unlock()
			attempts[info.Key] = append(attempts[info.Key], info.Attempt)
			return info
		}
		step := func(name string, fails func(info saga.StepInfo) bool) *saga.Step[trip] {
			return saga.Do(name, func(ctx context.Context, s *trip) error {
				info := note(ctx)
				if info.Attempt == 1 {
					return fmt.Errorf("flaky")
				}
				if fails != nil && fails(info) {
					return errRefused
				}
				s.Log = append(s.Log, name)
				return nil
			}).Undo(func(ctx context.Context, _ *trip, _ saga.Outcome) error { note(ctx); return nil }).
				Retry(saga.Retry{Initial: time.Millisecond, Jitter: -1})
		}
		s := saga.New("trip",
			step("A", nil),
			saga.Choose[trip]("More").When("B", func(s *trip) bool { return len(s.Log) < 3 }).Otherwise("P"),
			step("B", nil).Next("More"),
			saga.Parallel("P",
				saga.Branch("x", step("X", nil), saga.ForEach("M", func(*trip) []trip { return make([]trip, 2) }, nil, step("I", nil))),
				saga.Branch("y", saga.Wait[trip]("W", time.Second), step("Y", func(info saga.StepInfo) bool { return strings.HasPrefix(info.Frame, "P:") })),
			).Merge(func(*trip, []trip) error { return nil }).Retry(saga.Retry{Attempts: 2, Initial: time.Millisecond, Jitter: -1}),
			step("Z", func(saga.StepInfo) bool { return true }),
		).Version("1")
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err == nil {
			t.Error("it completed")
		}
		want := make(map[string][]int)
		did, undone := []int{1, 2}, []int{1}
		for _, place := range []string{"/A/1", "/B/1", "/B/2", "P:0/X/1", "P:0,M:0/I/1", "P:0,M:1/I/1", "P@2:0/X/1", "P@2:0,M:0/I/1", "P@2:0,M:1/I/1", "P@2:1/Y/1"} {
			want["1/1/"+place+"/do"], want["1/1/"+place+"/undo"] = did, undone
		}
		want["1/1/P:1/Y/1/do"], want["1/1//Z/1/do"] = did, did // which failed
		if fmt.Sprint(attempts) != fmt.Sprint(want) {
			t.Errorf("keys and attempts are\n%v, want\n%v", attempts, want)
		}
	})
}
