package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// A bench drives a machine as an actor does, without a store: what is committed
// survives a crash, and nothing else does.
type bench struct {
	def       *Definition
	m         *machine
	epoch     int64
	now       time.Time
	start     time.Time
	committed map[string][]byte // frames, by field
	trace     []Event           // of all commits
	jobs      []job
	sent      []*command // since the test last looked
	parked    bool
	wake      time.Time
	locks     *benchLocks
}

const (
	benchLease   = 30 * time.Second
	benchMaxLost = 3
)

func newBench(def *Definition) *bench {
	at := time.UnixMilli(1_000_000)
	b := &bench{def: def, epoch: 1, now: at, start: at, committed: make(map[string][]byte)}
	m := begin(def, []byte(`0`))
	b.committed[store.RootFrame], _ = json.Marshal(m.root)
	b.trace = m.events
	b.resume()
	return b
}

// resume opens what was committed last.
func (b *bench) resume() {
	f, err := decodeFrame(nil, b.committed[store.RootFrame], b.def, b.def.root, "")
	if err != nil {
		panic(err)
	}
	b.m = resume(b.def, f, b.epoch, b.start, benchLease, benchMaxLost)
	if !b.m.fold() {
		for b.m.unfold() {
			b.load()
		}
	}
	b.m.lost(b.now)
	b.parked = false
	b.locks.opened()
}

// load gives the machine what it asks for.
func (b *bench) load() {
	fields := make(map[string][]byte)
	for _, name := range b.m.wanted() {
		if data, ok := b.committed[name]; ok {
			fields[name] = data
		}
	}
	if err := b.m.supply(nil, fields); err != nil {
		panic(err)
	}
}

// fetch loads what is asked for, as actor.fetch does.
func (b *bench) fetch() {
	for b.m.behind() {
		if b.m.short && !b.m.unfold() {
			b.m.unfolded()
		}
		if len(b.m.wants) > 0 {
			b.load()
		}
	}
}

// unfoldAll loads all frames.
func (b *bench) unfoldAll() {
	if b.m.folded {
		b.m.short = true
		b.fetch()
	}
}

// crash loses the worker: the next one opens when the lease has expired.
func (b *bench) crash() {
	b.now = b.now.Add(benchLease)
	b.epoch++
	b.resume()
}

// settle goes on until there is something to do for a handler, or the execution
// is parked. It does what actor.run does around its commits.
func (b *bench) settle() {
	for again := true; again; {
		again = b.m.rouse(b.now)
		b.fetch()
	}
	for !b.m.advance(b.now) {
		if b.m.short {
			b.fetch()
		} else {
			b.load()
		}
	}
	b.jobs, b.wake = b.m.todo(b.now)
	if b.send() {
		b.settle()
		return
	}
	park := len(b.jobs) == 0 && b.m.idle() && !b.asks()
	if b.m.dirty || park {
		b.commit(park)
	}
	b.parked = park
	if b.ask() {
		b.settle()
	}
}

// send gives participants what is theirs, as actor.command does.
func (b *bench) send() (sent bool) {
	for _, j := range b.jobs {
		if b.m.step(j.f).remote(j.undo) {
			b.m.send(j.f, j.f.State, b.now)
			sent = true
		}
	}
	b.sent = append(b.sent, b.m.commands...)
	b.m.commands = nil
	return sent
}

func (b *bench) commit(park bool) {
	if len(b.m.events) > 0 {
		b.m.root.Entries++
	}
	if park {
		b.m.root.Parked, b.m.root.Rest = b.epoch, b.m.resting(b.now)
	}
	set, del, err := b.m.fields(nil)
	if err != nil {
		panic(err)
	}
	if b.m.purge {
		b.committed = make(map[string][]byte)
	}
	maps.Copy(b.committed, set)
	for _, name := range del {
		delete(b.committed, name)
	}
	b.trace = append(b.trace, b.m.events...)
	b.locks.write(b.m.unlocks)
	b.m.committed()
	b.locks.send()
}

// open opens a parked execution, after the given time.
func (b *bench) open(after time.Duration) {
	b.now = b.now.Add(after)
	b.epoch++
	b.resume()
}

// Results of attempts. Their names are the operations of the tables below.
var (
	errFlaky    = errors.New("flaky")
	errDeclined = Permanent(errors.New("declined"))
	errGarbled  = Uncertain(errors.New("garbled"))
	errNamed    = Named("NoSeats", Permanent(errors.New("no seats")))
)

