package emulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// maxSettingLen bounds an attribute of a queue, as AWS does a policy: SQS developer guide, "Amazon SQS policy
// quotas".
const maxSettingLen = 8192

// maxVisibility bounds a visibility timeout: twelve hours.
const maxVisibility = 43_200 * time.Second

// bounds of a numeric attribute of queues, with its default. All are of the SQS API reference
// (SetQueueAttributes).
type bounds struct {
	min, max  int
	byDefault int
}

var numericSettings = map[string]bounds{
	"DelaySeconds":                  {0, 900, 0},
	"KmsDataKeyReusePeriodSeconds":  {60, 86_400, 300},
	"MaximumMessageSize":            {1 << 10, 1 << 20, 1 << 20},
	"MessageRetentionPeriod":        {60, 1_209_600, 345_600},
	"ReceiveMessageWaitTimeSeconds": {0, 20, 0},
	"VisibilityTimeout":             {0, 43_200, 30},
}

// alwaysSet are the attributes that every queue has, set or not.
var alwaysSet = map[string]string{
	"DelaySeconds":                  "0",
	"MaximumMessageSize":            "1048576",
	"MessageRetentionPeriod":        "345600",
	"ReceiveMessageWaitTimeSeconds": "0",
	"SqsManagedSseEnabled":          "true",
	"VisibilityTimeout":             "30",
}

// readOnlySettings can be read and not set.
var readOnlySettings = map[string]bool{
	"ApproximateNumberOfMessages":           true,
	"ApproximateNumberOfMessagesDelayed":    true,
	"ApproximateNumberOfMessagesNotVisible": true,
	"CreatedTimestamp":                      true,
	"LastModifiedTimestamp":                 true,
	"QueueArn":                              true,
}

// settings are the attributes of a queue that can be set, as text and as what the text means.
type settings struct {
	text map[string]string

	visibility, delay, wait, retention time.Duration
	maxSize                            int
	redrive                            *redrivePolicy
	allow                              *redriveAllowPolicy
	access                             *accessPolicy

	fifo           bool // for good
	dedupByContent bool // ContentBasedDeduplication
	dedupByGroup   bool // DeduplicationScope messageGroup
}

// redrivePolicy is the RedrivePolicy of a queue.
type redrivePolicy struct {
	target          string // the ARN of the dead-letter queue
	maxReceiveCount int
}

// redriveAllowPolicy is the RedriveAllowPolicy of a dead-letter queue.
type redriveAllowPolicy struct {
	RedrivePermission string   `json:"redrivePermission"`
	SourceQueueArns   []string `json:"sourceQueueArns,omitempty"`
}

func defaultSettings() settings {
	set, err := settings{text: alwaysSet}.with(nil)
	if err != nil {
		panic(err)
	}
	return set
}

// with returns the settings with some attributes changed. It checks what can be checked without
// looking at other queues.
func (set settings) with(changes map[string]string) (settings, *Error) {
	out := settings{text: maps.Clone(set.text), redrive: set.redrive, allow: set.allow, access: set.access, fifo: set.fifo}
	for name, value := range changes {
		value, err := out.change(name, value)
		switch {
		case err != nil:
			return settings{}, err
		case value == "" && alwaysSet[name] == "":
			delete(out.text, name)
		default:
			out.text[name] = value
		}
	}
	seconds := func(name string) time.Duration {
		return time.Duration(out.number(name)) * time.Second
	}
	out.visibility = seconds("VisibilityTimeout")
	out.delay = seconds("DelaySeconds")
	out.wait = seconds("ReceiveMessageWaitTimeSeconds")
	out.retention = seconds("MessageRetentionPeriod")
	out.maxSize = out.number("MaximumMessageSize")
	out.dedupByContent = out.text["ContentBasedDeduplication"] == "true"
	out.dedupByGroup = out.text["DeduplicationScope"] == "messageGroup"
	if out.text["FifoThroughputLimit"] == "perMessageGroupId" && !out.dedupByGroup {
		return settings{}, errInvalidAttributeValue("FifoThroughputLimit", "perMessageGroupId is allowed only when the DeduplicationScope is messageGroup.")
	}
	return out, nil
}

