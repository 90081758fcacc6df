package queue

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// SetNumber sets metadata that travels as an attribute of type Number, so that
// the filter policies of SNS can compare it: {"fare": [{"numeric": [">=", 50]}]}.
// SQS keeps numbers of up to 38 digits between 1e-128 and 1e126.
func SetNumber[T ~int | ~int64 | ~float64](msg *message.Message, key string, value T) {
	types, _ := parseTypes(msg.Metadata.Get(KeyTypes)) // what is wrong is replaced
	setIn(&types, key, typeNumber)
	msg.Metadata.Set(key, strconv.FormatFloat(float64(value), 'f', -1, 64))
	if i := int64(value); T(i) == value {
		msg.Metadata.Set(key, strconv.FormatInt(i, 10))
	}
	msg.Metadata.Set(KeyTypes, formatTypes(types))
}

// SetDelay has the message hidden for a time after it is published: at most
// [MaxDelay], rounded up to whole seconds. Topics and FIFO queues refuse it.
// Beyond 15 minutes it needs a [Subscriber] of this package at the queue.
func SetDelay(msg *message.Message, delay time.Duration) {
	msg.Metadata.Set(KeyDelay, delay.String())
}

// typeRule holds for a data type, with or without a label.
var typeRule = regexp.MustCompile(`^(String|Number|Binary)(\.[A-Za-z0-9_.-]+)?$`)

// parseTypes reads the value of [KeyTypes]. Mostly there is none, and no map.
func parseTypes(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	types := map[string]string{}
	for item := range strings.SplitSeq(text, ",") {
		i := strings.LastIndexByte(item, '=')
		if i < 0 || !nativeName(item[:i]) || !typeRule.MatchString(item[i+1:]) {
			return nil, fmt.Errorf("%w: %s: %q does not give an attribute's type; want for example fare=Number", ErrInvalid, KeyTypes, item)
		}
		types[item[:i]] = item[i+1:]
	}
	return types, nil
}

// formatTypes is the inverse of parseTypes. It leaves out what parseTypes would
// refuse, which only a foreign sender can have made.
func formatTypes(types map[string]string) string {
	if len(types) == 0 {
		return ""
	}
	items := make([]string, 0, len(types))
	for _, key := range slices.Sorted(maps.Keys(types)) {
		if nativeName(key) && typeRule.MatchString(types[key]) {
			items = append(items, key+"="+types[key])
		}
	}
	return strings.Join(items, ",")
}

// numberRule holds for what SQS takes as a Number.
var numberRule = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$`)

func isNumber(text string) bool { return numberRule.MatchString(text) }
