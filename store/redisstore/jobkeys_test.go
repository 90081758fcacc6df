package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// traceJobs makes calls of every kind for two jobs of one subject, and for audit
// records.
func traceJobs(tg target, st *redisstore.Store, step func(string, func() (any, error))) {
	const hour = time.Hour
	ctx := context.Background()
	fences := make(map[string]int64)
	show := func(j store.Job) string {
		return fmt.Sprintf("opening %d, %d entries, status %q, cancelled by %q", j.Openings, j.Entries, j.Status, j.CancelledBy)
	}
	open := func(id, token string, d time.Duration) func() (any, error) {
		return func() (any, error) {
			got, err := st.OpenJob(ctx, store.JobOpening{
				Subject: "q:1", ID: id, Owner: "owner of " + token, Token: token, Lease: d, Spec: []byte("spec of " + id),
			})
			if err == nil {
				fences[token] = got.Fence
			}
			return show(got.Job), err
		}
	}
	note := func(id, token string, number int64, progress string, entries ...string) func() (any, error) {
		return func() (any, error) {
			n := store.JobNote{
				Subject: "q:1", ID: id, Fence: fences[token], Token: token, Number: number, Lease: 4 * hour, Progress: []byte(progress),
			}
			for _, entry := range entries {
				if key, state, set := strings.Cut(entry, "="); set {
					n.Set = append(n.Set, store.JobEntry{Key: key, State: []byte(state)})
				} else {
					n.Remove = append(n.Remove, key)
				}
			}
			got, err := st.NoteJob(ctx, n)
			return fmt.Sprintf("%d entries, cancelled by %q", got.Entries, got.CancelledBy), err
		}
	}
	closing := func(id, token string, ended bool, status string, d time.Duration) func() (any, error) {
		return func() (any, error) {
			return nil, st.CloseJob(ctx, store.JobClosing{
				Subject: "q:1", ID: id, Fence: fences[token], Token: token, Ended: ended, Status: status, Retention: d,
			})
		}
	}
	cancel := func(id, by string) func() (any, error) {
		return func() (any, error) {
			j, err := st.CancelJob(ctx, "q:1", id, by)
			return show(j), err
		}
	}
	step("OpenJob", open("j1", "t1", hour))
	step("OpenJob again", open("j1", "t1", 3*hour))
	step("OpenJob of another", open("j2", "t2", hour))
	step("NoteJob", note("j1", "t1", 1, "half", "b=sending", "a=claimed"))
	step("NoteJob again", note("j1", "t1", 1, "half", "b=sending", "a=claimed"))
	step("NoteJob that moves on", note("j1", "t1", 2, "", "b=sent", "a"))
	step("NoteJob that comes late", note("j1", "t1", 1, "half", "b=sending", "a=claimed"))
	step("CancelJob", cancel("j1", "ann"))
	step("CancelJob again", cancel("j1", "bob"))
	step("CloseJob with items in hand", closing("j1", "t1", true, "done", hour))
	step("CloseJob for a while", closing("j1", "t1", false, "interrupted", 0))
	step("CloseJob again", closing("j1", "t1", false, "interrupted", 0))
	step("NoteJob after that", note("j1", "t1", 3, "", "c=claimed"))
	step("OpenJob of what was given back", open("j1", "t1", hour))
	step("OpenJob of another while one is open", open("j2", "t2", hour))
	step("OpenJob again, by another", open("j1", "t3", hour))
	step("NoteJob of the last item", note("j1", "t3", 1, "all", "b"))
	step("CloseJob for good", closing("j1", "t3", true, "done", 2*hour))
	step("CloseJob again", closing("j1", "t3", true, "done", 2*hour))
	step("OpenJob of what has ended", open("j1", "t4", hour))
	step("OpenJob of the next", open("j2", "t5", hour))
	step("CloseJob for a while", closing("j2", "t5", false, "", 0))
	step("CancelJob that ends it", cancel("j2", "ann"))
	step("CancelJob again", cancel("j2", "ann"))
	step("OpenJob of one that is kept briefly", open("j3", "t6", hour))
	step("CloseJob for good", closing("j3", "t6", true, "done", time.Millisecond))
	tg.advance(time.Millisecond)
	step("OpenJob of the last", open("j4", "t7", hour))
	step("CloseJob for good, and drop what is over", closing("j4", "t7", true, "done", hour))
	step("ListJobs", func() (any, error) {
		list, err := st.ListJobs(ctx, "", 0, 9)
		var names []string
		for _, j := range list {
			names = append(names, j.ID)
		}
		slices.Sort(names) // some are made in the same millisecond
		return names, err
	})

	audit := func(id, body string, d time.Duration) func() (any, error) {
		return func() (any, error) {
			return nil, st.AppendAudit(ctx, store.AuditRecord{Subject: "q:1", ID: id, Body: []byte(body), Retention: d})
		}
	}
	items := func(id string, page int, items ...string) func() (any, error) {
		return func() (any, error) { return nil, st.AppendAuditItems(ctx, "q:1", id, page, items) }
	}
	step("AppendAudit", audit("a1", "the body", 5*hour))
	step("AppendAudit again", audit("a1", "the body", 5*hour))
	step("AppendAudit of something else", audit("a1", "another body", 5*hour))
	step("AppendAuditItems", items("a1", 0, "m1", "m22"))
	step("AppendAuditItems of another page", items("a1", 1, "m3"))
	step("AppendAuditItems again", items("a1", 1, "m3"))
	step("AppendAuditItems of something else", items("a1", 1, "m4"))
	step("AppendAudit that is kept briefly", audit("a2", "", time.Millisecond))
	tg.advance(time.Millisecond)
	step("AppendAudit drops what is over", audit("a3", "", hour))
}

