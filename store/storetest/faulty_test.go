package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
	"github.com/waybill-dev/waybill/store/storetest"
)

// TestFaultyPasses: without faults the wrapper is as good as what it wraps, and
// also where every call is made twice, but for Post, Deliver and Due, which say so.
func TestFaultyPasses(t *testing.T) {
	for name, fault := range map[string]func(storetest.Call) storetest.Fault{
		"once": func(storetest.Call) storetest.Fault { return storetest.Fault{} },
		"twice": func(c storetest.Call) storetest.Fault {
			return storetest.Fault{Twice: c.Op != "Post" && c.Op != "Deliver" && c.Op != "Due"}
		},
		"late": func(c storetest.Call) storetest.Fault {
			if c.Op == "Get" {
				return storetest.Fault{Delay: time.Millisecond}
			}
			return storetest.Fault{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, storetest.Harness{
				Bubble: synctest.Test,
				New: func(t *testing.T) storetest.Subject {
					st := storetest.NewFaulty(memstore.New(memstore.Config{}), fault)
					return storetest.Subject{Store: st, Advance: time.Sleep}
				},
			})
		})
	}
}

// TestFaults makes every call under every fault.
func TestFaults(t *testing.T) {
	ctx := t.Context()
	before, after := errors.New("before"), errors.New("after")
	lease := store.Lease{ID: "a", Epoch: 1, Nonce: "n"}
	calls := []struct {
		want storetest.Call
		call func(storetest.Store) error
	}{
		{storetest.Call{Op: "Start", ID: "a"}, func(s storetest.Store) error {
			_, err := s.Start(ctx, store.StartRequest{ID: "a"})
			return err
		}},
		{storetest.Call{Op: "Open", ID: "a"}, func(s storetest.Store) error {
			_, err := s.Open(ctx, store.OpenRequest{ID: "a"})
			return err
		}},
		{storetest.Call{Op: "Commit", ID: "a"}, func(s storetest.Store) error {
			_, err := s.Commit(ctx, &store.Commit{Lease: lease})
			return err
		}},
		{storetest.Call{Op: "Renew", ID: "a"}, func(s storetest.Store) error {
			_, err := s.Renew(ctx, lease, time.Second, 0)
			return err
		}},
		{storetest.Call{Op: "Release", ID: "a"}, func(s storetest.Store) error { return s.Release(ctx, lease, 0) }},
		{storetest.Call{Op: "Post", ID: "a"}, func(s storetest.Store) error {
			_, err := s.Post(ctx, store.PostRequest{ID: "a"})
			return err
		}},
		{storetest.Call{Op: "Deliver", ID: "a"}, func(s storetest.Store) error {
			_, err := s.Deliver(ctx, store.PostRequest{ID: "a"}, store.OpenRequest{ID: "a"})
			return err
		}},
		{storetest.Call{Op: "Due"}, func(s storetest.Store) error {
			_, err := s.Due(ctx, []int{0}, 1, time.Second)
			return err
		}},
		{storetest.Call{Op: "Purge", ID: "a"}, func(s storetest.Store) error {
			_, err := s.Purge(ctx, "a", time.Second)
			return err
		}},
		{storetest.Call{Op: "Get", ID: "a"}, func(s storetest.Store) error { _, err := s.Get(ctx, "a"); return err }},
		{storetest.Call{Op: "Frames", ID: "a"}, func(s storetest.Store) error { _, err := s.Frames(ctx, "a", "f:"); return err }},
		{storetest.Call{Op: "History", ID: "a"}, func(s storetest.Store) error { _, err := s.History(ctx, "a", 0, 0); return err }},
		{storetest.Call{Op: "List", ID: "i"}, func(s storetest.Store) error { _, err := s.List(ctx, "i", 0, 1); return err }},
		{storetest.Call{Op: "Walk", ID: "i"}, func(s storetest.Store) (err error) {
			for _, err = range s.Walk(ctx, "i") {
			}
			return err
		}},
		{storetest.Call{Op: "Count", ID: "i"}, func(s storetest.Store) error { _, err := s.Count(ctx, "i"); return err }},
		{storetest.Call{Op: "PutDefinition", ID: "d"}, func(s storetest.Store) error {
			_, err := s.PutDefinition(ctx, "d", "1", nil, nil)
			return err
		}},
		{storetest.Call{Op: "Definition", ID: "d"}, func(s storetest.Store) error { _, err := s.Definition(ctx, "d", "1"); return err }},
		{storetest.Call{Op: "DefinitionVersions"}, func(s storetest.Store) error { _, err := s.DefinitionVersions(ctx); return err }},
		{storetest.Call{Op: "Heartbeat", ID: "w"}, func(s storetest.Store) error { _, err := s.Heartbeat(ctx, "w", time.Second); return err }},
		{storetest.Call{Op: "Leave", ID: "w"}, func(s storetest.Store) error { return s.Leave(ctx, "w") }},
		{storetest.Call{Op: "Claim", ID: "k"}, func(s storetest.Store) error {
			_, err := s.Claim(ctx, store.Claim{Key: "k"})
			return err
		}},
		{storetest.Call{Op: "Complete", ID: "k"}, func(s storetest.Store) error { return s.Complete(ctx, store.Completion{Key: "k"}) }},
		{storetest.Call{Op: "Forget", ID: "k"}, func(s storetest.Store) error { return s.Forget(ctx, "k", "t") }},
		{storetest.Call{Op: "InspectKey", ID: "k"}, func(s storetest.Store) error { _, err := s.InspectKey(ctx, "k"); return err }},
		{storetest.Call{Op: "AcquireLock", ID: "l"}, func(s storetest.Store) error {
			_, err := s.AcquireLock(ctx, store.LockRequest{Resource: "l"})
			return err
		}},
		{storetest.Call{Op: "ReleaseLock", ID: "l"}, func(s storetest.Store) error {
			_, err := s.ReleaseLock(ctx, "l", "r", time.Second)
			return err
		}},
		{storetest.Call{Op: "InspectLock", ID: "l"}, func(s storetest.Store) error { _, err := s.InspectLock(ctx, "l", 1); return err }},
		{storetest.Call{Op: "ListLocks"}, func(s storetest.Store) error { _, err := s.ListLocks(ctx, 0, 1); return err }},
		{storetest.Call{Op: "OpenJob", ID: "q"}, func(s storetest.Store) error {
			_, err := s.OpenJob(ctx, store.JobOpening{Subject: "q"})
			return err
		}},
		{storetest.Call{Op: "NoteJob", ID: "q"}, func(s storetest.Store) error {
			_, err := s.NoteJob(ctx, store.JobNote{Subject: "q"})
			return err
		}},
		{storetest.Call{Op: "CloseJob", ID: "q"}, func(s storetest.Store) error { return s.CloseJob(ctx, store.JobClosing{Subject: "q"}) }},
		{storetest.Call{Op: "CancelJob", ID: "q"}, func(s storetest.Store) error { _, err := s.CancelJob(ctx, "q", "j", "a"); return err }},
		{storetest.Call{Op: "InspectJob", ID: "q"}, func(s storetest.Store) error { _, err := s.InspectJob(ctx, "q", "j"); return err }},
		{storetest.Call{Op: "ListJobs", ID: "q"}, func(s storetest.Store) error { _, err := s.ListJobs(ctx, "q", 0, 1); return err }},
		{storetest.Call{Op: "JobEntries", ID: "q"}, func(s storetest.Store) error { _, err := s.JobEntries(ctx, "q", "j", "", 1); return err }},
		{storetest.Call{Op: "AppendAudit", ID: "q"}, func(s storetest.Store) error { return s.AppendAudit(ctx, store.AuditRecord{Subject: "q"}) }},
		{storetest.Call{Op: "ListAudit", ID: "q"}, func(s storetest.Store) error { _, _, err := s.ListAudit(ctx, "q", "", 1); return err }},
		{storetest.Call{Op: "AppendAuditItems", ID: "q"}, func(s storetest.Store) error { return s.AppendAuditItems(ctx, "q", "a", 0, nil) }},
		{storetest.Call{Op: "AuditItems", ID: "q"}, func(s storetest.Store) error { _, _, err := s.AuditItems(ctx, "q", "a", 0); return err }},
		{storetest.Call{Op: "PutLetters", ID: "q"}, func(s storetest.Store) error { return s.PutLetters(ctx, "q", nil) }},
		{storetest.Call{Op: "GetLetter", ID: "q"}, func(s storetest.Store) error { _, err := s.GetLetter(ctx, "q", "m"); return err }},
		{storetest.Call{Op: "ListLetters", ID: "q"}, func(s storetest.Store) error { _, _, err := s.ListLetters(ctx, "q", "", 1); return err }},
		{storetest.Call{Op: "ListSummaries", ID: "q"}, func(s storetest.Store) error { _, _, err := s.ListSummaries(ctx, "q", "", 1); return err }},
		{storetest.Call{Op: "DeleteLetters", ID: "q"}, func(s storetest.Store) error { return s.DeleteLetters(ctx, "q", nil) }},
		{storetest.Call{Op: "CountLetters", ID: "q"}, func(s storetest.Store) error { _, err := s.CountLetters(ctx, "q"); return err }},
		{storetest.Call{Op: "LetterQueues"}, func(s storetest.Store) error { _, err := s.LetterQueues(ctx); return err }},
	}
	var next storetest.Fault
	var got storetest.Call
	faulty := storetest.NewFaulty(memstore.New(memstore.Config{}), func(c storetest.Call) storetest.Fault {
		got = c
		return next
	})
	for i, c := range calls {
		next = storetest.Fault{Before: before}
		if err := c.call(faulty); err != before {
			t.Errorf("%s: got error %v, want the one before", c.want.Op, err)
		}
		c.want.N = int64(2*i + 1)
		if got != c.want {
			t.Errorf("the call was %+v, want %+v", got, c.want)
		}
		next = storetest.Fault{After: after}
		if err := c.call(faulty); err != after {
			t.Errorf("%s: got error %v, want the one after", c.want.Op, err)
		}
	}
	if n := faulty.Calls(); n != int64(2*len(calls)) {
		t.Errorf("%d calls, want %d", n, 2*len(calls))
	}
}

