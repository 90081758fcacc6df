package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// openBarrier opens a barrier on the target.
func openBarrier(t testing.TB, tg target) *redisstore.Barrier {
	t.Helper()
	b, err := redisstore.OpenBarrier(t.Context(), redisstore.BarrierConfig{
		Client: tg.client, Namespace: tg.namespace, AcceptUnknownEviction: true, // miniredis shows none
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A runner runs an effect behind a barrier, or as it is.
type runner interface {
	Run(ctx context.Context, call store.Call, script string, keys []string, args ...any) (string, error)
}

// noBarrier sends the effect alone.
type noBarrier struct{ client *redis.Client }

func (n noBarrier) Run(ctx context.Context, _ store.Call, script string, keys []string, args ...any) (string, error) {
	reply, err := n.client.Eval(ctx, script, keys, args...).Result()
	return fmt.Sprint(reply), err
}

// book is an effect: it notes a sign on an account, and answers how many there
// are.
const book = `return redis.call('RPUSH', KEYS[1], ARGV[1])`

// A ledger is a Redis with accounts.
type ledger struct {
	target
	barrier *redisstore.Barrier
}

func newLedger(t testing.TB, tg target) *ledger {
	return &ledger{tg, openBarrier(t, tg)}
}

func (l *ledger) account(name string) string { return l.namespace + ":account:{" + name + "}" }

func (l *ledger) do(ctx context.Context, r runner, name string) (string, error) {
	return r.Run(ctx, store.Call{Key: name + "/do"}, book, []string{l.account(name)}, "+")
}

func (l *ledger) undo(ctx context.Context, r runner, name string) (string, error) {
	return r.Run(ctx, store.Call{Key: name + "/undo"}, book, []string{l.account(name)}, "-")
}

// booked are the signs on an account, in their order.
func (l *ledger) booked(t testing.TB, name string) string {
	t.Helper()
	signs, err := l.client.LRange(t.Context(), l.account(name), 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(signs, "")
}

// eachRunner runs a test on every server with a barrier, which has to make the
// account as it should be, and without one, which shows what goes wrong then.
func eachRunner(t *testing.T, with, without string, f func(t *testing.T, l *ledger, r runner, name string)) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			l := newLedger(t, server.new(t))
			f(t, l, l.barrier, "with")
			f(t, l, noBarrier{l.client}, "without")
			if got := l.booked(t, "with"); got != with {
				t.Errorf("with the barrier %q was booked, want %q", got, with)
			}
			if got := l.booked(t, "without"); got != without {
				t.Errorf("without a barrier %q was booked, want %q: the test proves nothing", got, without)
			}
		})
	}
}

// TestBarrierDuplicateAction: an action that comes twice has its effect once, and
// answers alike.
func TestBarrierDuplicateAction(t *testing.T) {
	eachRunner(t, "+", "++", func(t *testing.T, l *ledger, r runner, name string) {
		for range 2 {
			got, err := l.do(t.Context(), r, name)
			if err != nil || name == "with" && got != "1" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	})
}

// TestBarrierEmptyUndo: the undo of an action that never had its effect has none
// either.
func TestBarrierEmptyUndo(t *testing.T) {
	eachRunner(t, "", "-", func(t *testing.T, l *ledger, r runner, name string) {
		if got, err := l.undo(t.Context(), r, name); err != nil || name == "with" && got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	})
}

// TestBarrierHangingAction: an action that comes after its undo has no effect,
// whether the undo was empty or not.
func TestBarrierHangingAction(t *testing.T) {
	for _, first := range []string{"", "+"} {
		with := ""
		if first != "" {
			with = "+-"
		}
		eachRunner(t, with, first+"-+", func(t *testing.T, l *ledger, r runner, name string) {
			if first != "" {
				if _, err := l.do(t.Context(), r, name); err != nil {
					t.Error(err)
				}
			}
			if _, err := l.undo(t.Context(), r, name); err != nil {
				t.Error(err)
			}
			_, err := l.do(t.Context(), r, name)
			var refused *store.RefusedError
			if name == "with" && (!errors.As(err, &refused) || refused.Key != "with/do") {
				t.Errorf("got %v, want a RefusedError with the key", err)
			}
		})
	}
}

// TestBarrierRepeatedUndo: an undo that comes twice has its effect once.
func TestBarrierRepeatedUndo(t *testing.T) {
	eachRunner(t, "+-", "+--", func(t *testing.T, l *ledger, r runner, name string) {
		_, first := l.do(t.Context(), r, name)
		_, second := l.undo(t.Context(), r, name)
		_, third := l.undo(t.Context(), r, name)
		if err := errors.Join(first, second, third); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}

// TestBarrierNoTrace: an undo whose action is known to be done, and left nothing,
// is an error, and nothing is taken for undone.
func TestBarrierNoTrace(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			l := newLedger(t, server.new(t))
			undo := func() error {
				_, err := l.barrier.Run(t.Context(), store.Call{Key: "a/undo", Done: true}, book, []string{l.account("a")}, "-")
				return err
			}
			for range 2 {
				var lost *store.NoTraceError
				if err := undo(); !errors.As(err, &lost) || lost.Key != "a/undo" {
					t.Errorf("got %v, want a NoTraceError with the key", err)
				}
			}
			if _, err := l.do(t.Context(), l.barrier, "a"); err != nil {
				t.Error(err)
			}
			if err := undo(); err != nil {
				t.Error(err)
			}
			if got := l.booked(t, "a"); got != "+-" {
				t.Errorf("%q was booked, want +-", got)
			}
		})
	}
}

