package pipeline_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// While the dead-letter queue cannot be reached, the message stays in its own;
// it is moved when the dead-letter queue is back.
func TestNothingIsLostWithoutTheDeadLetterQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(always(pipeline.Permanent(errDeclined)))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		mend := s.faulty("SendMessageBatch", "in-dlq", emulator.Fault{Err: errInternal})
		s.start(p)
		s.send("in", `{"id":"f1"}`)
		settle(10 * time.Second)
		if in, dead := s.left("in"), s.left("in-dlq"); in != 1 || dead != 0 {
			t.Fatalf("in holds %d messages and its dead-letter queue %d, want 1 and 0", in, dead)
		}
		mend()
		settle(time.Minute)
		got := s.one("in-dlq").failure(t)
		if got.ReceiveCount < 2 || got.Attempts != got.ReceiveCount || !got.FirstFailure.Before(got.LastFailure) {
			t.Errorf("got %s", asJSON(t, got))
		}
	})
}

// Where the answer of the move is lost, the dead-letter queue holds the message
// more than once, under one id, and so it does where an entry of a delete fails for
// long. Where the whole delete fails, that is tried again,
// and the message is not moved again meanwhile.
func TestDuplicatesInTheDeadLetterQueueHaveOneID(t *testing.T) {
	for name, fault := range map[string]struct {
		operation, queue string
		fault            emulator.Fault
		doubled          bool
	}{
		"answer of the move lost":   {"SendMessageBatch", "in-dlq", emulator.Fault{DropAnswer: true}, true},
		"delete fails":              {"DeleteMessageBatch", "in", emulator.Fault{Err: errInternal}, false},
		"entry of the delete fails": {"DeleteMessageBatch", "in", emulator.Fault{FailEntry: func(emulator.Entry) *emulator.Error { return errInternal }}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, endpoint("in"), endpoint("out"))
				p := s.process().pipeline()
				charge := newScript(always(pipeline.Permanent(errDeclined)))
				p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
				mend := s.faulty(fault.operation, fault.queue, fault.fault)
				s.start(p)
				id := s.send("in", `{"id":"f1"}`)
				settle(3 * time.Minute)
				mend()
				settle(3 * time.Minute)
				all := s.take("in-dlq")
				if len(all) == 0 || (len(all) > 1) != fault.doubled {
					t.Errorf("the dead-letter queue holds %d messages, want more than one: %t", len(all), fault.doubled)
				}
				for _, dead := range all {
					// SQS itself moves a message without an attribute for its id: its own stays.
					if dead.uuid() != id && dead.id != id {
						t.Errorf("a dead letter has the id %q, want %q", dead.uuid(), id)
					}
				}
				if n := s.left("in"); n != 0 {
					t.Errorf("in holds %d messages", n)
				}
			})
		})
	}
}

