package saga

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What frames wait for is noted in the fork above them for a block of them at a time:
// notes for each would make every commit write as much as there are items, and one for
// all would have every wake-up read as much. A note may be too early, of a frame that
// has ended since, or waits for something later: then the block is loaded in vain, and
// noted anew. It is never too late, because whoever changes a frame has it loaded.

// blockOf is the block of a fork's nth branch. As many branches share a note as are
// worth folding, which is part of the format of Due and Ears.
func (m *machine) blockOf(n int) int { return n / m.def.foldFrom }

// outline notes what is waited for in the forks at and below a frame. A block of which
// frames are folded keeps what it had, and what the others add to that.
func (m *machine) outline(f *frame, now time.Time) {
	k := f.Fork
	if k == nil {
		return
	}
	due, late, ears := make(dues, m.blockOf(k.Begun+m.def.foldFrom-1)), bits(nil), make(map[string]bits)
	stopping, kept := m.stopping(f), -1
	for n := range k.Begun {
		b := m.blockOf(n)
		switch kid := f.kid(n); {
		case !f.underWay(n, stopping):
		case kid != nil:
			m.outline(kid, now)
			if at, outside := m.waits(kid, now); sooner(due[b], at) != due[b] {
				due[b] = at
				late.set(b, outside)
			}
			m.hears(kid, func(name string) { hear(ears, name, b) })
		case kept < b: // once for each block
			kept = b
			if b < len(k.Due) && sooner(due[b], k.Due[b]) != due[b] {
				due[b] = k.Due[b]
				late.set(b, k.Late.has(b))
			}
			for name, in := range k.Ears {
				if in.has(b) {
					hear(ears, name, b)
				}
			}
		}
	}
	if !slices.Equal(due, k.Due) || !slices.Equal(late, k.Late) || !maps.EqualFunc(ears, k.Ears, slices.Equal[bits]) {
		k.Due, k.Late, k.Ears, f.dirty = due, late, ears, true
	}
}

func hear(ears map[string]bits, name string, block int) {
	in := ears[name]
	in.add(block)
	ears[name] = in
}

// waits is when first something is due in a frame, or below it, and whether that is
// by when somebody outside is to answer; 0 is never.
func (m *machine) waits(f *frame, now time.Time) (due int64, outside bool) {
	if f.Step != "" {
		at, _ := m.dueIn(f, now)
		due, outside = toMillis(at), f.Waiting
		if end := toMillis(m.closes(f)); sooner(due, end) != due {
			due, outside = end, false
		}
	}
	if f.Fork != nil {
		for b, at := range f.Fork.Due {
			if sooner(due, at) != due {
				due, outside = at, f.Fork.Late.has(b)
			}
		}
	}
	return due, outside
}

// sooner is the earlier of two times, where 0 is never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// hears calls yield for the names of the signals that are waited for in a frame, and
// below it.
func (m *machine) hears(f *frame, yield func(name string)) {
	if name := m.ear(f); name != "" {
		yield(name)
	}
	if f.Fork != nil {
		for name := range f.Fork.Ears {
			yield(name)
		}
	}
}

// blocks calls yield for the blocks of the frame's branches of which some are folded.
func (m *machine) blocks(f *frame, yield func(block int)) {
	stopping := m.stopping(f)
	for n := 0; n < f.Fork.Begun; n++ {
		if f.kid(n) == nil && f.underWay(n, stopping) {
			b := m.blockOf(n)
			yield(b)
			n = (b+1)*m.def.foldFrom - 1 // the last of the block
		}
	}
}

// unfoldBlock asks for the frames of a block that are folded.
func (m *machine) unfoldBlock(f *frame, block int) {
	stopping := m.stopping(f)
	for n := block * m.def.foldFrom; n < min((block+1)*m.def.foldFrom, f.Fork.Begun); n++ {
		if f.kid(n) == nil && f.underWay(n, stopping) {
			m.want(frameField(f.below(f.Fork, n)))
		}
	}
}

// restFolded notes when first something may be due in a frame that is folded.
func (m *machine) restFolded() {
	if !m.folded {
		return
	}
	var due int64
	m.overdue = false
	m.each(func(f *frame) bool {
		if f.Fork != nil {
			m.blocks(f, func(b int) {
				if b < len(f.Fork.Due) && sooner(due, f.Fork.Due[b]) != due {
					due, m.overdue = f.Fork.Due[b], f.Fork.Late.has(b)
				}
			})
		}
		return true
	})
	m.rest = fromMillis(due)
}

// rouse asks for the frames that are folded and in which something may be due, and
// reports whether there are any. Below those there may be more.
func (m *machine) rouse(now time.Time) bool {
	if !m.folded || m.rest.IsZero() || m.rest.After(now) {
		return false
	}
	m.each(func(f *frame) bool {
		if f.Fork != nil {
			m.blocks(f, func(b int) {
				if b < len(f.Fork.Due) && f.Fork.Due[b] > 0 && f.Fork.Due[b] <= now.UnixMilli() {
					m.unfoldBlock(f, b)
				}
			})
		}
		return true
	})
	return len(m.wants) > 0
}

// seekEar asks for frames until the first one is there that waits for a signal, of
// those at and below the given one. It reports whether it is, or may be among those.
func (m *machine) seekEar(f *frame, name string) bool {
	if m.ear(f) == name && !m.stopping(f) {
		return true
	}
	if f.Fork == nil {
		return false
	}
	stopping := m.stopping(f)
	for n := range f.Fork.Begun {
		kid := f.kid(n)
		switch {
		case kid != nil:
			if m.seekEar(kid, name) {
				return true
			}
		case f.underWay(n, stopping) && f.Fork.Ears[name].has(m.blockOf(n)):
			m.unfoldBlock(f, m.blockOf(n))
			return true
		}
	}
	return false
}

// ear is the name of the signal that the frame waits for, or empty.
func (m *machine) ear(f *frame) string {
	if s := m.step(f); f.Waiting && s != nil {
		return s.Signal
	}
	return ""
}

// dues are times in milliseconds; 0 is never. Their text is the earliest, and how much
// later than that each is, or nothing; numbers are in base 36.
type dues []int64

func (d dues) MarshalText() ([]byte, error) {
	var first int64
	for _, at := range d {
		first = sooner(first, at)
	}
	text := strconv.AppendInt(nil, first, 36)
	for _, at := range d {
		text = append(text, ' ')
		if at != 0 {
			text = strconv.AppendInt(text, at-first, 36)
		}
	}
	return text, nil
}

func (d *dues) UnmarshalText(text []byte) error {
	head, rest, _ := strings.Cut(string(text), " ")
	first, err := strconv.ParseInt(head, 36, 64)
	if err != nil {
		return fmt.Errorf("decode when branches are due: %w", err)
	}
	*d = nil
	for later := range strings.SplitSeq(rest, " ") {
		var at int64
		if later != "" {
			n, err := strconv.ParseInt(later, 36, 64)
			if err != nil {
				return fmt.Errorf("decode when branches are due: %w", err)
			}
			at = first + n
		}
		*d = append(*d, at)
	}
	return nil
}
