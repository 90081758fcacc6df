package redisstore_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// TestRecordedJobs is TestRecordedFormat for jobs and audit records, which are in
// a file of their own.
func TestRecordedJobs(t *testing.T) {
	goOnWith(t, fmt.Sprintf("testdata/v%d-jobs.json", store.FormatVersion), leaveJobs, goOnJobs)
}

// leaveJobs leaves a job that has ended, one whose lease was given back, one whose
// worker died, and audit records.
func leaveJobs(t *testing.T, tg target) {
	const century = 100 * 365 * 24 * time.Hour
	ctx := t.Context()
	st, err := redisstore.Open(ctx, redisstore.Config{
		Client: tg.client, Namespace: tg.namespace, Partitions: 16, AcceptUnknownEviction: true,
	})
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(err)
	open := func(subject, id string) int64 {
		t.Helper()
		got, err := st.OpenJob(ctx, store.JobOpening{
			Subject: subject, ID: id, Owner: "ann", Token: "token of " + id, Lease: 30 * time.Second, Spec: []byte("spec of " + id),
		})
		ok(err)
		return got.Fence
	}
	note := func(subject, id string, fence, number int64, keys ...string) {
		t.Helper()
		n := store.JobNote{Subject: subject, ID: id, Fence: fence, Token: "token of " + id, Number: number, Lease: 30 * time.Second, Progress: []byte("half")}
		for _, key := range keys {
			n.Set = append(n.Set, store.JobEntry{Key: key, State: []byte("sending")})
		}
		_, err := st.NoteJob(ctx, n)
		ok(err)
	}
	closing := func(subject, id string, fence int64, ended bool) {
		t.Helper()
		ok(st.CloseJob(ctx, store.JobClosing{
			Subject: subject, ID: id, Fence: fence, Token: "token of " + id, Ended: ended, Status: "status of " + id, Retention: century,
		}))
	}
	closing("queue/7", "done", open("queue/7", "done"), true)
	tg.advance(time.Second)
	fence := open("queue/7", "left")
	note("queue/7", "left", fence, 1, "m1", "m2")
	_, err = st.CancelJob(ctx, "queue/7", "left", "bob")
	ok(err)
	closing("queue/7", "left", fence, false)
	tg.advance(time.Second)
	note("queue/8", "dead", open("queue/8", "dead"), 2, "m3")
	for _, id := range []string{"a1", "a2"} {
		ok(st.AppendAudit(ctx, store.AuditRecord{Subject: "queue/7", ID: id, Body: []byte("body of " + id), Retention: century}))
		tg.advance(time.Second)
	}
	for page := range 2 {
		ok(st.AppendAuditItems(ctx, "queue/7", "a1", page, []string{fmt.Sprint("m", page), "m9"}))
	}
}

// goOnJobs uses all that leaveJobs left, two hours later.
func goOnJobs(t *testing.T, tg target) {
	ctx := t.Context()
	st, err := redisstore.Open(ctx, redisstore.Config{Client: tg.client, Namespace: tg.namespace, AcceptUnknownEviction: true})
	if err != nil {
		t.Fatal(err)
	}
	list, err := st.ListJobs(ctx, "", 0, 9)
	var got []string
	for _, j := range list {
		got = append(got, fmt.Sprintf("%s %s %s %s %s %s %d %d %s %t", j.Subject, j.ID, j.Owner, j.Spec, j.Status, j.Progress, j.Openings, j.Entries, j.CancelledBy, j.HasEnded()))
	}
	want := []string{
		"queue/8 dead ann spec of dead  half 1 1  false",
		"queue/7 left ann spec of left status of left half 1 2 bob false",
		"queue/7 done ann spec of done status of done  1 0  true",
	}
	if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("the jobs are %q, %v, want %q", got, err, want)
	}
	if _, err := st.OpenJob(ctx, store.JobOpening{Subject: "queue/7", ID: "done", Owner: "o", Token: "new", Lease: time.Hour}); !errors.Is(err, store.ErrEnded) {
		t.Errorf("the opening of a job that has ended: %v", err)
	}
	for _, j := range list[:min(2, len(list))] {
		opened, err := st.OpenJob(ctx, store.JobOpening{Subject: j.Subject, ID: j.ID, Owner: "o", Token: "new", Lease: time.Hour, Resume: true})
		if err != nil || opened.Fence <= j.Fence || opened.Openings != 2 {
			t.Errorf("the opening of %q: %+v, %v", j.ID, opened, err)
			continue
		}
		entries, err := st.JobEntries(ctx, j.Subject, j.ID, "", 9)
		if err != nil || int64(len(entries)) != j.Entries {
			t.Errorf("the journal of %q: %q, %v", j.ID, entries, err)
		}
		n := store.JobNote{Subject: j.Subject, ID: j.ID, Fence: opened.Fence, Token: "new", Number: 1, Lease: time.Hour}
		for _, e := range entries {
			if string(e.State) != "sending" {
				t.Errorf("entry %q of %q is %q", e.Key, j.ID, e.State)
			}
			n.Remove = append(n.Remove, e.Key)
		}
		noted, err := st.NoteJob(ctx, n)
		if err != nil || noted.Entries != 0 || noted.Cancelled() != j.Cancelled() {
			t.Errorf("the note to %q: %+v, %v", j.ID, noted, err)
		}
		if err := st.CloseJob(ctx, store.JobClosing{Subject: j.Subject, ID: j.ID, Fence: opened.Fence, Token: "new", Ended: true, Retention: time.Hour}); err != nil {
			t.Errorf("the end of %q: %v", j.ID, err)
		}
	}
	records, next, err := st.ListAudit(ctx, "", "", 9)
	if err != nil || next != "" || len(records) != 2 || records[0].ID != "a2" || string(records[1].Body) != "body of a1" || records[1].At.IsZero() {
		t.Errorf("the audit records: %+v, %q, %v", records, next, err)
	}
	items, pages, err := st.AuditItems(ctx, "queue/7", "a1", 1)
	if err != nil || pages != 2 || fmt.Sprint(items) != "[m1 m9]" {
		t.Errorf("the items: %q of %d, %v", items, pages, err)
	}
	if err := st.AppendAudit(ctx, store.AuditRecord{Subject: "queue/7", ID: "a1", Body: []byte("body of a1"), Retention: time.Hour}); err != nil {
		t.Errorf("the record again: %v", err)
	}
}
