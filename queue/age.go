package queue

import (
	"errors"
	"time"
)

// ErrNoAge: nothing tells how old the oldest message of a queue is.
var ErrNoAge = errors.New("the age of the oldest message is not known")

// An OldestAge is how old the oldest message of a queue is, or why that is not
// known: an error that matches [ErrNoAge] where there is nothing wrong.
type OldestAge struct {
	Age time.Duration
	Err error
}
