package dlq_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// linesOf decodes the lines of an export.
func linesOf(t testing.TB, text string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// sendTyped sends a message with attributes of all types and a trace header.
func (s *server) sendTyped(name, body string) {
	s.Helper()
	text := func(kind, v string) sqstypes.MessageAttributeValue {
		return sqstypes.MessageAttributeValue{DataType: &kind, StringValue: &v}
	}
	if _, err := s.sqs.SendMessage(s.Context(), &sqs.SendMessageInput{
		QueueUrl: s.url(name), MessageBody: &body,
		MessageAttributes: map[string]sqstypes.MessageAttributeValue{
			"colour": text("String", "rouge é \u2028 \"<&>\""), "amount": text("Number.int", "7"),
			"sum": {DataType: aws.String("Binary.sha"), BinaryValue: []byte{0, 0xff, '\n'}},
		},
		MessageSystemAttributes: map[string]sqstypes.MessageSystemAttributeValue{
			"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String(traceHeader)},
		},
	}); err != nil {
		s.Fatal(err)
	}
}

const traceHeader = "Root=1-5759e988-bd862e3fe1be46a994272793"

// What an export has, and what an import makes of it.
func TestExportImport(t *testing.T) {
	on(t, func(s *server) {
		s.queue("fares-dlq", "", 0)
		s.queue("restored", "", 0)
		s.bury("fares-dlq", "m1", `{"amount":7}`, "fares")
		const odd = "line 1\nline 2\t\"\u2028\" é"
		s.sendTyped("fares-dlq", odd)
		c := s.client(fares())
		var out bytes.Buffer
		r, err := c.Export(s.Context(), "fares-dlq", &out, dlq.ExportOptions{})
		if err != nil || r.Written != 2 || r.Seen != 2 || r.Total != 2 || r.Bytes != int64(out.Len()) || r.Queue != s.full("fares-dlq") {
			s.Fatalf("%+v, %v", r, err)
		}
		byBody := map[string]map[string]any{}
		for _, l := range linesOf(s, out.String()) {
			byBody[l["body"].(string)] = l
			if l["v"] != 1.0 || l["encoding"] != "text" || l["message_id"] == "" || l["receive_count"] != 1.0 || l["sent_at"] == "" || l["first_received_at"] == nil || l["queue"] != s.full("fares-dlq") {
				s.Errorf("got %v", l)
			}
		}
		if l := byBody[`{"amount":7}`]; l["id"] != "m1" || l["source"] != "sqs://"+s.full("fares") || l["failure"].(map[string]any)["filter"] != "charge" {
			s.Errorf("got %v", l)
		}
		l := byBody[odd]
		if l["id"] != l["message_id"] || asJSON(s, l["attributes"].(map[string]any)["sum"]) != `{"encoding":"base64","type":"Binary.sha","value":"AP8K"}` ||
			asJSON(s, l["attributes"].(map[string]any)["amount"]) != `{"encoding":"text","type":"Number.int","value":"7"}` {
			s.Errorf("got %v", l)
		}
		if n := s.visible("fares-dlq"); n != "2" {
			s.Errorf("%s messages can be received, want 2", n)
		}

		records := newRecords()
		for range 2 {
			ir, err := c.Import(s.Context(), s.full("restored"), bytes.NewReader(out.Bytes()), dlq.ImportOptions{Records: records, Exact: true})
			if err != nil || ir.Lines != 2 || ir.Sent+ir.Skipped != 2 || ir.Failed+ir.Unsure+ir.Unnamed != 0 {
				s.Fatalf("%+v, %v", ir, err)
			}
		}
		got, want := s.take("restored"), s.take("fares-dlq")
		if len(got) != 2 || len(want) != 2 {
			s.Fatalf("%d messages, want 2", len(got))
		}
		for _, w := range want {
			i := slices.IndexFunc(got, func(f found) bool { return f.body == w.body })
			if i < 0 || !maps.Equal(got[i].attributes, w.attributes) || !maps.Equal(got[i].types, w.types) || got[i].trace != w.trace && s.name != "moto" { // which takes no trace header in a batch
				s.Errorf("got %+v, want %+v", got, w)
			}
		}
	})
}

func TestExportChooses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		for i := range 30 {
			s.bury("fares-dlq", fmt.Sprint("m", i), fmt.Sprintf(`{"amount":%d}`, i), "fares")
		}
		s.send("fares-dlq", "text")
		f, err := dlq.ParseFilter(`.body.amount >= 25`)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		r, err := s.client(fares()).Export(t.Context(), "fares-dlq", &out, dlq.ExportOptions{Filter: f})
		if err != nil || r.Written != 5 || r.Filtered != 26 || r.FilterErrors != 1 || r.FilterError == "" || r.Seen != 31 {
			t.Errorf("%+v, %v", r, err)
		}
		if all := linesOf(t, out.String()); len(all) != 5 {
			t.Errorf("%d lines, want 5", len(all))
		}
		out.Reset()
		if r, err = s.client(fares()).Export(t.Context(), "fares-dlq", &out, dlq.ExportOptions{Limit: 7}); err != nil || r.Written != 7 || r.Total != 31 || r.Seen != 7 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// A writer that fails ends an export, which returns the messages.
func TestExportWriterFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		for i := range 40 {
			s.send("fares-dlq", fmt.Sprint(i))
		}
		full := errors.New("disk full")
		w := writer(func(p []byte) (int, error) { return len(p) / 2, full })
		r, err := s.client(fares()).Export(t.Context(), "fares-dlq", w, dlq.ExportOptions{})
		if !errors.Is(err, full) || r.Written != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if n := s.visible("fares-dlq"); n != "40" {
			t.Errorf("%s messages can be received, want 40", n)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		w = func(p []byte) (int, error) {
			cancel(errOperator)
			return len(p), nil
		}
		r, err = s.client(fares()).Export(ctx, "fares-dlq", w, dlq.ExportOptions{})
		if !errors.Is(err, errOperator) || r.Written == 0 || r.Written > 4 {
			t.Errorf("%+v, %v", r, err)
		}
		if n := s.visible("fares-dlq"); n != "40" {
			t.Errorf("%s messages can be received, want 40", n)
		}
	})
}

var errOperator = errors.New("the operator has had enough")

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// A reference to a payload is written as it is, and not fetched.
func TestExportKeepsReferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		s.queue("fares-dlq", "", 0)
		s.queue("restored", "", 0)
		pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws, Linger: -1, Payloads: &payloads{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(pub.Publish("sqs://"+s.full("fares-dlq"), message.NewMessage("m1", bytes.Repeat([]byte("x"), 2<<20))), pub.Close()); err != nil {
			t.Fatal(err)
		}
		c := s.client(fares())
		var out bytes.Buffer
		if r, err := c.Export(t.Context(), "fares-dlq", &out, dlq.ExportOptions{}); err != nil || r.Written != 1 || out.Len() > 8<<10 {
			t.Fatalf("%+v, %v", r, err)
		}
		if _, err := c.Import(t.Context(), s.full("restored"), &out, dlq.ImportOptions{Records: newRecords()}); err != nil {
			t.Fatal(err)
		}
		got, want := s.take("restored"), s.take("fares-dlq")
		if len(got) != 1 || got[0].body != want[0].body || !reflect.DeepEqual(got[0].attributes, want[0].attributes) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
