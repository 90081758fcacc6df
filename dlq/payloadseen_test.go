package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// TestPeekPayloads holds that a peek shows a payload that is in the store, or says why
// it does not.
func TestPeekPayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, publish := claims(t)
		publish("fares-dlq", strings.Repeat("x", 2000))
		publish("fares-dlq", strings.Repeat("y", 3000))
		s.send("fares-dlq", "small")
		peek := func(c dlq.Config) map[string]*dlq.Letter {
			t.Helper()
			letters, err := s.claimClient(c).Peek(t.Context(), "fares-dlq", 10)
			if err != nil || len(letters) != 3 {
				t.Fatalf("%d letters, %v", len(letters), err)
			}
			byID := map[string]*dlq.Letter{}
			for _, l := range letters {
				byID[l.ID[:1]] = l
			}
			return byID
		}
		for name, l := range peek(dlq.Config{Payloads: store}) {
			if l.Stored || l.Problem != nil || name == "x" && string(l.Body) != strings.Repeat("x", 2000) || name == "y" && len(l.Body) != 3000 {
				t.Errorf("%s: %d bytes, stored %t, %v", name, len(l.Body), l.Stored, l.Problem)
			}
		}
		for _, tt := range []struct {
			name   string
			config dlq.Config
			want   string
		}{
			{"without a store", dlq.Config{}, "in a store, under"},
			{"too large", dlq.Config{Payloads: store, MaxPayload: 2999}, "it has 3000 bytes, and the limit is 2999"},
			{"gone", dlq.Config{Payloads: new(payloads)}, queue.ErrPayloadGone.Error()},
		} {
			l := peek(tt.config)["y"]
			if !l.Stored || !errors.Is(l.Problem, queue.ErrPayloadStored) || !strings.Contains(l.Problem.Error(), tt.want) || !strings.Contains(string(l.Body), "sha256") {
				t.Errorf("%s: %q, stored %t, %v", tt.name, l.Body, l.Stored, l.Problem)
			}
			if v := l.Value(); v["stored"] != true || !strings.Contains(fmt.Sprint(v["problem"]), tt.want) {
				t.Errorf("%s: a filter sees %v", tt.name, v)
			}
		}
		if _, err := dlq.New(dlq.Config{Queues: s.claimAdmin(), MaxPayload: -1}); err == nil || !strings.Contains(err.Error(), "MaxPayload is -1") {
			t.Errorf("of less than nothing: %v", err)
		}
	})
}

// TestFilterPayloads holds that a filter chooses by a payload that is in the store,
// and that what cannot be fetched is not chosen, but failed.
func TestFilterPayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, publish := claims(t)
		for _, amount := range []string{"10", "200"} {
			publish("fares-dlq", `{"amount":`+amount+`,"text":"`+strings.Repeat("x", 2000)+`"}`)
		}
		f, err := dlq.ParseFilter(".body.amount != 10") // which a reference is, too
		if err != nil {
			t.Fatal(err)
		}
		kept := maps.Clone(store.ends)
		c := s.claimClient(dlq.Config{Payloads: store})
		report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", Filter: f, DryRun: true})
		if err != nil || report.WouldSend != 1 || report.Filtered != 1 || report.Failed != 0 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
		if !maps.Equal(kept, store.ends) {
			t.Error("a dry run has payloads kept")
		}
		all := store.all
		store.all = nil
		report, err = c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", Filter: f})
		if err == nil || report.Sent != 0 || report.Failed != 2 || report.Failures[0].Stage != dlq.StagePayload {
			t.Errorf("of what is gone: %s, %v", asJSON(t, report), err)
		}
		store.all = all
		report, err = c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", Filter: f})
		if err != nil || report.Sent != 1 || report.Filtered != 1 {
			t.Errorf("%s, %v", asJSON(t, report), err)
		}
		sent := s.take("fares")
		if len(sent) != 1 || !strings.Contains(sent[0].body, "sha256") {
			t.Errorf("sent was %v, want the reference", sent)
		}
	})
}

// TestEditPayloads holds that an edit has the payload that is in the store, and that
// what it leaves is there for who receives the message.
func TestEditPayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, publish := claims(t)
		body := strings.Repeat("x", 2000)
		endpoint := fares()
		endpoint.MaxMessageSize = 4096
		endpoints, err := queue.NewEndpoints(s.ns, endpoint)
		if err != nil {
			t.Fatal(err)
		}
		admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws, Endpoints: endpoints})
		if err != nil {
			t.Fatal(err)
		}
		c, err := dlq.New(dlq.Config{Queues: admin, Payloads: store})
		if err != nil {
			t.Fatal(err)
		}
		sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: s.aws, Endpoints: endpoints, Payloads: store})
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		messages, err := sub.Subscribe(t.Context(), "fares")
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name string
			body string // after the edit
			key  string // of metadata that the edit adds
			puts int    // payloads that are in the store after it
		}{
			{"nothing", body, "", 1},
			{"metadata", body, "tariff", 1},
			{"body", "small", "", 1},
			{"body that is too large for the queue", body + body + body, "tariff", 2},
		} {
			clear(store.all)
			publish("fares-dlq", body)
			report, err := c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", Edit: func(_ context.Context, l *dlq.Letter) error {
				if string(l.Body) != body || l.Stored {
					t.Errorf("%s: the edit has %q", tt.name, l.Body)
				}
				if l.Body = []byte(tt.body); tt.key != "" {
					l.Metadata.Set(tt.key, "new")
				}
				return nil
			}})
			if err != nil || report.Sent != 1 {
				t.Fatalf("%s: %s, %v", tt.name, asJSON(t, report), err)
			}
			msg := <-messages
			if string(msg.Payload) != tt.body || msg.Metadata.Get("k11") != "v" || tt.key != "" && msg.Metadata.Get(tt.key) != "new" {
				t.Errorf("%s: received %d bytes with %v", tt.name, len(msg.Payload), msg.Metadata)
			}
			msg.Ack()
			if len(store.all) != tt.puts {
				t.Errorf("%s: the store has %d payloads, want %d", tt.name, len(store.all), tt.puts)
			}
		}

		// Without the store an edit has the reference, and what is gone fails.
		publish("fares-dlq", body)
		change := func(_ context.Context, l *dlq.Letter) error { l.Metadata.Set("tariff", "new"); return nil }
		report, err := s.claimClient(dlq.Config{}).Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", Edit: change})
		if err != nil || report.Sent != 1 {
			t.Fatalf("without a store: %s, %v", asJSON(t, report), err)
		}
		msg := <-messages
		if string(msg.Payload) != body || msg.Metadata.Get("tariff") != "new" || msg.Metadata.Get("k11") != "v" {
			t.Errorf("without a store: received %d bytes with %v", len(msg.Payload), msg.Metadata)
		}
		msg.Ack()
		publish("fares-dlq", body)
		clear(store.all)
		report, err = c.Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", Edit: change})
		if err == nil || report.Sent != 0 || report.Failures[0].Stage != dlq.StagePayload {
			t.Errorf("of a payload that is gone: %s, %v", asJSON(t, report), err)
		}
	})
}

