package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// A drawer is where a queue's letters are in the catalogue. It takes the place of
// the queue for a hold: it shows each letter once, and nobody else has it meanwhile
// who does not hold the lease.
type drawer struct {
	store   store.Catalogue
	subject string
	fifo    bool

	mu       sync.Mutex
	begun    bool
	position string
	order    []placed  // of a FIFO queue: what is still to be read
	read     []*Letter // and not shown yet
	stuck    map[string]bool
}

// stick keeps the rest of a failed letter's group back, as a FIFO queue itself does
// of a letter that is held.
func (d *drawer) stick(l *Letter) {
	if d == nil || !d.fifo {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck == nil {
		d.stuck = map[string]bool{}
	}
	d.stuck[l.raw.Group] = true
}

// sticks returns an error if a letter is of a group that is kept back.
func (d *drawer) sticks(l *Letter) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck[l.raw.Group] {
		return fmt.Errorf("dlq: %w", errGroupStuck)
	}
	return nil
}

// A placed letter of a FIFO queue has its place among the others.
type placed struct {
	id, sequence string
	sent         time.Time
}

func (a placed) compare(b placed) int {
	return cmp.Or(cmp.Compare(len(a.sequence), len(b.sequence)), cmp.Compare(a.sequence, b.sequence), a.sent.Compare(b.sent), cmp.Compare(a.id, b.id))
}

// next returns up to n letters that it has not shown, and none after the last.
func (d *drawer) next(ctx context.Context, n int) ([]*Letter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.read) == 0 {
		var more bool
		var err error
		if d.fifo {
			more, err = d.fillInOrder(ctx)
		} else {
			more, err = d.fill(ctx)
		}
		if err != nil || !more {
			return nil, err
		}
	}
	n = min(n, len(d.read))
	letters := d.read[:n:n]
	d.read = d.read[n:]
	return letters, nil
}

// fill reads another page, and reports whether there was one.
func (d *drawer) fill(ctx context.Context) (bool, error) {
	if d.begun && d.position == "" {
		return false, nil
	}
	page, next, err := d.store.ListLetters(ctx, d.subject, d.position, store.MaxLetters)
	if err != nil {
		return false, fmt.Errorf("dlq: catalogue: %w", err)
	}
	d.begun, d.position = true, next
	for _, kept := range page {
		l, err := readKept(kept)
		if err != nil {
			return false, err
		}
		d.read = append(d.read, l)
	}
	return true, nil
}

// readAhead is how many letters of a FIFO queue are read at once.
const readAhead = 50

// fillInOrder is fill for a FIFO queue, whose order the catalogue does not keep.
func (d *drawer) fillInOrder(ctx context.Context) (bool, error) {
	for !d.begun || d.position != "" { // the first time
		if _, err := d.fill(ctx); err != nil {
			return false, err
		}
		for _, l := range d.read {
			d.order = append(d.order, placed{l.MessageID, l.raw.Sequence, l.SentAt})
		}
		d.read = nil
		if d.position == "" {
			slices.SortFunc(d.order, placed.compare)
		}
	}
	n := min(readAhead, len(d.order))
	if n == 0 {
		return false, nil
	}
	letters := make([]*Letter, n)
	var calls errgroup.Group
	calls.SetLimit(fetches)
	for i, p := range d.order[:n] {
		calls.Go(func() error {
			kept, err := d.store.GetLetter(ctx, d.subject, p.id)
			if errors.Is(err, store.ErrNotFound) {
				return nil // it was deleted meanwhile
			}
			if err == nil {
				letters[i], err = readKept(kept)
			}
			return err
		})
	}
	if err := calls.Wait(); err != nil {
		return false, fmt.Errorf("dlq: catalogue: %w", err)
	}
	d.order = d.order[n:]
	d.read = slices.DeleteFunc(letters, func(l *Letter) bool { return l == nil })
	return true, nil
}

// remove deletes letters, and returns an error for each.
func (d *drawer) remove(ctx context.Context, messages []queue.RawMessage) []error {
	errs := make([]error, len(messages))
	for start := 0; start < len(messages); start += store.MaxLetters {
		end := min(start+store.MaxLetters, len(messages))
		var ids []string
		for _, m := range messages[start:end] {
			ids = append(ids, m.ID)
		}
		if err := d.store.DeleteLetters(ctx, d.subject, ids); err != nil {
			for i := start; i < end; i++ {
				errs[i] = fmt.Errorf("dlq: catalogue: %w", err)
			}
		}
	}
	return errs
}

// attributes returns those of the queue, with the counts of where the letters are.
func (j *job) attributes(ctx context.Context) (queue.QueueAttributes, error) {
	a, err := j.from.Attributes(ctx)
	if d := j.hold.drawer; d != nil && err == nil {
		var n int64
		n, err = d.store.CountLetters(ctx, d.subject)
		a.Visible, a.InFlight, a.Delayed = int(n), 0, 0
	}
	return a, err
}
