package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/waybill-dev/waybill/saga"
)

// An approval: the token comes back by the command line, from the standard input
// too; a signal likewise; and what would be undone is told before.
func TestSagaTellsExecutions(t *testing.T) {
	c := newStackCLI(t, "")
	tokens := make(chan string, 1)
	type state struct{ By, Word string }
	def := saga.New("loan",
		saga.Do("Register", func(context.Context, *state) error { return nil }).Undo(func(context.Context, *state, saga.Outcome) error { return nil }),
		saga.Callback("Approve", func(ctx context.Context, _ *state) error {
			tokens <- saga.StepFrom(ctx).Token
			return nil
		}, func(s *state, by string) error { s.By = by; return nil }).ReadOnly().Retry(saga.Once()).Catch("Word", "Refused"),
		saga.Receive("Word", "word", func(s *state, word string) error { s.Word = word; return nil }),
	)
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: c.stack.Store, Sagas: []saga.Definer{def}, Sweep: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- coordinator.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for id, tt := range map[string]struct {
		args []string
		want state
	}{
		"yes": {[]string{"--result", `"ann"`}, state{By: "ann", Word: "go"}},
		"no":  {[]string{"--error", "Refused", "--cause", "too much"}, state{Word: "go"}},
	} {
		if _, err := def.Start(t.Context(), coordinator.Client(), id, state{}); err != nil {
			t.Fatal(err)
		}
		token := <-tokens
		if list := decode[[]saga.Undo](t, c.ok("saga", "preview-undo", id)); len(list) != 1 || list[0].Step != "Register" || list[0].Outcome != saga.Done {
			t.Errorf("preview: %+v", list)
		}
		c.fails(exitUsage, `--result is "{"; want JSON`, "saga", "complete", token, "--result", "{")
		c.fails(exitNotFound, "nobody waits for this task token", "saga", "complete", "x")
		c.ok(append([]string{"saga", "complete", token}, tt.args...)...)
		c.fails(exitNotFound, "nobody waits for this task token", "saga", "complete", token)
		c.fails(exitUsage, "NAME is missing", "saga", "signal", id)
		c.ok("saga", "signal", id, "word", "--payload", `"go"`)
		if got, err := def.Wait(t.Context(), coordinator.Client(), id); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", id, got, err, tt.want)
		}
		c.fails(exitFailed, "has ended: nothing will be undone", "saga", "preview-undo", id)
	}
	c.fails(exitNotFound, "not found", "saga", "signal", "nobody", "word")
	c.fails(exitUsage, "--early is -1s; want it positive", "saga", "signal", "nobody", "word", "--early", "-1s")
	c.ok("saga", "signal", "later", "word", "--payload", `"go"`, "--early", "1m")
}

// State that a codec has changed is shown as it is.
func TestCompact(t *testing.T) {
	for text, want := range map[string]string{"": "-", "{ \"a\": 1\n}": `{"a":1}`, "\x01sealed": "\x01sealed"} {
		if got := compact(json.RawMessage(text)); got != want {
			t.Errorf("compact(%q) is %q, want %q", text, got, want)
		}
	}
}

