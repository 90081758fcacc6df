package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/config/payloadstore"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
)

// An objectServer is a store that speaks S3's protocol as far as payloads need, or
// stands before one that does, and remembers when payloads were put.
type objectServer struct {
	next http.Handler // nil for one of its own

	mu      sync.Mutex
	objects map[string][]byte
	puts    []string // paths
}

// seen returns the paths under which payloads were put.
func (s *objectServer) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.puts)
}

func (s *objectServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/payload/") {
		s.puts = append(s.puts, r.URL.Path)
	}
	if s.next != nil {
		s.next.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	switch object, ok := s.objects[r.URL.Path]; {
	case r.Method == http.MethodPut:
		s.objects[r.URL.Path] = body
	case r.Method == http.MethodDelete:
		delete(s.objects, r.URL.Path)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `<Error><Code>NoSuchKey</Code></Error>`)
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object))
	}
}

// A payloadPlace is a store of payloads as a test sees it, which has one.
type payloadPlace struct {
	section string                        // of the file
	keptOn  func(*testing.T, func()) bool // whether the payload is kept for longer after what it does
	lose    func(*testing.T)              // the payload
}

func inRedis(t *testing.T, client redis.UniversalClient) payloadPlace {
	prefix := testserver.Namespace(t) + ":"
	key := func(t *testing.T) string {
		t.Helper()
		keys, err := client.Keys(t.Context(), prefix+"*").Result()
		if err != nil || len(keys) != 1 {
			t.Fatalf("the keys are %q, %v; want one", keys, err)
		}
		return keys[0]
	}
	return payloadPlace{
		section: fmt.Sprintf("payloads: {store: redis, claim_above: 1000, max_payload: 5000, prefix: '%s'}\n", prefix),
		keptOn: func(t *testing.T, do func()) bool {
			t.Helper()
			client.PExpire(t.Context(), key(t), time.Hour) // most of its time is over
			do()
			left, err := client.PTTL(t.Context(), key(t)).Result()
			if err != nil {
				t.Fatal(err)
			}
			return left > 17*24*time.Hour // of 18, those of the queue and its dead-letter queue
		},
		lose: func(t *testing.T) { client.Del(t.Context(), key(t)) },
	}
}

func inS3(t *testing.T, s *objectServer) payloadPlace {
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	bucket := strings.ToLower(testserver.Namespace(t))
	call := func(t *testing.T, method, path string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/"+bucket+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
		answer, err := http.DefaultClient.Do(r)
		if err != nil || answer.StatusCode >= 300 {
			t.Fatalf("%s %s: %v, %v", method, path, answer, err)
		}
		answer.Body.Close()
	}
	call(t, http.MethodPut, "")
	return payloadPlace{
		section: fmt.Sprintf("payloads: {store: s3, claim_above: 1000, max_payload: 5000, bucket: %s, endpoint_url: '%s'}\n", bucket, server.URL),
		keptOn: func(_ *testing.T, do func()) bool {
			before := len(s.seen())
			do()
			return len(s.seen()) > before
		},
		lose: func(t *testing.T) {
			t.Helper()
			for _, path := range s.seen() {
				call(t, http.MethodDelete, strings.TrimPrefix(path, "/"+bucket))
			}
		},
	}
}

// TestPayloads holds that the command has the payloads of dead letters from the store
// that the configuration names, and has it keep them.
func TestPayloads(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		c := newStackCLI(t, "")
		dlqPayloads(c, inRedis(t, c.stack.Redis))
	})
	t.Run("s3", func(t *testing.T) {
		dlqPayloads(newStackCLI(t, ""), inS3(t, &objectServer{objects: map[string][]byte{}}))
	})
	if addr, ok := testserver.Redis(t); ok {
		t.Run("redis-server", func(t *testing.T) {
			c := newStackCLI(t, "")
			t.Setenv("WAYBILL_REDIS", addr)
			client := redis.NewClient(&redis.Options{Addr: addr})
			t.Cleanup(func() { client.Close() })
			dlqPayloads(c, inRedis(t, client))
		})
	}
	if moto, ok := testserver.Moto(t); ok {
		t.Run("moto", func(t *testing.T) {
			to, err := url.Parse(moto)
			if err != nil {
				t.Fatal(err)
			}
			dlqPayloads(newStackCLI(t, ""), inS3(t, &objectServer{next: httputil.NewSingleHostReverseProxy(to)}))
		})
	}
}

