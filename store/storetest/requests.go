package storetest

import (
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var requestRules = []rule{
	{
		name: "that no store accepts are refused",
		says: "a request that no store accepts answers ErrInvalid, and changes nothing",
		check: func(e *env) {
			o := e.held("a")
			r := started("c")
			r.Index = "fare waiting"
			_, err := e.Start(e.Context(), r)
			e.ok(err)
			tooLong := strings.Repeat("x", store.MaxID+1)
			start := func(change func(*store.StartRequest)) func() error {
				return func() error {
					r := started("b")
					change(&r)
					_, err := e.Start(e.Context(), r)
					return err
				}
			}
			open := func(id, nonce string, d time.Duration) func() error {
				return func() error {
					_, err := e.Open(e.Context(), store.OpenRequest{ID: id, Nonce: nonce, Lease: d})
					return err
				}
			}
			commit := func(change func(*store.Commit)) func() error {
				return func() error {
					c := follow(o, "c1")
					change(c)
					_, err := e.Commit(e.Context(), c)
					return err
				}
			}
			post := func(change func(*store.PostRequest)) func() error {
				return func() error {
					r := letter("a", "m1")
					change(&r)
					_, err := e.Post(e.Context(), r)
					return err
				}
			}
			deliver := func(change func(*store.PostRequest, *store.OpenRequest)) func() error {
				return func() error {
					p, o := letter("c", "m1"), store.OpenRequest{ID: "c", Nonce: "n", Lease: long}
					change(&p, &o)
					_, err := e.Deliver(e.Context(), p, o)
					return err
				}
			}
			renew := func(l store.Lease, d time.Duration) func() error {
				return func() error { _, err := e.Renew(e.Context(), l, d, 0); return err }
			}
			claim := func(key, token string, d time.Duration) func() error {
				return func() error { _, _, err := e.claim(key, token, d); return err }
			}
			attempt := func(n int, remember time.Duration) func() error {
				return func() error {
					_, err := e.Claim(e.Context(), store.Claim{Key: "k", Token: "t", Lease: long, Attempt: n, Remember: remember})
					return err
				}
			}
			completion := func(n int) func() error {
				return func() error {
					return e.Complete(e.Context(), store.Completion{Key: "k", Token: "t", Retention: long, Attempt: n})
				}
			}
			complete := func(key, token string, d time.Duration) func() error {
				return func() error { return e.complete(key, token, nil, d) }
			}
			lock := func(change func(*store.LockRequest)) func() error {
				return func() error {
					r := wants("l", "a", "r")
					change(&r)
					_, err := e.AcquireLock(e.Context(), r)
					return err
				}
			}
			unlock := func(resource, request string, d time.Duration) func() error {
				return func() error { _, err := e.ReleaseLock(e.Context(), resource, request, d); return err }
			}
			noNonce := store.Lease{ID: "a", Epoch: 1}
			calls := map[string]func() error{
				"start without an id":          start(func(r *store.StartRequest) { r.ID = "" }),
				"start with a long id":         start(func(r *store.StartRequest) { r.ID = tooLong }),
				"start without a match":        start(func(r *store.StartRequest) { r.Match = "" }),
				"start without a commit":       start(func(r *store.StartRequest) { r.Commit = "" }),
				"start without an index":       start(func(r *store.StartRequest) { r.Index = "" }),
				"start in the past":            start(func(r *store.StartRequest) { r.Wake = -1 }),
				"start without a lease":        start(func(r *store.StartRequest) { r.Nonce = "n" }),
				"open without an id":           open("", "n", long),
				"open without a nonce":         open("a", "", long),
				"open without a lease":         open("a", "n", 0),
				"commit without a nonce":       commit(func(c *store.Commit) { c.Nonce = "" }),
				"commit without an id":         commit(func(c *store.Commit) { c.CommitID = "" }),
				"commit after itself":          commit(func(c *store.Commit) { c.CommitID = c.Previous }),
				"commit with an unknown Next":  commit(func(c *store.Commit) { c.Next = store.End + 1 }),
				"park without a wake-up":       commit(func(c *store.Commit) { c.Next = store.Park }),
				"end without a retention":      commit(func(c *store.Commit) { c.Next = store.End }),
				"commit of another field":      commit(func(c *store.Commit) { c.Set["e"] = []byte("7") }),
				"commit deletes another field": commit(func(c *store.Commit) { c.Delete = []string{"n"} }),
				"commit deletes the root":      commit(func(c *store.Commit) { c.Set, c.Delete = nil, []string{"f:"} }),
				"commit deletes what it sets":  commit(func(c *store.Commit) { c.Set["f:0"], c.Delete = nil, []string{"f:0"} }),
				"commit joins an index only":   commit(func(c *store.Commit) { c.Index = "fare failing" }),
				"commit leaves an index only":  commit(func(c *store.Commit) { c.OldIndex = "fare running" }),
				"post without an id":           post(func(r *store.PostRequest) { r.ID = "" }),
				"post without a mail id":       post(func(r *store.PostRequest) { r.MailID = "" }),
				"post without a limit":         post(func(r *store.PostRequest) { r.Limit = 0 }),
				"deliver without a mail id":    deliver(func(p *store.PostRequest, _ *store.OpenRequest) { p.MailID = "" }),
				"deliver without a nonce":      deliver(func(_ *store.PostRequest, o *store.OpenRequest) { o.Nonce = "" }),
				"deliver without a lease":      deliver(func(_ *store.PostRequest, o *store.OpenRequest) { o.Lease = 0 }),
				"deliver to two executions":    deliver(func(p *store.PostRequest, _ *store.OpenRequest) { p.ID = "a" }),
				"deliver and open another":     deliver(func(_ *store.PostRequest, o *store.OpenRequest) { o.ID = "a" }),
				"post too early":               post(func(r *store.PostRequest) { r.Early = -1 }),
				"renew without a nonce":        renew(noNonce, long),
				"renew without a length":       renew(o.Lease, 0),
				"release without a nonce":      func() error { return e.Release(e.Context(), noNonce, 0) },
				"purge without a tombstone":    func() error { _, err := e.Purge(e.Context(), "a", 0); return err },
				"hide for no time":             func() error { _, err := e.Due(e.Context(), e.all(), 1, 0); return err },
				"claim without a key":          claim("", "t", long),
				"claim with a long key":        claim(tooLong, "t", long),
				"claim without a token":        claim("k", "", long),
				"claim without a lease":        claim("k", "t", 0),
				"claim below all attempts":     attempt(-1, long),
				"claim above all attempts":     attempt(store.LastAttempt+1, long),
				"claim without a memory":       attempt(1, 0),
				"complete a wrong attempt":     completion(-1),
				"complete an attempt too high": completion(store.LastAttempt + 1),
				"complete without a token":     complete("k", "", long),
				"complete without a retention": complete("k", "t", 0),
				"forget without a token":       func() error { return e.Forget(e.Context(), "k", "") },
				"a worker without a name":      func() error { _, err := e.Heartbeat(e.Context(), "", long); return err },
				"a worker that does not live":  func() error { _, err := e.Heartbeat(e.Context(), "w", 0); return err },
				"a definition without a name":  func() error { _, err := e.PutDefinition(e.Context(), "", "1", nil, nil); return err },
				"a definition with a NUL":      func() error { _, err := e.PutDefinition(e.Context(), "a\x00b", "1", nil, nil); return err },
				"a version with a NUL":         func() error { _, err := e.PutDefinition(e.Context(), "a", "1\x00", nil, nil); return err },
				"lock nothing":                 lock(func(r *store.LockRequest) { r.Resource = "" }),
				"lock with a long name":        lock(func(r *store.LockRequest) { r.Resource = tooLong }),
				"lock without an owner":        lock(func(r *store.LockRequest) { r.Owner = "" }),
				"lock for a long group":        lock(func(r *store.LockRequest) { r.Group = tooLong }),
				"lock without a request":       lock(func(r *store.LockRequest) { r.Request = "" }),
				"lock with a long request":     lock(func(r *store.LockRequest) { r.Request = tooLong }),
				"lock without a time":          lock(func(r *store.LockRequest) { r.NotAfter = time.Time{} }),
				"unlock nothing":               unlock("", "r", long),
				"unlock without a request":     unlock("l", "", long),
				"unlock without a memory":      unlock("l", "r", 0),
				"inspect nothing":              func() error { _, err := e.InspectLock(e.Context(), "", 1); return err },
			}
			e.unchanged("c", func() {
				e.unchanged("a", func() {
					for name, call := range calls {
						if err := call(); err == nil {
							e.Errorf("%s: no error", name)
						} else {
							e.is(err, store.ErrInvalid)
						}
					}
				})
			})
			e.same("the index", e.list("fare running"), []string{"a"})
			_, _, err = e.claim("k", "other", long)
			e.ok(err)
			e.granted("l", "b", "r")
		},
	},
	{
		name: "with the longest id are accepted",
		says: "ids and keys have up to MaxID bytes",
		check: func(e *env) {
			id := strings.Repeat("x", store.MaxID)
			e.start(id)
			e.post(id, id)
			e.commit(follow(e.open(id, long), "c1"))
			_, _, err := e.claim(id, id, long)
			e.ok(err)
			e.granted(id, id, id)
			e.waits(id, "b", "r2", 1, id)
			e.released(id, id)
		},
	},
}