// A message near the size limit fits its dead-letter queue: the record of the
// failure is cut, from everything down to nothing.
func TestDeadLettersFit(t *testing.T) {
	long := pipeline.Permanent(fmt.Errorf("outer: %w", errors.New(strings.Repeat("a long story ", 50_000))))
	cases := []struct {
		name string
		room int // between the message and the limit
		want func(t *testing.T, f queue.Failure, ok bool)
	}{
		{"far from the limit", 500_000, func(t *testing.T, f queue.Failure, ok bool) {
			if !ok || len(f.Chain) != 3 || f.Message == "" || f.Size() > 64<<10 {
				t.Errorf("got %v %.2000s", ok, asJSON(t, f))
			}
		}},
		{"near the limit", 1000, func(t *testing.T, f queue.Failure, ok bool) {
			if !ok || !f.Cut || f.Filter != "charge" || f.Attempts != 1 || f.FirstFailure.IsZero() || f.Message == "" {
				t.Errorf("got %v %s", ok, asJSON(t, f))
			}
		}},
		{"nearer", 300, func(t *testing.T, f queue.Failure, ok bool) {
			if !ok || !f.Cut || f.Reason != queue.ReasonPermanent || f.Source != "sqs://in" || f.Attempts != 1 || f.FirstFailure.IsZero() || f.LastFailure.IsZero() || !strings.HasPrefix(f.Message, "outer: a long") {
				t.Errorf("got %v %s", ok, asJSON(t, f))
			}
		}},
		{"nearer still", 200, func(t *testing.T, f queue.Failure, ok bool) {
			if !ok || !f.Cut || f.Reason != queue.ReasonPermanent || f.Source != "sqs://in" || f.Attempts != 1 || !strings.HasPrefix(f.Message, "outer: a long") {
				t.Errorf("got %v %s", ok, asJSON(t, f))
			}
		}},
		{"very near", 160, func(t *testing.T, f queue.Failure, ok bool) {
			if !ok || f.Reason != queue.ReasonPermanent || f.Source != "sqs://in" || f.Filter != "charge" || !strings.HasPrefix(f.Message, "outer") {
				t.Errorf("got %v %s", ok, asJSON(t, f))
			}
		}},
		{"all but there", 65, func(t *testing.T, f queue.Failure, ok bool) {
			if !ok || f.Reason != queue.ReasonPermanent {
				t.Errorf("got %v %s", ok, asJSON(t, f))
			}
		}},
		{"at the limit", 0, func(t *testing.T, f queue.Failure, ok bool) {
			if ok {
				t.Errorf("a record has room: %s", asJSON(t, f))
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, endpoint("in"), endpoint("out"))
				p := s.process().pipeline()
				charge := newScript(always(long))
				p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
				s.start(p)
				const uuid = "the-same-id"
				used := len(`{"id":""}`) + len(queue.AttrUUID) + len("String") + len(uuid)
				body := fmt.Sprintf(`{"id":"%s"}`, strings.Repeat("x", queue.DefaultMaxQueueMessage-used-c.room))
				s.send("in", body, queue.AttrUUID, uuid)
				settle(time.Second)
				dead := s.one("in-dlq")
				if dead.body != body || dead.uuid() != uuid {
					t.Error("the message was changed")
				}
				f, ok, err := queue.DecodeFailure(dead.attributes)
				if err != nil {
					t.Fatal(err)
				}
				c.want(t, f, ok)
			})
		})
	}
}

// A message of another writer, whose attributes have to be packed for its id and
// the record, has one from 160 bytes before the limit on.
func TestDeadLetterOfAnotherWriterFits(t *testing.T) {
	for room, want := range map[int]bool{100: false, 160: true} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, endpoint("in"), endpoint("out"))
				p := s.process().pipeline()
				charge := newScript(always(pipeline.Permanent(errDeclined)))
				p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
				s.start(p)
				var attributes []string
				used := len(`{"id":""}`)
				for i := range 9 {
					attributes = append(attributes, fmt.Sprint("key", i), "v")
					used += len("key0" + "String" + "v")
				}
				s.send("in", fmt.Sprintf(`{"id":"%s"}`, strings.Repeat("x", queue.DefaultMaxQueueMessage-used-room)), attributes...)
				settle(time.Second)
				f, ok, err := queue.DecodeFailure(s.one("in-dlq").attributes)
				if ok != want || err != nil || ok && f.Reason != queue.ReasonPermanent {
					t.Errorf("got %v %s, %v", ok, asJSON(t, f), err)
				}
			})
		})
	}
}

// A message at the limit that was sent without an id has no room for one: the
// queue itself moves it, as it is.
func TestDeadLetterWithoutRoomForItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(always(pipeline.Permanent(errDeclined)))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		body := fmt.Sprintf(`{"id":"%s"}`, strings.Repeat("x", queue.DefaultMaxQueueMessage-len(`{"id":""}`)))
		id := s.send("in", body)
		settle(5 * time.Minute)
		if dead := s.one("in-dlq"); dead.body != body || dead.id != id || len(dead.attributes) != 0 {
			t.Errorf("the message was changed: it has the id %s, was %s, and %v", dead.id, id, dead.attributes)
		}
	})
}

// Metadata that the record displaces from the attributes of the message costs
// more than it did; the record leaves room for it.
func TestDeadLetterWithManyAttributesFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(always(pipeline.Permanent(errors.New(strings.Repeat("a long story ", 500)))))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		attributes := []string{queue.AttrUUID, "m1"}
		for i := range 9 {
			attributes = append(attributes, fmt.Sprint("key", i), strings.Repeat(`"`, 40))
		}
		used := len(`{"id":""}`) + len("String")*len(attributes)/2
		for _, a := range attributes {
			used += len(a)
		}
		body := fmt.Sprintf(`{"id":"%s"}`, strings.Repeat("x", queue.DefaultMaxQueueMessage-used-1000))
		s.send("in", body, attributes...)
		settle(time.Second)
		dead := s.one("in-dlq")
		if f := dead.failure(t); !f.Cut || f.Filter != "charge" || f.Attempts != 1 || f.Message == "" {
			t.Errorf("got %s", asJSON(t, f))
		}
		if len(dead.attributes) != 10 || dead.attributes[queue.AttrMetadata] == "" {
			t.Errorf("attributes %v", dead.attributes)
		}
	})
}

