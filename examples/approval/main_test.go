package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/waybilltest"
)

// opened returns a house that is closed with the test, and listens nowhere, so
// that its time may be virtual.
func opened(t *testing.T, p Patience, tell func(claim, line string)) *house {
	t.Helper()
	h, err := openHouse(t.Context(), waybilltest.Config{NoSockets: true}, p, tell, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// request sends a request to the desk of a house.
func (h *house) request(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	(&desk{h}).handler().ServeHTTP(w, r)
	return w
}

func form(path string, values url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// played plays the demo in virtual time.
func played(t *testing.T, before func(*house)) (ok bool, output string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStories()
		h := opened(t, patience(), s.tell)
		before(h)
		var out bytes.Buffer
		ok, err = demo(t.Context(), h, s, func(ctx context.Context, values url.Values) (int, error) {
			return h.request(form("/answer", values).WithContext(ctx)).Code, nil
		}, &out)
		output = out.String()
	})
	return ok, output, err
}

// TestDemo plays every scene, and holds the README to what they print.
func TestDemo(t *testing.T) {
	ok, got, err := played(t, func(*house) {})
	if !ok || err != nil {
		t.Errorf("it is not well: %v\n%s", err, got)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n```\n(1\\. .*?)```\n").FindSubmatch(text)
	if block == nil || string(block[1]) != got {
		t.Errorf("it prints\n%s\nand the README has something else", got)
	}
}

// TestDemoNotices: what is not as it should be is said, and the demo has failed.
func TestDemoNotices(t *testing.T) {
	for want, spoil := range map[string]func(*house){
		`claim-7 is "paid", want "rejected: Pay failed`: func(h *house) { delete(h.office.closed, "Mallory") },
		"budget and bank differ by -5.00":               func(h *house) { h.office.bank.enter("another's", 5_00) },
	} {
		ok, got, err := played(t, spoil)
		if ok || err != nil || !strings.Contains(got, "\nTHIS MUST NOT BE: ") || !strings.Contains(got, want) {
			t.Errorf("%t, %v, it prints\n%s\nwant %q", ok, err, got, want)
		}
	}
	_, _, err := played(t, func(h *house) { h.office.limit = 5_000_00 })
	if want := " is rejected: Reserve failed: the budget has "; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestProgram plays the demo in real time, over sockets. Who does not answer then
// because the process stands still is no failure of the demo's.
func TestProgram(t *testing.T) {
	err := testserver.InTime(100*time.Millisecond, func() error {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), nil, &stdout, &stderr); status != exitOK || stderr.Len() > 0 {
			return fmt.Errorf("exit status %d\n%s\n%s", status, &stdout, &stderr)
		}
		if !strings.HasSuffix(stdout.String(), "11 claims: 6 paid, 5 rejected, 0 open\nthe budget has spent 11888.50, the bank has paid 11888.50\n") {
			return fmt.Errorf("it prints\n%s", &stdout)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"-h"}, exitOK, "-serve"},
		{[]string{"-speed"}, exitUsage, "flag provided but not defined: -speed"},
		{[]string{"serve"}, exitUsage, `"serve" is not a flag`},
		{[]string{"-serve", "-addr", "0.0.0.0:8080"}, exitUsage, `-addr is "0.0.0.0:8080"; want an address of the loopback interface`},
		{[]string{"-serve", "-addr", ":8080"}, exitUsage, `-addr is ":8080"`},
		{[]string{"-serve", "-addr", "127.0.0.1:no"}, exitFailed, "approval: listen tcp"},
	} {
		var stderr bytes.Buffer
		if status := run(t.Context(), tt.args, io.Discard, &stderr); status != tt.status || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%q: exit status %d, stderr %q, want %d and %q", tt.args, status, &stderr, tt.status, tt.want)
		}
	}
}
