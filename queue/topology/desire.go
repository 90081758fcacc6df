package topology

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// A queueNode is a queue that configuration wants, and then what is there.
type queueNode struct {
	url  string // sqs://dev-fares
	site site

	name, account string

	purposes   []string
	retention  time.Duration
	retainedBy string         // whose word the retention is
	endpoint   queue.Endpoint // the first endpoint that it serves; Name is empty for a mere dead-letter queue
	deadLetter *queueNode     // nil: none is configured

	// set is what configuration says itself; the rest are defaults.
	set struct{ retention, visibility, delay, maxReceiveCount bool }

	// What is there.
	exists   bool
	tagged   bool
	queueURL string
	arn      string
	have     map[string]string

	granted []statement // what the apply under way has put into its policy
}

// A topicNode is a topic that configuration wants, and then what is there.
type topicNode struct {
	url  string
	site site

	name, account string

	purposes []string
	endpoint string // the first that it serves

	exists        bool
	tagged        bool
	arn           string
	subscriptions map[string]string // queue ARN -> subscription ARN
}

// A subscriptionNode is a subscription that configuration wants.
type subscriptionNode struct {
	topic    *topicNode
	queue    *queueNode
	want     queue.Subscription
	endpoint string // of the topic

	arn  string // empty: it does not exist
	have map[string]string
}

func (s *subscriptionNode) name() string { return s.topic.url + " -> " + s.queue.url }

// A desire is all that configuration wants, in the order in which it is made:
// the dead-letter queue of a queue comes before it.
type desire struct {
	queues        []*queueNode
	topics        []*topicNode
	subscriptions []*subscriptionNode

	byURL  map[nodeKey]*queueNode
	topic  map[nodeKey]*topicNode
	atlas  atlas
	errs   []error
	served map[string]*queueNode // by the endpoint's name
}

// A nodeKey is the URL of a queue or topic, or another name of it, at a place.
type nodeKey struct {
	url  string
	site site
}

// newDesire reads what the endpoints want. Endpoints of other transports want
// nothing.
func newDesire(endpoints *queue.Endpoints, a atlas) (*desire, error) {
	d := &desire{byURL: map[nodeKey]*queueNode{}, topic: map[nodeKey]*topicNode{}, served: map[string]*queueNode{}, atlas: a}
	for e := range endpoints.All() {
		switch {
		case e.IsQueue():
			given, _ := endpoints.Given(e.Name)
			d.addQueue(e, given)
		case e.IsTopic():
			d.addTopic(e)
		}
	}
	for e := range endpoints.All() {
		if e.IsQueue() && e.DeadLetter != "" {
			given, _ := endpoints.Given(e.Name)
			d.addDeadLetter(e, given.DeadLetterRetention != 0)
		}
		if e.IsTopic() {
			d.addSubscriptions(e)
		}
	}
	d.checkRings()
	d.sortQueues()
	return d, errors.Join(d.errs...)
}

func (d *desire) conflict(name, format string, args ...any) {
	d.errs = append(d.errs, &ConflictError{Name: name, Problem: fmt.Sprintf(format, args...)})
}

// queue returns the node of a queue, and whether it is new.
func (d *desire) queue(url string, s site) (q *queueNode, isNew bool) {
	key := nodeKey{url, s}
	if q, ok := d.byURL[key]; ok {
		return q, false
	}
	q = &queueNode{url: url, site: s}
	q.name, q.account, _ = queue.ParseURL(url) // NewEndpoints has checked it
	d.byURL[key] = q
	d.queues = append(d.queues, q)
	return q, true
}

// addQueue adds the queue of an endpoint, which is given without defaults, too.
func (d *desire) addQueue(e, given queue.Endpoint) {
	q, isNew := d.queue(e.URL, d.atlas.site(e))
	q.set.retention = q.set.retention || given.Retention != 0
	q.set.visibility = q.set.visibility || given.Visibility != 0
	q.set.delay = q.set.delay || given.Delay != 0
	q.set.maxReceiveCount = q.set.maxReceiveCount || given.MaxReceiveCount != 0
	d.served[e.Name] = q
	q.purposes = append(q.purposes, "endpoint "+e.Name)
	if isNew {
		q.endpoint, q.retention, q.retainedBy = e, e.Retention, "endpoint "+e.Name
		return
	}
	first := q.endpoint
	if first.Visibility != e.Visibility || first.Retention != e.Retention || first.Delay != e.Delay ||
		first.DeadLetter != e.DeadLetter || first.MaxReceiveCount != e.MaxReceiveCount {
		d.conflict(e.URL, "the endpoints %s and %s are this queue and want different attributes of it; give them the same visibility, retention, delay, dead_letter and max_receive_count", first.Name, e.Name)
	}
}

