package payloadstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/config/payloadstore"
	"github.com/waybill-dev/waybill/internal/payloadtest"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/redispayload"
	"github.com/waybill-dev/waybill/queue/s3payload"
	"github.com/waybill-dev/waybill/waybilltest"
)

// open opens the store of a file, with nothing of the machine's configuration.
func open(t *testing.T, file string, opts ...func(*awsconfig.LoadOptions) error) (queue.PayloadStore, func() error) {
	t.Helper()
	none := t.TempDir()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_CA_BUNDLE": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": none + "/config", "AWS_SHARED_CREDENTIALS_FILE": none + "/credentials",
	} {
		t.Setenv(name, value)
	}
	store, closeStore, err := payloadstore.Open(t.Context(), load(t, file), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return store, closeStore
}

func load(t *testing.T, file string) *config.Config {
	t.Helper()
	path := t.TempDir() + "/waybill.yaml"
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.WithFile(path), config.WithEnviron(nil))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Without a store there is none: publishers take it for that.
func TestOpenNone(t *testing.T) {
	store, closeStore := open(t, "")
	if store != nil {
		t.Errorf("the store is %v", store)
	}
	if err := closeStore(); err != nil {
		t.Error(err)
	}
	if _, _, err := payloadstore.Open(t.Context(), &config.Config{Payloads: config.Payloads{Store: "tape"}}); err == nil || !strings.Contains(err.Error(), `"tape"; want redis or s3`) {
		t.Errorf("of another kind: %v", err)
	}
}

// TestOpenRedis holds that payloads are in the configuration's Redis, under its
// prefix.
func TestOpenRedis(t *testing.T) {
	stack := waybilltest.Start(t)
	store, closeStore := open(t, fmt.Sprintf("namespace: %s-payloads\nredis: {addr: %s}\npayloads: {store: redis}\n", stack.Namespace, stack.RedisAddr))
	payloadtest.Test(t, store)
	keys, err := stack.Redis.Keys(t.Context(), stack.Namespace+"-payloads:payload:*").Result()
	if err != nil || len(keys) == 0 {
		t.Errorf("the keys are %q, %v", keys, err)
	}
	if err := closeStore(); err != nil {
		t.Error(err)
	}
	if _, err := store.Get(t.Context(), "whole", 10); err == nil || errors.Is(err, queue.ErrPayloadGone) {
		t.Errorf("from a closed store: %v", err)
	}
}

// TestOpenS3 holds that payloads are in the bucket that the configuration names.
func TestOpenS3(t *testing.T) {
	url, ok := testserver.Moto(t)
	if !ok {
		return // TestOpenS3Requests needs no server
	}
	bucket := strings.ToLower(testserver.Namespace(t))
	store, closeStore := open(t, fmt.Sprintf("aws: {endpoint_url: '%s'}\npayloads: {store: s3, bucket: %s}\n", url, bucket))
	cfg, err := config.AWS{EndpointURL: url}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	payloadtest.Test(t, store)
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String("waybill/payload/")})
	if err != nil || len(list.Contents) == 0 {
		t.Errorf("the objects are %v, %v", list, err)
	}
	s, ok := store.(*s3payload.Store)
	if !ok {
		t.Fatalf("the store is a %T", store)
	}
	if err := s.CheckLifecycle(t.Context()); !errors.Is(err, s3payload.ErrLifecycle) {
		t.Errorf("of a bucket without rules: %v", err)
	}
	if err := closeStore(); err != nil {
		t.Error(err)
	}
}

// A recorder remembers the last request, and answers all with nothing.
type recorder struct {
	mu   sync.Mutex
	last *http.Request
}

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = req
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(nil)), Request: req}, nil
}

