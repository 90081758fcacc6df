package redisstore_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

var update = flag.Bool("update", false, "write testdata/keys.txt anew; read the difference before you keep it")

// TestKeys holds every call to the keys that it writes in Redis: testdata/keys.txt
// lists what each one changed, and so shows the format at work. A suite that
// asks the store alone would not notice a key that is left behind or never
// written.
func TestKeys(t *testing.T) {
	const golden = "testdata/keys.txt"
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			got := trace(t, server.new(t))
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			compareTraces(t, got, string(want))
		})
	}
}

// compareTraces reports the first step where the keys differ.
func compareTraces(t *testing.T, got, want string) {
	t.Helper()
	gots, wants := strings.Split(got, "\n\n"), strings.Split(want, "\n\n")
	for i := range max(len(gots), len(wants)) {
		var g, w string
		if i < len(gots) {
			g = gots[i]
		}
		if i < len(wants) {
			w = wants[i]
		}
		if g != w {
			t.Fatalf("the keys differ.\n--- got\n%s\n--- want\n%s", g, w)
		}
	}
}

// changes lists the keys that differ: those that are there now, and the names of
// those that went.
func changes(before, after []string) string {
	var b strings.Builder
	stay := make(map[string]bool)
	for _, line := range after {
		name, _, _ := strings.Cut(line, " ")
		stay[name] = true
		if !slices.Contains(before, line) {
			fmt.Fprintln(&b, line)
		}
	}
	for _, line := range before {
		if name, _, _ := strings.Cut(line, " "); !stay[name] {
			fmt.Fprintln(&b, name, "deleted")
		}
	}
	if b.Len() == 0 {
		return "nothing is written\n"
	}
	return b.String()
}

