package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
)

// The tests in this file hold the store to what other engines get wrong in
// Redis, each named after the failure. Those of sagas are in package saga.

// raw is all that is in Redis of a target, as text.
func raw(t *testing.T, tg target) string {
	t.Helper()
	return describe(tg, dump(t, tg))
}

// With dtm a retry refreshes one of an instance's keys and the others expire, so
// that a saga vanishes in the middle of its abort. Of what is not over no key may
// expire; claims and results of idempotency keep the time in the record as well.
func TestPeersRunningSagaExpires(t *testing.T) {
	// Claims and results, locks that were given back, and audit records.
	over := []string{":k:", ":lr:", "}:a:", ":ar:", ":ax:", ":ai:"}
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			st := tg.open(t)
			expiring, started := 0, false
			for i, c := range everyScript(tg, st, "a") {
				must(t, c.call)
				started = started || c.name == "start"
				all := dump(t, tg)
				atWork := slices.ContainsFunc(all, func(s stored) bool { return strings.Contains(s.Key, ":jo:") })
				for _, s := range all {
					switch {
					case s.expires == 0:
					case strings.Contains(s.Key, ":j:") && s.Hash["e"] != "": // a job that has ended
					case !atWork && (strings.Contains(s.Key, ":jh:") || strings.Contains(s.Key, ":jx:")):
					case !started: // mail that came before its execution
					case slices.ContainsFunc(over, func(part string) bool { return strings.Contains(s.Key, part) }):
						expiring++
					default:
						t.Errorf("after call %d, %s, the key %s expires in %s", i+1, c.name, s.Key, s.expires)
					}
				}
			}
			if expiring == 0 {
				t.Error("nothing expires at all: the test does not look")
			}
		})
	}
}

// MassTransit locks a saga for 30 s without a fence: who was stopped for longer
// writes over what the next one did. Here whatever it tries is refused, and
// leaves Redis as it is.
func TestPeersLockWithoutFence(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			st := tg.open(t)
			ctx := t.Context()
			const lease = 20 * time.Millisecond
			started, err := st.Start(ctx, store.StartRequest{
				ID: "a", Match: "m", Status: "running", Index: "running", Root: []byte("r"), Commit: "c0", Nonce: "stopped", Lease: lease,
			})
			if err != nil || !started.Opened {
				t.Fatal(started, err)
			}
			tg.advance(2 * lease)
			o, err := st.Open(ctx, store.OpenRequest{ID: "a", Nonce: "next", Lease: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			for _, gone := range []bool{false, true} { // before the next one commits, and after
				if gone {
					if _, err := st.Commit(ctx, &store.Commit{Lease: o.Lease, Previous: "c0", CommitID: "c1", Set: map[string][]byte{"f:": []byte("next's")}}); err != nil {
						t.Fatal(err)
					}
				}
				before := raw(t, tg)
				old := store.Lease{ID: "a", Epoch: 1, Nonce: "stopped"}
				for what, call := range map[string]func() error{
					"a commit": func() error {
						_, err := st.Commit(ctx, &store.Commit{Lease: old, Previous: "c0", CommitID: "c9", Set: map[string][]byte{"f:": []byte("mine")}})
						return err
					},
					"a commit that parks": func() error {
						_, err := st.Commit(ctx, &store.Commit{Lease: old, Previous: "c0", CommitID: "c9", Next: store.Park, Wake: tg.now().Add(time.Hour)})
						return err
					},
					"a commit that ends": func() error {
						_, err := st.Commit(ctx, &store.Commit{Lease: old, Previous: "c0", CommitID: "c9", Next: store.End, Wake: tg.now().Add(time.Hour)})
						return err
					},
					"a renewal": func() error { _, err := st.Renew(ctx, old, time.Hour, 0); return err },
				} {
					if err := call(); !errors.Is(err, store.ErrLeaseLost) {
						t.Errorf("%s under a lease that is lost: %v, want ErrLeaseLost", what, err)
					}
				}
				if err := st.Release(ctx, old, 0); err != nil {
					t.Errorf("a release under a lease that is lost: %v", err)
				}
				if now := raw(t, tg); now != before {
					t.Errorf("what is refused has written.\n--- before\n%s--- after\n%s", before, now)
				}
			}
		})
	}
}