// dlqPayloads looks at a dead letter whose payload is in the store, redrives it, has
// it received, and then loses the payload of one.
func dlqPayloads(c *cli, place payloadPlace) {
	t := c.T
	for name, text := range map[string]string{"waybill.yaml": rides + place.section, "none.yaml": rides} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.ok("topology", "apply")
	cfg, err := config.Load()
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := cfg.Endpoints()
	if err != nil {
		t.Fatal(err)
	}
	store, closeStore, err := payloadstore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore()
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: c.stack.AWS, Endpoints: endpoints, Payloads: store, ClaimAbove: cfg.Payloads.ClaimAbove})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	body := `{"amount":200,"text":"` + strings.Repeat("x", 2000) + `"}`
	bury := func() {
		t.Helper()
		msg := message.NewMessage("1", []byte(body))
		f := queue.NewFailure(queue.ReasonPermanent, errors.New("card declined"))
		f.Source = "sqs://test-fares"
		if err := errors.Join(f.Encode(msg), pub.Publish("sqs://test-fares-dlq", msg)); err != nil {
			t.Fatal(err)
		}
	}
	bury()

	letters := decode[[]struct {
		Body    struct{ Text, SHA256 string }
		Stored  bool
		Problem string
	}](t, c.ok("dlq", "peek", "fares", "--filter", ".body.amount == 200"))
	if len(letters) != 1 || len(letters[0].Body.Text) != 2000 || letters[0].Stored {
		t.Errorf("peek shows %+v", letters)
	}
	if got := c.ok("dlq", "peek", "fares", "-o", "table"); !strings.Contains(got, `card declined  {"amount":200,"text":"xxx`) {
		t.Errorf("peek shows\n%s", got)
	}
	r := c.run("dlq", "peek", "fares", "-o", "table", "--config", "none.yaml")
	if r.code != exitOK || !strings.Contains(r.stdout, "card declined  (in the store of payloads)") || !strings.Contains(r.stderr, "name it under payloads in waybill.yaml") {
		t.Errorf("without a store: %+v", r)
	}
	t.Setenv("WAYBILL_PAYLOADS_MAX_PAYLOAD", "1999")
	r = c.run("dlq", "peek", "fares")
	if r.code != exitOK || !strings.Contains(r.stdout, `"stored": true`) || !strings.Contains(r.stderr, "the limit is 1999") {
		t.Errorf("beyond max_payload: %+v", r)
	}
	t.Setenv("WAYBILL_PAYLOADS_MAX_PAYLOAD", "")

	if place.keptOn(t, func() { c.ok("dlq", "redrive", "fares") }) {
		t.Error("a dry run has the payload kept on")
	}
	if got := decode[redriven](t, c.ok("dlq", "redrive", "fares", "--yes", "--filter", ".body.amount > 200")); got.Sent != 0 || got.Filtered != 1 {
		t.Errorf("by a filter that it does not fit: %+v", got)
	}
	r = c.run("dlq", "redrive", "fares", "--config", "none.yaml", "-o", "table")
	if r.code != exitOK || !strings.Contains(squeezeLines(r.stdout), "payloads not kept on 1") || !strings.Contains(r.stderr, "the payload of 1 message is in a store, and keeps the time that it had; name it under payloads in waybill.yaml") {
		t.Errorf("without a store: %+v", r)
	}
	if !place.keptOn(t, func() {
		if got := decode[redriven](t, c.ok("dlq", "redrive", "fares", "--yes", "--filter", ".body.amount > 100")); got.Sent != 1 {
			t.Errorf("redriven was %+v", got)
		}
	}) {
		t.Error("a redrive has the payload not kept on")
	}
	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: c.stack.AWS, Endpoints: endpoints, Payloads: store, MaxPayload: cfg.Payloads.MaxPayload})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	messages, err := sub.Subscribe(ctx, "fares")
	if err != nil {
		t.Fatal(err)
	}
	if msg, ok := <-messages; !ok || string(msg.Payload) != body {
		t.Errorf("received %v", msg)
	} else {
		msg.Ack()
	}

	bury()
	place.lose(t)
	r = c.fails(exitPartial, "dlq: ", "dlq", "redrive", "fares", "--yes")
	if got := decode[redriven](t, r.stdout); got.Sent != 0 || got.Failed != 1 || got.Remaining != 1 || string(got.Failures[0].Stage) != "payload" {
		t.Errorf("of a payload that is gone: %+v", got)
	}
	r = c.run("dlq", "peek", "fares")
	if r.code != exitOK || !strings.Contains(r.stdout, `"stored": true`) || !strings.Contains(r.stderr, "the body of 1 message cannot be had") || !strings.Contains(r.stderr, queue.ErrPayloadGone.Error()) {
		t.Errorf("of a payload that is gone: %+v", r)
	}
}