// TestDelayEndsWithTheContext: a call that is held back is not made once its
// context has ended.
func TestDelayEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		late := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault { return storetest.Fault{Delay: time.Hour} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if _, err := late.PutDefinition(ctx, "fare", "1", nil, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("got error %v after %v, want the deadline after a minute", err, time.Since(begin))
		}
		if _, err := st.Definition(t.Context(), "fare", "1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the call was made: %v", err)
		}
	})
}

// TestLateAnswer: the work of a call whose answer comes late is done at once,
// and the answer comes when it was said, be it the store's or another, though
// the context ended before.
func TestLateAnswer(t *testing.T) {
	for _, after := range []error{nil, storetest.ErrInjected} {
		t.Run(fmt.Sprintf("after=%v", after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New(memstore.Config{})
				late := storetest.NewFaulty(st, func(storetest.Call) storetest.Fault {
					return storetest.Fault{Delay: time.Second, Late: time.Hour, After: after}
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				answered := make(chan struct{})
				go func() {
					defer close(answered)
					workers, err := late.Heartbeat(ctx, "w", 2*time.Hour)
					if err != after || after == nil && len(workers) != 1 {
						t.Errorf("got %q and error %v, want the worker or error %v", workers, err, after)
					}
				}()
				time.Sleep(2 * time.Second)
				if workers, err := st.Heartbeat(t.Context(), "other", time.Hour); len(workers) != 2 || err != nil {
					t.Errorf("after two seconds the store has %q, %v: the work is not done", workers, err)
				}
				<-answered
				if d := time.Since(begin); d != time.Hour+time.Second {
					t.Errorf("the answer came after %v, want an hour and a second", d)
				}
			})
		})
	}
}

// A process dies with its second call, and another finds what it left.
func ExampleCrashAt() {
	ctx := context.Background()
	st := memstore.New(memstore.Config{})
	for _, done := range []bool{false, true} {
		id := fmt.Sprintf("done=%t", done)
		dying := storetest.NewFaulty(st, storetest.CrashAt(2, done))
		_, err := dying.Claim(ctx, store.Claim{Key: id, Token: "receiver-a", Lease: time.Minute})
		fmt.Println("claim:", err)
		err = dying.Complete(ctx, store.Completion{
			Key: id, Token: "receiver-a", Result: []byte("charged"), Retention: time.Hour,
		})
		fmt.Println("complete:", err)

		got, err := st.Claim(ctx, store.Claim{Key: id, Token: "receiver-b", Lease: time.Minute})
		fmt.Printf("the next receiver: %q %t %v\n", got.Result, got.Done, err)
	}

	// Output:
	// claim: <nil>
	// complete: storetest: injected failure
	// the next receiver: "" false claim "done=false": claimed by another receiver
	// claim: <nil>
	// complete: storetest: injected failure
	// the next receiver: "charged" true <nil>
}
