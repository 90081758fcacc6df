package emulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// A post is a request that an endpoint has had.
type post struct {
	after  time.Duration // since the site began
	header http.Header
	url    string
	body   string
	text   map[string]any // the body, where it is JSON
}

// A site is an HTTP server without a socket. It answers 200, or what answers says for each request in turn.
type site struct {
	mu      sync.Mutex
	began   time.Time
	posts   []post
	answers []int // 0 breaks the connection
	instead http.RoundTripper
}

// serve has another site take over.
func (s *site) serve(other http.RoundTripper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = other
}

func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	other := s.instead
	s.mu.Unlock()
	if other != nil {
		return other.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := post{time.Since(s.began), r.Header, r.URL.String(), string(body), nil}
	_ = json.Unmarshal(body, &p.text) // raw ones are none
	s.posts = append(s.posts, p)
	status := http.StatusOK
	if len(s.answers) > 0 {
		status, s.answers = s.answers[0], s.answers[1:]
	}
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

func (s *site) all() []post {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.posts)
}

func (s *site) answer(status ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts, s.began, s.answers = nil, time.Now(), status
}

// A newsroom is a topic with a subscription over HTTP, in virtual time.
type newsroom struct {
	*testing.T
	site   *site
	server *emulator.Server
	sns    *sns.Client
	sqs    *sqs.Client
	topic  string
}

func inNewsroom(t *testing.T, cfg emulator.Config, test func(n *newsroom)) {
	synctest.Test(t, func(t *testing.T) {
		web := &site{began: time.Now()}
		cfg.HTTPClient = &http.Client{Transport: web}
		s := emulator.New(cfg)
		defer s.Close()
		n := &newsroom{T: t, site: web, server: s, sns: sns.NewFromConfig(awsConfig(s)), sqs: sqs.NewFromConfig(awsConfig(s))}
		out, err := n.sns.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("news")})
		if err != nil {
			t.Fatal(err)
		}
		n.topic = *out.TopicArn
		test(n)
	})
}

func (n *newsroom) trySubscribe(protocol, endpoint string, attributes ...string) (string, error) {
	out, err := n.sns.Subscribe(n.Context(), &sns.SubscribeInput{
		TopicArn: &n.topic, Protocol: &protocol, Endpoint: &endpoint, ReturnSubscriptionArn: true, Attributes: pairs(attributes),
	})
	if err != nil {
		return "", err
	}
	return *out.SubscriptionArn, nil
}

func (n *newsroom) subscribe(protocol, endpoint string, attributes ...string) string {
	n.Helper()
	arn, err := n.trySubscribe(protocol, endpoint, attributes...)
	if err != nil {
		n.Fatal(err)
	}
	return arn
}

// reader subscribes http://site/in and confirms that.
func (n *newsroom) reader(attributes ...string) string {
	n.Helper()
	arn := n.subscribe("http", "http://site/in", attributes...)
	synctest.Wait()
	posts := n.site.all()
	if len(posts) != 1 {
		n.Fatalf("the endpoint has %d requests, want its confirmation: %+v", len(posts), posts)
	}
	if _, err := n.sns.ConfirmSubscription(n.Context(), &sns.ConfirmSubscriptionInput{TopicArn: &n.topic, Token: aws.String(posts[0].text["Token"].(string))}); err != nil {
		n.Fatal(err)
	}
	n.site.answer()
	return arn
}

func (n *newsroom) publish(message string, edits ...func(*sns.PublishInput)) {
	n.Helper()
	in := &sns.PublishInput{TopicArn: &n.topic, Message: &message}
	for _, edit := range edits {
		edit(in)
	}
	if _, err := n.sns.Publish(n.Context(), in); err != nil {
		n.Fatal(err)
	}
	synctest.Wait()
}

