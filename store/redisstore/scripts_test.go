package redisstore_test

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// lua returns the scripts by name, and the parts that they include.
func lua(t *testing.T) (scripts, parts map[string]string) {
	t.Helper()
	scripts, parts = make(map[string]string), make(map[string]string)
	files, err := fs.Glob(os.DirFS("lua"), "*.lua")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("lua", file))
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(file, ".lua")
		if strings.HasPrefix(string(text), "-- Included by scripts that ") {
			parts[name] = string(text)
		} else {
			scripts[name] = string(text)
		}
	}
	return scripts, parts
}

// header returns the comment that a script begins with, and the code after it.
func header(text string) (comment, code string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			break
		}
		comment += line
	}
	return comment, text[len(comment):]
}

var (
	keyNumbers  = regexp.MustCompile(`KEYS\[(\d+)\]`)
	argNumbers  = regexp.MustCompile(`ARGV\[(\d+)\]`)
	firstOfCall = regexp.MustCompile(`redis\.call\('(\w+)'(?:, *([\w.\[\]]+))?`)
	include     = regexp.MustCompile(`(?m)^-- include (\w+)$`)
)

// TestHeaders holds every script to its header: it names the script, and tells
// its keys, arguments and answers.
func TestHeaders(t *testing.T) {
	scripts, parts := lua(t)
	var known []string
	for name := range inProcess(t).open(t).Scripts() {
		known = append(known, name)
	}
	for name, text := range scripts {
		comment, code := header(text)
		if !strings.HasPrefix(comment, "-- "+name+": ") {
			t.Errorf("%s.lua does not begin with its name and what it does", name)
		}
		for _, section := range []string{"-- KEYS  1 ", "-- ARGV  1 ", "-- returns "} {
			if !strings.Contains(comment, section) && (section != "-- ARGV  1 " || strings.Contains(code, "ARGV")) {
				t.Errorf("%s.lua has no line %q", name, section)
			}
		}
		for what, numbers := range map[string]*regexp.Regexp{"KEYS": keyNumbers, "ARGV": argNumbers} {
			_, list, _ := strings.Cut(comment, "-- "+what)
			list, _, _ = strings.Cut(list, map[string]string{"KEYS": "-- ARGV", "ARGV": "-- returns"}[what])
			for _, m := range numbers.FindAllStringSubmatch(code, -1) {
				if !regexp.MustCompile(`\b` + m[1] + `\b`).MatchString(list) {
					t.Errorf("%s.lua uses %s, which its header does not tell", name, m[0])
				}
			}
		}
		includes := include.FindAllStringSubmatch(comment, -1)
		used := code
		for _, m := range includes {
			_, body := header(parts[m[1]])
			used += strings.Replace(body, "local function "+m[1]+"(", "", 1)
		}
		for _, m := range includes {
			if !strings.Contains(used, m[1]+"(") || parts[m[1]] == "" {
				t.Errorf("%s.lua includes %s, which it does not use or which is not there", name, m[1])
			}
		}
		if !slices.Contains(known, name) {
			t.Errorf("%s.lua is no script of the store", name)
		}
	}
	if len(scripts) != len(known) {
		t.Errorf("there are %d scripts, the store has %d", len(scripts), len(known))
	}
}

// TestScriptsTouchTheirKeysAlone: a Redis Cluster runs a script where its KEYS
// are, so it may name no other key.
func TestScriptsTouchTheirKeysAlone(t *testing.T) {
	scripts, parts := lua(t)
	for name, text := range scripts {
		for _, m := range firstOfCall.FindAllStringSubmatch(text, -1) {
			if m[1] != "TIME" && !strings.HasPrefix(m[2], "KEYS[") {
				t.Errorf("%s.lua: %s) is not on one of KEYS", name, m[0])
			}
		}
	}
	for name, text := range parts {
		for _, m := range firstOfCall.FindAllStringSubmatch(text, -1) {
			if m[1] != "TIME" && m[2] != "key" {
				t.Errorf("%s.lua: %s) is not on its parameter key", name, m[0])
			}
		}
	}
}

// A scriptCall is one EVALSHA.
type scriptCall struct {
	sha  string
	keys []string
}

// recorder is a hook that notes the scripts that are run and how often the
// client waited for the server.
type recorder struct {
	mu    sync.Mutex
	calls []scriptCall
	trips int
}

