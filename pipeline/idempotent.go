package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/waybill-dev/waybill/store"
)

// Idempotent returns middleware that handles each message once: a message that
// the filter has handled is not handled again, and its outputs are published
// again as they were. It goes by the message's id and the filter's name. Use it
// as the innermost:
//
//	p.Handle("charge", pipeline.Func(charge), pipeline.Use(pipeline.Idempotent(store.Once{Records: records})))
//
// The record is written when the filter has returned. A process that dies
// before, after the filter's effects happened, leaves none, and the filter runs
// again: effects that must not happen twice need [Call.Key] where they happen.
// A filter that fails leaves no record, so that its message can be redriven.
//
// Each record keeps the outputs of a message for as long as once says: 15 days
// by default, a day more than the longest that any queue keeps a message. A
// message that is redriven later than that is handled again; see
// [store.DefaultIdempotencyRetention].
func Idempotent(once store.Once) Middleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(in *message.Message) ([]*message.Message, error) {
			var outs []*message.Message
			stored, repeated, err := once.Do(in.Context(), store.MessageKey(FromContext(in.Context()).Filter, in.UUID), func(ctx context.Context) ([]byte, error) {
				outer := in.Context()
				in.SetContext(ctx)
				defer in.SetContext(outer)
				var err error
				if outs, err = h(in); err != nil {
					return nil, err
				}
				return encodeOutputs(outs)
			})
			switch {
			case errors.Is(err, store.ErrBusy):
				return nil, RetryAfter(err, claimLease(once))
			case err != nil:
				return nil, err
			case repeated:
				return decodeOutputs(stored)
			}
			return outs, nil
		}
	}
}

func claimLease(once store.Once) (d time.Duration) {
	if once.Lease > 0 {
		return once.Lease
	}
	return store.DefaultClaimLease
}

// outputsVersion is the version of the records that this package writes.
const outputsVersion = 1

type storedOutputs struct {
	Version int            `json:"v"`
	Outputs []storedOutput `json:"out,omitempty"`
}

type storedOutput struct {
	ID       string            `json:"id"`
	Metadata map[string]string `json:"meta,omitempty"`
	Binary   map[string][]byte `json:"bin,omitempty"` // metadata that is not UTF-8
	Payload  []byte            `json:"body,omitempty"`
}

func encodeOutputs(outs []*message.Message) ([]byte, error) {
	s := storedOutputs{Version: outputsVersion}
	for _, out := range outs {
		o := storedOutput{ID: out.UUID, Payload: out.Payload, Metadata: map[string]string{}, Binary: map[string][]byte{}}
		for key, value := range out.Metadata {
			if utf8.ValidString(value) {
				o.Metadata[key] = value
			} else {
				o.Binary[key] = []byte(value)
			}
		}
		s.Outputs = append(s.Outputs, o)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, Permanent(fmt.Errorf("record the outputs: %w", err))
	}
	return data, nil
}

func decodeOutputs(data []byte) ([]*message.Message, error) {
	var s storedOutputs
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read the recorded outputs: %w", err)
	}
	if s.Version < 1 || s.Version > outputsVersion {
		return nil, fmt.Errorf("read the recorded outputs: their version is %d, and this program reads 1 to %d", s.Version, outputsVersion)
	}
	outs := make([]*message.Message, len(s.Outputs))
	for i, o := range s.Outputs {
		outs[i] = message.NewMessage(o.ID, o.Payload)
		maps.Copy(outs[i].Metadata, o.Metadata)
		for key, value := range o.Binary {
			outs[i].Metadata[key] = string(value)
		}
	}
	return outs, nil
}
