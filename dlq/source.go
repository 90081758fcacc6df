package dlq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/waybill-dev/waybill/queue"
)

// destinations finds out where letters go. A letter says where it came from,
// but whoever can write to a dead-letter queue can write that, too. So a letter
// goes only to a queue that SQS or configuration knows as a source of the
// dead-letter queue, or that configuration has as an endpoint.
type destinations struct {
	*Client

	from  *queue.Queue
	to    *queue.Queue // if the operator named it
	known []*queue.Queue

	mu    sync.Mutex
	found map[string]destination // by what the letter says
}

type destination struct {
	queue *queue.Queue
	err   error
}

// newDestinations asks for the sources of the dead-letter queue.
func (c *Client) newDestinations(ctx context.Context, from *queue.Queue, to string) (*destinations, error) {
	d := &destinations{Client: c, from: from, found: map[string]destination{}}
	if to != "" {
		q, err := c.queues.Queue(ctx, to)
		if err != nil {
			return nil, fmt.Errorf("dlq: To: %w", err)
		}
		if c.same(q, from) {
			return nil, fmt.Errorf("dlq: To: %q is the queue that the messages come from", q.Name)
		}
		d.to = q
		return d, nil
	}
	sources, err := c.queues.Sources(ctx, from)
	if err != nil {
		if errors.Is(err, queue.ErrNotFound) || ctx.Err() != nil {
			return nil, fmt.Errorf("dlq: %w", err)
		}
		c.log.Warn("the sources of the dead-letter queue cannot be listed; going by configuration", "queue", from.Name, "error", err)
	}
	d.known = sources
	for e := range c.queues.Endpoints().All() {
		if e.DeadLetter == "" || !queue.SameQueue(e.DeadLetter, from.Endpoint.URL) || c.queues.Place(e) != c.queues.Place(from.Endpoint) {
			continue
		}
		q, err := c.queues.Queue(ctx, e.Name)
		switch {
		case errors.Is(err, queue.ErrNotFound):
		case err != nil:
			return nil, fmt.Errorf("dlq: %w", err)
		case !slices.ContainsFunc(d.known, func(k *queue.Queue) bool { return c.same(k, q) }):
			d.known = append(d.known, q)
		}
	}
	return d, nil
}

// same reports whether two queues are one.
func (c *Client) same(a, b *queue.Queue) bool {
	return a.Name == b.Name && c.queues.Place(a.Endpoint) == c.queues.Place(b.Endpoint)
}

// of returns where the letter goes.
func (d *destinations) of(ctx context.Context, l *Letter) (*queue.Queue, error) {
	if d.to != nil {
		return d.to, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	found, ok := d.found[l.Source]
	if !ok {
		found.queue, found.err = d.find(ctx, l.Source)
		if ctx.Err() == nil {
			d.found[l.Source] = found
		}
	}
	return found.queue, found.err
}

func (d *destinations) find(ctx context.Context, source string) (*queue.Queue, error) {
	if source == "" {
		if len(d.known) == 1 {
			return d.known[0], nil
		}
		return nil, fmt.Errorf("dlq: %w: the message does not tell where it came from, and %s; say where to send it (To, or --to)", ErrNoSource, d.knownText())
	}
	name := queue.QueueName(source)
	if i := slices.IndexFunc(d.known, func(k *queue.Queue) bool { return k.Name == name }); i >= 0 {
		return d.known[i], nil
	}
	q, err := d.queues.Queue(ctx, d.near(source))
	if err != nil {
		return nil, fmt.Errorf("dlq: the source of the message, %s: %w", source, err)
	}
	switch {
	case d.same(q, d.from):
		return nil, fmt.Errorf("dlq: %w: the message says that it came from %q, the queue that it is in; say where to send it (To, or --to)", ErrNoSource, q.Name)
	case d.configured(q):
		return q, nil
	}
	return nil, fmt.Errorf("dlq: %w: the message says that it came from %q, which is neither an endpoint nor has %q as its dead-letter queue (%s); if that is where to send it, say so (To, or --to)", ErrNoSource, q.Name, d.from.Name, d.knownText())
}

// near returns the name of the endpoint that a source means, if there is one where
// the dead-letter queue is, or the source.
func (d *destinations) near(source string) string {
	for e := range d.queues.Endpoints().All() {
		if name, _ := e.Resource(); e.IsQueue() && (source == e.Name || name == queue.QueueName(source)) && d.queues.Place(e) == d.queues.Place(d.from.Endpoint) {
			return e.Name
		}
	}
	return source
}

// configured reports whether the queue is an endpoint's.
func (d *destinations) configured(q *queue.Queue) bool {
	for e := range d.queues.Endpoints().All() {
		if e.IsQueue() && queue.SameQueue(e.URL, q.Endpoint.URL) {
			return true
		}
	}
	return false
}

// anyBut reports whether there may be letters for a destination that is not
// closed.
func (d *destinations) anyBut(closed map[string]error) bool {
	if d.to != nil {
		return closed[d.to.Name] == nil
	}
	for _, q := range d.known {
		if closed[q.Name] == nil {
			return true
		}
	}
	for e := range d.queues.Endpoints().All() {
		if name, _ := e.Resource(); e.IsQueue() && name != d.from.Name && closed[name] == nil {
			return true
		}
	}
	return false
}

// knownText says which sources the dead-letter queue has.
func (d *destinations) knownText() string {
	if len(d.known) == 0 {
		return "no queue has this one as its dead-letter queue"
	}
	names := make([]string, len(d.known))
	for i, q := range d.known {
		names[i] = q.Name
	}
	slices.Sort(names)
	return "this is the dead-letter queue of " + strings.Join(names, ", ")
}
