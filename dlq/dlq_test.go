package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// sleepSecond is for what a queue does after a second of its own time.
func sleepSecond() { time.Sleep(1100 * time.Millisecond) }

func fares() queue.Endpoint {
	return queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"}
}

func TestList(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 3)
		s.queue("rides", "fares-dlq", 4)
		s.queue("plain", "", 0)
		s.queue("sent-to", "", 0)
		s.send("fares-dlq", "a", "b")
		list, err := s.client(fares(),
			queue.Endpoint{Name: "other", URL: "sqs://plain", DeadLetter: "sqs://sent-to"},
			queue.Endpoint{Name: "planned", URL: "sqs://planned", DeadLetter: "sqs://planned-dlq"},
		).List(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		var got []string
		for _, q := range list {
			got = append(got, fmt.Sprint(strings.TrimPrefix(q.Name, s.ns+"-"), " ", q.Messages, " ", q.Missing))
			for _, source := range q.Sources {
				got = append(got, fmt.Sprint("  ", strings.TrimPrefix(source.Name, s.ns+"-"), " ", source.Endpoint, " ", source.MaxReceiveCount))
			}
		}
		want := []string{
			"fares-dlq 2 false", "  fares fares 3", "  rides  4",
			"planned-dlq 0 true", "  planned planned 0",
			"sent-to 0 false", "  plain other 0",
		}
		if !slices.Equal(got, want) {
			s.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// Queues that may not be read do not hide the others.
func TestListUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 3)
		s.queue("rides-dlq", "", 0)
		s.queue("rides", "rides-dlq", 3)
		s.queue("secret", "", 0)
		s.send("fares-dlq", "a")
		hidden := map[string]bool{"secret": true, "rides-dlq": true}
		s.faulty(func(operation, queueName string, _ int64) (f emulator.Fault) {
			if operation == "GetQueueAttributes" && (hidden == nil || hidden[queueName]) {
				f.Err = &emulator.Error{Code: "AccessDenied", Status: 403}
			}
			return f
		})
		list, err := s.client().List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, q := range list {
			got = append(got, fmt.Sprint(strings.TrimPrefix(q.Name, s.ns+"-"), " ", q.Messages, " ", q.Unreadable, q.Missing, " ", len(q.Sources), q.URL != ""))
		}
		want := []string{"fares-dlq 1 false false 1 true", "rides-dlq 0 true false 1 true", "secret 0 true false 0 true"}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		hidden = nil // all of them
		if list, err := s.client().List(t.Context()); !errors.Is(err, queue.ErrAccess) {
			t.Errorf("got %v, %v; want ErrAccess where nothing can be read", list, err)
		}
	})
}

func TestPeek(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		s.bury("fares-dlq", "m1", `{"amount":7}`, "fares", func(f *queue.Failure) { f.Attempts = 3 })
		sleepSecond()
		s.send("fares-dlq", "plain text")
		sleepSecond()
		s.send("fares", `[1]`)
		s.die("fares", "fares-dlq", 3)

		c := s.client(fares())
		for range 2 { // each returns the messages
			letters, err := c.Peek(s.Context(), "fares-dlq", 10)
			if err != nil {
				s.Fatal(err)
			}
			if len(letters) != 3 {
				s.Fatalf("%d letters, want 3", len(letters))
			}
			l := letters[0]
			if l.ID != "m1" || string(l.Body) != `{"amount":7}` || l.Metadata["colour"] != "red" || l.Source != "sqs://"+s.full("fares") {
				s.Errorf("letter %+v", l)
			}
			if l.Failure == nil || l.Failure.Filter != "charge" || l.Failure.Attempts != 3 || l.Problem != nil {
				s.Errorf("failure %+v, problem %v", l.Failure, l.Problem)
			}
			if l = letters[1]; string(l.Body) != "plain text" || l.Failure != nil || l.Source != "" || l.ID != l.MessageID {
				s.Errorf("letter %+v", l)
			}
			if l = letters[2]; string(l.Body) != "[1]" || !strings.HasSuffix(l.Source, s.full("fares")) && s.name != "elasticmq" && s.name != "moto" {
				s.Errorf("letter %+v", l)
			}
		}
		if n := s.visible("fares-dlq"); n != "3" {
			s.Errorf("%s messages can be received, want 3", n)
		}
		if letters, err := c.Peek(s.Context(), "fares-dlq", 2); err != nil || len(letters) != 2 {
			s.Errorf("%d letters, %v; want 2", len(letters), err)
		}
		if _, err := c.Peek(s.Context(), "fares", 1); !errors.Is(err, dlq.ErrCounts) {
			s.Errorf("peek into a queue with a redrive policy: %v", err)
		}
		if _, err := c.Peek(s.Context(), "no-such", 1); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("peek into no queue: %v", err)
		}
	})
}

