package dlq

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/queue"
)

// ExportVersion is the version of the format that [Client.Export] writes. The
// documentation of the package describes it.
const ExportVersion = 1

// MaxLine bounds a line of an export, in bytes: what the largest message of SQS
// takes, with everything in it escaped.
const MaxLine = 16 << 20

// Bounds of SQS, which no line exceeds.
const (
	maxLineMessage    = 1 << 20
	maxLineAttributes = 10
	maxLineName       = 256
	maxLineID         = 512
)

// The encodings of bodies and of the values of attributes.
const (
	encodingText   = "text"
	encodingBase64 = "base64"
)

// An exportLine is a message as a line of an export has it. Its order is what a
// person looks for first.
type exportLine struct {
	Version int    `json:"v"`
	Queue   string `json:"queue,omitempty"` // that it was in

	ID        string          `json:"id"`         // by which its receivers know it
	MessageID string          `json:"message_id"` // SQS's
	Source    string          `json:"source,omitempty"`
	Failure   json.RawMessage `json:"failure,omitempty"` // for readers: it is one of the attributes

	Encoding   string                   `json:"encoding"`
	Body       string                   `json:"body"`
	Attributes map[string]lineAttribute `json:"attributes"`

	Group         string `json:"group,omitempty"`
	Deduplication string `json:"deduplication_id,omitempty"`
	Sequence      string `json:"sequence,omitempty"` // SequenceNumber
	Trace         string `json:"trace,omitempty"`    // AWSTraceHeader

	ReceiveCount     int    `json:"receive_count"`
	SentAt           string `json:"sent_at,omitempty"` // times are RFC 3339
	FirstReceivedAt  string `json:"first_received_at,omitempty"`
	DeadLetterSource string `json:"dead_letter_source,omitempty"` // the ARN that SQS noted
}

type lineAttribute struct {
	Type     string `json:"type"`
	Encoding string `json:"encoding"`
	Value    string `json:"value"`
}

// encodeLine returns a letter as a line, with its end.
func encodeLine(queueName string, l *Letter) ([]byte, error) {
	raw := l.raw
	x := exportLine{
		Version: ExportVersion, Queue: queueName,
		ID: l.ID, MessageID: raw.ID, Source: l.Source, Failure: failureText(l),
		Attributes: make(map[string]lineAttribute, len(raw.Attributes)),
		Group:      raw.Group, Deduplication: raw.Deduplication, Sequence: raw.Sequence, Trace: raw.Trace,
		ReceiveCount: raw.ReceiveCount, SentAt: timeText(raw.SentAt), FirstReceivedAt: timeText(raw.FirstReceivedAt),
		DeadLetterSource: raw.DeadLetterSource,
	}
	x.Encoding, x.Body = encodeText(raw.Body, false)
	for name, a := range raw.Attributes {
		encoding, value := encodeText(a.Value, binaryType(a.Type))
		x.Attributes[name] = lineAttribute{a.Type, encoding, value}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(x); err != nil {
		return nil, fmt.Errorf("message %s: %w", raw.ID, err)
	}
	if text.Len() > MaxLine {
		return nil, fmt.Errorf("message %s: its line has %d bytes, and the limit is %d", raw.ID, text.Len(), MaxLine)
	}
	return text.Bytes(), nil
}

func encodeText(value string, binary bool) (encoding, text string) {
	if binary || !utf8.ValidString(value) {
		return encodingBase64, base64.StdEncoding.EncodeToString([]byte(value))
	}
	return encodingText, value
}

// timeText is a time as lines have it; the zero time is none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func readTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("it is %.40q, want a time such as 2026-01-02T03:04:05.006Z", text)
	}
	return t.UTC(), nil
}

func binaryType(dataType string) bool {
	base, _, _ := strings.Cut(dataType, ".")
	return base == "Binary"
}

// failureText returns the record of a failure as the message has it: as JSON, or
// as a string of JSON where it is none.
func failureText(l *Letter) json.RawMessage {
	text := l.Metadata.Get(queue.KeyFailure)
	switch {
	case text == "":
		return nil
	case json.Valid([]byte(text)) && utf8.ValidString(text):
		return json.RawMessage(text)
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return nil // strings always encode
	}
	return quoted
}

