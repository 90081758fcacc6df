package queue

import "errors"

// The kinds of errors that a caller may decide on. Errors of this package
// match them with [errors.Is], and wrap their cause.
var (
	// ErrUnknownEndpoint: configuration lacks the endpoint. Errors of this
	// kind are an [*UnknownEndpointError].
	ErrUnknownEndpoint = errors.New("endpoint is not configured")

	// ErrNotFound: the queue or topic does not exist.
	ErrNotFound = errors.New("queue or topic does not exist")

	// ErrAccess: the credentials are missing, wrong or expired, or do not
	// permit the call.
	ErrAccess = errors.New("access denied")

	// ErrTooLarge: the message exceeds the size limit. Nothing was sent.
	ErrTooLarge = errors.New("message too large")

	// ErrInvalid: the service refuses what it was given; to try again is
	// useless.
	ErrInvalid = errors.New("invalid request")

	// ErrThrottled: the service asks for fewer requests. The SDK has already
	// retried.
	ErrThrottled = errors.New("throttled")

	// ErrUnavailable: the service failed or could not be reached. What it was
	// told to do may have been done.
	ErrUnavailable = errors.New("service unavailable")

	// ErrClosed: the publisher or subscriber was closed.
	ErrClosed = errors.New("closed")

	// ErrUndecodable: a received message does not have the form that its
	// markers promise.
	ErrUndecodable = errors.New("undecodable message")
)
