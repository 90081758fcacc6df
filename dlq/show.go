package dlq

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrNoMessage is the kind of a [*NoMessageError].
var ErrNoMessage = errors.New("no such message")

// A NoMessageError says that [Client.Show] did not find a message.
type NoMessageError struct {
	// Queue is the name of the queue, and ID what was looked for.
	Queue, ID string

	// Seen is how many messages were looked at, and Total how many the queue
	// said it held.
	Seen, Total int
}

func (e *NoMessageError) Error() string {
	text := fmt.Sprintf("dlq: message %q is not among the %d messages of %q that were looked at", e.ID, e.Seen, e.Queue)
	if e.Seen < e.Total {
		text += fmt.Sprintf(", of %d: the others are beyond the limit, or hidden by other receivers for now", e.Total)
	}
	return text
}

// Is reports whether target is [ErrNoMessage].
func (e *NoMessageError) Is(target error) bool { return target == ErrNoMessage }

// Show returns the message of a dead-letter queue that has an id: the one that
// its receivers know it by, or SQS's. The queue is named as for queue.Admin.
//
// SQS finds no message by its id, so Show receives one after the other, up to
// limit, which is at most [MaxLook], and 0 for [DefaultLook], until it has the
// message, and returns them. It costs what [Client.Groups] does for as many
// messages. One that it does not find is a [*NoMessageError]. Of several with
// the id, which a process that died can leave, it returns one.
//
// With Config.Payloads, the letter has the payload that its message refers to,
// or is Stored.
func (c *Client) Show(ctx context.Context, name, id string, limit int) (*Letter, error) {
	if id == "" {
		return nil, errors.New("dlq: show: the id is empty; want a message's own, or SQS's")
	}
	if c.catalogued {
		return c.showCatalogue(ctx, name, id)
	}
	s, err := c.newScan(ctx, name, "show a message of", limit)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var found *Letter
	err = s.see(ctx, "show a message of", func(l *Letter) bool {
		if l.ID != id && l.MessageID != id {
			return true
		}
		mu.Lock()
		defer mu.Unlock()
		found = l
		return false
	})
	switch {
	case err != nil && found == nil:
		return nil, err
	case found == nil:
		return nil, &NoMessageError{Queue: s.queue.Name, ID: id, Seen: s.seen, Total: s.total}
	}
	found = fetch(ctx, found, c.payloads, c.maxPayload)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("dlq: show a message of %q: %w", s.queue.Name, context.Cause(ctx))
	}
	return found, nil
}
