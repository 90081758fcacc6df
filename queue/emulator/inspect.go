package emulator

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// inspectPath is where messages can be looked at without receiving them. LocalStack has it, too.
const inspectPath = "/_aws/sqs/messages"

// Bounds on one answer of the inspection.
const (
	maxInspected      = 1000
	maxInspectedBytes = 8 << 20
)

// inspected is a message as it is in its queue.
type inspected struct {
	delivery
	state     state
	visibleAt int64 // in milliseconds; of those that cannot be received
}

// inspection is what an inspection returns, in the form of ReceiveMessage's answer.
type inspection struct {
	messages []inspected
	next     string
}

// answerInspection shows the messages of the queue that QueueUrl names, those in flight too with
// ShowInvisible=true and delayed ones with ShowDelayed=true, in the order in which they came into the queue. It
// changes nothing, and is no operation of SQS: nothing is counted, and no fault applies.
func (s *Server) answerInspection(c *call, r *http.Request, body []byte) response {
	out, err := s.inspect(c, r, body)
	switch {
	case err != nil && acceptsJSON(r):
		return c.jsonError(err)
	case err != nil:
		return c.xmlError(err, sqsNamespace)
	case acceptsJSON(r):
		return c.jsonAnswer(out)
	}
	return c.xmlAnswer("ReceiveMessage", flatOutput{operation: "ReceiveMessage", text: encodeOutput(out)}, sqsNamespace)
}

func acceptsJSON(r *http.Request) bool { return r.Header.Get("Accept") == "application/json" }

func (s *Server) inspect(c *call, r *http.Request, body []byte) (*inspection, *Error) {
	f, err := parseForm(r, body)
	if err != nil {
		return nil, err
	}
	q, err := s.queue(c, queueRef{f.Get("QueueUrl")})
	if err != nil {
		return nil, err
	}
	most := maxInspected
	if text := f.Get("MaxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxInspected {
			return nil, errInvalidParameterValue("Value %s for parameter MaxResults is invalid. Reason: Must be between 1 and %d, if provided.", clip(text), maxInspected)
		}
		most = n
	}
	after := uint64(0)
	if token := f.Get("NextToken"); token != "" {
		text, err := base64.URLEncoding.DecodeString(token)
		if err == nil {
			after, err = strconv.ParseUint(string(text), 10, 64)
		}
		if err != nil {
			return nil, errInvalidParameterValue("Invalid NextToken value.")
		}
	}
	return q.inspect(after, most, f.Get("ShowInvisible") == "true", f.Get("ShowDelayed") == "true"), nil
}

// inspect returns up to most messages that came into the queue after the one of a number.
func (q *queue) inspect(after uint64, most int, hidden, later bool) *inspection {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(q.clock.Now())
	var numbers []uint64
	for n, m := range q.messages {
		if n > after && (m.state == ready || m.state == inFlight && hidden || m.state == delayed && later) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	out, size := new(inspection), 0
	for i, n := range numbers {
		m := q.messages[n]
		size += len(m.body) + attributesSize(m.attrs)
		if i > 0 && size > maxInspectedBytes || i == most {
			out.next = base64.URLEncoding.EncodeToString([]byte(strconv.FormatUint(numbers[i-1], 10)))
			break
		}
		seen := inspected{state: m.state, delivery: q.delivery(m)}
		if m.state != ready {
			seen.visibleAt = q.created.Add(time.Duration(m.visibleAt)).UnixMilli()
		}
		out.messages = append(out.messages, seen)
	}
	return out
}

func (o *inspection) appendJSON(dst []byte) []byte {
	all := receivedMessages{system: []string{"All"}, custom: []string{"All"}}
	dst = append(appendName(append(dst, '{'), "Messages"), '[')
	for i, m := range o.messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		dst = appendField(dst, "MessageId", m.id)
		dst = appendField(dst, "MD5OfBody", m.bodyMD5)
		dst = appendField(dst, "Body", m.body)
		dst = all.appendSystem(dst, m.delivery)
		dst = dst[:len(dst)-1] // the attributes go on
		dst = appendField(dst, "IsVisible", strconv.FormatBool(m.state != inFlight))
		dst = appendField(dst, "IsDelayed", strconv.FormatBool(m.state == delayed))
		if m.visibleAt != 0 {
			dst = appendField(dst, "VisibleTimestamp", strconv.FormatInt(m.visibleAt, 10))
		}
		dst = append(dst, '}')
		dst = all.appendCustom(dst, m.delivery)
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	if o.next != "" {
		dst = appendField(dst, "NextToken", o.next)
	}
	return append(dst, '}')
}
