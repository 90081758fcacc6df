package saga

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// on is a lock on a key that is always the same.
func on(key string) *Resource[int] { return Lock("acc", func(*int) string { return key }) }

func TestLockFlow(t *testing.T) {
	one := New("s", compensable("A").Lock(on("1")), Do("Z", nothing)).def
	later := New("s", compensable("A"), compensable("B").Lock(on("1")), compensable("C").Lock(on("1")), Do("Z", nothing)).def
	whole := New("s", compensable("A").Lock(on("2")), Do("Z", nothing)).Lock(on("1")).def
	transfer := New("s", compensable("A").Lock(on("2"), on("1"), on("2")), Do("Z", nothing)).def
	asks := New("s", compensable("A"), compensable("B").Lock(on("1").Wait(10*time.Second)).Retry(twice, ErrorLock), Do("Z", nothing)).def
	caught := New("s", compensable("A"), compensable("B").Lock(on("1")).Catch("D", ErrorLock).Next("Z"), Do("Z", nothing).End(), compensable("D").Next("Z")).def
	wholeCaught := New("s", compensable("A").Catch("D", ErrorLock).Next("Z"), Do("Z", nothing).End(), compensable("D").Next("Z")).Lock(on("1")).def
	branches := New("s", Parallel("P", Branch("x", compensable("X").Lock(on("1"))), Branch("y", compensable("Y").Lock(on("1")))).Merge(sum),
		Do("Z", nothing)).def
	fork := New("s", Parallel("P", Branch("x", compensable("X")), Branch("y", compensable("Y"))).Merge(sum).Lock(on("1")).
		Retry(Retry{Attempts: 2, Initial: time.Minute, Jitter: -1}, ErrorLock), Do("Z", nothing)).def
	pivoted := New("s", Do("A", nothing).Pivot(), Do("B", nothing).Lock(on("1"))).def
	tests := []struct {
		name  string
		def   *Definition
		ops   string
		want  string
		locks string // at the end
	}{
		{"one that is free", one, "done", "A(acc/1 acc/1) A+", "acc/1=me"},
		{"gives it back at the end", one, "done done", "A(acc/1 acc/1) A+ Z+ Succeeded", ""},
		{"keeps it through undoing", one, "done declined", "A(acc/1 acc/1) A+ Z- Failed <A", "acc/1=me"},
		{"gives it back when all is undone", one, "done declined done", "A(acc/1 acc/1) A+ Z- Failed <A ~A Compensated", ""},
		{"keeps it while it is blocked", one, "done declined declined", "A(acc/1 acc/1) A+ Z- Failed <A !A Blocked", "acc/1=me"},
		{"gives it back when it is terminated", one, "done terminate", "A(acc/1 acc/1) A+", ""},
		{"waits for another", one, "take:acc/1", "A(acc/1", "acc/1=other,me"},
		{"waits, and is told", one, "take:acc/1 free:acc/1 done done", "A(acc/1 acc/1) A+ Z+ Succeeded", ""},
		{"asks again at each opening", one, "take:acc/1 +5s crash", "A(acc/1", "acc/1=other,me"},
		{"the same step asks once", later, "done done done", "A+ B(acc/1 acc/1) B+ C+", "acc/1=me"},
		{"a crash before the answer", later, "done crash crash done", "A+ B(acc/1 acc/1) B? B#2 B+", "acc/1=me"},
		{"the saga's come first", whole, "done done", "A(acc/1 A(acc/2 acc/1) acc/2) A+ Z+ Succeeded", ""},
		{"the saga's are waited for", whole, "take:acc/1 free:acc/1", "A(acc/1 A(acc/2 acc/1) acc/2)", "acc/1=me acc/2=me"},
		{"nothing begins without the saga's", wholeCaught, "take:acc/1 +1m", "A(acc/1 A(!acc/1 A=>D", "acc/1=other,me"},
		{"and goes on with them", wholeCaught, "take:acc/1 +1m free:acc/1 done done", "A(acc/1 A(!acc/1 A=>D acc/1) D+ Z+ Succeeded", ""},
		{"several are asked for in one order", transfer, "take:acc/1", "A(acc/1 A(acc/2", "acc/1=other,me"},
		{"several are waited for one by one", transfer, "take:acc/2 take:acc/1 free:acc/1", "A(acc/1 A(acc/2 acc/1)", "acc/1=me acc/2=other,me"},
		{"the wait for each has a deadline", transfer, "take:acc/2 take:acc/1 +50s free:acc/1 +50s", "A(acc/1 A(acc/2 acc/1)", "acc/1=me acc/2=other,me"},
		{"the deadline fails the step", transfer, "take:acc/2 wake", "A(acc/1 A(acc/2 acc/1) A(!acc/2 Failed Compensated", "acc/2=other"},
		{"what it has is given back then", transfer, "take:acc/1 wake", "A(acc/1 A(acc/2 A(!acc/1 Failed Compensated", "acc/1=other"},
		{"a deadline is retried where that is said", asks, "take:acc/1 done +10s", "A+ B(acc/1 B(!acc/1", "acc/1=other"},
		{"it asks again then, at the end", asks, "take:acc/1 done +10s wake", "A+ B(acc/1 B(!acc/1 B(acc/1", "acc/1=other,me"},
		{"and gets it", asks, "take:acc/1 done +10s wake free:acc/1 done done", "A+ B(acc/1 B(!acc/1 B(acc/1 acc/1) B+ Z+ Succeeded", ""},
		{"or does not", asks, "take:acc/1 done +10s wake +10s done", "A+ B(acc/1 B(!acc/1 B(acc/1 B(!acc/1 Failed <A ~A Compensated", "acc/1=other"},
		{"a deadline is caught", caught, "take:acc/1 done +1m done done", "A+ B(acc/1 B(!acc/1 B=>D D+ Z+ Succeeded", "acc/1=other"},
		{"an operator has it ask at once", asks, "take:acc/1 done +10s retry", "A+ B(acc/1 B(!acc/1 Redriven B(acc/1", "acc/1=other,me"},
		{"one that asks is not told to", asks, "take:acc/1 done retry", "A+ B(acc/1 RetryRefused", "acc/1=other,me"},
		{"a cancel gives the place up", later, "take:acc/1 done cancel done", "A+ B(acc/1 Aborted <A ~A Compensated", "acc/1=other"},
		{"a terminate gives the place up", later, "take:acc/1 done terminate", "A+ B(acc/1", "acc/1=other"},
		{"a suspend keeps the place", later, "take:acc/1 done suspend +1h", "A+ B(acc/1", "acc/1=other,me"},
		{"and may get it", later, "take:acc/1 done suspend +1h free:acc/1", "A+ B(acc/1 acc/1)", "acc/1=me"},
		{"and goes on under it", later, "take:acc/1 done suspend +1h free:acc/1 resume done", "A+ B(acc/1 acc/1) B+", "acc/1=me"},
		{"the clock of a wait stands still", later, "take:acc/1 done +59s suspend +1h resume +500ms", "A+ B(acc/1", "acc/1=other,me"},
		{"and goes on", later, "take:acc/1 done +59s suspend +1h resume +1s done", "A+ B(acc/1 B(!acc/1 Failed <A ~A Compensated", "acc/1=other"},
		{"a cancel while it is suspended gives the place up", later, "take:acc/1 done suspend cancel", "A+ B(acc/1 Aborted", "acc/1=other"},
		{"branches share it", branches, "P:0=done P:1=done done", "P P:0/X(acc/1 acc/1) P:0/X+ P:1/Y+ Z+ Succeeded", ""},
		{"branches wait together", branches, "take:acc/1 free:acc/1", "P P:0/X(acc/1 acc/1)", "acc/1=me"},
		{"a Parallel takes it first", fork, "take:acc/1 free:acc/1 P:0=done P:1=done", "P P(acc/1 acc/1) P:0/X+ P:1/Y+", "acc/1=me"},
		{"a Parallel asks again", fork, "take:acc/1 +1m +1m free:acc/1", "P P(acc/1 P(!acc/1 P P(acc/1 acc/1)", "acc/1=me"},
		{"after the pivot it blocks", pivoted, "take:acc/1 done +1m", "A+ B(acc/1 B(!acc/1 Blocked", "acc/1=other"},
		{"a retry asks anew", pivoted, "take:acc/1 done +1m retry", "A+ B(acc/1 B(!acc/1 Blocked Redriven B(acc/1", "acc/1=other,me"},
		{"and goes on when it has it", pivoted, "take:acc/1 done +1m retry free:acc/1 done", "A+ B(acc/1 B(!acc/1 Blocked Redriven B(acc/1 acc/1) B+ Succeeded", ""},
		{"a broken one is asked for anew by a later step", later, "done done break:acc/1 done", "A+ B(acc/1 acc/1) B+ acc/1! C+", ""},
		{"a step that runs is not stopped", later, "done break:acc/1", "A+ B(acc/1 acc/1) acc/1!", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.def == nil || tt.def.byName == nil {
				t.Fatal("the definition is not valid")
			}
			b := newBench(tt.def)
			st := newLockStore(func() time.Time { return b.now })
			b.withLocks("me", st, nil)
			// Others come first.
			ops := strings.Fields(tt.ops)
			for len(ops) > 0 && strings.HasPrefix(ops[0], "take:") {
				b.locks.take(ops[0][len("take:"):])
				ops = ops[1:]
			}
			b.play(t, strings.Join(ops, " "))
			if got := trail(b.trace); got != tt.want {
				t.Errorf("the history is\n\t%s\nwant\n\t%s", got, tt.want)
			}
			if got := b.locks.shown(); got != tt.locks {
				t.Errorf("the locks are %q, want %q", got, tt.locks)
			}
			b.check(t)
		})
	}
}