func (n *newsroom) visit(url string) (int, string) {
	n.Helper()
	resp, err := n.server.Client().Get(url)
	if err != nil {
		n.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		n.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (n *newsroom) attributes(arn string) map[string]string {
	n.Helper()
	out, err := n.sns.GetSubscriptionAttributes(n.Context(), &sns.GetSubscriptionAttributesInput{SubscriptionArn: &arn})
	if err != nil {
		n.Fatal(err)
	}
	return out.Attributes
}

// An endpoint of http is asked first, gets nothing before it has said yes, and then all.
func TestConfirmation(t *testing.T) {
	inNewsroom(t, emulator.Config{}, func(n *newsroom) {
		out, err := n.sns.Subscribe(n.Context(), &sns.SubscribeInput{TopicArn: &n.topic, Protocol: aws.String("http"), Endpoint: aws.String("http://site/in")})
		if err != nil || *out.SubscriptionArn != "pending confirmation" {
			t.Fatalf("subscribed with %v, %v", out, err)
		}
		n.publish("too early")
		posts := n.site.all()
		if len(posts) != 1 {
			t.Fatalf("the endpoint has %d requests, want 1", len(posts))
		}
		asked := posts[0]
		if got := asked.header.Get("X-Amz-Sns-Message-Type"); got != "SubscriptionConfirmation" || asked.text["Type"] != got {
			t.Errorf("the types are %q and %q", got, asked.text["Type"])
		}
		if got := asked.header.Get("Content-Type"); got != "text/plain; charset=UTF-8" {
			t.Errorf("Content-Type is %q", got)
		}
		if asked.text["TopicArn"] != n.topic || asked.header.Get("X-Amz-Sns-Topic-Arn") != n.topic || asked.url != "http://site/in" {
			t.Errorf("asked by %+v", asked)
		}
		list, err := n.sns.ListSubscriptionsByTopic(n.Context(), &sns.ListSubscriptionsByTopicInput{TopicArn: &n.topic})
		if err != nil || len(list.Subscriptions) != 1 || *list.Subscriptions[0].SubscriptionArn != "PendingConfirmation" || *list.Subscriptions[0].Protocol != "http" {
			t.Errorf("listed are %+v, %v", list.Subscriptions, err)
		}

		_, err = n.sns.ConfirmSubscription(n.Context(), &sns.ConfirmSubscriptionInput{TopicArn: &n.topic, Token: aws.String("guessed")})
		if err == nil || !strings.Contains(err.Error(), "InvalidParameter") {
			t.Errorf("a token that is none: %v", err)
		}
		for range 2 { // visiting twice does no harm
			if status, body := n.visit(asked.text["SubscribeURL"].(string)); status != 200 || !strings.Contains(body, "<SubscriptionArn>"+n.topic+":") {
				t.Errorf("visiting SubscribeURL: %d %s", status, body)
			}
		}
		n.publish("now")
		posts = n.site.all()
		if len(posts) != 2 || posts[1].text["Message"] != "now" || posts[1].text["Type"] != "Notification" || posts[1].header.Get("X-Amz-Sns-Subscription-Arn") == "" {
			t.Errorf("delivered were %+v", posts[1:])
		}
	})
}

func TestConfirmationThatNeverComes(t *testing.T) {
	inNewsroom(t, emulator.Config{}, func(n *newsroom) {
		arn := n.subscribe("http", "http://site/in")
		synctest.Wait()
		token := n.site.all()[0].text["Token"].(string)
		counts := func(want string) {
			t.Helper()
			out, err := n.sns.GetTopicAttributes(n.Context(), &sns.GetTopicAttributesInput{TopicArn: &n.topic})
			if err != nil || out.Attributes["SubscriptionsPending"] != want || out.Attributes["SubscriptionsConfirmed"] != "0" {
				t.Errorf("the topic has %v, %v; want %s pending", out.Attributes, err, want)
			}
		}
		counts("1")
		if got := n.attributes(arn)["PendingConfirmation"]; got != "true" {
			t.Errorf("PendingConfirmation is %q", got)
		}
		time.Sleep(48 * time.Hour)
		counts("0")
		if _, err := n.sns.ConfirmSubscription(n.Context(), &sns.ConfirmSubscriptionInput{TopicArn: &n.topic, Token: &token}); err == nil {
			t.Error("confirmed after two days")
		}
		if _, err := n.sns.GetSubscriptionAttributes(n.Context(), &sns.GetSubscriptionAttributesInput{SubscriptionArn: &arn}); err == nil {
			t.Error("the subscription is still there after two days")
		}
		if again := n.subscribe("http", "http://site/in"); again == arn {
			t.Error("subscribing again returns the old subscription")
		}
	})
}

// Who does not sign can unsubscribe, and the endpoint is told; but not where its confirmation said otherwise.
func TestUnsubscribeURL(t *testing.T) {
	inNewsroom(t, emulator.Config{}, func(n *newsroom) {
		arn := n.reader()
		n.publish("x")
		url := n.site.all()[0].text["UnsubscribeURL"].(string)
		if status, body := n.visit(url); status != 200 {
			t.Errorf("visiting UnsubscribeURL: %d %s", status, body)
		}
		synctest.Wait()
		n.publish("y")
		posts := n.site.all()
		if len(posts) != 2 || posts[1].text["Type"] != "UnsubscribeConfirmation" {
			t.Fatalf("delivered were %+v", posts)
		}
		n.site.answer()

		other := n.subscribe("http", "http://site/in")
		synctest.Wait()
		if other == arn {
			t.Error("the old subscription is back")
		}
		token := n.site.all()[0].text["Token"].(string)
		_, err := n.sns.ConfirmSubscription(n.Context(), &sns.ConfirmSubscriptionInput{TopicArn: &n.topic, Token: &token, AuthenticateOnUnsubscribe: aws.String("true")})
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := n.visit("http://emulator/?Action=Unsubscribe&SubscriptionArn=" + other); status != http.StatusForbidden {
			t.Errorf("unsubscribing without a signature: %d, want 403", status)
		}
		if _, err := n.sns.Unsubscribe(n.Context(), &sns.UnsubscribeInput{SubscriptionArn: &other}); err != nil {
			t.Error(err)
		}
	})
}

// What an endpoint does not take comes again, by its policy; what it refuses, or never takes, is a dead letter.
func TestRetriesOverHTTP(t *testing.T) {
	seconds := func(at ...int) (out []time.Duration) {
		for _, s := range at {
			out = append(out, time.Duration(s)*time.Second)
		}
		return out
	}
	const phases = `{"healthyRetryPolicy":{"numRetries":8,"numNoDelayRetries":2,"numMinDelayRetries":2,"minDelayTarget":1,"maxDelayTarget":9,"numMaxDelayRetries":2,"backoffFunction":"linear"}}`
	for _, tt := range []struct {
		name    string
		policy  string // of the subscription
		topic   string // of the topic
		answers []int
		at      []time.Duration
		dead    bool
	}{
		{name: "taken", answers: []int{204}, at: seconds(0)},
		{name: "taken the second time", answers: []int{500, 200}, at: seconds(0, 20)},
		{name: "too many requests", answers: []int{429, 200}, at: seconds(0, 20)},
		{name: "no connection", answers: []int{0, 0, 200}, at: seconds(0, 20, 40)},
		{name: "never taken", answers: []int{503, 503, 503, 503}, at: seconds(0, 20, 40, 60), dead: true},
		{name: "refused", answers: []int{404}, at: seconds(0), dead: true},
		{name: "a redirect", answers: []int{302}, at: seconds(0), dead: true},
		{name: "all phases", policy: phases, answers: slices.Repeat([]int{500}, 9), at: seconds(0, 0, 0, 1, 2, 7, 16, 25, 34), dead: true},
		{name: "the topic's", topic: `{"http":{"defaultHealthyRetryPolicy":{"numRetries":1,"minDelayTarget":3,"maxDelayTarget":3}}}`, answers: []int{500, 500}, at: seconds(0, 3), dead: true},
		{name: "its own before the topic's", policy: phases, topic: `{"http":{"defaultHealthyRetryPolicy":{"numRetries":1,"minDelayTarget":3,"maxDelayTarget":3}}}`, answers: []int{500, 200}, at: seconds(0, 0)},
		{name: "the topic's before its own", policy: phases, topic: `{"http":{"defaultHealthyRetryPolicy":{"numRetries":1,"minDelayTarget":3,"maxDelayTarget":3},"disableSubscriptionOverrides":true}}`, answers: []int{500, 200}, at: seconds(0, 3)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNewsroom(t, emulator.Config{}, func(n *newsroom) {
				dlq := createQueue(n.T, n.sqs, "dlq")
				attributes := []string{"RedrivePolicy", `{"deadLetterTargetArn":"` + arnPrefix + `dlq"}`}
				if tt.policy != "" {
					attributes = append(attributes, "DeliveryPolicy", tt.policy)
				}
				if tt.topic != "" {
					if _, err := n.sns.SetTopicAttributes(n.Context(), &sns.SetTopicAttributesInput{TopicArn: &n.topic, AttributeName: aws.String("DeliveryPolicy"), AttributeValue: &tt.topic}); err != nil {
						t.Fatal(err)
					}
				}
				n.reader(attributes...)
				n.site.answer(tt.answers...)
				n.publish("x")
				time.Sleep(time.Hour)
				var at []time.Duration
				for _, p := range n.site.all() {
					at = append(at, p.after)
				}
				if !slices.Equal(at, tt.at) {
					t.Errorf("delivered at %v, want %v", at, tt.at)
				}
				dead := receive(n.T, n.sqs, dlq)
				if got := len(dead) == 1 && strings.Contains(*dead[0].Body, `"Message":"x"`); got != tt.dead {
					t.Errorf("the dead letters are %v, want one: %t", dead, tt.dead)
				}
			})
		})
	}
}

// Functions of the host program are endpoints, by the names in their ARNs.
func TestFunctions(t *testing.T) {
	var mu sync.Mutex
	var got []emulator.Notification
	var at []time.Duration
	fail := 0
	began := time.Time{}
	functions := map[string]func(context.Context, emulator.Notification) error{
		"audit": func(_ context.Context, n emulator.Notification) error {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Since(began))
			if fail > 0 {
				fail--
				return errors.New("not now")
			}
			got = append(got, n)
			return nil
		},
	}
	const arn = "arn:aws:lambda:us-east-1:000000000000:function:"
	inNewsroom(t, emulator.Config{Functions: functions}, func(n *newsroom) {
		subscription := n.subscribe("lambda", arn+"audit:live", "FilterPolicy", `{"kind":["ride"]}`)
		began = time.Now()
		kind := func(kind string) func(*sns.PublishInput) {
			return func(in *sns.PublishInput) {
				in.Subject = aws.String("fares")
				in.MessageAttributes = map[string]snstypes.MessageAttributeValue{"kind": {DataType: aws.String("String"), StringValue: &kind}}
			}
		}
		n.publish("no", kind("tip"))
		mu.Lock()
		fail = 7
		mu.Unlock()
		n.publish(`{"default":"d","lambda":"yes","sqs":"s"}`, kind("ride"), func(in *sns.PublishInput) { in.MessageStructure = aws.String("json") })
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(got) != 1 {
			t.Fatalf("the function got %+v", got)
		}
		g := got[0]
		if g.Message != "yes" || g.Subject != "fares" || g.TopicARN != n.topic || g.SubscriptionARN != subscription || g.MessageID == "" ||
			!g.Timestamp.Equal(began) || g.Attributes["kind"] != (emulator.NotificationAttribute{Type: "String", Value: "ride"}) {
			t.Errorf("the function got %+v", g)
		}
		if len(at) != 8 || at[3] != 0 || at[4] != time.Second || at[5] != 2*time.Second || at[7] > 6*time.Second {
			t.Errorf("it was called at %v", at)
		}
		for endpoint, want := range map[string]string{arn + "none": "no function none", "audit": "Lambda endpoint ARN"} {
			if _, err := n.trySubscribe("lambda", endpoint); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", endpoint, err, want)
			}
		}
	})
}

