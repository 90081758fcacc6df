package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/backend"
	"github.com/waybill-dev/waybill/queue"
)

// A mortuary is all dead-letter queues.
type mortuary struct {
	client *dlq.Client
	queues []*queue.Queue // of dead letters
	others []*queue.Queue
}

// A deadLetter is one message in a dead-letter queue.
type deadLetter struct {
	*dlq.Letter
	queue string // that it lies in
	ride  string
}

func newMortuary(ctx context.Context, b *backend.Backend) (*mortuary, error) {
	admin, err := queue.NewAdmin(queue.AdminConfig{AWSFor: b.AWSFor, Endpoints: b.Endpoints})
	if err != nil {
		return nil, err
	}
	m := &mortuary{}
	if m.client, err = dlq.New(dlq.Config{Queues: admin}); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	find := func(list *[]*queue.Queue, url string) error {
		if url == "" || seen[url] {
			return nil
		}
		seen[url] = true
		q, err := admin.Queue(ctx, url)
		*list = append(*list, q)
		return err
	}
	for e := range b.Endpoints.All() {
		if !e.IsQueue() {
			continue
		}
		if err := errors.Join(find(&m.others, e.URL), find(&m.queues, e.DeadLetter)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// count returns about how many dead letters there are.
func (m *mortuary) count(ctx context.Context) (int, error) { return count(ctx, m.queues) }

// backlog returns about how many messages there are that are not dead. One that
// a worker held when it was killed is among them until it comes again.
func (m *mortuary) backlog(ctx context.Context) (int, error) { return count(ctx, m.others) }

func count(ctx context.Context, queues []*queue.Queue) (int, error) {
	all := 0
	for _, q := range queues {
		n, err := depth(ctx, q)
		if err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

// hidden returns about how many messages are in somebody's hands, and how long
// they stay hidden after a receiver has died.
func (m *mortuary) hidden(ctx context.Context) (n int, visibility time.Duration, err error) {
	for _, q := range m.others {
		a, err := q.Attributes(ctx)
		if err != nil {
			return 0, 0, err
		}
		if a.InFlight > 0 {
			n += a.InFlight
			visibility = max(visibility, q.Endpoint.Visibility)
		}
	}
	return n, visibility, nil
}

// depth returns about how many messages a queue has.
func depth(ctx context.Context, q *queue.Queue) (int, error) {
	a, err := q.Attributes(ctx)
	return a.Visible + a.InFlight + a.Delayed, err
}

// list returns all dead letters, and leaves them where they are.
func (m *mortuary) list(ctx context.Context) ([]deadLetter, error) {
	var list []deadLetter
	for _, q := range m.queues {
		// To look into an empty queue means to wait for something to come.
		n, err := depth(ctx, q)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		letters, err := m.client.Peek(ctx, q.Name, n)
		if err != nil {
			return nil, err
		}
		for _, letter := range letters {
			list = append(list, deadLetter{letter, q.Name, letter.Metadata.Get(queue.KeyCorrelation)})
		}
	}
	return list, nil
}

// reason is why the message is here, in words that others of its kind have too.
func (l deadLetter) reason() string {
	f := l.Failure
	switch {
	case f == nil && l.Problem != nil:
		return l.Problem.Error()
	case f == nil:
		return "no reason is recorded: SQS moved it, because its worker was killed too often"
	case len(f.Chain) == 0:
		return fmt.Sprintf("%s: %s", f.Filter, f.Message)
	}
	// The root cause, without its Go type, has no ids in it.
	root := f.Chain[len(f.Chain)-1]
	if _, text, ok := strings.Cut(root, ": "); ok {
		root = text
	}
	return f.Filter + ": " + root
}

// clear empties all queues, and returns how much was in them.
func (m *mortuary) clear(ctx context.Context) (int, error) {
	n := 0
	for _, q := range slices.Concat(m.others, m.queues) {
		for {
			batch, err := q.Receive(ctx, 10, 30*time.Second, 0)
			if err != nil {
				return n, err
			}
			if len(batch) == 0 {
				break
			}
			if err := errors.Join(q.Delete(ctx, batch)...); err != nil {
				return n, err
			}
			n += len(batch)
		}
	}
	return n, nil
}
