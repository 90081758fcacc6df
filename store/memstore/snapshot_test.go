package memstore_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// A store that is restored holds what it held, and nothing that came since; the
// snapshot stays as it was.
func TestSnapshot(t *testing.T) {
	ctx := context.Background()
	st := memstore.New(memstore.Config{})
	start := func(id string) {
		t.Helper()
		if _, err := st.Start(ctx, store.StartRequest{ID: id, Match: "m", Status: "running", Index: "i", Commit: "c0", Root: []byte("root")}); err != nil {
			t.Fatal(err)
		}
	}
	start("a")
	if _, err := st.PutDefinition(ctx, "fare", "1", []byte("{}"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Claim(ctx, store.Claim{Key: "k", Token: "t", Lease: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.AcquireLock(ctx, store.LockRequest{Resource: "r", Owner: "o", Request: "1", NotAfter: time.Now().Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	kept := st.Snapshot()
	for range 2 {
		o, err := st.Open(ctx, store.OpenRequest{ID: "a", Nonce: "n", Lease: time.Minute})
		if err != nil || o.Epoch != 1 || string(o.Root) != "root" || len(o.Mail) != 0 {
			t.Fatalf("opened is %+v, %v", o, err)
		}
		if _, err := st.Post(ctx, store.PostRequest{ID: "a", MailID: "m", Body: []byte("mail"), Limit: 9}); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Commit(ctx, &store.Commit{
			Lease: o.Lease, Previous: "c0", CommitID: "c1", Set: map[string][]byte{store.RootFrame: []byte("another"), "f:x": []byte("x")},
			History: []byte("h"), Status: "done", Index: "j", OldIndex: "i",
		}); err != nil {
			t.Fatal(err)
		}
		start("b")
		if _, err := st.PutDefinition(ctx, "fare", "2", []byte("{}"), nil); err != nil {
			t.Fatal(err)
		}
		if err := st.Complete(ctx, store.Completion{Key: "k", Token: "t", Result: []byte("result"), Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
		st.Restore(kept)
		r, err := st.Get(ctx, "a")
		if err != nil || r.Commit != "c0" || r.Unread != 0 || r.Status != "running" || string(r.Root) != "root" {
			t.Errorf("restored, it is %+v, %v", r, err)
		}
		if h, err := st.History(ctx, "a", 0, 0); err != nil || len(h) != 0 {
			t.Errorf("the history has %q, %v", h, err)
		}
		if _, err := st.Get(ctx, "b"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("what came since: %v", err)
		}
		if ids, err := st.List(ctx, "i", 0, 9); err != nil || len(ids) != 1 {
			t.Errorf("the index has %q, %v", ids, err)
		}
		if _, err := st.Definition(ctx, "fare", "2"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a definition that came since: %v", err)
		}
	}
}

// So it is with jobs and audit records.
func TestSnapshotOfJobs(t *testing.T) {
	ctx := t.Context()
	st := memstore.New(memstore.Config{})
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o, err := st.OpenJob(ctx, store.JobOpening{Subject: "q", ID: "j", Owner: "o", Token: "t", Lease: time.Minute})
	ok(err)
	note := func(number int64, set []store.JobEntry, remove ...string) {
		t.Helper()
		_, err := st.NoteJob(ctx, store.JobNote{
			Subject: "q", ID: "j", Fence: o.Fence, Token: "t", Number: number, Lease: time.Minute, Set: set, Remove: remove,
		})
		ok(err)
	}
	note(1, []store.JobEntry{{Key: "a", State: []byte("1")}})
	ok(st.AppendAudit(ctx, store.AuditRecord{Subject: "q", ID: "a", Retention: time.Hour}))
	kept := st.Snapshot()
	for range 2 {
		note(2, []store.JobEntry{{Key: "b"}}, "a")
		note(3, nil, "b")
		ok(st.CloseJob(ctx, store.JobClosing{Subject: "q", ID: "j", Fence: o.Fence, Token: "t", Ended: true, Retention: time.Hour}))
		_, err := st.OpenJob(ctx, store.JobOpening{Subject: "q", ID: "k", Owner: "o", Token: "t2", Lease: time.Minute})
		ok(err)
		ok(st.AppendAudit(ctx, store.AuditRecord{Subject: "q", ID: "b", Retention: time.Hour}))
		ok(st.AppendAuditItems(ctx, "q", "a", 0, []string{"m"}))
		st.Restore(kept)
		entries, err := st.JobEntries(ctx, "q", "j", "", 9)
		if err != nil || len(entries) != 1 || entries[0].Key != "a" || string(entries[0].State) != "1" {
			t.Errorf("restored, the journal has %q, %v", entries, err)
		}
		if j, err := st.InspectJob(ctx, "q", "j"); err != nil || j.HasEnded() || j.LeaseUntil.IsZero() {
			t.Errorf("restored, the job is %+v, %v", j, err)
		}
		if _, err := st.InspectJob(ctx, "q", "k"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a job that came since: %v", err)
		}
		if records, _, err := st.ListAudit(ctx, "q", "", 9); err != nil || len(records) != 1 {
			t.Errorf("restored, the records are %+v, %v", records, err)
		}
		if _, pages, err := st.AuditItems(ctx, "q", "a", 0); err != nil || pages != 0 {
			t.Errorf("restored, the record has %d pages, %v", pages, err)
		}
	}
}

// So it is with dead letters.
func TestSnapshotOfLetters(t *testing.T) {
	ctx := t.Context()
	st := memstore.New(memstore.Config{})
	put := func(ids ...string) {
		t.Helper()
		var letters []store.Letter
		for _, id := range ids {
			letters = append(letters, store.Letter{LetterSummary: store.LetterSummary{ID: id}, Body: []byte("b")})
		}
		if err := st.PutLetters(ctx, "q", letters); err != nil {
			t.Fatal(err)
		}
	}
	listed := func() (ids []string) {
		t.Helper()
		list, next, err := st.ListSummaries(ctx, "q", "", 9)
		if err != nil || next != "" {
			t.Fatal(next, err)
		}
		for _, l := range list {
			ids = append(ids, l.ID)
		}
		return ids
	}
	put("a", "b")
	kept := st.Snapshot()
	for range 2 {
		put("c")
		if err := st.DeleteLetters(ctx, "q", []string{"a"}); err != nil {
			t.Fatal(err)
		}
		if got := listed(); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("the letters are %q", got)
		}
		st.Restore(kept)
		if got := listed(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("restored, the letters are %q", got)
		}
	}
}