// trace makes calls of every kind and lists what each changes.
func trace(t *testing.T, tg target) string {
	const hour = time.Hour
	var (
		b      strings.Builder
		before []string
		st     *redisstore.Store
		ctx    = t.Context()
	)
	step := func(title string, call func() (any, error)) {
		t.Helper()
		got, err := call()
		fmt.Fprintf(&b, "# %s", title)
		switch {
		case err != nil:
			fmt.Fprintf(&b, ": %v", err)
		case got != nil:
			fmt.Fprintf(&b, ": %v", got)
		}
		after := strings.Split(strings.TrimSpace(describe(tg, dump(t, tg))), "\n")
		fmt.Fprintf(&b, "\n%s\n", changes(before, after))
		before = after
	}
	open := func(id, nonce string, d time.Duration) func() (any, error) {
		return func() (any, error) {
			o, err := st.Open(ctx, store.OpenRequest{ID: id, Nonce: nonce, Lease: d})
			if err != nil {
				return nil, err
			}
			return fmt.Sprintf("epoch %d, opening %d, mail %q", o.Epoch, o.Openings, o.Mail), nil
		}
	}
	commit := func(c *store.Commit) func() (any, error) {
		return func() (any, error) {
			got, err := st.Commit(ctx, c)
			return fmt.Sprintf("applied %t, mail %q", got.Applied, got.Mail), err
		}
	}
	post := func(id, mail string, limit int) func() (any, error) {
		return func() (any, error) {
			return st.Post(ctx, store.PostRequest{ID: id, MailID: mail, Body: []byte("body of " + mail), Limit: limit})
		}
	}
	deliver := func(id, mail, nonce string) func() (any, error) {
		return func() (any, error) {
			got, err := st.Deliver(ctx, store.PostRequest{ID: id, MailID: mail, Body: []byte("body of " + mail), Limit: 9},
				store.OpenRequest{ID: id, Nonce: nonce, Lease: hour})
			if o := got.Opening; o != nil {
				return fmt.Sprintf("posted %t, epoch %d, opening %d, mail %q", got.Posted, o.Epoch, o.Openings, o.Mail), err
			}
			return fmt.Sprintf("posted %t", got.Posted), err
		}
	}
	purge := func(id string) func() (any, error) {
		return func() (any, error) { return st.Purge(ctx, id, 9*hour) }
	}
	all := func() []int {
		partitions := make([]int, st.Partitions())
		for i := range partitions {
			partitions[i] = i
		}
		return partitions
	}

	step("Open makes the namespace", func() (any, error) {
		st = tg.open(t)
		return nil, nil
	})
	step("Start", func() (any, error) {
		got, err := st.Start(ctx, store.StartRequest{
			ID: "a", Match: "fare@1/abc", Meta: []byte("meta"), Status: "running", Index: "fare/running",
			Root: []byte("root"), History: []byte("started"), Commit: "c0", Wake: 2 * hour,
		})
		return got.Created, err
	})
	step("Open before its time", open("a", "n1", hour))
	step("Post", post("a", "m1", 9))
	step("Due hides it", func() (any, error) { return st.Due(ctx, all(), 9, 5*hour) })
	step("Post again", post("a", "m1", 9))
	step("Post wakes what was hidden", post("a", "m2", 9))
	step("Post finds the mailbox full", post("a", "m3", 2))
	step("Open", open("a", "n2", hour))
	step("Open elsewhere", open("a", "n3", hour))
	lease := store.Lease{ID: "a", Epoch: 1, Nonce: "n2"}
	step("Renew", func() (any, error) {
		r, err := st.Renew(ctx, lease, 3*hour, 1)
		return fmt.Sprintf("mail %q", r.Mail), err
	})
	step("Open elsewhere moves the timer to the lease's new expiry", open("a", "n3", hour))
	step("Commit that parks over mail", commit(&store.Commit{
		Lease: lease, Previous: "c0", CommitID: "c1", Absorbed: 1, Next: store.Park, Wake: tg.now().Add(4 * hour),
		Set: map[string][]byte{"f:": []byte("lost")}, History: []byte("lost"), Outbox: []byte("lost"),
	}))
	step("Commit", commit(&store.Commit{
		Lease: lease, Previous: "c0", CommitID: "c1", Absorbed: 1, Status: "compensating",
		Index: "fare/failing", OldIndex: "fare/running", Outbox: []byte("send"), History: []byte("failed"),
		Set: map[string][]byte{"f:": []byte("root 1"), "f:0": []byte("branch")},
	}))
	step("Commit again", commit(&store.Commit{
		Lease: lease, Previous: "c0", CommitID: "c1", Absorbed: 1, Status: "compensating",
		Index: "fare/failing", OldIndex: "fare/running", Outbox: []byte("send"), History: []byte("failed"),
		Set: map[string][]byte{"f:": []byte("root 1"), "f:0": []byte("branch")},
	}))
	step("Commit out of order", commit(&store.Commit{Lease: lease, Previous: "c0", CommitID: "c2", Absorbed: 1}))
	step("Commit under another lease", commit(&store.Commit{
		Lease: store.Lease{ID: "a", Epoch: 1, Nonce: "n3"}, Previous: "c1", CommitID: "c2", Absorbed: 1,
	}))
	step("Commit that parks", commit(&store.Commit{
		Lease: lease, Previous: "c1", CommitID: "c2", Absorbed: 2, Next: store.Park, Wake: tg.now().Add(4 * hour),
		Set: map[string][]byte{"f:": []byte("root 2")}, Delete: []string{"f:0"}, History: []byte("parked"),
	}))
	step("Post", post("a", "m4", 9))
	step("Open", open("a", "n4", hour))
	step("Release", func() (any, error) {
		return nil, st.Release(ctx, store.Lease{ID: "a", Epoch: 2, Nonce: "n4"}, 6*hour)
	})
	step("Open", open("a", "n5", hour))
	lease = store.Lease{ID: "a", Epoch: 2, Nonce: "n5"}
	step("Commit that ends with an outbox", commit(&store.Commit{
		Lease: lease, Previous: "c2", CommitID: "c3", Absorbed: 3, Next: store.End,
		Status: "failed", Index: "fare/failed", OldIndex: "fare/failing", Outbox: []byte("notice"), History: []byte("ended"),
	}))
	step("Post after the end", post("a", "m5", 9))
	step("Purge with an outbox", purge("a"))
	step("Commit that ends for good", commit(&store.Commit{
		Lease: lease, Previous: "c3", CommitID: "c4", Absorbed: 3, Next: store.End, Wake: tg.now().Add(-hour),
	}))
	step("Open after the end", open("a", "n6", hour))
	step("Purge", purge("a"))
	step("Purge again", purge("a"))
	step("Start of a purged one", func() (any, error) {
		_, err := st.Start(ctx, store.StartRequest{ID: "a", Match: "fare@1/abc", Index: "fare/running", Commit: "c0"})
		return nil, err
	})
	step("Start that opens", func() (any, error) {
		got, err := st.Start(ctx, store.StartRequest{
			ID: "b", Match: "fare@1/abc", Status: "running", Index: "fare/running", Commit: "c0", Nonce: "n1", Lease: hour,
		})
		return got.Opened, err
	})
	step("Open of a missing one", open("c", "n1", hour))
	step("Start", func() (any, error) {
		got, err := st.Start(ctx, store.StartRequest{
			ID: "d", Match: "fare@1/abc", Status: "running", Index: "fare/running", Commit: "c0", Wake: 2 * hour,
		})
		return got.Created, err
	})
	step("Deliver", deliver("d", "m1", "n1"))
	step("Deliver again", deliver("d", "m1", "n1"))
	step("Deliver while somebody holds it", deliver("d", "m2", "n2"))
	step("Deliver what came before", deliver("d", "m2", "n3"))

	early := func(id, mail string, d time.Duration) func() (any, error) {
		return func() (any, error) {
			return st.Post(ctx, store.PostRequest{ID: id, MailID: mail, Body: []byte("body of " + mail), Limit: 3, Early: d})
		}
	}
	step("Post before the start", early("e", "m1", time.Millisecond))
	tg.advance(time.Millisecond)
	step("Post when the first has waited in vain", early("e", "m2", time.Millisecond))
	tg.advance(time.Millisecond)
	step("Post before the start", early("e", "m3", 5*hour))
	step("Post before the start", early("e", "m4", 3*hour))
	step("Post again", early("e", "m3", 9*hour))
	step("Post before the start", early("e", "m5", hour))
	step("Post finds the mailbox full", early("e", "m6", hour))
	step("Open of what was not started", open("e", "n1", hour))
	step("Purge of what was not started", purge("e"))
	step("Start", func() (any, error) {
		got, err := st.Start(ctx, store.StartRequest{
			ID: "e", Match: "fare@1/abc", Status: "running", Index: "fare/running", Commit: "c0", Wake: 2 * hour,
		})
		return got.Created, err
	})
	step("Post before the start", early("f", "m1", hour))
	step("Start that opens", func() (any, error) {
		got, err := st.Start(ctx, store.StartRequest{
			ID: "f", Match: "fare@1/abc", Status: "running", Index: "fare/running", Commit: "c0", Nonce: "n1", Lease: hour,
		})
		return fmt.Sprintf("mail %q", got.Mail), err
	})
	step("Post before the start", early("g", "m1", time.Millisecond))
	tg.advance(time.Millisecond)
	step("Start that is too late", func() (any, error) {
		got, err := st.Start(ctx, store.StartRequest{
			ID: "g", Match: "fare@1/abc", Status: "running", Index: "fare/running", Commit: "c0", Nonce: "n1", Lease: hour,
		})
		return fmt.Sprintf("mail %q", got.Mail), err
	})

	step("PutDefinition", func() (any, error) { return st.PutDefinition(ctx, "fare", "1", []byte("{}"), nil) })
	step("PutDefinition of another", func() (any, error) { return st.PutDefinition(ctx, "fare", "1", []byte("[]"), nil) })
	step("PutDefinition in its place", func() (any, error) { return st.PutDefinition(ctx, "fare", "1", []byte("[]"), []byte("{}")) })
	step("Heartbeat", func() (any, error) { return st.Heartbeat(ctx, "w1", hour) })
	step("Leave", func() (any, error) { return nil, st.Leave(ctx, "w1") })
	claim := func(key, token string, attempt int) func() (any, error) {
		return func() (any, error) {
			c := store.Claim{Key: key, Token: token, Lease: hour, Attempt: attempt, Remember: 14 * hour}
			got, err := st.Claim(ctx, c)
			return fmt.Sprintf("done %t, seen %d", got.Done, got.Seen), err
		}
	}
	complete := func(key, token string, attempt int) func() (any, error) {
		return func() (any, error) {
			return nil, st.Complete(ctx, store.Completion{
				Key: key, Token: token, Attempt: attempt, Result: []byte("result"), Retention: 14 * hour,
			})
		}
	}
	forget := func(key, token string) func() (any, error) {
		return func() (any, error) { return nil, st.Forget(ctx, key, token) }
	}
	step("Claim", claim("k1", "t1", 0))
	step("Claim of another", claim("k1", "t2", 0))
	step("Complete", complete("k1", "t1", 0))
	step("Forget what is complete", forget("k1", "t1"))
	step("Claim", claim("k2", "t1", 0))
	step("Forget", forget("k2", "t1"))
	step("Claim for an attempt", claim("k3", "t1", 1))
	step("Claim for the next, meanwhile", claim("k3", "t2", 2))
	step("Complete the first attempt", complete("k3", "t1", 1))
	step("Claim for the second again", claim("k3", "t2", 2))
	step("Complete the second attempt", complete("k3", "t2", 2))
	step("Claim for the first again", claim("k3", "t3", 1))
	step("Claim for the third", claim("k3", "t3", 3))
	step("Forget the third", forget("k3", "t3"))
	step("Claim for the third again", claim("k3", "t4", 3))
	step("Complete for good", complete("k3", "t4", 0))
	traceLocks(tg, st, step)
	traceJobs(tg, st, step)
	traceLetters(st, step)
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// traceLocks makes calls of every kind for one lock.
func traceLocks(tg target, st *redisstore.Store, step func(string, func() (any, error))) {
	const hour = time.Hour
	ctx := context.Background()
	fences := make(map[int64]int)
	show := func(u store.LockUse) string {
		if u.Request == "" {
			return "nobody"
		}
		if fences[u.Fence] == 0 {
			fences[u.Fence] = len(fences) + 1
		}
		return fmt.Sprintf("%s of %s, fence %d", u.Request, u.Owner, fences[u.Fence])
	}
	acquire := func(owner, request string, in time.Duration) func() (any, error) {
		return func() (any, error) {
			owner, group, _ := strings.Cut(owner, " of ")
			got, err := st.AcquireLock(ctx, store.LockRequest{
				Resource: "l", Owner: owner, Group: group, Request: request, NotAfter: tg.now().Add(in),
			})
			return fmt.Sprintf("place %d after %s", got.Place, show(got.Holder)), err
		}
	}
	release := func(request string, d time.Duration) func() (any, error) {
		return func() (any, error) {
			next, err := st.ReleaseLock(ctx, "l", request, d)
			return show(next), err
		}
	}
	step("AcquireLock", acquire("a", "r1", hour))
	step("AcquireLock again", acquire("a", "r1", hour))
	step("AcquireLock of others", acquire("the second", "r2", hour))
	step("AcquireLock of others", acquire("c of a family", "r3", hour))
	step("AcquireLock again", acquire("the second", "r2", hour))
	step("AcquireLock too late", acquire("d", "r4", -hour))
	step("InspectLock", func() (any, error) {
		got, err := st.InspectLock(ctx, "l", 9)
		return fmt.Sprintf("%s, and %d wait", show(got.Holder), got.Waiting), err
	})
	step("ListLocks", func() (any, error) { return st.ListLocks(ctx, 0, 9) })
	step("ReleaseLock of one who waits", release("r3", 3*hour))
	step("AcquireLock of what was released", acquire("c", "r3", hour))
	step("ReleaseLock grants to the next", release("r1", 2*hour))
	step("ReleaseLock again", release("r1", 4*hour))
	step("AcquireLock of one who waits in a family", acquire("d of a family", "r6", hour))
	step("AcquireLock of one who waits in a family", acquire("c of a family", "r7", hour))
	step("ReleaseLock", release("r2", hour))
	step("AcquireLock again, by one of the family", acquire("c of a family", "r7", hour))
	step("AcquireLock, by one of the family", acquire("e of a family", "r8", hour))
	step("AcquireLock again, by one of the family", acquire("e of a family", "r8", hour))
	step("InspectLock", func() (any, error) {
		got, err := st.InspectLock(ctx, "l", 9)
		return fmt.Sprintf("%s, shared by %d", show(got.Holder), len(got.Sharing)), err
	})
	step("ReleaseLock of one of the family", release("r7", 6*hour))
	step("ReleaseLock of the family's first", release("r6", 7*hour))
	step("ReleaseLock of the last", release("r8", 8*hour))
	step("AcquireLock of what was released", acquire("the second", "r2", hour))
	step("AcquireLock of a new one", acquire("a", "r5", hour))
	step("ReleaseLock", release("r5", 9*hour))
}

// TestRepairs: timers are hints, and calls put right what they find wrong.
func TestRepairs(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			tg.partitions = 1
			st := tg.open(t)
			ctx := t.Context()
			timers, tombstones := tg.namespace+":{p0}:t", tg.namespace+":{p0}:z"
			ok := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			stray := func(id string) {
				t.Helper()
				ok(tg.client.ZAdd(ctx, timers, redis.Z{Member: id, Score: 1}).Err())
			}
			open := func(id string, want error) {
				t.Helper()
				var held *store.HeldError
				var wait *store.NotDueError
				_, err := st.Open(ctx, store.OpenRequest{ID: id, Nonce: "other", Lease: time.Hour})
				if !errors.Is(err, want) && !(want == nil && (errors.As(err, &held) || errors.As(err, &wait))) {
					t.Fatalf("open %q: %v", id, err)
				}
			}
			timer := func(id, want string) {
				t.Helper()
				score, err := tg.client.ZScore(ctx, timers, id).Result()
				got := "none"
				if err == nil {
					got = tg.showNumber(score)
				}
				if got != want {
					t.Errorf("the timer of %q is %s, want %s", id, got, want)
				}
			}
			start := func(id string, wake time.Duration, nonce string) {
				t.Helper()
				_, err := st.Start(ctx, store.StartRequest{
					ID: id, Match: "m", Index: "i", Commit: "c0", Wake: wake, Nonce: nonce, Lease: time.Hour,
				})
				ok(err)
			}
			finish := func(id string, wake time.Time) {
				t.Helper()
				start(id, 0, "n")
				_, err := st.Commit(ctx, &store.Commit{
					Lease: store.Lease{ID: id, Epoch: 1, Nonce: "n"}, Previous: "c0", CommitID: "c1", Next: store.End, Wake: wake,
				})
				ok(err)
			}

			stray("missing")
			open("missing", store.ErrNotFound)
			timer("missing", "none")
			stray("missing")
			purged, err := st.Purge(ctx, "missing", time.Hour)
			if ok(err); !purged {
				t.Error("what is missing was not purged")
			}
			timer("missing", "none")

			start("parked", 5*time.Hour, "")
			stray("parked")
			open("parked", nil)
			timer("parked", "now+5h")

			start("held", 0, "n")
			stray("held")
			open("held", nil)
			timer("held", "now+1h")

			finish("kept", tg.now().Add(7*time.Hour))
			stray("kept")
			open("kept", store.ErrEnded)
			timer("kept", "now+7h")

			// What Due has hidden while it waits to be purged stays hidden.
			finish("old", tg.now().Add(-time.Hour))
			_, err = st.Due(ctx, []int{0}, 9, 3*time.Hour)
			ok(err)
			open("old", store.ErrEnded)
			timer("old", "now+3h")

			// Tombstones that have served go with the next one that is set.
			_, err = st.Purge(ctx, "old", time.Millisecond)
			ok(err)
			tg.advance(time.Millisecond)
			finish("older", tg.now().Add(-time.Hour))
			_, err = st.Purge(ctx, "older", time.Hour)
			ok(err)
			if got := tg.client.ZRange(ctx, tombstones, 0, -1).Val(); !slices.Equal(got, []string{"older"}) {
				t.Errorf("the tombstones are %q, want the last one's", got)
			}
		})
	}
}
