package emulator

import (
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// maxPublishSize bounds a message and a whole batch, attributes included: SNS API reference (Publish).
const maxPublishSize = 262_144

// publication is a message on its way to the subscriptions of a topic.
type publication struct {
	topic   *topic
	id      string
	subject string
	message string
	texts   map[string]string // by protocol, where the message has several
	attrs   map[string]attribute
	group   string

	// Of a FIFO topic.
	dedup    string
	sequence string
}

func (p *publication) size() int { return len(p.message) + attributesSize(p.attrs) }

// text returns the message for a protocol.
func (p *publication) text(protocol string) string {
	if p.texts == nil {
		return p.message
	}
	if text, ok := p.texts[protocol]; ok {
		return text
	}
	return p.texts["default"]
}

type publishOutput struct {
	MessageId      string
	SequenceNumber string `xml:",omitempty"`
}

func (s *Server) publish(c *call, f form) (*publishOutput, *Error) {
	arn := f.Get("TopicArn")
	if arn == "" {
		arn = f.Get("TargetArn")
	}
	if f.Get("PhoneNumber") != "" {
		return nil, errInvalidParameter("PhoneNumber: this server publishes to topics only")
	}
	t, err := s.topic(arn)
	if err != nil {
		return nil, err
	}
	p, err := f.publication("", t)
	if err != nil {
		return nil, err
	}
	if p.size() > maxPublishSize {
		return nil, errInvalidParameter("Message too long")
	}
	s.send(c, p)
	return &publishOutput{p.id, p.sequence}, nil
}

// publication reads and checks the message whose parameters start with prefix.
func (f form) publication(prefix string, t *topic) (*publication, *Error) {
	p := &publication{
		topic:   t,
		id:      uuid.NewString(),
		subject: f.Get(prefix + "Subject"),
		message: f.Get(prefix + "Message"),
		group:   f.Get(prefix + "MessageGroupId"),
	}
	switch {
	case p.message == "":
		return nil, errInvalidParameter("Empty message")
	case !validText(p.message):
		return nil, errInvalidParameter("Message Reason: Invalid characters")
	case f.Has(prefix+"Subject") && !validSubject(p.subject):
		return nil, errInvalidParameter("Subject")
	case p.group != "" && !validGroup(p.group):
		return nil, errInvalidParameter("MessageGroupId Reason: 1 to 128 alphanumeric and punctuation characters")
	}
	err := p.setDedup(f.Get(prefix + "MessageDeduplicationId"))
	if err != nil {
		return nil, err
	}
	switch structure := f.Get(prefix + "MessageStructure"); structure {
	case "":
	case "json":
		if p.texts, err = parseTexts(p.message); err != nil {
			return nil, err
		}
	default:
		return nil, errInvalidParameter("MessageStructure")
	}
	p.attrs, err = f.messageAttributes(prefix + "MessageAttributes.entry")
	return p, err
}

// validSubject reports whether s is UTF-8 of less than 100 characters without line breaks or control
// characters: SNS API reference (Publish).
func validSubject(s string) bool {
	if s == "" || utf8.RuneCountInString(s) > 100 || !validText(s) {
		return false
	}
	for _, r := range s {
		if r < ' ' || r == 0x7F {
			return false
		}
	}
	return true
}

// messageAttributes reads the attributes of a message to be published.
func (f form) messageAttributes(prefix string) (map[string]attribute, *Error) {
	out := make(map[string]attribute)
	for _, p := range f.list(prefix) {
		name := f.Get(p + ".Name")
		a := attribute{dataType: f.Get(p + ".Value.DataType"), value: f.Get(p + ".Value.StringValue")}
		if a.binary() {
			raw, err := base64.StdEncoding.DecodeString(f.Get(p + ".Value.BinaryValue"))
			if err != nil {
				return nil, errParameterValueInvalid("The message attribute '%s' holds no valid base64.", clip(name))
			}
			a.value = string(raw)
		}
		if fault := attributeFault(name, a); fault != "" {
			return nil, errParameterValueInvalid("%s", fault)
		}
		out[name] = a
	}
	return out, nil
}

func errParameterValueInvalid(format string, args ...any) *Error {
	err := errInvalidParameterValue(format, args...)
	err.QueryCode = "ParameterValueInvalid"
	return err
}

type publishBatchOutput struct {
	Successful []publishedEntry `xml:"Successful>member"`
	Failed     []failedEntry    `xml:"Failed>member"`
}

type publishedEntry struct {
	Id, MessageId  string
	SequenceNumber string `xml:",omitempty"`
}

type failedEntry struct {
	Id, Code, Message string
	SenderFault       bool
}

func (s *Server) publishBatch(c *call, f form) (*publishBatchOutput, *Error) {
	t, err := s.topic(f.Get("TopicArn"))
	if err != nil {
		return nil, err
	}
	prefixes := f.list("PublishBatchRequestEntries.member")
	ids := make([]string, len(prefixes))
	for i, p := range prefixes {
		ids[i] = f.Get(p + ".Id")
	}
	if err := batchFault("PublishBatch", ids); err != nil {
		err.QueryCode = strings.TrimPrefix(err.QueryCode, "AWS.SimpleQueueService.")
		return nil, err
	}
	out := new(publishBatchOutput)
	var good []*publication
	size := 0
	for i, prefix := range prefixes {
		p, err := f.publication(prefix+".", t)
		if err == nil && c.fault.FailEntry != nil {
			err = c.fault.FailEntry(Entry{ids[i], p.message})
		}
		if err != nil {
			out.Failed = append(out.Failed, failedEntry{ids[i], err.queryCode(), err.Message, !err.Receiver})
			continue
		}
		size += p.size()
		good = append(good, p)
		out.Successful = append(out.Successful, publishedEntry{Id: ids[i]})
	}
	if size > maxPublishSize {
		return nil, &Error{Code: "BatchRequestTooLong", Message: "The length of all the messages in the batch is more than the limit of 262144 bytes.", Status: http.StatusBadRequest}
	}
	for i, p := range good {
		s.send(c, p)
		out.Successful[i].MessageId, out.Successful[i].SequenceNumber = p.id, p.sequence
	}
	return out, nil
}
