package storetest

import (
	"strings"

	"github.com/waybill-dev/waybill/store"
)

var jobRequestRules = []rule{
	{
		name: "that no store accepts are refused",
		says: "a request of a job or an audit record that no store accepts answers ErrInvalid, and changes nothing",
		check: func(e *env) {
			w := e.opens("q", "j", "spec")
			e.note(w, "a=1")
			e.appends("q", "r", "body", long)
			tooLong, ctx := strings.Repeat("x", store.MaxID+1), e.Context()
			open := func(change func(*store.JobOpening)) func() error {
				return func() error {
					o := opening("free", "j", "t", "")
					change(&o)
					_, err := e.OpenJob(ctx, o)
					return err
				}
			}
			note := func(change func(*store.JobNote)) func() error {
				return func() error {
					n := (&worker{OpenedJob: w.OpenedJob, token: w.token, number: 2}).noteOf("b=1", "a")
					change(&n)
					_, err := e.NoteJob(ctx, n)
					return err
				}
			}
			closing := func(change func(*store.JobClosing)) func() error {
				return func() error {
					c := w.closing(true)
					change(&c)
					return e.CloseJob(ctx, c)
				}
			}
			cancel := func(subject, id, by string) func() error {
				return func() error { _, err := e.CancelJob(ctx, subject, id, by); return err }
			}
			inspect := func(subject, id string) func() error {
				return func() error { _, err := e.InspectJob(ctx, subject, id); return err }
			}
			page := func(subject, id, after string) func() error {
				return func() error { _, err := e.JobEntries(ctx, subject, id, after, 1); return err }
			}
			audit := func(change func(*store.AuditRecord)) func() error {
				return func() error {
					r := store.AuditRecord{Subject: "q", ID: "new", Body: []byte("body"), Retention: long}
					change(&r)
					return e.AppendAudit(ctx, r)
				}
			}
			add := func(subject, id string, page int, items ...string) func() error {
				return func() error { return e.AppendAuditItems(ctx, subject, id, page, items) }
			}
			items := func(subject, id string, page int) func() error {
				return func() error { _, _, err := e.AuditItems(ctx, subject, id, page); return err }
			}
			list := func(subject, before string) func() error {
				return func() error { _, _, err := e.ListAudit(ctx, subject, before, 1); return err }
			}
			calls := map[string]func() error{
				"open without a subject":     open(func(o *store.JobOpening) { o.Subject = "" }),
				"open a long subject":        open(func(o *store.JobOpening) { o.Subject = tooLong }),
				"open without an id":         open(func(o *store.JobOpening) { o.ID = "" }),
				"open without an owner":      open(func(o *store.JobOpening) { o.Owner = "" }),
				"open without a token":       open(func(o *store.JobOpening) { o.Token = "" }),
				"open without a lease":       open(func(o *store.JobOpening) { o.Lease = 0 }),
				"open with a large spec":     open(func(o *store.JobOpening) { o.Spec = make([]byte, store.MaxJobBlob+1) }),
				"note without a subject":     note(func(n *store.JobNote) { n.Subject = "" }),
				"note without an id":         note(func(n *store.JobNote) { n.ID = "" }),
				"note without a fence":       note(func(n *store.JobNote) { n.Fence = 0 }),
				"note without a token":       note(func(n *store.JobNote) { n.Token = "" }),
				"note without a number":      note(func(n *store.JobNote) { n.Number = 0 }),
				"note with a huge number":    note(func(n *store.JobNote) { n.Number = 1 << 53 }),
				"note without a lease":       note(func(n *store.JobNote) { n.Lease = 0 }),
				"note with large progress":   note(func(n *store.JobNote) { n.Progress = make([]byte, store.MaxJobBlob+1) }),
				"set an entry without a key": note(func(n *store.JobNote) { n.Set[0].Key = "" }),
				"set a large entry":          note(func(n *store.JobNote) { n.Set[0].State = make([]byte, store.MaxJobState+1) }),
				"set an entry twice":         note(func(n *store.JobNote) { n.Set = append(n.Set, n.Set[0]) }),
				"set and remove an entry":    note(func(n *store.JobNote) { n.Remove[0] = "b" }),
				"remove an entry twice":      note(func(n *store.JobNote) { n.Remove = append(n.Remove, "a") }),
				"remove a long key":          note(func(n *store.JobNote) { n.Remove[0] = tooLong }),
				"note of too many entries": note(func(n *store.JobNote) {
					for i := range store.MaxJobEntries - 1 {
						n.Set = append(n.Set, store.JobEntry{Key: strings.Repeat("k", i+2)})
					}
				}),
				"close without a subject":       closing(func(c *store.JobClosing) { c.Subject = "" }),
				"close without an id":           closing(func(c *store.JobClosing) { c.ID = "" }),
				"close without a fence":         closing(func(c *store.JobClosing) { c.Fence = 0 }),
				"close without a token":         closing(func(c *store.JobClosing) { c.Token = "" }),
				"close with two lines":          closing(func(c *store.JobClosing) { c.Status = "a\nb" }),
				"close with a long status":      closing(func(c *store.JobClosing) { c.Status = tooLong }),
				"close with large progress":     closing(func(c *store.JobClosing) { c.Progress = make([]byte, store.MaxJobBlob+1) }),
				"end without a retention":       closing(func(c *store.JobClosing) { c.Retention = 0 }),
				"cancel without a subject":      cancel("", "j", "ann"),
				"cancel without an id":          cancel("q", "", "ann"),
				"cancel by nobody":              cancel("q", "j", ""),
				"inspect without a subject":     inspect("", "j"),
				"inspect without an id":         inspect("q", ""),
				"list a long subject":           func() error { _, err := e.ListJobs(ctx, tooLong, 0, 1); return err },
				"entries without a subject":     page("", "j", ""),
				"entries without an id":         page("q", "", ""),
				"entries after a long key":      page("q", "j", tooLong),
				"audit without a subject":       audit(func(r *store.AuditRecord) { r.Subject = "" }),
				"audit without an id":           audit(func(r *store.AuditRecord) { r.ID = "" }),
				"audit with a large body":       audit(func(r *store.AuditRecord) { r.Body = make([]byte, store.MaxAuditBody+1) }),
				"audit without a retention":     audit(func(r *store.AuditRecord) { r.Retention = 0 }),
				"add items without a subject":   add("", "r", 0, "m"),
				"add items without an id":       add("q", "", 0, "m"),
				"add a negative page":           add("q", "r", -1, "m"),
				"add too high a page":           add("q", "r", store.MaxAuditPages, "m"),
				"add no items":                  add("q", "r", 0),
				"add an empty item":             add("q", "r", 0, "m", ""),
				"add a long item":               add("q", "r", 0, tooLong),
				"add too many items":            add("q", "r", 0, make([]string, store.MaxAuditItems+1)...),
				"items without a subject":       items("", "r", 0),
				"items without an id":           items("q", "", 0),
				"items of a negative page":      items("q", "r", -1),
				"records of a long subject":     list(tooLong, ""),
				"records after nothing":         list("q", "7"),
				"records after no number":       list("q", "x:q"),
				"records after a wrong number":  list("q", "0:q"),
				"records after a long subject":  list("q", "7:"+tooLong),
				"records after too high a page": list("q", "9007199254740992:q"),
			}
			before, journal := e.job("q", "j"), e.journal("q", "j")
			for name, call := range calls {
				if err := call(); err == nil {
					e.Errorf("%s: no error", name)
				} else {
					e.is(err, store.ErrInvalid)
				}
			}
			e.same("the job", e.job("q", "j"), before)
			e.same("the journal", e.journal("q", "j"), journal)
			e.same("the jobs", e.jobs("", 0, 9), "q/j")
			e.same("the records", e.audited(""), "q/r")
			e.same("the items", e.items("q", "r", 0), " of 0")
		},
	},
	{
		name: "with the longest ids are accepted",
		says: "subjects, ids, owners, tokens and keys have up to MaxID bytes",
		check: func(e *env) {
			id := strings.Repeat("x", store.MaxID)
			o := opening(id, id, id, "")
			o.Owner = id
			got, err := e.OpenJob(e.Context(), o)
			e.ok(err)
			w := &worker{OpenedJob: got, token: id}
			e.note(w, id+"=1")
			page, err := e.JobEntries(e.Context(), id, id, id, 1)
			e.ok(err)
			e.same("entries after the last", len(page), 0)
			e.same("the journal", e.journal(id, id), id+"=1")
			e.note(w, id)
			_, err = e.CancelJob(e.Context(), id, id, id)
			e.ok(err)
			e.ok(e.CloseJob(e.Context(), w.closing(true)))
			e.same("the list", e.jobs(id, 0, 1), id+"/"+id)
		},
	},
	{
		name: "whose context has ended are not made",
		says: "a call whose context has ended fails, and changes nothing",
		check: func(e *env) {
			w := e.opens("q", "j", "")
			ctx := ended(e)
			for name, call := range map[string]func() error{
				"open":    func() error { _, err := e.OpenJob(ctx, opening("r", "j", "t", "")); return err },
				"note":    func() error { w.number = 1; _, err := e.NoteJob(ctx, w.noteOf("a=1")); return err },
				"close":   func() error { return e.CloseJob(ctx, w.closing(true)) },
				"cancel":  func() error { _, err := e.CancelJob(ctx, "q", "j", "ann"); return err },
				"inspect": func() error { _, err := e.InspectJob(ctx, "q", "j"); return err },
				"list":    func() error { _, err := e.ListJobs(ctx, "", 0, 1); return err },
				"entries": func() error { _, err := e.JobEntries(ctx, "q", "j", "", 1); return err },
				"audit": func() error {
					return e.AppendAudit(ctx, store.AuditRecord{Subject: "q", ID: "r", Retention: long})
				},
				"records": func() error { _, _, err := e.ListAudit(ctx, "", "", 1); return err },
				"add":     func() error { return e.AppendAuditItems(ctx, "q", "r", 0, []string{"m"}) },
				"items":   func() error { _, _, err := e.AuditItems(ctx, "q", "r", 0); return err },
			} {
				if err := call(); err == nil {
					e.Errorf("%s: no error", name)
				} else {
					e.is(err, ctx.Err())
				}
			}
			e.same("the job", e.job("q", "j"), w.Job)
			e.same("jobs and records", []string{e.jobs("", 0, 9), e.audited("")}, []string{"q/j", ""})
		},
	},
}
