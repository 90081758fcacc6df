package emulator

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// wireAttribute is a message attribute as requests carry it.
type wireAttribute struct {
	DataType         string
	StringValue      *string
	BinaryValue      []byte
	StringListValues []string
	BinaryListValues [][]byte
}

func (a wireAttribute) attribute() attribute {
	out := attribute{dataType: a.DataType}
	if out.binary() {
		out.value = string(a.BinaryValue)
	} else if a.StringValue != nil {
		out.value = *a.StringValue
	}
	return out
}

func fromWire(in map[string]wireAttribute) map[string]attribute {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]attribute, len(in))
	for name, a := range in {
		out[name] = a.attribute()
	}
	return out
}

// outgoing is what SendMessage and an entry of SendMessageBatch have in common.
type outgoing struct {
	MessageBody             string
	DelaySeconds            *int
	MessageAttributes       map[string]wireAttribute
	MessageSystemAttributes map[string]wireAttribute
	MessageDeduplicationId  string
	MessageGroupId          string
}

// size is what the message counts for: body and attributes, as the SQS developer guide has it.
func (o *outgoing) size() int {
	size := len(o.MessageBody)
	for name, a := range o.MessageAttributes {
		size += len(name) + len(a.DataType) + len(a.attribute().value)
	}
	return size
}

// hasLists reports whether an attribute has the values that the API reserves for later (SQS API reference,
// MessageAttributeValue).
func (o *outgoing) hasLists() bool {
	for _, a := range o.MessageAttributes {
		if len(a.StringListValues) > 0 || len(a.BinaryListValues) > 0 {
			return true
		}
	}
	return false
}

// message checks what is to be sent to a queue with these settings, and makes a message of it.
func (s *Server) message(o *outgoing, set settings, now time.Time) (arrival, *Error) {
	if o.MessageBody == "" {
		return arrival{}, errMissingParameter("MessageBody")
	}
	if o.hasLists() {
		return arrival{}, errUnsupported("Message attribute list values in SendMessage operation are not supported.")
	}
	attrs := fromWire(o.MessageAttributes)
	if fault := attributesFault(attrs); fault != "" {
		return arrival{}, errInvalidParameterValue("%s", fault)
	}
	if o.size() > set.maxSize {
		return arrival{}, errInvalidParameterValue("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", set.maxSize)
	}
	if !validText(o.MessageBody) {
		return arrival{}, errInvalidMessageContents()
	}
	var dedup string
	if set.fifo {
		if err := o.fifoFault(set); err != nil {
			return arrival{}, err
		}
		dedup = o.dedupID()
	} else if o.MessageDeduplicationId != "" {
		return arrival{}, errInvalidParameterValue("Value %s for parameter MessageDeduplicationId is invalid. Reason: The request includes a parameter that is not valid for this queue type.", clip(o.MessageDeduplicationId))
	}
	if g := o.MessageGroupId; g != "" && !validGroup(g) {
		return arrival{}, errInvalidToken("MessageGroupId", g)
	}
	delay := set.delay
	if o.DelaySeconds != nil && !set.fifo {
		if *o.DelaySeconds < 0 || *o.DelaySeconds > 900 {
			return arrival{}, errInvalidParameterValue("Value %d for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.", *o.DelaySeconds)
		}
		delay = time.Duration(*o.DelaySeconds) * time.Second
	}
	system := fromWire(o.MessageSystemAttributes)
	trace, err := traceHeader(system)
	if err != nil {
		return arrival{}, err
	}
	return arrival{delay: delay, dedup: dedup, message: &message{content: &content{
		id:       uuid.NewString(),
		body:     o.MessageBody,
		bodyMD5:  md5Hex(o.MessageBody),
		attrs:    attrs,
		attrsMD5: md5OfAttributes(attrs),
		trace:    trace,
		traceMD5: md5OfAttributes(system),
		group:    o.MessageGroupId,
		sender:   s.account,
		sentAt:   now,
	}}}, nil
}

// traceHeader returns the one system attribute that may be sent: SQS API reference (SendMessage).
func traceHeader(system map[string]attribute) (string, *Error) {
	for name, a := range system {
		switch {
		case name != traceHeaderAttribute:
			return "", errInvalidParameterValue("Message system attribute name '%s' is invalid.", clip(name))
		case a.dataType != "String":
			return "", errInvalidParameterValue("The message system attribute 'AWSTraceHeader' must have the type String.")
		case a.value == "":
			return "", errInvalidParameterValue("The message system attribute 'AWSTraceHeader' must not be empty.")
		}
	}
	return system[traceHeaderAttribute].value, nil
}

// validGroup reports whether g is 1 to 128 alphanumeric and punctuation characters of ASCII, as the ids of
// groups, deduplication and receive attempts are.
func validGroup(g string) bool {
	for i := range len(g) {
		if g[i] <= ' ' || g[i] > '~' {
			return false
		}
	}
	return len(g) > 0 && len(g) <= 128
}

// settings returns the queue's settings as they stand now.
func (q *queue) settings() settings {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.set
}

type sendMessageInput struct {
	queueRef
	outgoing
}