// The key is told when the step is come to. One that cannot be is a fault of the
// definition, which names the lock.
func TestLockKeys(t *testing.T) {
	long := strings.Repeat("x", 600)
	for name, tt := range map[string]struct {
		key  func(*int) string
		want string
	}{
		"empty":   {func(*int) string { return "" }, `the key of lock "acc" is empty`},
		"long":    {func(*int) string { return long }, "at most 512 are allowed"},
		"control": {func(*int) string { return "a\nb" }, "control characters"},
		"panics":  {func(*int) string { panic("boom") }, `tell the key of lock "acc": panic: boom`},
	} {
		t.Run(name, func(t *testing.T) {
			def := New("s", compensable("A"), compensable("B").Lock(Lock("acc", tt.key)), Do("Z", nothing)).def
			b := newBench(def)
			b.withLocks("me", newLockStore(func() time.Time { return b.now }), nil)
			b.play(t, "done done")
			c := b.m.root.cause()
			if b.m.status() != Compensated || c == nil || c.Step != "B" || c.Name != ErrorRuntime || !strings.Contains(c.Error, tt.want) {
				t.Errorf("it is %s for %+v, want an error with %q", b.m.status(), c, tt.want)
			}
			if got := b.locks.shown(); got != "" {
				t.Errorf("the locks are %q", got)
			}
		})
	}
}

