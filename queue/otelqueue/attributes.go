package otelqueue

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/waybill-dev/waybill/queue"
)

// Attributes that the conventions have no name for.
const (
	attrEndpoint     = "waybill.endpoint"
	attrUUID         = "waybill.message.uuid"
	attrSettlement   = "waybill.settlement"
	attrLost         = "waybill.visibility_lost"
	attrFailed       = "waybill.batch.failed_count"
	attrReceiveCount = "messaging.aws_sqs.message.receive_count"
)

// maxText bounds the text of an error on a span.
const maxText = 1 << 10

// name is the queue or topic as the account has it.
func name(e queue.Endpoint) string {
	name, _ := e.Resource()
	return name
}

// destination describes a queue or a topic.
func destination(e queue.Endpoint) []attribute.KeyValue {
	system := semconv.MessagingSystemAWSSQS
	if e.IsTopic() {
		system = semconv.MessagingSystemAWSSNS
	}
	all := append(make([]attribute.KeyValue, 0, 10), system, semconv.MessagingDestinationName(name(e)))
	if e.Name != "" && e.Name != e.URL {
		all = append(all, attribute.String(attrEndpoint, e.Name))
	}
	return all
}

// aboutMessage describes a message.
func aboutMessage(msg *message.Message) []attribute.KeyValue {
	all := []attribute.KeyValue{attribute.String(attrUUID, msg.UUID)}
	if id := msg.Metadata.Get(queue.KeyCorrelation); id != "" {
		all = append(all, semconv.MessagingMessageConversationID(id))
	}
	return all
}

// address is the attribute of a queue's URL or a topic's ARN.
func address(text string) attribute.KeyValue {
	if strings.HasPrefix(text, "arn:") {
		return semconv.AWSSNSTopicARN(text)
	}
	return semconv.AWSSQSQueueURL(text)
}

// errorType names the kind of an error: that of package queue, if it is of one,
// and otherwise the type that it has in Go.
func errorType(err error) attribute.KeyValue {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return semconv.ErrorTypeKey.String(k.name)
		}
	}
	return semconv.ErrorType(err)
}

var kinds = []struct {
	err  error
	name string
}{
	{queue.ErrNotFound, "not_found"},
	{queue.ErrAccess, "access"},
	{queue.ErrTooLarge, "too_large"},
	{queue.ErrInvalid, "invalid"},
	{queue.ErrThrottled, "throttled"},
	{queue.ErrUnavailable, "unavailable"},
	{queue.ErrHeld, "held"},
	{queue.ErrClosed, "closed"},
	{queue.ErrVisibilityLost, "visibility_lost"},
	{queue.ErrUndecodable, "undecodable"},
}

// short cuts a text, between characters.
func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "..."
}
