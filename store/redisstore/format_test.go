package redisstore_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

var record = flag.Bool("record", false, "write testdata/v<format>.json; a format that was released is never recorded again")

// TestRecordedFormat goes on with what the first release of the format left in
// Redis: testdata/v1.json, recorded once. While it passes, a rolling upgrade
// finds its executions again. A change that makes it fail needs a new
// store.FormatVersion, and a reader for the old one.
func TestRecordedFormat(t *testing.T) {
	goOnWith(t, fmt.Sprintf("testdata/v%d.json", store.FormatVersion), leave, goOn)
}

// goOnWith restores what was recorded, or records what is left now.
func goOnWith(t *testing.T, path string, leave, goOn func(*testing.T, target)) {
	t.Helper()
	if *record {
		writeDump(t, path, leave)
	}
	recorded := readDump(t, path)
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			for i := range recorded {
				recorded[i].Key = tg.namespace + recorded[i].Key[strings.Index(recorded[i].Key, ":"):]
			}
			restore(t, tg.client, recorded)
			if tg.still {
				tg.advance(2 * time.Hour)
			}
			goOn(t, tg)
		})
	}
}

// leave leaves one execution in each state, a key of each kind, a lock, a
// definition and a worker.
func leave(t *testing.T, tg target) {
	const century = 100 * 365 * 24 * time.Hour
	ctx := t.Context()
	st, err := redisstore.Open(ctx, redisstore.Config{
		Client: tg.client, Namespace: tg.namespace, Partitions: 16, AcceptUnknownEviction: true,
	})
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(err)
	start := func(id string) *store.Commit {
		t.Helper()
		_, err := st.Start(ctx, store.StartRequest{
			ID: id, Match: "fare@1 abc", Meta: []byte("meta of " + id), Status: "running", Index: "fare running",
			Root: []byte("root of " + id), History: []byte("started"), Commit: id + "-0", Nonce: "worker", Lease: 30 * time.Second,
		})
		ok(err)
		return &store.Commit{
			Lease: store.Lease{ID: id, Epoch: 1, Nonce: "worker"}, Previous: id + "-0", CommitID: id + "-1", History: []byte("next"),
			Set: map[string][]byte{"f:": []byte("root 1 of " + id), "f:0": []byte("branch of " + id)},
		}
	}
	commit := func(c *store.Commit) {
		t.Helper()
		got, err := st.Commit(ctx, c)
		ok(err)
		if !got.Applied {
			t.Fatalf("commit to %q was not applied", c.ID)
		}
	}
	post := func(id, mail string) {
		t.Helper()
		_, err := st.Post(ctx, store.PostRequest{ID: id, MailID: mail, Body: []byte("body of " + mail), Limit: 9})
		ok(err)
	}

	c := start("waiting")
	c.Next, c.Wake = store.Park, tg.now().Add(time.Hour)
	commit(c)

	start("held")
	post("held", "m1")

	c = start("mailed")
	post("mailed", "m1")
	c.Absorbed, c.Next, c.Wake = 1, store.Park, tg.now().Add(century)
	commit(c)
	post("mailed", "m2")
	post("mailed", "m3")

	c = start("sending")
	c.Status, c.Index, c.OldIndex = "failed", "fare failed", "fare running"
	c.Outbox, c.Next = []byte("notice"), store.End
	commit(c)

	for _, id := range []string{"done", "gone"} {
		c = start(id)
		c.Status, c.Index, c.OldIndex = "succeeded", "fare succeeded", "fare running"
		c.Next, c.Wake = store.End, tg.now()
		commit(c)
	}
	_, err = st.Purge(ctx, "gone", century)
	ok(err)

	for _, key := range []string{"completed", "claimed"} {
		_, err = st.Claim(ctx, store.Claim{Key: key, Token: "receiver", Lease: 30 * time.Second})
		ok(err)
	}
	ok(st.Complete(ctx, store.Completion{Key: "completed", Token: "receiver", Result: []byte("result"), Retention: century}))
	for key, attempt := range map[string]int{"tried": 2, "at work": 3} {
		_, err = st.Claim(ctx, store.Claim{Key: key, Token: "receiver", Lease: 30 * time.Second, Attempt: attempt, Remember: century})
		ok(err)
	}
	ok(st.Complete(ctx, store.Completion{Key: "tried", Token: "receiver", Attempt: 2, Result: []byte("refused"), Retention: century}))
	groups := map[string]string{"r2": "a family", "r4": "a family"}
	for _, request := range []string{"r1", "r2", "r3"} {
		_, err = st.AcquireLock(ctx, store.LockRequest{
			Resource: "account/7", Owner: "owner of " + request, Group: groups[request], Request: request, NotAfter: tg.now().Add(century),
		})
		ok(err)
	}
	for _, request := range []string{"r0", "r1"} {
		_, err = st.ReleaseLock(ctx, "account/7", request, century)
		ok(err)
	}
	_, err = st.AcquireLock(ctx, store.LockRequest{
		Resource: "account/7", Owner: "owner of r4", Group: groups["r4"], Request: "r4", NotAfter: tg.now().Add(century),
	})
	ok(err)
	_, err = st.PutDefinition(ctx, "fare", "1", []byte(`{"name":"fare"}`), nil)
	ok(err)
	_, err = st.Heartbeat(ctx, "worker", century)
	ok(err)
}

