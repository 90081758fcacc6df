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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// Every message goes back to where it came from, as it was: by its record, by
// what SQS knows, or as the only source there is.
func TestRedriveToTheSource(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		s.bury("fares-dlq", "m1", `{"amount":7}`, "fares")
		s.send("fares", `native`)
		s.die("fares", "fares-dlq", 2)
		s.send("fares-dlq", `of unknown origin`)

		report, err := s.client(fares()).Redrive(s.Context(), dlq.Options{From: "fares-dlq"})
		if err != nil {
			s.Fatal(err)
		}
		if report.Snapshot != 3 || report.Seen != 3 || report.Matched != 3 || report.Sent != 3 || report.Deleted != 3 || report.Remaining != 0 || report.Destinations[s.full("fares")] != 3 {
			s.Errorf("report %s", asJSON(s, report))
		}
		if report.ID == "" || report.Queue != s.full("fares-dlq") || report.Started.IsZero() || report.Ended.IsZero() {
			s.Errorf("report %s", asJSON(s, report))
		}
		all := s.take("fares")
		if got, want := bodies(all), []string{"native", "of unknown origin", `{"amount":7}`}; !slices.Equal(got, want) {
			s.Errorf("the source holds %q, want %q", got, want)
		}
		for _, f := range all {
			if f.attributes[queue.KeyRedriveID] != report.ID || f.attributes[queue.KeyRedriveGeneration] != "1" || f.uuid() == "" || f.uuid() == f.id {
				s.Errorf("marks of %q: %v", f.body, f.attributes)
			}
			if _, ok := f.attributes[queue.KeyFailure]; ok {
				s.Errorf("%q still carries the record of its failure", f.body)
			}
			if f.body[0] == '{' && (f.uuid() != "m1" || f.attributes["colour"] != "red" || f.types["amount"] != "Number") {
				s.Errorf("attributes of %q: %v %v", f.body, f.attributes, f.types)
			}
		}
		if n := s.left("fares-dlq"); n != 0 {
			s.Errorf("the dead-letter queue holds %d messages", n)
		}
	})
}

// A queue with a redrive policy of its own is refused: to look at its messages
// would make dead letters of them, in a dry run too.
func TestRedriveRefusesALiveQueue(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 2)
		s.queue("repair", "", 0)
		s.send("fares", "1", "2", "3")
		c := s.client(fares())
		for _, dry := range []bool{true, true, true, false} {
			report, err := c.Redrive(s.Context(), dlq.Options{From: "fares", To: "repair", DryRun: dry})
			if !errors.Is(err, dlq.ErrCounts) || report.ID != "" || !strings.Contains(err.Error(), s.full("fares-dlq")) {
				s.Errorf("dry %v: report %s, %v; want ErrCounts and the dead-letter queue's name", dry, asJSON(s, report), err)
			}
		}
		if n := s.left("fares-dlq"); n != 0 {
			s.Errorf("%d messages became dead letters", n)
		}
		for _, f := range s.take("fares") {
			if f.receives != "1" {
				s.Errorf("a consumer receives %q for time %s, want the first", f.body, f.receives)
			}
		}
		// An operator who means it is obeyed.
		s.send("fares", "4")
		report, err := c.Redrive(s.Context(), dlq.Options{From: "fares", To: "repair", Live: true})
		if err != nil || report.Sent != 1 {
			s.Errorf("Live: report %s, %v", asJSON(s, report), err)
		}
	})
}

func TestRedriveToAnotherQueue(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		s.queue("repair", "", 0)
		s.bury("fares-dlq", "m1", `a`, "fares")
		s.send("fares-dlq", `b`)
		if _, err := s.client(fares()).Redrive(s.Context(), dlq.Options{From: "fares-dlq", To: "repair"}); err != nil {
			s.Fatal(err)
		}
		if got := bodies(s.take("repair")); !slices.Equal(got, []string{"a", "b"}) {
			s.Errorf("repair holds %q", got)
		}
	})
}

// A message that is redriven again counts its generations.
func TestRedriveGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		s.queue("b", "", 0)
		s.send("a", "x")
		c := s.client()
		var id string
		for i, hop := range [][2]string{{"a", "b"}, {"b", "a"}, {"a", "b"}} {
			r, err := c.Redrive(t.Context(), dlq.Options{From: hop[0], To: hop[1]})
			if err != nil {
				t.Fatal(err)
			}
			letters, err := c.Peek(t.Context(), hop[1], 1)
			if err != nil || len(letters) != 1 {
				t.Fatal(letters, err)
			}
			l := letters[0]
			if l.Generation != i+1 || l.RedriveID != r.ID || (id != "" && l.ID != id) {
				t.Errorf("generation %d by %s, id %s; want %d by %s, id %s", l.Generation, l.RedriveID, l.ID, i+1, r.ID, id)
			}
			id = l.ID
		}
	})
}