// One that is blocked while it waits, because its workers die, gives its place up.
// A retry asks anew, and begins nothing before it has the lock.
func TestLockOfABlockedWait(t *testing.T) {
	b := newBench(New("s", compensable("A").Lock(on("1").Wait(time.Hour)), Do("Z", nothing)).def)
	b.withLocks("me", newLockStore(func() time.Time { return b.now }), nil)
	b.locks.take("acc/1")
	b.settle()
	b.open(time.Second)
	b.m.block(b.m.root, &Cause{Kind: CauseCrashes, Step: "A"})
	b.settle()
	if got, want := b.locks.shown(), "acc/1=other"; got != want || b.m.status() != Blocked {
		t.Errorf("the locks are %q, want %q, and it is %s", got, want, b.m.status())
	}
	b.play(t, "crash retry")
	if got, want := b.locks.shown(), "acc/1=other,me"; got != want {
		t.Errorf("the locks are %q, want %q", got, want)
	}
	b.play(t, "free:acc/1 done done")
	if got, want := trail(b.trace), "A(acc/1 Blocked Redriven A(acc/1 acc/1) A+ Z+ Succeeded"; got != want {
		t.Errorf("the history is\n\t%s, want\n\t%s", got, want)
	}
	b.check(t)
}

// A step that an operator gives another state tells its locks anew. The key of one
// that could not be told then may.
func TestLocksOfAnEdit(t *testing.T) {
	own := Lock("acc", func(n *int) string { return strings.Repeat("x", *n) })
	s := New("s", Do("P", nothing).Pivot(), Do("B", nothing).Lock(own).Retry(Once()).Catch("D", "Other").End(), Do("D", nothing))
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	b := newBench(s.def)
	b.withLocks("me", newLockStore(func() time.Time { return b.now }), nil)
	b.settle()
	b.m.answer(b.m.root, result{outcome: Done, state: []byte("0")}, b.now)
	b.settle() // the key of 0 is empty
	edit := func(input string) {
		t.Helper()
		if !b.parked || b.m.status() != Blocked {
			t.Fatalf("it is %s", b.m.status())
		}
		b.open(0)
		b.m.edit(&inputEdit{Step: "B", Attempt: b.m.root.Attempt, Input: json.RawMessage(input)}, "ann", "", b.now)
		b.settle()
	}
	edit("-1") // and this one panics
	edit("2")
	b.play(t, "declined")
	edit("3")
	if got, want := b.locks.shown(), "acc/xx=me acc/xxx=me"; got != want {
		t.Errorf("the locks are %q, want %q", got, want)
	}
	b.play(t, "declined retry done")
	if got, want := trail(b.trace), "P+ Blocked Blocked B(acc/xx acc/xx) B- Blocked B(acc/xxx acc/xxx) B#2 B- Blocked Redriven B#3 B+ Succeeded"; got != want {
		t.Errorf("the history is\n\t%s, want\n\t%s", got, want)
	}
	if got := b.locks.shown(); got != "" {
		t.Errorf("the locks are %q", got)
	}
	b.check(t)
}

