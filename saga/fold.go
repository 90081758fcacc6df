package saga

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// An execution with many branches or items under way, which all wait for somebody
// outside, is opened for each answer, and each time that something is due. Such an
// opening leaves the frames folded that this is not about: in the record, where they
// are. What makes that safe is that the opening before parked, and noted in the forks,
// block by block, when first something is due below them, and which signals are waited
// for there (outline.go); and that mail which may be about any frame unfolds them all,
// and so does a scope that is opened above some.

// foldFrom is how many branches or items have to be under way for frames to be left
// folded. Fewer are loaded at no cost worth mentioning; so that many are loaded
// together where one of them is due, too.
const foldFrom = 16

// fold leaves the frames that wait folded, and reports whether it may. Those that
// something is about are seeked then.
func (m *machine) fold() bool {
	if !m.root.Rest || m.root.Parked != m.epoch-1 || !m.calm() {
		return false
	}
	m.folded = true
	m.restFolded()
	return true
}

// calm reports whether nothing is the matter with the execution as a whole that may
// be any frame's business.
func (m *machine) calm() bool {
	r := m.root
	if m.standing() != Running || r.Quarantine != nil || r.Suspended > 0 || r.Scope != nil || r.Cancel != nil || r.Held || r.First {
		return false
	}
	for _, l := range r.Locked {
		if l.Fence == 0 {
			return false // some frame asks for it
		}
	}
	return true
}

// resting notes in the forks what their branches wait for, and reports whether the
// next opening can go by that: else it has to look for itself.
func (m *machine) resting(now time.Time) bool {
	if !m.calm() || !m.folded && !m.wide() {
		return false
	}
	if jobs, wake := m.todo(now); len(jobs) > 0 || !wake.IsZero() && !wake.After(now) {
		return false
	}
	m.outline(m.root, now)
	return true
}

// wide reports whether a fork has so much under way that folding pays.
func (m *machine) wide() bool {
	return !m.root.each(func(f *frame) bool { return f.Fork == nil || f.Fork.Begun-f.Fork.Ended.count() < m.def.foldFrom })
}

// seek asks for the next frame on the way to a path, if that is folded.
func (m *machine) seek(path string) {
	f, n := m.toward(path)
	if n < 0 || n >= f.Fork.Begun || !f.underWay(n, m.stopping(f)) {
		return
	}
	m.want(frameField(f.below(f.Fork, n)))
}

// seekFor asks for the frames that mail is about. Where it does not say, or a frame
// of those is being undone with all that is below it, that is all of them.
func (m *machine) seekFor(about mail) {
	switch {
	case about.Kind == mailReply && about.Reply != nil:
		m.seek(about.Reply.Frame)
	case (about.Kind == mailComplete || about.Kind == mailBeat) && about.Token != nil:
		m.seek(about.Token.Frame)
	case about.Kind == mailChild && about.Child != nil:
		m.seek(about.Child.Frame)
	case about.Kind == mailSignal && about.Signal != nil:
		m.seekEar(m.root, about.Signal.Name)
	default:
		m.short = true
	}
}

// lacking reports whether frames have to be loaded first.
func (m *machine) lacking() bool { return m.short || len(m.wants) > 0 }

// behind reports whether mail waits for frames that are folded.
func (m *machine) behind() bool { return m.folded && m.lacking() }

// misses reports whether frames below the given one are folded.
func (m *machine) misses(f *frame) bool {
	return m.folded && !f.each(func(f *frame) bool {
		if f.Fork != nil {
			stopping := m.stopping(f)
			for n := range f.Fork.Begun {
				if f.kid(n) == nil && f.underWay(n, stopping) {
					return false
				}
			}
		}
		return true
	})
}

// unfolded takes note that all frames are loaded. Those that were folded when a
// scope was opened above them are stopped now.
func (m *machine) unfolded() {
	if len(m.scopes) > 0 {
		m.stopLatecomers(m.root, false)
	}
	m.folded, m.short, m.scopes = false, false, nil
}

func (m *machine) stopLatecomers(f *frame, within bool) {
	within = within || slices.Contains(m.scopes, f)
	for _, kid := range f.kids {
		switch {
		case kid == nil:
		case within && kid.late:
			m.stop(kid)
		default:
			m.stopLatecomers(kid, within)
		}
	}
}

// unfold asks for the frames that are under way below those that are loaded, and
// reports whether there are any. After a crash or a wake-up each of them may have
// something to do.
func (m *machine) unfold() bool {
	m.each(func(f *frame) bool {
		if f.Fork != nil {
			stopping := m.stopping(f)
			for n := range f.Fork.Begun {
				if f.kid(n) == nil && f.underWay(n, stopping) {
					m.want(frameField(f.below(f.Fork, n)))
				}
			}
		}
		return true
	})
	return len(m.wants) > 0
}

// underWay reports whether a branch of the frame's fork may have something to do.
func (f *frame) underWay(n int, stopping bool) bool {
	if f.Fork.Undoing {
		return !f.Fork.Ended.has(n)
	}
	return stopping || !f.Fork.Ended.has(n)
}

// toward is the last loaded frame on the way to a path, and the number of its branch
// that the path goes on through; or the frame of the path itself, with -1, or one that
// has no such branch, with -1.
func (m *machine) toward(path string) (f *frame, n int) {
	for f = m.root; f.path != path; {
		n = f.through(path)
		kid := f.kid(max(n, 0))
		if n < 0 || kid == nil {
			return f, n
		}
		f = kid
	}
	return f, -1
}

// through is the number of the fork's branch that a path goes through, or -1.
func (f *frame) through(path string) int {
	k := f.Fork
	if k == nil {
		return -1
	}
	rest, ok := strings.CutPrefix(path, f.path)
	if ok && f.path != "" {
		rest, ok = strings.CutPrefix(rest, ",")
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, k.Step)
	}
	if ok && k.Visit > 1 {
		rest, ok = strings.CutPrefix(rest, "@"+strconv.Itoa(k.Visit))
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, ":")
	}
	if !ok {
		return -1
	}
	number, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || strconv.Itoa(n) != number {
		return -1
	}
	return n
}