func TestRedriveFilterAndLimit(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		const n = 30
		for i := range n {
			s.send("fares-dlq", fmt.Sprintf(`{"n":%d}`, i))
		}
		s.send("fares-dlq", "no JSON")
		filter, err := dlq.ParseFilter(`.body.n % 3 == 0`)
		if err != nil {
			s.Fatal(err)
		}
		c := s.client(fares())
		report, err := c.Redrive(s.Context(), dlq.Options{From: "fares-dlq", Filter: filter, Limit: 4})
		if err != nil {
			s.Fatal(err)
		}
		if report.Matched != 4 || report.Sent != 4 || report.Deleted != 4 || report.Remaining != n+1-4 {
			s.Errorf("report %s", asJSON(s, report))
		}
		if v := s.visible("fares-dlq"); v != fmt.Sprint(n+1-4) {
			s.Errorf("%s messages can be received, want all that are left", v)
		}
		report, err = c.Redrive(s.Context(), dlq.Options{From: "fares-dlq", Filter: filter})
		if err != nil {
			s.Fatal(err)
		}
		if report.Seen != n+1-4 || report.Sent != 6 || report.Filtered != 21 || report.FilterErrors != 1 || !strings.Contains(report.FilterError, "expected an object") {
			s.Errorf("report %s", asJSON(s, report))
		}
		if got := s.take("fares"); len(got) != 10 {
			s.Errorf("the source holds %d messages, want 10", len(got))
		}
		if v := s.visible("fares-dlq"); v != "21" {
			s.Errorf("%s messages can be received, want the 21 that were not chosen", v)
		}
	})
}

// Without a filter, no more is received than the limit asks for.
func TestRedriveLimitReceivesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		s.queue("b", "", 0)
		for range 50 {
			s.send("a", "x")
		}
		r, err := s.client().Redrive(t.Context(), dlq.Options{From: "a", To: "b", Limit: 13})
		if err != nil || r.Sent != 13 || r.Seen != 13 || r.Beyond != 0 {
			t.Errorf("report %s, %v", asJSON(t, r), err)
		}
		for _, f := range s.take("a") {
			if f.receives != "1" {
				t.Errorf("a message that was not redriven was received %s times", f.receives)
			}
		}
	})
}

func TestRedriveDryRun(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		for i := range 15 {
			s.bury("fares-dlq", fmt.Sprint("m", i), `a`, "fares")
		}
		edited := false
		report, err := s.client(fares()).Redrive(s.Context(), dlq.Options{
			From: "fares-dlq", DryRun: true, Limit: 12,
			Edit: func(context.Context, *dlq.Letter) error { edited = true; return nil },
		})
		if err != nil {
			s.Fatal(err)
		}
		if !report.DryRun || report.Matched != 12 || report.WouldSend != 12 || report.Sent != 0 || report.Deleted != 0 || report.Destinations[s.full("fares")] != 12 || report.Remaining != 15 {
			s.Errorf("report %s", asJSON(s, report))
		}
		if edited {
			s.Error("the edit was called")
		}
		if n := s.left("fares"); n != 0 {
			s.Errorf("the source holds %d messages", n)
		}
		if v := s.visible("fares-dlq"); v != "15" {
			s.Errorf("%s messages can be received, want 15", v)
		}
	})
}