// change checks one attribute, keeps what it means, and returns its text as the queue will show it. An
// empty text takes the attribute away.
func (set *settings) change(name, value string) (string, *Error) {
	if len(value) > maxSettingLen {
		return "", errInvalidAttributeValue(clip(name), fmt.Sprintf("Must be at most %d bytes long.", maxSettingLen))
	}
	if b, ok := numericSettings[name]; ok {
		n, err := strconv.Atoi(value)
		if err != nil || n < b.min || n > b.max {
			return "", errInvalidAttributeValue(name, fmt.Sprintf("Must be an integer from %d to %d.", b.min, b.max))
		}
		return strconv.Itoa(n), nil
	}
	switch name {
	case "Policy":
		if value != "" && !json.Valid([]byte(value)) {
			return "", errInvalidAttributeValue(name, "The policy must be a JSON document.")
		}
		set.access = parseAccessPolicy(value)
		return value, nil
	case "RedrivePolicy":
		p, err := parseRedrivePolicy(value)
		if err != nil {
			return "", err
		}
		set.redrive = p
		return p.String(), nil
	case "RedriveAllowPolicy":
		p, err := parseRedriveAllowPolicy(value)
		if err != nil {
			return "", err
		}
		set.allow = p
		return value, nil
	case "KmsMasterKeyId":
		return value, nil
	case "SqsManagedSseEnabled":
		if value != "true" && value != "false" {
			return "", errInvalidAttributeValue(name, "Must be true or false.")
		}
		return value, nil
	}
	if _, ok := fifoSettings[name]; ok {
		return value, set.fifoFault(name, value)
	}
	return "", errInvalidAttributeName(name)
}

// number returns a numeric attribute, which has been checked.
func (set settings) number(name string) int {
	n, err := strconv.Atoi(set.text[name])
	if err != nil {
		panic(err)
	}
	return n
}

// String returns the policy as GetQueueAttributes shows it.
func (p *redrivePolicy) String() string {
	if p == nil {
		return ""
	}
	dst := appendField([]byte{'{'}, "deadLetterTargetArn", p.target)
	dst = strconv.AppendInt(appendName(dst, "maxReceiveCount"), int64(p.maxReceiveCount), 10)
	return string(append(dst, '}'))
}

// parseRedrivePolicy reads a RedrivePolicy, nil for an empty one. The count may be a number or its text.
func parseRedrivePolicy(text string) (*redrivePolicy, *Error) {
	if text == "" {
		return nil, nil
	}
	invalid := func(reason string) *Error {
		return errInvalidParameterValue("Value %s for parameter RedrivePolicy is invalid. Reason: %s", clip(text), reason)
	}
	var raw map[string]any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, invalid("Redrive policy is not a valid JSON map.")
	}
	for name := range raw {
		if name != "deadLetterTargetArn" && name != "maxReceiveCount" {
			return nil, invalid("Unknown member " + clip(name) + ".")
		}
	}
	target, ok := raw["deadLetterTargetArn"].(string)
	if !ok {
		return nil, invalid("Redrive policy does not contain mandatory attribute: deadLetterTargetArn.")
	}
	var count int
	switch c := raw["maxReceiveCount"].(type) {
	case nil:
		return nil, invalid("Redrive policy does not contain mandatory attribute: maxReceiveCount.")
	case float64:
		count = int(c)
		if float64(count) != c {
			count = 0
		}
	case string:
		count, _ = strconv.Atoi(c) // 0 is out of range, and refused below
	}
	if count < 1 || count > 1000 {
		return nil, invalid("Invalid value for maxReceiveCount: it must be an integer from 1 to 1000.")
	}
	return &redrivePolicy{target: target, maxReceiveCount: count}, nil
}

func parseRedriveAllowPolicy(text string) (*redriveAllowPolicy, *Error) {
	if text == "" {
		return nil, nil
	}
	invalid := func(reason string) *Error {
		return errInvalidParameterValue("Value %s for parameter RedriveAllowPolicy is invalid. Reason: %s", clip(text), reason)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	var p redriveAllowPolicy
	if err := d.Decode(&p); err != nil {
		return nil, invalid("Redrive allow policy is not a valid JSON map.")
	}
	switch p.RedrivePermission {
	case "allowAll", "denyAll":
		if len(p.SourceQueueArns) > 0 {
			return nil, invalid("sourceQueueArns goes with byQueue only.")
		}
	case "byQueue":
		if n := len(p.SourceQueueArns); n < 1 || n > 10 {
			return nil, invalid("byQueue needs 1 to 10 sourceQueueArns.")
		}
	default:
		return nil, invalid("redrivePermission must be allowAll, denyAll or byQueue.")
	}
	return &p, nil
}

// allows reports whether a dead-letter queue with this policy takes messages from the queue of an ARN.
func (p *redriveAllowPolicy) allows(source string) bool {
	if p == nil {
		return true
	}
	switch p.RedrivePermission {
	case "denyAll":
		return false
	case "byQueue":
		for _, arn := range p.SourceQueueArns {
			if arn == source {
				return true
			}
		}
		return false
	}
	return true
}
