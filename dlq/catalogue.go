package dlq

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
)

// ErrNoCatalogue: a client has no Config.Catalogue.
var ErrNoCatalogue = errors.New("dlq: Config has no Catalogue")

// Catalogue returns a client that works on what [Client.Ingest] has put into the
// catalogue, in place of what is in the queues: with its Peek, Groups, Show, Export,
// Purge and Redrive. It looks at all of a queue's letters unless told otherwise, and
// for that raises no receive counts and hides nothing. Of a job to resume, either
// client knows what it works on. The other methods do what they always do.
//
// Two that redrive the same letters at once send each of them twice: Config.Jobs is
// what keeps the second off. A queue has to be there still for its letters to be found.
func (c *Client) Catalogue() *Client {
	view := *c
	view.catalogued = true
	return &view
}

// opened returns where the letters of a queue are in the catalogue, and makes the
// queue's counts those of the catalogue, or returns nil where the client works on
// queues.
func (c *Client) opened(ctx context.Context, q *queue.Queue, a *queue.QueueAttributes) (*drawer, error) {
	if !c.catalogued {
		return nil, nil
	}
	if c.catalogue == nil {
		return nil, ErrNoCatalogue
	}
	d := &drawer{store: c.catalogue, subject: subjectOf(q, *a), fifo: q.Endpoint.FIFO()}
	n, err := c.catalogue.CountLetters(ctx, d.subject)
	if err != nil {
		return nil, fmt.Errorf("dlq: catalogue: %w", err)
	}
	a.Visible, a.InFlight, a.Delayed, a.Retention = int(n), 0, 0, 0 // it keeps them for good
	return d, nil
}

// A Catalogued queue is one whose letters are in the catalogue.
type Catalogued struct {
	// Queue is the queue's ARN, or its URL where it has none, and Letters how many
	// letters of it there are.
	Queue   string `json:"queue"`
	Letters int64  `json:"letters"`
}

// Catalogued returns the queues that have letters in the catalogue.
func (c *Client) Catalogued(ctx context.Context) ([]Catalogued, error) {
	if c.catalogue == nil {
		return nil, ErrNoCatalogue
	}
	queues, err := c.catalogue.LetterQueues(ctx)
	if err != nil {
		return nil, fmt.Errorf("dlq: catalogue: %w", err)
	}
	list := make([]Catalogued, len(queues))
	for i, q := range queues {
		n, err := c.catalogue.CountLetters(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("dlq: catalogue: %w", err)
		}
		list[i] = Catalogued{q, n}
	}
	return list, nil
}

// peekCatalogue is Peek for the catalogue: of up to n letters, whichever come first.
func (c *Client) peekCatalogue(ctx context.Context, q *queue.Queue, n int) ([]*Letter, error) {
	d, err := c.drawerOf(ctx, q)
	if err != nil {
		return nil, err
	}
	var letters []*Letter
	for len(letters) < n {
		more, err := d.next(ctx, n-len(letters))
		if err != nil {
			return nil, err
		}
		if len(more) == 0 {
			break
		}
		for _, l := range more {
			l.Looked = true
		}
		letters = append(letters, more...)
	}
	slices.SortStableFunc(letters, func(a, b *Letter) int { return a.SentAt.Compare(b.SentAt) })
	if err := c.fetchAll(ctx, letters); err != nil {
		return nil, fmt.Errorf("dlq: peek into %q: %w", q.Name, err)
	}
	return letters, nil
}

func (c *Client) drawerOf(ctx context.Context, q *queue.Queue) (*drawer, error) {
	a, err := q.Attributes(ctx)
	if err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	return c.opened(ctx, q, &a)
}

// showCatalogue returns the letter that has an id, if there is one: SQS's, or that
// its receivers know it by, for which the summaries are read.
func (c *Client) showCatalogue(ctx context.Context, name, id string) (*Letter, error) {
	q, err := c.queues.Queue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	d, err := c.drawerOf(ctx, q)
	if err != nil {
		return nil, err
	}
	seen := 0
	for summary, err := range d.summaries(ctx) {
		if err != nil {
			return nil, err
		}
		if seen++; summary.ID != id && summary.Name != id {
			continue
		}
		kept, err := c.catalogue.GetLetter(ctx, d.subject, summary.ID)
		if errors.Is(err, store.ErrNotFound) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("dlq: catalogue: %w", err)
		}
		l, err := readKept(kept)
		if err != nil {
			return nil, err
		}
		l.Looked = true
		return fetch(ctx, l, c.payloads, c.maxPayload), context.Cause(ctx)
	}
	return nil, &NoMessageError{Queue: q.Name, ID: id, Seen: seen, Total: seen}
}