// Limits that configuration knows are kept, that of the source as well: the
// record is then as long as can be.
func TestDeadLetterKeepsConfiguredLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := endpoint("in")
		e.MaxMessageSize = 2048
		s := newStack(t, e, endpoint("out"))
		s.setAttribute("in", "MaximumMessageSize", "2048")
		s.setAttribute("in-dlq", "MaximumMessageSize", "2048")
		p := s.process().pipeline()
		charge := newScript(always(pipeline.Permanent(errors.New(strings.Repeat("a long story ", 500)))))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", fmt.Sprintf(`{"id":"%s"}`, strings.Repeat("x", 1500)))
		settle(time.Second)
		if f := s.one("in-dlq").failure(t); !f.Cut || f.Attempts != 1 || f.Message == "" {
			t.Errorf("got %s", asJSON(t, f))
		}
	})
}

// Where the queue's own limit is lower than configuration knows, its refusal
// shortens the record.
func TestDeadLetterFitsAQueueWithALowerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		s.setAttribute("in-dlq", "MaximumMessageSize", "2048")
		p := s.process().pipeline()
		charge := newScript(always(pipeline.Permanent(errors.New(strings.Repeat("a long story ", 500)))))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", fmt.Sprintf(`{"id":"%s"}`, strings.Repeat("x", 1500)))
		settle(time.Second)
		if got := s.one("in-dlq").failure(t); !got.Cut || got.Reason != queue.ReasonPermanent || !strings.HasPrefix(got.Message, "a long") {
			t.Errorf("got %s", asJSON(t, got))
		}
	})
}

// What a filter does to its message in a run that fails is not seen again.
func TestEachRunHasItsOwnMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"))
		p := s.process().pipeline()
		p.Handle("spoil", pipeline.Consume(func(m *message.Message) error {
			if m.Metadata.Get("spoilt") != "" {
				t.Error("a run sees what the one before did")
			}
			m.Metadata.Set("spoilt", "yes")
			return errDeclined
		}), pipeline.From("in"))
		s.start(p)
		s.send("in", `{}`, "colour", "red")
		settle(5 * time.Minute)
		if dead := s.one("in-dlq"); dead.attributes["colour"] != "red" || dead.attributes["spoilt"] != "" {
			t.Errorf("attributes %v", dead.attributes)
		}
	})
}

// A dead letter that is handled again and fails again carries one record: of
// its last failure.
func TestDeadLetterOfADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, endpoint("in"), endpoint("out"))
		p := s.process().pipeline()
		charge := newScript(always(pipeline.Permanent(errDeclined)))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		old := `{"v":1,"reason":"expired","filter":"old","message":"` + strings.Repeat("x", 500) + `"}`
		used := len(`{"id":""}`) + len(queue.KeyFailure+old) + len("String")
		// At the limit: the new record has the room of the old one.
		s.send("in", fmt.Sprintf(`{"id":"%s"}`, strings.Repeat("x", queue.DefaultMaxQueueMessage-used)), queue.KeyFailure, old)
		settle(time.Second)
		if got := s.one("in-dlq").failure(t); got.Reason != queue.ReasonPermanent || got.Filter != "charge" {
			t.Errorf("got %s", asJSON(t, got))
		}
	})
}

// Without a dead-letter queue nothing is dropped: the message comes again.
func TestNoDeadLetterQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, queue.Endpoint{Name: "in", URL: "sqs://in"}, endpoint("out"))
		proc := s.process()
		p := proc.pipeline()
		charge := newScript(always(pipeline.Permanent(errDeclined)))
		p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
		s.start(p)
		s.send("in", `{"id":"f1"}`)
		settle(time.Minute)
		if n := s.left("in"); n != 1 {
			t.Errorf("in holds %d messages, want 1", n)
		}
		if n := len(charge.ran()); n < 2 {
			t.Errorf("the filter ran %d times", n)
		}
		if log := proc.log.String(); !strings.Contains(log, "there is no dead-letter queue") {
			t.Error("the log does not say that a dead-letter queue is missing")
		}
	})
}
