package queue

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// A RawMessage is a message as SQS has it, with everything that it takes to
// send it again just as it is.
type RawMessage struct {
	// ID is SQS's id of the message, Receipt what its receiver holds it by.
	// Both are empty before the message is sent and received.
	ID, Receipt string

	// Body and Attributes are the message.
	Body       string
	Attributes map[string]RawAttribute

	// Group and Deduplication are the message group id and the deduplication
	// id. Trace is the X-Ray trace header.
	Group, Deduplication, Trace string

	// Sequence is the sequence number that a FIFO queue gave the message: of two
	// of a group, the longer one, or else the greater one, is the later. It is not
	// sent.
	Sequence string

	// ReceiveCount, SentAt and FirstReceivedAt are as in a [Delivery].
	ReceiveCount            int
	SentAt, FirstReceivedAt time.Time

	// DeadLetterSource is the ARN of the queue from which SQS itself moved the
	// message here.
	DeadLetterSource string
}

// A RawAttribute is a message attribute. The Value of a Binary one is its
// bytes.
type RawAttribute struct {
	Type, Value string
}

// Size returns how many bytes of the queue's size limit the message takes.
func (m RawMessage) Size() int { return m.wire().size() }

func (m RawMessage) wire() wireMessage {
	w := wireMessage{body: m.Body, attributes: make(attributes, 0, len(m.Attributes)+1)}
	for name, a := range m.Attributes {
		w.attributes.add(name, attribute{a.Type, a.Value})
	}
	return w
}

func (m *RawMessage) setWire(w wireMessage) {
	m.Body, m.Attributes = w.body, make(map[string]RawAttribute, len(w.attributes))
	for _, a := range w.attributes {
		m.Attributes[a.name] = RawAttribute{a.dataType, a.value}
	}
}

// Decode returns the message as a [Subscriber] would deliver it, and what is
// wrong with it: an error that matches [ErrUndecodable] comes with a message
// that has the body as it is. So does a message whose payload is in a
// [PayloadStore]: none is fetched. Its context carries no [Delivery].
func (m RawMessage) Decode() (*message.Message, error) {
	var d Delivery
	d.MessageID = m.ID
	msg := readMessage(m.received(), &d, nil)
	return msg, d.Undecodable
}

// received returns the message as the SDK would.
func (m RawMessage) received() sqstypes.Message {
	return sqstypes.Message{
		MessageId:         aws.String(m.ID),
		Body:              aws.String(m.Body),
		MessageAttributes: sqsAttributes(m.wire().attributes),
		Attributes: map[string]string{
			string(sqstypes.MessageSystemAttributeNameMessageGroupId):         m.Group,
			string(sqstypes.MessageSystemAttributeNameMessageDeduplicationId): m.Deduplication,
		},
	}
}

// Enveloped reports whether the body is SNS's envelope of a message, which can
// have no attributes of its own.
func (m RawMessage) Enveloped() bool {
	_, _, ok, _ := openEnvelope(m.wire())
	return ok
}

// Edited returns the message with the body and metadata of msg, encoded as a
// [Publisher] does for the queue q. The rest is as it was.
func (m RawMessage) Edited(msg *message.Message, q *Queue) (RawMessage, error) {
	// What gets its name back (see Restored) must be an attribute for that.
	pinned := append(pinnedKeys(q.Endpoint), KeyRawEncoding, KeyRawMetadata)
	w, err := encodeCarrying(msg, pinned, m.carriedBy(msg))
	return m.rewired(msg, w, err)
}

// carriedBy returns what a tracer had the message carry, as far as msg has it.
func (m RawMessage) carriedBy(msg *message.Message) map[string]string {
	e := editor{w: m.wire()}
	e.open()
	carrier := e.packed.carried()
	maps.DeleteFunc(carrier, func(key, _ string) bool { _, kept := msg.Metadata[key]; return !kept })
	return carrier
}

