package topology

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/queue"
)

// A Plan is what it takes to make what is there as configured. It describes
// the moment it was made.
type Plan struct {
	// OnStep, if it is set, is told each step that Apply has done.
	OnStep func(Step)

	endpoints *queue.Endpoints
	desire    *desire
	observer  *observer
	tasks     []task
	lower     bool // a queue's retention may be lowered
}

// An Option allows a [Plan] what it otherwise refuses.
type Option func(*Plan)

// AllowLowerRetention lets a plan lower the retention of queues that exist. SQS
// then deletes the messages in them that are older.
func AllowLowerRetention() Option { return func(p *Plan) { p.lower = true } }

// A task is a step and how it is done; run is nil if there is nothing to do.
type task struct {
	Step
	of  any // the queue or topic that it is about, or from
	run func(context.Context) error
}

// NewPlan compares the endpoints with what is there. Endpoints of other
// transports than SQS and SNS are left out. It fails with one or more joined
// [*ConflictError] where an apply could not do what configuration wants.
func NewPlan(ctx context.Context, clients Clients, endpoints *queue.Endpoints, opts ...Option) (*Plan, error) {
	all, clientsErr := clients.of(endpoints)
	d, err := newDesire(endpoints, newAtlas(all))
	if err != nil {
		return nil, err
	}
	if clientsErr != nil {
		return nil, clientsErr
	}
	p := &Plan{endpoints: endpoints, desire: d, observer: &observer{clients: all}}
	for _, opt := range opts {
		opt(p)
	}
	if err := p.observer.observe(ctx, d); err != nil {
		return nil, err
	}
	for _, q := range d.queues {
		p.tasks = append(p.tasks, p.queueTask(q))
	}
	for _, t := range d.topics {
		p.tasks = append(p.tasks, p.topicTask(t))
	}
	for _, s := range d.subscriptions {
		p.tasks = append(p.tasks, p.permissionTask(s), p.subscriptionTask(s))
	}
	return p, errors.Join(d.errs...)
}

// Steps returns the steps in the order in which they are done, those that keep
// what is there included.
func (p *Plan) Steps() []Step {
	steps := make([]Step, len(p.tasks))
	for i, t := range p.tasks {
		steps[i] = t.Step
	}
	return steps
}

// Changes returns how many steps have something to do.
func (p *Plan) Changes() int {
	n := 0
	for _, t := range p.tasks {
		if t.run != nil {
			n++
		}
	}
	return n
}

// Apply does the steps that have something to do. It stops at the first that
// fails, with an [*ApplyError]; what it did before stays. Applying twice is
// harmless, but to see what is left takes a new plan.
func (p *Plan) Apply(ctx context.Context) error {
	done := 0
	for _, t := range p.tasks {
		if t.run == nil {
			continue
		}
		if err := t.run(ctx); err != nil {
			return &ApplyError{Done: done, Left: p.Changes() - done, Step: t.Step, Err: err}
		}
		done++
		if p.OnStep != nil {
			p.OnStep(t.Step)
		}
	}
	return nil
}

// action returns what is done to something that can be tagged.
func action(exists, tagged bool, changes int) Action {
	switch {
	case !exists:
		return Create
	case !tagged:
		return Adopt
	case changes > 0:
		return Change
	default:
		return Keep
	}
}

func (p *Plan) queueTask(q *queueNode) task {
	if !q.exists && foreign(q.account, q.site) {
		p.desire.conflict(q.url, "the queue does not exist, and queues are made in the client's own account only; take the account out of the URL, or have the owner make it")
	}
	var differ []Attribute
	for _, a := range q.settings() {
		if a.Have = q.have[a.Name]; a.Have != a.Want {
			differ = append(differ, a)
		}
		if a.Name == "MessageRetentionPeriod" && lower(a) && !p.lower {
			p.desire.conflict(q.url, "%s would have SQS delete the messages that are older than %v; give it the retention that it has, or allow it (AllowLowerRetention; --lower-retention of `waybill topology apply`)", a, q.retention)
		}
	}
	if a, ok := q.redriveAttribute(); ok {
		differ = append(differ, a)
		if problem := q.refusal(); problem != "" {
			p.desire.conflict(q.url, "%s", problem)
		}
	}
	t := task{of: q, Step: Step{
		Action: action(q.exists, q.tagged, len(differ)),
		Kind:   KindQueue, Name: q.url, Purpose: q.purpose(), Attributes: differ,
	}}
	switch t.Action {
	case Create:
		t.run = func(ctx context.Context) error { return p.createQueue(ctx, q) }
	case Adopt, Change:
		t.run = func(ctx context.Context) error { return p.changeQueue(ctx, q, differ) }
	}
	return t
}

// lower reports whether a number becomes less.
func lower(a Attribute) bool {
	have, err := strconv.Atoi(a.Have)
	want, wantErr := strconv.Atoi(a.Want)
	return err == nil && wantErr == nil && want < have
}

func (p *Plan) topicTask(t *topicNode) task {
	if !t.exists && foreign(t.account, t.site) {
		p.desire.conflict(t.url, "the topic does not exist, and topics are made in the client's own account only; take the account out of the URL, or have the owner make it")
	}
	task := task{of: t, Step: Step{Action: action(t.exists, t.tagged, 0), Kind: KindTopic, Name: t.url, Purpose: t.purpose()}}
	switch task.Action {
	case Create:
		task.run = func(ctx context.Context) error { return p.createTopic(ctx, t) }
	case Adopt:
		task.run = func(ctx context.Context) error { return p.tagTopic(ctx, t) }
	}
	return task
}

func (s *subscriptionNode) purpose() string {
	return "endpoint " + s.endpoint + " delivers to " + s.want.Endpoint
}

