package otelqueue

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
)

type coded struct{}

func (coded) Error() string     { return "no" }
func (coded) ErrorType() string { return "declined" }

func TestErrorType(t *testing.T) {
	plain := errors.New("x")
	for _, tt := range []struct {
		err  error
		want string
	}{
		{plain, "*errors.errorString"},
		{fmt.Errorf("f: %w", pipeline.Permanent(plain)), "*errors.errorString"},
		{pipeline.Permanent(&url.Error{Err: plain}), "*url.Error"},
		{pipeline.Permanent(fmt.Errorf("f: %w", coded{})), "declined"},
		{fmt.Errorf("f: %w", queue.ErrConfiguration), "configuration"},
		{fmt.Errorf("f: %w", &queue.Error{Kind: queue.ErrThrottled, Err: plain}), "throttled"},
		{&queue.Error{Err: context.Canceled}, "canceled"},
		{&queue.Error{Err: plain}, "*queue.Error"},
		{errors.Join(plain, plain), "*errors.joinError"},
	} {
		if got := errorType(tt.err).Value.AsString(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

// The text of an error is cut between characters.
func TestShort(t *testing.T) {
	for n := range 5 {
		text := strings.Repeat("x", maxText-n) + "🚢🚢"
		if got := short(text); !utf8.ValidString(got) || len(got) > maxText+3 || !strings.HasPrefix(text, strings.TrimSuffix(got, "...")) {
			t.Errorf("cut to %q", got[maxText-10:])
		}
	}
}