// TestBarrierReplies: what a script returns comes back, on a repeat too, and its
// undo has it.
func TestBarrierReplies(t *testing.T) {
	binary := "\x00\xff\r\n{}\"\\ Grüße"
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			l := newLedger(t, server.new(t))
			keys := []string{l.account("a")}
			for script, want := range map[string]string{
				"return ARGV[1]":                           binary,
				"return ARGV[1] -- and a comment":          binary,
				"return 42":                                "42",
				"return -7.9":                              "-7",
				"return 9007199254740992":                  "9007199254740992",
				"return '7.9'":                             "7.9",
				"return redis.call('SET', KEYS[1], 'x')":   "OK",
				"return redis.status_reply('FINE')":        "FINE",
				"return redis.call('GET', KEYS[1] .. '')":  "x",
				"return {1, 'b', {2}}":                     `[1,"b",[2]]`,
				"return cjson.encode({a = {b = true}})":    `{"a":{"b":true}}`,
				"return true":                              "1",
				"return false":                             "",
				"return nil":                               "",
				"local unused = #KEYS":                     "",
				"return #KEYS .. ' ' .. #ARGV":             "1 2",
				"if #ARGV == 2 then return 'early' end":    "early",
				"return redis.call('EXISTS', KEYS[1]) - 1": "0",
			} {
				if err := l.client.Set(t.Context(), keys[0], "x", 0).Err(); err != nil {
					t.Fatal(err)
				}
				call := store.Call{Key: fmt.Sprintf("%q/do", script)}
				for range 2 {
					got, err := l.barrier.Run(t.Context(), call, script, keys, binary, 5)
					if got != want || err != nil {
						t.Errorf("%s: %q, %v, want %q", script, got, err, want)
					}
				}
				call.Key = fmt.Sprintf("%q/undo", script)
				got, err := l.barrier.Run(t.Context(), call, "return '<' .. kept .. '>'", keys)
				if got != "<"+want+">" || err != nil {
					t.Errorf("the undo of %s has %q, %v, want %q", script, got, err, want)
				}
			}
		})
	}
}

// TestBarrierErrors: a script that fails is not remembered, and its error is the
// caller's.
func TestBarrierErrors(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			l := newLedger(t, server.new(t))
			for script, want := range map[string]string{
				"return redis.error_reply('FUNDS are insufficient')": "FUNDS are insufficient",
				"return {err = 'FUNDS are insufficient'}":            "FUNDS are insufficient",
				"return redis.call('INCR', KEYS[1])":                 "WRONGTYPE",
				"return redis.pcall('INCR', KEYS[1])":                "WRONGTYPE",
				"error('by itself')":                                 "by itself",
				"this is not Lua":                                    "ompil", // compiling, compile
			} {
				if err := l.client.Del(t.Context(), l.account("a")).Err(); err != nil {
					t.Fatal(err)
				}
				if err := l.client.RPush(t.Context(), l.account("a"), "a list").Err(); err != nil {
					t.Fatal(err)
				}
				before := describe(l.target, dump(t, l.target))
				call := store.Call{Key: fmt.Sprintf("%q/do", script)}
				_, err := l.barrier.Run(t.Context(), call, script, []string{l.account("a")})
				var reply redis.Error
				var unsure interface{ Uncertain() bool }
				if !errors.As(err, &reply) || !strings.Contains(err.Error(), want) || errors.As(err, &unsure) {
					t.Errorf("%s: %v, want the server's error with %q", script, err, want)
				}
				if strings.HasPrefix(want, "FUNDS") && !redis.HasErrorPrefix(err, "FUNDS") {
					t.Errorf("%v does not begin with what the script answered", err)
				}
				if after := describe(l.target, dump(t, l.target)); after != before {
					t.Errorf("%s has written.\n--- before\n%s--- after\n%s", script, before, after)
				}
				if _, err := l.barrier.Run(t.Context(), call, book, []string{l.account("a")}, "+"); err != nil {
					t.Errorf("the next attempt after %s: %v", script, err)
				}
			}
		})
	}
}

