package storetest

import (
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
)

var indexes = []string{"running", "failing", "done"}

func (c *comparison) start() {
	id := c.id()
	r := store.StartRequest{
		ID: id, Match: "m1", Status: "running", Index: indexes[0], Root: []byte("root"), Commit: c.new("c"),
	}
	if rapid.IntRange(0, 9).Draw(c.T, "match") == 9 {
		r.Match = "m2"
	}
	if rapid.Bool().Draw(c.T, "history") {
		r.History = []byte("h" + r.Commit)
	}
	if rapid.Bool().Draw(c.T, "due at once") {
		r.Wake = c.lasting("wake")
	}
	if rapid.Bool().Draw(c.T, "opens") {
		r.Nonce, r.Lease = c.new("n"), c.lasting("lease")
	}
	got, err := both(c, "start", func(s Store) (store.StartResult, error) { return s.Start(c.ctx, r) })
	// Executions that start together are listed by their ids; on clocks that
	// run they must not start together on one of them alone.
	if !c.exact {
		c.pass(2 * time.Millisecond)
	}
	if err != nil || !got.Created {
		return
	}
	b := &book{index: r.Index}
	if before := c.books[id]; before != nil {
		// The mail that waited keeps its numbers, and what was dropped has some.
		before.expire(c.passed)
		b.accepted, b.absorbed = make([]string, before.dropped), int64(before.dropped)
		for _, l := range before.early {
			b.accepted = append(b.accepted, l.id)
		}
	}
	c.books[id] = b
	if len(r.History) > 0 {
		b.history = []string{string(r.History)}
	}
	if got.Opened {
		b.handles = []*store.Opening{{
			Lease: store.Lease{ID: id, Epoch: 1, Nonce: r.Nonce}, Now: got.Now, Commit: r.Commit, Index: r.Index,
			Mailbox: got.Mailbox,
		}}
		c.received(b, got.Mailbox)
		if want := len(b.accepted); int(got.Read) != want {
			c.Fatalf("a start has mail up to %d, want %d", got.Read, want)
		}
	}
}

func (c *comparison) open() {
	id := c.id()
	r := store.OpenRequest{ID: id, Nonce: c.new("n"), Lease: c.lasting("lease")}
	b := c.book(id)
	if len(b.handles) > 0 && rapid.IntRange(0, 9).Draw(c.T, "nonce") == 9 {
		r.Nonce = c.handle(b).Nonce
	}
	o, err := both(c, "open", func(s Store) (*store.Opening, error) { return s.Open(c.ctx, r) })
	if err != nil {
		return
	}
	c.received(b, o.Mailbox)
	if want := len(b.accepted); int(o.Read) != want {
		c.Fatalf("an opening has mail up to %d, want %d", o.Read, want)
	}
	b.handles = append(b.handles, o)
}

func (c *comparison) commit() {
	id := c.id()
	b := c.book(id)
	h := c.handle(b)
	m := &store.Commit{
		Lease: h.Lease, Previous: h.Commit, CommitID: c.new("c"), Absorbed: h.Read,
		Next: rapid.SampledFrom([]store.Next{0, 0, 0, store.Park, store.Park, store.End}).Draw(c.T, "next"),
	}
	if m.Next == store.Continue && rapid.Bool().Draw(c.T, "in part") {
		m.Absorbed = rapid.Int64Range(min(b.absorbed, h.Read), h.Read).Draw(c.T, "absorbed")
	}
	switch rapid.IntRange(0, 19).Draw(c.T, "odd") {
	case 0:
		m.Previous = "odd"
	case 1:
		m.Absorbed += rapid.Int64Range(-2, 2).Draw(c.T, "absorbed")
	case 2:
		m.Epoch++
	case 3:
		if n := len(b.commits); n > 0 {
			m = b.commits[n-1]
		}
	case 4:
		m.OldIndex, m.Index = "nowhere", indexes[0]
	}
	if !slices.Contains(b.commits, m) {
		c.fill(m, h)
	}
	got, err := both(c, "commit", func(s Store) (store.CommitResult, error) { return s.Commit(c.ctx, m) })
	if err != nil {
		return
	}
	if got.Applied && !slices.Contains(b.commits, m) {
		b.commits = append(b.commits, m)
		b.absorbed = m.Absorbed
		h.Commit = m.CommitID
		if m.Index != "" {
			h.Index, b.index = m.Index, m.Index
		}
		if len(m.History) > 0 {
			b.history = append(b.history, string(m.History))
		}
	}
	c.received(b, got.Mailbox)
	h.Read = max(h.Read, got.Read)
}

