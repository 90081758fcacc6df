package saga_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

type loan struct {
	Amount   int
	Approved string
	Notes    []string
}

type verdict struct{ By string }

// approval is a saga that asks for an approval; tokens come on the channel.
func approval(tokens chan<- string, step func(*saga.Step[loan]) *saga.Step[loan]) *saga.Saga[loan] {
	ask := saga.Callback("Approve", func(ctx context.Context, l *loan) error {
		l.Notes = append(l.Notes, "asked")
		tokens <- saga.StepFrom(ctx).Token
		return nil
	}, func(l *loan, v verdict) error {
		if v.By == "" {
			return errors.New("nobody has approved")
		}
		l.Approved = v.By
		return nil
	}).ReadOnly()
	return saga.New("loan",
		saga.Do("Register", func(context.Context, *loan) error { return nil }).Undo(func(context.Context, *loan, saga.Outcome) error { return nil }),
		step(ask),
		saga.Do("Pay", func(context.Context, *loan) error { return nil }),
		saga.Succeed[loan]("Done"),
	)
}

func as[T any](s *saga.Step[T]) *saga.Step[T] { return s }

// A person's approval is a step: it waits for months without anybody at work,
// and ends with the one who has the token.
func TestCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		tokens := make(chan string, 1)
		s := approval(tokens, func(step *saga.Step[loan]) *saga.Step[loan] { return step.Timeout(365 * 24 * time.Hour) })
		_, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		client := outsider(t, st)
		if _, err := s.Start(t.Context(), client, "1", loan{Amount: 7}); err != nil {
			t.Fatal(err)
		}
		token := <-tokens
		synctest.Wait()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * 24 * time.Hour)
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		x, err := client.Get(t.Context(), "1")
		if err != nil || !x.Waiting || x.Step != "Approve" || !x.HeldUntil.IsZero() {
			t.Fatalf("%+v, %v, want it to wait, with nobody at work", x, err)
		}
		for what, bad := range map[string]string{"garbage": "x", "empty": "", "another secret": forge(t, token)} {
			if err := client.Complete(t.Context(), bad, verdict{"eve"}); !errors.Is(err, saga.ErrToken) {
				t.Errorf("%s: %v, want ErrToken", what, err)
			}
		}
		if err := client.Complete(t.Context(), token, verdict{"ann"}); err != nil {
			t.Fatal(err)
		}
		if err := client.Complete(t.Context(), token, verdict{"eve"}); !errors.Is(err, saga.ErrToken) {
			t.Errorf("a second time: %v, want ErrToken", err)
		}
		got, err := s.Wait(t.Context(), c, "1")
		if err != nil || got.Approved != "ann" || !slices.Equal(got.Notes, []string{"asked"}) {
			t.Errorf("%+v, %v", got, err)
		}
		// The token is nowhere to be read.
		h, err := c.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprintf("%+v %+v", h, x); strings.Contains(text, secretOf(t, token)) {
			t.Error("the history or the execution shows the token")
		}
	})
}

