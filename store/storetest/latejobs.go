package storetest

import "github.com/waybill-dev/waybill/store"

// lateJobRules say what a repeat does of a job's calls that comes when its caller
// has long had the answer to another try, and has gone on.
var lateJobRules = []rule{
	{
		name: "note and closing change nothing",
		says: "a NoteJob or CloseJob that comes after the lease was given back changes nothing, whoever has opened the job since",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			w.number++
			late := w.noteOf("a=1")
			late.Progress = []byte("late")
			_, err := e.NoteJob(e.Context(), late)
			e.ok(err)
			e.note(w, "a", "b=1")
			w.number++
			last := w.noteOf("c=1")
			_, err = e.NoteJob(e.Context(), last)
			e.ok(err)
			e.ok(e.CloseJob(e.Context(), w.closing(false)))
			unchanged := func() {
				e.Helper()
				before, journal := e.job("q", "j"), e.journal("q", "j")
				for _, n := range []store.JobNote{late, last} {
					_, err := e.NoteJob(e.Context(), n)
					e.is(err, store.ErrLeaseLost)
				}
				e.ok(e.CloseJob(e.Context(), w.closing(false))) // is done, as it was
				e.is(e.CloseJob(e.Context(), w.closing(true)), store.ErrLeaseLost)
				e.same("the job", e.job("q", "j"), before)
				e.same("the journal", e.journal("q", "j"), journal)
			}
			unchanged()
			next := e.resumes("q", "j")
			unchanged()
			e.note(next, "b", "c")
			e.ok(e.CloseJob(e.Context(), next.closing(true)))
			before := e.job("q", "j")
			e.ok(e.CloseJob(e.Context(), next.closing(true)))
			e.is(e.CloseJob(e.Context(), next.closing(false)), store.ErrLeaseLost)
			e.is(e.CloseJob(e.Context(), w.closing(false)), store.ErrLeaseLost)
			e.same("the job", e.job("q", "j"), before)
			e.opens("q", "j2", "")
			e.ok(e.CloseJob(e.Context(), next.closing(true)))
			e.isHeldJob("q", "j2")
		},
	},
	{
		name: "opening does not take what it gave back",
		says: "an OpenJob that comes after its lease was given back is ErrLeaseLost until a later opening is given back; then it takes the lease that nobody holds, and one that has expired runs out by itself",
		check: func(e *env) {
			first := opening("q", "j", "t1", "")
			got, err := e.OpenJob(e.Context(), first)
			e.ok(err)
			e.ok(e.CloseJob(e.Context(), (&worker{OpenedJob: got, token: "t1"}).closing(false)))
			before := e.job("q", "j")
			_, err = e.OpenJob(e.Context(), first)
			e.is(err, store.ErrLeaseLost)
			e.same("the job", e.job("q", "j"), before)

			second := e.resumes("q", "j")
			before = e.job("q", "j")
			_, err = e.OpenJob(e.Context(), first)
			if err == nil {
				e.Fatal("it took the lease that another holds")
			}
			e.same("the job", e.job("q", "j"), before)
			e.ok(e.CloseJob(e.Context(), second.closing(false)))
			first.Lease = brief
			late, err := e.OpenJob(e.Context(), first)
			e.ok(err)
			if late.Fence <= second.Fence {
				e.Fatalf("fence %d comes after %d", late.Fence, second.Fence)
			}
			e.Advance(brief)
			third := e.resumes("q", "j")
			e.ok(e.CloseJob(e.Context(), third.closing(true)))
			_, err = e.OpenJob(e.Context(), first)
			e.is(err, store.ErrEnded)
		},
	},
	{
		name: "opening begins anew only when the record is gone",
		says: "an OpenJob that comes when the job is no longer on record makes it once more",
		check: func(e *env) {
			e.finished("q", "j", brief)
			o := opening("q", "j", "t", "")
			e.Advance(brief)
			got, err := e.OpenJob(e.Context(), o)
			e.ok(err)
			e.same("openings", got.Openings, int64(1))
			_, err = e.CancelJob(e.Context(), "q", "j", "ann")
			e.ok(err)
		},
	},
	{
		name: "audit record is added anew only when it is gone",
		says: "an AppendAudit that comes when the record is no longer kept adds it once more",
		check: func(e *env) {
			e.appends("q", "a", "body", brief)
			e.Advance(brief)
			e.appends("q", "a", "body", long)
			e.same("the records", e.audited("q"), "q/a")
		},
	},
}