// goOn uses all that leave left, two hours later.
func goOn(t *testing.T, tg target) {
	ctx := t.Context()
	st, err := redisstore.Open(ctx, redisstore.Config{Client: tg.client, Namespace: tg.namespace, AcceptUnknownEviction: true})
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	same("partitions", st.Partitions(), 16)
	all := make([]int, 16)
	for i := range all {
		all[i] = i
	}
	due, err := st.Due(ctx, all, 100, time.Minute)
	slices.Sort(due)
	same("due", due, []string{"done", "held", "mailed", "sending", "waiting"})
	if err != nil {
		t.Fatal(err)
	}

	for _, want := range []store.Opening{
		{Lease: store.Lease{ID: "waiting", Epoch: 2}, Commit: "waiting-1", Openings: 1, Status: "running", Root: []byte("root 1 of waiting")},
		{Lease: store.Lease{ID: "held", Epoch: 2}, Commit: "held-0", Openings: 2, Status: "running", Root: []byte("root of held"),
			Mailbox: store.Mailbox{Mail: [][]byte{[]byte("body of m1")}, Read: 1}},
		{Lease: store.Lease{ID: "mailed", Epoch: 2}, Commit: "mailed-1", Openings: 1, Status: "running", Root: []byte("root 1 of mailed"),
			Mailbox: store.Mailbox{Mail: [][]byte{[]byte("body of m2"), []byte("body of m3")}, Read: 3}},
		{Lease: store.Lease{ID: "sending", Epoch: 2}, Commit: "sending-1", Openings: 1, Status: "failed", Root: []byte("root 1 of sending"),
			Ended: true, Outbox: []byte("notice")},
	} {
		want.Nonce, want.Match, want.Meta = "successor", "fare@1 abc", []byte("meta of "+want.ID)
		want.Index = map[bool]string{false: "fare running", true: "fare failed"}[want.Ended]
		got, err := st.Open(ctx, store.OpenRequest{ID: want.ID, Nonce: "successor", Lease: time.Hour})
		if err != nil {
			t.Errorf("open %q: %v", want.ID, err)
			continue
		}
		want.Now, want.Started = got.Now, epoch
		got.Started = got.Started.UTC()
		same("the opening of "+want.ID, fmt.Sprintf("%+v", *got), fmt.Sprintf("%+v", want))
		if want.Read > 0 {
			again, err := st.Post(ctx, store.PostRequest{ID: want.ID, MailID: "m1", Limit: 9})
			if again || err != nil {
				t.Errorf("post to %q of mail that it has seen: %t, %v", want.ID, again, err)
			}
		}
		end(t, st, got)
	}

	for id, want := range map[string]error{"done": store.ErrEnded, "gone": store.ErrGone} {
		if _, err := st.Open(ctx, store.OpenRequest{ID: id, Nonce: "n", Lease: time.Hour}); !errors.Is(err, want) {
			t.Errorf("open %q: %v, want %v", id, err, want)
		}
	}
	purged, err := st.Purge(ctx, "done", time.Hour)
	if !purged || err != nil {
		t.Errorf("purge: %t, %v", purged, err)
	}
	frames, err := st.Frames(ctx, "waiting", "f:0")
	same("a frame", frames["f:0"], []byte("branch of waiting"))
	if err != nil {
		t.Error(err)
	}

	claim := func(key string, attempt int) (store.Claimed, error) {
		return st.Claim(ctx, store.Claim{Key: key, Token: "other", Lease: time.Hour, Attempt: attempt, Remember: time.Hour})
	}
	for _, tt := range []struct {
		key     string
		attempt int
		want    store.Claimed
		err     error
	}{
		{key: "completed", want: store.Claimed{Done: true, Result: []byte("result")}},
		{key: "claimed"},
		{key: "tried", attempt: 1, err: store.ErrStale},
		{key: "tried", attempt: 2, want: store.Claimed{Done: true, Result: []byte("refused")}},
		{key: "tried", attempt: 3, want: store.Claimed{Seen: 2}},
		{key: "at work", attempt: 2, err: store.ErrStale},
		{key: "at work", attempt: 3, want: store.Claimed{Seen: 3}},
	} {
		got, err := claim(tt.key, tt.attempt)
		if !errors.Is(err, tt.err) || fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("claim of %q, attempt %d: %+v, %v, want %+v, %v", tt.key, tt.attempt, got, err, tt.want, tt.err)
		}
	}
	locks, err := st.ListLocks(ctx, 0, 9)
	same("the locks", locks, []string{"account/7"})
	if err != nil {
		t.Error(err)
	}
	lock, err := st.InspectLock(ctx, "account/7", 9)
	if err != nil || lock.Holder.Owner != "owner of r2" || len(lock.Queue) != 1 || len(lock.Sharing) != 1 || lock.Sharing[0].Owner != "owner of r4" || lock.Queue[0].Owner != "owner of r3" {
		t.Errorf("the lock: %+v, %v", lock, err)
	}
	for _, request := range []string{"r0", "r1"} {
		_, err := st.AcquireLock(ctx, store.LockRequest{Resource: "account/7", Owner: "o", Request: request, NotAfter: tg.now().Add(time.Hour)})
		if !errors.Is(err, store.ErrReleased) {
			t.Errorf("acquire for %s, which was released: %v", request, err)
		}
	}
	heir, err := st.ReleaseLock(ctx, "account/7", "r2", time.Hour)
	if err != nil || heir.Owner != "owner of r4" || heir.Fence != lock.Holder.Fence {
		t.Errorf("the heir of %+v: %+v, %v", lock.Holder, heir, err)
	}
	next, err := st.ReleaseLock(ctx, "account/7", "r4", time.Hour)
	if err != nil || next.Request != "r3" || next.Fence <= lock.Holder.Fence {
		t.Errorf("the next holder: %+v after %+v, %v", next, lock.Holder, err)
	}
	graph, err := st.Definition(ctx, "fare", "1")
	if string(graph) != `{"name":"fare"}` || err != nil {
		t.Errorf("the definition: %q, %v", graph, err)
	}
	workers, err := st.Heartbeat(ctx, "other", time.Hour)
	if !slices.Equal(workers, []string{"other", "worker"}) || err != nil {
		t.Errorf("the workers: %q, %v", workers, err)
	}
}

