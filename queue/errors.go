package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"
)

// The kinds of errors that a caller may decide on. Errors of this package
// match them with [errors.Is], and wrap their cause.
var (
	// ErrUnknownEndpoint: configuration lacks the endpoint. Errors of this
	// kind are an [*UnknownEndpointError].
	ErrUnknownEndpoint = errors.New("endpoint is not configured")

	// ErrNotFound: the queue or topic does not exist.
	ErrNotFound = errors.New("queue or topic does not exist")

	// ErrAccess: the credentials are missing, wrong or expired, or do not
	// permit the call, or the key of an encrypted queue or topic cannot be
	// used.
	ErrAccess = errors.New("access denied")

	// ErrTooLarge: the message exceeds the size limit. It was not sent.
	ErrTooLarge = errors.New("message too large")

	// ErrInvalid: the service refuses, or would refuse, what it is given; to
	// try again with the same is useless. Of an error of the service, Entry
	// tells whether it is the message that is refused, or the request.
	ErrInvalid = errors.New("invalid request")

	// ErrHeld: the message was not sent to a FIFO endpoint, because one before
	// it in its group failed.
	ErrHeld = errors.New("held by a message before it")

	// ErrConfiguration: what the program was set up with does not fit, as a
	// [PayloadStore] whose bucket is not there. It is not the message's fault,
	// which can be published as it is once somebody has mended that; until then
	// to try again is useless.
	ErrConfiguration = errors.New("wrong configuration")

	// ErrThrottled: the service asks for fewer requests, still after the
	// SDK's retries.
	ErrThrottled = errors.New("throttled")

	// ErrUnavailable: the service failed, could not be reached, or refused for
	// a reason that is not known to be any other of these. What it was told to
	// do may have been done.
	ErrUnavailable = errors.New("service unavailable")

	// ErrClosed: the publisher or subscriber was closed. It is also the cause
	// with which a handler's context ends when a drain runs out of time.
	ErrClosed = errors.New("closed")

	// ErrVisibilityLost is the cause with which a handler's context ends when
	// its message may be with another receiver.
	ErrVisibilityLost = errors.New("visibility timeout could not be extended")

	// ErrDamaged: a received body is not the one that the queue has. The
	// message is intact there, and is read again.
	ErrDamaged = errors.New("damaged message")

	// ErrUndecodable: a received message does not have the form that its
	// markers promise.
	ErrUndecodable = errors.New("undecodable message")

	// ErrPayloadGone: the payload of a message is not in the [PayloadStore], or
	// no longer. A received message is then also [ErrUndecodable].
	ErrPayloadGone = errors.New("payload is not in the store")

	// ErrNewer: a received message has a form that this program does not know,
	// as a later release may write it. It is also [ErrUndecodable]. While
	// releases run side by side, another receiver can read the message.
	ErrNewer = errors.New("form of a later release")
)

