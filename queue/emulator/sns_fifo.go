package emulator

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fifoTopicSettings are the attributes that FIFO topics have besides the others, with their values, the default
// first: SNS API reference (CreateTopic).
var fifoTopicSettings = map[string][]string{
	"FifoTopic":                 {"true"},
	"ContentBasedDeduplication": {"false", "true"},
	"FifoThroughputScope":       {"Topic", "MessageGroup"},
}

// fifoTopic is what a FIFO topic keeps of its publications.
type fifoTopic struct {
	mu    sync.Mutex // held while a publication is delivered, so that all queues get all in one order
	dedup dedups
	last  uint64 // the latest sequence number
}

// newFIFOTopic returns the state of a topic made now, and gives the topic its attributes.
func newFIFOTopic(attrs map[string]string, now time.Time) *fifoTopic {
	for name, values := range fifoTopicSettings {
		attrs[name] = values[0]
	}
	return &fifoTopic{last: 10_000_000_000_000_000_000 + uint64(max(now.UnixNano(), 0))}
}

// fifoFault tells what is wrong with an attribute of FIFO topics.
func (t *topic) fifoFault(name, value string, values []string) *Error {
	switch {
	case t.fifo == nil && name == "FifoTopic" && value == "false":
		return nil
	case t.fifo == nil:
		return errInvalidParameter("%s Reason: only FIFO topics have it", name)
	case !slices.Contains(values, value):
		return errInvalidParameter("%s Reason: must be %s, not %s", name, strings.Join(values, " or "), clip(value))
	}
	return nil
}

// attribute returns an attribute of the topic.
func (t *topic) attribute(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attrs[name]
}

// setDedup checks the deduplication id of a publication, and makes one of its message where the topic says so.
func (p *publication) setDedup(id string) *Error {
	switch {
	case p.topic.fifo == nil && id == "":
		return nil
	case p.topic.fifo == nil:
		return errInvalidParameter("MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type")
	case p.group == "":
		return errInvalidParameter("The MessageGroupId parameter is required for FIFO topics")
	case id != "" && !validGroup(id):
		return errInvalidParameter("MessageDeduplicationId Reason: 1 to 128 alphanumeric and punctuation characters")
	case id == "" && p.topic.attribute("ContentBasedDeduplication") != "true":
		return errInvalidParameter("The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
	}
	if p.dedup = id; id == "" {
		sum := sha256.Sum256([]byte(p.message))
		p.dedup = hex.EncodeToString(sum[:])
	}
	return nil
}

// send delivers a publication, and gives one of a FIFO topic its number. A duplicate is told what the first was,
// and not delivered.
func (s *Server) send(c *call, p *publication) {
	f := p.topic.fifo
	if f == nil {
		s.deliver(c, p)
		return
	}
	byGroup := p.topic.attribute("FifoThroughputScope") == "MessageGroup"
	f.mu.Lock()
	defer f.mu.Unlock()
	now := s.clock.Now()
	f.dedup.forget(now)
	d := &dedup{at: now, group: p.group, id: p.dedup, message: p.id}
	d.key = d.keyBy(byGroup)
	if first := f.dedup.known[d.key]; first != nil {
		p.id, p.sequence = first.message, first.sequence
		return
	}
	f.last++
	d.sequence = strconv.FormatUint(f.last, 10)
	p.sequence = d.sequence
	f.dedup.add(d)
	s.deliver(c, p)
}
