package queue

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
)

// attemptID returns the ReceiveRequestAttemptId of one receive, which the SDK's
// retries of it share: SQS answers them with the messages of the first attempt
// whose answer was lost. Otherwise these would hold their groups until their
// visibility ends.
func attemptID(e Endpoint) *string {
	if !e.FIFO() {
		return nil
	}
	return aws.String(rand.Text())
}

// A chain is the messages of one group in one call of Publish.
type chain struct {
	mu     sync.Mutex
	failed int // the place of the first that failed; noFailure if none has
}

const noFailure = math.MaxInt

// fail notes that the message at a place failed.
func (c *chain) fail(place int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = min(c.failed, place)
}

// holds reports whether a message before the place has failed.
func (c *chain) holds(place int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed < place
}

// tie has a message that fails hold those behind it in its group, of one call of
// Publish. Those behind one that cannot be sent at all it takes out.
func (o *outlet) tie(messages []*message.Message, sends []*outgoing, errs []error) {
	chains := map[string]*chain{}
	refused := map[string]bool{}
	for i, msg := range messages {
		group := o.group(msg)
		switch out := sends[i]; {
		case out == nil:
			refused[group] = true
		case refused[group]:
			sends[i], errs[i] = nil, o.errHeld(out)
			out.span.end(errs[i])
		default:
			if chains[group] == nil {
				chains[group] = &chain{failed: noFailure}
			}
			out.chain, out.place = chains[group], i
		}
	}
}

func (o *outlet) errHeld(out *outgoing) error {
	return fmt.Errorf("%w: a message of group %q to endpoint %q failed, and this one is not to overtake it", ErrHeld, out.group, o.endpoint.Name)
}

// overtaken reports whether a message of the first one's FIFO group was accepted
// behind it in its batch.
func overtaken(batch []*outgoing, errs []error) bool {
	first := batch[0]
	if first.chain == nil {
		return false
	}
	for i, out := range batch {
		if out.group == first.group && errs[i] == nil {
			return true
		}
	}
	return false
}

// sendBehind sends the second half of a batch, but for what the failures in the
// first hold.
func (o *outlet) sendBehind(ctx context.Context, before []*outgoing, failed []error, batch []*outgoing) []error {
	holds := map[*chain]bool{}
	for i, out := range before {
		if failed[i] != nil && out.chain != nil {
			holds[out.chain] = true
		}
	}
	errs := make([]error, len(batch))
	var free []*outgoing
	var places []int
	for i, out := range batch {
		if holds[out.chain] {
			errs[i] = o.errHeld(out)
			continue
		}
		free, places = append(free, out), append(places, i)
	}
	if len(free) == 0 {
		return errs
	}
	for i, err := range o.send(ctx, free) {
		errs[places[i]] = err
	}
	return errs
}
