package emulator

import (
	"context"
	"encoding/json"
	"strings"
	"time"
)

// A Notification is what a function of [Config.Functions] gets of a topic.
type Notification struct {
	MessageID       string
	TopicARN        string
	SubscriptionARN string
	Subject         string
	Message         string
	Timestamp       time.Time
	Attributes      map[string]NotificationAttribute
}

// A NotificationAttribute is a message attribute of a [Notification].
type NotificationAttribute struct {
	Type  string // "String", "Number", "Binary", "String.Array"
	Value string // a Binary's bytes
}

// functionEndpoint is an endpoint of the protocol lambda.
type functionEndpoint func(context.Context, Notification) error

func (f functionEndpoint) take(ctx context.Context, l *letter) (err error, again bool) {
	return f(ctx, l.notification), true
}

// function returns the function of an ARN, arn:aws:lambda:region:account:function:name, with or without a
// version behind.
func (s *Server) function(arn string) (functionEndpoint, *Error) {
	parts := strings.Split(arn, ":")
	if len(parts) < 7 || parts[0] != "arn" || parts[2] != "lambda" || parts[5] != "function" || parts[6] == "" {
		return nil, errInvalidParameter("Lambda endpoint ARN")
	}
	f, ok := s.functions[parts[6]]
	if !ok {
		return nil, errInvalidParameter("Endpoint: this server has no function %s; its Config.Functions names those that it has", clip(parts[6]))
	}
	return f, nil
}

func notificationAttributes(attrs map[string]attribute) map[string]NotificationAttribute {
	if len(attrs) == 0 {
		return nil
	}
	out := make(map[string]NotificationAttribute, len(attrs))
	for name, a := range attrs {
		out[name] = NotificationAttribute{Type: a.dataType, Value: a.value}
	}
	return out
}

// texts are a message of one text a protocol.
func parseTexts(message string) (map[string]string, *Error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(message), &raw); err != nil {
		return nil, errInvalidParameter("Message Structure - JSON message body failed to parse")
	}
	if _, ok := raw["default"]; !ok {
		return nil, errInvalidParameter("Message Structure - No default entry in JSON message body")
	}
	texts := make(map[string]string)
	for _, protocol := range append([]string{"default"}, protocols...) {
		text, ok := raw[protocol]
		if !ok {
			continue
		}
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return nil, errInvalidParameter("Message Structure - the message of a protocol must be a string")
		}
		texts[protocol] = s
	}
	return texts, nil
}