// end ends an execution and checks its history and index.
func end(t *testing.T, st *redisstore.Store, o *store.Opening) {
	t.Helper()
	ctx := t.Context()
	got, err := st.Commit(ctx, &store.Commit{
		Lease: o.Lease, Previous: o.Commit, CommitID: "last", Absorbed: o.Read, History: []byte("last"),
		Index: "fare ended", OldIndex: o.Index, Next: store.End, Wake: o.Now.Add(time.Hour),
	})
	if err != nil || !got.Applied {
		t.Errorf("commit to %q: %+v, %v", o.ID, got, err)
	}
	history, err := st.History(ctx, o.ID, 0, 0)
	if err != nil || len(history) < 2 || string(history[0]) != "started" || string(history[len(history)-1]) != "last" {
		t.Errorf("the history of %q: %q, %v", o.ID, history, err)
	}
	ids, err := st.List(ctx, "fare ended", 0, 9)
	if err != nil || !slices.Contains(ids, o.ID) {
		t.Errorf("the index: %q, %v", ids, err)
	}
}

func writeDump(t *testing.T, path string, leave func(*testing.T, target)) {
	t.Helper()
	tg := inProcess(t)
	leave(t, tg)
	data, err := json.MarshalIndent(dump(t, tg), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readDump(t *testing.T, path string) []stored {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []stored
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return all
}