// TestRedriveUnkept holds that a report tells of payloads that nothing keeps.
func TestRedriveUnkept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, publish := claims(t)
		publish("fares-dlq", strings.Repeat("x", 2000))
		s.send("fares-dlq", "small")
		for _, tt := range []struct {
			config dlq.Config
			dry    bool
			want   int
		}{{dlq.Config{}, true, 1}, {dlq.Config{Payloads: store}, true, 0}, {dlq.Config{}, false, 1}} {
			report, err := s.claimClient(tt.config).Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", DryRun: tt.dry})
			if err != nil || report.Sent+report.WouldSend != 2 || report.Unkept != tt.want {
				t.Errorf("%s, %v; want %d unkept", asJSON(t, report), err, tt.want)
			}
		}
	})
}

// TestFilterWithoutBody holds that a filter which does not look at the body fetches no
// payload, so that one that is gone fails nothing that the filter does not choose.
func TestFilterWithoutBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, publish := claims(t)
		publish("fares-dlq", strings.Repeat("x", 2000))
		store.all = nil
		for text, fetches := range map[string]bool{
			`.attributes.k9 == "w"`:                                         false, // packed metadata
			`.receive_count > 100 and .failure.reason == "x"`:               false,
			`.failure.chain // [] | any(contains("timeout"))`:               false,
			`(.attributes.k1 + "b" | not) or .["id"] == "y"`:                false,
			`.source == ("a", "b", null) or (.attributes["k0"] | . == "w")`: false,
			`-.receive_count > 0`:                                           false,
			`.generation as $g | $g > 1`:                                    true, // might be of all
			`.body.amount > 1`:                                              true,
			`.attributes.k1 == "w" and .body == 1`:                          true,
			`.attributes[.body]?`:                                           true,
			`."body" == 1`:                                                  true,
			`.["body"] == 1`:                                                true,
			`."bo\("d")y" == 1`:                                             true,
			`"\(.)" == ""`:                                                  true,
			`@text == ""`:                                                   true,
			`.problem == "x"`:                                               true,
			`.stored and false`:                                             true,
			`. == 1`:                                                        true,
			`.. == 1`:                                                       true,
			`tostring == ""`:                                                true,
			`.[] == 1`:                                                      true,
			`[.body] == [1]`:                                                true,
			`if .id == "a" then .body else false end`:                       true,
			`def f: .body; .id == "a" and f`:                                true,
		} {
			f, err := dlq.ParseFilter(text)
			if err != nil {
				t.Fatal(err)
			}
			report, err := s.claimClient(dlq.Config{Payloads: store}).Redrive(t.Context(), dlq.Options{From: "fares-dlq", To: "fares", Filter: f, DryRun: true})
			if failed := report.Failed == 1; failed != fetches || !failed && (err != nil || report.Filtered != 1 || report.FilterErrors != 0) {
				t.Errorf("%s: %s, %v; want fetched %t", text, asJSON(t, report), err, fetches)
			}
		}
	})
}

// claims returns a server, a store, and what publishes payloads into it.
func claims(t *testing.T) (*server, *payloads, func(to, body string)) {
	t.Helper()
	s, store := embedded(t), new(payloads)
	s.queue("fares-dlq", "", 0)
	s.queue("fares", "fares-dlq", 1)
	return s, store, func(to, body string) {
		t.Helper()
		pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: s.aws, Payloads: store, ClaimAbove: 1000})
		if err != nil {
			t.Fatal(err)
		}
		msg := message.NewMessage(body[:1], []byte(body))
		for i := range 12 { // more than are attributes
			msg.Metadata.Set(fmt.Sprint("k", i), "v")
		}
		if err := errors.Join(pub.Publish("sqs://"+s.full(to), msg), pub.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *server) claimAdmin() *queue.Admin {
	endpoints, err := queue.NewEndpoints(s.ns, fares())
	if err != nil {
		s.Fatal(err)
	}
	admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.aws, Endpoints: endpoints})
	if err != nil {
		s.Fatal(err)
	}
	return admin
}

func (s *server) claimClient(c dlq.Config) *dlq.Client {
	c.Queues = s.claimAdmin()
	client, err := dlq.New(c)
	if err != nil {
		s.Fatal(err)
	}
	return client
}
