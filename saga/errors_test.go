package saga

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/store"
)

// timeoutError is a net.Error of somebody's own.
type timeoutError struct{}

func (timeoutError) Error() string   { return "timed out" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return false }

// says declares an outcome without this package's help.
type says struct {
	error
	outcome Outcome
}

func (s says) Unwrap() error   { return s.error }
func (s says) NoEffect() bool  { return s.outcome == NotDone }
func (s says) Uncertain() bool { return s.outcome == Unknown }

// A statusError is an error as gRPC has them, a status one of its statuses, and a
// statusCode one of its codes.
type (
	statusError uint32
	status      struct{ code statusCode }
	statusCode  uint32
	nilStatus   struct{}
)

func (e statusError) Error() string       { return fmt.Sprintf("rpc error: code = %d", uint32(e)) }
func (e statusError) GRPCStatus() *status { return &status{statusCode(e)} }
func (s *status) Code() statusCode        { return s.code }
func (nilStatus) Error() string           { return "no status" }
func (nilStatus) GRPCStatus() *status     { return nil }

func TestOutcomeOf(t *testing.T) {
	plain := errors.New("insufficient funds")
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	read := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	_, noFile := os.Open(filepath.Join(t.TempDir(), "missing"))

	tests := []struct {
		name string
		err  error
		want Outcome
	}{
		{"none", nil, Done},
		{"plain", plain, NotDone},
		{"permanent", Permanent(plain), NotDone},
		{"wrapped", fmt.Errorf("charge: %w", plain), NotDone},

		{"deadline", context.DeadlineExceeded, Unknown},
		{"cancelled", fmt.Errorf("charge: %w", context.Canceled), Unknown},
		{"deadline of a file or connection", os.ErrDeadlineExceeded, Unknown},
		{"panic", &PanicError{Value: "boom"}, Unknown},
		{"connection refused", dial, NotDone},
		{"connection refused, wrapped", fmt.Errorf("post: %w", dial), NotDone},
		{"connection reset", read, Unknown},
		{"reset without a net.OpError", fmt.Errorf("read: %w", syscall.ECONNRESET), Unknown},
		{"broken pipe", syscall.EPIPE, Unknown},
		{"end of file", io.EOF, Unknown},
		{"end in the middle", io.ErrUnexpectedEOF, Unknown},
		{"another's net.Error", timeoutError{}, Unknown},
		{"a closed connection", fmt.Errorf("read: %w", net.ErrClosed), Unknown},
		{"a closed pipe", io.ErrClosedPipe, Unknown},
		{"an aborted connection", syscall.ECONNABORTED, Unknown},
		{"a database's bad connection", fmt.Errorf("insert: %w", driver.ErrBadConn), Unknown},
		{"a server that closed an idle connection", fmt.Errorf("post: %w", errors.New("http: server closed idle connection")), Unknown},
		{"gRPC: unavailable", fmt.Errorf("charge: %w", statusError(14)), Unknown},
		{"gRPC: deadline exceeded", statusError(4), Unknown},
		{"gRPC: unknown", statusError(2), Unknown},
		{"gRPC: invalid argument", statusError(3), NotDone},
		{"gRPC: without a status", nilStatus{}, NotDone},
		{"gRPC: unavailable, and known to be not done", NoEffect(statusError(14)), NotDone},
		{"a missing file is no lost answer", noFile, NotDone},

		{"declared", Uncertain(plain), Unknown},
		{"declared, wrapped", fmt.Errorf("charge: %w", Uncertain(plain)), Unknown},
		{"declared permanent and uncertain", Permanent(Uncertain(plain)), Unknown},
		{"declared uncertain and permanent", Uncertain(Permanent(plain)), Unknown},
		{"declared against the look of it", NoEffect(io.EOF), NotDone},
		{"declared against a deadline", NoEffect(context.DeadlineExceeded), NotDone},
		{"the outer declaration counts", NoEffect(Uncertain(plain)), NotDone},
		{"the outer declaration counts, wrapped", Uncertain(fmt.Errorf("x: %w", NoEffect(plain))), Unknown},

		{"declared by a method", fmt.Errorf("x: %w", &store.RefusedError{Key: "k/do"}), NotDone},
		{"declared by a method, against the look of it", says{io.EOF, NotDone}, NotDone},
		{"declared uncertain by a method", says{plain, Unknown}, Unknown},
		{"a method that declares nothing", says{io.EOF, ""}, Unknown},

		{"of two errors the worse counts", errors.Join(plain, io.EOF), Unknown},
		{"of a refused and a broken connection", errors.Join(dial, read), Unknown},
		{"of a broken and a refused connection", errors.Join(read, dial), Unknown},
		{"of two tries, neither of which came through", errors.Join(dial, plain, dial), NotDone},
		{"of two declarations", errors.Join(NoEffect(plain), Uncertain(plain)), Unknown},
		{"a declaration beside another mark", errors.Join(Permanent(plain), Uncertain(plain)), Unknown},
		{"a declaration of one of two", errors.Join(NoEffect(io.EOF), io.EOF), Unknown},
		{"a declaration over two", NoEffect(errors.Join(io.EOF, io.EOF)), NotDone},
		{"two behind one", fmt.Errorf("%w, then %w", dial, io.EOF), Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := outcomeOf(tt.err); got != tt.want {
				t.Errorf("%v is %q, want %q", tt.err, got, tt.want)
			}
		})
	}
}

