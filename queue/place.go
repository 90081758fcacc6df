package queue

import (
	"fmt"
	"strings"
)

// A Place is where the queue or topic of an endpoint is, beyond its URL: two
// endpoints of one URL and one place are the same. Its fields are those of an
// [Endpoint].
type Place struct{ Region, EndpointURL, Profile, RoleARN, ExternalID string }

// Place returns where the endpoint is.
func (e Endpoint) Place() Place {
	return Place{e.Region, e.EndpointURL, e.Profile, e.RoleARN, e.ExternalID}
}

// At returns the endpoint at another place.
func (e Endpoint) At(p Place) Endpoint {
	e.Region, e.EndpointURL, e.Profile, e.RoleARN, e.ExternalID = p.Region, p.EndpointURL, p.Profile, p.RoleARN, p.ExternalID
	return e
}

// RoleAccount returns the account of the endpoint's RoleARN, or "": in it are
// the queues and topics whose URL names no account.
func (e Endpoint) RoleAccount() string {
	if part := strings.SplitN(e.RoleARN, ":", 6); len(part) == 6 {
		return part[4]
	}
	return ""
}

// deadLetterPlace returns where the dead-letter queue of a URL is: where the
// endpoints are whose dead-letter queue it is.
func (s *Endpoints) deadLetterPlace(rawURL string) (Place, error) {
	var first *Endpoint
	for e := range s.All() {
		switch {
		case e.DeadLetter == "" || !SameQueue(e.DeadLetter, rawURL):
		case first == nil:
			first = &e
		case first.Place() != e.Place():
			return Place{}, fmt.Errorf("queue: %w: %s is the dead-letter queue of the endpoints %q and %q, which are in different regions or accounts; make each an endpoint of its own, and use its name", ErrInvalid, rawURL, first.Name, e.Name)
		}
	}
	if first == nil {
		return Place{}, nil
	}
	return first.Place(), nil
}

// checkIdentities refuses endpoints with credentials of their own where nothing
// gives them.
func checkIdentities(config string, s *Endpoints) error {
	for e := range s.All() {
		if e.Profile != "" || e.RoleARN != "" {
			return fmt.Errorf("queue: %s: endpoint %q has a Profile or a RoleARN, and there is no AWSFor; set it, for example to that of config.AWS.LoadFor", config, e.Name)
		}
	}
	return nil
}