// rewired returns the message with the wire form of msg.
func (m RawMessage) rewired(msg *message.Message, w wireMessage, err error) (RawMessage, error) {
	if err != nil {
		return RawMessage{}, err
	}
	m.setWire(w)
	m.Group = msg.Metadata.Get(KeyGroup)
	return m, nil
}

// WithMetadata returns the message with some metadata set, where the value is
// not empty, or removed; body and all other attributes stay as they are. What
// is set becomes an attribute where there is room, and else goes to the packed
// ones where the message has them. It returns the keys that have no room: ten
// attributes are the most that SQS allows, and those of a message that Waybill
// did not write are not touched. An envelope of SNS's is returned as it is.
//
// The key [AttrUUID] sets the message's UUID.
func (m RawMessage) WithMetadata(changes map[string]string) (RawMessage, []string) {
	keys := slices.Sorted(maps.Keys(changes))
	if i := slices.Index(keys, AttrUUID); i > 0 {
		// It cannot be packed, so it is the first to take the room.
		keys = slices.Insert(slices.Delete(keys, i, i+1), 0, AttrUUID)
	}
	if m.Enveloped() {
		return m, slices.DeleteFunc(keys, func(key string) bool { return changes[key] == "" })
	}
	e := editor{w: m.wire()}
	e.open()
	for _, key := range keys {
		e.remove(key)
	}
	for _, key := range keys {
		if changes[key] != "" {
			e.set(key, changes[key])
		}
	}
	e.close()
	m.setWire(e.w)
	return m, e.left
}

// An editor changes the metadata of a message on the wire.
type editor struct {
	w      wireMessage
	packed *packed // nil if there is none, or none that can be read
	left   []string
}

func (e *editor) open() {
	if !e.w.attributes.has(AttrMetadata) {
		return
	}
	p, err := unpack(e.w)
	if err != nil {
		return
	}
	binary := p.Binary
	p.Binary = nil
	for key, value := range binary {
		setIn(&p.Binary, encode64(key), encode64(value))
	}
	e.packed = &p
}

func (e *editor) remove(key string) {
	e.w.attributes.remove(key)
	if e.packed != nil {
		delete(e.packed.Text, key)
		delete(e.packed.Binary, encode64(key))
		delete(e.packed.Types, key)
	}
}

func (e *editor) set(key, value string) {
	switch {
	case len(e.w.attributes) < maxAttributes:
		e.w.attributes.set(key, attribute{typeString, value})
	case key == AttrUUID:
		e.left = append(e.left, key)
	case e.packed != nil || e.makeRoom():
		setIn(&e.packed.Text, key, value)
	default:
		e.left = append(e.left, key)
	}
}

// makeRoom packs an attribute of Waybill's own, so that the packed ones have an
// attribute.
func (e *editor) makeRoom() bool {
	if e.w.attributes.has(AttrMetadata) {
		return false // it cannot be read
	}
	byName := slices.SortedFunc(slices.Values(e.w.attributes), func(a, b namedAttribute) int { return strings.Compare(a.name, b.name) })
	for _, a := range byName {
		if strings.HasPrefix(a.name, reservedPrefix) && a.name != AttrEncoding && a.dataType == typeString {
			e.w.attributes.remove(a.name)
			e.w.attributes.set(AttrMetadata, attribute{}) // keeps the place; see close
			e.packed = &packed{Version: packedVersion, Text: map[string]string{a.name: a.value}}
			return true
		}
	}
	return false
}

func (e *editor) close() {
	if e.packed == nil {
		return
	}
	e.w.attributes.remove(AttrMetadata)
	if len(e.packed.Text)+len(e.packed.Binary) == 0 {
		return
	}
	e.packed.Version = packedVersion
	text, err := marshalJSON(e.packed)
	if err != nil {
		return // maps of strings always encode
	}
	e.w.attributes.set(AttrMetadata, attribute{typeString, text})
}
