package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var journalRules = []rule{
	{
		name: "are written by notes",
		says: "a note sets and removes entries, and keeps the progress; an empty one leaves it",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			e.same("entries", e.note(w, "b=1", "a=", "c=3").Entries, int64(3))
			e.same("the journal", e.journal("q", "j"), "a= b=1 c=3")
			e.noteProgress(w, "half")
			e.same("entries", e.note(w, "b=2", "c", "missing").Entries, int64(2))
			e.same("the journal", e.journal("q", "j"), "a= b=2")
			j := e.job("q", "j")
			e.same("the job", []any{string(j.Progress), j.Entries}, []any{"half", int64(2)})
			e.same("another's", e.journal("r", "j")+e.journal("q", "k"), "")
		},
	},
	{
		name: "take any bytes",
		says: "keys, states, spec and progress are bytes of any kind",
		check: func(e *env) {
			odd := "\x00\xff: é\n%d(["
			o := opening(odd, odd, odd, odd)
			o.Owner = odd
			got, err := e.OpenJob(e.Context(), o)
			e.ok(err)
			n := (&worker{OpenedJob: got, token: odd, number: 1}).noteOf()
			n.Set, n.Progress = []store.JobEntry{{Key: odd, State: []byte(odd)}, {Key: odd + "2"}}, []byte(odd)
			_, err = e.NoteJob(e.Context(), n)
			e.ok(err)
			entries, err := e.JobEntries(e.Context(), odd, odd, "", 9)
			e.ok(err)
			e.same("the journal", entries, []store.JobEntry{{Key: odd, State: []byte(odd)}, {Key: odd + "2"}})
			j := e.job(odd, odd)
			e.same("the job", []string{j.Owner, string(j.Spec), string(j.Progress)}, []string{odd, odd, odd})
			e.same("the list", e.jobs("", 0, 9), odd+"/"+odd)
			n.Number, n.Set, n.Remove = 2, nil, []string{odd, odd + "2"}
			noted, err := e.NoteJob(e.Context(), n)
			e.ok(err)
			e.same("entries", noted.Entries, int64(0))
		},
	},
	{
		name: "outlast their worker",
		says: "whoever resumes a job finds the journal as the last note left it, whether the lease was given back or expired",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			for i, step := range []struct{ note, want string }{{"a=claimed", "a=claimed"}, {"a=sending", "a=sending"}, {"a=sent", "a=sent"}, {"a", ""}} {
				if i == 1 {
					w.lease = brief
				}
				e.note(w, step.note)
				if i == 2 { // the longest lease stands
					e.ok(e.CloseJob(e.Context(), w.closing(false)))
					w = e.resumes("q", "j")
				}
				e.same("the journal", e.journal("q", "j"), step.want)
			}
			e.ok(e.CloseJob(e.Context(), w.closing(true)))
		},
	},
	{
		name: "are renewed by notes",
		says: "a note renews the lease from now on, and does not shorten it",
		check: func(e *env) {
			o := opening("q", "j", "t", "")
			o.Lease = brief
			got, err := e.OpenJob(e.Context(), o)
			e.ok(err)
			w := &worker{OpenedJob: got, token: "t", lease: long}
			e.Advance(time.Millisecond)
			now := e.note(w).Now
			e.near("the lease", e.job("q", "j").LeaseUntil, now, long)
			e.same("heard of", e.job("q", "j").Noted, now)
			if !now.After(got.Now) {
				e.Fatalf("the note is of %v, the opening of %v", now, got.Now)
			}
			w.lease = brief
			e.note(w)
			e.Advance(brief)
			e.isHeldJob("q", "j")
		},
	},
	{
		name: "are written once by a note",
		says: "the same note again renews the lease, writes nothing, and answers how it stands",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			w.number++
			n := w.noteOf("a=1", "b=1")
			n.Progress = []byte("p")
			_, err := e.NoteJob(e.Context(), n)
			e.ok(err)
			for range 2 {
				got, err := e.NoteJob(e.Context(), n)
				e.ok(err)
				e.same("entries", got.Entries, int64(2))
			}
			e.same("the journal", e.journal("q", "j"), "a=1 b=1")
		},
	},
	{
		name: "are not written by a note that comes late",
		says: "a note that comes after a later one is ErrConflict, and changes nothing",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			w.number++
			first := w.noteOf("a=1")
			first.Progress = []byte("first")
			_, err := e.NoteJob(e.Context(), first)
			e.ok(err)
			e.note(w, "a")
			w.number += 5 // some did not come, and will not be missed
			e.note(w, "b=1")
			before := e.job("q", "j")
			for _, number := range []int64{1, 2, 6} {
				first.Number = number
				_, err = e.NoteJob(e.Context(), first)
				e.is(err, store.ErrConflict)
			}
			e.same("the job", e.job("q", "j"), before)
			e.same("the journal", e.journal("q", "j"), "b=1")
		},
	},
	{
		name: "number their notes by opening",
		says: "the notes of an opening have numbers from 1 on",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			for range 3 {
				e.note(w, "a=1")
			}
			e.ok(e.CloseJob(e.Context(), w.closing(false)))
			e.note(e.resumes("q", "j"), "a=2")
			e.same("the journal", e.journal("q", "j"), "a=2")
		},
	},
	{
		name: "take a hundred entries a note",
		says: "a note of MaxJobEntries of the largest entries is accepted",
		check: func(e *env) {
			w := e.opens("q", "j", strings.Repeat("s", store.MaxJobBlob))
			w.number++
			n := w.noteOf()
			n.Progress = slices.Repeat([]byte("p"), store.MaxJobBlob)
			for i := range store.MaxJobEntries {
				key := fmt.Sprintf("%0*d", store.MaxID, i)
				n.Set = append(n.Set, store.JobEntry{Key: key, State: slices.Repeat([]byte("s"), store.MaxJobState)})
			}
			got, err := e.NoteJob(e.Context(), n)
			e.ok(err)
			e.same("entries", got.Entries, int64(store.MaxJobEntries))
			for _, entry := range n.Set {
				n.Remove = append(n.Remove, entry.Key)
			}
			n.Set, n.Number = nil, 2
			got, err = e.NoteJob(e.Context(), n)
			e.ok(err)
			e.same("entries", got.Entries, int64(0))
			e.same("the progress", len(e.job("q", "j").Progress), store.MaxJobBlob)
		},
	},
	{
		name: "are read in pages",
		says: "JobEntries returns the entries after a key, in the order of the keys, up to the limit and to MaxJobPage",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			for i := 0; i < 10_000; i += store.MaxJobEntries {
				var entries []string
				for k := range store.MaxJobEntries {
					entries = append(entries, fmt.Sprintf("%05d=%d", i+k, i+k))
				}
				e.note(w, entries...)
			}
			for _, limit := range []int{1 << 40, 999, store.MaxJobPage} {
				var n, calls int
				for after := ""; ; calls++ {
					page, err := e.JobEntries(e.Context(), "q", "j", after, limit)
					e.ok(err)
					if len(page) > min(limit, store.MaxJobPage) {
						e.Fatalf("a page of %d has %d entries", limit, len(page))
					}
					if len(page) == 0 {
						break
					}
					for _, entry := range page {
						if entry.Key != fmt.Sprintf("%05d", n) || string(entry.State) != fmt.Sprint(n) {
							e.Fatalf("entry %d is %q with %q", n, entry.Key, entry.State)
						}
						n++
					}
					after = page[len(page)-1].Key
				}
				e.same("entries and calls", []int{n, calls}, []int{10_000, (10_000 + min(limit, store.MaxJobPage) - 1) / min(limit, store.MaxJobPage)})
			}
			for _, limit := range []int{0, -1} {
				page, err := e.JobEntries(e.Context(), "q", "j", "", limit)
				e.ok(err)
				e.same("an empty page", len(page), 0)
			}
		},
	},
	{
		name: "are read whole while they change",
		says: "an entry that is there from the first page to the last is returned once, whatever is set and removed meanwhile",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			for i := range 40 {
				e.note(w, fmt.Sprintf("k%02d=1", i))
			}
			seen := make(map[string]int)
			after, round := "", 0
			for {
				page, err := e.JobEntries(e.Context(), "q", "j", after, 7)
				e.ok(err)
				if len(page) == 0 {
					break
				}
				for _, entry := range page {
					seen[entry.Key]++
				}
				after = page[len(page)-1].Key
				// What was read goes, and others come before and after.
				if round++; round < 6 {
					e.note(w, page[0].Key, page[1].Key, fmt.Sprintf("a%d=1", round), fmt.Sprintf("z%d=1", round))
				}
			}
			for i := range 40 {
				key := fmt.Sprintf("k%02d", i)
				e.same("times that "+key+" was read", seen[key], 1)
			}
		},
	},
	{
		name: "survive a crash between any two calls",
		says: "of a worker that dies at any call, with or without its work done, the next one finds what to do: an item is in the journal from before it is moved until after",
		check: func(e *env) {
			for n := int64(1); n <= 9; n++ {
				for _, done := range []bool{false, true} {
					subject := fmt.Sprintf("q%d-%t", n, done)
					moved := make(map[string]bool)
					var crashed bool
					for try := int64(1); try < 20; try++ {
						crash := CrashAt(n, done)
						if try > 3 {
							crash = CrashAt(1<<40, false)
						}
						crashed = moveItems(e, NewFaulty(e.Store, crash), subject, fmt.Sprintf("t%d", try), moved) != nil
						if !crashed {
							break
						}
						if j, err := e.InspectJob(e.Context(), subject, "j"); err == nil && !j.LeaseUntil.IsZero() {
							e.Advance(brief)
						}
					}
					j := e.job(subject, "j")
					e.same("crashed, ended, entries", []any{crashed, j.HasEnded(), j.Entries}, []any{false, true, int64(0)})
					e.same("moved", len(moved), 2)
				}
			}
		},
	},
}

