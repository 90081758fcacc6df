package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// lines returns each group in one line: its count and what its key has.
func lines(g dlq.Grouping) []string {
	var all []string
	for _, group := range g.Groups {
		text := fmt.Sprint(group.Count)
		for _, d := range dlq.Dimensions() {
			if value, ok := group.Key[d]; ok {
				text += fmt.Sprintf(" %s=%q", d, value)
			}
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

type timeoutError struct{ ride int }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("ride %d: HTTP 503 of bank-%d", e.ride, e.ride)
}

func declined(err error, at time.Time) func(*queue.Failure) {
	return func(f *queue.Failure) {
		f.Message, f.Chain = err.Error(), queue.ErrorChain(err)
		f.FirstFailure, f.LastFailure = at.Add(-time.Minute), at
	}
}

// TestGroups holds that messages of one cause are one group, on every server,
// and that those which Waybill did not write are grouped by what they have.
func TestGroups(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		at := time.Date(2026, 1, 2, 3, 40, 0, 0, time.UTC)
		for i := range 3 {
			s.bury("fares-dlq", fmt.Sprint("t", i), `{}`, "fares", declined(fmt.Errorf("charge: %w", &timeoutError{i}), at.Add(time.Duration(i)*time.Minute)))
		}
		s.bury("fares-dlq", "later", `{}`, "fares", declined(fmt.Errorf("charge: %w", &timeoutError{4}), at.Add(time.Hour)))
		s.bury("fares-dlq", "plain", `{}`, "fares", declined(errors.New("amount 12 is below 0"), at), func(f *queue.Failure) { f.Reason = queue.ReasonExhausted })
		s.send("fares-dlq", `{"b":"x","a":1}`, `{"a":2,"b":"y"}`, `[1]`)
		c := s.client(fares())
		got, err := c.Groups(s.Context(), "fares-dlq", dlq.GroupOptions{})
		if err != nil {
			s.Fatal(err)
		}
		hour := got.Groups[slices.IndexFunc(got.Groups, func(g dlq.Group) bool { return g.Key[dlq.ByBody] == "array" })].Key[dlq.ByHour]
		want := []string{
			`1 reason="exhausted" filter="charge" type="*errors.errorString" frame="amount # is below #" hour="2026-01-02T03:00:00Z"`,
			`1 reason="permanent" filter="charge" type="*dlq_test.timeoutError" frame="ride #: HTTP 503 of #" hour="2026-01-02T04:00:00Z"`,
			`1 reason="unrecorded" hour="` + hour + `" source="" attributes="" body="array"`,
			`2 reason="unrecorded" hour="` + hour + `" source="" attributes="" body="{a: number, b: string}"`,
			`3 reason="permanent" filter="charge" type="*dlq_test.timeoutError" frame="ride #: HTTP 503 of #" hour="2026-01-02T03:00:00Z"`,
		}
		if lines := lines(got); !slices.Equal(lines, want) {
			s.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
		if g := got.Groups[0]; g.Count != 3 || g.Sample != "t2" || !g.First.Equal(at.Add(-time.Minute)) || !g.Last.Equal(at.Add(2*time.Minute)) {
			s.Errorf("the largest group is %+v", g)
		}
		if got.Queue != s.full("fares-dlq") || got.Total != 8 || got.Seen != 8 || got.Others != 0 {
			s.Errorf("got %+v", got)
		}
		if n := s.visible("fares-dlq"); n != "8" {
			s.Errorf("%s messages can be received, want 8", n)
		}
		if _, err := c.Groups(s.Context(), "fares", dlq.GroupOptions{}); !errors.Is(err, dlq.ErrCounts) {
			s.Errorf("of a queue with a redrive policy: %v", err)
		}
		if _, err := c.Groups(s.Context(), "no-such", dlq.GroupOptions{}); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("of no queue: %v", err)
		}
	})
}

