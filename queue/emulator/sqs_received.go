package emulator

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
)

// systemAttributes are the names that MessageSystemAttributeNames may hold: SQS API reference
// (ReceiveMessage).
var systemAttributes = []string{
	"All",
	"ApproximateFirstReceiveTimestamp",
	"ApproximateReceiveCount",
	"AWSTraceHeader",
	"DeadLetterQueueSourceArn",
	"MessageDeduplicationId",
	"MessageGroupId",
	"SenderId",
	"SentTimestamp",
	"SequenceNumber",
}

// receivedMessages is the output of ReceiveMessage, with the names of the attributes asked for.
type receivedMessages struct {
	messages []delivery
	system   []string
	custom   []string
}

func (o *receivedMessages) appendJSON(dst []byte) []byte {
	if len(o.messages) == 0 {
		return append(dst, "{}"...)
	}
	dst = append(dst, `{"Messages":[`...)
	for i, d := range o.messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		dst = appendField(dst, "MessageId", d.id)
		dst = appendField(dst, "ReceiptHandle", d.handle)
		dst = appendField(dst, "MD5OfBody", d.bodyMD5)
		dst = appendField(dst, "Body", d.body)
		dst = o.appendSystem(dst, d)
		dst = o.appendCustom(dst, d)
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

func (o *receivedMessages) appendSystem(dst []byte, d delivery) []byte {
	if len(o.system) == 0 {
		return dst
	}
	all := slices.Contains(o.system, "All")
	start := len(dst)
	dst = append(appendName(dst, "Attributes"), '{')
	empty := len(dst)
	add := func(name, value string) {
		if value != "" && (all || slices.Contains(o.system, name)) {
			dst = appendField(dst, name, value)
		}
	}
	add("SenderId", d.sender)
	add("SentTimestamp", milliseconds(d.sentAt))
	add("ApproximateReceiveCount", strconv.Itoa(d.receives))
	add("ApproximateFirstReceiveTimestamp", strconv.FormatInt(d.firstReceived, 10))
	add("DeadLetterQueueSourceArn", d.source)
	add("AWSTraceHeader", d.trace)
	add("MessageGroupId", d.group)
	add("MessageDeduplicationId", d.dedup)
	add("SequenceNumber", d.sequence)
	if len(dst) == empty {
		return dst[:start]
	}
	return append(dst, '}')
}

func milliseconds(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func (o *receivedMessages) appendCustom(dst []byte, d delivery) []byte {
	if len(o.custom) == 0 || len(d.attrs) == 0 {
		return dst
	}
	chosen := d.attrs
	if !slices.Contains(o.custom, "All") && !slices.Contains(o.custom, ".*") {
		chosen = make(map[string]attribute)
		for name, a := range d.attrs {
			if o.wants(name) {
				chosen[name] = a
			}
		}
		if len(chosen) == 0 {
			return dst
		}
	}
	digest := d.attrsMD5
	if len(chosen) != len(d.attrs) {
		digest = md5OfAttributes(chosen) // of those returned, which is all that the receiver can check
	}
	dst = appendField(dst, "MD5OfMessageAttributes", digest)
	dst = append(appendName(dst, "MessageAttributes"), '{')
	for _, name := range sortedNames(chosen) {
		a := chosen[name]
		dst = append(appendName(dst, name), '{')
		dst = appendField(dst, "DataType", a.dataType)
		if a.binary() {
			dst = appendField(dst, "BinaryValue", base64.StdEncoding.EncodeToString([]byte(a.value)))
		} else {
			dst = appendField(dst, "StringValue", a.value)
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// wants reports whether a name is asked for, by itself or by a prefix ("bar.*").
func (o *receivedMessages) wants(name string) bool {
	for _, want := range o.custom {
		if prefix, ok := strings.CutSuffix(want, ".*"); ok && strings.HasPrefix(name, prefix) || want == name {
			return true
		}
	}
	return false
}
