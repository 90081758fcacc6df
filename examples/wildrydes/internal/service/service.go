// Package service is what the example's HTTP services have in common: they
// take effect once for an idempotency key, refuse an action that comes after
// its own undo, write every effect into a ledger that can be read, and fail
// on demand.
//
//	PUT    /{kind}/{id}        do something: the caller makes the id
//	GET    /ledger             what was done, as a [Ledger]
//	GET    /faults             what is to go wrong, as a list of [Fault]
//	POST   /faults             let one more thing go wrong
//	DELETE /faults/{customer}  mend what goes wrong for customers of that suffix
package service

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
)

// KeyHeader is the header that carries the idempotency key. Requests under one
// key have their effect once, and all get the answer of the first.
const KeyHeader = "Idempotency-Key"

// ReplayHeader is set on an answer that was given before.
const ReplayHeader = "Idempotency-Replayed"

// maxBody bounds what is read of a request.
const maxBody = 64 << 10

// A Request is the body of every operation.
type Request struct {
	Ride     string       `json:"ride"`
	Fare     string       `json:"fare"`
	Customer string       `json:"customer"`
	Amount   money.Amount `json:"amount,omitzero"`
	Of       string       `json:"of,omitempty"`   // the id of what it builds on, or undoes
	Card     string       `json:"card,omitempty"` // the token that stands for a card
	Note     string       `json:"note,omitempty"` // for people
}

// An Answer is what a request that was carried out is answered with.
type Answer struct {
	Status string `json:"status"`
}

// An Operation does what a request asks for. It runs alone, looks at the book
// and writes into it, and must not write when it returns an error.
type Operation func(b *Book, id string, r Request) (Answer, error)

// A Server is one service. Its zero value is of no use; call [New].
type Server struct {
	mux        *http.ServeMux
	operations map[string]Operation
	closing    chan struct{}
	close      func()

	mu       sync.Mutex
	book     Book
	answers  map[string]answered // by idempotency key
	arrivals map[string]int      // requests, by idempotency key
	faults   []Fault
	stats    Stats
}

// answered is what was answered to the first request under a key.
type answered struct {
	question string
	answer   Answer
	err      *Error
}

// New returns the service of some operations, by the kind of what they make.
func New(operations map[string]Operation, faults []Fault) *Server {
	s := &Server{
		mux:        http.NewServeMux(),
		operations: operations,
		closing:    make(chan struct{}),
		answers:    make(map[string]answered),
		arrivals:   make(map[string]int),
		faults:     faults,
	}
	s.close = sync.OnceFunc(func() { close(s.closing) })
	s.mux.HandleFunc("PUT /{kind}/{id}", s.put)
	s.mux.HandleFunc("GET /ledger", s.getLedger)
	s.mux.HandleFunc("GET /faults", s.getFaults)
	s.mux.HandleFunc("POST /faults", s.postFault)
	s.mux.HandleFunc("DELETE /faults/{customer}", s.deleteFault)
	return s
}

// HandleFunc adds a route of the service's own.
func (s *Server) HandleFunc(pattern string, handler http.HandlerFunc) {
	s.mux.HandleFunc(pattern, handler)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.mux.ServeHTTP(w, r)
}

// Close ends the delays of requests that were told to be slow: they fail.
func (s *Server) Close() { s.close() }

// put carries out a request. It goes on when the client has given up, as
// services do.
func (s *Server) put(w http.ResponseWriter, r *http.Request) {
	kind, id, key := r.PathValue("kind"), r.PathValue("id"), r.Header.Get(KeyHeader)
	operation, ok := s.operations[kind]
	var request Request
	switch err := json.NewDecoder(r.Body).Decode(&request); {
	case !ok:
		write(w, refuse(http.StatusNotFound, "unknown_operation", "there is no operation "+kind), nil)
		return
	case err != nil:
		write(w, refuse(http.StatusBadRequest, "malformed", err.Error()), nil)
		return
	case key == "":
		write(w, refuse(http.StatusBadRequest, "no_key", "the header "+KeyHeader+" is missing"), nil)
		return
	}
	fault, finish := s.arrive(kind, key, request.Customer)
	defer finish()
	if err := s.before(fault); err != nil {
		write(w, err, nil)
		return
	}
	if fault.How == FailRefuse {
		operation = fault.refuse
	}
	answer, replayed, err := s.once(operation, question(kind, id, request), key, id, request)
	s.after(fault)
	if replayed {
		w.Header().Set(ReplayHeader, "true")
	}
	write(w, err, answer)
}

// question is what an answer is to: another one under the same key is a
// mistake of the caller. Notes may differ.
func question(kind, id string, r Request) string {
	r.Note = ""
	body, _ := json.Marshal(r) // it was JSON before
	return kind + "/" + id + " " + string(body)
}

// once carries out a request unless its key has an answer. What may be tried
// again is not kept under the key.
func (s *Server) once(operation Operation, question, key, id string, r Request) (answer Answer, replayed bool, err *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.answers[key]; ok {
		if a.question != question {
			return Answer{}, false, refuse(http.StatusUnprocessableEntity, "key_reused", "the idempotency key was used for another request")
		}
		s.stats.Replayed++
		return a.answer, true, a.err
	}
	s.book.key = key
	answer, failed := operation(&s.book, id, r)
	err = asError(failed)
	if err != nil && err.Code == CodeUndone {
		s.stats.RefusedLate++
	}
	if err == nil || err.Permanent() {
		s.answers[key] = answered{question, answer, err}
	}
	return answer, false, err
}

// arrive counts a request in, and finds what is to go wrong with it.
func (s *Server) arrive(kind, key, customer string) (fault Fault, finish func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests++
	s.stats.Pending++
	s.arrivals[key]++
	for _, f := range s.faults {
		if f.hits(kind, customer, s.arrivals[key]) {
			fault = f
			break
		}
	}
	return fault, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stats.Pending--
	}
}

func (s *Server) getLedger(w http.ResponseWriter, _ *http.Request) { write(w, nil, s.Ledger()) }

// Ledger returns what was done so far.
func (s *Server) Ledger() Ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Ledger{Entries: append([]Entry{}, s.book.entries...), Stats: s.stats}
}

// sleep waits, and reports false if the service closes first.
func (s *Server) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.closing:
		return false
	}
}

// write writes an answer, or an error if there is one.
func write(w http.ResponseWriter, err *Error, answer any) {
	status := http.StatusOK
	if err != nil {
		status, answer = err.Status, err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a client that is gone needs no answer
}
