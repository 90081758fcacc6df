package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v4"
	"github.com/google/uuid"
	"github.com/waybill-dev/waybill/queue"
)

// maxHistory bounds the names in [KeyHistory].
const maxHistory = 32

// outputSpace is the name space of derived ids. It never changes: receivers
// compare ids from before and after an upgrade.
var outputSpace = uuid.MustParse("7b0b2a5e-5d1c-4c0e-9b53-0d8a1d6f4e57")

// outputID derives the id of an output. It is the same each time that the
// filter runs on the same message.
func outputID(in, filter string, index int) string {
	return uuid.NewSHA1(outputSpace, []byte(in+"\x00"+filter+"\x00"+strconv.Itoa(index))).String()
}

// finish completes the outputs of a call with what they lack: what the filter
// set for all, ids, and the metadata that they take over from the input. To
// finish twice changes nothing.
func (f *filter) finish(call *Call, outs []*message.Message) error {
	for i, out := range outs {
		if out == nil {
			return Permanent(fmt.Errorf("output %d is nil", i))
		}
		if out.Metadata == nil {
			out.Metadata = message.Metadata{}
		}
		call.apply(out)
		if out.UUID == "" {
			out.UUID = outputID(call.ID, f.name, i)
		}
		setMissing(out, queue.KeyCorrelation, call.Correlation)
		if out.UUID != call.ID {
			setMissing(out, queue.KeyCausation, call.ID)
		}
		setMissing(out, queue.KeyGroup, call.Metadata.Get(queue.KeyGroup))
		for _, key := range f.config.Propagate {
			setMissing(out, key, call.Metadata.Get(key))
		}
		if f.config.History {
			out.Metadata.Set(KeyHistory, call.history)
		}
	}
	return nil
}

func setMissing(msg *message.Message, key, value string) {
	if value != "" && msg.Metadata.Get(key) == "" {
		msg.Metadata.Set(key, value)
	}
}

// history appends a name to a list of names.
func history(names, name string) string {
	if names == "" {
		return name
	}
	list := append(strings.Split(names, ","), name)
	return strings.Join(list[max(0, len(list)-maxHistory):], ",")
}

// publish sends the outputs by the filter's route. It tries again in place what
// failed, without running the filter again.
func (f *filter) publish(ctx context.Context, in *message.Message, outs []*message.Message) error {
	pending, err := f.sort(ctx, outs)
	if err != nil {
		return err
	}
	for _, s := range pending {
		if err := f.send(ctx, s.endpoint, s.messages, in); err != nil {
			return err
		}
	}
	return nil
}

// A shipment is the outputs that go to one endpoint.
type shipment struct {
	endpoint string
	messages []*message.Message
}

// sort puts each output into the shipments of its outlet.
func (f *filter) sort(ctx context.Context, outs []*message.Message) ([]shipment, error) {
	var all []shipment
	for _, out := range outs {
		endpoints := f.route.To
		outlet := out.Metadata.Get(KeyOutlet)
		if outlet != "" {
			endpoints = f.route.Outlets[outlet]
		}
		if len(endpoints) == 0 {
			return nil, f.errNowhere(outlet)
		}
		delete(out.Metadata, KeyOutlet)
		out.SetContext(ctx)
		for _, endpoint := range endpoints {
			i := slices.IndexFunc(all, func(s shipment) bool { return s.endpoint == endpoint })
			if i < 0 {
				i = len(all)
				all = append(all, shipment{endpoint: endpoint})
			}
			all[i].messages = append(all[i].messages, out)
		}
	}
	return all, nil
}

// errNowhere is a mistake of the configuration, and not of the message: it may
// be mended while the message waits.
func (f *filter) errNowhere(outlet string) error {
	if outlet == "" {
		return fmt.Errorf("an output goes nowhere; use the option To, or set filters.%s.to in the configuration", f.name)
	}
	return fmt.Errorf("an output leaves by the outlet %q, which is not connected; use the option Outlet, or set filters.%s.outlets.%s in the configuration", outlet, f.name, outlet)
}

// send publishes to one endpoint, again in place as the policy says.
func (f *filter) send(ctx context.Context, endpoint string, messages []*message.Message, in *message.Message) error {
	pauses := backoff.WithContext(f.retry.backoff(), ctx)
	var err error
	_ = backoff.RetryNotify(func() error {
		if err = f.config.Publisher.Publish(endpoint, messages...); err == nil {
			return nil
		}
		messages = failed(messages, err)
		if unfit(err) {
			err = Permanent(err)
			return backoff.Permanent(err)
		}
		return err
	}, pauses, func(err error, pause time.Duration) {
		f.log.Debug("cannot publish; trying again", "uuid", in.UUID, "to", endpoint, "pause", pause, "error", err)
	})
	if err != nil {
		return fmt.Errorf("publish outputs: %w", err)
	}
	return nil
}

// unfit reports whether an output can never be published, for what it is. What
// is refused for what the endpoint is, or with the whole request, may be taken
// when somebody has mended it, and takes its inputs to no dead-letter queue
// before their last receive.
func unfit(err error) bool {
	if errors.Is(err, queue.ErrTooLarge) {
		return true
	}
	var p *queue.PublishError
	if !errors.As(err, &p) {
		return false
	}
	return slices.ContainsFunc(p.Failed, func(f queue.FailedMessage) bool {
		var e *queue.Error // none: the publisher itself refused the message
		return errors.Is(f.Err, queue.ErrInvalid) && (!errors.As(f.Err, &e) || e.Entry)
	})
}

// failed returns the messages that an error of Publish is about.
func failed(messages []*message.Message, err error) []*message.Message {
	var e *queue.PublishError
	if !errors.As(err, &e) || e.Messages != len(messages) {
		return messages
	}
	left := make([]*message.Message, len(e.Failed))
	for i, f := range e.Failed {
		left[i] = messages[f.Index]
	}
	return left
}