// TestGroupsOfWhatSQSMoved holds that messages which SQS itself moved are told
// apart by their source.
func TestGroupsOfWhatSQSMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		s.queue("rides", "fares-dlq", 1)
		s.send("fares", "a", "b")
		s.die("fares", "fares-dlq", 2)
		s.send("rides", "c")
		s.die("rides", "fares-dlq", 3)
		got, err := s.client().Groups(t.Context(), "fares-dlq", dlq.GroupOptions{By: []dlq.Dimension{dlq.BySource}})
		want := []string{`1 source="` + s.full("rides") + `"`, `2 source="` + s.full("fares") + `"`}
		if lines := lines(got); err != nil || !slices.Equal(lines, want) {
			t.Errorf("got %q, %v; want %q", lines, err, want)
		}
	})
}

// TestGroupsBy holds what each dimension tells.
func TestGroupsBy(t *testing.T) {
	const stack = "goroutine 7 [running]:\nruntime/debug.Stack()\n\t/go/src/runtime/debug/stack.go:26 +0x5e\n" +
		"example.com/pipeline.(*filter).call.func1()\n\t/src/pipeline/filter.go:176 +0x4a\n" +
		"panic({0x65e0?, 0x1?})\n\t/go/src/runtime/panic.go:860 +0x13a\nruntime.panicmem(...)\n\t/go/src/runtime/panic.go:262\n" +
		"runtime.sigpanic()\n\t/go/src/runtime/signal_unix.go:925 +0x359\n" +
		"example.com/fares.(*Charger).Charge(0x0, {0xc0, 0x10})\n\t/src/fares/charge.go:42 +0x1d\nmain.main()\n\t/src/main.go:9 +0x1\n"
	for _, tt := range []struct {
		by   dlq.Dimension
		body string
		edit func(*queue.Failure)
		want string
	}{
		{dlq.ByReason, "", nil, "permanent"},
		{dlq.ByFilter, "", nil, "charge"},
		{dlq.BySource, "", nil, "NS-fares"},
		{dlq.ByType, "", func(f *queue.Failure) { f.Chain = nil }, ""},
		{dlq.ByType, "", func(f *queue.Failure) {
			f.Chain = []string{"*fmt.wrapError: a: b", "*pq.Error: b", "*errors.errorString: b"}
		}, "*pq.Error"},
		{dlq.ByFrame, "", func(f *queue.Failure) { f.Chain, f.Message = nil, "trip-42 is gone" }, "# is gone"},
		{dlq.ByFrame, "", func(f *queue.Failure) { f.Chain = []string{"*smithy.OperationError: StatusCode: 400, id 5f1c-aa"} }, "StatusCode: 400, id #"},
		{dlq.ByFrame, "", func(f *queue.Failure) { f.Chain = []string{"*x.E: one\ntwo 3"} }, "one"},
		{dlq.ByFrame, "", func(f *queue.Failure) { f.Stack = stack }, "example.com/fares.(*Charger).Charge charge.go:42"},
		{dlq.ByFrame, "", func(f *queue.Failure) { f.Stack = stack[:strings.Index(stack, "\t/src/fares")] }, "example.com/fares.(*Charger).Charge"},
		{dlq.ByFrame, "", func(f *queue.Failure) { f.Stack = "panic(" }, "card declined"},
		{dlq.ByHour, "", func(f *queue.Failure) { f.LastFailure = time.Date(2026, 1, 2, 3, 59, 59, 0, time.FixedZone("", 1800)) }, "2026-01-02T03:00:00Z"},
		{dlq.ByHour, "", func(f *queue.Failure) { f.LastFailure = time.Time{} }, "2000-01-01T00:00:00Z"}, // when it was sent, in the bubble
		{dlq.ByAttributes, "", nil, "amount, colour"},
		{dlq.ByBody, "x", nil, "text"},
		{dlq.ByBody, "\xff\xfe", nil, "binary"},
		{dlq.ByBody, ` "x"`, nil, "string"},
		{dlq.ByBody, "true", nil, "boolean"},
		{dlq.ByBody, "null", nil, "null"},
		{dlq.ByBody, "-1", nil, "number"},
		{dlq.ByBody, `{"b":[],"a":{},"c": null}`, nil, "{a: object, b: array, c: null}"},
		{dlq.ByBody, `{"` + strings.Repeat("é", 300) + `":1}`, nil, "{" + strings.Repeat("é", 196) + "..."},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := embedded(t)
			s.queue("fares-dlq", "", 0)
			body := tt.body
			if body == "" {
				body = "{}"
			}
			edit := tt.edit
			if edit == nil {
				edit = func(*queue.Failure) {}
			}
			s.bury("fares-dlq", "m1", body, "fares", edit)
			got, err := s.client().Groups(t.Context(), "fares-dlq", dlq.GroupOptions{By: []dlq.Dimension{tt.by}})
			want := map[dlq.Dimension]string{tt.by: strings.ReplaceAll(tt.want, "NS", s.ns)}
			if err != nil || len(got.Groups) != 1 || !maps.Equal(got.Groups[0].Key, want) {
				t.Errorf("got %+v, %v; want %v", got, err, want)
			}
		})
	}
}

