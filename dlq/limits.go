package dlq

import (
	"cmp"
	"fmt"
	"time"
)

// Defaults of [Limits].
const (
	DefaultWindow     = 15 * time.Minute
	DefaultRaiseAfter = 2
	DefaultClearAfter = 3
)

// Limits say when a [Watcher] raises an alarm about a queue, and when it clears it.
// The counts of SQS are approximate, and a moment of quiet is no end of it; so an
// alarm has two bounds, and takes several readings in a row:
//
//   - raised, when RaiseAfter readings in a row are at the upper bound or above it;
//   - cleared, when ClearAfter readings in a row are below the lower bound.
//
// Any other reading begins the row anew, and a queue that cannot be read has no
// reading: that neither ends a row nor adds to one. Between the bounds, what is
// raised stays raised and what is not is not.
//
// A field that is 0 has its default: for a queue in WatchConfig.ByQueue that of
// WatchConfig.Limits, and there the one that it names.
type Limits struct {
	// Depth is the upper bound of how many messages the queue holds, whoever has
	// them in hand: those that can be received, that are in flight and that are
	// delayed. DepthLow is the lower bound, from 1 to Depth. A negative Depth is
	// no bound. Default to 1, and to half of Depth but at least 1.
	Depth, DepthLow int

	// Growth is the upper bound of how many more messages the queue holds than at
	// the latest reading that is a Window old or older, or at its first reading
	// where none is. GrowthLow is the
	// lower bound, from 1 to Growth. A negative Growth is no bound. A queue that
	// was emptied and filled again within a Window has grown by less than what
	// came into it: Depth is for that. Default to no bound, and to half of Growth
	// but at least 1.
	Growth, GrowthLow int

	// Window is the time over which a queue grows, of at least one interval.
	// Defaults to 15 minutes.
	Window time.Duration

	// RaiseAfter and ClearAfter are how many readings in a row raise an alarm, and
	// clear it. Default to 2 and 3.
	RaiseAfter, ClearAfter int
}

// over returns the limits with those of base where they are 0.
func (l Limits) over(base Limits) Limits {
	if l.Depth == 0 {
		l.Depth = base.Depth
		l.DepthLow = cmp.Or(l.DepthLow, base.DepthLow)
	}
	if l.Growth == 0 {
		l.Growth = base.Growth
		l.GrowthLow = cmp.Or(l.GrowthLow, base.GrowthLow)
	}
	l.Window = cmp.Or(l.Window, base.Window)
	l.RaiseAfter = cmp.Or(l.RaiseAfter, base.RaiseAfter)
	l.ClearAfter = cmp.Or(l.ClearAfter, base.ClearAfter)
	return l
}

// withDefaults fills in what nothing sets.
func (l Limits) withDefaults() Limits {
	l = l.over(Limits{Depth: 1, Growth: -1, Window: DefaultWindow, RaiseAfter: DefaultRaiseAfter, ClearAfter: DefaultClearAfter})
	l.DepthLow = cmp.Or(l.DepthLow, max(1, l.Depth/2))
	l.GrowthLow = cmp.Or(l.GrowthLow, max(1, l.Growth/2))
	return l
}

// validate checks limits that have their defaults.
func (l Limits) validate(interval time.Duration) error {
	for _, b := range []struct {
		name      string
		high, low int
	}{{"Depth", l.Depth, l.DepthLow}, {"Growth", l.Growth, l.GrowthLow}} {
		if b.high >= 0 && (b.low < 1 || b.low > b.high) {
			return fmt.Errorf("%sLow is %d; want 1 to %s, which is %d", b.name, b.low, b.name, b.high)
		}
	}
	switch {
	case l.Growth >= 0 && l.Window < interval:
		return fmt.Errorf("the Window is %v; want the Interval, %v, or more", l.Window, interval)
	case l.RaiseAfter < 1:
		return fmt.Errorf("RaiseAfter is %d; want 1 or more, or 0 for the default", l.RaiseAfter)
	case l.ClearAfter < 1:
		return fmt.Errorf("ClearAfter is %d; want 1 or more, or 0 for the default", l.ClearAfter)
	}
	return nil
}

// A bound is one alarm's two bounds, and how many readings in a row they take.
type bound struct {
	high, low        int // negative: there is none
	raiseAt, clearAt int

	raised            bool
	row               int       // of readings that would change raised
	since, remindedAt time.Time // of the alarm that was raised last
}

func newBound(high, low, raiseAt, clearAt int) bound {
	return bound{high: high, low: low, raiseAt: raiseAt, clearAt: clearAt}
}

// read takes a reading, and reports whether it raises or clears the alarm.
func (b *bound) read(value int, at time.Time) (changed bool) {
	if b.high < 0 {
		return false
	}
	need, counts := b.raiseAt, value >= b.high
	if b.raised {
		need, counts = b.clearAt, value < b.low
	}
	if !counts {
		b.row = 0
		return false
	}
	if b.row++; b.row < need {
		return false
	}
	b.raised, b.row = !b.raised, 0
	if b.raised {
		b.since, b.remindedAt = at, at
	}
	return true
}
