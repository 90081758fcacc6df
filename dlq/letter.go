package dlq

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/waybill-dev/waybill/queue"
)

// A Letter is a message in a dead-letter queue.
type Letter struct {
	// ID is the message's own id, by which receivers know it. It is MessageID
	// for a message whose writer gave it none.
	ID string

	// MessageID is SQS's id of the message.
	MessageID string

	// Body and Metadata are the message, as a receiver would read it.
	Body     []byte
	Metadata message.Metadata

	// Stored says that Body is not the message's, but a reference to its payload
	// in a queue.PayloadStore, and Problem why it is no more than that.
	Stored bool

	// Failure is why the message is here, or nil if it carries no record. That
	// is so where SQS itself moved it: its process died, or does not use
	// Waybill.
	Failure *queue.Failure

	// Problem says what of the message cannot be read: its form on the wire,
	// or its record. The rest is as far as it can be read.
	Problem error

	// ReceiveCount is how often the message was received, from the queue it
	// failed in and from this one together.
	ReceiveCount int

	// Looked says that it was seen without receiving it, so that it counts as
	// received no more often than before.
	Looked bool

	// SentAt is when the message was sent to this queue, or to the one it
	// failed in if SQS itself moved it. FirstReceivedAt is when it was first
	// received.
	SentAt, FirstReceivedAt time.Time

	// Source is where the message came from: the name or URL of a queue, by
	// its record or by SQS. It is empty where neither tells.
	Source string

	// Generation is how often the message was redriven, and RedriveID the job
	// that did so last.
	Generation int
	RedriveID  string

	raw   queue.RawMessage
	again bool   // it was held already when it was received
	late  bool   // it came into the queue after the job began
	entry *entry // what the journal of a resumed job has of it
}

// read makes a letter of a received message.
func read(raw queue.RawMessage) *Letter {
	msg, err := raw.Decode()
	return newLetter(raw, msg, err)
}

// newLetter makes a letter of a message as it was decoded.
func newLetter(raw queue.RawMessage, msg *message.Message, err error) *Letter {
	l := &Letter{
		ID:              msg.UUID,
		MessageID:       raw.ID,
		Body:            msg.Payload,
		Metadata:        msg.Metadata,
		Problem:         err,
		Stored:          errors.Is(err, queue.ErrPayloadStored),
		ReceiveCount:    raw.ReceiveCount,
		SentAt:          raw.SentAt,
		FirstReceivedAt: raw.FirstReceivedAt,
		Source:          raw.DeadLetterSource,
		RedriveID:       msg.Metadata.Get(queue.KeyRedriveID),
		raw:             raw,
	}
	l.Generation, _ = strconv.Atoi(msg.Metadata.Get(queue.KeyRedriveGeneration))
	failure, ok, err := queue.DecodeFailure(msg.Metadata)
	switch {
	case err != nil && l.Problem == nil:
		l.Problem = err
	case ok && err == nil:
		l.Failure = &failure
		if failure.Source != "" {
			l.Source = failure.Source
		}
	}
	return l
}

// Value returns the letter as filters see it, made of what encoding/json makes
// of any value:
//
//	id, message_id   strings
//	body             the decoded JSON, or a string if the body is none
//	attributes       the metadata, apart from the record of the failure
//	failure          the record, under the names of queue.Failure; null if there is none
//	source           where it came from; null if nothing tells
//	generation       how often it was redriven
//	receive_count    a number
//	sent_at          RFC 3339
//	problem          what cannot be read; null if nothing
//	stored           whether the body is a reference to a payload in a store
func (l *Letter) Value() map[string]any {
	attributes := map[string]any{}
	for key, value := range l.Metadata {
		if key != queue.KeyFailure {
			attributes[key] = value
		}
	}
	v := map[string]any{
		"id":            l.ID,
		"message_id":    l.MessageID,
		"body":          bodyValue(l.Body),
		"attributes":    attributes,
		"failure":       nil,
		"source":        nil,
		"generation":    l.Generation,
		"receive_count": l.ReceiveCount,
		"sent_at":       l.SentAt.UTC().Format(time.RFC3339Nano),
		"problem":       nil,
		"stored":        l.Stored,
	}
	if l.Source != "" {
		v["source"] = l.Source
	}
	if l.Problem != nil {
		v["problem"] = l.Problem.Error()
	}
	if l.Failure != nil {
		var failure any
		if text, err := json.Marshal(l.Failure); err == nil && json.Unmarshal(text, &failure) == nil {
			v["failure"] = failure
		}
	}
	return v
}

// bodyValue returns the JSON of a body, or its text.
func bodyValue(body []byte) any {
	var v any
	if json.Unmarshal(body, &v) == nil {
		return v
	}
	if utf8.Valid(body) {
		return string(body)
	}
	return body
}

// MarshalJSON encodes the letter as [Letter.Value] says. A body that is not
// text is in base64.
func (l *Letter) MarshalJSON() ([]byte, error) { return json.Marshal(l.Value()) }
