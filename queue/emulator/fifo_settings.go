package emulator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// fifoSettings are the attributes that FIFO queues have besides the others, with their values, the default
// first: SQS API reference (CreateQueue).
var fifoSettings = map[string][]string{
	"FifoQueue":                 {"true"},
	"ContentBasedDeduplication": {"false", "true"},
	"DeduplicationScope":        {"queue", "messageGroup"},
	"FifoThroughputLimit":       {"perQueue", "perMessageGroupId"},
}

// fifoDefaults returns the settings of a FIFO queue that is made without others.
func fifoDefaults() settings {
	set := defaultSettings()
	set.fifo = true
	set.text = maps.Clone(set.text)
	for name, values := range fifoSettings {
		set.text[name] = values[0]
	}
	return set
}

// fifoFault tells what is wrong with an attribute of FIFO queues.
func (set *settings) fifoFault(name, value string) *Error {
	switch {
	case !set.fifo && (name == "DeduplicationScope" || name == "FifoThroughputLimit"):
		return &Error{Code: "InvalidAttributeName", Message: "You can specify the " + name + " only when FifoQueue is set to true."}
	case !set.fifo:
		return errInvalidAttributeName(name)
	case slices.Contains(fifoSettings[name], value):
		return nil
	case name == "FifoQueue":
		return errInvalidAttributeValue(name, "Modifying queue type is not supported.")
	}
	return errInvalidAttributeValue(name, fmt.Sprintf("Must be %s.", strings.Join(fifoSettings[name], " or ")))
}

// fifoNameFault checks the name of a FIFO queue. The suffix counts towards its length.
func fifoNameFault(name string) *Error {
	base, ok := strings.CutSuffix(name, ".fifo")
	if !ok || !queueName.MatchString(base) || len(name) > 80 {
		return errInvalidParameterValue("The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length")
	}
	return nil
}

// fifoFault checks what a message for a FIFO queue must have, and what not.
func (o *outgoing) fifoFault(set settings) *Error {
	switch {
	case o.DelaySeconds != nil && *o.DelaySeconds != 0:
		return errInvalidParameterValue("Value %d for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid for this queue type.", *o.DelaySeconds)
	case o.MessageGroupId == "":
		return errMissingParameter("MessageGroupId")
	case o.MessageDeduplicationId == "" && !set.dedupByContent:
		return errNoDedupID()
	case o.MessageDeduplicationId != "" && !validGroup(o.MessageDeduplicationId):
		return errInvalidToken("MessageDeduplicationId", o.MessageDeduplicationId)
	}
	return nil
}

// fifoBatchFault finds what fails a whole batch for a FIFO queue, while other faults fail single entries.
func (in *sendMessageBatchInput) fifoFault(set settings) *Error {
	if !set.fifo {
		return nil
	}
	for i := range in.Entries {
		switch e := &in.Entries[i]; {
		case e.MessageDeduplicationId == "" && !set.dedupByContent:
			return errNoDedupID()
		case e.MessageGroupId == "":
			return errInvalidParameterValue("The request must contain the parameter MessageGroupId.")
		}
	}
	return nil
}

// dedupID returns the deduplication id of a message: the one that was given, or the SHA-256 of its body.
func (o *outgoing) dedupID() string {
	if o.MessageDeduplicationId != "" {
		return o.MessageDeduplicationId
	}
	sum := sha256.Sum256([]byte(o.MessageBody))
	return hex.EncodeToString(sum[:])
}

func errNoDedupID() *Error {
	return errInvalidParameterValue("The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
}

// errInvalidToken is about a parameter that must be 1 to 128 characters of validGroup.
func errInvalidToken(name, value string) *Error {
	return errInvalidParameterValue("Value %s for parameter %s is invalid. Reason: %s can only include alphanumeric and punctuation characters. 1 to 128 in length.", clip(value), name, name)
}
