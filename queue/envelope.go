package queue

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// An envelope is what SNS delivers to a queue without raw delivery
// (https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html).
// Its signature is not checked: who may send to a queue is the business of the
// queue's policy.
type envelope struct {
	Type              string
	MessageID         string `json:"MessageId"`
	TopicArn          string
	Subject           string
	Message           *string
	Timestamp         string
	MessageAttributes map[string]struct{ Type, Value string }
}

// openEnvelope returns the message inside an SNS envelope. It returns false if
// the message is not one: SNS's envelopes come without message attributes of
// the queue's, so what has a UUID was sent to the queue directly, whatever its
// body looks like.
func openEnvelope(w wireMessage) (inner wireMessage, e envelope, ok bool, err error) {
	if len(w.attributes) > 0 || !strings.HasPrefix(strings.TrimLeft(w.body, " \t\r\n"), "{") {
		return w, envelope{}, false, nil
	}
	if json.Unmarshal([]byte(w.body), &e) != nil ||
		e.Type != "Notification" || e.Message == nil || e.MessageID == "" || e.Timestamp == "" ||
		!strings.HasPrefix(e.TopicArn, "arn:") || !strings.Contains(e.TopicArn, ":sns:") {
		return w, envelope{}, false, nil
	}
	inner = wireMessage{body: *e.Message, attributes: make(attributes, 0, len(e.MessageAttributes))}
	for name, a := range e.MessageAttributes {
		value := a.Value
		if baseType(a.Type) == typeBinary {
			data, err := base64.StdEncoding.DecodeString(a.Value)
			if err != nil {
				return w, e, true, fmt.Errorf("attribute %s of the SNS envelope: %w", name, err)
			}
			value = string(data)
		}
		inner.attributes.add(name, attribute{a.Type, value})
	}
	return inner, e, true, nil
}
