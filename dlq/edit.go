package dlq

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/itchyny/gojq"

	"github.com/waybill-dev/waybill/queue"
)

// An Edit changes letters by a jq expression, which turns what [Letter.Value]
// says into the same with another body or other attributes:
//
//	.body.amount |= fabs
//	.attributes.tenant = "acme" | del(.attributes.trial)
//	if .body.currency == null then .body.currency = "EUR" else empty end
//
// It has one result, or none: then the letter stays where it is.
type Edit struct {
	text string
	code *gojq.Code
}

// ParseEdit compiles an edit. [Edit.Apply] is an Options.Edit.
func ParseEdit(text string) (*Edit, error) {
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, &EditError{Edit: text, Err: err}
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, &EditError{Edit: text, Err: err}
	}
	return &Edit{text, code}, nil
}

// String returns the edit's text.
func (e *Edit) String() string { return e.text }

// Apply edits the letter. It leaves it as it was and returns an error if the
// expression does not fit it, takes more than a second, has more than one
// result or one that is no object, or changes anything but .body and
// .attributes; and [ErrSkip] if it has no result.
//
// A body that the expression does not change stays byte for byte. One that it
// changes is written as compact JSON, with fields in order of their names, and
// with numbers as they were where they are not changed. A body that was no JSON
// but text is the text that the result has; one that was not even text is in
// base64, before and after. A result of another type in their place is written
// as JSON. Attributes are strings. A body that is in a store, and is not seen,
// cannot be changed.
//
// The time is looked at between the steps of the expression: one step that makes
// something huge is not interrupted.
func (e *Edit) Apply(ctx context.Context, l *Letter) error {
	ctx, cancel := context.WithTimeout(ctx, filterTimeout)
	defer cancel()
	form, input := l.editable()
	before := encodeFields(input)
	result, err := e.run(ctx, input)
	switch {
	case errors.Is(err, ErrSkip):
		return err
	case err == nil && !smaller(result, 2*len(l.Body)+maxGrowth):
		err = errors.New("the result of the edit is too large")
	case err == nil:
		err = adopt(l, form, before, result)
	}
	if err != nil {
		return fmt.Errorf("message %s: %w", l.ID, err)
	}
	return nil
}

// A bodyForm is how a letter's value has its body.
type bodyForm int

const (
	formJSON bodyForm = iota
	formText
	formBase64
)

// editable returns the letter's value as Filter has it, but with numbers as they
// are written.
func (l *Letter) editable() (bodyForm, map[string]any) {
	v := l.Value()
	switch body := v["body"].(type) {
	case []byte:
		v["body"] = base64.StdEncoding.EncodeToString(body)
		return formBase64, v
	case string:
		if !json.Valid(l.Body) {
			return formText, v
		}
	}
	d := json.NewDecoder(bytes.NewReader(l.Body))
	d.UseNumber()
	var exact any
	if d.Decode(&exact) == nil {
		v["body"] = exact
	}
	return formJSON, v
}

func encodeFields(v map[string]any) map[string]string {
	text := make(map[string]string, len(v))
	for key, value := range v {
		text[key] = encodeValue(value)
	}
	return text
}

func encodeValue(v any) string {
	text, err := gojq.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}

// run returns the one result of the expression.
func (e *Edit) run(ctx context.Context, input map[string]any) (map[string]any, error) {
	results := e.code.RunWithContext(ctx, input)
	next := func() (any, bool, error) {
		v, ok := results.Next()
		err, failed := v.(error)
		var halt *gojq.HaltError
		if errors.As(err, &halt) && halt.Value() == nil {
			return nil, false, nil
		}
		if failed {
			return nil, false, err
		}
		return v, ok, nil
	}
	v, ok, err := next()
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, ErrSkip
	}
	if _, more, err := next(); err != nil {
		return nil, err
	} else if more {
		return nil, errors.New("the edit has more than one result; want one, or none to leave the message where it is")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the result of the edit is %s; want an object, which . is, with another .body or other .attributes", kindOf(v))
	}
	return object, nil
}