// TestBarrierChecksBeforeItWrites: where its own key has a wrong type, the effect
// is not run.
func TestBarrierChecksBeforeItWrites(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			l := newLedger(t, server.new(t))
			if err := l.client.Set(t.Context(), l.namespace+":barrier:{a}:a", "x", 0).Err(); err != nil {
				t.Fatal(err)
			}
			for _, call := range []func(context.Context, runner, string) (string, error){l.do, l.undo} {
				if _, err := call(t.Context(), l.barrier, "a"); err == nil {
					t.Error("it takes a string for its record")
				}
			}
			if got := l.booked(t, "a"); got != "" {
				t.Errorf("%q was booked", got)
			}
		})
	}
}

// TestBarrierParts: each script of a handler is behind the barrier for itself.
func TestBarrierParts(t *testing.T) {
	l := newLedger(t, inProcess(t))
	for _, part := range []string{"", "one", "two", "one"} {
		if _, err := l.barrier.Run(t.Context(), store.Call{Key: "a/do", Part: part}, book, []string{l.account("a")}, "+"); err != nil {
			t.Error(err)
		}
	}
	if got := l.booked(t, "a"); got != "+++" {
		t.Errorf("%q was booked, want +++", got)
	}
}

// TestBarrierStored pins the keys and fields, which are the format, and how long
// they live.
func TestBarrierStored(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg := server.new(t)
			const retention = 20 * 24 * time.Hour
			b, err := redisstore.OpenBarrier(t.Context(), redisstore.BarrierConfig{
				Client: tg.client, Namespace: tg.namespace, Retention: retention, AcceptUnknownEviction: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			run := func(call store.Call, script string, keys ...string) {
				t.Helper()
				if _, err := b.Run(t.Context(), call, script, keys); err != nil {
					t.Fatal(err)
				}
			}
			check := func(key string, want map[string]string) {
				t.Helper()
				got, err := tg.client.HGetAll(t.Context(), tg.namespace+key).Result()
				if err != nil || !maps.Equal(got, want) {
					t.Errorf("%s has %v, %v, want %v", key, got, err, want)
				}
				ttl, err := tg.client.PTTL(t.Context(), tg.namespace+key).Result()
				if err != nil || ttl > retention || ttl < retention-time.Minute {
					t.Errorf("%s lives for %s, %v, want %s", key, ttl, err, retention)
				}
			}
			do, undo := store.Call{Key: "ride 1/1//A/1/do"}, store.Call{Key: "ride 1/1//A/1/undo"}
			run(do, "return 'r'", "x{t}y")
			check(":barrier:{t}:ride%201/1//A/1", map[string]string{"a": "1", "r": "r"})
			if err := tg.client.PExpire(t.Context(), tg.namespace+":barrier:{t}:ride%201/1//A/1", time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
			run(undo, "return 's'", "x{t}y")
			check(":barrier:{t}:ride%201/1//A/1", map[string]string{"a": "1", "r": "r", "u": "1"})
			do.Part, undo.Part = "p", "p"
			run(undo, "return 's'", "no tag")
			check(":barrier:ride%201/1//A/1#p", map[string]string{"u": "1"})
		})
	}
}