// fill draws what a commit writes.
func (c *comparison) fill(m *store.Commit, h *store.Opening) {
	if rapid.Bool().Draw(c.T, "history") {
		m.History = []byte("h" + m.CommitID)
	}
	if rapid.IntRange(0, 3).Draw(c.T, "outbox") == 3 {
		m.Outbox = []byte("o" + m.CommitID)
	}
	if rapid.Bool().Draw(c.T, "status") {
		m.Status = "s" + m.CommitID
	}
	if m.Index == "" && rapid.IntRange(0, 3).Draw(c.T, "moves") == 3 {
		m.OldIndex, m.Index = h.Index, rapid.SampledFrom(indexes).Draw(c.T, "index")
	}
	m.Set = make(map[string][]byte)
	for _, name := range []string{"f:", "f:0", "f:1"} {
		switch rapid.IntRange(0, 3).Draw(c.T, name) {
		case 0:
			m.Set[name] = []byte(name + m.CommitID)
		case 1:
			if name != store.RootFrame {
				m.Delete = append(m.Delete, name)
			}
		}
	}
	if m.Next != store.Continue {
		m.Wake = h.Now.Add(c.lasting("wake"))
		if rapid.IntRange(0, 2).Draw(c.T, "late") == 2 {
			m.Wake = h.Now
		}
	}
}

func (c *comparison) renew() {
	b := c.book(c.id())
	h := c.handle(b)
	d, read := c.lasting("lease"), rapid.Int64Range(0, h.Read).Draw(c.T, "read")
	r, err := both(c, "renew", func(s Store) (store.Renewal, error) { return s.Renew(c.ctx, h.Lease, d, read) })
	if err != nil {
		return
	}
	c.received(b, r.Mailbox)
	h.Now, h.Read = r.Now, max(h.Read, r.Read)
}

func (c *comparison) release() {
	h := c.handle(c.book(c.id()))
	d := c.lasting("wake")
	if rapid.Bool().Draw(c.T, "at once") {
		d = 0
	}
	_, _ = both(c, "release", func(s Store) (any, error) { return nil, s.Release(c.ctx, h.Lease, d) })
}

// mail draws mail for an execution.
func (c *comparison) mail() (store.PostRequest, *book) {
	r := store.PostRequest{
		ID: c.id(), MailID: c.new("m"), Limit: rapid.SampledFrom([]int{1, 3, 100}).Draw(c.T, "limit"),
	}
	b := c.book(r.ID)
	if len(b.accepted) > 0 && rapid.IntRange(0, 4).Draw(c.T, "again") == 4 {
		r.MailID = rapid.SampledFrom(b.accepted).Draw(c.T, "mail")
	}
	if rapid.IntRange(0, 2).Draw(c.T, "early") == 2 {
		r.Early = c.lasting("waits")
		if len(b.early) > 0 && rapid.IntRange(0, 4).Draw(c.T, "again") == 4 {
			r.MailID = rapid.SampledFrom(b.early).Draw(c.T, "mail").id
		}
	}
	r.Body = []byte(r.MailID)
	return r, b
}

// took notes mail that was posted.
func (c *comparison) took(b *book, r store.PostRequest) {
	if b.index != "" {
		if !slices.Contains(b.accepted, r.MailID) {
			b.accepted = append(b.accepted, r.MailID)
		}
		return
	}
	b.expire(c.passed)
	waits := func(l waiting) bool { return l.id == r.MailID }
	if !slices.ContainsFunc(b.early, waits) {
		b.early = append(b.early, waiting{r.MailID, c.passed + (r.Early + time.Millisecond - 1).Truncate(time.Millisecond)})
	}
}

func (c *comparison) post() {
	r, b := c.mail()
	posted, err := both(c, "post", func(s Store) (bool, error) { return s.Post(c.ctx, r) })
	if err == nil && posted {
		c.took(b, r)
	}
}

func (c *comparison) deliver() {
	p, b := c.mail()
	o := store.OpenRequest{ID: p.ID, Nonce: c.new("n"), Lease: c.lasting("lease")}
	if len(b.handles) > 0 && rapid.IntRange(0, 9).Draw(c.T, "nonce") >= 7 {
		o.Nonce = c.handle(b).Nonce
	}
	got, err := both(c, "deliver", func(s Store) (store.Delivery, error) { return s.Deliver(c.ctx, p, o) })
	if err != nil {
		return
	}
	if got.Posted {
		c.took(b, p)
	}
	if got.Opening == nil {
		return
	}
	c.received(b, got.Opening.Mailbox)
	if want := len(b.accepted); int(got.Opening.Read) != want {
		c.Fatalf("a delivery has mail up to %d, want %d", got.Opening.Read, want)
	}
	b.handles = append(b.handles, got.Opening)
}

