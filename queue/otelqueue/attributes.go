package otelqueue

import (
	"context"
	"errors"
	"go/token"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

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

// maxText bounds texts on a span that are others': of an error, and of a message.
const maxText = 1 << 10

// attributesOf describes a queue or a topic, by its name in the account, and what
// is done with it.
func attributesOf(e queue.Endpoint, name, operation string, kind attribute.KeyValue, more ...attribute.KeyValue) trace.SpanStartEventOption {
	system := semconv.MessagingSystemAWSSQS
	if e.IsTopic() {
		system = semconv.MessagingSystemAWSSNS
	}
	all := append(make([]attribute.KeyValue, 0, 5+len(more)), system, semconv.MessagingDestinationName(name),
		semconv.MessagingOperationName(operation), kind)
	if e.Name != "" && e.Name != e.URL {
		all = append(all, attribute.String(attrEndpoint, e.Name))
	}
	return trace.WithAttributes(append(all, more...)...)
}

// aboutMessage adds what describes a message.
func aboutMessage(msg *message.Message, all ...attribute.KeyValue) []attribute.KeyValue {
	all = append(all, attribute.String(attrUUID, short(msg.UUID)))
	if id := msg.Metadata.Get(queue.KeyCorrelation); id != "" {
		all = append(all, semconv.MessagingMessageConversationID(short(id)))
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
	var named interface{ ErrorType() string }
	if !errors.As(err, &named) {
		err = telling(err)
	}
	return semconv.ErrorType(err)
}

// telling returns the first error of a chain whose type has a name for others, and
// no wrapper's, or else the last.
func telling(err error) error {
	for {
		t := reflect.TypeOf(err)
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		inner := errors.Unwrap(err)
		if token.IsExported(t.Name()) || inner == nil {
			return err
		}
		err = inner
	}
}

var kinds = []struct {
	err  error
	name string
}{
	{queue.ErrNotFound, "not_found"},
	{queue.ErrAccess, "access"},
	{queue.ErrTooLarge, "too_large"},
	{queue.ErrInvalid, "invalid"},
	{queue.ErrConfiguration, "configuration"},
	{queue.ErrThrottled, "throttled"},
	{queue.ErrUnavailable, "unavailable"},
	{queue.ErrHeld, "held"},
	{queue.ErrClosed, "closed"},
	{queue.ErrVisibilityLost, "visibility_lost"},
	{queue.ErrUndecodable, "undecodable"},
	{context.DeadlineExceeded, "timeout"},
	{context.Canceled, "canceled"},
}

// short cuts a text, between characters, and makes it UTF-8: exporters refuse all
// spans of a request for one text that is not.
func short(text string) string {
	if len(text) <= maxText {
		return strings.ToValidUTF8(text, "?")
	}
	n := maxText
	for n > maxText-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return strings.ToValidUTF8(text[:n], "?") + "..."
}
