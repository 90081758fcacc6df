package pipeline

import (
	"maps"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Metadata keys of this package, reserved like those of package queue.
const (
	// KeyOutlet names the outlet by which an output leaves. It is taken off
	// before the message is published.
	KeyOutlet = "Waybill-Outlet"

	// KeyHistory carries the names of the filters that the message and those
	// before it came through, oldest first, with commas between. See
	// Config.History.
	KeyHistory = "Waybill-History"
)

// A Route says where a filter receives from and sends to, by names of
// endpoints. On a plain watermill Pub/Sub the names are topics.
type Route struct {
	// From is the endpoint that the filter receives from. Required.
	From string `json:"from,omitempty"`

	// To are the endpoints that each output is sent to. A filter without
	// outputs has none.
	To []string `json:"to,omitempty"`

	// Outlets are further exits by name: an output whose outlet is "declined"
	// is sent to the endpoints of that outlet, and not to To.
	Outlets map[string][]string `json:"outlets,omitempty"`
}

// Wiring is the routes of filters by name, as a configuration file has them:
//
//	filters:
//	  charge:
//	    from: registered
//	    to: [charged]
//	    outlets:
//	      declined: [refused]
//
// It overrides what the program says in [From], [To] and [Outlet], field by
// field and outlet by outlet. It may name filters that the program lacks:
// programs can share one file.
type Wiring map[string]Route

// over returns the route with the fields of other that are set.
func (r Route) over(other Route) Route {
	if other.From != "" {
		r.From = other.From
	}
	if other.To != nil {
		r.To = slices.Clone(other.To)
	}
	if len(other.Outlets) > 0 {
		r.Outlets = maps.Clone(r.Outlets)
		if r.Outlets == nil {
			r.Outlets = map[string][]string{}
		}
		maps.Copy(r.Outlets, other.Outlets)
	}
	return r
}

// targets yields every endpoint that the route can send to, with what the
// configuration calls it.
func (r Route) targets(yield func(field, endpoint string) bool) {
	for _, endpoint := range r.To {
		if !yield("to", endpoint) {
			return
		}
	}
	for _, outlet := range slices.Sorted(maps.Keys(r.Outlets)) {
		for _, endpoint := range r.Outlets[outlet] {
			if !yield("outlets."+outlet, endpoint) {
				return
			}
		}
	}
}

// Middleware wraps the handler of a filter. It is watermill's, so watermill's
// own fit, apart from those that settle messages themselves or remember them
// before they are handled: InstantAck, DelayOnError, Deduplicator and
// PoisonQueue. See [Idempotent].
type Middleware = message.HandlerMiddleware

// An Option of [Pipeline.Handle].
type Option func(*filter)

// From names the endpoint that the filter receives from.
func From(endpoint string) Option { return func(f *filter) { f.route.From = endpoint } }

// To names the endpoints that each output is sent to.
func To(endpoints ...string) Option { return func(f *filter) { f.route.To = endpoints } }

// Outlet names the endpoints of one outlet; see [Route].
func Outlet(name string, endpoints ...string) Option {
	return func(f *filter) {
		f.route = f.route.over(Route{Outlets: map[string][]string{name: endpoints}})
	}
}

// Use adds middleware to the filter, inside that of the [Config] and inside
// that of earlier options; the first is the outermost. It runs with each
// attempt.
func Use(m ...Middleware) Option {
	return func(f *filter) { f.middleware = append(f.middleware, m...) }
}

// Timeout bounds each attempt of the filter: its context ends. Without it, an
// attempt may take as long as its message stays with this process.
func Timeout(d time.Duration) Option { return func(f *filter) { f.timeout = d } }

// Retries gives the filter a policy of its own in place of Config.Retry.
func Retries(r Retry) Option { return func(f *filter) { f.retry = r } }