func (p *Plan) permissionTask(s *subscriptionNode) task {
	t := task{
		of:   s.topic,
		Step: Step{Action: Create, Kind: KindPermission, Name: s.name(), Purpose: s.purpose()},
		run:  func(ctx context.Context) error { return p.permit(ctx, s) },
	}
	if !s.queue.exists || !s.topic.exists {
		return t
	}
	policy, err := parsePolicy(s.queue.have["Policy"])
	if err != nil {
		p.desire.conflict(s.queue.url, "%v", err)
		return t
	}
	switch same, sid := policy.find(letSend(s.topic.arn, s.queue.arn)); {
	case same >= 0:
		t.Action, t.run = Keep, nil
	case sid >= 0:
		t.Action = Change
	}
	return t
}

// settings returns the attributes that configuration gives a subscription, in
// the order in which they can be set: SNS checks the filter against the scope
// that it has at that moment, and the scope of the body allows more.
func (s *subscriptionNode) settings() []Attribute {
	raw := Attribute{Name: "RawMessageDelivery", Want: "true"}
	if s.want.Enveloped {
		raw.Want = "false"
	}
	filter := Attribute{Name: "FilterPolicy", Want: string(s.want.Filter)}
	scope := Attribute{Name: "FilterPolicyScope", Want: s.want.FilterScope}
	switch {
	case len(s.want.Filter) == 0:
		return []Attribute{raw, filter}
	case s.want.FilterScope == queue.FilterBody:
		return []Attribute{raw, scope, filter}
	default:
		return []Attribute{raw, filter, scope}
	}
}

func (p *Plan) subscriptionTask(s *subscriptionNode) task {
	t := task{of: s.topic, Step: Step{Action: Keep, Kind: KindSubscription, Name: s.name(), Purpose: s.purpose()}}
	for _, a := range s.settings() {
		a.Have = s.have[a.Name]
		switch {
		case a.Name == "FilterPolicy" && sameFilter(a.Have, a.Want):
		case a.Name == "FilterPolicyScope" && a.Have == "" && a.Want == queue.FilterAttributes: // SNS's own default
		case a.Have != a.Want:
			t.Attributes = append(t.Attributes, a)
		}
	}
	switch {
	case s.arn == pendingConfirmation:
		p.desire.conflict(s.name(), "the subscription waits for the queue's owner to confirm it")
	case s.arn == "":
		t.Action = Create
		t.run = func(ctx context.Context) error { return p.subscribe(ctx, s) }
	case len(t.Attributes) > 0:
		t.Action = Change
		t.run = func(ctx context.Context) error { return p.changeSubscription(ctx, s, t.Attributes) }
	}
	return t
}

// sameFilter compares filter policies. None and an empty one are the same.
func sameFilter(a, b string) bool {
	empty := func(text string) bool {
		text = strings.TrimSpace(text)
		return text == "" || text == "{}" || text == "null"
	}
	if empty(a) || empty(b) {
		return empty(a) && empty(b)
	}
	return sameJSON(a, b)
}

// A Status is how one endpoint stands.
type Status struct {
	// Endpoint is the logical name, and URL where it is.
	Endpoint string `json:"endpoint"`
	URL      string `json:"url"`

	// State is [Missing], [Different], [AsConfigured], or [Unmanaged] for
	// another transport.
	State string `json:"state"`

	// DeadLetter is the URL of its dead-letter queue.
	DeadLetter string `json:"dead_letter,omitempty"`

	// DeliversTo are the endpoints that a topic delivers to.
	DeliversTo []string `json:"delivers_to,omitempty"`

	// ARN is the name that AWS gives it.
	ARN string `json:"arn,omitempty"`

	// Messages, InFlight and Delayed are the queue's approximate numbers of
	// messages, and DeadLetters that of its dead-letter queue.
	Messages    json.Number `json:"messages,omitempty"`
	InFlight    json.Number `json:"in_flight,omitempty"`
	Delayed     json.Number `json:"delayed,omitempty"`
	DeadLetters json.Number `json:"dead_letters,omitempty"`
}

// States of an endpoint.
const (
	Missing      = "missing"
	Different    = "different"
	AsConfigured = "as configured"
	Unmanaged    = "unmanaged"
)

// Status returns how each endpoint stands, by their names, as the plan found
// them.
func (p *Plan) Status() []Status {
	var list []Status
	for e := range p.endpoints.All() {
		s := Status{Endpoint: e.Name, URL: e.URL, State: Unmanaged, DeadLetter: e.DeadLetter}
		for _, sub := range e.Subscriptions {
			s.DeliversTo = append(s.DeliversTo, sub.Endpoint)
		}
		switch {
		case e.IsQueue():
			q := p.desire.served[e.Name]
			s.ARN, s.State = q.arn, p.state(q.exists, q)
			s.Messages = json.Number(q.have["ApproximateNumberOfMessages"])
			s.InFlight = json.Number(q.have["ApproximateNumberOfMessagesNotVisible"])
			s.Delayed = json.Number(q.have["ApproximateNumberOfMessagesDelayed"])
			if q.deadLetter != nil {
				s.DeadLetters = json.Number(q.deadLetter.have["ApproximateNumberOfMessages"])
			}
		case e.IsTopic():
			t := p.desire.topic[nodeKey{e.URL, p.desire.atlas.site(e)}]
			s.ARN, s.State = t.arn, p.state(t.exists, t)
		}
		list = append(list, s)
	}
	return list
}

// state tells the state of a queue or topic: steps about it, and from it to
// its queues, count.
func (p *Plan) state(exists bool, node any) string {
	if !exists {
		return Missing
	}
	differs := slices.ContainsFunc(p.tasks, func(t task) bool {
		return t.run != nil && t.of == node
	})
	if differs {
		return Different
	}
	return AsConfigured
}
