package queue

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseURL(t *testing.T) {
	tests := []struct {
		url, name, account, err string
	}{
		{"sqs://fares", "fares", "", ""},
		{"sns://Fare_events-1", "Fare_events-1", "", ""},
		{"sqs://fares.fifo", "fares.fifo", "", ""},
		{"sqs://123456789012/fares", "fares", "123456789012", ""},
		{"nats://host:4222/fares?a=b", "", "", ""},
		{"", "", "", "is not an endpoint URL; want for example sqs://fares"},
		{"fares", "", "", "is not an endpoint URL"},
		{"SQS://fares", "", "", "is not an endpoint URL"},
		{"sqs://", "", "", "cannot name a queue or topic; want 1 to 80"},
		{"sqs://a.b", "", "", "cannot name"},
		{"sqs://" + strings.Repeat("a", 81), "", "", "cannot name"},
		{"sns://" + strings.Repeat("a", 81), strings.Repeat("a", 81), "", ""},
		{"sns://" + strings.Repeat("a", 257), "", "", "want 1 to 256"},
		{"sqs://me/fares", "", "", `"me" is not an account of 12 digits`},
		{"sqs://123456789012/a/b", "", "", "cannot name"},
	}
	for _, tt := range tests {
		name, account, err := ParseURL(tt.url)
		if name != tt.name || account != tt.account || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("ParseURL(%q) = %q, %q, %v; want %q, %q, %q", tt.url, name, account, err, tt.name, tt.account, tt.err)
		}
	}
}

func TestEndpointDefaults(t *testing.T) {
	q := Endpoint{Name: "q", URL: "sqs://q", DeadLetter: "sqs://d"}.WithDefaults()
	want := Endpoint{Name: "q", URL: "sqs://q", DeadLetter: "sqs://d", MaxReceiveCount: 5, Visibility: 30 * time.Second,
		Retention: 96 * time.Hour, DeadLetterRetention: 336 * time.Hour, Concurrency: 64, Pollers: 4, MinPollers: 1, MaxMessageSize: 1 << 20}
	if !reflect.DeepEqual(q, want) {
		t.Errorf("queue: %+v", q)
	}
	if e := (Endpoint{Name: "q", URL: "sqs://q", MinPollers: 6}).WithDefaults(); e.Pollers != 6 {
		t.Errorf("%d pollers, want those that stand by", e.Pollers)
	}
	subs := []Subscription{{Endpoint: "q"}}
	topic := Endpoint{Name: "t", URL: "sns://t", Subscriptions: subs}.WithDefaults()
	if topic.MaxMessageSize != 256<<10 || topic.Visibility != 0 || topic.Subscriptions[0].FilterScope != "MessageAttributes" || subs[0].FilterScope != "" {
		t.Errorf("topic: %+v", topic)
	}
	if err := topic.Validate(); err != nil {
		t.Error(err)
	}
	other := Endpoint{Name: "n", URL: "nats://n"}
	if got := other.WithDefaults(); !reflect.DeepEqual(got, other) {
		t.Errorf("other: %+v", got)
	}
}