func (r *recorder) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.note(cmd)
		return next(ctx, cmd)
	}
}

func (r *recorder) note(cmd redis.Cmder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name := cmd.Name(); name == "hello" || name == "client" {
		return // a new connection
	}
	r.trips++
	if cmd.Name() != "evalsha" && cmd.Name() != "eval" {
		return
	}
	args := cmd.Args()
	call := scriptCall{sha: args[1].(string)}
	for _, key := range args[3 : 3+args[2].(int)] {
		call.keys = append(call.keys, key.(string))
	}
	r.calls = append(r.calls, call)
}

func (r *recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.note(cmds[0])
		return next(ctx, cmds)
	}
}

// take returns what was noted, and forgets it.
func (r *recorder) take() (calls []scriptCall, trips int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls, trips = r.calls, r.trips
	r.calls, r.trips = nil, 0
	return calls, trips
}

// slot is the hash slot of a key, as the Redis Cluster specification gives it.
func slot(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16 // CRC-16/XMODEM
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % 16384
}

func TestSlot(t *testing.T) {
	// From the specification and from CLUSTER KEYSLOT.
	for key, want := range map[string]int{
		"123456789": 0x31C3, "foo": 12182, "{user1000}.following": 3443, "user1000": 3443, "foo{}{bar}": 8363, "foo{{bar}}zap": 4015,
	} {
		if got := slot(key); got != want {
			t.Errorf("slot(%q) = %d, want %d", key, got, want)
		}
	}
}