// moveItems is a worker that moves two items, each noted before and after.
func moveItems(e *env, st store.Jobs, subject, token string, moved map[string]bool) error {
	ctx := e.Context()
	o := opening(subject, "j", token, "spec")
	o.Lease = brief
	got, err := st.OpenJob(ctx, o)
	if errors.Is(err, store.ErrEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	w := &worker{OpenedJob: got, token: token, lease: brief}
	note := func(entries ...string) error {
		w.number++
		_, err := st.NoteJob(ctx, w.noteOf(entries...))
		return err
	}
	rest, err := st.JobEntries(ctx, subject, "j", "", 9)
	if err != nil {
		return err
	}
	for _, entry := range rest { // it may have been moved or not
		moved[entry.Key] = true
		if err := note(entry.Key); err != nil {
			return err
		}
	}
	for _, item := range []string{"a", "b"} {
		if moved[item] {
			continue
		}
		if err := note(item + "=sending"); err != nil {
			return err
		}
		moved[item] = true
		if err := note(item); err != nil {
			return err
		}
	}
	return st.CloseJob(ctx, w.closing(true))
}

// A worker is one that has opened a job.
type worker struct {
	store.OpenedJob
	token  string
	number int64 // of the last note
	lease  time.Duration
}

// opening asks for a subject, for long.
func opening(subject, id, token, spec string) store.JobOpening {
	return store.JobOpening{Subject: subject, ID: id, Owner: "owner of " + token, Token: token, Lease: long, Spec: []byte(spec)}
}

// noteOf is a note that sets entries, as in a=1, and removes others, as in a.
func (w *worker) noteOf(entries ...string) store.JobNote {
	n := store.JobNote{Subject: w.Subject, ID: w.ID, Fence: w.Fence, Token: w.token, Number: w.number, Lease: w.lease}
	if n.Lease == 0 {
		n.Lease = long
	}
	for _, entry := range entries {
		if key, state, set := strings.Cut(entry, "="); set {
			n.Set = append(n.Set, store.JobEntry{Key: key, State: []byte(state)})
		} else {
			n.Remove = append(n.Remove, key)
		}
	}
	return n
}

// closing gives the lease back, and ends the job or not.
func (w *worker) closing(ended bool) store.JobClosing {
	c := store.JobClosing{Subject: w.Subject, ID: w.ID, Fence: w.Fence, Token: w.token, Ended: ended}
	if ended {
		c.Status, c.Retention = "done", long
	}
	return c
}

// opens opens a job for long.
func (e *env) opens(subject, id, spec string) *worker {
	e.Helper()
	o := opening(subject, id, e.unique("token"), spec)
	got, err := e.OpenJob(e.Context(), o)
	e.ok(err)
	return &worker{OpenedJob: got, token: o.Token}
}

// resumes opens a job that is there for long.
func (e *env) resumes(subject, id string) *worker {
	e.Helper()
	o := opening(subject, id, e.unique("token"), "")
	o.Resume = true
	got, err := e.OpenJob(e.Context(), o)
	e.ok(err)
	return &worker{OpenedJob: got, token: o.Token}
}

// finished opens a job and ends it, to be on record for d.
func (e *env) finished(subject, id string, d time.Duration) {
	e.Helper()
	c := e.opens(subject, id, "").closing(true)
	c.Retention = d
	e.ok(e.CloseJob(e.Context(), c))
}

// note makes a worker's next note.
func (e *env) note(w *worker, entries ...string) store.JobNoted {
	e.Helper()
	w.number++
	got, err := e.NoteJob(e.Context(), w.noteOf(entries...))
	e.ok(err)
	return got
}

// noteProgress makes a worker's next note, of progress alone.
func (e *env) noteProgress(w *worker, progress string) {
	e.Helper()
	w.number++
	n := w.noteOf()
	n.Progress = []byte(progress)
	_, err := e.NoteJob(e.Context(), n)
	e.ok(err)
}

// job reads a job.
func (e *env) job(subject, id string) store.Job {
	e.Helper()
	j, err := e.InspectJob(e.Context(), subject, id)
	e.ok(err)
	return j
}

// jobs reads the names of jobs.
func (e *env) jobs(subject string, offset, limit int) string {
	e.Helper()
	list, err := e.ListJobs(e.Context(), subject, offset, limit)
	e.ok(err)
	var names []string
	for _, j := range list {
		names = append(names, j.Subject+"/"+j.ID)
	}
	return strings.Join(names, " ")
}

// journal reads the first entries of a job, as noteOf has them.
func (e *env) journal(subject, id string) string {
	e.Helper()
	list, err := e.JobEntries(e.Context(), subject, id, "", 100)
	e.ok(err)
	var entries []string
	for _, entry := range list {
		entries = append(entries, entry.Key+"="+string(entry.State))
	}
	return strings.Join(entries, " ")
}

// isHeldJob checks that somebody holds the lease on a job.
func (e *env) isHeldJob(subject, id string) {
	e.Helper()
	o := opening(subject, id, e.unique("token"), "")
	o.Resume = true
	_, err := e.OpenJob(e.Context(), o)
	e.is(err, store.ErrBusy)
}
