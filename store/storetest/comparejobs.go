package storetest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
)

// CompareJobs does with jobs and audit records what [Compare] does with the rest:
// two stores answer alike, and the answers tell one story: fences grow, a note is
// written once and under the last opening alone, nothing leaves a journal but by
// a note, and a job that ends has an empty one.
func CompareJobs(t *testing.T, reference, subject Harness) {
	rapid.Check(t, func(rt *rapid.T) {
		c := &comparison{
			T: rt, ctx: t.Context(), ref: reference.New(t), sub: subject.New(t),
			jobs: make(map[string]*jobBook), step: brief,
		}
		c.setClocks()
		for _, name := range jobSubjects {
			c.jobs[name] = &jobBook{entries: make(map[string]string)}
		}
		steps := 0
		rt.Repeat(map[string]func(*rapid.T){
			"open":    c.with(c.openJob),
			"note":    c.with(c.noteJob),
			"note ":   c.with(c.noteJob), // twice as often
			"close":   c.with(c.closeJob),
			"cancel":  c.with(c.cancelJob),
			"audit":   c.with(c.audit),
			"items":   c.with(c.auditItems),
			"advance": c.with(c.advance),
			"": c.with(func() {
				if steps++; steps%4 == 0 { // it is many calls
					c.readJobs()
				}
			}),
		})
		c.with(c.readJobs)(rt)
	})
}

var (
	jobSubjects = []string{"q1", "q2"}
	jobIDs      = []string{"j1", "j2", "j3"}
)

// A jobBook is what the answers have told of one subject.
type jobBook struct {
	handles []*jobHandle      // openings
	entries map[string]string // the journal
	fence   int64             // the last one given; 0 where stores give different ones
}

// A jobHandle is an opening as its worker knows it.
type jobHandle struct {
	id, token string
	fence     int64
	number    int64 // of the last note
}

// book draws a subject.
func (c *comparison) jobSubject() (string, *jobBook) {
	name := rapid.SampledFrom(jobSubjects).Draw(c.T, "subject")
	return name, c.jobs[name]
}

// handle draws an opening, mostly the last one.
func (c *comparison) jobHandle(b *jobBook) *jobHandle {
	if len(b.handles) == 0 {
		c.Skip("nobody has opened it")
	}
	back := rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 2}).Draw(c.T, "handle")
	return b.handles[max(0, len(b.handles)-1-back)]
}

// fence is that of an opening. Stores on clocks that run give different ones.
func (c *comparison) fence(s Store, subject string, h *jobHandle) int64 {
	if c.exact {
		return h.fence
	}
	j, err := s.InspectJob(c.ctx, subject, h.id)
	if err != nil || j.Owner != ownerOf(h.token) {
		return 1
	}
	return j.Fence
}

// alikeJob is a job as both stores have it.
func (c *comparison) alikeJob(j store.Job) store.Job {
	if !c.exact {
		j.Fence = 0
	}
	return j
}

// apart lets time pass on clocks that run: what is listed by its time must not
// come together for one store alone.
func (c *comparison) apart() {
	if !c.exact {
		c.pass(c.step)
	}
}