// A peek that takes longer than its messages stay hidden keeps them hidden: it
// sees each once, and ends.
func TestPeekTakesLong(t *testing.T) {
	for name, fail := range map[string]*emulator.Error{"extended": nil, "not extended": errInternal} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := embedded(t)
				s.queue("fares-dlq", "", 0)
				const n = 400
				for i := range n {
					s.send("fares-dlq", fmt.Sprint(i))
				}
				// Another has some: not all that are counted will come.
				stolen := 0
				steal := func() {
					out, err := s.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: s.url("fares-dlq"), MaxNumberOfMessages: 10, VisibilityTimeout: 43200})
					if err != nil {
						t.Error(err)
						return
					}
					stolen += len(out.Messages)
				}
				s.faulty(func(operation, _ string, number int64) emulator.Fault {
					switch {
					case operation == "ChangeMessageVisibilityBatch":
						return emulator.Fault{Err: fail}
					case operation != "ReceiveMessage":
						return emulator.Fault{}
					case number == 1:
						steal()
					}
					return emulator.Fault{Delay: time.Second}
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				letters, err := s.client().Peek(ctx, "fares-dlq", n)
				s.emulator.SetFault(nil)
				if err != nil {
					t.Fatal(err)
				}
				seen := map[string]bool{}
				for _, l := range letters {
					seen[l.MessageID] = true
				}
				if len(letters) > n-stolen || len(seen) != len(letters) || fail == nil && len(letters) != n-stolen {
					t.Errorf("%d letters, %d of them different; want the %d that nobody else has", len(letters), len(seen), n-stolen)
				}
			})
		})
	}
}

func TestPeekStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.send("fares-dlq", "a")
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("Ctrl-C")
		cancel(stopped)
		c := s.client()
		if _, err := c.Peek(ctx, s.full("fares-dlq"), 1); !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if n := s.visible("fares-dlq"); n != "1" {
			t.Errorf("%s messages can be received", n)
		}
	})
}

// What cannot be read is shown as far as it can be.
func TestLettersThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws})
		if err != nil {
			t.Fatal(err)
		}
		defer pub.Close()
		for i, record := range []string{`{"v":99}`, `nonsense`} {
			msg := message.NewMessage(fmt.Sprint("m", i), []byte("\xff\xfe"))
			msg.Metadata.Set(queue.KeyFailure, record)
			if err := pub.Publish("sqs://"+s.full("q"), msg); err != nil {
				t.Fatal(err)
			}
		}
		letters, err := s.client().Peek(t.Context(), "q", 10)
		if err != nil || len(letters) != 2 {
			t.Fatalf("%v, %v", letters, err)
		}
		for _, l := range letters {
			if l.Problem == nil || l.Failure != nil || string(l.Body) != "\xff\xfe" {
				t.Errorf("letter %+v", l)
			}
			if got := asJSON(t, l); !strings.Contains(got, `"body":"//4="`) || !strings.Contains(got, `"failure":null`) {
				t.Errorf("JSON %s", got)
			}
		}
	})
}

func TestFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		s.bury("q", "m1", `{"amount":120,"note":"a"}`, "fares", func(f *queue.Failure) { f.Attempts = 3 })
		letters, err := s.client().Peek(t.Context(), "q", 1)
		if err != nil || len(letters) != 1 {
			t.Fatal(letters, err)
		}
		l := letters[0]
		for text, want := range map[string]bool{
			`.body.amount > 100`: true,
			`.body.amount > 200`: false,
			`.failure.reason == "permanent" and .failure.filter == "charge" and .failure.attempts == 3`: true,
			`.failure.chain | any(contains("declined"))`:                                                true,
			`.attributes.colour == "red" and .attributes.amount == "7"`:                                 true,
			`.attributes | has("Waybill-Failure")`:                                                      false,
			`.source | endswith("-fares")`:                                                              true,
			`.id == "m1" and .generation == 0 and .receive_count == 1 and .problem == null`:             true,
			`.sent_at > "1999"`: true,
			`.body.missing`:     false,
			`.body.note`:        true,
			`null`:              false,
			`empty`:             false,
			`0`:                 true, // as jq's select has it
			`env | length > 0`:  false,
			`halt`:              false,
		} {
			f, err := dlq.ParseFilter(text)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			got, err := f.Match(t.Context(), l)
			if err != nil || got != want {
				t.Errorf("%s: %v, %v; want %v", text, got, err, want)
			}
		}
		for _, text := range []string{`.body + 1`, `.id.x`, `error("no")`} {
			f, err := dlq.ParseFilter(text)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if got, err := f.Match(t.Context(), l); err == nil || got {
				t.Errorf("%s: %v, %v; want an error", text, got, err)
			}
		}
		for _, text := range []string{`.body ==`, `no_such_function`, `$x`, `input`} {
			var bad *dlq.FilterError
			if _, err := dlq.ParseFilter(text); !errors.As(err, &bad) || bad.Filter != text {
				t.Errorf("%s: %v, want a FilterError", text, err)
			}
		}
	})
}

// A filter that never ends does not keep the job.
func TestFilterThatNeverEnds(t *testing.T) {
	f, err := dlq.ParseFilter(`def f: f; f`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Match(t.Context(), &dlq.Letter{ID: "m1"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if _, err := dlq.New(dlq.Config{}); err == nil || !strings.Contains(err.Error(), "no Queues") {
			t.Errorf("got %v", err)
		}
		s := embedded(t)
		s.queue("q", "", 0)
		for want, opts := range map[string]dlq.Options{
			"From is empty":               {},
			"Limit is -1":                 {From: "q", Limit: -1},
			"Rate is -1":                  {From: "q", Rate: -1},
			"Workers is -1":               {From: "q", Workers: -1},
			"Visibility is 1.5s":          {From: "q", Visibility: 1500 * time.Millisecond},
			"To: \"" + s.full("q"):        {From: "q", To: "q"},
			"To: queue: GetQueueUrl":      {From: "q", To: "no-such"},
			`endpoint "` + s.full("gone"): {From: "gone"},
		} {
			if _, err := s.client().Redrive(t.Context(), opts); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error with %q", err, want)
			}
		}
	})
}