// kindOf names the type of a value for people.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return "a number"
}

// adopt gives the letter what the result has in place of what was before.
func adopt(l *Letter, form bodyForm, before map[string]string, result map[string]any) error {
	const allowed = "only .body and .attributes may change"
	for _, key := range slices.Sorted(maps.Keys(result)) {
		switch text, known := before[key]; {
		case !known:
			return fmt.Errorf("the edit adds .%s; %s", key, allowed)
		case key != "body" && key != "attributes" && encodeValue(result[key]) != text:
			return fmt.Errorf("the edit changes .%s; %s", key, allowed)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, ok := result[key]; !ok {
			return fmt.Errorf("the edit removes .%s; %s", key, allowed)
		}
	}
	body := l.Body
	if text := encodeValue(result["body"]); text != before["body"] {
		var err error
		if body, err = newBody(l, form, result["body"], text); err != nil {
			return err
		}
	}
	metadata, err := newMetadata(l, result["attributes"])
	if err != nil {
		return err
	}
	l.Body, l.Metadata = body, metadata
	return nil
}

// newBody returns the bytes of a body, which is text as JSON.
func newBody(l *Letter, form bodyForm, v any, text string) ([]byte, error) {
	s, isString := v.(string)
	switch {
	case l.Stored:
		return nil, fmt.Errorf("the edit changes .body, which is a reference: %w", queue.ErrPayloadStored)
	case form == formJSON && !utf8.Valid(l.Body):
		return nil, errors.New("the edit changes .body, whose text is not all UTF-8, and would be lost in part")
	case isString && form == formBase64:
		body, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return nil, fmt.Errorf("the edit changes .body, which is not text, to what is no base64: %w", err)
		}
		return body, nil
	case isString && form == formText:
		return []byte(s), nil
	}
	return []byte(text), nil
}

// newMetadata returns a letter's metadata with the attributes of a result.
func newMetadata(l *Letter, v any) (message.Metadata, error) {
	attributes, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the edit changes .attributes to %s; want an object", kindOf(v))
	}
	metadata := message.Metadata{}
	if record, ok := l.Metadata[queue.KeyFailure]; ok {
		metadata[queue.KeyFailure] = record
	}
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		text, ok := attributes[key].(string)
		switch {
		case key == "":
			return nil, errors.New("the edit adds an attribute without a name")
		case key == queue.KeyFailure:
			return nil, fmt.Errorf("the edit adds .attributes[%q], the record of the failure, which a redrive removes", key)
		case !ok:
			return nil, fmt.Errorf("the edit changes .attributes[%q] to %s; want a string, or del(.attributes[%q])", key, kindOf(attributes[key]), key)
		}
		metadata[key] = text
	}
	return metadata, nil
}

// maxGrowth is how many bytes a result may have beyond twice those of the body.
const maxGrowth = 16 << 20

// smaller reports whether a value takes about less than a number of bytes to
// write. A few steps of jq can make one that no memory holds as text, since it
// has the same parts many times.
func smaller(v any, limit int) bool {
	left := limit
	var walk func(any) bool
	walk = func(v any) bool {
		left -= 2
		switch v := v.(type) {
		case string:
			left -= len(v)
		case []any:
			for _, element := range v {
				if !walk(element) {
					return false
				}
			}
		case map[string]any:
			for key, value := range v {
				left -= len(key)
				if !walk(value) {
					return false
				}
			}
		}
		return left > 0
	}
	return walk(v)
}

// An EditError is an edit that is not an expression of jq.
type EditError struct {
	Edit string
	Err  error
}

func (e *EditError) Error() string { return fmt.Sprintf("dlq: edit %q: %v", e.Edit, e.Err) }

// Unwrap returns what is wrong with the edit.
func (e *EditError) Unwrap() error { return e.Err }
