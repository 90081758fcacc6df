package redisstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// everyJobScript is what everyScript has of jobs and audit records. The fences are
// what the store says: each call knows that of the last opening.
func everyJobScript(st *redisstore.Store, id string) []namedCall {
	var fence int64
	open := func(job, token string) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) {
			got, err := st.OpenJob(ctx, store.JobOpening{Subject: id, ID: job, Owner: "o", Token: token, Lease: time.Hour, Spec: []byte("s")})
			if err == nil {
				fence = got.Fence
			}
			return got, err
		}
	}
	note := func(number int64, set []store.JobEntry, remove ...string) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) {
			return st.NoteJob(ctx, store.JobNote{
				Subject: id, ID: "j", Fence: fence, Token: "t1", Number: number, Lease: 2 * time.Hour,
				Set: set, Remove: remove, Progress: []byte(fmt.Sprint("p", number)),
			})
		}
	}
	closing := func(job, token string, ended bool) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) {
			return nil, st.CloseJob(ctx, store.JobClosing{
				Subject: id, ID: job, Fence: fence, Token: token, Ended: ended, Status: "s", Progress: []byte("p"), Retention: time.Hour,
			})
		}
	}
	cancel := func(ctx context.Context) (any, error) { return st.CancelJob(ctx, id, "k", "ann") }
	return []namedCall{
		{"openjob", open("j", "t1")},
		{"openjob", open("j", "t1")},
		{"notejob", note(1, []store.JobEntry{{Key: "a", State: []byte("1")}, {Key: "b"}})},
		{"notejob", note(2, []store.JobEntry{{Key: "c"}}, "a")},
		{"journal", func(ctx context.Context) (any, error) { return st.JobEntries(ctx, id, "j", "", 9) }},
		{"notejob", note(3, nil, "b", "c")},
		{"showjob", func(ctx context.Context) (any, error) { return st.InspectJob(ctx, id, "j") }},
		{"closejob", closing("j", "t1", true)},
		{"openjob", open("k", "t2")},
		{"canceljob", cancel},
		{"closejob", closing("k", "t2", false)},
		{"openjob", open("k", "t3")},
		{"closejob", closing("k", "t3", false)},
		{"canceljob", cancel},
		{"listjobs", func(ctx context.Context) (any, error) { return st.ListJobs(ctx, id, 0, 9) }},
		{"audit", func(ctx context.Context) (any, error) {
			return nil, st.AppendAudit(ctx, store.AuditRecord{Subject: id, ID: "a", Body: []byte("b"), Retention: time.Hour})
		}},
		{"additems", func(ctx context.Context) (any, error) {
			return nil, st.AppendAuditItems(ctx, id, "a", 0, []string{"m"})
		}},
		{"audited", func(ctx context.Context) (any, error) {
			list, _, err := st.ListAudit(ctx, id, "", 9)
			return list, err
		}},
		{"items", func(ctx context.Context) (any, error) {
			items, _, err := st.AuditItems(ctx, id, "a", 0)
			return items, err
		}},
	}
}