// TestGroupsUnreadable holds that a record which cannot be read is a cause of its
// own.
func TestGroupsUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		s.sendWith("q", "{}", queue.KeyFailure, `{"v":99}`)
		got, err := s.client().Groups(t.Context(), "q", dlq.GroupOptions{By: []dlq.Dimension{dlq.ByReason, dlq.ByFrame}})
		if err != nil || len(got.Groups) != 1 || got.Groups[0].Key[dlq.ByReason] != "unreadable" || !strings.Contains(got.Groups[0].Key[dlq.ByFrame], "its version is #") {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// TestGroupsChosen holds what Filter, Since, Until and Limit leave out.
func TestGroupsChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
		for i := range 30 {
			s.bury("q", fmt.Sprint(i), fmt.Sprintf(`{"n":%d}`, i), "fares", declined(errors.New("no"), at.Add(time.Duration(i)*time.Minute)))
		}
		s.send("q", "text") // failed when it was sent, for all that is known: in 2000
		f, err := dlq.ParseFilter(`.body.n % 2 == 0`)
		if err != nil {
			t.Fatal(err)
		}
		by := []dlq.Dimension{dlq.ByReason}
		c := s.client()
		got, err := c.Groups(t.Context(), "q", dlq.GroupOptions{By: by, Filter: f, Since: at.Add(10 * time.Minute), Until: at.Add(20 * time.Minute)})
		if err != nil || got.Seen != 31 || got.Outside != 21 || got.Filtered != 5 || got.FilterErrors != 0 || len(got.Groups) != 1 || got.Groups[0].Count != 5 {
			t.Errorf("got %+v, %v", got, err)
		}
		got, err = c.Groups(t.Context(), "q", dlq.GroupOptions{By: by, Filter: f})
		if err != nil || got.Filtered != 16 || got.FilterErrors != 1 || !strings.Contains(got.FilterError, "filter on message") || got.Groups[0].Count != 15 {
			t.Errorf("got %+v, %v", got, err)
		}
		got, err = c.Groups(t.Context(), "q", dlq.GroupOptions{By: by, Limit: 7})
		if err != nil || got.Seen != 7 || got.Total != 31 {
			t.Errorf("got %+v, %v", got, err)
		}
		for want, opts := range map[string]dlq.GroupOptions{
			`By has "colour"; want some of reason, filter`: {By: []dlq.Dimension{"colour"}},
			"Limit is -1; want 1 to 100000":                {Limit: -1},
			"Limit is 100001":                              {Limit: 100001},
			"want Since before Until":                      {Since: at, Until: at},
		} {
			if _, err := c.Groups(t.Context(), "q", opts); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error with %q", err, want)
			}
		}
	})
}

