package dlq

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// GroupOptions say what [Client.Groups] is to do. The zero value groups the
// first [DefaultLook] messages by what tells causes apart.
type GroupOptions struct {
	// By are the dimensions that messages are grouped by. Defaults to
	// ByReason, ByFilter, ByType, ByFrame and ByHour for a message with a record
	// of its failure, and to ByReason, ByHour, BySource, ByAttributes and ByBody
	// for one without: Waybill did not write it, or its process died.
	By []Dimension

	// Filter chooses the messages. Defaults to all.
	Filter *Filter

	// Since and Until choose the messages whose [Letter.FailedAt] is not before
	// Since, and is before Until. Default to no bound.
	Since, Until time.Time

	// Limit is how many messages are looked at, at most [MaxLook]. Defaults to
	// [DefaultLook].
	Limit int
}

// maxGroups bounds the groups of a [Grouping].
const maxGroups = 1000

// A Grouping is the messages of a queue in groups.
type Grouping struct {
	// Queue is the name of the queue.
	Queue string `json:"queue"`

	// Total is how many messages the queue said it held, and Seen how many of
	// them were looked at. The rest is beyond the limit, with other receivers,
	// or, in a FIFO queue, behind messages of its group.
	Total int `json:"total"`
	Seen  int `json:"seen"`

	// Looked says that they were seen without receiving them. Otherwise each of
	// them counts as received once more than before.
	Looked bool `json:"looked"`

	// Outside counts the messages that Since and Until leave out, Filtered
	// those that the filter did not choose, and FilterErrors those among them
	// that it did not fit, or whose payload it could not have; FilterError is
	// the first such error.
	Outside      int    `json:"outside"`
	Filtered     int    `json:"filtered"`
	FilterErrors int    `json:"filter_errors"`
	FilterError  string `json:"filter_error,omitempty"`

	// Groups are the groups, the largest first: the first 1,000 that were
	// found. Others counts the messages that are in none of them.
	Groups []Group `json:"groups"`
	Others int     `json:"others"`
}

// A Group is messages that are alike.
type Group struct {
	// Key has what they have in common, by dimension. Of a dimension that
	// tells nothing of these messages the value is empty.
	Key map[Dimension]string `json:"key"`

	Count int `json:"count"`

	// First and Last are when the first of them failed first, and the last of
	// them last. Messages without a record count by when they were sent.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`

	// Sample is the id of one of them, for [Client.Show]: the one that failed
	// last.
	Sample string `json:"sample"`
}

// Groups looks at the messages of a dead-letter queue, groups those that are
// alike, and returns them to the queue. The queue is named as for queue.Admin.
//
// It costs what a peek does: the receive counts of all that it looks at rise by
// one, and they are hidden until it ends, which takes about 0.2 requests a
// message; a queue that itself has a redrive policy is refused with
// [ErrCounts]. Of a message it keeps nothing but what returns it, about a
// kilobyte, whatever its size. It looks at no more messages than the queue
// says it has when it begins. Of each message group of a FIFO queue it sees the
// first few: those hide the others.
//
// A filter that looks at bodies sees the payloads that messages refer to, as in
// a redrive. The dimensions do not: a payload in a store is "stored".
//
// When ctx ends, or the queue fails, the error comes with the groups so far.
func (c *Client) Groups(ctx context.Context, name string, opts GroupOptions) (Grouping, error) {
	for _, d := range opts.By {
		if !slices.Contains(dimensions, d) {
			return Grouping{}, fmt.Errorf("dlq: GroupOptions: By has %q; want some of %s", d, dimensionNames())
		}
	}
	if err := checkWindow(opts.Since, opts.Until); err != nil {
		return Grouping{}, fmt.Errorf("dlq: GroupOptions: %w", err)
	}
	if c.catalogued && opts.Limit >= 0 && opts.bySummary() {
		return c.groupSummaries(ctx, name, opts)
	}
	s, err := c.newScan(ctx, name, "group", opts.Limit)
	if err != nil {
		return Grouping{}, err
	}
	g := grouper{opts: opts, groups: map[string]*Group{}}
	g.result.Queue, g.result.Total = s.queue.Name, s.total
	err = s.see(ctx, "group", func(l *Letter) bool {
		out, filterErr := choice(ctx, l, opts.Since, opts.Until, opts.Filter, c.payloads, c.maxPayload)
		if ctx.Err() == nil {
			g.add(l, out, filterErr)
		}
		return true
	})
	g.result.Looked = s.looked
	return g.sorted(), err
}

// A verdict is whether a letter is chosen.
type verdict int

const (
	chosen verdict = iota
	outside
	filtered
)

// choice tells whether a window and a filter choose a letter. An error says that
// the filter does not fit it, or could not have its payload.
func choice(ctx context.Context, l *Letter, since, until time.Time, f *Filter, store queue.PayloadStore, maxPayload int) (verdict, error) {
	if !within(l, since, until) {
		return outside, nil
	}
	if f == nil {
		return chosen, nil
	}
	if f.body {
		var err error
		if l, err = seen(ctx, l, store, maxPayload); err != nil {
			return filtered, &unseenError{err}
		}
	}
	match, err := f.Match(ctx, l)
	if !match {
		return filtered, err
	}
	return chosen, nil
}

// An unseenError says that a payload could not be had.
type unseenError struct{ error }

func (e *unseenError) Unwrap() error { return e.error }

// A grouper makes groups of letters, and forgets the letters.
type grouper struct {
	opts GroupOptions

	mu     sync.Mutex
	groups map[string]*Group
	result Grouping
}

func (g *grouper) add(l *Letter, v verdict, err error) {
	by := g.opts.By
	switch {
	case len(by) > 0:
	case l.Failure != nil:
		by = byRecord
	default:
		by = byAllElse
	}
	key := make(map[Dimension]string, len(by))
	var text strings.Builder
	if v == chosen {
		for _, d := range by {
			key[d] = d.of(l)
			fmt.Fprintf(&text, "%s\x00%s\x00", d, key[d])
		}
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	r := &g.result
	r.Seen++
	switch {
	case v == outside:
		r.Outside++
	case v == filtered:
		r.Filtered++
		if err != nil {
			if r.FilterErrors++; r.FilterErrors == 1 {
				r.FilterError = err.Error()
			}
		}
	default:
		group := g.groups[text.String()]
		if group == nil && len(g.groups) == maxGroups {
			r.Others++
			return
		}
		if group == nil {
			group = &Group{Key: key}
			g.groups[text.String()] = group
		}
		group.add(l)
	}
}

// add counts a letter.
func (g *Group) add(l *Letter) { g.count(l.firstFailedAt(), l.FailedAt(), l.ID) }

func (g *Group) count(first, last time.Time, id string) {
	if g.Count == 0 || first.Before(g.First) {
		g.First = first
	}
	if g.Count == 0 || last.After(g.Last) {
		g.Last, g.Sample = last, id
	}
	g.Count++
}

// sorted returns what was grouped, the largest group first.
func (g *grouper) sorted() Grouping {
	r := g.result
	r.Groups = []Group{}
	for _, group := range g.groups {
		r.Groups = append(r.Groups, *group)
	}
	slices.SortFunc(r.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), cmp.Compare(a.Sample, b.Sample))
	})
	return r
}
