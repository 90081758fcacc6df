package emulator

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// A saved server is a sequence of JSON records, one a line: a header; each queue, with its messages and what a
// FIFO queue remembers behind it; each topic, with its subscriptions behind it; and the queues that were deleted
// lately. Times are in nanoseconds of Unix time.
const (
	savedFormat  = "waybill-emulator"
	savedVersion = 1
)

// record is one line, of which one member is set.
type record struct {
	Header       *savedHeader       `json:"header,omitempty"`
	Queue        *savedQueue        `json:"queue,omitempty"`
	Message      *savedMessage      `json:"m,omitempty"`
	Dedup        *savedDedup        `json:"d,omitempty"` // of the queue or topic before it
	Topic        *savedTopic        `json:"topic,omitempty"`
	Subscription *savedSubscription `json:"subscription,omitempty"`
	Deleted      *savedDeletion     `json:"deleted,omitempty"`
	End          *savedEnd          `json:"end,omitempty"`
}

type savedHeader struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Account string `json:"account"`
}

// savedEnd is the last record, without which the others are not all.
type savedEnd struct {
	Records int `json:"records"` // before it
}

type savedQueue struct {
	Region     string            `json:"region"`
	Name       string            `json:"name"`
	Attributes map[string]string `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	Serial     uint64            `json:"serial"`
	Created    int64             `json:"created"`
	Modified   int64             `json:"modified"`
	Purged     int64             `json:"purged,omitempty"`
	Last       uint64            `json:"last"`            // the latest message's number
	First      uint64            `json:"first,omitempty"` // of the sequence numbers of a FIFO queue
}

// savedMessage is a message in a queue. The digests of its parts are left out.
type savedMessage struct {
	Number   uint64                    `json:"n"`
	Shown    uint64                    `json:"s,omitempty"`
	ID       string                    `json:"i"`
	Body     string                    `json:"b"`
	Attrs    map[string]savedAttribute `json:"a,omitempty"`
	Trace    string                    `json:"t,omitempty"`
	Group    string                    `json:"g,omitempty"`
	Dedup    string                    `json:"d,omitempty"`
	Sender   string                    `json:"f"`
	Source   string                    `json:"o,omitempty"`
	Sent     int64                     `json:"at"`
	State    state                     `json:"st"`
	Visible  int64                     `json:"v,omitempty"`
	Received int64                     `json:"r,omitempty"`
	First    int64                     `json:"fr,omitempty"` // in milliseconds
	Receives int                       `json:"c,omitempty"`
	Receipt  uint32                    `json:"h,omitempty"`
}

type savedAttribute struct {
	Type  string `json:"t"`
	Value []byte `json:"v"`
}

type savedDedup struct {
	At       int64  `json:"at"`
	Group    string `json:"g,omitempty"`
	ID       string `json:"i"`
	Message  string `json:"m"`
	Sequence string `json:"s"`
}

type savedTopic struct {
	Region     string            `json:"region"`
	Name       string            `json:"name"`
	Attributes map[string]string `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	Last       uint64            `json:"last,omitempty"` // sequence number of a FIFO topic
}