// What a completion brings decides: a result that the step refuses leaves it
// waiting, and the token good; an error is caught like any other, and retried
// where a policy names it.
func TestCallbackEnds(t *testing.T) {
	tests := []struct {
		name string
		step func(*saga.Step[loan]) *saga.Step[loan]
		end  func(t *testing.T, c *saga.Client, tokens <-chan string)
		want string // Approved, or the error
	}{
		{"a result that does not fit", as[loan], func(t *testing.T, c *saga.Client, tokens <-chan string) {
			token := <-tokens
			if err := c.Complete(t.Context(), token, verdict{}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour)
			if n := count(t, c, "1", saga.MailDiscarded); n != 1 {
				t.Errorf("%d mails are noted as discarded, want the one that does not fit", n)
			}
			if err := c.Complete(t.Context(), token, 7); err != nil { // a mistake may be made twice
				t.Error(err)
			}
			time.Sleep(time.Hour)
			if err := c.Complete(t.Context(), token, verdict{"ann"}); err != nil {
				t.Errorf("the same token: %v", err)
			}
			if err := c.Complete(t.Context(), token, verdict{"eve"}); !errors.Is(err, saga.ErrToken) {
				t.Errorf("once it was used: %v, want ErrToken", err)
			}
		}, ""},
		{"a refusal", func(s *saga.Step[loan]) *saga.Step[loan] { return s.Retry(saga.Retry{}).Retry(saga.Retry{}, "Busy") },
			func(t *testing.T, c *saga.Client, tokens <-chan string) {
				if err := c.Fail(t.Context(), <-tokens, "Refused", "too much"); err != nil {
					t.Error(err)
				}
				if x, err := c.Wait(t.Context(), "1"); err != nil || len(tokens) > 0 {
					t.Errorf("%+v, %v, and it was asked again %d times", x, err, len(tokens))
				}
			}, "Approve failed: too much"},
		{"an error that a policy names", func(s *saga.Step[loan]) *saga.Step[loan] { return s.Retry(saga.Retry{Attempts: 2}, "Busy") },
			func(t *testing.T, c *saga.Client, tokens <-chan string) {
				for range 2 {
					if err := c.Fail(t.Context(), <-tokens, "Busy", "ask later"); err != nil {
						t.Error(err)
					}
				}
			}, "Approve failed: ask later"},
		{"a refusal that is caught", func(s *saga.Step[loan]) *saga.Step[loan] { return s.Catch("Done", "Refused") },
			func(t *testing.T, c *saga.Client, tokens <-chan string) {
				if err := c.Fail(t.Context(), <-tokens, "Refused", "too much"); err != nil {
					t.Error(err)
				}
			}, ""},
		{"no answer", func(s *saga.Step[loan]) *saga.Step[loan] { return s.Timeout(48 * time.Hour) },
			func(t *testing.T, c *saga.Client, tokens <-chan string) {
				token := <-tokens
				time.Sleep(49 * time.Hour)
				if err := c.Complete(t.Context(), token, verdict{"late"}); !errors.Is(err, saga.ErrToken) {
					t.Errorf("too late: %v, want ErrToken", err)
				}
			}, "nobody has completed it in time"},
		{"a heartbeat that stops", func(s *saga.Step[loan]) *saga.Step[loan] { return s.Heartbeat(time.Hour) },
			func(t *testing.T, c *saga.Client, tokens <-chan string) {
				token := <-tokens
				for range 5 {
					time.Sleep(50 * time.Minute)
					if err := c.Heartbeat(t.Context(), token); err != nil {
						t.Error(err)
					}
				}
			}, "its heartbeat has stopped"},
		{"a cancel", as[loan], func(t *testing.T, c *saga.Client, tokens <-chan string) {
			token := <-tokens
			if err := c.Cancel(t.Context(), "1", saga.Order{}); err != nil {
				t.Error(err)
			}
			if _, err := c.Wait(t.Context(), "1"); err != nil {
				t.Error(err)
			}
			if err := c.Complete(t.Context(), token, verdict{"late"}); !errors.Is(err, saga.ErrToken) {
				t.Errorf("after the cancel: %v, want ErrToken", err)
			}
		}, "cancelled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tokens := make(chan string, 10)
				s := approval(tokens, tt.step)
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
				if _, err := s.Start(t.Context(), c, "1", loan{Amount: 7}); err != nil {
					t.Fatal(err)
				}
				tt.end(t, c, tokens)
				got, err := s.Wait(t.Context(), c, "1")
				switch {
				case tt.want == "" && err != nil:
					t.Error(err)
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("%+v, %v, want %q", got, err, tt.want)
				}
			})
		})
	}
}

// While an answer is unread nobody knows whether it fits, and a second one is
// refused. One that did not fit leaves the token good.
func TestCallbackAnsweredBeforeItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		tokens := make(chan string, 1)
		s := approval(tokens, as[loan])
		cfg := saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}}
		_, stop := run(t, cfg)
		client := outsider(t, st)
		if _, err := s.Start(t.Context(), client, "1", loan{}); err != nil {
			t.Fatal(err)
		}
		token := <-tokens
		synctest.Wait()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := client.Complete(t.Context(), token, 7); err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{token, token + "\n"} {
			if err := client.Complete(t.Context(), token, verdict{"ann"}); !errors.Is(err, saga.ErrToken) || !strings.Contains(err.Error(), "used before") {
				t.Errorf("before the first answer is read: %v, want ErrToken", err)
			}
		}
		coordinate(t, cfg)
		time.Sleep(time.Hour)
		if err := client.Complete(t.Context(), token, verdict{"ann"}); err != nil {
			t.Error(err)
		}
		if got, err := s.Wait(t.Context(), client, "1"); err != nil || got.Approved != "ann" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// A worker that dies after it has handed the token over asks again, with the same
// token; and an answer that comes before the handler has returned counts.
func TestCallbackIsCompletedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		client := outsider(t, st)
		var tokens []string
		s := saga.New("loan", saga.Callback("Approve", func(ctx context.Context, l *loan) error {
			token := saga.StepFrom(ctx).Token
			tokens = append(tokens, token)
			if len(tokens) == 1 {
				return errors.New("the mail server hiccups, after it has sent the mail")
			}
			if err := client.Complete(ctx, token, verdict{"ann"}); err != nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Second)
			return nil
		}, func(l *loan, v verdict) error { l.Approved = v.By; return nil }))
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		got, err := s.Run(t.Context(), c, "1", loan{})
		if err != nil || got.Approved != "ann" {
			t.Errorf("%+v, %v", got, err)
		}
		if len(tokens) != 2 || tokens[0] != tokens[1] {
			t.Errorf("tokens %q, want the same in both attempts", tokens)
		}
	})
}