// A fieldError says what is wrong with a field of a line.
type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string { return e.field + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

func badField(field, format string, args ...any) error {
	return &fieldError{field, fmt.Errorf(format, args...)}
}

// decodeLine reads a line. Where the error is of one field it is a fieldError.
func decodeLine(text []byte) (*exportLine, queue.RawMessage, error) {
	var x exportLine
	if err := unmarshalLine(text, &x); err != nil {
		return nil, queue.RawMessage{}, err
	}
	if err := x.check(); err != nil {
		return nil, queue.RawMessage{}, err
	}
	raw := queue.RawMessage{
		ID: x.MessageID, Attributes: make(map[string]queue.RawAttribute, len(x.Attributes)),
		Group: x.Group, Deduplication: x.Deduplication, Sequence: x.Sequence, Trace: x.Trace,
		ReceiveCount: x.ReceiveCount, DeadLetterSource: x.DeadLetterSource,
	}
	var err error
	if raw.SentAt, err = readTime(x.SentAt); err != nil {
		return nil, queue.RawMessage{}, &fieldError{"sent_at", err}
	}
	if raw.FirstReceivedAt, err = readTime(x.FirstReceivedAt); err != nil {
		return nil, queue.RawMessage{}, &fieldError{"first_received_at", err}
	}
	if raw.Body, err = decodeText(x.Encoding, x.Body); err != nil {
		return nil, queue.RawMessage{}, &fieldError{"body", err}
	}
	for _, name := range slices.Sorted(maps.Keys(x.Attributes)) {
		a, err := x.Attributes[name].decode()
		if err != nil {
			return nil, queue.RawMessage{}, &fieldError{"attributes." + name, err}
		}
		raw.Attributes[name] = a
	}
	if n := raw.Size(); n > maxLineMessage {
		return nil, queue.RawMessage{}, badField("body", "it has %d bytes with its attributes, and SQS takes %d", n, maxLineMessage)
	}
	return &x, raw, nil
}

// unmarshalLine decodes one JSON value that has the fields of a line, and no
// others: one that is misspelt would be lost.
func unmarshalLine(text []byte, x *exportLine) error {
	switch {
	case len(text) > MaxLine:
		return fmt.Errorf("it has %d bytes, and the limit is %d", len(text), MaxLine)
	case !utf8.Valid(text):
		return errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(x)
	var wrongType *json.UnmarshalTypeError
	var unknown string
	switch {
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return badField(wrongType.Field, "it is a JSON %s, want a %s", wrongType.Value, wrongType.Type)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it is cut off")
	case err != nil:
		if _, scanErr := fmt.Sscanf(err.Error(), "json: unknown field %q", &unknown); scanErr == nil {
			if x.Version > ExportVersion {
				break // that says more
			}
			return badField(unknown, "there is no such field")
		}
		return fmt.Errorf("it is not a message in JSON: %w", err)
	}
	switch {
	case x.Version == 0:
		return badField("v", "it is missing, want %d: this is no line of an export", ExportVersion)
	case x.Version != ExportVersion:
		return badField("v", "it is %d, and this release reads %d", x.Version, ExportVersion)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the message; want one on each line")
	}
	return nil
}

// check tells which field SQS would not take, or an import could not use.
func (x *exportLine) check() error {
	for _, f := range []struct {
		name, value string
		limit       int
		required    bool
	}{
		{"message_id", x.MessageID, maxLineID, true},
		{"id", x.ID, maxLineMessage, false},
		{"body", x.Body, MaxLine, true},
		{"group", x.Group, 128, false},
		{"deduplication_id", x.Deduplication, 128, false},
		{"sequence", x.Sequence, 128, false},
		{"trace", x.Trace, 1024, false},
		{"dead_letter_source", x.DeadLetterSource, 2048, false},
	} {
		switch {
		case f.required && f.value == "":
			return badField(f.name, "it is missing or empty")
		case len(f.value) > f.limit:
			return badField(f.name, "it has %d bytes, and the limit is %d", len(f.value), f.limit)
		}
	}
	switch {
	case x.ReceiveCount < 0:
		return badField("receive_count", "it is %d, want 0 or more", x.ReceiveCount)
	case len(x.Attributes) > maxLineAttributes:
		return badField("attributes", "there are %d, and SQS takes %d", len(x.Attributes), maxLineAttributes)
	}
	for _, name := range slices.Sorted(maps.Keys(x.Attributes)) {
		if name == "" || len(name) > maxLineName {
			return badField("attributes", "a name has %d bytes, want 1 to %d", len(name), maxLineName)
		}
	}
	return nil
}

var lineType = regexp.MustCompile(`^(String|Number|Binary)(\..{1,256})?$`)

func (a lineAttribute) decode() (queue.RawAttribute, error) {
	switch {
	case !lineType.MatchString(a.Type):
		return queue.RawAttribute{}, badField("type", "it is %.40q, want String, Number or Binary, or one of these with a dot and a label", a.Type)
	case binaryType(a.Type) && a.Encoding != encodingBase64:
		return queue.RawAttribute{}, badField("encoding", "it is %.40q, want %q for Binary", a.Encoding, encodingBase64)
	case a.Value == "":
		return queue.RawAttribute{}, badField("value", "it is missing or empty")
	}
	value, err := decodeText(a.Encoding, a.Value)
	if err != nil {
		return queue.RawAttribute{}, &fieldError{"value", err}
	}
	return queue.RawAttribute{Type: a.Type, Value: value}, nil
}

func decodeText(encoding, text string) (string, error) {
	switch encoding {
	case encodingText:
		return text, nil
	case encodingBase64:
		value, err := base64.StdEncoding.Strict().DecodeString(text)
		if err == nil && len(value) == 0 {
			err = errors.New("it is empty")
		}
		return string(value), err
	}
	return "", fmt.Errorf("its encoding is %.40q, want %q or %q", encoding, encodingText, encodingBase64)
}