// What net/http gives for servers that fail in different ways.
func TestOutcomeOfHTTP(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/drop":
			panic(http.ErrAbortHandler)
		case "/hang":
			<-hang
		case "/half":
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("half"))
		}
	}))
	defer server.Close()
	defer close(hang)
	closed := httptest.NewServer(nil)
	closed.Close()

	get := func(url string, timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("x"))
		if err != nil {
			return err
		}
		response, err := server.Client().Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.ReadAll(response.Body)
		return err
	}
	tests := []struct {
		name    string
		url     string
		timeout time.Duration
		want    Outcome
	}{
		{"nobody listens", closed.URL, time.Minute, NotDone},
		{"the connection breaks", server.URL + "/drop", time.Minute, Unknown},
		{"the answer breaks off", server.URL + "/half", time.Minute, Unknown},
		{"the answer does not come", server.URL + "/hang", 50 * time.Millisecond, Unknown},
		{"the answer comes", server.URL + "/", time.Minute, Done},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := get(tt.url, tt.timeout)
			if got := outcomeOf(err); got != tt.want {
				t.Errorf("%v is %q, want %q", err, got, tt.want)
			}
		})
	}
}

type verdict bool

func (v verdict) Error() string   { return "verdict" }
func (v verdict) Permanent() bool { return bool(v) }

func TestIsPermanent(t *testing.T) {
	plain := errors.New("x")
	tests := []struct {
		name string
		err  error
		want bool
	}{
		{"none", nil, false},
		{"plain", plain, false},
		{"marked", Permanent(plain), true},
		{"wrapped", fmt.Errorf("y: %w", Permanent(plain)), true},
		{"behind another mark", NoEffect(Permanent(plain)), true},
		{"behind two", fmt.Errorf("z: %w", Uncertain(NoEffect(fmt.Errorf("y: %w", Permanent(plain))))), true},
		{"other marks alone", Uncertain(NoEffect(plain)), false},
		{"another's method", fmt.Errorf("y: %w", verdict(true)), true},
		{"another's method that denies", verdict(false), false},
		{"joined", errors.Join(plain, Permanent(plain)), true},
		{"joined, behind another mark", errors.Join(NoEffect(plain), Permanent(plain)), true},
		{"joined below a mark", NoEffect(errors.Join(plain, Permanent(plain))), true},
		{"refused by a barrier", &store.RefusedError{}, true},
		{"without a trace", &store.NoTraceError{}, true},
		{"state too large", &StateSizeError{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := isPermanent(tt.err); got != tt.want {
				t.Errorf("%v: %t, want %t", tt.err, got, tt.want)
			}
		})
	}
}

func TestMarksOfNil(t *testing.T) {
	for name, mark := range map[string]func(error) error{"Permanent": Permanent, "NoEffect": NoEffect, "Uncertain": Uncertain} {
		if err := mark(nil); err != nil {
			t.Errorf("%s(nil) is %v", name, err)
		}
		plain := errors.New("declined")
		if err := mark(plain); !errors.Is(err, plain) || err.Error() != "declined" {
			t.Errorf("%s hides the error: %v", name, err)
		}
	}
}

func TestErrorTextIsBounded(t *testing.T) {
	for _, text := range []string{
		"", "short", strings.Repeat("x", maxMessage), strings.Repeat("ä", maxMessage), strings.Repeat("x", maxMessage-1) + "ä",
		"bad \xff utf-8", strings.Repeat("\xff", maxMessage),
	} {
		got := errorText(errors.New(text))
		if len(got) > maxMessage+len("...") || !utf8.ValidString(got) {
			t.Errorf("%.20q... of %d bytes becomes %d bytes, valid %t", text, len(text), len(got), utf8.ValidString(got))
		}
	}
	if got := errorText(errors.New("short")); got != "short" {
		t.Errorf("%q", got)
	}
}

func TestFailedError(t *testing.T) {
	tests := []struct {
		err  *FailedError
		is   error
		not  error
		text string
	}{
		{
			&FailedError{Execution: "ride-1", Status: Compensated, Cause: &Cause{Kind: CauseFailed, Step: "Charge", Error: "declined"}},
			ErrCompensated, ErrBlocked, `saga "ride-1" is compensated: Charge failed: declined`,
		},
		{
			&FailedError{Execution: "ride-1", Status: Blocked, Cause: &Cause{Kind: CauseFailed, Step: "Charge", Undo: true, Error: "no answer"}},
			ErrBlocked, ErrCompensated, `saga "ride-1" is blocked: undoing Charge failed: no answer`,
		},
		{
			&FailedError{Execution: "ride-1", Status: Compensated, Cause: &Cause{Kind: CauseCancelled, By: "ann", Note: "customer asked"}},
			ErrCompensated, ErrBlocked, `saga "ride-1" is compensated: cancelled: customer asked`,
		},
		{&FailedError{Execution: "ride-1", Status: Compensated}, ErrCompensated, ErrBlocked, `saga "ride-1" is compensated`},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, tt.is) || errors.Is(tt.err, tt.not) {
			t.Errorf("%v: matches %v: %t, %v: %t", tt.err, tt.is, errors.Is(tt.err, tt.is), tt.not, errors.Is(tt.err, tt.not))
		}
		if got := tt.err.Error(); got != tt.text {
			t.Errorf("%q, want %q", got, tt.text)
		}
	}
}
