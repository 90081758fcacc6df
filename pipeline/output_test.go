package pipeline_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// An output that is too large never fits; one that cannot be sent now is sent
// later, without running the filter again.
func TestOutputsThatCannotBePublished(t *testing.T) {
	t.Run("too large", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStack(t, endpoint("in"), endpoint("out"))
			p := s.process().pipeline()
			p.Handle("grow", pipeline.Func(func(_ context.Context, f fare) (string, error) { return strings.Repeat("x", 2<<20), nil }),
				pipeline.From("in"), pipeline.To("out"))
			s.start(p)
			s.send("in", `{}`)
			settle(time.Second)
			got := s.one("in-dlq").failure(t)
			if got.Reason != queue.ReasonPermanent || !strings.Contains(got.Message, "message too large") {
				t.Errorf("got %s", asJSON(t, got))
			}
		})
	})
	t.Run("for a moment", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStack(t, endpoint("in"), endpoint("out"), endpoint("copy"))
			p := s.process().pipeline()
			charge := newScript(always(nil))
			p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("copy", "out"),
				pipeline.Retries(pipeline.Retry{Interval: 5 * time.Second}))
			mend := s.faulty("SendMessageBatch", "out", emulator.Fault{Err: errInternal})
			s.start(p)
			s.send("in", `{}`)
			time.AfterFunc(4*time.Second, mend)
			settle(20 * time.Second)
			s.one("out")
			s.one("copy")
			if n := len(charge.ran()); n != 1 {
				t.Errorf("the filter ran %d times", n)
			}
		})
	})
	t.Run("one of two", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStack(t, endpoint("in"), endpoint("out"))
			p := s.process().pipeline()
			p.Handle("split", pipeline.Split(func(context.Context, fare) ([]int, error) { return []int{1, 2}, nil }),
				pipeline.From("in"), pipeline.To("out"), pipeline.Retries(pipeline.Retry{Interval: 5 * time.Second}))
			mend := s.faulty("SendMessageBatch", "out", emulator.Fault{FailEntry: func(e emulator.Entry) *emulator.Error {
				if e.Body == "2" {
					return errInternal
				}
				return nil
			}})
			s.start(p)
			s.send("in", `{}`)
			time.AfterFunc(4*time.Second, mend)
			settle(20 * time.Second)
			if got := bodies(s.take("out")); !slices.Equal(got, []string{"1", "2"}) {
				t.Errorf("out holds %v", got)
			}
		})
	})
	t.Run("refused for what it is", func(t *testing.T) {
		for name, metadata := range map[string]message.Metadata{
			"by the service":   {"colour": "red"},
			"by the publisher": {queue.KeyDelay: "16m"},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStack(t, endpoint("in"), endpoint("out"))
					p := s.process().pipeline()
					p.Handle("charge", pipeline.Messages(func(context.Context, pipeline.Msg[fare]) ([]pipeline.Msg[fare], error) {
						return []pipeline.Msg[fare]{{Metadata: metadata}}, nil
					}), pipeline.From("in"), pipeline.To("out"))
					s.faulty("SendMessageBatch", "out", emulator.Fault{FailEntry: func(emulator.Entry) *emulator.Error {
						return &emulator.Error{Code: "InvalidParameterValue", Message: "The colour is refused.", Status: 400}
					}})
					s.start(p)
					s.send("in", `{}`)
					settle(time.Second)
					if got := s.one("in-dlq").failure(t); got.Reason != queue.ReasonPermanent || got.ReceiveCount != 1 {
						t.Errorf("got %s", asJSON(t, got))
					}
				})
			})
		}
	})
	t.Run("refused for what the queue is", func(t *testing.T) {
		for _, code := range []string{"KmsDisabled", "KMS.InvalidStateException", "UnsupportedOperation", "InvalidParameterValue", "SomethingNew"} {
			t.Run(code, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStack(t, endpoint("in"), endpoint("out"))
					p := s.process().pipeline()
					charge := newScript(always(nil))
					p.Handle("charge", pipeline.Func(charge.filter), pipeline.From("in"), pipeline.To("out"))
					mend := s.faulty("SendMessageBatch", "out", emulator.Fault{Err: &emulator.Error{Code: code, Message: "no", Status: 400}})
					s.start(p)
					s.send("in", `{}`)
					settle(15 * time.Second) // receives at 0 and 10 s
					mend()
					settle(time.Minute)
					if out, dead := len(s.take("out")), s.left("in-dlq"); out != 1 || dead != 0 {
						t.Errorf("out holds %d messages and the dead-letter queue %d, want 1 and 0", out, dead)
					}
				})
			})
		}
	})
	t.Run("outlet that is not connected", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStack(t, endpoint("in"), endpoint("out"))
			p := s.process().pipeline()
			p.Handle("charge", pipeline.Func(func(ctx context.Context, f fare) (fare, error) {
				pipeline.FromContext(ctx).SetOutlet("declined")
				return f, nil
			}), pipeline.From("in"), pipeline.To("out"))
			s.start(p)
			s.send("in", `{}`)
			settle(5 * time.Minute)
			if got := s.one("in-dlq").failure(t); got.Reason != queue.ReasonExhausted || !strings.Contains(got.Message, "set filters.charge.outlets.declined") {
				t.Errorf("got %s", asJSON(t, got))
			}
		})
	})
}