// TestTopologyPayloads holds that the commands tell of a bucket whose lifecycle rules do
// not fit, and do what they are for all the same.
func TestTopologyPayloads(t *testing.T) {
	c := newStackCLI(t, "")
	days := 7
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if days < 0 {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<Error><Code>NoSuchBucket</Code></Error>`)
			return
		}
		if days == 0 || !r.URL.Query().Has("lifecycle") {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<Error><Code>AccessDenied</Code></Error>`)
			return
		}
		fmt.Fprintf(w, `<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>%d</Days></Expiration></Rule></LifecycleConfiguration>`, days)
	}))
	t.Cleanup(server.Close)
	file := rides + "payloads: {store: s3, bucket: rides-payloads, endpoint_url: '" + server.URL + "'}\n"
	if err := os.WriteFile("waybill.yaml", []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"plan", "apply", "show"} {
		days = 7
		if r := c.run("topology", command); r.code != exitOK || !strings.Contains(r.stderr, `rule "r" deletes payloads after 7 days; want 42`) {
			t.Errorf("%s: %+v", command, r)
		}
		days = 0
		if r := c.run("topology", command); r.code != exitOK || !strings.Contains(r.stderr, "ask for the lifecycle rules of rides-payloads") {
			t.Errorf("%s without permission: %+v", command, r)
		}
		days = -1
		if r := c.run("topology", command); r.code != exitOK ||
			!strings.Contains(r.stderr, "payloads.bucket: there is no bucket rides-payloads; make it, or mend the name") {
			t.Errorf("%s without the bucket: %+v", command, r)
		}
		days = 42
		if r := c.run("topology", command); r.code != exitOK || strings.Contains(r.stderr, "payload") {
			t.Errorf("%s with what fits: %+v", command, r)
		}
	}
	t.Setenv("WAYBILL_PAYLOADS_BUCKET", "arn:aws:s3:us-east-1:123456789012:accesspoint/p")
	if r := c.run("topology", "show"); r.code != exitOK || r.stderr != "" {
		t.Errorf("of an access point: %+v", r)
	}
	t.Setenv("WAYBILL_PAYLOADS_STORE", "redis")
	t.Setenv("WAYBILL_PAYLOADS_BUCKET", "")
	if r := c.run("topology", "show"); r.code != exitOK || r.stderr != "" {
		t.Errorf("in Redis: %+v", r)
	}
}

// The command line and the file say what is wrong with payloads.
func TestPayloadsUsage(t *testing.T) {
	c := newCLI(t, "endpoints: {a: {url: sqs://a, dead_letter: sqs://b, region: eu-west-1}}\npayloads:\n  store: s3\n")
	c.fails(exitUsage, "waybill.yaml:3: payloads has no bucket", "dlq", "ls")
	c.fails(exitUsage, "waybill.yaml:3: payloads has no bucket", "config", "show")
	c = newCLI(t, "endpoints: {a: {url: sqs://a, dead_letter: sqs://b, region: eu-west-1}}\npayloads: {store: s3, bucket: b12}\n")
	c.fails(exitUsage, "payloads: no AWS region is set; set payloads.region, aws.region or AWS_REGION; or give --region", "dlq", "peek", "a")
	if got := c.ok("config", "show", "-o", "table"); !strings.Contains(got, "payloads.bucket") || !strings.Contains(got, "waybill/payload/") {
		t.Errorf("config show prints\n%s", got)
	}
	if got := c.ok("dlq", "peek", "--help"); !strings.Contains(got, "--redis") {
		t.Errorf("the help has no --redis:\n%s", got)
	}
}

