package saga

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// trail writes events with their frames: the steps entered, what came of their
// attempts, and the turns that the saga takes.
func trail(events []Event) string {
	var words []string
	for _, e := range events {
		w := e.Step
		if e.Frame != "" {
			w = e.Frame + "/" + w
		}
		switch e.Type {
		case CompensationTried:
			continue
		case TaskScheduled:
			if e.Attempt == 1 {
				continue
			}
			w += "#" + string(rune('0'+e.Attempt))
		case TaskSucceeded:
			w += "+"
		case TaskFailed:
			w += "-"
		case TaskTimedOut:
			w += "?"
		case CompensationEntered:
			w = "<" + w
		case CompensationDone:
			w = "~" + w
		case CompensationFailed:
			w = "!" + w
		case ErrorCaught:
			w += "=>" + e.Next
		case ExecutionSucceeded, ExecutionCompensated, ExecutionAborted, ExecutionBlocked, ExecutionFailed, ExecutionTimedOut, ExecutionRedriven, CancelRefused, RetryRefused:
			w = strings.TrimPrefix(string(e.Type), "Execution")
		case LockRequested:
			w += "(" + e.Lock
		case LockAcquired:
			w = e.Lock + ")"
		case LockTimedOut:
			w += "(!" + e.Lock
		case LockBroken:
			w = e.Lock + "!"
		default:
			if t, ok := strings.CutSuffix(string(e.Type), "StateEntered"); !ok || t == "Task" {
				continue
			}
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func positive(n *int) bool { return *n > 0 }

func set(to int) func(*int) error { return func(n *int) error { *n = to; return nil } }

func sum(n *int, branches []int) error {
	for _, b := range branches {
		*n += b
	}
	return nil
}

func TestFlow(t *testing.T) {
	choice := New("s", Choose[int]("Big").When("B", positive).Otherwise("C"),
		compensable("B").Next("D"), compensable("C"), compensable("D")).Version("1").def
	rules := New("s", compensable("A"), Choose[int]("Big").If("B", Not(Field("x").Present())),
		Fail[int]("F", "NeverGotHere", ""), compensable("B")).def
	loop := New("s", compensable("A"), Choose[int]("More").When("End", func(n *int) bool { return *n < 0 }).Otherwise("B"),
		compensable("B").Next("More"), Succeed[int]("End")).Version("1").def
	pass := New("s", Pass("Set", set(5)), compensable("A"), Pass("Again", set(6)), Pass("Once", set(7)), Do("Z", nothing)).def
	wait := New("s", compensable("A"), Wait[int]("W", time.Hour), Do("B", nothing)).def
	fails := New("s", compensable("A"), Fail[int]("F", "OutOfStock", "none left")).def
	caught := New("s", compensable("A").Next("B"), compensable("B").Catch("H", "NoSeats").Next("C"), compensable("C"), compensable("D").End(),
		compensable("H").Next("D")).def
	bothBad := New("s", compensable("A"), Pass("P", func(*int) error { return errors.New("no") }), Do("Z", nothing)).def
	never := func(*int) bool { return false }
	lost := New("s", compensable("A"), Choose[int]("C").When("A", never)).Version("1").def
	over := New("s", compensable("A"), Choose[int]("C").When("A", never).End()).Version("1").def
	tests := []struct {
		name string
		def  *Definition
		ops  string
		want string
	}{
		{"fails when nothing holds and nothing comes next", lost, "done done", "A+ C Failed <A ~A Compensated"},
		{"ends when nothing holds and it says so", over, "done", "A+ C Succeeded"},
		{"chooses what holds", choice, "done done", "Big C+ D+ Succeeded"},
		{"chooses by a rule", rules, "done done", "A+ Big B+ Succeeded"},
		{"undoes the way that it took", choice, "done declined done", "Big C+ D- Failed <C ~C Compensated"},
		{"goes round, with an undo for each visit", loop, "done done done declined done done done",
			"A+ More B+ More B+ More B- Failed <B ~B <B ~B <A ~A Compensated"},
		{"passes without a commit", pass, "done done", "Set A+ Again Once Z+ Succeeded"},
		{"waits", wait, "done wake done", "A+ W B+ Succeeded"},
		{"cancels a wait", wait, "done cancel done", "A+ W Aborted <A ~A Compensated"},
		{"fails by itself", fails, "done done", "A+ F Failed <A ~A Compensated"},
		{"catches an error by its name", caught, "done named done done", "A+ B- B=>H H+ D+ Succeeded"},
		{"does not catch another", caught, "done declined done", "A+ B- Failed <A ~A Compensated"},
		{"a function that fails is a failure", bothBad, "done done", "A+ P Failed <A ~A Compensated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.def == nil || tt.def.byName == nil {
				t.Fatal("the definition is not valid")
			}
			b := newBench(tt.def)
			b.play(t, tt.ops)
			if got := trail(b.trace); got != tt.want {
				t.Errorf("the history is\n\t%s\nwant\n\t%s", got, tt.want)
			}
			b.check(t)
		})
	}
}

// check holds what is stored of an execution that has ended to what must be.
func (b *bench) check(t *testing.T) {
	t.Helper()
	if !b.m.status().Ended() {
		return
	}
	if len(b.committed) != 1 {
		t.Errorf("there are fields left: %q", sortedKeys(b.committed))
	}
	if f := b.m.root; f.Step != "" || len(f.Undo) > 0 || f.Fork != nil {
		t.Errorf("it has ended with something left: %+v", f)
	}
}

func TestMapFlow(t *testing.T) {
	list := func(n *int) []int { return []int{10, 20, 30} }
	collect := func(n *int, items []Item[int]) error {
		*n = 0
		for _, i := range items {
			if i.Failed != nil {
				*n++
			}
		}
		return nil
	}
	all := New("s", compensable("A"), ForEach("M", list, collect, compensable("X"), compensable("Y")), compensable("Z")).def
	two := New("s", compensable("A"), ForEach("M", list, collect, compensable("X")).Concurrency(2), compensable("Z")).def
	tolerant := New("s", compensable("A"), ForEach("M", list, collect, compensable("X"), compensable("Y")).Tolerate(1), compensable("Z")).def
	none := New("s", ForEach("M", func(*int) []int { return nil }, nil, compensable("X")), compensable("Z")).def
	tests := []struct {
		name string
		def  *Definition
		ops  string
		want string
	}{
		{"runs all items", all, "done M:2=done M:0=done M:1=done M:1=done M:2=done M:0=done done",
			"A+ M M:2/X+ M:0/X+ M:1/X+ M:1/Y+ M:2/Y+ M:0/Y+ Z+ Succeeded"},
		{"runs some at a time", two, "done M:1=done M:2=done M:0=done done", "A+ M M:1/X+ M:2/X+ M:0/X+ Z+ Succeeded"},
		{"begins no more once one has failed", two, "done M:1=declined done", "A+ M M:1/X- Failed <A ~A Compensated"},
		{"begins the next after a crash", two, "done M:1=done crash wake M:0=done M:2=done done",
			"A+ M M:1/X+ M:0/X? M:0/X#2 M:2/X? M:2/X#2 M:0/X+ M:2/X+ Z+ Succeeded"},
		{"an item that fails is undone by itself", tolerant, "done M:0=done M:1=done M:0=declined M:0=done M:2=done M:1=done M:2=done done",
			"A+ M M:0/X+ M:1/X+ M:0/Y- <M:0/X ~M:0/X M:2/X+ M:1/Y+ M:2/Y+ Z+ Succeeded"},
		{"more than it tolerates", tolerant, "done M:0=done M:1=done M:0=declined M:0=done M:1=declined M:1=done done",
			"A+ M M:0/X+ M:1/X+ M:0/Y- <M:0/X ~M:0/X M:1/Y- Failed <M:1/X ~M:1/X <A ~A Compensated"},
		{"what was completed is undone", two, "done M:1=done M:0=done M:2=done declined M:2=done M:1=done M:0=done done",
			"A+ M M:1/X+ M:0/X+ M:2/X+ Z- Failed <M:2/X ~M:2/X <M:1/X ~M:1/X <M:0/X ~M:0/X <A ~A Compensated"},
		{"no items", none, "done", "M Z+ Succeeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.def.byName == nil {
				t.Fatal("the definition is not valid")
			}
			b := newBench(tt.def)
			b.play(t, tt.ops)
			if got := trail(b.trace); got != tt.want {
				t.Errorf("the history is\n\t%s\nwant\n\t%s", got, tt.want)
			}
			b.check(t)
		})
	}
}

