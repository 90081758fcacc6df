package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// Cases never depend on how fast a machine is: what must not come about while
// one runs lasts long, and what must come about lasts briefly and is awaited by
// Advance.
const (
	long  = time.Hour
	brief = 20 * time.Millisecond
)

// env is what a case works with: the store, and calls that must succeed.
type env struct {
	*testing.T
	Subject
	serial int
}

// unique returns a new name, as ids and nonces of real callers are random.
func (e *env) unique(prefix string) string {
	e.serial++
	return fmt.Sprintf("%s-%d", prefix, e.serial)
}

// started is a request for an execution that nobody holds and that is due at
// once.
func started(id string) store.StartRequest {
	return store.StartRequest{
		ID: id, Match: "fare@1 abc", Meta: []byte("meta"), Status: "running", Index: "fare running",
		Root: []byte("root 0"), History: []byte("h0"), Commit: "c0",
	}
}

// start starts an execution that nobody holds and that is due at once.
func (e *env) start(id string) {
	e.Helper()
	got, err := e.Start(e.Context(), started(id))
	e.ok(err)
	if !got.Created || got.Opened || got.Status != "running" || got.Now.IsZero() {
		e.Fatalf("start %q: got %+v, want it created and not opened", id, got)
	}
}

// parked starts an execution and parks it for long.
func (e *env) parked(id string) {
	e.Helper()
	r := started(id)
	r.Wake = long
	_, err := e.Start(e.Context(), r)
	e.ok(err)
}

// held starts an execution and opens it for long.
func (e *env) held(id string) *store.Opening {
	e.Helper()
	e.start(id)
	return e.open(id, long)
}

// ended starts an execution and ends it with a retention of d.
func (e *env) ended(id string, d time.Duration) {
	e.Helper()
	o := e.held(id)
	c := follow(o, "end")
	c.Next, c.Wake = store.End, o.Now.Add(d)
	e.commit(c)
}

// open opens an execution for d.
func (e *env) open(id string, d time.Duration) *store.Opening {
	e.Helper()
	o, err := e.Open(e.Context(), store.OpenRequest{ID: id, Nonce: e.unique("nonce"), Lease: d})
	e.ok(err)
	return o
}

// refused opens an execution for long, which must fail.
func (e *env) refused(id string) error {
	e.Helper()
	o, err := e.Open(e.Context(), store.OpenRequest{ID: id, Nonce: e.unique("nonce"), Lease: long})
	if err == nil {
		e.Fatalf("open %q: got %+v, want it refused", id, o)
	}
	return err
}

// isHeld checks that an execution is open elsewhere, and returns until when.
func (e *env) isHeld(id string) time.Time {
	e.Helper()
	err := e.refused(id)
	var held *store.HeldError
	if !errors.As(err, &held) || held.ID != id {
		e.Fatalf("open %q: got error %v, want a HeldError", id, err)
	}
	return held.Until
}

// isWaiting checks that an execution has nothing due, and returns until when.
func (e *env) isWaiting(id string) time.Time {
	e.Helper()
	err := e.refused(id)
	var wait *store.NotDueError
	if !errors.As(err, &wait) || wait.ID != id {
		e.Fatalf("open %q: got error %v, want a NotDueError", id, err)
	}
	return wait.Wake
}

// post posts mail whose id is its body, and tells whether it was new.
func (e *env) post(id, mail string) bool {
	e.Helper()
	posted, err := e.Post(e.Context(), letter(id, mail))
	e.ok(err)
	return posted
}

func letter(id, mail string) store.PostRequest {
	return store.PostRequest{ID: id, MailID: mail, Body: []byte(mail), Limit: 10_000}
}

// follow is a commit named id that follows what the opening found.
func follow(o *store.Opening, id string) *store.Commit {
	return &store.Commit{
		Lease: o.Lease, CommitID: id, Previous: o.Commit, Absorbed: o.Read,
		Set: map[string][]byte{store.RootFrame: []byte("root " + id)}, History: []byte("h " + id),
	}
}

// then is a commit named id that follows another, under the same lease.
func then(c *store.Commit, id string) *store.Commit {
	return &store.Commit{
		Lease: c.Lease, CommitID: id, Previous: c.CommitID, Absorbed: c.Absorbed,
		Set: map[string][]byte{store.RootFrame: []byte("root " + id)}, History: []byte("h " + id),
	}
}

// park makes a commit one that parks for long.
func park(c *store.Commit, now time.Time) *store.Commit {
	c.Next, c.Wake = store.Park, now.Add(long)
	return c
}

