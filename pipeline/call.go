package pipeline

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/waybill-dev/waybill/queue"
)

// A Call is one run of a filter on one message, as the filter's context knows
// it: what the short forms of filters do not show.
type Call struct {
	// Filter is the name of the filter.
	Filter string

	// ID, Correlation and Causation are the input's; see [Msg]. An input
	// without a correlation id begins a line of descent: Correlation is then
	// its ID.
	ID, Correlation, Causation string

	// Metadata is the input's metadata. It is the filter's to read.
	Metadata message.Metadata

	// Attempt counts the runs of the filter in this receive of the message,
	// from 1.
	Attempt int

	// ReceiveCount counts the receives of the message from its queue, from 1.
	// It is 0 where the transport does not tell.
	ReceiveCount int

	// SentAt is when the message was sent to its queue. It is zero where the
	// transport does not tell.
	SentAt time.Time

	bodies  Codec
	history string // of the outputs
	set     map[string]string
	numbers map[string]float64
}

type callKey struct{}

// FromContext returns the call whose context it is. Outside of a pipeline, as
// in a test that calls a filter directly, it returns an empty one.
func FromContext(ctx context.Context) *Call {
	if c, ok := ctx.Value(callKey{}).(*Call); ok {
		return c
	}
	return new(Call)
}

// NewContext returns a context that carries the call. Pipelines do so; tests of
// filters can, too.
func NewContext(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// Key returns an idempotency key for what the filter does for this message:
// the same over all attempts and receives, and another for each filter.
func (c *Call) Key() string { return c.Filter + "/" + c.ID }

// Set sets metadata of all outputs of the call. It is for the filter's own
// goroutine.
func (c *Call) Set(key, value string) {
	if c.set == nil {
		c.set = map[string]string{}
	}
	c.set[key] = value
}

// SetNumber sets metadata of all outputs of the call that travels as an
// attribute of type Number, so that the filter policies of SNS can compare it.
func (c *Call) SetNumber(key string, value float64) {
	if c.numbers == nil {
		c.numbers = map[string]float64{}
	}
	c.numbers[key] = value
}

// SetOutlet chooses the outlet by which the outputs of the call leave; see
// [Route].
func (c *Call) SetOutlet(name string) { c.Set(KeyOutlet, name) }

func (c *Call) codec() Codec {
	if c.bodies == nil {
		return JSON
	}
	return c.bodies
}

// apply adds to an output what Set and SetNumber were given. What the filter set
// on the output itself stays.
func (c *Call) apply(out *message.Message) {
	for key, value := range c.set {
		setMissing(out, key, value)
	}
	for key, value := range c.numbers {
		if out.Metadata.Get(key) == "" {
			queue.SetNumber(out, key, value)
		}
	}
}