func TestParallelFlow(t *testing.T) {
	both := New("s", compensable("A"),
		Parallel("P", Branch("x", compensable("X1"), compensable("X2")), Branch("y", compensable("Y1"), compensable("Y2"))).Merge(sum),
		compensable("Z")).def
	together := New("s",
		Parallel("P", Branch("x", compensable("X1"), compensable("X2")), Branch("y", compensable("Y1"), compensable("Y2"))).Merge(sum).UndoTogether(),
		compensable("Z")).def
	caught := New("s", compensable("A"),
		Parallel("P", Branch("x", compensable("X1"), compensable("X2")), Branch("y", compensable("Y1"))).Merge(sum).Catch("H", "NoSeats"),
		compensable("Z").End(), compensable("H").Next("Z")).def
	retried := New("s", compensable("A"),
		Parallel("P", Branch("x", compensable("X1")), Branch("y", compensable("Y1"))).Merge(sum).
			Retry(Retry{Attempts: 2, Initial: time.Minute, Jitter: -1}),
		compensable("Z")).def
	nested := New("s",
		Parallel("P", Branch("x", compensable("X1"),
			Parallel("Q", Branch("q", compensable("Q1")), Branch("r", compensable("R1"))).Merge(sum), compensable("X2")),
			Branch("y", compensable("Y1"))).Merge(sum),
		compensable("Z")).def
	tests := []struct {
		name string
		def  *Definition
		ops  string
		want string
	}{
		{"runs branches side by side", both, "done P:1=done P:0=done P:0=done P:1=done done",
			"A+ P P:1/Y1+ P:0/X1+ P:0/X2+ P:1/Y2+ Z+ Succeeded"},
		{"undoes them in reverse of their dispatch", both, "done P:1=done P:0=done P:1=done P:0=done declined " +
			"P:0=done P:1=done P:1=done P:0=done done",
			"A+ P P:1/Y1+ P:0/X1+ P:1/Y2+ P:0/X2+ Z- Failed " +
				"<P:0/X2 ~P:0/X2 <P:1/Y2 ~P:1/Y2 <P:1/Y1 ~P:1/Y1 <P:0/X1 ~P:0/X1 <A ~A Compensated"},
		{"undoes them side by side where it may", together, "P:1=done P:0=done P:1=done P:0=done declined " +
			"P:1=done P:0=done P:0=done P:1=done",
			"P P:1/Y1+ P:0/X1+ P:1/Y2+ P:0/X2+ Z- Failed " +
				"<P:0/X2 <P:1/Y2 ~P:1/Y2 <P:1/Y1 ~P:0/X2 <P:0/X1 ~P:0/X1 ~P:1/Y1 Compensated"},
		{"a branch that fails stops the others", both, "done P:0=declined done", "A+ P P:0/X1- Failed <A ~A Compensated"},
		{"what is under way is awaited", both, "done P:1=start P:0=declined P:1=done P:1=done done",
			"A+ P P:0/X1- Failed P:1/Y1+ <P:1/Y1 ~P:1/Y1 <A ~A Compensated"},
		{"what is under way and ends unknown is undone", both, "done P:1=start P:0=declined P:1=unknown P:1=done done",
			"A+ P P:0/X1- Failed P:1/Y1? <P:1/Y1 ~P:1/Y1 <A ~A Compensated"},
		{"what is under way and fails is not tried again", both, "done P:1=start P:0=declined P:1=flaky done",
			"A+ P P:0/X1- Failed P:1/Y1- <A ~A Compensated"},
		{"a branch that waits to try again is given up", both, "done P:1=unknown P:0=declined P:1=done done",
			"A+ P P:1/Y1? P:1/Y1#2 P:0/X1- Failed <P:1/Y1 ~P:1/Y1 <A ~A Compensated"},
		{"a cancel undoes all", both, "done P:0=done P:1=done cancel P:1=done P:0=done done",
			"A+ P P:0/X1+ P:1/Y1+ Aborted <P:1/Y1 ~P:1/Y1 <P:0/X1 ~P:0/X1 <A ~A Compensated"},
		{"a compensation that blocks blocks all before it", both, "done P:0=done P:1=done cancel P:1=declined retry P:1=done P:0=done done",
			"A+ P P:0/X1+ P:1/Y1+ Aborted <P:1/Y1 !P:1/Y1 Blocked Redriven ~P:1/Y1 <P:0/X1 ~P:0/X1 <A ~A Compensated"},
		{"catches what a branch fails with, once that is undone", caught, "done P:1=done P:0=done P:0=named P:1=done P:0=done done done",
			"A+ P P:1/Y1+ P:0/X1+ P:0/X2- <P:1/Y1 ~P:1/Y1 <P:0/X1 ~P:0/X1 X2=>H H+ Z+ Succeeded"},
		{"tries all of it again, once it is undone", retried, "done P:1=done P:0=declined P:1=done wake P@2:0=done P@2:1=done done",
			"A+ P P:1/Y1+ P:0/X1- <P:1/Y1 ~P:1/Y1 P P@2:0/X1+ P@2:1/Y1+ Z+ Succeeded"},
		{"gives up in the end", retried, "done P:0=declined wake P@2:0=declined done", "A+ P P:0/X1- P P@2:0/X1- Failed <A ~A Compensated"},
		{"undoes what is nested in reverse, too", nested,
			"P:0=done P:0,Q:1=done P:1=done P:0,Q:0=done P:0=done declined " +
				"P:0=done P:0,Q:1=done P:0,Q:0=done P:1=done P:0=done",
			"P P:0/X1+ P:0/Q P:0,Q:1/R1+ P:1/Y1+ P:0,Q:0/Q1+ P:0/X2+ Z- Failed " +
				"<P:0/X2 ~P:0/X2 <P:0,Q:1/R1 ~P:0,Q:1/R1 <P:0,Q:0/Q1 ~P:0,Q:0/Q1 <P:1/Y1 ~P:1/Y1 <P:0/X1 ~P:0/X1 Compensated"},
		{"crashes in the middle", both, "done P:1=done crash wake P:0=done P:1=done P:0=done done",
			"A+ P P:1/Y1+ P:0/X1? P:0/X1#2 P:1/Y2? P:1/Y2#2 P:0/X1+ P:1/Y2+ P:0/X2+ Z+ Succeeded"},
		{"crashes in a compensation", both, "done P:0=done P:1=done cancel crash wake P:1=done crash wake P:0=done done",
			"A+ P P:0/X1+ P:1/Y1+ Aborted <P:1/Y1 !P:1/Y1 ~P:1/Y1 <P:0/X1 !P:0/X1 ~P:0/X1 <A ~A Compensated"},
		{"crashes when what was completed is undone", both, "done P:1=done P:0=done P:1=done P:0=done declined crash wake " +
			"P:0=done P:1=done crash wake P:1=done P:0=done done",
			"A+ P P:1/Y1+ P:0/X1+ P:1/Y2+ P:0/X2+ Z- Failed " +
				"<P:0/X2 !P:0/X2 ~P:0/X2 <P:1/Y2 ~P:1/Y2 <P:1/Y1 !P:1/Y1 ~P:1/Y1 <P:0/X1 ~P:0/X1 <A ~A Compensated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.def.byName == nil {
				t.Fatal("the definition is not valid")
			}
			b := newBench(tt.def)
			b.play(t, tt.ops)
			if got := trail(b.trace); got != tt.want {
				t.Errorf("the history is\n\t%s\nwant\n\t%s", got, tt.want)
			}
			b.check(t)
		})
	}
}