// The locks of one execution are bounded, because they are in one frame.
func TestLocksAreBounded(t *testing.T) {
	items := func(*int) []int {
		list := make([]int, mostLocks+1)
		for i := range list {
			list[i] = i
		}
		return list
	}
	def := New("s", ForEach("M", items, nil, compensable("X").Lock(Lock("acc", func(n *int) string { return fmt.Sprint(*n) }))),
		Do("Z", nothing)).def
	b := newBench(def)
	b.withLocks("me", newLockStore(func() time.Time { return b.now }), nil)
	b.settle()
	for range 3 * mostLocks {
		if b.m.status().Ended() {
			break
		}
		b.answer("done")
		b.settle()
	}
	if c := b.m.root.cause(); b.m.status() != Compensated || !strings.Contains(c.Error, "one too many: an execution has up to 100") {
		t.Errorf("it is %s for %+v", b.m.status(), b.m.root.cause())
	}
	if got := b.locks.shown(); got != "" {
		t.Errorf("the locks are %q", got)
	}
}

// What comes late, or twice, or for another request changes nothing; a grant that
// nobody needs any more is given back.
func TestLockMail(t *testing.T) {
	def := New("s", compensable("A").Lock(on("1")), Do("Z", nothing)).def
	b := newBench(def)
	b.withLocks("me", newLockStore(func() time.Time { return b.now }), nil)
	b.play(t, "")
	l := b.m.root.Locked[0]
	if l.Fence == 0 || b.m.fences()["acc/1"] != l.Fence {
		t.Fatalf("the lock is %+v, with the fences %v", l, b.m.fences())
	}
	b.m.granted("acc/1", l.Request, l.Fence+7, b.now)
	b.m.refused(l.Request, b.now)
	b.m.broken("acc/1", "another", "ann", "", b.now)
	b.m.broken("acc/2", l.Request, "ann", "", b.now)
	if got := b.m.root.Locked[0]; got != l || b.m.dirty {
		t.Errorf("the lock is %+v, want %+v", got, l)
	}
	b.m.granted("acc/1", "another", 7, b.now)
	b.m.granted("acc/9", "a third", 8, b.now)
	if len(b.m.unlocks) != 2 || !b.m.dirty || b.m.root.Locked[0] != l {
		t.Errorf("%+v are given back", b.m.unlocks)
	}
	b.m.committed()
	b.m.broken("acc/1", l.Request, "ann", "why not", b.now)
	b.m.broken("acc/1", l.Request, "ann", "again", b.now)
	if e := b.m.events; len(e) != 1 || e[0].By != "ann" || e[0].Note != "why not" || e[0].Fence != l.Fence {
		t.Errorf("the events are %+v", b.m.events)
	}
	// One that is given back, and not committed yet, may be broken all the same.
	b.m.committed()
	b.m.unlocks = []heldLock{{Resource: "acc/1", Request: "late", Fence: 3}}
	b.m.broken("acc/1", "late", "ann", "", b.now)
	b.m.broken("acc/1", "late", "ann", "", b.now)
	if e := b.m.events; len(e) != 1 || e[0].Fence != 3 {
		t.Errorf("the events are %+v", b.m.events)
	}
	// The handlers' fence stays what it was, and is too low by now.
	if got := b.m.fences()["acc/1"]; got != l.Fence {
		t.Errorf("the fence is %d, want %d", got, l.Fence)
	}
}