func (c *comparison) openJob() {
	name, b := c.jobSubject()
	o := store.JobOpening{
		Subject: name, ID: rapid.SampledFrom(jobIDs).Draw(c.T, "job"), Token: c.new("t"), Lease: c.lasting("lease"),
		Spec: []byte(rapid.SampledFrom([]string{"s", "s", "s", "", "other"}).Draw(c.T, "spec")), Resume: rapid.Bool().Draw(c.T, "resume"),
	}
	if n := len(b.handles); n > 0 && rapid.IntRange(0, 2).Draw(c.T, "again") > 0 {
		h := b.handles[n-1]
		o.ID = h.id
		if rapid.IntRange(0, 4).Draw(c.T, "token") == 0 {
			o.Token = c.jobHandle(b).token
		}
	}
	o.Owner = ownerOf(o.Token)
	got, err := both(c, "open", func(s Store) (store.OpenedJob, error) {
		got, err := s.OpenJob(c.ctx, o)
		got.Job = c.alikeJob(got.Job)
		return got, err
	})
	c.apart()
	if err != nil {
		return
	}
	if int(got.Entries) != len(b.entries) {
		c.Fatalf("job %q of %q has %d entries, want %q", o.ID, name, got.Entries, b.entries)
	}
	if n := len(b.handles); n > 0 && b.handles[n-1].token == o.Token && got.Openings > 0 && b.handles[n-1].fence == got.Fence {
		return // the same opening again
	}
	if c.exact && got.Fence <= b.fence {
		c.Fatalf("%q is opened with fence %d after %d", name, got.Fence, b.fence)
	}
	b.fence = got.Fence
	b.handles = append(b.handles, &jobHandle{id: o.ID, token: o.Token, fence: got.Fence})
}

func (c *comparison) noteJob() {
	name, b := c.jobSubject()
	h := c.jobHandle(b)
	n := store.JobNote{
		Subject: name, ID: h.id, Token: h.token, Lease: c.lasting("lease"),
		Number: max(1, h.number+rapid.SampledFrom([]int64{1, 1, 1, 1, 1, 1, 0, -1, 3}).Draw(c.T, "number")),
	}
	for _, key := range []string{"a", "b", "c", "d"} {
		switch rapid.IntRange(0, 3).Draw(c.T, key) {
		case 0:
			n.Set = append(n.Set, store.JobEntry{Key: key, State: []byte(fmt.Sprint(n.Number))})
		case 1, 2:
			n.Remove = append(n.Remove, key)
		}
	}
	if rapid.IntRange(0, 3).Draw(c.T, "progress") == 0 {
		n.Progress = []byte(fmt.Sprint("progress ", n.Number))
	}
	got, err := both(c, "note", func(s Store) (store.JobNoted, error) {
		n := n
		n.Fence = c.fence(s, name, h)
		return s.NoteJob(c.ctx, n)
	})
	if err != nil {
		return
	}
	if h != b.handles[len(b.handles)-1] {
		c.Fatalf("a note of opening %q is taken, and the last is %q", h.token, b.handles[len(b.handles)-1].token)
	}
	if n.Number > h.number {
		h.number = n.Number
		for _, e := range n.Set {
			b.entries[e.Key] = string(e.State)
		}
		for _, key := range n.Remove {
			delete(b.entries, key)
		}
	}
	if int(got.Entries) != len(b.entries) {
		c.Fatalf("the journal has %d entries, want %q", got.Entries, b.entries)
	}
}

func (c *comparison) closeJob() {
	name, b := c.jobSubject()
	h := c.jobHandle(b)
	cl := store.JobClosing{
		Subject: name, ID: h.id, Token: h.token, Ended: rapid.Bool().Draw(c.T, "ended"),
		Status: rapid.SampledFrom([]string{"", "done", "left"}).Draw(c.T, "status"),
	}
	if rapid.Bool().Draw(c.T, "progress") {
		cl.Progress = []byte("closed")
	}
	if cl.Ended {
		cl.Retention = c.lasting("retention")
	}
	_, err := both(c, "close", func(s Store) (any, error) {
		cl := cl
		cl.Fence = c.fence(s, name, h)
		return nil, s.CloseJob(c.ctx, cl)
	})
	if err == nil && cl.Ended && h == b.handles[len(b.handles)-1] && len(b.entries) > 0 {
		c.Fatalf("job %q of %q ends with %q in hand", h.id, name, b.entries)
	}
}