func remoteStep(name string) *Step[int] {
	return Remote(name, "there", func(n *int) (int, error) { return *n, nil }, func(n *int, to int) error { *n = to; return nil }).
		UndoRemote().Retry(twice).UndoRetry(twice).Timeout(time.Minute)
}

// reply has a participant answer what a frame waits for.
func (b *bench) reply(t *testing.T, path string, r replyMessage) {
	t.Helper()
	if b.parked {
		b.open(0)
	}
	f := b.m.frameAt(path)
	if f == nil || !f.Waiting {
		t.Fatalf("nobody waits at %q after %s", path, trail(b.trace))
	}
	r.Frame, r.Step, r.Visit, r.Attempt, r.Reply = path, f.Step, 1, f.Attempt, commandDo
	if f.Undoing {
		r.Reply = commandUndo
	}
	b.m.hearReply(&r, b.now)
	b.settle()
}

// A command that was to go out when the worker died has not gone out: nothing is
// known to be lost.
func TestRemoteFlowAfterACrash(t *testing.T) {
	b := newBench(New("s", remoteStep("A")).def)
	b.settle()
	b.reply(t, "", replyMessage{Outcome: NotDone, Cause: "busy"}) // again in a second
	b.open(time.Second / 2)                                       // for mail, say
	b.crash()
	b.settle()
	if got, want := trail(b.trace), "A- A#2"; got != want {
		t.Errorf("the history is %q, want %q", got, want)
	}
	b.reply(t, "", replyMessage{Outcome: Done, Result: []byte("7")})
	if got, want := trail(b.trace), "A- A#2 A+ Succeeded"; got != want || string(b.m.root.State) != "7" {
		t.Errorf("the history is %q with %s, want %q with 7", got, b.m.root.State, want)
	}
}

