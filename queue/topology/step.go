package topology

import (
	"fmt"
	"strings"
)

// An Action is what a [Step] does.
type Action string

const (
	// Create: it does not exist, and is made.
	Create Action = "create"

	// Adopt: it exists and was not made by Waybill. It is tagged, and what
	// differs from configuration is changed.
	Adopt Action = "adopt"

	// Change: it exists, and what differs from configuration is changed.
	Change Action = "change"

	// Keep: it exists as configured, and nothing is done.
	Keep Action = "keep"
)

// Kinds of what a [Step] is about.
const (
	KindQueue        = "queue"
	KindTopic        = "topic"
	KindPermission   = "permission"
	KindSubscription = "subscription"
)

// A Step is one line of a plan.
type Step struct {
	// Action is what is done.
	Action Action `json:"action"`

	// Kind is what it is done to: queue, topic, permission or subscription.
	Kind string `json:"kind"`

	// Name is the URL of the queue or topic, such as sqs://dev-fares.
	// Permissions and subscriptions go from a topic to a queue:
	// "sns://dev-rides -> sqs://dev-fares".
	Name string `json:"name"`

	// Purpose says which endpoints need it: "endpoint fares", "dead letters
	// of fares".
	Purpose string `json:"purpose"`

	// Attributes are those that the step sets, by name.
	Attributes []Attribute `json:"attributes,omitempty"`
}

// An Attribute is the difference in one attribute.
type Attribute struct {
	// Name is the service's name of the attribute, such as VisibilityTimeout.
	Name string `json:"name"`

	// Have is the value that is there, empty if there is none.
	Have string `json:"have"`

	// Want is the value that configuration gives it.
	Want string `json:"want"`
}

// String returns the step in one line:
//
//	change queue sqs://dev-fares (endpoint fares): VisibilityTimeout 30 -> 45
func (s Step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s (%s)", s.Action, s.Kind, s.Name, s.Purpose)
	for i, a := range s.Attributes {
		b.WriteString(map[bool]string{true: ": ", false: ", "}[i == 0])
		b.WriteString(a.String())
	}
	return b.String()
}

// String returns the difference: "VisibilityTimeout 30 -> 45", or
// "VisibilityTimeout 45" where there was none.
func (a Attribute) String() string {
	if a.Have == "" {
		return a.Name + " " + a.Want
	}
	return fmt.Sprintf("%s %s -> %s", a.Name, a.Have, a.Want)
}

// A ConflictError says that configuration wants what an apply cannot or may
// not do.
type ConflictError struct {
	// Name is the queue, topic or subscription, as in [Step].
	Name string

	// Problem says what is in the way, and what would help.
	Problem string
}

func (e *ConflictError) Error() string { return "topology: " + e.Name + ": " + e.Problem }

// An ApplyError says how far an apply came. What it did stays; the next plan
// has the rest.
type ApplyError struct {
	// Done counts the steps that changed something and succeeded.
	Done int

	// Left counts those that were not done, the failed one included.
	Left int

	// Step is the one that failed.
	Step Step

	// Err is why.
	Err error
}

func (e *ApplyError) Error() string {
	return fmt.Sprintf("topology: %s %s %s: %v (%d done, %d left; apply again to go on)", e.Step.Action, e.Step.Kind, e.Step.Name, e.Err, e.Done, e.Left)
}

func (e *ApplyError) Unwrap() error { return e.Err }
