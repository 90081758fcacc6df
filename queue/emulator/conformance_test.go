package emulator_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// The conformance table: each rule of SQS and SNS that the emulator keeps, with its source, as a test that
// runs against the emulator and against the other servers that are configured.

// rule is one row of the table.
type rule struct {
	name   string // unique, and stable
	says   string // the rule itself
	source string // where AWS says so
	sns    bool   // the rule needs SNS
	long   bool   // the test waits too long for real time: it runs on the emulator alone
	alone  bool   // what a peer takes from the test fails the others: none runs beside it

	test func(*probe)
}

// deviation is what a peer does instead of a rule. The rule's test must then fail, with the failure named,
// so that a peer that has learned the rule is noticed.
type deviation struct {
	does    string // what it does, and where that is known from besides the test
	failure string // part of the test's first failure
}

// peer is another server that stands in for AWS.
type peer string

const (
	localStack peer = "LocalStack"
	elasticMQ  peer = "ElasticMQ"
	moto       peer = "moto"
)

var peers = []peer{localStack, elasticMQ, moto}

// The sources, by their titles.
func api(operation string) string    { return "SQS API reference, " + operation }
func guide(section string) string    { return "SQS developer guide, " + section }
func snsAPI(operation string) string { return "SNS API reference, " + operation }
func snsGuide(title string) string   { return "SNS developer guide, " + title }

const (
	quotas = "Amazon SQS message quotas"
)

// allRules returns the table, in the order of its documentation.
func allRules() []rule {
	var out []rule
	for _, part := range [][]rule{
		queueRules, attributeRules, messageRules, receiveRules, visibilityRules, redriveRules, moveRules, permissionRules, batchRules, wireRules,
		fifoQueueRules, fifoSendRules, dedupRules, fifoOrderRules, fifoReceiptRules, attemptRules, fifoRedriveRules, fairRules, limitRules,
		topicRules, subscriptionRules, deliveryRules, fifoTopicRules, httpRules, filterRules,
	} {
		out = append(out, part...)
	}
	return out
}

// TestMain lets more rules wait at once than there are processors: most of their time is waiting.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := f.Value.Set("48"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	t.Run("emulator", func(t *testing.T) {
		for _, r := range allRules() {
			t.Run(r.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // waits cost nothing
					web := make(bubbleWeb)
					s := emulator.New(emulator.Config{EnforcePolicies: true, HTTPClient: &http.Client{Transport: web}})
					defer s.Close()
					p := newProbe(t, "http://emulator", s.Client())
					p.server = s
					p.serve = web.serve
					for _, complaint := range r.hold(p, nil) {
						t.Error(complaint)
					}
				})
			})
		}
	})
	t.Run("socket", func(t *testing.T) {
		t.Parallel()
		s := emulator.New(emulator.Config{EnforcePolicies: true})
		t.Cleanup(s.Close)
		runRules(t, listen(t, s), "", true)
	})
	// The other servers are processes of their own, which the race detector does not
	// watch: under it their table would show nothing of this code.
	if raceDetector {
		return
	}
	for _, p := range peers {
		endpoint, ok := p.endpoint(t)
		if !ok {
			continue
		}
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			runRules(t, endpoint, p, p != elasticMQ)
		})
	}
}

func runRules(t *testing.T, endpoint string, p peer, hasSNS bool) {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: buffered{transport}}
	pulse := startPulse(t, newProbe(t, endpoint, client).sqs)
	slots := make(chan struct{}, 12) // a server with more to do at once answers late
	for _, r := range allRules() {
		if r.sns && !hasSNS || r.long {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			if !r.alone {
				t.Parallel()
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			var d *deviation
			if known, ok := deviations[r.name][p]; ok {
				d = &known
			}
			complaints := r.judge(func() *probe {
				look := newProbe(t, endpoint, client)
				look.pulse = pulse
				return look
			}, d)
			for _, complaint := range complaints {
				t.Error(complaint)
			}
		})
	}
}