type savedSubscription struct {
	ARN        string            `json:"arn"`
	Protocol   string            `json:"protocol"`
	Address    string            `json:"endpoint"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Token      string            `json:"token,omitempty"`
	Asked      int64             `json:"asked,omitempty"`
	Pending    bool              `json:"pending,omitempty"`
	Guarded    bool              `json:"guarded,omitempty"`
}

type savedDeletion struct {
	Region string `json:"region"`
	Name   string `json:"name"`
	At     int64  `json:"at"`
}

// nanos is a time as it is saved, 0 for none.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// save returns the records of a queue. Its lock burying is held.
func (q *queue) save() []record {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return nil
	}
	q.settle(q.clock.Now())
	head := &savedQueue{
		Region: q.key.region, Name: q.key.name, Attributes: q.set.text, Tags: maps.Clone(q.tags), Serial: q.serial,
		Created: q.created.UnixNano(), Modified: nanos(q.modified), Purged: nanos(q.purged), Last: q.last,
	}
	messages := make([]*message, 0, len(q.messages)+len(q.dead))
	for _, m := range q.messages {
		messages = append(messages, m)
	}
	for _, b := range q.dead { // which are neither here nor there
		messages = append(messages, b.message)
	}
	slices.SortFunc(messages, func(a, b *message) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	if q.fifo != nil {
		head.First = q.fifo.first
	}
	out := append(make([]record, 0, len(messages)+1), record{Queue: head})
	for _, m := range messages {
		out = append(out, record{Message: q.saveMessage(m)})
	}
	if q.fifo != nil {
		out = append(out, q.fifo.dedup.save()...)
	}
	return out
}

func (q *queue) saveMessage(m *message) *savedMessage {
	out := &savedMessage{
		Number: m.number, Shown: m.shown, ID: m.id, Body: m.body, Trace: m.trace, Group: m.group, Sender: m.sender,
		Source: m.source, Sent: m.sentAt.UnixNano(), State: m.state, First: m.firstReceived, Receives: m.receives, Receipt: m.receipt,
	}
	if m.state == gone {
		out.State = ready // it waits to be buried
	}
	if m.state == delayed || m.state == inFlight {
		out.Visible = q.created.Add(time.Duration(m.visibleAt)).UnixNano()
	}
	if m.receipt > 0 {
		out.Received = q.created.Add(time.Duration(m.receivedAt)).UnixNano()
	}
	if q.fifo != nil {
		out.Dedup = m.dedup
	}
	for name, a := range m.attrs {
		if out.Attrs == nil {
			out.Attrs = make(map[string]savedAttribute, len(m.attrs))
		}
		out.Attrs[name] = savedAttribute{a.dataType, []byte(a.value)}
	}
	return out
}

// save returns the records of what is remembered.
func (ds *dedups) save() []record {
	out := make([]record, len(ds.order))
	for i, d := range ds.order {
		out[i].Dedup = &savedDedup{nanos(d.at), d.group, d.id, d.message, d.sequence}
	}
	return out
}

// restore remembers what was saved.
func (ds *dedups) restore(saved *savedDedup, byGroup bool) {
	d := &dedup{at: fromNanos(saved.At), group: saved.Group, id: saved.ID, message: saved.Message, sequence: saved.Sequence}
	d.key = d.keyBy(byGroup)
	ds.add(d)
}

// save returns the records of a topic.
func (t *topic) save(now time.Time) []record {
	if t.fifo != nil {
		t.fifo.mu.Lock()
		defer t.fifo.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	head := &savedTopic{Region: t.key.region, Name: t.key.name, Attributes: maps.Clone(t.attrs), Tags: maps.Clone(t.tags)}
	out := []record{{Topic: head}}
	if t.fifo != nil {
		head.Last = t.fifo.last
		out = append(out, t.fifo.dedup.save()...)
	}
	for _, sub := range t.live(now) {
		sub.mu.Lock()
		out = append(out, record{Subscription: &savedSubscription{
			ARN: sub.arn, Protocol: sub.protocol, Address: sub.address, Attributes: sub.set.Load().text,
			Token: sub.token, Asked: nanos(sub.asked), Pending: sub.pending, Guarded: sub.guarded,
		}})
		sub.mu.Unlock()
	}
	return out
}

// savedError says which record cannot be restored.
func savedError(line int, format string, args ...any) error {
	return fmt.Errorf("emulator: restore: record %d: %w", line, fmt.Errorf(format, args...))
}

// restoreQueue makes the queue that was saved, without its messages.
func (s *Server) restoreQueue(saved *savedQueue) (*queue, error) {
	key := queueKey{saved.Region, saved.Name}
	set := defaultSettings()
	if saved.Attributes["FifoQueue"] == "true" {
		set = fifoDefaults()
	}
	set, err := set.with(saved.Attributes)
	if err != nil {
		return nil, fmt.Errorf("queue %q: %w", saved.Name, err)
	}
	q := newQueueAt(time.Unix(0, saved.Created), key, s.queueARN(key), set, maps.Clone(saved.Tags), s.clock)
	q.serial, q.last, q.modified, q.purged = saved.Serial, saved.Last, fromNanos(saved.Modified), fromNanos(saved.Purged)
	if q.fifo != nil {
		q.fifo.first = saved.First
	}
	if _, there := s.queues.LoadOrStore(key, q); there {
		return nil, fmt.Errorf("queue %q is there twice", saved.Name)
	}
	return q, nil
}

// restore puts messages back, whose numbers increase.
func (q *queue) restore(all []*savedMessage) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var shown []*message
	last := uint64(0)
	for _, saved := range all {
		if saved.Number <= last || saved.Number > q.last {
			return fmt.Errorf("message %s of queue %q has the number %d", saved.ID, q.key.name, saved.Number)
		}
		last = saved.Number
		m := q.restoreMessage(saved)
		switch saved.State {
		case ready:
			shown = append(shown, m)
		case delayed, inFlight:
			q.hide(m, saved.State, time.Unix(0, saved.Visible))
		default:
			return fmt.Errorf("message %s of queue %q is in no state", saved.ID, q.key.name)
		}
	}
	slices.SortStableFunc(shown, func(a, b *message) int {
		switch {
		case a.shown < b.shown:
			return -1
		case a.shown > b.shown:
			return 1
		}
		return 0
	})
	most := uint64(0)
	for _, m := range q.messages {
		most = max(most, m.shown)
	}
	for _, m := range shown {
		q.shown = max(m.shown, 1) - 1 // and show makes it what it was
		q.show(m)
	}
	q.shown = most
	return nil
}

func (q *queue) restoreMessage(saved *savedMessage) *message {
	attrs := make(map[string]attribute, len(saved.Attrs))
	for name, a := range saved.Attrs {
		attrs[name] = attribute{a.Type, string(a.Value)}
	}
	c := &content{
		id: saved.ID, body: saved.Body, bodyMD5: md5Hex(saved.Body), attrs: attrs, attrsMD5: md5OfAttributes(attrs),
		trace: saved.Trace, group: saved.Group, sender: saved.Sender, sentAt: time.Unix(0, saved.Sent),
	}
	if c.trace != "" {
		c.traceMD5 = md5OfAttributes(map[string]attribute{traceHeaderAttribute: {"String", c.trace}})
	}
	m := &message{
		content: c, number: saved.Number, shown: saved.Shown, firstReceived: saved.First, receives: saved.Receives,
		receipt: saved.Receipt, source: saved.Source,
	}
	if saved.Received != 0 {
		m.receivedAt = q.age(time.Unix(0, saved.Received))
	}
	switch {
	case q.fifo != nil:
		q.fifo.enter(m, saved.Dedup)
	case c.group != "":
		m.place = q.fair.enter(c.group)
	}
	q.messages[m.number] = m
	q.ages.push(m)
	return m
}

// restoreTopic makes the topic that was saved, without its subscriptions.
func (s *Server) restoreTopic(saved *savedTopic) (*topic, error) {
	key := topicKey{saved.Region, s.account, saved.Name}
	t, err := newTopic(key, saved.Attributes, maps.Clone(saved.Tags), s.clock.Now())
	if err != nil {
		return nil, fmt.Errorf("topic %q: %w", saved.Name, err)
	}
	if t.fifo != nil {
		t.fifo.last = saved.Last
	}
	if _, there := s.topics.LoadOrStore(key, t); there {
		return nil, fmt.Errorf("topic %q is there twice", saved.Name)
	}
	return t, nil
}

func (s *Server) restoreSubscription(t *topic, saved *savedSubscription) error {
	sub, err := s.newSubscription(t, saved.Protocol, saved.Address)
	if err != nil {
		return fmt.Errorf("subscription %s: %w", saved.ARN, err)
	}
	set, err := new(subscriptionSettings).with(saved.Attributes)
	if err != nil {
		return fmt.Errorf("subscription %s: %w", saved.ARN, err)
	}
	sub.arn, sub.token, sub.asked = saved.ARN, saved.Token, fromNanos(saved.Asked)
	sub.pending, sub.guarded = saved.Pending, saved.Guarded
	sub.set.Store(set)
	if _, err := s.join(t, sub, nil); err != nil {
		return fmt.Errorf("subscription %s: %w", saved.ARN, err)
	}
	return nil
}