// A list that is cut says so.
func TestSagaListLimit(t *testing.T) {
	c := newStackCLI(t, "")
	client, def, _ := c.sagas()
	for _, id := range []string{"a", "b", "c"} {
		if _, err := def.Run(t.Context(), client, id, fare{20}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := def.Run(t.Context(), client, "d", fare{200}); !errors.Is(err, saga.ErrBlocked) {
		t.Fatal(err)
	}
	for limit, want := range map[string]string{
		"2": "not all are listed: there are more than 2 completed of fare; --limit N lists more\n",
		"3": "",
	} {
		r := c.run("saga", "ls", "--limit", limit)
		if got := fmt.Sprint(len(decode[[]saga.Execution](t, r.stdout)) - 1); r.stderr != want || got != limit {
			t.Errorf("--limit %s lists %s completed ones and says %q, want %q", limit, got, r.stderr, want)
		}
	}
}

// An id is shown so that a shell takes it back, and nothing in it reaches the
// terminal as it is.
func TestSagaStrangeID(t *testing.T) {
	c := newStackCLI(t, "")
	client, def, _ := c.sagas()
	const id, shown = `it's $5 a\b`, `'it'\''s $5 a\b'`
	if _, err := def.Run(t.Context(), client, id, fare{20}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"ls"}, {"show", id}} {
		if out := c.ok(append([]string{"saga", "-o", "table"}, args...)...); !strings.Contains(out, shown) {
			t.Errorf("saga %q prints %q, want %q in it", args, out, shown)
		}
	}
	if x := decode[saga.Execution](t, c.ok("saga", "show", id)); x.ID != id {
		t.Errorf("as JSON the id is %q", x.ID)
	}
	for _, order := range []string{"show", "history", "cancel", "retry"} {
		r := c.run("saga", order, "a\x1b[2J\u009bc")
		if r.code == exitOK || strings.ContainsFunc(r.stdout+r.stderr, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			t.Errorf("saga %s prints %q", order, r.stdout+r.stderr)
		}
	}
}

// What JSON leaves as it is and a terminal obeys is escaped.
func TestEscaped(t *testing.T) {
	const text = "a\u009b2J\x7f\u202eb\U000e0001ü"
	var out strings.Builder
	if err := (&app{stdout: &out, format: formatJSON}).print(text, table{}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), `"a\u009b2J\u007f\u202eb\udb40\udc01ü"`+"\n"; got != want {
		t.Errorf("printed %s, want %s", got, want)
	}
	if got := decode[string](t, out.String()); got != text {
		t.Errorf("it reads as %q, want %q", got, text)
	}
}

func TestTyped(t *testing.T) {
	shell, err := exec.LookPath("bash")
	for arg, want := range map[string]string{
		"trip-42": "trip-42", "büro/1:a@b.c": "büro/1:a@b.c", "": "''", "a b": "'a b'", "$x": "'$x'", "it's": `'it'\''s'`,
		"a\n1": `$'a\0121'`, "\x1b": `$'\033'`, "\xff": `$'\377'`, "\U000e0001'": `$'\363\240\200\201\047'`,
	} {
		got := typed(arg)
		if got != want {
			t.Errorf("typed(%q) is %s, want %s", arg, got, want)
		}
		if err != nil {
			continue // without the shell
		}
		if out, err := exec.CommandContext(t.Context(), shell, "-c", "printf %s "+got).Output(); string(out) != arg || err != nil {
			t.Errorf("the shell takes %s for %q, %v; want %q", got, out, err, arg)
		}
	}
}

// A family: parents and children name each other, and a preview lists what both
// would undo.
func TestSagaShowsFamilies(t *testing.T) {
	c := newStackCLI(t, "")
	type state struct{}
	undo := func(context.Context, *state, saga.Outcome) error { return nil }
	at := make(chan struct{})
	leg := saga.New("leg", saga.Do("Seat", func(context.Context, *state) error { return nil }).Undo(undo),
		saga.Callback("Meal", func(context.Context, *state) error { close(at); return nil }, func(*state, string) error { return nil }).ReadOnly())
	hand := func(s *state) (state, error) { return *s, nil }
	def := saga.New("trip", saga.Do("Plan", func(context.Context, *state) error { return nil }).Undo(undo),
		saga.Parallel("Book", saga.Branch("there", saga.Child("Leg", leg, hand, nil)), saga.Branch("wait", saga.Wait[state]("W", time.Hour))).
			Merge(func(*state, []state) error { return nil }))
	coordinator, err := saga.NewCoordinator(saga.CoordinatorConfig{
		Store: c.stack.Store, Sagas: []saga.Definer{def}, Sweep: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- coordinator.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	if _, err := def.Start(t.Context(), coordinator.Client(), "t", state{}); err != nil {
		t.Fatal(err)
	}
	<-at
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"show", "t"}, []string{"Book:0 Leg waits for t/Book:0,Leg", "Book:1 W"}},
		{[]string{"show", "t/Book:0,Leg"}, []string{"parent", "Meal"}},
		{[]string{"preview-undo", "t"}, []string{"t/Book:0,Leg", "Seat", "Plan"}},
	} {
		got := c.ok(append([]string{"saga", "-o", "table"}, tt.args...)...)
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v does not say %q:\n%s", tt.args, want, got)
			}
		}
	}
}