// Close ends what is at work, and what waits.
func TestCloseEndsDeliveries(t *testing.T) {
	started, ended := make(chan struct{}, 1), make(chan error, 1)
	functions := map[string]func(context.Context, emulator.Notification) error{
		"slow": func(ctx context.Context, _ emulator.Notification) error {
			started <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		},
	}
	inNewsroom(t, emulator.Config{Functions: functions}, func(n *newsroom) {
		n.reader()
		n.subscribe("lambda", "arn:aws:lambda:us-east-1:000000000000:function:slow")
		n.site.answer(500)
		n.publish("x") // one is at work, and one waits for its second try
		<-started
		n.server.Close()
		select {
		case <-ended:
		default:
			t.Error("Close did not wait for the function")
		}
		time.Sleep(time.Hour)
		n.publish("y")
		if got := len(n.site.all()); got != 1 {
			t.Errorf("the endpoint has %d requests, want 1", got)
		}
	})
}

// Over a real socket, too.
func TestHTTPEndpoint(t *testing.T) {
	got := make(chan map[string]any, 10)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		got <- body
	}))
	defer web.Close()
	s := emulator.New(emulator.Config{})
	defer s.Close()
	topics := sns.NewFromConfig(awsConfig(s))
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("news")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("http"), Endpoint: &web.URL}); err != nil {
		t.Fatal(err)
	}
	token := (<-got)["Token"].(string)
	if _, err := topics.ConfirmSubscription(t.Context(), &sns.ConfirmSubscriptionInput{TopicArn: topic.TopicArn, Token: &token}); err != nil {
		t.Fatal(err)
	}
	if _, err := topics.Publish(t.Context(), &sns.PublishInput{TopicArn: topic.TopicArn, Message: aws.String("hello")}); err != nil {
		t.Fatal(err)
	}
	if n := <-got; n["Message"] != "hello" {
		t.Errorf("delivered was %v", n)
	}
	for _, bad := range []string{"ftp://x", "https://x", "x", "http://"} {
		if _, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("http"), Endpoint: &bad}); err == nil {
			t.Errorf("%q is taken as an endpoint of http", bad)
		}
	}
}
