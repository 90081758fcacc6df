package dlq

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/queue"
)

// A Dimension is what [Client.Groups] groups messages by.
type Dimension string

const (
	// ByReason: the reason on record, such as "permanent"; "unrecorded" where
	// there is no record, and "unreadable" where it cannot be read, or the
	// message cannot.
	ByReason Dimension = "reason"

	// ByFilter: the filter of the pipeline, or the handler, that failed.
	ByFilter Dimension = "filter"

	// ByType: the Go type of the error: the first of the recorded chain that
	// says more than that it wraps another, or else the last.
	ByType Dimension = "type"

	// ByFrame: where it failed. Of a panic the function, the file and the line;
	// of another error its text, that of the link which gives ByType. Words
	// with digits in them, which are ids mostly, are a #; the status codes of
	// HTTP stay.
	ByFrame Dimension = "frame"

	// ByHour: the hour of [Letter.FailedAt], in UTC.
	ByHour Dimension = "hour"

	// BySource: the name of the queue that the message came from.
	BySource Dimension = "source"

	// ByAttributes: the names of its metadata, sorted, without those of
	// Waybill's own.
	ByAttributes Dimension = "attributes"

	// ByBody: the shape of the body: the fields of an object with their types,
	// as in {amount: number, fare: string}; the type of other JSON; "text",
	// "binary", "empty", or "stored" for a payload in a store.
	ByBody Dimension = "body"
)

var dimensions = []Dimension{ByReason, ByFilter, ByType, ByFrame, ByHour, BySource, ByAttributes, ByBody}

// Dimensions returns all dimensions.
func Dimensions() []Dimension { return slices.Clone(dimensions) }

// What tells causes apart, of messages with a record of their failure and
// without.
var (
	byRecord  = []Dimension{ByReason, ByFilter, ByType, ByFrame, ByHour}
	byAllElse = []Dimension{ByReason, ByHour, BySource, ByAttributes, ByBody}
)

func dimensionNames() string {
	var names []string
	for _, d := range dimensions {
		names = append(names, string(d))
	}
	return strings.Join(names, ", ")
}

// of returns what a dimension tells of a letter.
func (d Dimension) of(l *Letter) string {
	var text string
	switch d {
	case ByReason:
		text = reasonOf(l)
	case ByFilter:
		if l.Failure != nil {
			text = l.Failure.Filter
		}
	case ByType:
		text, _ = telling(l.Failure)
	case ByFrame:
		text = frameOf(l)
	case ByHour:
		if at := l.FailedAt(); !at.IsZero() {
			text = at.UTC().Truncate(time.Hour).Format(time.RFC3339)
		}
	case BySource:
		if text = queue.QueueName(l.Source); text == "" {
			text = l.Source
		}
	case ByAttributes:
		text = attributeNames(l)
	case ByBody:
		text = shape(l)
	}
	return cut(strings.ToValidUTF8(text, string(utf8.RuneError)))
}

// maxValue is how many characters the value of a dimension has at most.
const maxValue = 200

func cut(text string) string {
	if utf8.RuneCountInString(text) <= maxValue {
		return text
	}
	return string([]rune(text)[:maxValue-3]) + "..."
}

func reasonOf(l *Letter) string {
	switch {
	case l.Failure != nil:
		return string(l.Failure.Reason)
	case l.Problem != nil && !l.Stored:
		return "unreadable"
	}
	return "unrecorded"
}

// wrappers are the types of errors that say no more than what they wrap, or
// than their text.
var wrappers = map[string]bool{
	"*fmt.wrapError": true, "*fmt.wrapErrors": true, "*errors.joinError": true, "*errors.errorString": true,
	"*pipeline.permanentError": true, "*pipeline.retryAfterError": true, "*backoff.PermanentError": true, "*backoff.RetryAfterError": true,
}

// telling returns the type and the text of the error of a chain that tells most.
func telling(f *queue.Failure) (kind, text string) {
	if f == nil {
		return "", ""
	}
	for _, link := range f.Chain {
		var ok bool
		if kind, text, ok = strings.Cut(link, ": "); ok && !wrappers[kind] {
			break
		}
	}
	return kind, text
}

func frameOf(l *Letter) string {
	switch {
	case l.Failure == nil && l.Problem != nil && !l.Stored:
		return alike(l.Problem.Error())
	case l.Failure == nil:
		return ""
	}
	if frame := panicFrame(l.Failure.Stack); frame != "" {
		return frame
	}
	_, text := telling(l.Failure)
	if text == "" {
		text = l.Failure.Message
	}
	return alike(text)
}

// panicFrame returns the function that panicked, of a stack as debug.Stack has
// it: the first outside the runtime above the last panic.
func panicFrame(stack string) string {
	lines := strings.Split(stack, "\n")
	last := -1
	for i, line := range lines {
		if strings.HasPrefix(line, "panic(") {
			last = i
		}
	}
	if last < 0 {
		return ""
	}
	for i := last + 2; i < len(lines); i += 2 {
		function := lines[i]
		if strings.HasPrefix(function, "runtime.") {
			continue
		}
		if end := strings.LastIndexByte(function, '('); end > 0 {
			function = function[:end]
		}
		if i+1 < len(lines) { // the stack may be cut
			file, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " ")
			if file != "" {
				function += " " + path.Base(strings.ReplaceAll(file, `\`, "/"))
			}
		}
		return function
	}
	return ""
}

// particular are the words of an error that are of one message, but for the
// status codes of HTTP, which are of its kind.
var particular = regexp.MustCompile(`(?i)(?:code|status|http)[ :=]{1,2}[1-5][0-9]{2}\b|[[:alnum:]_-]*[0-9][[:alnum:]_-]*`)

// alike returns the text that errors of a kind have in common.
func alike(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	return particular.ReplaceAllStringFunc(text, func(word string) string {
		if strings.ContainsAny(word, " :=") {
			return word
		}
		return "#"
	})
}

func attributeNames(l *Letter) string {
	names := slices.Sorted(maps.Keys(l.Metadata))
	return strings.Join(slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(name, "Waybill-")
	}), ", ")
}

// shape returns of what form a body is.
func shape(l *Letter) string {
	var fields map[string]json.RawMessage
	body := bytes.TrimSpace(l.Body)
	switch {
	case l.Stored:
		return "stored"
	case len(l.Body) == 0:
		return "empty"
	case !utf8.Valid(l.Body):
		return "binary"
	case !json.Valid(body):
		return "text"
	case body[0] != '{' || json.Unmarshal(body, &fields) != nil:
		return jsonType(body)
	}
	var text []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		text = append(text, name+": "+jsonType(fields[name]))
	}
	return "{" + strings.Join(text, ", ") + "}"
}

func jsonType(value []byte) string {
	switch value[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}