func (p peer) endpoint(t *testing.T) (string, bool) {
	switch p {
	case localStack:
		return testserver.LocalStack(t)
	case elasticMQ:
		return testserver.ElasticMQ(t)
	}
	return testserver.Moto(t)
}

// buffered reads requests before it sends them, and answers before it returns them. The SDK closes the body
// of a request as soon as the answer's headers are there, which on loopback races with its being sent.
type buffered struct{ next http.RoundTripper }

func (b buffered) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// listen serves s on a free port until the test ends.
func listen(t testing.TB, s *emulator.Server) (endpoint string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return "http://" + ln.Addr().String()
}

// hold runs the rule's test, and expects it to fail if the server is known to deviate. It returns what is
// otherwise than expected.
func (r rule) hold(p *probe, d *deviation) []string {
	p.deviates = d != nil
	p.run(r.test)
	switch {
	case d == nil:
		complaints := make([]string, len(p.failures))
		for i, f := range p.failures {
			complaints[i] = fmt.Sprintf("%s\n\trule: %s\n\tsource: %s", f, r.says, r.source)
		}
		return complaints
	case len(p.failures) == 0:
		return []string{"the server keeps the rule now, and is listed as deviating: " + d.does}
	case !strings.Contains(p.failures[0], d.failure):
		return []string{fmt.Sprintf("the server deviates in another way than listed (%s): %s", d.does, p.failures[0])}
	}
	return nil
}

// probe is one rule's look at one server. Its failures are data, since a deviation is expected to fail.
type probe struct {
	ctx      context.Context
	endpoint string
	server   *emulator.Server // nil unless it is one in virtual time
	http     *http.Client
	sqs      *sqs.Client
	sns      *sns.Client

	namespace string
	names     int
	serve     func(http.Handler) (url string, stop func()) // makes an HTTP server that the server under test can reach
	queues    []string                                     // URLs, to be deleted
	topics    []string                                     // ARNs, to be deleted
	stops     []func()
	deviates  bool // whether it is listed as breaking the rule
	failures  []string
	pace      *pace
	pulse     *pulse        // nil in virtual time, where nothing is late
	late      time.Duration // after the test: by how much it was
}

func newProbe(t *testing.T, endpoint string, client *http.Client) *probe {
	cfg := aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: &endpoint,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:   client,
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
	return &probe{
		ctx: t.Context(), endpoint: endpoint, http: client,
		sqs: sqs.NewFromConfig(cfg), sns: sns.NewFromConfig(cfg),
		namespace: testserver.Namespace(t),
		pace:      newPace(),
		serve: func(h http.Handler) (string, func()) {
			web := httptest.NewServer(h)
			return web.URL, web.Close
		},
	}
}

// bubbleWeb are HTTP servers without sockets, by their hosts.
type bubbleWeb map[string]http.Handler

func (w bubbleWeb) serve(h http.Handler) (url string, stop func()) {
	host := fmt.Sprintf("web-%d.test", len(w))
	w[host] = h
	return "http://" + host, func() {}
}

func (w bubbleWeb) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	w[r.URL.Host].ServeHTTP(answer, r)
	return answer.Result(), nil
}

// stopped is what fatalf panics with.
type stopped struct{}

func (p *probe) run(test func(*probe)) {
	defer p.cleanUp()
	defer func() {
		p.late = p.pace.late()
		if p.pulse != nil {
			p.late = max(p.late, p.pulse.late(p.pace.began))
		}
		if v := recover(); v != nil {
			if _, ok := v.(stopped); !ok {
				panic(v)
			}
		}
	}()
	test(p)
}

// cleanUp deletes what the probe made, as well as the server lets it.
func (p *probe) cleanUp() {
	for _, arn := range p.topics {
		_, _ = p.sns.DeleteTopic(p.ctx, &sns.DeleteTopicInput{TopicArn: &arn})
	}
	for _, url := range p.queues {
		_, _ = p.sqs.DeleteQueue(p.ctx, &sqs.DeleteQueueInput{QueueUrl: &url})
	}
	for _, stop := range p.stops {
		stop()
	}
}