// Messages from any language complete tasks and send signals.
func TestHandleMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New(memstore.Config{})
		tokens := make(chan string, 10)
		s := approval(tokens, as[loan])
		co, stop := run(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		handle := func(body string) error {
			return co.HandleMessage(message.NewMessage("m", message.Payload(body)))
		}
		if err := handle(`{"waybill": 1, "start": "loan", "id": "1", "input": {"Amount": 7}}`); err != nil {
			t.Fatal(err)
		}
		token := <-tokens
		synctest.Wait()
		if err := handle(`{"waybill": 1, "heartbeat": "` + token + `"}`); err != nil {
			t.Error(err)
		}
		if err := handle(`{"waybill": 1, "complete": "` + token + `", "result": {"By": "ann"}}`); err != nil {
			t.Error(err)
		}
		if got, err := s.Wait(t.Context(), co.Client(), "1"); err != nil || got.Approved != "ann" {
			t.Errorf("%+v, %v", got, err)
		}
		large := `"` + strings.Repeat("x", 256<<10) + `"`
		for body, want := range map[string]string{
			`{`:                               "unexpected end",
			`{"waybill": 2}`:                  `"waybill" is 2, want 1`,
			`{"waybill": 2, "complete": 7}`:   `"waybill" is 2, want 1`,
			`{"waybill": 1}`:                  `want one of "start"`,
			`{"waybill": 1, "complete": "x"}`: "nobody waits for this task token",
			`{"waybill": 1, "fail": "` + token + `"}`:                                    "nobody waits for this task token",
			`{"waybill": 1, "signal": "go", "execution": "1"}`:                           "ended",
			`{"waybill": 1, "signal": "go", "execution": "2", "payload": ` + large + `}`: "bytes, at most 262144 are allowed",
			`{"waybill": 1, "complete": "` + token + `", "result": ` + large + `}`:       "bytes, at most 262144 are allowed",
		} {
			err := handle(body)
			var permanent interface{ Permanent() bool }
			if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &permanent) || !permanent.Permanent() {
				t.Errorf("%.200s: %v, want %q, permanent", body, err, want)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Signals wait for the step that takes them, in order; a repeat by id is one.
func TestSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		note := func(l *loan, text string) error { l.Notes = append(l.Notes, text); return nil }
		s := saga.New("loan",
			saga.Receive("One", "note", note),
			saga.Receive("Two", "note", note),
			saga.Receive("Go", "go", func(l *loan, v verdict) error { l.Approved = v.By; return nil }).Timeout(time.Hour).Catch("Late", saga.ErrorTimeout).End(),
			saga.Pass("Late", func(l *loan) error { l.Approved = "nobody"; return nil }),
		)
		st := memstore.New(memstore.Config{})
		c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
		send := func(id, name, signalID string, payload any) {
			t.Helper()
			if err := c.Signal(t.Context(), id, name, signalID, payload); err != nil {
				t.Error(err)
			}
		}
		for _, id := range []string{"1", "2"} {
			if _, err := s.Start(t.Context(), c, id, loan{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		send("1", "go", "g", verdict{"ann"}) // before its step
		send("1", "note", "a", "a")
		send("1", "note", "a", "a")
		send("1", "note", "b", 7) // does not fit, and is in nobody's way
		send("1", "note", "c", "c")
		got, err := s.Wait(t.Context(), c, "1")
		if err != nil || got.Approved != "ann" || !slices.Equal(got.Notes, []string{"a", "c"}) {
			t.Errorf("%+v, %v", got, err)
		}
		send("2", "note", "", "x")
		send("2", "note", "", "y")
		if got, err := s.Wait(t.Context(), c, "2"); err != nil || got.Approved != "nobody" {
			t.Errorf("without the signal: %+v, %v", got, err)
		}
		if err := c.Signal(t.Context(), "1", "", "", nil); err == nil {
			t.Error("a signal without a name")
		}
	})
}

// A handler that must be heard of, and is not, is stopped.
func TestHeartbeatOfAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip",
			saga.Do("Long", func(ctx context.Context, _ *trip) error {
				for range 100 {
					time.Sleep(20 * time.Second)
					saga.Beat(ctx)
				}
				return ctx.Err()
			}).Timeout(time.Hour).Heartbeat(time.Minute).ReadOnly(),
			saga.Do("Hangs", func(ctx context.Context, _ *trip) error {
				<-ctx.Done()
				return ctx.Err()
			}).Timeout(time.Hour).Heartbeat(time.Minute).Retry(saga.Once()).Catch("End", saga.ErrorHeartbeat),
			saga.Succeed[trip]("End"),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		begin := time.Now()
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 2000*time.Second+time.Minute {
			t.Errorf("it took %s, want 100 times 20s, and a minute for what hangs", took)
		}
		if n := count(t, c, "1", saga.ErrorCaught); n != 1 {
			t.Errorf("%d errors were caught, want that of the heartbeat", n)
		}
	})
}

// forge is a token that differs from a good one in its secret alone.
func forge(t *testing.T, token string) string {
	secret := secretOf(t, token)
	forged := strings.Repeat("A", len(secret))
	return encode(t, strings.Replace(decode(t, token), secret, forged, 1))
}

func secretOf(t *testing.T, token string) string {
	var parts struct{ K string }
	unmarshal(t, decode(t, token), &parts)
	return parts.K
}

func decode(t *testing.T, token string) string {
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func encode(t *testing.T, text string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func unmarshal(t *testing.T, text string, v any) {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
}
