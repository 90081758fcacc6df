package saga

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/waybill-dev/waybill/store"
)

// A Query selects executions.
type Query struct {
	Definition string // empty: all that are registered
	Status     Status // empty: all
	Offset     int
	Limit      int // of each definition and status; defaults to 100
}

// List returns executions, newest first within a definition and status. Those
// that cannot be read are among them, and say so.
func (c *Client) List(ctx context.Context, q Query) ([]*Execution, error) {
	if q.Limit == 0 {
		q.Limit = 100
	}
	definitions, err := c.definitions(ctx, q.Definition)
	if err != nil {
		return nil, err
	}
	var list []*Execution
	for _, status := range q.statuses() {
		for _, definition := range definitions {
			ids, err := c.store.List(ctx, indexOf(status, definition), q.Offset, q.Limit)
			if err != nil {
				return nil, err
			}
			for _, id := range ids {
				x, err := c.Get(ctx, id)
				if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) {
					continue // it was purged just now
				}
				if err != nil && x == nil {
					return nil, err
				}
				if x.Definition == "" {
					x.Definition = definition // it cannot be read: see Unreadable
				}
				list = append(list, x)
			}
		}
	}
	return list, nil
}

// Count returns how many executions of a definition, or of all where it is
// empty, are in each status.
func (c *Client) Count(ctx context.Context, definition string) (map[Status]int64, error) {
	definitions, err := c.definitions(ctx, definition)
	if err != nil {
		return nil, err
	}
	counts := make(map[Status]int64)
	for _, status := range Statuses() {
		for _, definition := range definitions {
			n, err := c.store.Count(ctx, indexOf(status, definition))
			if err != nil {
				return nil, err
			}
			counts[status] += n
		}
	}
	return counts, nil
}

func (c *Client) definitions(ctx context.Context, name string) ([]string, error) {
	if name != "" {
		return []string{name}, nil
	}
	versions, err := c.store.DefinitionVersions(ctx)
	return sortedKeys(versions), err
}

func (q Query) statuses() []Status {
	if q.Status != "" {
		return []Status{q.Status}
	}
	return Statuses()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