// TestBarrierScript holds the script to its header and to its own keys.
func TestBarrierScript(t *testing.T) {
	text, err := os.ReadFile("barrier.lua")
	if err != nil {
		t.Fatal(err)
	}
	comment, code := header(string(text))
	for _, section := range []string{"-- barrier: ", "-- KEYS  1 ", "-- ARGV  1 ", "-- returns "} {
		if !strings.Contains(comment, section) {
			t.Errorf("barrier.lua has no %q", section)
		}
	}
	for _, m := range firstOfCall.FindAllStringSubmatch(code, -1) {
		if m[2] != "KEYS[1]" {
			t.Errorf("barrier.lua: %s) is not on its key", m[0])
		}
	}
	whole := redisstore.BarrierScript("return 'the effect'")
	if !strings.Contains(whole, "\nreturn 'the effect'\n") || !strings.HasPrefix(whole, comment) {
		t.Errorf("the whole script:\n%s", whole)
	}
	// Without this package's help.
	client := inProcess(t).client
	for _, want := range []string{"RUN", "REPEATED"} {
		got, err := client.Eval(t.Context(), whole, []string{"record{a}", "{a}"}, "do", 1000, 0).Slice()
		if err != nil || len(got) != 2 || got[0] != want || got[1] != "the effect" {
			t.Errorf("%v, %v, want %s", got, err, want)
		}
	}
}

// TestBarrierProperties: whatever calls of an action and of its undo come, and
// whichever fail or lose their answers, the effects are as the model says.
func TestBarrierProperties(t *testing.T) {
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			tg, p := throughProxy(t, server.new(t))
			l := newLedger(t, tg)
			var loses bool
			p.setFate(func(request []byte) fate {
				if loses && bytes.Contains(request, []byte("RPUSH")) && bytes.Contains(request, []byte("HMGET")) {
					loses = false
					return unsaid
				}
				return pass
			})
			visits := 0
			rapid.Check(t, func(rt *rapid.T) {
				visits++
				name := fmt.Sprintf("v%d", visits)
				var done, undone bool
				booked := ""
				for range rapid.IntRange(1, 8).Draw(rt, "calls") {
					undo, fails := rapid.Bool().Draw(rt, "undo"), rapid.Bool().Draw(rt, "fails")
					known := undo && done && rapid.Bool().Draw(rt, "known")
					loses = rapid.Bool().Draw(rt, "loses")
					key, sign := "/do", "+"
					if undo {
						key, sign = "/undo", "-"
					}
					due := undo && done && !undone || !undo && !done && !undone
					refused := !undo && undone
					// A text of its own, which the server has to be sent.
					script := fmt.Sprintf("-- %d\n%s", rapid.IntRange(0, 1_000_000).Draw(rt, "text"), book)
					if fails {
						script = "if true then return redis.error_reply('FAILED') end\n" + script
					}
					_, err := l.barrier.Run(t.Context(), store.Call{Key: name + key, Done: known}, script, []string{l.account(name)}, sign)
					loses = false
					var is *store.RefusedError
					switch {
					case refused != errors.As(err, &is):
						rt.Fatalf("undo %t: %v, want it refused: %t", undo, err, refused)
					case !refused && (err != nil) != (due && fails):
						rt.Fatalf("undo %t, fails %t: %v, and it was due: %t", undo, fails, err, due)
					}
					switch {
					case due && !fails:
						booked += sign
						done, undone = true, undo
					case undo && !done:
						undone = true
					}
					if got := l.booked(t, name); got != booked {
						rt.Fatalf("%q was booked, want %q", got, booked)
					}
				}
			})
		})
	}
}

// TestBarrierRecordSize holds the documented memory of a record to a
// redis-server.
func TestBarrierRecordSize(t *testing.T) {
	for _, server := range servers(t) {
		if server.name != "redis-server" {
			continue // others count otherwise
		}
		l := newLedger(t, server.new(t))
		const call = "fc9ab3d4-8e52-4f2b-9d3c-50a1e7/1//UpdateAccount/1"
		if _, err := l.barrier.Run(t.Context(), store.Call{Key: call + "/do"}, "return 1", []string{"{customer-1}"}); err != nil {
			t.Fatal(err)
		}
		got, err := l.client.MemoryUsage(t.Context(), l.namespace+":barrier:{customer-1}:"+call).Result()
		if err != nil || got > 200 || got < 100 {
			t.Errorf("a record takes %d bytes, %v, documented are 200 with what is shown nowhere", got, err)
		}
	}
}