// A request that somebody else has given up is made anew.
func TestRefusedLock(t *testing.T) {
	def := New("s", compensable("A").Lock(on("1")), Do("Z", nothing)).def
	b := newBench(def)
	b.withLocks("me", newLockStore(func() time.Time { return b.now }), nil)
	b.locks.take("acc/1")
	b.settle()
	old := b.m.root.Locked[0].Request
	if _, err := b.locks.store.ReleaseLock(t.Context(), "acc/1", old, time.Hour); err != nil {
		t.Fatal(err)
	}
	b.open(benchLease)
	b.settle()
	if got := b.m.root.Locked[0].Request; got == old || got == "" {
		t.Errorf("the request is %q after %q", got, old)
	}
	if got, want := b.locks.shown(), "acc/1=other,me"; got != want {
		t.Errorf("the locks are %q, want %q", got, want)
	}
	// A broken lock that it did not know it had is asked for anew as well.
	b.open(0)
	next, err := b.locks.store.ReleaseLock(t.Context(), "acc/1", "other's acc/1", time.Hour)
	if err != nil || next.Owner != "me" {
		t.Fatal(next, err)
	}
	b.heed("break:acc/1")
	b.settle()
	if l := b.m.root.Locked[0]; l.Fence <= next.Fence || l.Broken {
		t.Errorf("the lock is %+v after %+v", l, next)
	}
}

