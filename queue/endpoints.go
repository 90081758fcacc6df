package queue

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Endpoints is a set of endpoints, as configuration gives it. It is immutable
// and safe for concurrent use. The nil set is empty; it resolves URLs alone.
type Endpoints struct {
	namespace string
	byName    map[string]Endpoint
	given     map[string]Endpoint // without defaults
	names     []string
	dead      map[deadLetters]time.Duration
}

// deadLetters is a dead-letter queue of endpoints.
type deadLetters struct {
	url   string
	place Place
}

// NewEndpoints returns the set of the given endpoints, with their defaults set
// and the namespace applied: in the namespace "dev", the URL sqs://fares
// becomes sqs://dev-fares, and so do dead-letter queues and topics. An empty
// namespace leaves the names alone. The logical names are not changed.
//
// NewEndpoints reports every endpoint that is invalid, every name that occurs
// twice, and every subscription whose endpoint is not a queue of the set.
func NewEndpoints(namespace string, endpoints ...Endpoint) (*Endpoints, error) {
	s := &Endpoints{namespace: namespace, byName: make(map[string]Endpoint, len(endpoints)), given: make(map[string]Endpoint, len(endpoints))}
	var errs []error
	if namespace != "" && !queueRule.MatchString(namespace) {
		return nil, fmt.Errorf("queue: namespace %q cannot begin the name of a queue; want letters, digits, - or _", namespace)
	}
	for _, e := range endpoints {
		if _, ok := s.byName[e.Name]; ok {
			errs = append(errs, fmt.Errorf("queue: endpoint %q is configured twice", e.Name))
			continue
		}
		e.URL = Qualify(namespace, e.URL)
		e.DeadLetter = Qualify(namespace, e.DeadLetter)
		if err := e.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		s.given[e.Name], s.byName[e.Name] = e, e.WithDefaults()
		s.names = append(s.names, e.Name)
	}
	slices.Sort(s.names)
	if len(errs) == 0 {
		errs = s.validateSubscriptions()
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	s.retainDeadLetters()
	return s, nil
}

// retainDeadLetters notes for how long dead-letter queues keep messages, also in
// the endpoints that are such queues and do not say.
func (s *Endpoints) retainDeadLetters() {
	s.dead = make(map[deadLetters]time.Duration)
	for e := range s.All() {
		if e.DeadLetter != "" {
			q := deadLetters{e.DeadLetter, e.Place()}
			s.dead[q] = max(s.dead[q], e.DeadLetterRetention)
		}
	}
	for e := range s.All() {
		if d := s.deadLetterRetention(e); d != 0 && s.given[e.Name].Retention == 0 {
			e.Retention = d
			s.byName[e.Name] = e
		}
	}
}

func (s *Endpoints) validateSubscriptions() (errs []error) {
	for e := range s.All() {
		for _, sub := range e.Subscriptions {
			to, ok := s.byName[sub.Endpoint]
			if !ok {
				errs = append(errs, fmt.Errorf("queue: endpoint %q: a subscription: %w", e.Name, s.unknown(sub.Endpoint)))
			} else if !to.IsQueue() {
				errs = append(errs, fmt.Errorf("queue: endpoint %q: a subscription: endpoint %q is %s; want a queue", e.Name, to.Name, to.URL))
			}
		}
	}
	return errs
}

// deadLetterRetention returns for how long the queue of an endpoint keeps the dead
// letters of others, or 0 if it has none of those.
func (s *Endpoints) deadLetterRetention(e Endpoint) time.Duration {
	if s == nil {
		return 0
	}
	return s.dead[deadLetters{e.URL, e.Place()}]
}

// Qualify returns the URL of a queue or topic with the namespace before its
// name. URLs of other schemes, and empty ones, are returned as they are.
func Qualify(namespace, rawURL string) string {
	name, _, err := ParseURL(rawURL)
	if namespace == "" || name == "" || err != nil {
		return rawURL
	}
	return strings.TrimSuffix(rawURL, name) + namespace + "-" + name
}

// Namespace returns the namespace that was applied to the set.
func (s *Endpoints) Namespace() string {
	if s == nil {
		return ""
	}
	return s.namespace
}

// Names returns the logical names of the set, sorted.
func (s *Endpoints) Names() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.names)
}

// All yields the endpoints in the order of their names.
func (s *Endpoints) All() iter.Seq[Endpoint] {
	return func(yield func(Endpoint) bool) {
		if s == nil {
			return
		}
		for _, name := range s.names {
			if !yield(s.byName[name]) {
				return
			}
		}
	}
}

// Given returns the endpoint of a logical name without defaults: its zero
// fields are those that nobody has set. The namespace is applied. It returns
// false if the name is not in the set.
func (s *Endpoints) Given(name string) (Endpoint, bool) {
	if s == nil {
		return Endpoint{}, false
	}
	e, ok := s.given[name]
	return e, ok
}

// Resolve returns the endpoint of a logical name, with its defaults set and
// the namespace applied. A name that is not in the set gives an
// [*UnknownEndpointError].
//
// Resolve also takes the URL of a queue or topic, such as an endpoint's
// DeadLetter, as it is: no namespace is applied. If an endpoint of the set has
// that URL, Resolve returns it, otherwise an endpoint of defaults that is
// named by the URL. A dead-letter queue is in the region and the account of its
// endpoint, and has the retention that the endpoint says.
func (s *Endpoints) Resolve(name string) (Endpoint, error) {
	if strings.Contains(name, "://") {
		return s.resolveURL(name)
	}
	if s != nil {
		if e, ok := s.byName[name]; ok {
			return e, nil
		}
	}
	return Endpoint{}, s.unknown(name)
}

func (s *Endpoints) resolveURL(rawURL string) (Endpoint, error) {
	for e := range s.All() {
		if e.URL == rawURL {
			return e, nil
		}
	}
	if _, _, err := ParseURL(rawURL); err != nil {
		return Endpoint{}, fmt.Errorf("queue: %w", err)
	}
	p, err := s.deadLetterPlace(rawURL)
	e := Endpoint{Name: rawURL, URL: rawURL}.At(p)
	e.Retention = s.deadLetterRetention(e)
	return e.WithDefaults(), err
}

func (s *Endpoints) unknown(name string) error {
	return &UnknownEndpointError{Name: name, Known: s.Names()}
}

// An UnknownEndpointError says that configuration lacks an endpoint.
// It matches [ErrUnknownEndpoint].
type UnknownEndpointError struct {
	// Name is the endpoint that was asked for.
	Name string

	// Known are the names that are configured, sorted.
	Known []string
}

func (e *UnknownEndpointError) Error() string {
	known := "none is"
	if len(e.Known) > 0 {
		known = strings.Join(e.Known, ", ") + " are"
	}
	return fmt.Sprintf("endpoint %q is not configured (%s); add endpoints.%s.url: sqs://%s to the configuration file, or set WAYBILL_ENDPOINTS_%s_URL",
		e.Name, known, e.Name, e.Name, envName(e.Name))
}

// Is reports whether target is [ErrUnknownEndpoint].
func (e *UnknownEndpointError) Is(target error) bool { return target == ErrUnknownEndpoint }

// envName returns the form that an endpoint's name has in an environment
// variable.
func envName(name string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}