// TestTopologyIAMPayloads holds that policies have what each role does with the bucket.
func TestTopologyIAMPayloads(t *testing.T) {
	c := newCLI(t, "aws: {region: eu-west-1}\nnamespace: prod\nendpoints: {fares: {url: sqs://fares}}\npayloads: {store: s3, bucket: rides-payloads, kms_key: alias/payloads}\n")
	iam := func(args ...string) string {
		t.Helper()
		policy := decode[topology.Policy](t, c.ok(append([]string{"topology", "iam", "--account", "111122223333"}, args...)...))
		var list []string
		for _, s := range policy.Statement {
			if !strings.HasPrefix(s.Action[0], "sqs:") && !strings.HasPrefix(s.Action[0], "sns:") {
				list = append(list, fmt.Sprintf("%v%v%v", s.Action, s.Resource, s.Condition))
			}
		}
		return strings.Join(list, "\n")
	}
	const (
		objects = "[arn:aws:s3:::rides-payloads/prod/payload/*]map[]"
		list    = "[s3:ListBucket][arn:aws:s3:::rides-payloads]map[StringLike:map[s3:prefix:prod/payload/*]]\n"
		key     = "[arn:aws:kms:eu-west-1:111122223333:key/*]map[ForAnyValue:StringEquals:map[kms:ResourceAliases:alias/payloads]]"
	)
	for role, want := range map[string]string{
		"worker":    list + "[s3:GetObject s3:PutObject]" + objects + "\n[kms:Decrypt kms:GenerateDataKey]" + key,
		"operator":  list + "[s3:GetObject s3:PutObject]" + objects + "\n[kms:Decrypt kms:GenerateDataKey]" + key,
		"publisher": "[s3:PutObject]" + objects + "\n[kms:GenerateDataKey]" + key,
		"consumer":  list + "[s3:GetObject]" + objects + "\n[kms:Decrypt]" + key,
		"viewer":    "[s3:GetLifecycleConfiguration][arn:aws:s3:::rides-payloads]map[]",
		"topology":  "[s3:GetLifecycleConfiguration][arn:aws:s3:::rides-payloads]map[]",
	} {
		if got := iam("--role", role); got != want {
			t.Errorf("%s: the policy has\n%s\nwant\n%s", role, got, want)
		}
	}
	if got := iam("--role", "publisher", "--payloads-key", "1234-abcd"); !strings.Contains(got, "[kms:GenerateDataKey][arn:aws:kms:eu-west-1:111122223333:key/1234-abcd]") {
		t.Errorf("with a key of the bucket's the policy has %s", got)
	}
	t.Setenv("WAYBILL_PAYLOADS_ROLE_ARN", "arn:aws:iam::222222222222:role/payloads")
	if got := iam(); got != "[sts:AssumeRole][arn:aws:iam::222222222222:role/payloads]map[]" {
		t.Errorf("with a role for the bucket the policy has %s", got)
	}
	if got := iam("--for-role", "arn:aws:iam::222222222222:role/payloads"); !strings.Contains(got, objects) {
		t.Errorf("the role's policy has %s", got)
	}
	t.Setenv("WAYBILL_PAYLOADS_ROLE_ARN", "")
	t.Setenv("WAYBILL_PAYLOADS_STORE", "redis")
	if got := iam(); got != "" {
		t.Errorf("with payloads in Redis the policy has %s", got)
	}
	c.fails(exitUsage, "--payloads-key is k, and payloads.store is not s3", "topology", "iam", "--payloads-key", "k")
}