func TestLockDeclarations(t *testing.T) {
	account := on("1")
	key := func(*int) string { return "1" }
	for name, tt := range map[string]struct {
		saga *Saga[int]
		want []string
	}{
		"no name":       {New("s", compensable("A").Lock(Lock("", key)), Do("Z", nothing)), []string{`step "A": the name of its lock, "", may have up to 128`}},
		"a bad name":    {New("s", compensable("A").Lock(Lock("a/b", key)), Do("Z", nothing)), []string{`step "A": the name of its lock, "a/b", may have`}},
		"no function":   {New("s", compensable("A").Lock(Lock[int]("acc", nil)), Do("Z", nothing)), []string{`step "A": its lock "acc" has no function`}},
		"nil":           {New("s", compensable("A").Lock(nil), Do("Z", nothing)), []string{`step "A": lock 1 is nil`}},
		"twice":         {New("s", compensable("A").Lock(account, account), Do("Z", nothing)), []string{`step "A": it takes the lock "acc" twice`}},
		"no time":       {New("s", compensable("A").Lock(account.Wait(0)), Do("Z", nothing)), []string{`step "A": it waits for its lock "acc" for 0s, want it positive`}},
		"twice apart":   {New("s", compensable("A").Lock(account).Lock(account.Wait(time.Hour)), Do("Z", nothing)), []string{`step "A": it takes the lock "acc" twice`}},
		"too long":      {New("s", compensable("A").Lock(account.Wait(time.Minute)), Do("Z", nothing)).Within(time.Minute), []string{`step "A": it waits for its lock "acc" for up to 1m0s, and the saga's own time is 1m0s`}},
		"the default":   {New("s", compensable("A").Timeout(time.Second).UndoTimeout(time.Second).Lock(account), Do("Z", nothing).Timeout(time.Second)).Within(30 * time.Second), nil},
		"saga too long": {New("s", compensable("A"), Do("Z", nothing)).Lock(account.Wait(time.Hour)).Within(time.Minute), []string{`saga "s": it waits for its lock "acc" for up to 1h0m0s`}},
		"after a pivot": {New("s", Do("P", nothing).Pivot(), Do("Z", nothing).Lock(account.Wait(time.Hour))).Within(time.Minute), nil},
		"of a saga":     {New("s", compensable("A"), Do("Z", nothing)).Lock(nil, Lock[int]("", nil)), []string{`saga "s": lock 1 is nil`, `saga "s": the name of its lock`, `saga "s": its lock "" has no function`}},
		"of a Pass":     {New("s", Pass("A", set(1)).Lock(account), Do("Z", nothing)), []string{`step "A": a Pass takes no locks`}},
		"of a Wait":     {New("s", Wait[int]("A", time.Hour).Lock(account), Do("Z", nothing)), []string{`step "A": a Wait takes no locks`}},
		"of a Receive":  {New("s", Receive("A", "go", func(*int, int) error { return nil }).Lock(account), Do("Z", nothing)), []string{`step "A": a Receive changes nothing outside, and takes no locks`}},
		"of a Callback": {New("s", Callback("A", nothing, func(*int, int) error { return nil }).ReadOnly().Lock(account), Do("Z", nothing)), nil},
		"of a ForEach":  {New("s", ForEach("A", func(*int) []int { return nil }, nil, compensable("X")).Lock(account), Do("Z", nothing)), nil},
		"two keys":      {New("s", compensable("A").Lock(account, on("2")), Do("Z", nothing)), nil},
	} {
		err := tt.saga.Validate()
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want it to say %q", name, err, want)
			}
		}
	}
}

// Locks are part of a saga's graph and shape; how long they are waited for is
// not part of its shape.
func TestLocksInTheGraph(t *testing.T) {
	plain := New("s", compensable("A"), Do("Z", nothing)).def
	step := New("s", compensable("A").Lock(on("1")), Do("Z", nothing)).def
	patient := New("s", compensable("A").Lock(on("1").Wait(time.Hour)), Do("Z", nothing)).def
	whole := New("s", compensable("A"), Do("Z", nothing)).Lock(on("1")).def
	both := New("s", compensable("A"), Do("Z", nothing)).Lock(on("1")).Lock(Lock("other", func(*int) string { return "1" }).Wait(time.Hour)).def
	versions := []string{plain.version, step.version, whole.version, both.version}
	slices.Sort(versions)
	if len(slices.Compact(versions)) != 4 {
		t.Errorf("versions are alike: %q", versions)
	}
	if step.version != patient.version {
		t.Error("how long a lock is waited for makes another version")
	}
	data, err := both.MarshalJSON()
	if want := `"locks":[{"name":"acc","wait":60},{"name":"other","wait":3600}]`; err != nil || !strings.Contains(string(data), want) {
		t.Errorf("the graph is %s, want %s in it", data, want)
	}
	back, err := definitionFrom(data)
	if err != nil || len(back.locks) != 2 || back.locks[1].Wait != time.Hour {
		t.Errorf("it is read as %+v, %v", back, err)
	}
	if data, err = step.MarshalJSON(); err != nil || !strings.Contains(string(data), `"locks":[{"name":"acc","wait":60}]`) {
		t.Errorf("the graph is %s, %v", data, err)
	}
}
