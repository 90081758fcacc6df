package dlq

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/itchyny/gojq"
)

// filterTimeout bounds the work of a filter, or of an edit, on one letter.
const filterTimeout = time.Second

// A Filter chooses letters by a jq expression over what [Letter.Value] says:
//
//	.failure.reason == "permanent" and .body.amount > 100
//	.failure.chain // [] | any(contains("timeout"))
//	.attributes.tenant == "acme"
//
// A letter is chosen if the first result is neither false nor null.
type Filter struct {
	text string
	code *gojq.Code
	body bool // it may see the body
}

// ParseFilter compiles a filter.
func ParseFilter(text string) (*Filter, error) {
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, &FilterError{Filter: text, Err: err}
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, &FilterError{Filter: text, Err: err}
	}
	return &Filter{text, code, seesBody(query)}, nil
}

// String returns the filter's text.
func (f *Filter) String() string { return f.text }

// Match reports whether the filter chooses the letter. The error says that the
// expression does not fit the letter, as when it adds a number to a string; the
// letter is not chosen then.
func (f *Filter) Match(ctx context.Context, l *Letter) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, filterTimeout)
	defer cancel()
	value := l.Value()
	if b, ok := value["body"].([]byte); ok {
		value["body"] = base64.StdEncoding.EncodeToString(b)
	}
	v, ok := f.code.RunWithContext(ctx, value).Next()
	if !ok {
		return false, nil
	}
	if err, ok := v.(error); ok {
		var halt *gojq.HaltError
		if errors.As(err, &halt) && halt.Value() == nil {
			return false, nil
		}
		return false, fmt.Errorf("dlq: filter on message %s: %w", l.ID, err)
	}
	return v != nil && v != false, nil
}

// A FilterError is a filter that is not an expression of jq.
type FilterError struct {
	Filter string
	Err    error
}

func (e *FilterError) Error() string { return fmt.Sprintf("dlq: filter %q: %v", e.Filter, e.Err) }

// Unwrap returns what is wrong with the filter.
func (e *FilterError) Unwrap() error { return e.Err }