// MassTransit inserts a saga with an unconditional SET, over one that is there. A
// start finds what is there, running, ended or purged, and leaves it as it is.
func TestPeersUnconditionalInsert(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			st := tg.open(t)
			ctx := t.Context()
			request := store.StartRequest{ID: "a", Match: "m", Status: "running", Index: "running", Root: []byte("r"), History: []byte("h"), Commit: "c0"}
			start := func(change func(*store.StartRequest)) error {
				r := request
				r.Commit = "other"
				change(&r)
				_, err := st.Start(ctx, r)
				return err
			}
			again := func(what string, want error) {
				t.Helper()
				before := raw(t, tg)
				for _, nonce := range []string{"", "n"} {
					lease := time.Duration(0)
					if nonce != "" {
						lease = time.Hour
					}
					if err := start(func(r *store.StartRequest) { r.Nonce, r.Lease, r.Root = nonce, lease, []byte("lost") }); !errors.Is(err, want) {
						t.Errorf("the same start %s: %v, want %v", what, err, want)
					}
					err := start(func(r *store.StartRequest) { r.Nonce, r.Lease, r.Match = nonce, lease, "another" })
					if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrGone) {
						t.Errorf("another start %s: %v, want ErrExists or ErrGone", what, err)
					}
				}
				if now := raw(t, tg); now != before {
					t.Errorf("a start %s has written.\n--- before\n%s--- after\n%s", what, before, now)
				}
			}
			if _, err := st.Start(ctx, request); err != nil {
				t.Fatal(err)
			}
			again("of what is started", nil)
			o, err := st.Open(ctx, store.OpenRequest{ID: "a", Nonce: "n1", Lease: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			again("of what is open", nil)
			if _, err := st.Commit(ctx, &store.Commit{
				Lease: o.Lease, Previous: o.Commit, CommitID: "c1", Status: "done", Index: "done", OldIndex: "running",
				Next: store.End, Wake: tg.now().Add(-time.Hour),
			}); err != nil {
				t.Fatal(err)
			}
			again("of what has ended", nil)
			if purged, err := st.Purge(ctx, "a", time.Hour); err != nil || !purged {
				t.Fatal(purged, err)
			}
			again("of what was purged", store.ErrGone)
		})
	}
}

// go-workflows gives XACK an argument that makes it a silent no-op, and no test
// of its store noticed, because none looked into Redis. Each call here that says
// it has done something has.
func TestPeersSilentNoOp(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			st := tg.open(t)
			for i, c := range everyScript(tg, st, "a") {
				if slices.Contains([]string{"adopt", "inspect", "record", "journal", "showjob", "listjobs", "audited", "items"}, c.name) { // these read
					must(t, c.call)
					continue
				}
				tg.advance(2 * time.Millisecond) // a renewal moves a time
				before := fmt.Sprint(dump(t, tg))
				must(t, c.call)
				if fmt.Sprint(dump(t, tg)) == before {
					t.Errorf("call %d, %s, says that it is done, and has written nothing", i+1, c.name)
				}
			}
			// What was absorbed is gone from the list, and what has ended and was
			// purged from everywhere but the tombstones.
			for _, s := range dump(t, tg) {
				if strings.Contains(s.Key, ":x:") || strings.Contains(s.Key, ":m:") || s.List != nil {
					t.Errorf("left behind: %+v", s)
				}
			}
		})
	}
}

// go-redis sends a script again when its answer is late, so that it may run
// twice; engines that do not tell the second run from another call write twice.
func TestPeersScriptRunsTwice(t *testing.T) {
	trace := func(t *testing.T, twice bool) (states []string) {
		tg := inProcess(t)
		st := tg.open(t)
		if twice {
			tg.client.AddHook(twiceHook{})
		}
		for _, c := range everyScript(tg, st, "a") {
			if _, err := c.call(t.Context()); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			states = append(states, c.name+"\n"+raw(t, tg))
		}
		return states
	}
	once, twice := trace(t, false), trace(t, true)
	for i := range once {
		if once[i] != twice[i] {
			t.Fatalf("call %d run twice leaves other keys.\n--- once: %s--- twice: %s", i+1, once[i], twice[i])
		}
	}
}

// twiceHook has the server run each script twice, and gives the second answer.
type twiceHook struct{}

func (twiceHook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (twiceHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (twiceHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			if err := next(ctx, redis.NewCmd(ctx, cmd.Args()...)); err != nil && !redis.HasErrorPrefix(err, "NOSCRIPT") {
				return err
			}
		}
		return next(ctx, cmd)
	}
}

// dtm puts all its keys into one cluster slot by default, so that a cluster is of
// no use to it. Here executions are spread over the partitions, and those over
// the slots, so that each node of a cluster gets its share of both.
func TestPeersOneSlot(t *testing.T) {
	tg := inProcess(t)
	st := tg.open(t)
	const nodes, executions = 4, 20_000
	slots := make(map[int]bool)
	partitions := make([]int, nodes)
	for p := range st.Partitions() {
		s := slot(fmt.Sprintf("%s:{p%d}:t", tg.namespace, p))
		slots[s] = true
		partitions[s*nodes/16384]++
	}
	shares := make([]int, nodes)
	for i := range executions {
		s := slot(fmt.Sprintf("%s:{p%d}:t", tg.namespace, st.Partition(fmt.Sprint("ride-", i))))
		shares[s*nodes/16384]++
	}
	if len(slots) < st.Partitions()*95/100 {
		t.Errorf("%d partitions are in %d slots", st.Partitions(), len(slots))
	}
	for node := range nodes {
		if got, want := partitions[node], st.Partitions()/nodes; got < want*2/3 || got > want*4/3 {
			t.Errorf("node %d of %d has %d partitions of %d", node, nodes, got, st.Partitions())
		}
		if got, want := shares[node], executions/nodes; got < want*2/3 || got > want*4/3 {
			t.Errorf("node %d of %d has %d executions of %d", node, nodes, got, executions)
		}
	}
}