// A branch fails while another waits for a participant: its reply is awaited,
// until it must have come.
func TestRemoteFlowOfABranchThatIsStopped(t *testing.T) {
	def := New("s", Parallel("P", Branch("x", remoteStep("X")), Branch("y", compensable("Y"))).Merge(sum), Do("Z", nothing)).def
	for reply, want := range map[Outcome]string{
		"":      "P P:1/Y- Failed P:0/X? <P:0/X ~P:0/X Compensated", // none
		Done:    "P P:1/Y- Failed P:0/X+ <P:0/X ~P:0/X Compensated",
		NotDone: "P P:1/Y- Failed P:0/X- Compensated",
	} {
		b := newBench(def)
		b.play(t, "P:1=declined")
		if !b.parked || b.m.status() != Running {
			t.Fatalf("it does not wait: %s", trail(b.trace))
		}
		if reply == "" {
			if b.wake.Sub(b.now) != time.Minute {
				t.Errorf("it waits until %s after the command, want its timeout of 1m", b.wake.Sub(b.now))
			}
			b.open(time.Minute)
			b.settle()
		} else {
			b.reply(t, "P:0", replyMessage{Outcome: reply, Result: []byte("7")})
		}
		if reply != NotDone {
			b.reply(t, "P:0", replyMessage{Outcome: Done})
		}
		if got := trail(b.trace); got != want {
			t.Errorf("the history is %q, want %q", got, want)
		}
		b.check(t)
	}
}