func (p *probe) errorf(format string, args ...any) {
	p.failures = append(p.failures, fmt.Sprintf(format, args...))
}

func (p *probe) fatalf(format string, args ...any) {
	p.errorf(format, args...)
	panic(stopped{})
}

// ok stops the test at an error.
func (p *probe) ok(err error, what string) {
	if err != nil {
		p.fatalf("%s: %v", what, err)
	}
}

// equal compares what was found.
func (p *probe) equal(what string, got, want any) {
	if !reflect.DeepEqual(got, want) {
		p.errorf("%s is %v, want %v", what, got, want)
	}
}

// refused expects an error with a code.
func (p *probe) refused(err error, code, what string) {
	switch {
	case err == nil:
		p.errorf("%s: accepted, want %s", what, code)
	case codeOf(err) != code:
		p.errorf("%s: refused with %s, want %s (%v)", what, codeOf(err), code, err)
	}
}

// codeOf returns the code of an error in one notation. The same error has several: the name of its shape,
// the code that the Query protocol had for it, and those that SDKs make of either.
func codeOf(err error) string {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return "no API error"
	}
	return normal(e.ErrorCode())
}

func normal(code string) string {
	code = strings.TrimSuffix(code[strings.LastIndexAny(code, ".#")+1:], "Exception")
	switch code {
	case "NonExistentQueue":
		return "QueueDoesNotExist"
	case "QueueAlreadyExists":
		return "QueueNameExists"
	case "MissingRequiredParameter":
		return "MissingParameter"
	}
	return code
}

// name returns a new name, for a queue or a topic.
func (p *probe) name() string {
	p.names++
	return fmt.Sprintf("%s-%d", p.namespace, p.names)
}

// sleep lets time pass. It is for what must not have happened before; what must happen is polled for.
func (p *probe) sleep(d time.Duration) {
	defer p.pace.waiting(d)()
	time.Sleep(d)
}

var update = flag.Bool("update", false, "rewrite CONFORMANCE.md")

// TestConformanceDocument keeps CONFORMANCE.md true to the table.
func TestConformanceDocument(t *testing.T) {
	const file = "CONFORMANCE.md"
	want := document(allRules())
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is out of date; run go test -run TestConformanceDocument -update", file)
	}
}

func TestConformanceRulesAreDistinct(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range allRules() {
		if seen[r.name] {
			t.Errorf("two rules are called %s", r.name)
		}
		seen[r.name] = true
		if r.says == "" || r.source == "" {
			t.Errorf("%s has no rule or no source", r.name)
		}
	}
	for name, of := range deviations {
		if !seen[name] {
			t.Errorf("deviations from %s, which is no rule", name)
		}
		for p, d := range of {
			if d.does == "" || d.failure == "" {
				t.Errorf("%s: the deviation of %s is not explained", name, p)
			}
		}
	}
}

func document(rules []rule) string {
	var b strings.Builder
	b.WriteString(`# Conformance

What the emulator keeps of SQS and SNS: each rule with its source, and the other servers that do otherwise
in the versions that the tests run against (LocalStack 4.14.0, ElasticMQ 1.7.1, moto 5.2.3). ElasticMQ has
no SNS. This file is made from the table in the tests, by
` + "`go test ./queue/emulator -run TestConformanceDocument -update`" + `.

`)
	count := make(map[peer]int)
	section := ""
	for _, r := range rules {
		name, _, _ := strings.Cut(r.name, "/")
		if name != section {
			section = name
			fmt.Fprintf(&b, "\n## %s\n\n| Rule | Source | Deviations |\n|---|---|---|\n", section)
		}
		var notes []string
		for _, p := range peers {
			if d, ok := deviations[r.name][p]; ok {
				count[p]++
				notes = append(notes, fmt.Sprintf("**%s** %s", p, d.does))
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(r.says), cell(r.source), cell(strings.Join(notes, "; ")))
	}
	b.WriteString("\nDeviations listed: ")
	for i, p := range peers {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", p, count[p])
	}
	fmt.Fprintf(&b, ", of %d rules.\n", len(rules))
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