// commit commits, which must be applied.
func (e *env) commit(c *store.Commit) store.CommitResult {
	e.Helper()
	got, err := e.Commit(e.Context(), c)
	e.ok(err)
	if !got.Applied {
		e.Fatalf("commit %q to %q was not applied", c.CommitID, c.ID)
	}
	return got
}

// record reads an execution's record.
func (e *env) record(id string) *store.Record {
	e.Helper()
	r, err := e.Get(e.Context(), id)
	e.ok(err)
	return r
}

// due returns what is due in all partitions, sorted, and hides it for d.
func (e *env) due(d time.Duration) []string {
	e.Helper()
	ids, err := e.Due(e.Context(), e.all(), 10_000, d)
	e.ok(err)
	slices.Sort(ids)
	return ids
}

// all is the numbers of all partitions.
func (e *env) all() []int {
	all := make([]int, e.Partitions())
	for i := range all {
		all[i] = i
	}
	return all
}

// isDue checks that an execution is due, without hiding it for long.
func (e *env) isDue(id string) {
	e.Helper()
	if due := e.due(time.Millisecond); !slices.Contains(due, id) {
		e.Fatalf("due are %q, want %q among them", due, id)
	}
	e.Advance(time.Millisecond)
}

// isNotDue checks the contrary.
func (e *env) isNotDue(id string) {
	e.Helper()
	if due := e.due(time.Millisecond); slices.Contains(due, id) {
		e.Fatalf("due are %q, want %q not among them", due, id)
	}
	e.Advance(time.Millisecond)
}

// history reads all entries of an execution.
func (e *env) history(id string) []string {
	e.Helper()
	entries, err := e.History(e.Context(), id, 0, 0)
	e.ok(err)
	return texts(entries)
}

// count counts the executions of an index.
func (e *env) count(index string) int64 {
	e.Helper()
	n, err := e.Count(e.Context(), index)
	e.ok(err)
	return n
}

// list reads the first executions of an index.
func (e *env) list(index string) []string {
	e.Helper()
	ids, err := e.List(e.Context(), index, 0, 1000)
	e.ok(err)
	return ids
}

// put puts a definition, and checks whether it is there then.
func (e *env) put(name, version, graph string, old []byte, want bool) {
	e.Helper()
	got, err := e.PutDefinition(e.Context(), name, version, []byte(graph), old)
	e.ok(err)
	if got != want {
		e.Fatalf("%s %s as %q in place of %q: stored %t, want %t", name, version, graph, old, got, want)
	}
}

// ok ends the case on an error.
func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// is checks the kind of an error.
func (e *env) is(got, want error) {
	e.Helper()
	if !errors.Is(got, want) {
		e.Fatalf("got error %v, want one that is %q", got, want)
	}
}

// same checks two values deeply.
func (e *env) same(what string, got, want any) {
	e.Helper()
	if !reflect.DeepEqual(got, want) {
		e.Fatalf("%s: got %+v, want %+v", what, got, want)
	}
}

// mail checks what a mailbox hands over, and the number of the last.
func (e *env) mail(what string, got store.Mailbox, read int64, want ...string) {
	e.Helper()
	if got.Read != read || !slices.Equal(texts(got.Mail), want) {
		e.Fatalf("%s: got mail %q up to number %d, want %q up to %d", what, got.Mail, got.Read, want, read)
	}
}

// near checks that a time lies d after now, give or take what a case may last.
func (e *env) near(what string, got, now time.Time, d time.Duration) {
	e.Helper()
	const slack = 10 * time.Minute
	if diff := got.Sub(now) - d; diff < -slack || diff > slack {
		e.Fatalf("%s: got %v, want %v after %v", what, got, d, now)
	}
}

// text checks bytes.
func (e *env) text(what string, got []byte, want string) {
	e.Helper()
	if !bytes.Equal(got, []byte(want)) {
		e.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

// unchanged runs f and checks that it changed nothing that can be read of an
// execution.
func (e *env) unchanged(id string, f func()) {
	e.Helper()
	before, history := e.record(id), e.history(id)
	f()
	e.same("the record of "+id, e.record(id), before)
	e.same("the history of "+id, e.history(id), history)
}

func texts(list [][]byte) []string {
	var out []string
	for _, b := range list {
		out = append(out, string(b))
	}
	return out
}

// ended is a context that has ended.
func ended(e *env) context.Context {
	ctx, cancel := context.WithCancel(e.Context())
	cancel()
	return ctx
}
