package service

import (
	"errors"
	"fmt"
	"net/http"
)

// Codes of errors that more than one service answers with.
const (
	// CodeUndone refuses an action that comes after its own undo.
	CodeUndone = "undone"
	// CodeTaken refuses a second effect under an id.
	CodeTaken = "taken"
	// CodeUnavailable is a failure that passes.
	CodeUnavailable = "unavailable"
)

// An Error is a request that a service did not carry out.
type Error struct {
	// Service and Operation are where it happened.
	Service   string `json:"-"`
	Operation string `json:"-"`

	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Refuse returns the error of a request that will never be carried out.
func Refuse(code, message string) error {
	return refuse(http.StatusUnprocessableEntity, code, message)
}

func refuse(status int, code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %s: %s", e.Service, e.Operation, e.Code, e.Message)
}

// Permanent reports whether the same request would be refused again.
func (e *Error) Permanent() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.Status >= 400 && e.Status < 500
}

// asError returns err as the error that is sent.
func asError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return refuse(http.StatusInternalServerError, "internal", err.Error())
}