func TestEndpointValidate(t *testing.T) {
	tests := []struct {
		name     string
		endpoint Endpoint
		want     []string // none means valid
	}{
		{"queue", Endpoint{Name: "q", URL: "sqs://q"}, nil},
		{"other transport", Endpoint{Name: "q", URL: "kafka://q"}, nil},
		{"no name", Endpoint{URL: "sqs://q"}, []string{"Name is empty"}},
		{"name is a URL", Endpoint{Name: "sqs://q", URL: "sqs://q"}, []string{"is a URL"}},
		{"no URL", Endpoint{Name: "q"}, []string{`endpoint "q": URL "" is not an endpoint URL`}},
		{"several", Endpoint{Name: "q", URL: "sqs://q", Visibility: 13 * time.Hour, Retention: time.Second, Delay: time.Hour, Concurrency: -1, Pollers: -1, MaxReceiveCount: -1, MaxMessageSize: -1},
			[]string{"Visibility is 13h0m0s; want 1s to 12h0m0s", "Retention is 1s", "Delay is 1h0m0s", "Concurrency is -1", "Pollers is -1", "MaxReceiveCount is -1; want 1 to 1000", "MaxMessageSize is -1"}},
		{"more pollers than at most", Endpoint{Name: "q", URL: "sqs://q", Pollers: 2, MinPollers: 3}, []string{"MinPollers is 3; want at most Pollers, which is 2"}},
		{"fewer pollers than none", Endpoint{Name: "q", URL: "sqs://q", MinPollers: -1}, []string{"MinPollers is -1; want 1 to 1000"}},
		{"pollers above the default", Endpoint{Name: "q", URL: "sqs://q", MinPollers: 6}, nil},
		{"pollers of a topic", Endpoint{Name: "t", URL: "sns://t", MinPollers: 2}, []string{"MinPollers is set, but sns://t is a topic"}},
		{"fractions", Endpoint{Name: "q", URL: "sqs://q", Visibility: 1500 * time.Millisecond}, []string{"Visibility is 1.5s; SQS counts whole seconds"}},
		{"dead letter is no queue", Endpoint{Name: "q", URL: "sqs://q", DeadLetter: "sns://d"}, []string{`DeadLetter "sns://d" is not a queue; want for example sqs://q-dlq`}},
		{"dead letter is itself", Endpoint{Name: "q", URL: "sqs://q", DeadLetter: "sqs://q"}, []string{"the endpoint's own queue"}},
		{"dead letter may be itself", Endpoint{Name: "q", URL: "sqs://123456789012/q", DeadLetter: "sqs://q"}, []string{"the endpoint's own queue"}},
		{"dead letter in the same account", Endpoint{Name: "q", URL: "sqs://123456789012/q", DeadLetter: "sqs://123456789012/d"}, nil},
		{"dead letter in another account", Endpoint{Name: "q", URL: "sqs://123456789012/q", DeadLetter: "sqs://210987654321/d"}, []string{`"sqs://210987654321/d": SQS moves messages within an account only, and the endpoint's queue is sqs://123456789012/q; want sqs://123456789012/d`}},
		{"dead letter in the client's account", Endpoint{Name: "q", URL: "sqs://123456789012/q", DeadLetter: "sqs://d"}, []string{"want sqs://123456789012/d"}},
		{"dead letter not in the client's account", Endpoint{Name: "q", URL: "sqs://q", DeadLetter: "sqs://123456789012/d"}, []string{"want sqs://d"}},
		{"too large for SQS", Endpoint{Name: "q", URL: "sqs://q", MaxMessageSize: 5 << 20}, []string{"MaxMessageSize is 5242880 bytes; SQS takes at most 1048576"}},
		{"as large as SQS takes", Endpoint{Name: "q", URL: "sqs://q", MaxMessageSize: 1 << 20}, nil},
		{"other transport with queue fields", Endpoint{Name: "q", URL: "kafka://x.fifo", DeadLetter: "sqs://x", Visibility: -5, Subscriptions: []Subscription{{Endpoint: "x"}}},
			[]string{"DeadLetter is set, but kafka://x.fifo is of another transport", "Visibility is set", "kafka://x.fifo is no topic of SNS"}},
		{"dead letter is not FIFO", Endpoint{Name: "q", URL: "sqs://q.fifo", DeadLetter: "sqs://d"}, []string{"FIFO"}},
		{"dead letter is no URL", Endpoint{Name: "q", URL: "sqs://q", DeadLetter: "d"}, []string{"DeadLetter"}},
		{"endpoint URL", Endpoint{Name: "q", URL: "sqs://q", EndpointURL: "127.0.0.1:4566"}, []string{"want for example http://127.0.0.1:4566"}},
		{"endpoint URL with a password", Endpoint{Name: "q", URL: "sqs://q", EndpointURL: "http://me:secret@127.0.0.1:4566"}, []string{"EndpointURL has a user name or password"}},
		{"queue with subscriptions", Endpoint{Name: "q", URL: "sqs://q", Subscriptions: []Subscription{{Endpoint: "x"}}}, []string{"subscriptions belong to the topic's endpoint"}},
		{"topic with queue fields", Endpoint{Name: "t", URL: "sns://t", Visibility: time.Second, DeadLetter: "sqs://d"}, []string{"Visibility is set, but sns://t is a topic", "DeadLetter is set"}},
		{"subscriptions", Endpoint{Name: "t", URL: "sns://t", Subscriptions: []Subscription{{}, {Endpoint: "q", Filter: json.RawMessage(`[]`), FilterScope: "Body"}}},
			[]string{"Subscriptions[0] has no Endpoint", "Subscriptions[1] (q): Filter is not a JSON object", "FilterScope is \"Body\"; want MessageAttributes or MessageBody"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.endpoint.Validate()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	set, err := NewEndpoints("dev",
		Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"},
		Endpoint{Name: "events", URL: "sns://123456789012/events", Subscriptions: []Subscription{{Endpoint: "fares"}}},
		Endpoint{Name: "log", URL: "kafka://log"})
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Names(); !slices.Equal(got, []string{"events", "fares", "log"}) || set.Namespace() != "dev" {
		t.Errorf("names %q, namespace %q", got, set.Namespace())
	}
	for name, want := range map[string]string{"fares": "sqs://dev-fares", "events": "sns://123456789012/dev-events", "log": "kafka://log", "sqs://other": "sqs://other"} {
		e, err := set.Resolve(name)
		if err != nil || e.URL != want {
			t.Errorf("Resolve(%q) = %q, %v; want %q", name, e.URL, err, want)
		}
	}
	fares, _ := set.Resolve("fares")
	if fares.DeadLetter != "sqs://dev-fares-dlq" || fares.Visibility != DefaultVisibility {
		t.Errorf("fares: %+v", fares)
	}
	if e, err := set.Resolve("sqs://dev-fares"); err != nil || e.Name != "fares" {
		t.Errorf("by URL: %+v, %v", e, err)
	}
	if _, err := set.Resolve("sqs://a b"); err == nil {
		t.Error("resolved a URL that is none")
	}
	_, err = set.Resolve("payments")
	var unknown *UnknownEndpointError
	if !errors.As(err, &unknown) || !errors.Is(err, ErrUnknownEndpoint) || unknown.Name != "payments" {
		t.Errorf("got %v", err)
	}
	want := `endpoint "payments" is not configured (events, fares, log are); add endpoints.payments.url: sqs://payments to the configuration file, or set WAYBILL_ENDPOINTS_PAYMENTS_URL`
	if err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

// TestGiven holds that a set remembers what was set and what is a default.
func TestGiven(t *testing.T) {
	set, err := NewEndpoints("dev", Endpoint{Name: "q", URL: "sqs://q", Visibility: DefaultVisibility})
	if err != nil {
		t.Fatal(err)
	}
	want := Endpoint{Name: "q", URL: "sqs://dev-q", Visibility: DefaultVisibility}
	if got, ok := set.Given("q"); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, ok := set.Given("sqs://dev-q"); ok {
		t.Error("a URL was given")
	}
	if _, ok := (*Endpoints)(nil).Given("q"); ok {
		t.Error("an empty set was given something")
	}
}

func TestNilEndpoints(t *testing.T) {
	var set *Endpoints
	if e, err := set.Resolve("sqs://q"); err != nil || e.Concurrency != DefaultConcurrency {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := set.Resolve("q"); !errors.Is(err, ErrUnknownEndpoint) || !strings.Contains(err.Error(), "(none is)") {
		t.Error(err)
	}
	for range set.All() {
		t.Error("has an endpoint")
	}
}

func TestNewEndpointsErrors(t *testing.T) {
	q := Endpoint{Name: "q", URL: "sqs://q"}
	tests := []struct {
		name      string
		namespace string
		endpoints []Endpoint
		want      string
	}{
		{"twice", "", []Endpoint{q, q}, `endpoint "q" is configured twice`},
		{"namespace", "a b", nil, `namespace "a b" cannot begin the name`},
		{"name too long with namespace", strings.Repeat("n", 79), []Endpoint{q}, "cannot name a queue"},
		{"unknown subscriber", "", []Endpoint{{Name: "t", URL: "sns://t", Subscriptions: []Subscription{{Endpoint: "nobody"}}}}, `endpoint "t": a subscription: endpoint "nobody" is not configured (t are)`},
		{"subscriber is a topic", "", []Endpoint{{Name: "t", URL: "sns://t", Subscriptions: []Subscription{{Endpoint: "u"}}}, {Name: "u", URL: "sns://u"}}, `endpoint "u" is sns://u; want a queue`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewEndpoints(tt.namespace, tt.endpoints...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestPinnedKeys(t *testing.T) {
	e := Endpoint{Attributes: []string{"tenant"}, Subscriptions: []Subscription{
		{Filter: json.RawMessage(`{"fare":[{"numeric":[">",1]}],"$or":[{"city":["Zagreb"]},{"vip":[{"exists":true}]}]}`)},
		{Filter: json.RawMessage(`{"body":["x"]}`), FilterScope: FilterBody},
		{},
	}}
	if got := pinnedKeys(e); !slices.Equal(got, []string{KeyFailure, "city", "fare", "tenant", "vip"}) {
		t.Errorf("pinned %q", got)
	}
}
