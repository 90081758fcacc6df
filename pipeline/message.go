package pipeline

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/waybill-dev/waybill/queue"
)

// A Msg is a message with a body of type T.
type Msg[T any] struct {
	// ID identifies the message, and is the same each time that it is
	// received. The ID of an output is derived from the input's, the filter
	// and the output's index where it is empty, so that a filter which runs
	// twice on one message sends the same messages twice.
	ID string

	// Correlation is the same for all messages that descend from one, and
	// Causation is the ID of the message that this one was the output for.
	// Both are set on outputs where they are empty.
	Correlation, Causation string

	// Outlet is the outlet by which an output leaves; see [Route]. Empty is
	// the main one. It is not set on inputs.
	Outlet string

	// Body is the decoded body.
	Body T

	// Metadata is the rest of the message's metadata.
	Metadata message.Metadata
}

// A Filter is the general form of a filter: it gets the message with its
// metadata, and returns any number of outputs. See [Messages].
type Filter[I, O any] func(ctx context.Context, in Msg[I]) ([]Msg[O], error)

// A Handler is a filter that a [Pipeline] can run. [Func], [Split], [Sink] and
// [Messages] make one of a typed function; [Raw] and [Consume] of a handler of
// watermill's.
type Handler struct {
	handle  message.HandlerFunc
	outputs bool
}

// Func returns the handler of a filter with one output for each input.
func Func[I, O any](f func(ctx context.Context, in I) (O, error)) Handler {
	return Messages(func(ctx context.Context, in Msg[I]) ([]Msg[O], error) {
		out, err := f(ctx, in.Body)
		if err != nil {
			return nil, err
		}
		return []Msg[O]{{Body: out}}, nil
	})
}

// Split returns the handler of a filter with any number of outputs, in the
// order of the slice.
func Split[I, O any](f func(ctx context.Context, in I) ([]O, error)) Handler {
	return Messages(func(ctx context.Context, in Msg[I]) ([]Msg[O], error) {
		bodies, err := f(ctx, in.Body)
		if err != nil {
			return nil, err
		}
		outs := make([]Msg[O], len(bodies))
		for i, body := range bodies {
			outs[i].Body = body
		}
		return outs, nil
	})
}

// Sink returns the handler of a filter without output.
func Sink[I any](f func(ctx context.Context, in I) error) Handler {
	h := Messages(func(ctx context.Context, in Msg[I]) ([]Msg[struct{}], error) {
		return nil, f(ctx, in.Body)
	})
	h.outputs = false
	return h
}

// Messages returns the handler of a filter in its general form.
func Messages[I, O any](f Filter[I, O]) Handler {
	return Handler{outputs: true, handle: func(msg *message.Message) ([]*message.Message, error) {
		ctx := msg.Context()
		codec := FromContext(ctx).codec()
		body, err := decode[I](codec, msg.Payload)
		if err != nil {
			return nil, err
		}
		outs, err := f(ctx, Msg[I]{
			ID:          msg.UUID,
			Correlation: msg.Metadata.Get(queue.KeyCorrelation),
			Causation:   msg.Metadata.Get(queue.KeyCausation),
			Body:        body,
			Metadata:    msg.Metadata,
		})
		if err != nil {
			return nil, err
		}
		messages := make([]*message.Message, len(outs))
		for i, out := range outs {
			if messages[i], err = encode(codec, out); err != nil {
				return nil, Permanent(fmt.Errorf("output %d: %w", i, err))
			}
		}
		return messages, nil
	}}
}

// encode returns the message of an output.
func encode[T any](c Codec, out Msg[T]) (*message.Message, error) {
	payload, err := c.Marshal(out.Body)
	if err != nil {
		return nil, fmt.Errorf("encode the body of type %T: %w", out.Body, err)
	}
	msg := message.NewMessage(out.ID, payload)
	for key, value := range out.Metadata {
		msg.Metadata.Set(key, value)
	}
	for key, value := range map[string]string{
		queue.KeyCorrelation: out.Correlation,
		queue.KeyCausation:   out.Causation,
		KeyOutlet:            out.Outlet,
	} {
		if value != "" {
			msg.Metadata.Set(key, value)
		}
	}
	return msg, nil
}

// Raw returns the handler of a watermill handler that may have outputs. What
// it does to the ack of its message has no effect: the pipeline acks when the
// outputs are published, and nacks when the handler fails. The metadata
// [KeyOutlet] of an output names the outlet by which it leaves. Outputs keep
// the UUIDs that the handler gives them; empty ones are derived as [Msg] says.
func Raw(h message.HandlerFunc) Handler { return Handler{handle: h, outputs: true} }

// Consume returns the handler of a watermill handler without outputs, as [Raw]
// does.
func Consume(h message.NoPublishHandlerFunc) Handler {
	if h == nil {
		return Handler{}
	}
	return Handler{handle: func(msg *message.Message) ([]*message.Message, error) { return nil, h(msg) }}
}