// TestGroupsEmpty holds that nothing is no group, and no error.
func TestGroupsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		got, err := s.client().Groups(t.Context(), "q", dlq.GroupOptions{})
		if err != nil || asJSON(t, got) != `{"queue":"`+s.full("q")+`","total":0,"seen":0,"looked":false,"outside":0,"filtered":0,"filter_errors":0,"groups":[],"others":0}` {
			t.Errorf("got %s, %v", asJSON(t, got), err)
		}
	})
}

// TestGroupsMany holds that each of many messages is seen once and returned, and
// that groups are bounded.
func TestGroupsMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		const n = 1200
		for i := range n {
			s.sendWith("q", fmt.Sprintf(`{"f%d":1}`, i), "k", "v")
		}
		s.faulty(func(operation, _ string, _ int64) (f emulator.Fault) {
			if operation == "ReceiveMessage" {
				f.Delay = 5 * time.Second // longer in all than they stay hidden by themselves
			}
			return f
		})
		got, err := s.client().Groups(t.Context(), "q", dlq.GroupOptions{By: []dlq.Dimension{dlq.ByBody}})
		if err != nil || got.Seen != n || len(got.Groups) != 1000 || got.Others != 200 {
			t.Errorf("%d seen, %d groups, %d others, %v", got.Seen, len(got.Groups), got.Others, err)
		}
		if v := s.visible("q"); v != fmt.Sprint(n) {
			t.Errorf("%s messages can be received, want %d", v, n)
		}
	})
}

// TestGroupsFIFO holds that a FIFO queue is looked at as far as it shows.
func TestGroupsFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		if _, err := s.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(s.full("q.fifo")), Attributes: map[string]string{"FifoQueue": "true"}}); err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			if _, err := s.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: s.url("q.fifo"), MessageBody: aws.String("x"),
				MessageGroupId: aws.String(fmt.Sprint(i % 2)), MessageDeduplicationId: aws.String(fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.client().Groups(t.Context(), "q.fifo", dlq.GroupOptions{By: []dlq.Dimension{dlq.ByBody}})
		if err != nil || got.Total != 30 || got.Seen < 10 || got.Seen > 20 || got.Groups[0].Count != got.Seen {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// TestGroupsStops holds that the groups so far come with the error that ended
// it, and that what was held is back.
func TestGroupsStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("q", "", 0)
		for range 100 {
			s.send("q", "x")
		}
		stopped := errors.New("Ctrl-C")
		ctx, cancel := context.WithCancelCause(t.Context())
		var receives atomic.Int64
		s.faulty(func(operation, _ string, _ int64) (f emulator.Fault) {
			if operation == "ReceiveMessage" && receives.Add(1) == 6 {
				cancel(stopped)
			}
			return f
		})
		got, err := s.client().Groups(ctx, "q", dlq.GroupOptions{})
		if !errors.Is(err, stopped) || !strings.Contains(err.Error(), "has returned what it held") || got.Seen == 0 || got.Seen == 100 || got.Groups[0].Count != got.Seen {
			t.Errorf("got %+v, %v", got, err)
		}
		receives.Store(100)
		s.faulty(func(operation, _ string, _ int64) (f emulator.Fault) {
			if operation == "ReceiveMessage" && receives.Add(1) > 104 {
				f.Err = &emulator.Error{Code: "OverLimit", Status: http.StatusForbidden}
			}
			return f
		})
		got, err = s.client().Groups(t.Context(), "q", dlq.GroupOptions{})
		if err == nil || !strings.Contains(err.Error(), "OverLimit") || got.Seen != 40 {
			t.Errorf("got %+v, %v", got, err)
		}
		if v := s.visible("q"); v != "100" {
			t.Errorf("%s messages can be received", v)
		}
	})
}
