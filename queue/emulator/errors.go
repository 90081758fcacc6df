package emulator

import (
	"fmt"
	"net/http"
)

// Error is an error as AWS answers it. Faults return one to make the server fail in AWS's words; the
// server itself answers with them.
type Error struct {
	// Code is the error's code, such as "ThrottlingException" or "QueueDoesNotExist". In the JSON
	// protocol it is the shape's name, which picks the SDK's typed error.
	Code string

	// QueryCode is the code that the older Query protocol gave to the same error, and that the JSON
	// protocol of SQS repeats in the x-amzn-query-error header, such as
	// "AWS.SimpleQueueService.NonExistentQueue". Defaults to Code.
	QueryCode string

	// Message is the text for people.
	Message string

	// Status is the HTTP status. Defaults to 400, or 500 if Receiver is set.
	Status int

	// Receiver says that the service is to blame, not the sender. SDKs retry such errors.
	Receiver bool

	entry *Error // what the entry of a batch fails with instead, if anything
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

func (e *Error) status() int {
	switch {
	case e.Status != 0:
		return e.Status
	case e.Receiver:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

func (e *Error) queryCode() string {
	if e.QueryCode != "" {
		return e.QueryCode
	}
	return e.Code
}

func (e *Error) fault() string {
	if e.Receiver {
		return "Receiver"
	}
	return "Sender"
}

// The errors of SQS. Codes and their Query names are those of the service's API model.

func errQueueDoesNotExist() *Error {
	return &Error{
		Code:      "QueueDoesNotExist",
		QueryCode: "AWS.SimpleQueueService.NonExistentQueue",
		Message:   "The specified queue does not exist.",
	}
}

// errSimpleQueueService returns an error whose Query code carries the service's prefix.
func errSimpleQueueService(code, format string, args ...any) *Error {
	return &Error{
		Code:      code,
		QueryCode: "AWS.SimpleQueueService." + code,
		Message:   fmt.Sprintf(format, args...),
	}
}

func errInvalidParameterValue(format string, args ...any) *Error {
	return &Error{
		Code:      "InvalidParameterValueException",
		QueryCode: "InvalidParameterValue",
		Message:   fmt.Sprintf(format, args...),
	}
}

func errMissingParameter(name string) *Error {
	return &Error{
		Code:      "MissingRequiredParameterException",
		QueryCode: "MissingParameter",
		Message:   "The request must contain the parameter " + name + ".",
	}
}

func errInvalidAttributeName(name string) *Error {
	return &Error{Code: "InvalidAttributeName", Message: "Unknown Attribute " + name + "."}
}

func errInvalidAttributeValue(name, reason string) *Error {
	msg := "Invalid value for the parameter " + name + "."
	if reason != "" {
		msg += " Reason: " + reason
	}
	return &Error{Code: "InvalidAttributeValue", Message: msg}
}

func errInvalidMessageContents() *Error {
	return &Error{
		Code:    "InvalidMessageContents",
		Message: "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
	}
}

func errReceiptHandleIsInvalid(handle string) *Error {
	return &Error{
		Code:    "ReceiptHandleIsInvalid",
		Message: fmt.Sprintf("The input receipt handle %q is not a valid receipt handle.", clip(handle)),
	}
}

func errOverLimit(format string, args ...any) *Error {
	return &Error{Code: "OverLimit", Message: fmt.Sprintf(format, args...), Status: http.StatusForbidden}
}

// errReceiptHandleExpired is a FIFO queue's answer to a receipt handle whose visibility timeout has run out.
func errReceiptHandleExpired(handle string) *Error {
	err := errInvalidParameterValue("Value %s for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.", clip(handle))
	err.entry = &Error{Code: "ReceiptHandleIsInvalid", Message: "The receipt handle has expired"}
	return err
}

func errUnsupported(format string, args ...any) *Error {
	return errSimpleQueueService("UnsupportedOperation", format, args...)
}

// The errors of SNS.

func errInvalidParameter(format string, args ...any) *Error {
	return &Error{Code: "InvalidParameter", Message: "Invalid parameter: " + fmt.Sprintf(format, args...)}
}

func errNotFound(what string) *Error {
	return &Error{Code: "NotFound", Message: what + " does not exist", Status: http.StatusNotFound}
}

// Errors of both.

func errUnknownOperation(name string) *Error {
	return &Error{
		Code:      "UnknownOperationException",
		QueryCode: "InvalidAction",
		Message:   fmt.Sprintf("The action %s is not valid for this endpoint.", clip(name)),
	}
}

func errMissingAction() *Error {
	return &Error{Code: "MissingAction", Message: "The request names no action."}
}

func errMalformed(format string, args ...any) *Error {
	return &Error{
		Code:      "SerializationException",
		QueryCode: "MalformedInput",
		Message:   fmt.Sprintf(format, args...),
	}
}

func errTooLong(most int) *Error {
	err := errMalformed("The request's body cannot be read, or is longer than %d bytes.", most)
	err.Status = http.StatusRequestEntityTooLarge
	return err
}

// clip shortens what a caller sent, so that an error never repeats more than a line of it.
func clip(s string) string {
	const limit = 256
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "..."
}