func (c *comparison) cancelJob() {
	name, b := c.jobSubject()
	id, by := rapid.SampledFrom(jobIDs).Draw(c.T, "job"), rapid.SampledFrom([]string{"ann", "bob"}).Draw(c.T, "by")
	j, err := both(c, "cancel", func(s Store) (store.Job, error) {
		j, err := s.CancelJob(c.ctx, name, id, by)
		return c.alikeJob(j), err
	})
	if err == nil && j.Entries > 0 && (j.HasEnded() || int(j.Entries) != len(b.entries)) {
		c.Fatalf("cancelled, %q of %q is %+v, want %q in hand", id, name, j, b.entries)
	}
}

func (c *comparison) audit() {
	r := store.AuditRecord{
		Subject: rapid.SampledFrom(jobSubjects).Draw(c.T, "subject"), ID: rapid.SampledFrom([]string{"a1", "a2", "a3"}).Draw(c.T, "record"),
		Body: []byte(rapid.SampledFrom([]string{"body", "body", ""}).Draw(c.T, "body")), Retention: c.lasting("retention"),
	}
	_, _ = both(c, "audit", func(s Store) (any, error) { return nil, s.AppendAudit(c.ctx, r) })
	c.apart()
}

func (c *comparison) auditItems() {
	name, id := rapid.SampledFrom(jobSubjects).Draw(c.T, "subject"), rapid.SampledFrom([]string{"a1", "a2", "a3"}).Draw(c.T, "record")
	page := rapid.IntRange(0, 2).Draw(c.T, "page")
	items := rapid.SampledFrom([][]string{{"m1"}, {"m1"}, {"m1", "m2"}}).Draw(c.T, "items")
	_, _ = both(c, "items", func(s Store) (any, error) { return nil, s.AppendAuditItems(c.ctx, name, id, page, items) })
}

// readJobs compares all that can be read.
func (c *comparison) readJobs() {
	for _, name := range append(slices.Clone(jobSubjects), "") {
		for offset := range 3 {
			c.alike(fmt.Sprintf("jobs of %q", name), func(s Store) (any, error) {
				list, err := s.ListJobs(c.ctx, name, offset, 2)
				var shown []string
				for _, j := range list {
					shown = append(shown, c.showValue(reflect.ValueOf(c.alikeJob(j))))
				}
				return shown, err
			})
		}
		c.alike(fmt.Sprintf("audit records of %q", name), func(s Store) (any, error) {
			var shown []string
			for before, first := "", true; first || before != ""; first = false {
				list, next, err := s.ListAudit(c.ctx, name, before, 2)
				if err != nil {
					return nil, err
				}
				for _, r := range list {
					shown = append(shown, c.showValue(reflect.ValueOf(r)))
				}
				before = next
			}
			return shown, nil
		})
	}
	for name, b := range c.jobs {
		open := ""
		for _, id := range jobIDs {
			c.alike(fmt.Sprintf("job %q of %q", id, name), func(s Store) (any, error) {
				j, err := s.InspectJob(c.ctx, name, id)
				if err == nil && !j.HasEnded() {
					open = id
				}
				return c.alikeJob(j), err
			})
		}
		for _, id := range jobIDs {
			c.alike(fmt.Sprintf("entries of job %q of %q", id, name), func(s Store) (any, error) {
				got := make(map[string]string)
				for after := ""; ; {
					page, err := s.JobEntries(c.ctx, name, id, after, 2)
					if err != nil || len(page) == 0 {
						if id == open && !maps.Equal(got, b.entries) || id != open && len(got) > 0 {
							c.Fatalf("the journal of job %q of %q has %q, want %q", id, name, got, b.entries)
						}
						return got, err
					}
					for _, e := range page {
						got[e.Key] = string(e.State)
						after = e.Key
					}
				}
			})
		}
		for _, id := range []string{"a1", "a2", "a3"} {
			for page := range 3 {
				c.alike("items of "+id, func(s Store) (any, error) {
					items, pages, err := s.AuditItems(c.ctx, name, id, page)
					return fmt.Sprint(items, pages), err
				})
			}
		}
	}
}
