package saga

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestFoldedAsWhole drives two machines of a random graph through the same answers,
// orders, wake-ups and crashes: one that leaves frames folded wherever it may, and one
// that never does. They commit the same.
func TestFoldedAsWhole(t *testing.T) {
	folded := 0
	rapid.Check(t, func(t *rapid.T) {
		d := &drawer{T: t, away: true}
		items := rapid.IntRange(2, 6).Draw(t, "of the first")
		each := ForEach("Items", func(*int) []int { return make([]int, items) }, nil, d.steps(2)...)
		if d.oneIn(2, "tolerant") {
			each.Tolerate(2)
		}
		s := New("s", append([]*Step[int]{each.UndoTogether()}, d.steps(2)...)...).Version("1")
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		p := newTwins(t, s.def, rapid.IntRange(1, 3).Draw(t, "fold from"))
		for range rapid.IntRange(0, 60).Draw(t, "operations") {
			p.step()
		}
		folded += p.openings
	})
	if folded < 20 {
		t.Errorf("frames were left folded by %d openings; that tells nothing", folded)
	}
}

// Twins are a bench that folds, and one that does not.
type twins struct {
	*rapid.T
	folds, whole *bench
	openings     int // that left frames folded
}

func newTwins(t *rapid.T, def *Definition, foldFrom int) *twins {
	folds, whole := *def, *def
	folds.foldFrom, whole.foldFrom = foldFrom, 1<<30
	p := &twins{T: t, folds: newBench(&folds), whole: newBench(&whole)}
	p.settle()
	return p
}

func (p *twins) both(f func(*bench)) { f(p.folds); f(p.whole) }

func (p *twins) open() {
	if p.whole.parked {
		p.both(func(b *bench) { b.open(0) })
		if p.folds.m.folded {
			p.openings++
		}
	}
}

func (p *twins) step() {
	things := []string{"crash", "retry", "resume"}
	if rapid.IntRange(0, 5).Draw(p.T, "rare") == 0 {
		things = append(things, "cancel", "suspend")
	}
	var away []*frame
	p.whole.m.each(func(f *frame) bool {
		if f.Waiting && p.whole.m.step(f).Remote != "" {
			away = append(away, f)
		}
		return true
	})
	if len(away) > 0 {
		things = append(things, slices.Repeat([]string{"reply"}, 20)...)
	}
	if len(p.whole.jobs) > 0 {
		things = append(things, slices.Repeat([]string{"answer"}, 20)...)
	}
	if rapid.IntRange(0, 2).Draw(p.T, "signals") == 0 {
		things = append(things, slices.Repeat([]string{"signal"}, 6)...)
	}
	if p.whole.parked && !p.whole.wake.IsZero() {
		things = append(things, "wake", "wake", "wake")
	}
	if p.whole.parked && p.whole.m.status().Ended() {
		return
	}
	results := rapid.SampledFrom([]string{"done", "done", "done", "done", "done", "flaky", "declined", "named", "unknown", "unknown!"})
	what := rapid.SampledFrom(things).Draw(p.T, "what")
	switch what {
	case "crash":
		p.open()
		p.both((*bench).crash)
	case "wake":
		p.wake()
	case "answer":
		path, answer := rapid.SampledFrom(p.whole.jobs).Draw(p.T, "who").f.path, results.Draw(p.T, "answer")
		p.both(func(b *bench) {
			f := b.job(path)
			b.m.answer(f, b.result(f, answer), b.now)
		})
	case "reply":
		var replies []*replyMessage
		for range rapid.IntRange(1, 3).Draw(p.T, "replies") {
			f := rapid.SampledFrom(away).Draw(p.T, "who")
			replies = append(replies, replyTo(f, p.whole.result(f, results.Draw(p.T, "answer"))))
		}
		p.open()
		p.both(func(b *bench) {
			for _, r := range replies {
				b.m.seekFor(mail{Kind: mailReply, Reply: r})
			}
			for _, r := range replies {
				for b.fetch(); b.m.folded; b.fetch() { // an inner frame, when the outer is there
					if b.m.seekFor(mail{Kind: mailReply, Reply: r}); !b.m.behind() {
						break
					}
				}
				b.m.hearReply(r, b.now)
			}
		})
	case "signal":
		name := rapid.SampledFrom(treeSignals).Draw(p.T, "signal")
		p.open()
		p.both(func(b *bench) {
			for more := true; more; b.fetch() {
				b.m.seekFor(mail{Kind: mailSignal, Signal: &signal{Name: name}})
				more = b.m.behind()
			}
			b.m.signal(signal{Name: name, Data: []byte(`7`)}, b.now)
		})
	default:
		p.open()
		p.both(func(b *bench) {
			b.unfoldAll()
			switch what {
			case "cancel":
				b.m.cancel("ann", "", b.now)
			case "retry":
				b.m.retry("ann", "", b.now)
			case "suspend":
				b.m.suspend("ann", "", b.now)
			case "resume":
				b.m.goOn("ann", "", b.now)
			}
		})
	}
	p.settle()
}

// wake opens both when it is time. Who folds may be called too soon, and finds that
// there is nothing to do.
func (p *twins) wake() {
	for range 100 {
		if !p.folds.wake.Before(p.whole.wake) {
			break
		}
		if p.folds.wake.IsZero() {
			p.Fatalf("there is no wake-up, and there is something to do at %s", p.whole.wake)
		}
		before := len(p.folds.trace)
		p.folds.open(max(p.folds.wake.Sub(p.folds.now), 0))
		p.folds.settle()
		if len(p.folds.trace) > before {
			p.Fatalf("woken too soon, it has done %s", brief(p.folds.trace[before:]))
		}
	}
	if !p.folds.wake.Equal(p.whole.wake) {
		p.Fatalf("it wakes at %s, want %s", p.folds.wake, p.whole.wake)
	}
	p.both(func(b *bench) { b.open(max(b.wake.Sub(b.now), 0)) })
}

// settle settles both, and compares them.
func (p *twins) settle() {
	p.both((*bench).settle)
	if a, b := p.folds.committedAs(p.T), p.whole.committedAs(p.T); !maps.Equal(a, b) {
		p.Fatalf("it commits\n%q, want\n%q", a, b)
	}
	if a, b := fmt.Sprint(p.folds.trace), fmt.Sprint(p.whole.trace); a != b {
		p.Fatalf("it has done\n%s, want\n%s", a, b)
	}
	places := func(b *bench) (list []string) {
		for _, j := range b.jobs {
			list = append(list, fmt.Sprint(j.f.path, j.undo))
		}
		for _, c := range b.sent {
			list = append(list, fmt.Sprint(c.Frame, c.Command, c.Attempt, c.NotAfter))
		}
		b.sent = nil
		return append(list, fmt.Sprint(b.parked))
	}
	if a, b := places(p.folds), places(p.whole); !slices.Equal(a, b) {
		p.Fatalf("it is to do %q, want %q", a, b)
	}
	p.folds.now = p.whole.now
}

// committedAs is what is committed, but for what tells the openings.
func (b *bench) committedAs(t *rapid.T) map[string]string {
	all := make(map[string]string)
	for name, data := range b.committed {
		if !strings.HasPrefix(name, itemsField("")) {
			f := new(frame)
			if err := json.Unmarshal(data, f); err != nil {
				t.Fatal(err)
			}
			f.Parked, f.Rest = 0, false
			if f.Fork != nil {
				f.Fork.Due, f.Fork.Late, f.Fork.Ears = nil, nil, nil
			}
			data, _ = json.Marshal(f)
		}
		all[name] = string(data)
	}
	return all
}