// An Error is a failed call to SQS or SNS. It matches its Kind and its Err.
type Error struct {
	// Op is the action, such as "SendMessageBatch".
	Op string

	// Endpoint is the logical name, and URL where that is.
	Endpoint, URL string

	// Kind is one of the error values of this package, or nil if a context
	// ended the call.
	Kind error

	// Code is the code that the service gave, if it answered.
	Code string

	// Err is the cause.
	Err error

	// Entry says that the error is one message's of a batch, and not the
	// request's. The SDK does not retry it.
	Entry bool
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "queue: %s: endpoint %q (%s)", e.Op, e.Endpoint, e.URL)
	if e.Kind != nil {
		fmt.Fprintf(&b, ": %v", e.Kind)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	switch e.Kind {
	case ErrNotFound:
		b.WriteString("; `waybill topology apply` creates what the configuration names")
	case ErrAccess:
		b.WriteString("; check the credentials, the region, the permissions, and the key if it is encrypted")
	}
	return b.String()
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	errs := make([]error, 0, 2)
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// retryable reports whether the same call may succeed later.
func retryable(kind error) bool { return kind == ErrThrottled || kind == ErrUnavailable }

// passing reports whether the request failed for a reason that passes by itself,
// maybe after minutes: the service is gone, or the credentials have expired or
// could not be fetched.
func passing(e *Error) bool {
	switch {
	case e.Entry:
		return false
	case e.Kind == ErrAccess:
		switch e.Code {
		case "", "ExpiredToken", "ExpiredTokenException", "RequestExpired":
			return true
		}
		return false
	default:
		return retryable(e.Kind)
	}
}

// newError classifies err, which a call of either service returned.
func newError(op string, e Endpoint, err error) *Error {
	var api smithy.APIError
	if errors.As(err, &api) {
		kind := kindOf(api.ErrorCode(), api.ErrorMessage())
		return &Error{Op: op, Endpoint: e.Name, URL: e.URL, Kind: kind, Code: api.ErrorCode(), Err: err}
	}
	kind := ErrUnavailable
	switch {
	case errors.Is(err, ErrAccess):
		kind = ErrAccess
	case errors.Is(err, context.Canceled):
		kind = nil
	}
	return &Error{Op: op, Endpoint: e.Name, URL: e.URL, Kind: kind, Err: err}
}

// entryError classifies the failure of one entry of a batch.
func entryError(op string, e Endpoint, code, message string) *Error {
	return &Error{
		Op: op, Endpoint: e.Name, URL: e.URL, Code: code, Entry: true,
		Kind: kindOf(code, message),
		Err:  fmt.Errorf("%s: %s", code, message),
	}
}

// kindOf maps an error code of SQS or SNS to a kind. It is the only place that
// knows the codes. A code that is not known says nothing of the message, whoever
// the service blames: a queue that does not work now may work later, and the
// message must not be given up for it.
func kindOf(code, message string) error {
	// The Query protocol and x-amzn-query-error qualify some codes.
	code = strings.TrimPrefix(code, "AWS.SimpleQueueService.")
	code = strings.TrimPrefix(code, "com.amazonaws.sqs#")
	if kind, ok := kinds[code]; ok {
		if kind == ErrInvalid && tooLargeMessage(message) {
			return ErrTooLarge
		}
		return kind
	}
	if strings.HasPrefix(strings.ToLower(code), "kms") {
		return ErrAccess // the key is disabled, deleted, of another kind or not permitted
	}
	return ErrUnavailable
}

// tooLargeMessage tells a message over the limit from other invalid
// parameters, which have the same code.
func tooLargeMessage(message string) bool {
	message = strings.ToLower(message)
	return strings.Contains(message, "must be shorter than") ||
		strings.Contains(message, "message too long") ||
		strings.Contains(message, "messages is too long")
}

var kinds = map[string]error{
	"NonExistentQueue":          ErrNotFound,
	"QueueDoesNotExist":         ErrNotFound,
	"NotFound":                  ErrNotFound,
	"NotFoundException":         ErrNotFound,
	"ResourceNotFoundException": ErrNotFound,

	"AccessDenied":                        ErrAccess,
	"AccessDeniedException":               ErrAccess,
	"AuthorizationError":                  ErrAccess,
	"AuthorizationErrorException":         ErrAccess,
	"AuthFailure":                         ErrAccess,
	"ExpiredToken":                        ErrAccess,
	"ExpiredTokenException":               ErrAccess,
	"IncompleteSignature":                 ErrAccess,
	"InvalidAccessKeyId":                  ErrAccess,
	"InvalidClientTokenId":                ErrAccess,
	"InvalidSecurity":                     ErrAccess,
	"InvalidSignatureException":           ErrAccess,
	"MissingAuthenticationToken":          ErrAccess,
	"NotAuthorized":                       ErrAccess,
	"OptInRequired":                       ErrAccess,
	"RequestExpired":                      ErrAccess,
	"SignatureDoesNotMatch":               ErrAccess,
	"UnrecognizedClientException":         ErrAccess,
	"MissingAuthenticationTokenException": ErrAccess,

	"BatchRequestTooLong":          ErrTooLarge,
	"BatchRequestTooLongException": ErrTooLarge,

	"KmsThrottled":                           ErrThrottled,
	"KMS.ThrottlingException":                ErrThrottled,
	"KMSThrottling":                          ErrThrottled,
	"KMSThrottlingException":                 ErrThrottled,
	"LimitExceededException":                 ErrThrottled,
	"OverLimit":                              ErrThrottled,
	"ProvisionedThroughputExceededException": ErrThrottled,
	"RequestLimitExceeded":                   ErrThrottled,
	"RequestThrottled":                       ErrThrottled,
	"RequestThrottledException":              ErrThrottled,
	"SlowDown":                               ErrThrottled,
	"Throttled":                              ErrThrottled,
	"ThrottledException":                     ErrThrottled,
	"Throttling":                             ErrThrottled,
	"ThrottlingException":                    ErrThrottled,
	"TooManyRequestsException":               ErrThrottled,

	"InternalError":          ErrUnavailable,
	"InternalErrorException": ErrUnavailable,
	"InternalFailure":        ErrUnavailable,
	"RequestTimeout":         ErrUnavailable,
	"ServiceUnavailable":     ErrUnavailable,

	// About the message, or the receipt.
	"InvalidAttributeName":           ErrInvalid,
	"InvalidAttributeValue":          ErrInvalid,
	"InvalidMessageContents":         ErrInvalid,
	"InvalidParameter":               ErrInvalid,
	"InvalidParameterCombination":    ErrInvalid,
	"InvalidParameterException":      ErrInvalid,
	"InvalidParameterValue":          ErrInvalid,
	"InvalidParameterValueException": ErrInvalid,
	"MessageNotInflight":             ErrInvalid,
	"MissingParameter":               ErrInvalid,
	"ParameterValueInvalid":          ErrInvalid,
	"ReceiptHandleIsInvalid":         ErrInvalid,
}