func (b *bench) result(f *frame, name string) result {
	err := map[string]error{
		"flaky": errFlaky, "declined": errDeclined, "unknown": errGarbled, "unknown!": Permanent(errGarbled), "named": errNamed,
	}[name]
	switch {
	case name == "done":
		return result{outcome: Done, state: fmt.Appendf(nil, "%d", b.m.root.Entries)}
	case name == "same":
		return result{outcome: Done, state: f.State}
	case err != nil:
		return result{err: err, outcome: outcomeOf(err)}
	}
	panic("no such result: " + name)
}

// answer answers the first attempt that is to be run.
func (b *bench) answer(name string) {
	f := b.jobs[0].f
	b.m.answer(f, b.result(f, name), b.now)
}

// job is the attempt that is to be run, or runs, in a frame.
func (b *bench) job(path string) (found *frame) {
	b.m.each(func(f *frame) bool {
		if f.path == path && (f.running || slices.ContainsFunc(b.jobs, func(j job) bool { return j.f == f })) {
			found = f
		}
		return true
	})
	return found
}

// play runs operations: results of the attempt that is to run now, "crash",
// mail, or a time to let pass. Where several branches are at work, the results
// have the path of their frame before them, as in "Both:1=done", and "start" is
// that of an attempt that is at work from there on.
func (b *bench) play(t *testing.T, ops string) {
	t.Helper()
	b.settle()
	for _, op := range strings.Fields(ops) {
		path, name, found := strings.Cut(op, "=")
		switch {
		case found:
			f := b.job(path)
			if f == nil {
				t.Fatalf("%s: nothing is to be run there after %s", op, brief(b.trace))
			}
			if name == "start" {
				f.running = true
				continue
			}
			b.m.answer(f, b.result(f, name), b.now)
		case op == "crash":
			b.crash()
		case op == "cancel" || op == "retry" || op == "terminate" || op == "suspend" || op == "resume":
			if b.parked {
				b.open(0)
			}
			switch op {
			case "cancel":
				b.m.cancel("ann", "", b.now)
			case "retry":
				b.m.retry("ann", "", b.now)
			case "terminate":
				b.m.terminate("ann", "")
			case "suspend":
				b.m.suspend("ann", "", b.now)
			case "resume":
				b.m.goOn("ann", "", b.now)
			}
		case op == "wake":
			if !b.parked || b.wake.IsZero() {
				t.Fatalf("%s: the execution does not wait", op)
			}
			b.open(b.wake.Sub(b.now))
		case strings.HasPrefix(op, "+"):
			d, err := time.ParseDuration(op[1:])
			if err != nil {
				t.Fatal(err)
			}
			if b.parked {
				b.open(d)
			} else {
				b.now = b.now.Add(d)
			}
		case strings.HasPrefix(op, "take:"):
			b.locks.take(op[len("take:"):])
		case strings.HasPrefix(op, "free:"), strings.HasPrefix(op, "break:"):
			if b.parked {
				b.open(0)
			}
			b.heed(op)
		default:
			if len(b.jobs) == 0 {
				t.Fatalf("%s: nothing is to be run after %s", op, brief(b.trace))
			}
			b.answer(op)
		}
		b.settle()
	}
}

// brief writes events in words: the dispatches, what came of them, and the
// turns that the saga takes.
func brief(events []Event) string {
	var words []string
	for _, e := range events {
		var w string
		switch e.Type {
		case TaskScheduled:
			w = fmt.Sprintf("%s.%d", e.Step, e.Attempt)
		case CompensationTried:
			w = fmt.Sprintf("undo-%s.%d", e.Step, e.Attempt)
		case TaskSucceeded:
			w = "ok"
		case CompensationDone:
			w = "undone"
		case TaskFailed, CompensationFailed:
			w = "failed"
		case TaskTimedOut:
			w = "unknown"
		case TaskStateEntered, TaskStateExited, ExecutionStarted:
			continue
		case CompensationEntered:
			w = "(" + string(e.Outcome) + ")"
		default:
			w = strings.TrimPrefix(string(e.Type), "Execution")
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func nothing(context.Context, *int) error { return nil }

func undoNothing(context.Context, *int, Outcome) error { return nil }

// compensable is a step with an Undo that is tried twice, as its action is, a
// second apart.
func compensable(name string) *Step[int] {
	return Do(name, nothing).Undo(undoNothing).Retry(twice).UndoRetry(twice)
}

func mergeNothing(*int, []int) error { return nil }

var endless = Retry{Attempts: Forever, Initial: time.Second, Factor: 1, Jitter: -1}

var twice = Retry{Attempts: 2, Initial: time.Second, Jitter: -1}