// addDeadLetter adds the dead-letter queue of an endpoint, whose retention is set
// by configuration or is the default.
func (d *desire) addDeadLetter(e queue.Endpoint, set bool) {
	q, isNew := d.queue(e.DeadLetter, d.atlas.site(e))
	purpose := "dead letters of " + e.Name
	q.purposes = append(q.purposes, purpose)
	d.served[e.Name].deadLetter = q
	// An endpoint that reads dead letters says nothing of their retention
	// unless it sets its own.
	byDefault := q.retainedBy == "endpoint "+q.endpoint.Name && (!q.set.retention || q.retention == queue.DefaultRetention)
	if isNew || byDefault {
		q.retention, q.retainedBy, q.set.retention = e.DeadLetterRetention, purpose, set
		return
	}
	q.set.retention = q.set.retention || set
	if q.retention != e.DeadLetterRetention {
		d.conflict(e.DeadLetter, "%s wants a retention of %v, and %s one of %v; set dead_letter_retention to the same", q.retainedBy, q.retention, purpose, e.DeadLetterRetention)
	}
}

func (d *desire) addTopic(e queue.Endpoint) {
	key := nodeKey{e.URL, d.atlas.site(e)}
	t, ok := d.topic[key]
	if !ok {
		t = &topicNode{url: e.URL, site: key.site, endpoint: e.Name}
		t.name, t.account, _ = queue.ParseURL(e.URL)
		d.topic[key] = t
		d.topics = append(d.topics, t)
	}
	t.purposes = append(t.purposes, "endpoint "+e.Name)
}

func (d *desire) addSubscriptions(e queue.Endpoint) {
	t := d.topic[nodeKey{e.URL, d.atlas.site(e)}]
	for _, s := range e.Subscriptions {
		node := &subscriptionNode{topic: t, queue: d.served[s.Endpoint], want: s, endpoint: e.Name}
		for _, other := range d.subscriptions {
			if other.topic == t && other.queue == node.queue {
				d.conflict(node.name(), "is configured twice (endpoints %s and %s); a topic delivers to a queue once, so make it one subscription, with a filter that has $or", other.endpoint, e.Name)
			}
		}
		if fifo(node.queue.name) && !fifo(t.name) {
			d.conflict(node.name(), "a standard topic cannot deliver to a FIFO queue; name the topic %s.fifo", t.name)
		}
		d.subscriptions = append(d.subscriptions, node)
	}
}

func fifo(name string) bool { return strings.HasSuffix(name, ".fifo") }

// checkRings refuses dead-letter queues that lead back to their queue: a
// message would go round for ever.
func (d *desire) checkRings() {
	for _, q := range d.queues {
		seen := map[*queueNode]bool{}
		for at := q; at != nil; at = at.deadLetter {
			if at == q && len(seen) > 0 {
				d.conflict(q.url, "is its own dead-letter queue, by way of %s", q.deadLetter.url)
				break
			}
			if seen[at] {
				break
			}
			seen[at] = true
		}
	}
}

// sortQueues puts each dead-letter queue before the queues that use it, and
// leaves the order alone otherwise.
func (d *desire) sortQueues() {
	var sorted []*queueNode
	placed := map[*queueNode]bool{}
	var place func(*queueNode)
	place = func(q *queueNode) {
		if placed[q] {
			return
		}
		placed[q] = true
		if q.deadLetter != nil {
			place(q.deadLetter)
		}
		sorted = append(sorted, q)
	}
	for _, q := range d.queues {
		place(q)
	}
	d.queues = sorted
}

func (q *queueNode) purpose() string { return strings.Join(q.purposes, ", ") }
func (t *topicNode) purpose() string { return strings.Join(t.purposes, ", ") }

// settings returns the numeric attributes that configuration gives the queue.
// A mere dead-letter queue has a retention only. A queue that exists keeps what
// configuration says nothing of: defaults are for new ones.
func (q *queueNode) settings() []Attribute {
	var list []Attribute
	add := func(name string, d time.Duration, set bool) {
		if set || !q.exists {
			list = append(list, Attribute{Name: name, Want: seconds(d)})
		}
	}
	add("MessageRetentionPeriod", q.retention, q.set.retention)
	if q.endpoint.Name != "" {
		add("VisibilityTimeout", q.endpoint.Visibility, q.set.visibility)
		add("DelaySeconds", q.endpoint.Delay, q.set.delay)
	}
	return list
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