// TestKeysOfAScriptShareASlot runs every script, for ids that try to be a hash
// tag, and checks what a Redis Cluster would.
func TestKeysOfAScriptShareASlot(t *testing.T) {
	tg := inProcess(t)
	rec := new(recorder)
	tg.client.AddHook(rec)
	st := tg.open(t)
	seen := make(map[string]bool)
	for _, id := range []string{"a", "{b}", "x{y}z", "}{", "{p7}"} {
		for _, c := range everyScript(tg, st, id) {
			if _, err := c.call(t.Context()); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
	}
	calls, _ := rec.take()
	for _, call := range calls {
		seen[call.sha] = true
		for _, key := range call.keys {
			if slot(key) != slot(call.keys[0]) {
				t.Errorf("keys %q and %q are in different slots", call.keys[0], key)
			}
		}
	}
	for name, n := range st.Scripts() {
		if n == 0 {
			t.Errorf("script %s was not run", name)
		}
	}
}

// A namedCall is a call that runs one script.
type namedCall struct {
	name string
	call func(context.Context) (any, error)
}

// everyScript is the life of one execution, of one key, of one lock, of one job,
// of one audit record and of one letter, in calls that each run one script and, but for those
// that only read, write something.
func everyScript(tg target, st *redisstore.Store, id string) []namedCall {
	lease := store.Lease{ID: id, Epoch: 1, Nonce: "n"}
	start := store.StartRequest{
		ID: id, Match: "m", Status: "running", Index: "running", Root: []byte("r"), History: []byte("h"), Commit: "c0",
	}
	all := make([]int, st.Partitions())
	for i := range all {
		all[i] = i
	}
	commit := func(c store.Commit) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return st.Commit(ctx, &c) }
	}
	lock := func(group, request string) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) {
			return st.AcquireLock(ctx, store.LockRequest{Resource: id, Owner: "o", Group: group, Request: request, NotAfter: tg.now().Add(time.Hour)})
		}
	}
	return append([]namedCall{
		{"adopt", func(ctx context.Context) (any, error) {
			return redisstore.Open(ctx, redisstore.Config{Client: tg.client, Namespace: tg.namespace, AcceptUnknownEviction: true})
		}},
		{"post", func(ctx context.Context) (any, error) {
			return st.Post(ctx, store.PostRequest{ID: id, MailID: "m0", Body: []byte("b"), Limit: 9, Early: time.Hour})
		}},
		{"start", func(ctx context.Context) (any, error) { return st.Start(ctx, start) }},
		{"post", func(ctx context.Context) (any, error) {
			return st.Post(ctx, store.PostRequest{ID: id, MailID: "m1", Body: []byte("b"), Limit: 9})
		}},
		{"due", func(ctx context.Context) (any, error) { return st.Due(ctx, all, 9, time.Hour) }},
		{"open", func(ctx context.Context) (any, error) {
			return st.Open(ctx, store.OpenRequest{ID: id, Nonce: "n", Lease: time.Hour})
		}},
		{"renew", func(ctx context.Context) (any, error) { return st.Renew(ctx, lease, time.Hour, 0) }},
		{"commit", commit(store.Commit{
			Lease: lease, Previous: "c0", CommitID: "c1", Absorbed: 2, History: []byte("h"), Outbox: []byte("o"),
			Status: "failing", Index: "failing", OldIndex: "running", Set: map[string][]byte{"f:0": []byte("0")},
		})},
		{"release", func(ctx context.Context) (any, error) { return nil, st.Release(ctx, lease, 0) }},
		{"post", func(ctx context.Context) (any, error) {
			return st.Deliver(ctx, store.PostRequest{ID: id, MailID: "m2", Body: []byte("b"), Limit: 9},
				store.OpenRequest{ID: id, Nonce: "d", Lease: time.Hour})
		}},
		{"release", func(ctx context.Context) (any, error) {
			return nil, st.Release(ctx, store.Lease{ID: id, Epoch: 2, Nonce: "d"}, 0)
		}},
		{"open", func(ctx context.Context) (any, error) {
			return st.Open(ctx, store.OpenRequest{ID: id, Nonce: "n", Lease: time.Hour})
		}},
		{"commit", commit(store.Commit{
			Lease: store.Lease{ID: id, Epoch: 2, Nonce: "n"}, Previous: "c1", CommitID: "c2", Absorbed: 3, History: []byte("h"),
			Status: "failed", Index: "failed", OldIndex: "failing", Next: store.End, Wake: tg.now().Add(-time.Hour),
			Delete: []string{"f:0"},
		})},
		{"purge", func(ctx context.Context) (any, error) { return st.Purge(ctx, id, time.Hour) }},
		{"define", func(ctx context.Context) (any, error) { return st.PutDefinition(ctx, "fare", "1", []byte("{}"), nil) }},
		{"heartbeat", func(ctx context.Context) (any, error) { return st.Heartbeat(ctx, "w", time.Hour) }},
		{"claim", func(ctx context.Context) (any, error) {
			_, err := st.Claim(ctx, store.Claim{Key: id, Token: "t1", Lease: time.Hour, Attempt: 1, Remember: time.Hour})
			return nil, err
		}},
		{"forget", func(ctx context.Context) (any, error) { return nil, st.Forget(ctx, id, "t1") }},
		{"complete", func(ctx context.Context) (any, error) {
			return nil, st.Complete(ctx, store.Completion{Key: id, Token: "t2", Result: []byte("result"), Retention: time.Hour, Attempt: 1})
		}},
		{"record", func(ctx context.Context) (any, error) { return st.InspectKey(ctx, id) }},
		{"lock", lock("g", "r1")},
		{"lock", lock("g", "r2")},
		{"lock", lock("h", "r3")},
		{"inspect", func(ctx context.Context) (any, error) { return st.InspectLock(ctx, id, 9) }},
		{"unlock", func(ctx context.Context) (any, error) { return st.ReleaseLock(ctx, id, "r1", time.Hour) }},
		{"unlock", func(ctx context.Context) (any, error) { return st.ReleaseLock(ctx, id, "r2", time.Hour) }},
		{"unlock", func(ctx context.Context) (any, error) { return st.ReleaseLock(ctx, id, "r3", time.Hour) }},
	}, append(everyJobScript(st, id), everyLetterScript(st, id)...)...)
}