// sentMessage is what a sender is told.
type sentMessage struct {
	*content
	sequence string // of a FIFO queue
}

func (o sentMessage) appendJSON(dst []byte) []byte {
	return append(o.appendFields(append(dst, '{')), '}')
}

func (o sentMessage) appendFields(dst []byte) []byte {
	dst = appendField(dst, "MessageId", o.id)
	dst = appendField(dst, "MD5OfMessageBody", o.bodyMD5)
	if o.attrsMD5 != "" {
		dst = appendField(dst, "MD5OfMessageAttributes", o.attrsMD5)
	}
	if o.traceMD5 != "" {
		dst = appendField(dst, "MD5OfMessageSystemAttributes", o.traceMD5)
	}
	if o.sequence != "" {
		dst = appendField(dst, "SequenceNumber", o.sequence)
	}
	return dst
}

func (s *Server) sendMessage(c *call, in *sendMessageInput) (sentMessage, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return sentMessage{}, err
	}
	a, err := s.message(&in.outgoing, q.settings(), s.clock.Now())
	if err != nil {
		return sentMessage{}, err
	}
	arrivals := []arrival{a}
	if !q.add(arrivals...) {
		return sentMessage{}, errQueueDoesNotExist()
	}
	return sentMessage{arrivals[0].sent, arrivals[0].sequence}, nil
}

type receiveMessageInput struct {
	queueRef
	AttributeNames              []string
	MessageAttributeNames       []string
	MessageSystemAttributeNames []string
	MaxNumberOfMessages         *int
	ReceiveRequestAttemptId     string
	VisibilityTimeout           *int
	WaitTimeSeconds             *int
}

func (s *Server) receiveMessage(c *call, in *receiveMessageInput) (*receivedMessages, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nil, err
	}
	opts := receiveOptions{max: 1, wait: -1, visibility: -1, twice: c.fault.Twice, lookup: s.lookupARN, buried: s.changed}
	if in.MaxNumberOfMessages != nil {
		opts.max = *in.MaxNumberOfMessages
	}
	if opts.max < 1 || opts.max > 10 {
		return nil, errInvalidParameterValue("Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.", opts.max)
	}
	if w := in.WaitTimeSeconds; w != nil {
		if *w < 0 || *w > 20 {
			return nil, errInvalidParameterValue("Value %d for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.", *w)
		}
		opts.wait = time.Duration(*w) * time.Second
	}
	if v := in.VisibilityTimeout; v != nil {
		if err := visibilityFault(*v); err != nil {
			return nil, err
		}
		opts.visibility = time.Duration(*v) * time.Second
	}
	if opts.attempt = in.ReceiveRequestAttemptId; opts.attempt != "" {
		switch {
		case q.fifo == nil:
			return nil, errInvalidParameterValue("Value %s for parameter ReceiveRequestAttemptId is invalid. Reason: The request include parameter that is not valid for this queue type.", clip(opts.attempt))
		case !validGroup(opts.attempt):
			return nil, errInvalidToken("ReceiveRequestAttemptId", opts.attempt)
		}
	}
	for _, names := range [][]string{in.AttributeNames, in.MessageSystemAttributeNames} {
		for _, name := range names {
			if !slices.Contains(systemAttributes, name) {
				return nil, errInvalidAttributeName(clip(name))
			}
		}
	}
	out := &receivedMessages{system: slices.Concat(in.AttributeNames, in.MessageSystemAttributeNames), custom: in.MessageAttributeNames}
	out.messages, err = q.receive(c.ctx, opts)
	return out, err
}

func visibilityFault(v int) *Error {
	if v < 0 || v > 43_200 {
		return errInvalidParameterValue("Value %d for parameter VisibilityTimeout is invalid. Reason: Must be >= 0 and <= 43200, if provided.", v)
	}
	return nil
}

type deleteMessageInput struct {
	queueRef
	ReceiptHandle string
}

func (s *Server) deleteMessage(c *call, in *deleteMessageInput) (nothing, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, q.deleteOne(in.ReceiptHandle)
}

func (q *queue) deleteOne(handle string) *Error {
	if handle == "" {
		return errMissingParameter("ReceiptHandle")
	}
	return q.delete(handle)
}

type changeMessageVisibilityInput struct {
	queueRef
	ReceiptHandle     string
	VisibilityTimeout *int
}

func (s *Server) changeMessageVisibility(c *call, in *changeMessageVisibilityInput) (nothing, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, q.changeOne(in.ReceiptHandle, in.VisibilityTimeout)
}

func (q *queue) changeOne(handle string, seconds *int) *Error {
	switch {
	case handle == "":
		return errMissingParameter("ReceiptHandle")
	case seconds == nil:
		return errMissingParameter("VisibilityTimeout")
	}
	if err := visibilityFault(*seconds); err != nil {
		return err
	}
	return q.changeVisibility(handle, time.Duration(*seconds)*time.Second)
}

// sortedNames returns the names of attributes in order, so that answers are stable.
func sortedNames(attrs map[string]attribute) []string { return slices.Sorted(maps.Keys(attrs)) }