// Where a message does not tell its source, or tells one that is not to be
// trusted, it stays; the others go.
func TestRedriveWithoutASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		s.queue("rides", "fares-dlq", 1)
		s.queue("stranger", "", 0)
		s.queue("configured", "", 0)
		s.bury("fares-dlq", "good", "good", "fares")
		s.bury("fares-dlq", "conf", "conf", "configured")
		s.bury("fares-dlq", "evil", "evil", "stranger")
		s.bury("fares-dlq", "self", "self", "fares-dlq")
		s.bury("fares-dlq", "gone", "gone", "no-such-queue")
		s.send("fares-dlq", "silent")
		c := s.client(fares(), queue.Endpoint{Name: "other", URL: "sqs://configured"})
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq"})
		var partial *dlq.PartialError
		if !errors.As(err, &partial) || !errors.Is(err, dlq.ErrNoSource) || !errors.Is(err, queue.ErrNotFound) {
			t.Fatalf("got %v, want a PartialError", err)
		}
		if report.Sent != 2 || report.Failed != 4 || len(report.Failures) != 4 || partial.Report.Failed != 4 || report.Remaining != 4 {
			t.Errorf("report %s", asJSON(t, report))
		}
		texts := map[string]string{
			"evil": "is neither an endpoint nor has", "self": "the queue that it is in", "gone": "does not exist", "silent": "this is the dead-letter queue of " + s.full("fares") + ", " + s.full("rides"),
		}
		for _, f := range report.Failures {
			want, ok := texts[f.ID]
			if !ok {
				want = texts["silent"]
			}
			if f.Stage != dlq.StageSource || !strings.Contains(f.Error, want) {
				t.Errorf("failure %+v, want %q", f, want)
			}
		}
		if v := s.visible("fares-dlq"); v != "4" {
			t.Errorf("%s messages can be received, want 4", v)
		}
		if n := s.left("stranger"); n != 0 {
			t.Errorf("a message went where it said")
		}
		// An operator who names the queue is obeyed.
		if report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "stranger"}); err != nil || report.Sent != 4 {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
	})
}

// Everything that a writer put into a message arrives: all ten attributes with
// their types and bytes, and the message group.
func TestRedriveKeepsMessagesAsTheyAre(t *testing.T) {
	on(t, func(s *server) {
		s.queue("from", "", 0)
		s.queue("to", "", 0)
		text := func(v string) sqstypes.MessageAttributeValue {
			return sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(v)}
		}
		send := func(body string, attributes int) {
			in := &sqs.SendMessageInput{QueueUrl: s.url("from"), MessageBody: aws.String(body), MessageAttributes: map[string]sqstypes.MessageAttributeValue{
				"number": {DataType: aws.String("Number"), StringValue: aws.String("1.50")},
				"photo":  {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255, 7}},
				"label":  {DataType: aws.String("String.json"), StringValue: aws.String(`{"a":1}`)},
			}}
			for i := range attributes - 3 {
				in.MessageAttributes[fmt.Sprint("more", i)] = text("värde")
			}
			if s.name == "emulator" || s.name == "localstack" {
				in.MessageGroupId = aws.String("tenant-1")
			}
			if _, err := s.sqs.SendMessage(s.Context(), in); err != nil {
				s.Fatal(err)
			}
		}
		send("five", 5)
		send("ten", 10)
		report, err := s.client().Redrive(s.Context(), dlq.Options{From: "from", To: "to"})
		if err != nil {
			s.Fatal(err)
		}
		if report.Sent != 2 || report.Unmarked != 1 {
			s.Errorf("report %s", asJSON(s, report))
		}
		for _, f := range s.take("to") {
			if f.attributes["number"] != "1.50" || f.types["number"] != "Number" || f.attributes["photo"] != "\x00\xff\x07" || f.types["photo"] != "Binary" ||
				f.types["label"] != "String.json" || f.attributes["more0"] != "värde" {
				s.Errorf("%q has %v %v", f.body, f.attributes, f.types)
			}
			if want := map[string]int{"five": 8, "ten": 10}[f.body]; len(f.attributes) != want {
				s.Errorf("%q has %d attributes, want %d: %v", f.body, len(f.attributes), want, f.attributes)
			}
			if (s.name == "emulator" || s.name == "localstack") && f.group != "tenant-1" {
				s.Errorf("%q has the group %q", f.body, f.group)
			}
		}
	})
}

// An edit repairs what it can, and leaves the rest.
func TestRedriveEdit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("fares", "fares-dlq", 1)
		for _, body := range []string{"fine", "broken", "hopeless", "odd"} {
			s.bury("fares-dlq", "id-"+body, body, "fares")
		}
		report, err := s.client(fares()).Redrive(t.Context(), dlq.Options{From: "fares-dlq", Edit: func(_ context.Context, l *dlq.Letter) error {
			switch string(l.Body) {
			case "broken":
				l.Body = []byte("mended\x00")
				l.Metadata["mended"] = "yes"
				delete(l.Metadata, "colour")
			case "hopeless":
				return fmt.Errorf("left: %w", dlq.ErrSkip)
			case "odd":
				return errors.New("what is this?")
			}
			return nil
		}})
		var partial *dlq.PartialError
		if !errors.As(err, &partial) || report.Failed != 1 || report.Failures[0].Stage != dlq.StageEdit || report.Failures[0].ID != "id-odd" {
			t.Errorf("report %s, %v", asJSON(t, report), err)
		}
		if report.Sent != 2 || report.Skipped != 1 || report.Matched != 3 || report.Remaining != 2 {
			t.Errorf("report %s", asJSON(t, report))
		}
		sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: s.aws})
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		messages, err := sub.Subscribe(t.Context(), "sqs://"+s.full("fares"))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			m := <-messages
			m.Ack()
			switch m.UUID {
			case "id-fine":
				if string(m.Payload) != "fine" || m.Metadata["colour"] != "red" {
					t.Errorf("%q %v", m.Payload, m.Metadata)
				}
			case "id-broken":
				if string(m.Payload) != "mended\x00" || m.Metadata["mended"] != "yes" || m.Metadata["colour"] != "" || m.Metadata[queue.KeyTypes] != "amount=Number" ||
					m.Metadata[queue.KeyRedriveID] != report.ID || m.Metadata[queue.KeyFailure] != "" {
					t.Errorf("%q %v", m.Payload, m.Metadata)
				}
			default:
				t.Errorf("got %s", m.UUID)
			}
		}
	})
}

func TestRedriveRateAndProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		s.queue("b", "", 0)
		for range 100 {
			s.send("a", "x")
		}
		last, calls := 0, 0
		begin := time.Now()
		r, err := s.client().Redrive(t.Context(), dlq.Options{From: "a", To: "b", Rate: 5, Progress: func(r dlq.Report) {
			if r.Sent < last || r.Sent > 100 {
				t.Errorf("progress %d after %d", r.Sent, last)
			}
			last = r.Sent
			calls++
		}})
		if err != nil || r.Sent != 100 || last != 100 || calls < 10 {
			t.Errorf("%d calls, the last with %d; report %s, %v", calls, last, asJSON(t, r), err)
		}
		if d := time.Since(begin); d < 18*time.Second || d > 25*time.Second {
			t.Errorf("100 messages at 5 a second took %v", d)
		}
	})
}

// Few requests, and all messages, from a large queue.
func TestRedriveInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("a", "", 0)
		s.queue("b", "", 0)
		const n = 2000
		for i := range n {
			s.send("a", fmt.Sprint(i))
		}
		before := total(s.emulator)
		r, err := s.client().Redrive(t.Context(), dlq.Options{From: "a", To: "b"})
		if err != nil || r.Sent != n || r.Deleted != n || r.Remaining != 0 {
			t.Fatalf("report %s, %v", asJSON(t, r), err)
		}
		if per := float64(total(s.emulator)-before) / n; per > 0.31 {
			t.Errorf("%.3f requests a message, want 0.30 and a few for the job", per)
		}
		if got := s.take("b"); len(got) != n {
			t.Errorf("b holds %d messages, want %d", len(got), n)
		}
	})
}

func total(e *emulator.Server) (n int64) {
	for _, k := range e.Requests() {
		n += k
	}
	return n
}

// Order and groups of a FIFO queue are kept, and the messages are not taken for
// repeats of what they were.
func TestRedriveFIFO(t *testing.T) {
	on(t, func(s *server) {
		if s.name == "moto" {
			return // its FIFO queues do not keep order
		}
		for _, name := range []string{"in.fifo", "dlq.fifo"} {
			if _, err := s.sqs.CreateQueue(s.Context(), &sqs.CreateQueueInput{QueueName: aws.String(s.full(name)), Attributes: map[string]string{"FifoQueue": "true"}}); err != nil {
				s.Fatal(err)
			}
		}
		send := func(queueName, id, group, body string) {
			if _, err := s.sqs.SendMessage(s.Context(), &sqs.SendMessageInput{
				QueueUrl: s.url(queueName), MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &id,
			}); err != nil {
				s.Fatal(err)
			}
		}
		for i := range 12 {
			id := fmt.Sprint("d", i)
			send("in.fifo", id, fmt.Sprint("g", i%2), "x") // they were here before
			send("dlq.fifo", id, fmt.Sprint("g", i%2), fmt.Sprintf("%02d", i))
		}
		s.take("in.fifo")
		report, err := s.client().Redrive(s.Context(), dlq.Options{From: "dlq.fifo", To: "in.fifo"})
		if err != nil || report.Sent != 12 || report.Remaining != 0 {
			s.Fatalf("report %s, %v", asJSON(s, report), err)
		}
		byGroup := map[string][]string{}
		for _, f := range s.take("in.fifo") {
			byGroup[f.group] = append(byGroup[f.group], f.body)
		}
		if !slices.Equal(byGroup["g0"], []string{"00", "02", "04", "06", "08", "10"}) || !slices.Equal(byGroup["g1"], []string{"01", "03", "05", "07", "09", "11"}) {
			s.Errorf("got %v", byGroup)
		}
	})
}
