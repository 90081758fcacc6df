package storetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var jobRules = []rule{
	{
		name: "are opened on a subject that has none",
		says: "OpenJob takes the lease on a subject for a new job",
		check: func(e *env) {
			for _, subject := range []string{"q1", "q2"} {
				w := e.opens(subject, "j1", "spec")
				e.near("the lease", w.LeaseUntil, w.Now, long)
				e.same("the job", w.Job, store.Job{
					Subject: subject, ID: "j1", Spec: []byte("spec"), Owner: "owner of " + w.token, Openings: 1, Fence: w.Fence,
					Created: w.Created, Since: w.Created, Noted: w.Created, LeaseUntil: w.LeaseUntil,
				})
				e.near("when it was made", w.Created, w.Now, 0)
				if w.Fence < 1 {
					e.Fatalf("the fence is %d", w.Fence)
				}
				e.same("the job, read", e.job(subject, "j1"), w.Job)
			}
		},
	},
	{
		name: "have one worker at a time",
		says: "while somebody holds the lease, another's OpenJob is a JobHeldError that matches ErrBusy and tells who, since when and until when, for whichever job it asks",
		check: func(e *env) {
			w := e.opens("q", "j1", "spec")
			for _, id := range []string{"j1", "j2"} {
				for _, resume := range []bool{false, true} {
					o := opening("q", id, "other", "spec")
					o.Resume = resume
					_, err := e.OpenJob(e.Context(), o)
					e.is(err, store.ErrBusy)
					var held *store.JobHeldError
					if !errors.As(err, &held) || !strings.Contains(err.Error(), w.Owner) {
						e.Fatalf("got error %v, want a JobHeldError", err)
					}
					e.same("who holds it", *held, store.JobHeldError{Subject: "q", ID: "j1", Owner: w.Owner, Since: w.Since, Until: w.LeaseUntil})
				}
			}
			e.same("the job", e.job("q", "j1"), w.Job)
			e.opens("another", "j1", "")
		},
	},
	{
		name: "know an opening again",
		says: "the same token again is the same opening, and renews the lease",
		check: func(e *env) {
			o := opening("q", "j", "t", "spec")
			o.Lease = brief
			first, err := e.OpenJob(e.Context(), o)
			e.ok(err)
			o.Lease = long
			for range 2 {
				again, err := e.OpenJob(e.Context(), o)
				e.ok(err)
				e.near("the lease", again.LeaseUntil, again.Now, long)
				e.same("fence, openings and since", []any{again.Fence, again.Openings, again.Since}, []any{first.Fence, int64(1), first.Since})
			}
			e.Advance(brief)
			e.isHeldJob("q", "j")
			e.note(&worker{OpenedJob: first, token: "t"})
			o.Lease = brief // does not shorten it
			again, err := e.OpenJob(e.Context(), o)
			e.ok(err)
			e.near("the lease", again.LeaseUntil, again.Now, long)
		},
	},
	{
		name: "are taken up by another when the lease has expired",
		says: "an unfinished job whose lease has expired can be opened by another, under a higher fence; the first one's calls are ErrLeaseLost then, and go through before",
		check: func(e *env) {
			o := opening("q", "j", "t1", "spec")
			o.Lease = brief
			got, err := e.OpenJob(e.Context(), o)
			e.ok(err)
			first := &worker{OpenedJob: got, token: "t1", lease: brief}
			e.note(first, "a=1")
			e.Advance(brief)
			e.note(first, "b=1") // nobody has it yet
			e.Advance(brief)
			second := e.resumes("q", "j")
			e.same("openings and entries", []int64{second.Openings, second.Entries}, []int64{2, 2})
			if second.Fence <= first.Fence {
				e.Fatalf("the second fence is %d, the first was %d", second.Fence, first.Fence)
			}
			e.same("the first time", second.Created, first.Created)
			first.number++
			_, err = e.NoteJob(e.Context(), first.noteOf("c=1"))
			e.is(err, store.ErrLeaseLost)
			e.is(e.CloseJob(e.Context(), first.closing(false)), store.ErrLeaseLost)
			e.is(e.CloseJob(e.Context(), first.closing(true)), store.ErrLeaseLost)
			e.same("the journal", e.journal("q", "j"), "a=1 b=1")
			e.isHeldJob("q", "j")
		},
	},
	{
		name: "are told apart by fence and token",
		says: "a call under another fence or another token than the opening's is ErrLeaseLost",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			fence, token := *w, *w
			fence.Fence--
			token.token = "another"
			for _, wrong := range []*worker{&fence, &token} {
				wrong.number = 1
				_, err := e.NoteJob(e.Context(), wrong.noteOf("a=1"))
				e.is(err, store.ErrLeaseLost)
				e.is(e.CloseJob(e.Context(), wrong.closing(true)), store.ErrLeaseLost)
			}
			e.same("the job", e.job("q", "j"), w.Job)
			e.ok(e.CloseJob(e.Context(), w.closing(false)))
			for _, wrong := range []*worker{&fence, &token} {
				e.is(e.CloseJob(e.Context(), wrong.closing(false)), store.ErrLeaseLost)
			}
			w = e.resumes("q", "j")
			other := *w
			other.ID, other.number = "another", 1
			_, err := e.NoteJob(e.Context(), other.noteOf("a=1"))
			e.is(err, store.ErrLeaseLost)
			e.same("the job", e.job("q", "j"), w.Job)
		},
	},
	{
		name: "are one at a time",
		says: "a subject with a job that has not ended and that nobody holds has no other: that is a JobOpenError",
		check: func(e *env) {
			w := e.opens("q", "j1", "")
			e.note(w, "a=1")
			e.ok(e.CloseJob(e.Context(), w.closing(false)))
			_, err := e.OpenJob(e.Context(), opening("q", "j2", "t", ""))
			var open *store.JobOpenError
			if !errors.As(err, &open) || errors.Is(err, store.ErrBusy) {
				e.Fatalf("got error %v, want a JobOpenError", err)
			}
			e.same("what is open", *open, store.JobOpenError{Subject: "q", ID: "j1", Owner: w.Owner, Since: w.Since})
			_, err = e.InspectJob(e.Context(), "q", "j2")
			e.is(err, store.ErrNotFound)
			w = e.resumes("q", "j1")
			e.note(w, "a")
			e.ok(e.CloseJob(e.Context(), w.closing(true)))
			e.opens("q", "j2", "")
		},
	},
	{
		name: "are resumed where they are",
		says: "Resume takes up a job that is there, and makes none: that is ErrNotFound",
		check: func(e *env) {
			o := opening("q", "j", "t", "")
			o.Resume = true
			_, err := e.OpenJob(e.Context(), o)
			e.is(err, store.ErrNotFound)
			_, err = e.InspectJob(e.Context(), "q", "j")
			e.is(err, store.ErrNotFound)
			w := e.opens("q", "j", "spec")
			e.ok(e.CloseJob(e.Context(), w.closing(false)))
			e.same("the spec", string(e.resumes("q", "j").Spec), "spec")
		},
	},
	{
		name: "keep their spec",
		says: "a job goes on with the spec that it was made with; with another it is a JobSpecError, and an empty one will do to resume it",
		check: func(e *env) {
			w := e.opens("q", "j", "spec")
			e.ok(e.CloseJob(e.Context(), w.closing(false)))
			for _, tt := range []struct {
				spec   string
				resume bool
				ok     bool
			}{{"other", false, false}, {"other", true, false}, {"", false, false}, {"spec", false, true}, {"spec", true, true}, {"", true, true}} {
				o := opening("q", "j", e.unique("token"), tt.spec)
				o.Resume = tt.resume
				got, err := e.OpenJob(e.Context(), o)
				if tt.ok {
					e.ok(err)
					e.text("the spec", got.Spec, "spec")
					e.ok(e.CloseJob(e.Context(), (&worker{OpenedJob: got, token: o.Token}).closing(false)))
					continue
				}
				e.is(err, store.ErrExists)
				var spec *store.JobSpecError
				if !errors.As(err, &spec) || spec.ID != "j" || spec.Subject != "q" {
					e.Fatalf("got error %v, want a JobSpecError", err)
				}
			}
		},
	},
	{
		name: "are given back",
		says: "CloseJob gives the lease back, and keeps status and progress; the job can be opened at once",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			e.noteProgress(w, "half")
			c := w.closing(false)
			c.Status = "interrupted"
			e.ok(e.CloseJob(e.Context(), c))
			j := e.job("q", "j")
			e.same("the job", []any{j.LeaseUntil, j.Status, string(j.Progress), j.HasEnded(), j.KeptUntil, j.Owner},
				[]any{time.Time{}, "interrupted", "half", false, time.Time{}, w.Owner})
			w = e.resumes("q", "j")
			e.same("what it finds", []any{w.Status, string(w.Progress), w.Openings}, []any{"", "half", int64(2)})
			c = w.closing(true)
			c.Status, c.Progress = "done", []byte("all")
			e.ok(e.CloseJob(e.Context(), c))
			j = e.job("q", "j")
			e.same("the job", []any{j.LeaseUntil, j.Status, string(j.Progress), j.HasEnded()}, []any{time.Time{}, "done", "all", true})
			e.near("its record", j.KeptUntil, j.Ended, long)
		},
	},
	{
		name: "do not end with items in hand",
		says: "closing a job for good whose journal has entries is a JobEntriesError, and the lease stays",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			e.note(w, "a=1", "b=1")
			before := e.job("q", "j")
			c := w.closing(true)
			c.Status, c.Progress = "done", []byte("all")
			err := e.CloseJob(e.Context(), c)
			var entries *store.JobEntriesError
			if !errors.As(err, &entries) {
				e.Fatalf("got error %v, want a JobEntriesError", err)
			}
			e.same("what is in hand", *entries, store.JobEntriesError{Subject: "q", ID: "j", Entries: 2})
			e.same("the job", e.job("q", "j"), before)
			e.isHeldJob("q", "j")
			e.note(w, "a", "b")
			e.ok(e.CloseJob(e.Context(), c))
			e.same("entries", e.job("q", "j").Entries, int64(0))
		},
	},
	{
		name: "end once",
		says: "a job that has ended stays so: OpenJob is a JobEndedError that matches ErrEnded and tells the status and when",
		check: func(e *env) {
			e.finished("q", "j", long)
			j := e.job("q", "j")
			for _, resume := range []bool{false, true} {
				o := opening("q", "j", "t", "")
				o.Resume = resume
				_, err := e.OpenJob(e.Context(), o)
				e.is(err, store.ErrEnded)
				var over *store.JobEndedError
				if !errors.As(err, &over) {
					e.Fatalf("got error %v, want a JobEndedError", err)
				}
				e.same("the end", *over, store.JobEndedError{Subject: "q", ID: "j", Status: "done", Ended: j.Ended})
			}
			e.opens("q", "j2", "") // also while another is at work
			_, err := e.OpenJob(e.Context(), opening("q", "j", "t", ""))
			e.is(err, store.ErrEnded)
			e.same("the job", e.job("q", "j"), j)
		},
	},
	{
		name: "are on record for the retention",
		says: "a job that has ended is on record for its retention, and no longer, whatever ends meanwhile",
		check: func(e *env) {
			e.finished("q", "brief", brief)
			e.finished("q", "long", long)
			e.Advance(brief)
			for range 2 {
				_, err := e.InspectJob(e.Context(), "q", "brief")
				e.is(err, store.ErrNotFound)
				_, err = e.CancelJob(e.Context(), "q", "brief", "a")
				e.is(err, store.ErrNotFound)
				e.same("the list", e.jobs("q", 0, 9), "q/long")
				e.same("the list of all", e.jobs("", 0, 9), "q/long")
				e.finished("q", "also brief", brief) // drops what is over
				e.Advance(brief)
			}
			e.same("a job of that name", e.opens("q", "brief", "").Openings, int64(1))
			e.same("the list", e.jobs("q", 0, 9), "q/brief q/long")
		},
	},
	{
		name: "have fences that grow",
		says: "each opening gives a fence that is higher than those of all openings of that subject before, whatever ended or expired meanwhile",
		check: func(e *env) {
			var last int64
			for i := range 12 {
				id := fmt.Sprintf("j%d", i/3)
				o := opening("q", id, e.unique("token"), "")
				got, err := e.OpenJob(e.Context(), o)
				e.ok(err)
				if got.Fence <= last {
					e.Fatalf("fence %d comes after %d", got.Fence, last)
				}
				last = got.Fence
				c := (&worker{OpenedJob: got, token: o.Token}).closing(i%3 == 2)
				c.Retention = time.Millisecond
				e.ok(e.CloseJob(e.Context(), c))
				e.Advance(time.Millisecond)
			}
		},
	},
	{
		name: "hear of it when they are to stop",
		says: "CancelJob keeps who told a job to stop first, and when; its worker hears of it by its next note, and ends it",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			e.same("cancelled", e.note(w, "a=1").Cancelled(), false)
			until := e.job("q", "j").LeaseUntil
			j, err := e.CancelJob(e.Context(), "q", "j", "ann")
			e.ok(err)
			e.same("the job", []any{j.CancelledBy, j.Cancelled(), j.HasEnded(), j.LeaseUntil, j.Entries}, []any{"ann", true, false, until, int64(1)})
			e.Advance(time.Millisecond)
			again, err := e.CancelJob(e.Context(), "q", "j", "bob")
			e.ok(err)
			e.same("the job", again, j)
			for _, entries := range []string{"b=1", "a", "b"} {
				got := e.note(w, entries)
				e.same("told", []any{got.Cancelled(), got.CancelledBy, got.CancelledAt}, []any{true, "ann", j.CancelledAt})
			}
			c := w.closing(true)
			c.Status = "stopped"
			e.ok(e.CloseJob(e.Context(), c))
			j = e.job("q", "j")
			e.same("the job", []any{j.CancelledBy, j.Cancelled(), j.Status, j.HasEnded()}, []any{"ann", true, "stopped", true})
			after, err := e.CancelJob(e.Context(), "q", "j", "bob")
			e.ok(err)
			e.same("a job that has ended", after, j)
		},
	},
	{
		name: "end when they are cancelled and nobody is at work",
		says: "CancelJob ends a job that nobody holds and whose journal is empty, also one that was told before; a repeat answers alike",
		check: func(e *env) {
			w := e.opens("q", "given back", "")
			e.ok(e.CloseJob(e.Context(), w.closing(false)))
			o := opening("r", "expired", "t", "")
			o.Lease = brief
			_, err := e.OpenJob(e.Context(), o)
			e.ok(err)
			_, err = e.CancelJob(e.Context(), "r", "expired", "ann")
			e.ok(err)
			e.Advance(brief)
			for subject, id := range map[string]string{"q": "given back", "r": "expired"} {
				j, err := e.CancelJob(e.Context(), subject, id, "ann")
				e.ok(err)
				e.same("the job", []any{j.CancelledBy, j.Cancelled(), j.Status, j.HasEnded(), j.LeaseUntil}, []any{"ann", true, store.CancelledJob, true, time.Time{}})
				e.near("its record", j.KeptUntil, j.Ended, store.CancelledJobRetention)
				again, err := e.CancelJob(e.Context(), subject, id, "bob")
				e.ok(err)
				e.same("a repeat", again, j)
				e.same("the job, read", e.job(subject, id), j)
				e.opens(subject, "next", "")
			}
			_, err = e.NoteJob(e.Context(), (&worker{OpenedJob: w.OpenedJob, token: w.token, number: 9}).noteOf("a=1"))
			e.is(err, store.ErrLeaseLost)
			_, err = e.CancelJob(e.Context(), "q", "missing", "ann")
			e.is(err, store.ErrNotFound)
		},
	},
	{
		name: "finish what is in hand when they are cancelled",
		says: "CancelJob leaves a job with entries, which has to be opened once more, to finish them and end",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			e.note(w, "a=1")
			e.ok(e.CloseJob(e.Context(), w.closing(false)))
			j, err := e.CancelJob(e.Context(), "q", "j", "ann")
			e.ok(err)
			e.same("the job", []any{j.HasEnded(), j.Cancelled(), j.Entries}, []any{false, true, int64(1)})
			var open *store.JobOpenError
			if _, err := e.OpenJob(e.Context(), opening("q", "j2", "t", "")); !errors.As(err, &open) {
				e.Fatalf("got error %v, want a JobOpenError", err)
			}
			w = e.resumes("q", "j")
			e.same("told", []any{w.Cancelled(), w.CancelledBy}, []any{true, "ann"})
			e.note(w, "a")
			e.ok(e.CloseJob(e.Context(), w.closing(true)))
			e.opens("q", "j2", "")
		},
	},
	{
		name: "are listed, the newest first",
		says: "ListJobs returns the jobs of a subject, or of all, the newest first, from an offset on",
		check: func(e *env) {
			e.same("the list at first", []string{e.jobs("", 0, 9), e.jobs("q", 0, 9)}, []string{"", ""})
			var all, ofQ []string
			for i := range 12 {
				subject, id := []string{"q", "q:1", "r"}[i%3], fmt.Sprintf("%d:j", i%7)
				e.finished(subject, id, long)
				e.Advance(2 * time.Millisecond)
				all = append([]string{subject + "/" + id}, all...)
				if subject == "q" {
					ofQ = append([]string{subject + "/" + id}, ofQ...)
				}
			}
			e.opens("q", "open", "")
			all, ofQ = append([]string{"q/open"}, all...), append([]string{"q/open"}, ofQ...)
			for _, tt := range []struct{ offset, limit int }{{0, 100}, {0, 1}, {1, 3}, {4, 4}, {12, 2}, {13, 1}, {3, 1 << 62}, {1 << 62, 3}, {0, 0}, {-1, 5}} {
				for subject, list := range map[string][]string{"": all, "q": ofQ} {
					want := list[max(0, min(tt.offset, len(list))):]
					want = want[:max(0, min(tt.limit, len(want)))]
					if tt.offset < 0 {
						want = nil
					}
					e.same(fmt.Sprintf("ListJobs(%q, %d, %d)", subject, tt.offset, tt.limit), e.jobs(subject, tt.offset, tt.limit), strings.Join(want, " "))
				}
			}
			list, err := e.ListJobs(e.Context(), "q", 0, 100)
			e.ok(err)
			for _, j := range list {
				e.same("a job", j, e.job("q", j.ID))
			}
		},
	},
	{
		name: "are listed past what is over",
		says: "jobs whose record is over take no places in a list",
		check: func(e *env) {
			e.finished("q", "first", long)
			e.Advance(2 * time.Millisecond)
			for i := range 5 {
				e.finished("q", fmt.Sprint(i), brief)
			}
			e.Advance(brief)
			e.same("the lists", []string{e.jobs("q", 0, 1), e.jobs("", 0, 1), e.jobs("q", 1, 1)}, []string{"q/first", "q/first", ""})
		},
	},
	{
		name: "are opened by one of many",
		says: "of those who open a subject at once one has the lease, whatever jobs they ask for",
		check: func(e *env) {
			for round := range 5 {
				subject, won := fmt.Sprintf("q%d", round), 0
				for i, err := range race(func(i int) error {
					_, err := e.OpenJob(e.Context(), opening(subject, fmt.Sprintf("j%d", i%3), fmt.Sprintf("t%d", i), ""))
					return err
				}) {
					if err == nil {
						won++
						continue
					}
					if !errors.Is(err, store.ErrBusy) {
						e.Fatalf("racer %d: got error %v, want ErrBusy", i, err)
					}
				}
				e.same("openings", won, 1)
			}
		},
	},
}
