package config_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

// An awsCloud is what answers under the names of AWS: STS, and in each account and
// region an SQS and SNS of its own.
type awsCloud struct {
	mu      sync.Mutex
	servers map[string]*emulator.Server // by "account region"
	assumed []url.Values
	refused bool
	denied  int
	lasts   time.Duration // a session
}

// do answers a request as whoever signed it: the account is the access key, or that
// of the role whose session it is.
func (c *awsCloud) Do(r *http.Request) (*http.Response, error) {
	host := strings.Split(r.URL.Hostname(), ".")
	if len(host) != 4 || host[2] != "amazonaws" {
		return nil, fmt.Errorf("%s is none of AWS", r.URL)
	}
	_, key, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope := strings.Split(key, "/")
	if host[0] == "sts" {
		return c.assume(r, scope[0])
	}
	c.mu.Lock()
	s, ok := c.servers[scope[0]+" "+host[1]]
	c.mu.Unlock()
	if !ok || scope[2] != host[1] {
		return nil, fmt.Errorf("account %s has nothing in %s", scope[0], host[1])
	}
	return s.Client().Do(r)
}

func (c *awsCloud) assume(r *http.Request, key string) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	form.Set("key", key)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.assumed = append(c.assumed, form)
	status, text := http.StatusOK, fmt.Sprintf(`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>`, strings.Split(form.Get("RoleArn"), ":")[4], time.Now().Add(c.lasts).UTC().Format(time.RFC3339))
	if c.refused {
		c.denied++
		status, text = http.StatusForbidden, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>`
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"text/xml"}}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

const places = `aws: {region: us-east-1}
endpoints:
  here:    {url: sqs://q, dead_letter: sqs://q-dlq}
  there:   {url: sqs://q, dead_letter: sqs://q-dlq, region: eu-west-1, role_arn: "arn:aws:iam::222222222222:role/fares", external_id: waybill}
  profile: {url: sqs://q, dead_letter: sqs://q-dlq, profile: rides}
`

// cloud sets up the accounts 1, 2 (by a role) and 3 (by a profile).
func cloud(t *testing.T) (*awsCloud, *queue.Endpoints, func(queue.Endpoint) aws.Config) {
	t.Helper()
	clean(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "111111111111")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	if err := os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte("[rides]\naws_access_key_id = 333333333333\naws_secret_access_key = secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &awsCloud{servers: make(map[string]*emulator.Server), lasts: time.Hour}
	for at, account := range map[string]string{"us-east-1": "111111111111", "eu-west-1": "222222222222"} {
		c.servers[account+" "+at] = emulator.New(emulator.Config{Account: account, Region: at})
	}
	c.servers["333333333333 us-east-1"] = emulator.New(emulator.Config{Account: "333333333333"})
	write(t, places)
	cfg := load(t, nil)
	endpoints, err := cfg.Endpoints()
	if err != nil {
		t.Fatal(err)
	}
	awsFor, err := cfg.AWS.LoadFor(t.Context(), endpoints, awsconfig.WithHTTPClient(c))
	if err != nil {
		t.Fatal(err)
	}
	return c, endpoints, awsFor
}

// TestLoadFor holds that each endpoint is served in its region, by its role or its
// profile: made, sent to and looked into.
func TestLoadFor(t *testing.T) {
	c, endpoints, awsFor := cloud(t)
	plan, err := topology.NewPlan(t.Context(), topology.NewClientsFor(awsFor), endpoints)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(plan.Steps()); n != 6 {
		t.Errorf("%d steps, want two queues in each account", n)
	}
	admin, err := queue.NewAdmin(queue.AdminConfig{AWSFor: awsFor, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	for name, account := range map[string]string{"here": "111111111111", "there": "222222222222", "profile": "333333333333"} {
		e, err := endpoints.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := sqs.NewFromConfig(awsFor(e)).ListQueues(t.Context(), nil)
		if err != nil || len(out.QueueUrls) != 2 || !strings.Contains(out.QueueUrls[0], account) {
			t.Errorf("%s: %v, %v; want the queues of %s", name, out, err, account)
		}
		q, err := admin.Queue(t.Context(), name)
		if err != nil || !strings.Contains(q.URL, account) {
			t.Errorf("%s: %v, %v", name, q, err)
			continue
		}
		attributes, err := q.Attributes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dead, err := admin.Queue(t.Context(), attributes.DeadLetter)
		if err != nil || !strings.Contains(dead.URL, account) {
			t.Errorf("%s: %v, %v; want the dead letters of %s", attributes.DeadLetter, dead, err, account)
			continue
		}
		sources, err := admin.Sources(t.Context(), dead)
		if err != nil || len(sources) != 1 || sources[0].Endpoint.Name != name || sources[0].URL != q.URL {
			t.Errorf("the sources of %s: %v, %v", dead.URL, sources, err)
		}
	}
	seen := 0
	for q, err := range admin.Queues(t.Context(), "") {
		if seen++; err != nil {
			t.Error(err)
		} else if !strings.HasSuffix(q.Name, "-dlq") && q.Endpoint.Name == q.Name {
			t.Errorf("%s is of no endpoint", q.URL)
		}
	}
	if seen != 6 {
		t.Errorf("there are %d queues, want 6", seen)
	}
	if _, err := admin.Queue(t.Context(), "sqs://q-dlq"); !errors.Is(err, queue.ErrInvalid) {
		t.Errorf("one of three: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.assumed) != 1 {
		t.Fatalf("assumed %v, want once", c.assumed)
	}
	for name, want := range map[string]string{"RoleArn": "arn:aws:iam::222222222222:role/fares", "ExternalId": "waybill", "RoleSessionName": "waybill", "key": "111111111111"} {
		if got := c.assumed[0].Get(name); got != want {
			t.Errorf("assumed with %s %q, want %q", name, got, want)
		}
	}
}

// TestRoleSession holds that a role is assumed anew before its session ends, and that
// the session is used to its end while that fails.
func TestRoleSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, endpoints, awsFor := cloud(t)
		e, err := endpoints.Resolve("there")
		if err != nil {
			t.Fatal(err)
		}
		credentials := awsFor(e).Credentials
		for _, tt := range []struct {
			after   time.Duration
			refused bool
			assumed int // of those that were not refused
			fails   bool
		}{
			{after: 0, assumed: 1},
			{after: 50 * time.Minute, assumed: 1},
			{after: 8 * time.Minute, assumed: 2},
			{after: 58 * time.Minute, refused: true, assumed: 2},
			{after: time.Minute, refused: true, assumed: 2},
			{after: 2 * time.Minute, refused: true, assumed: 2, fails: true},
			{after: 0, assumed: 3},
		} {
			time.Sleep(tt.after)
			c.mu.Lock()
			c.refused = tt.refused
			c.mu.Unlock()
			got, err := credentials.Retrieve(t.Context())
			if tt.fails != (err != nil) || err == nil && got.AccessKeyID != "222222222222" {
				t.Errorf("%+v: %v, %v", tt, got.AccessKeyID, err)
			}
			if len(c.assumed)-c.denied != tt.assumed {
				t.Errorf("%+v: assumed %d times", tt, len(c.assumed)-c.denied)
			}
		}
	})
}

// TestLoadForErrors holds that errors name the endpoint.
func TestLoadForErrors(t *testing.T) {
	c, endpoints, awsFor := cloud(t)
	c.refused = true
	_, err := topology.NewPlan(t.Context(), topology.NewClientsFor(awsFor), endpoints)
	if err == nil || !strings.Contains(err.Error(), "there)") {
		t.Errorf("without the role: %v", err)
	}
	admin, err := queue.NewAdmin(queue.AdminConfig{AWSFor: awsFor, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Queue(t.Context(), "there"); !errors.Is(err, queue.ErrAccess) || !strings.Contains(err.Error(), "there") {
		t.Errorf("without the role: %v", err)
	}
	clean(t)
	loadOne := func(a config.AWS, e queue.Endpoint) error {
		set, err := queue.NewEndpoints("", e)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.LoadFor(context.Background(), set)
		return err
	}
	err = loadOne(config.AWS{Region: "eu-west-1"}, queue.Endpoint{Name: "lost", URL: "sqs://q", Profile: "nobody"})
	if err == nil || !strings.Contains(err.Error(), `"lost"`) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("without the profile: %v", err)
	}
	err = loadOne(config.AWS{}, queue.Endpoint{Name: "lost", URL: "sqs://q"})
	if !errors.Is(err, config.ErrNoRegion) || !strings.Contains(err.Error(), `"lost"`) {
		t.Errorf("without a region: %v", err)
	}
	for _, config := range []error{
		errOf(queue.NewPublisher(queue.PublisherConfig{AWS: aws.Config{Region: "x"}, Endpoints: endpoints})),
		errOf(queue.NewSubscriber(queue.SubscriberConfig{AWS: aws.Config{Region: "x"}, Endpoints: endpoints})),
		errOf(queue.NewAdmin(queue.AdminConfig{AWS: aws.Config{Region: "x"}, Endpoints: endpoints})),
		errOf(topology.NewPlan(t.Context(), topology.NewClients(aws.Config{Region: "x"}), endpoints)),
	} {
		if config == nil || !strings.Contains(config.Error(), `"profile"`) && !strings.Contains(config.Error(), `"there"`) {
			t.Errorf("credentials that nothing gives: %v", config)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// TestLoadForEmulator holds that outside AWS no role and no profile is needed.
func TestLoadForEmulator(t *testing.T) {
	clean(t)
	set, err := queue.NewEndpoints("",
		queue.Endpoint{Name: "role", URL: "sqs://q", RoleARN: "arn:aws:iam::222222222222:role/fares", Profile: "nobody"},
		queue.Endpoint{Name: "own", URL: "sqs://q", EndpointURL: "http://127.0.0.1:4567"},
	)
	if err != nil {
		t.Fatal(err)
	}
	awsFor, err := config.AWS{EndpointURL: "http://127.0.0.1:4566"}.LoadFor(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"role": "222222222222 http://127.0.0.1:4566", "own": "waybill http://127.0.0.1:4567"} {
		e, _ := set.Resolve(name)
		cfg := awsFor(e)
		got, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil || got.AccessKeyID+" "+*cfg.BaseEndpoint != want || cfg.Region != "us-east-1" {
			t.Errorf("%s: %s %s in %s, %v; want %s", name, got.AccessKeyID, *cfg.BaseEndpoint, cfg.Region, err, want)
		}
	}
}