// TestEndedJobsExpire: what is kept of a subject whose jobs have ended has a time
// to live, as long as the last of them is kept and a minute; a job that has not
// ended has none.
func TestEndedJobsExpire(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			tg.partitions = 1
			st := tg.open(t)
			prefix := tg.namespace + ":{p0}:"
			lives := func(key string, want time.Duration) {
				t.Helper()
				const slack = 10 * time.Second
				ttl, err := tg.client.PTTL(t.Context(), prefix+key).Result()
				if want > 0 {
					want += time.Minute
				}
				if err != nil || ttl > want || ttl < want-slack {
					t.Errorf("%s lives for %v, %v, want %v", key, ttl, err, want)
				}
			}
			const forGood = -1 // as go-redis has it
			for i, d := range []time.Duration{2 * time.Hour, time.Hour, 3 * time.Hour} {
				id := fmt.Sprintf("j%d", i)
				got, err := st.OpenJob(t.Context(), store.JobOpening{Subject: "q", ID: id, Owner: "o", Token: id, Lease: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				for _, key := range []string{"jo:q", "jh:q", "j:1:q:" + id} {
					lives(key, forGood)
				}
				if i > 0 {
					lives("jx:q", forGood)
				}
				if err := st.CloseJob(t.Context(), store.JobClosing{Subject: "q", ID: id, Fence: got.Fence, Token: id, Ended: true, Retention: d}); err != nil {
					t.Fatal(err)
				}
				lives("j:1:q:"+id, d)
				lives("jh:q", max(2*time.Hour, d))
				lives("jx:q", max(2*time.Hour, d))
			}
			for i, d := range []time.Duration{2 * time.Hour, time.Hour, 3 * time.Hour} {
				id := fmt.Sprintf("a%d", i)
				if err := st.AppendAudit(t.Context(), store.AuditRecord{Subject: "q", ID: id, Retention: d}); err != nil {
					t.Fatal(err)
				}
				if err := st.AppendAuditItems(t.Context(), "q", id, 0, []string{"m"}); err != nil {
					t.Fatal(err)
				}
				lives("ai:1:q:"+id, d)
				for _, key := range []string{"a:q", "ax:q", "ar:q"} {
					lives(key, max(2*time.Hour, d))
				}
			}
		})
	}
}

// TestJobsLeaveNothing: when all is over that a subject had, nothing of it is left
// but what others in its partition drop.
func TestJobsLeaveNothing(t *testing.T) {
	tg := inProcess(t)
	tg.partitions = 1
	st := tg.open(t)
	live := func(subject string) {
		t.Helper()
		got, err := st.OpenJob(t.Context(), store.JobOpening{Subject: subject, ID: "j", Owner: "o", Token: "t", Lease: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.CloseJob(t.Context(), store.JobClosing{Subject: subject, ID: "j", Fence: got.Fence, Token: "t", Ended: true, Retention: time.Second}); err != nil {
			t.Fatal(err)
		}
		if err := st.AppendAudit(t.Context(), store.AuditRecord{Subject: subject, ID: "a", Retention: time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 150 {
		live(fmt.Sprint("q", i))
		tg.advance(500 * time.Millisecond)
	}
	for _, key := range []string{"js", "as"} {
		if n := tg.client.ZCard(t.Context(), "test:{p0}:"+key).Val(); n > 3 {
			t.Errorf("%s has %d subjects, want the last ones", key, n)
		}
	}
	for i := range 50 {
		for range 3 {
			if _, err := st.InspectJob(t.Context(), "q", "j"); errors.Is(err, store.ErrNotFound) {
				live("q")
				break
			}
			tg.advance(time.Second)
		}
		if n := tg.client.ZCard(t.Context(), "test:{p0}:jh:q").Val(); n > 2 {
			t.Fatalf("after %d jobs %d are listed, want the last ones", i, n)
		}
	}
}