func (c *comparison) due() {
	all := make([]int, c.ref.Partitions())
	for i := range all {
		all[i] = i
	}
	limit := 100
	if c.exact {
		limit = rapid.SampledFrom([]int{1, 2, 100}).Draw(c.T, "limit")
	}
	d := c.lasting("hiding")
	call := func(s Store) (any, error) {
		ids, err := s.Due(c.ctx, all, limit, d)
		if !c.exact {
			slices.Sort(ids)
		}
		return ids, err
	}
	if c.exact {
		_, _ = both(c, "due", call)
		return
	}
	c.alike("due", call) // what is hidden briefly may be back by a second call
}

func (c *comparison) purge() {
	id, d := c.id(), c.lasting("tombstone")
	purged, err := both(c, "purge", func(s Store) (bool, error) { return s.Purge(c.ctx, id, d) })
	if err == nil && purged && c.book(id).index != "" { // mail that waits still does
		delete(c.books, id)
	}
}

func (c *comparison) claim() {
	key := rapid.SampledFrom([]string{"k1", "k2"}).Draw(c.T, "key")
	token := rapid.SampledFrom([]string{"t1", "t2", "t3"}).Draw(c.T, "token")
	attempt := rapid.SampledFrom([]int{0, 0, 1, 2, 3, store.LastAttempt}).Draw(c.T, "attempt")
	d := c.lasting("claim")
	switch rapid.IntRange(0, 3).Draw(c.T, "call") {
	case 0:
		_, _ = both(c, "complete", func(s Store) (any, error) {
			return nil, s.Complete(c.ctx, store.Completion{
				Key: key, Token: token, Attempt: attempt, Result: []byte("by " + token), Retention: d,
			})
		})
	case 1:
		_, _ = both(c, "forget", func(s Store) (any, error) { return nil, s.Forget(c.ctx, key, token) })
	default:
		remember := c.lasting("memory")
		_, _ = both(c, "claim", func(s Store) (store.Claimed, error) {
			return s.Claim(c.ctx, store.Claim{Key: key, Token: token, Lease: d, Attempt: attempt, Remember: remember})
		})
	}
}

func (c *comparison) members() {
	worker, d := rapid.SampledFrom([]string{"w1", "w2", "w3"}).Draw(c.T, "worker"), c.lasting("life")
	if rapid.IntRange(0, 3).Draw(c.T, "call") == 0 {
		_, _ = both(c, "leave", func(s Store) (any, error) { return nil, s.Leave(c.ctx, worker) })
		return
	}
	_, _ = both(c, "heartbeat", func(s Store) ([]string, error) { return s.Heartbeat(c.ctx, worker, d) })
}

func (c *comparison) advance() {
	if !c.exact {
		c.pass(c.step)
		return
	}
	c.pass(rapid.SampledFrom([]time.Duration{
		time.Millisecond, c.step - time.Millisecond, c.step, long - c.step, long,
	}).Draw(c.T, "time"))
}

// read runs after every action: all that can be read is alike, and agrees with
// the books.
func (c *comparison) read() {
	for _, id := range []string{"a", "b", "c"} {
		c.alike("record of "+id, func(s Store) (any, error) { return s.Get(c.ctx, id) })
		c.alike("frames of "+id, func(s Store) (any, error) { return s.Frames(c.ctx, id, "f:", "f:0", "f:1") })
		c.alike("history of "+id, func(s Store) (any, error) {
			entries, err := s.History(c.ctx, id, 0, 0)
			if b := c.books[id]; err == nil && b != nil && !slices.Equal(texts(entries), b.history) {
				c.Fatalf("history of %q is %q, want %q", id, entries, b.history)
			}
			return entries, err
		})
	}
	for _, index := range indexes {
		c.alike("index "+index, func(s Store) (any, error) {
			ids, err := s.List(c.ctx, index, 0, 10)
			for id, b := range c.books {
				if slices.Contains(ids, id) != (b.index == index) {
					c.Fatalf("index %q lists %q, but %q is in index %q", index, ids, id, b.index)
				}
			}
			return strings.Join(ids, " "), err
		})
		c.alike("count of "+index, func(s Store) (any, error) { return s.Count(c.ctx, index) })
	}
}

// alike compares a read.
func (c *comparison) alike(what string, call func(Store) (any, error)) {
	c.Helper()
	if got, want := c.show(call(c.sub)), c.show(call(c.ref)); got != want {
		c.Fatalf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// wakeAll checks at the end that every execution is due at some time.
func (c *comparison) wakeAll() {
	if !c.exact {
		return
	}
	c.pass(100 * long)
	c.alike("due at last", func(s Store) (any, error) {
		all := make([]int, s.Partitions())
		for i := range all {
			all[i] = i
		}
		ids, err := s.Due(c.ctx, all, 100, long)
		for id := range c.books {
			if _, err := s.Get(c.ctx, id); err == nil && !slices.Contains(ids, id) {
				c.Fatalf("due at last are %q, but not %q", ids, id)
			}
		}
		return ids, err
	})
}
