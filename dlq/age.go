package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/queue"
)

// An AgeFinder finds the ages of the oldest messages of queues, in the order in
// which it is given them. Package queue/sqsmetrics has one that asks CloudWatch.
type AgeFinder interface {
	OldestAges(ctx context.Context, queues []*queue.Queue) []queue.OldestAge
}

// Where an [Oldest] is from.
const (
	// AgeLooked: the oldest of those that the endpoint showed without their being
	// received, the first 1,000 that can be received.
	AgeLooked = "looked"

	// AgeReceived: the oldest of those that were received and returned.
	AgeReceived = "received"

	// AgeFound: what an AgeFinder said.
	AgeFound = "metrics"
)

// An Oldest is how old the oldest message of a queue is.
type Oldest struct {
	// Age is its age, from when it was first sent, or from its move where SQS moved
	// it to a FIFO queue. In JSON it is age_seconds, and absent where it is not
	// known.
	Age   time.Duration `json:"-"`
	Known bool          `json:"-"`

	// From is what the age is from, and Reason why it is not known.
	From   string `json:"from,omitempty"`
	Reason string `json:"reason,omitempty"`
}

type plainOldest Oldest

type jsonOldest struct {
	AgeSeconds *float64 `json:"age_seconds,omitempty"`
	plainOldest
}

// MarshalJSON encodes the age in seconds.
func (o Oldest) MarshalJSON() ([]byte, error) {
	j := jsonOldest{plainOldest: plainOldest(o)}
	if o.Known {
		seconds := o.Age.Seconds()
		j.AgeSeconds = &seconds
	}
	return json.Marshal(j)
}

// UnmarshalJSON decodes what MarshalJSON encodes.
func (o *Oldest) UnmarshalJSON(data []byte) error {
	var j jsonOldest
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*o = Oldest(j.plainOldest)
	if o.Known = j.AgeSeconds != nil; o.Known {
		o.Age = time.Duration(*j.AgeSeconds * float64(time.Second))
	}
	return nil
}

// AgeOptions say how [Client.FindAges] finds ages.
type AgeOptions struct {
	// Finder is asked for what the endpoint does not show. Defaults to none.
	Finder AgeFinder

	// Receive is how many messages of a queue are received, and returned at once,
	// where nothing else tells: as a peek does, it raises their receive counts.
	// SQS gives them in no order, so that there may be older ones. Defaults to 0:
	// none is.
	Receive int
}

// maxLookedAges bounds how many messages are looked at for the age of the oldest.
const maxLookedAges = 1000

// FindAges sets Oldest of queues that [Client.List] returned: by looking at messages
// where the endpoint shows them without their being received, else as opts say.
func (c *Client) FindAges(ctx context.Context, list []Queue, opts AgeOptions) error {
	if opts.Receive < 0 || opts.Receive > MaxLook {
		return fmt.Errorf("dlq: AgeOptions: Receive is %d; want 1 to %d, or 0 for none", opts.Receive, MaxLook)
	}
	var asked []*Queue
	for i := range list {
		q := &list[i]
		switch {
		case q.queue == nil || q.Missing || q.Unreadable:
			q.Oldest = &Oldest{Reason: "the queue cannot be read"}
		case q.Messages+q.InFlight+q.Delayed == 0:
			q.Oldest = &Oldest{Reason: "the queue is empty"}
		default:
			asked = append(asked, q)
		}
	}
	queues := make([]*queue.Queue, len(asked))
	for i, q := range asked {
		queues[i] = q.queue
	}
	for i, o := range oldest(ctx, queues, opts.Finder) {
		asked[i].Oldest = &o
	}
	var calls errgroup.Group
	calls.SetLimit(listCalls)
	for _, q := range asked {
		if q.Oldest.Known || opts.Receive == 0 || ctx.Err() != nil {
			continue
		}
		calls.Go(func() error {
			letters, err := c.receiveAndReturn(ctx, q.queue, opts.Receive)
			switch {
			case err != nil:
				q.Oldest.Reason = err.Error()
			case len(letters) == 0:
				q.Oldest.Reason = "no message can be received"
			default:
				*q.Oldest = Oldest{Known: true, From: AgeReceived}
				for _, l := range letters {
					q.Oldest.Age = max(q.Oldest.Age, time.Since(l.SentAt))
				}
			}
			return nil
		})
	}
	_ = calls.Wait()
	return context.Cause(ctx)
}

// oldest finds ages by looking, and else by the finder.
func oldest(ctx context.Context, queues []*queue.Queue, finder AgeFinder) []Oldest {
	ages := make([]Oldest, len(queues))
	var calls errgroup.Group
	calls.SetLimit(listCalls)
	for i, q := range queues {
		calls.Go(func() error {
			ages[i] = looked(ctx, q)
			return nil
		})
	}
	_ = calls.Wait()
	var rest []*queue.Queue
	var at []int
	for i := range ages {
		if finder != nil && !ages[i].Known && ages[i].From == "" {
			rest, at = append(rest, queues[i]), append(at, i)
		}
	}
	if len(rest) == 0 {
		return ages
	}
	for i, found := range finder.OldestAges(ctx, rest) {
		o := &ages[at[i]]
		if o.From, o.Reason = AgeFound, ""; found.Err != nil {
			o.Reason = found.Err.Error()
			continue
		}
		o.Known, o.Age = true, found.Age
	}
	return ages
}

// looked returns the age of the oldest message that the endpoint shows. Without From
// it shows none.
func looked(ctx context.Context, q *queue.Queue) Oldest {
	o, n := Oldest{From: AgeLooked}, 0
	for raw, err := range q.Look(ctx) {
		switch {
		case errors.Is(err, queue.ErrNoLook):
			return Oldest{Reason: "SQS does not tell"}
		case err != nil:
			return Oldest{From: AgeLooked, Reason: err.Error()}
		case !raw.SentAt.IsZero():
			o.Known, o.Age = true, max(o.Age, time.Since(raw.SentAt))
		}
		if n++; n == maxLookedAges {
			break
		}
	}
	if !o.Known {
		o.Reason = "no message can be received"
	}
	return o
}

// LookAges returns an AgeFinder that looks at messages, the first 1,000 that can be
// received, where the endpoint shows them without their being received, and else
// asks next, which may be nil.
func LookAges(next AgeFinder) AgeFinder { return lookAges{next} }

type lookAges struct{ next AgeFinder }

func (f lookAges) OldestAges(ctx context.Context, queues []*queue.Queue) []queue.OldestAge {
	ages := make([]queue.OldestAge, len(queues))
	for i, o := range oldest(ctx, queues, f.next) {
		if ages[i].Age = o.Age; !o.Known {
			ages[i].Err = fmt.Errorf("%w: %s", queue.ErrNoAge, o.Reason)
		}
	}
	return ages
}