// TestOpenS3Requests holds that requests go where the configuration says, and say
// what it says.
func TestOpenS3Requests(t *testing.T) {
	const arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/rides"
	for name, tt := range map[string]struct{ file, services, want string }{
		"AWS":            {"aws: {region: eu-west-1}\npayloads: {store: s3, bucket: b12}\n", "", "https://b12.s3.eu-west-1.amazonaws.com/waybill/payload/k"},
		"region":         {"aws: {region: eu-west-1}\npayloads: {store: s3, bucket: b12, region: eu-north-1}\n", "", "https://b12.s3.eu-north-1.amazonaws.com/waybill/payload/k"},
		"access point":   {"aws: {region: eu-west-1}\npayloads: {store: s3, bucket: '" + arn + "'}\n", "", "https://rides-123456789012.s3-accesspoint.eu-west-1.amazonaws.com/waybill/payload/k"},
		"queues' of AWS": {"aws: {region: eu-west-1, endpoint_url: 'https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com'}\npayloads: {store: s3, bucket: b12}\n", "", "https://b12.s3.eu-west-1.amazonaws.com/waybill/payload/k"},
		"emulator":       {"aws: {endpoint_url: 'http://127.0.0.1:4566'}\npayloads: {store: s3, bucket: b12}\n", "", "http://127.0.0.1:4566/b12/waybill/payload/k"},
		"own":            {"aws: {endpoint_url: 'http://127.0.0.1:4566'}\npayloads: {store: s3, bucket: b12, prefix: p/, endpoint_url: 'https://minio:9000'}\n", "https://other", "https://minio:9000/b12/p/k"},
		"virtual":        {"payloads: {store: s3, bucket: b12, region: x, endpoint_url: 'https://minio:9000', virtual_hosted: true}\n", "", "https://b12.minio:9000/waybill/payload/k"},
		"the SDK's":      {"aws: {region: eu-west-1}\npayloads: {store: s3, bucket: b12}\n", "https://minio:9000", "https://minio:9000/b12/waybill/payload/k"},
	} {
		t.Run(name, func(t *testing.T) {
			r := new(recorder)
			t.Setenv("AWS_ENDPOINT_URL_S3", tt.services)
			store, _ := open(t, tt.file, awsconfig.WithHTTPClient(r))
			if err := store.Put(t.Context(), "k", []byte("x"), time.Hour); err != nil {
				t.Fatal(err)
			}
			u := *r.last.URL
			if u.RawQuery = ""; u.String() != tt.want {
				t.Errorf("put to %s, want %s", &u, tt.want)
			}
		})
	}
	r := new(recorder)
	store, _ := open(t, "payloads: {store: s3, bucket: b12, region: eu-west-1, owner: \"123456789012\", kms_key: alias/k, expire_days: 2}\n", awsconfig.WithHTTPClient(r))
	if err := store.Put(t.Context(), "k", []byte("x"), 48*time.Hour); err != nil {
		t.Fatal(err)
	}
	if h := r.last.Header; h.Get("X-Amz-Expected-Bucket-Owner") != "123456789012" || h.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != "alias/k" {
		t.Errorf("put with %v", h)
	}
	if err := store.Put(t.Context(), "k", []byte("x"), 49*time.Hour); err == nil {
		t.Error("kept for longer than expire_days")
	}
}

// What closes the store closes its connections.
func TestOpenS3Close(t *testing.T) {
	closed := make(chan struct{}, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	store, closeStore := open(t, "payloads: {store: s3, bucket: b12, endpoint_url: '"+server.URL+"'}\n")
	if err := store.Put(t.Context(), "k", []byte("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
		t.Fatal("the connection is closed already")
	default:
	}
	if err := closeStore(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection is open")
	}
}

func TestOpenErrors(t *testing.T) {
	open(t, "") // for the environment
	if _, _, err := payloadstore.Open(t.Context(), load(t, "payloads: {store: s3, bucket: b12}\n")); !errors.Is(err, config.ErrNoRegion) {
		t.Errorf("without a region: %v", err)
	}
	if _, _, err := payloadstore.Open(t.Context(), load(t, "payloads: {store: s3, bucket: b12, region: eu-west-1, profile: nobody}\n")); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("without the profile: %v", err)
	}
}

// TestDefaults holds that a program with the configuration and one with the stores'
// own defaults have their payloads in the same place.
func TestDefaults(t *testing.T) {
	if got := load(t, "payloads: {store: redis}\n").Payloads.Prefix; got != redispayload.DefaultPrefix {
		t.Errorf("in Redis the prefix is %s, want %s", got, redispayload.DefaultPrefix)
	}
	if p := load(t, "payloads: {store: s3, bucket: b12}\n").Payloads; p.Prefix != s3payload.DefaultPrefix || p.ExpireDays != s3payload.DefaultExpireDays {
		t.Errorf("in a bucket they are %+v, want %s and %d", p, s3payload.DefaultPrefix, s3payload.DefaultExpireDays)
	}
}