// TestScriptsCheckBeforeTheyWrite gives each key of each script a wrong type in
// turn: a script that fails has written nothing.
func TestScriptsCheckBeforeTheyWrite(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			rec := new(recorder)
			tg.client.AddHook(rec)
			st := tg.open(t)
			failed := make(map[string]int)
			for _, c := range everyScript(tg, st, "a") {
				before := dump(t, tg)
				rec.take()
				must(t, c.call)
				calls, _ := rec.take()
				if len(calls) == 0 {
					t.Fatalf("%s ran no script", c.name)
				}
				for i, key := range calls[0].keys {
					reset(t, tg, before, key)
					spoiled := describe(tg, dump(t, tg))
					if _, err := c.call(t.Context()); err == nil {
						if i == 0 {
							t.Errorf("%s succeeds though KEYS[1] has a wrong type", c.name)
						}
						continue // the key is not needed this time
					}
					failed[c.name]++
					if now := describe(tg, dump(t, tg)); now != spoiled {
						t.Errorf("%s with a wrong KEYS[%d] fails and has written.\n--- before\n%s--- after\n%s", c.name, i+1, spoiled, now)
					}
				}
				reset(t, tg, before, "")
				must(t, c.call)
			}
			// Of all calls where there are several; they need not all of their keys.
			if want := map[string]int{
				"adopt": 1, "start": 7, "post": 4 + 4 + 4, "due": 1, "open": 3 + 3, "renew": 2, "commit": 5 + 6, "release": 2 + 2,
				"purge": 4, "define": 1, "heartbeat": 1, "claim": 1, "forget": 1, "complete": 1, "record": 1,
				"lock": 5 + 4 + 3, "unlock": 5 + 6 + 5, "inspect": 3,
				"openjob": 7 + 3 + 7 + 4, "notejob": 4 + 4 + 4, "closejob": 6 + 3 + 3, "canceljob": 3 + 6, "putletters": 2, "deleteletters": 2, // a letter is a string, as the wrong type is
				"showjob": 3, "listjobs": 2, "journal": 3, "audit": 6, "audited": 2, "additems": 2, "items": 2,
			}; !maps.Equal(failed, want) {
				t.Errorf("wrong keys were found by %v, want %v", failed, want)
			}
		})
	}
}

func must(t *testing.T, call func(context.Context) (any, error)) {
	t.Helper()
	if _, err := call(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// reset puts the namespace back as it was dumped, but for one key of a wrong
// type.
func reset(t *testing.T, tg target, before []stored, wrong string) {
	t.Helper()
	for _, s := range dump(t, tg) {
		if err := tg.client.Del(t.Context(), s.Key).Err(); err != nil {
			t.Fatal(err)
		}
	}
	restore(t, tg.client, before)
	if wrong == "" {
		return
	}
	if err := tg.client.Del(t.Context(), wrong).Err(); err != nil {
		t.Fatal(err)
	}
	if err := tg.client.Set(t.Context(), wrong, "wrong", 0).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestScriptsPerSaga counts: N local steps cost N + 1 scripts, each one round
// trip and one call, and an idle sweep of all partitions costs one round trip.
func TestScriptsPerSaga(t *testing.T) {
	tg := inProcess(t)
	rec := new(recorder)
	tg.client.AddHook(rec)
	st := tg.open(t)
	rec.take()
	started, err := st.Start(t.Context(), store.StartRequest{
		ID: "a", Match: "m", Index: "running", Commit: "c0", Nonce: "n", Lease: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		c := &store.Commit{
			Lease: store.Lease{ID: "a", Epoch: 1, Nonce: "n"}, Previous: "c" + strconv.Itoa(i), CommitID: "c" + strconv.Itoa(i+1),
		}
		if i == 2 {
			c.Next, c.Wake = store.End, started.Now.Add(time.Hour)
		}
		if _, err := st.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(nonZero(st.Scripts())), "map[adopt:1 commit:3 start:1]"; got != want {
		t.Errorf("scripts run: %s, want %s", got, want)
	}
	// The first EVALSHA of a script finds that the server lacks it.
	if _, trips := rec.take(); trips != 4+2 {
		t.Errorf("%d round trips, want 4 and 2 to load the scripts", trips)
	}
	all := make([]int, st.Partitions())
	for i := range all {
		all[i] = i
	}
	if _, err := st.Due(t.Context(), all, 100, time.Hour); err != nil {
		t.Fatal(err)
	}
	if calls, trips := rec.take(); len(calls) != 0 || trips != 1 {
		t.Errorf("an idle sweep ran %d scripts in %d round trips, want none in 1", len(calls), trips)
	}
}

func nonZero(counts map[string]int64) map[string]int64 {
	for name, n := range counts {
		if n == 0 {
			delete(counts, name)
		}
	}
	return counts
}

// TestScriptFlush: a server that forgot the scripts, by a restart, a failover or
// SCRIPT FLUSH, gets them again.
func TestScriptFlush(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			st := tg.open(t)
			for _, c := range everyScript(tg, st, "a") {
				if err := tg.client.ScriptFlush(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				if _, err := c.call(t.Context()); err != nil {
					t.Errorf("%s after SCRIPT FLUSH: %v", c.name, err)
				}
			}
		})
	}
}
