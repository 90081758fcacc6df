package service

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Failing is a way to fail.
type Failing string

const (
	// FailRefuse refuses for good, with the fault's code and message.
	FailRefuse Failing = "refuse"
	// FailBusy answers that the service is unavailable, and does nothing.
	FailBusy Failing = "busy"
	// FailSlow waits before it does what it is asked for. If the delay is
	// longer than the client's patience, the request has its effect after the
	// client has given up, as one that was held up in a network.
	FailSlow Failing = "slow"
	// FailLose does what it is asked for, and lets the client wait for the
	// answer. Without a delay it closes the connection in place of an answer.
	FailLose Failing = "lose"
)

// A Fault is something that goes wrong for some customers.
type Fault struct {
	// Customer is the suffix of the ids of the customers that it goes wrong
	// for, and Kind the operation.
	Customer string `json:"customer"`
	Kind     string `json:"kind"`

	// Of the requests under one idempotency key, those from number First to
	// Last fail, counted from 1. First defaults to the first, and Last to none:
	// it fails forever.
	First int `json:"first,omitempty"`
	Last  int `json:"last,omitempty"`

	How     Failing       `json:"how"`
	Delay   time.Duration `json:"delay,omitempty"` // nanoseconds
	Code    string        `json:"code,omitempty"`
	Message string        `json:"message,omitempty"`
}

// hits reports whether the fault is one for the nth request under a key.
func (f Fault) hits(kind, customer string, n int) bool {
	return f.Kind == kind && strings.HasSuffix(customer, f.Customer) &&
		n >= f.First && (f.Last == 0 || n <= f.Last)
}

// before does what a fault does before the operation.
func (s *Server) before(f Fault) *Error {
	switch f.How {
	case FailBusy:
		return refuse(http.StatusServiceUnavailable, CodeUnavailable, "come back later")
	case FailSlow:
		if !s.sleep(f.Delay) {
			return refuse(http.StatusServiceUnavailable, CodeUnavailable, "the service closes")
		}
	}
	return nil
}

// refuse is the [Operation] that refuses.
func (f Fault) refuse(*Book, string, Request) (Answer, error) {
	return Answer{}, refuse(http.StatusPaymentRequired, f.Code, f.Message)
}

// after does what a fault does between the operation and its answer.
func (s *Server) after(f Fault) {
	if f.How != FailLose {
		return
	}
	if f.Delay == 0 {
		panic(http.ErrAbortHandler)
	}
	s.sleep(f.Delay)
}

// Mend ends the faults of customers with that suffix, and returns how many
// there were.
func (s *Server) Mend(customer string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.faults)
	s.faults = slices.DeleteFunc(slices.Clone(s.faults), func(f Fault) bool { return f.Customer == customer })
	return before - len(s.faults)
}

func (s *Server) deleteFault(w http.ResponseWriter, r *http.Request) {
	customer := r.PathValue("customer")
	if s.Mend(customer) == 0 {
		write(w, refuse(http.StatusNotFound, "no_fault", "nothing goes wrong for customers with the suffix "+customer), nil)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) getFaults(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	write(w, nil, append([]Fault{}, s.faults...))
}

func (s *Server) postFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
		write(w, refuse(http.StatusBadRequest, "malformed", err.Error()), nil)
		return
	}
	known := []Failing{FailRefuse, FailBusy, FailSlow, FailLose}
	if f.Customer == "" || s.operations[f.Kind] == nil || !slices.Contains(known, f.How) || f.Delay < 0 {
		write(w, refuse(http.StatusBadRequest, "malformed", "want a customer suffix, a known kind, and how: refuse, busy, slow or lose"), nil)
		return
	}
	s.mu.Lock()
	s.faults = append(slices.Clone(s.faults), f)
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}
