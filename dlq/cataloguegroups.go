package dlq

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// summaries goes through the summaries of all letters. It ends with an error, if
// any.
func (d *drawer) summaries(ctx context.Context) iter.Seq2[*store.LetterSummary, error] {
	return func(yield func(*store.LetterSummary, error) bool) {
		for position := ""; ; {
			page, next, err := d.store.ListSummaries(ctx, d.subject, position, store.MaxSummaryPage)
			if err != nil {
				yield(nil, fmt.Errorf("dlq: catalogue: %w", err))
				return
			}
			for i := range page {
				if !yield(&page[i], nil) {
					return
				}
			}
			if position = next; next == "" {
				return
			}
		}
	}
}

// bySummary reports whether summaries tell all that groups are to be made of.
func (o *GroupOptions) bySummary() bool {
	return o.Filter == nil && !slices.Contains(o.By, ByAttributes) && !slices.Contains(o.By, ByBody)
}

// A summaryKey is what letters of a group have in common: the values of what they
// are grouped by.
type summaryKey struct {
	by     groupedBy
	values [8]string
	hour   int64
}

// groupSummaries groups the letters of a queue without reading them.
func (c *Client) groupSummaries(ctx context.Context, name string, opts GroupOptions) (Grouping, error) {
	q, err := c.queues.Queue(ctx, name)
	if err != nil {
		return Grouping{}, fmt.Errorf("dlq: %w", err)
	}
	a, err := q.Attributes(ctx)
	if err != nil {
		return Grouping{}, fmt.Errorf("dlq: %w", err)
	}
	d, err := c.opened(ctx, q, &a)
	if err != nil {
		return Grouping{}, err
	}
	g := grouper{opts: opts, groups: map[string]*Group{}}
	g.result = Grouping{Queue: q.Name, Total: a.Visible, Looked: true}
	by := slices.Clone(opts.By)
	slices.Sort(by)
	by = slices.Compact(by)
	groups := map[summaryKey]*Group{}
	for s, failed := range d.summaries(ctx) {
		if err = failed; err != nil || opts.Limit > 0 && g.result.Seen == opts.Limit {
			break
		}
		g.result.Seen++
		if s.FailedAt.Before(opts.Since) || !opts.Until.IsZero() && !s.FailedAt.Before(opts.Until) {
			g.result.Outside++
			continue
		}
		key := keyOf(s, by)
		group := groups[key]
		if group == nil && len(groups) == maxGroups {
			g.result.Others++
			continue
		}
		if group == nil {
			group = &Group{Key: key.texts(by)}
			groups[key] = group
			g.groups[fmt.Sprint(len(groups))] = group
		}
		group.count(s.FirstFailedAt, s.FailedAt, nameOf(s))
	}
	return g.sorted(), err
}

// nameOf is the id of a letter's message.
func nameOf(s *store.LetterSummary) string {
	if s.Name != "" {
		return s.Name
	}
	return s.ID
}

// keyOf returns the key of a letter's group: by what is asked for, or else by what
// tells causes apart, of a letter with a record of its failure and without.
func keyOf(s *store.LetterSummary, by []Dimension) summaryKey {
	var k summaryKey
	switch {
	case len(by) > 0:
	case s.Reason == "unrecorded" || s.Reason == "unreadable":
		k.by = groupedByAllElse
	default:
		k.by = groupedByRecord
	}
	for i, d := range k.by.dimensions(by) {
		switch d {
		case ByReason:
			k.values[i] = s.Reason
		case ByFilter:
			k.values[i] = s.Filter
		case ByType:
			k.values[i] = s.Type
		case ByFrame:
			k.values[i] = s.Frame
		case ByHour:
			if k.hour = noHour; !s.FailedAt.IsZero() {
				k.hour = s.FailedAt.Unix() / 3600
			}
		case BySource:
			k.values[i] = s.Source
		case ByAttributes:
			k.values[i] = s.Attributes
		case ByBody:
			k.values[i] = s.Shape
		}
	}
	return k
}

const noHour = -1 << 62

// texts returns the key as a Group has it.
func (k summaryKey) texts(by []Dimension) map[Dimension]string {
	texts := make(map[Dimension]string)
	for i, d := range k.by.dimensions(by) {
		texts[d] = strings.Clone(k.values[i]) // not the page that it is of
		if d == ByHour && k.hour != noHour {
			texts[d] = time.Unix(k.hour*3600, 0).UTC().Format(time.RFC3339)
		}
	}
	return texts
}

// A groupedBy tells by which dimensions a letter is grouped.
type groupedBy int

const (
	groupedByChoice groupedBy = iota
	groupedByRecord
	groupedByAllElse
)

func (b groupedBy) dimensions(chosen []Dimension) []Dimension {
	switch b {
	case groupedByRecord:
		return byRecord
	case groupedByAllElse:
		return byAllElse
	}
	return chosen
}
