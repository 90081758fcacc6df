package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/queue"
)

// write makes a directory with a waybill.yaml the working directory.
func write(t *testing.T, text string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile(config.DefaultFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// load reads the configuration with only the given variables set.
func load(t *testing.T, environ []string, opts ...config.Option) *config.Config {
	t.Helper()
	cfg, err := config.Load(append([]config.Option{config.WithEnviron(environ)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func source(t *testing.T, cfg *config.Config, key string) string {
	t.Helper()
	for _, v := range cfg.Values() {
		if v.Key == key {
			return v.Value + " <- " + v.Source
		}
	}
	t.Fatalf("no value for %s in %v", key, cfg.Values())
	return ""
}

const full = `namespace: prod
aws:
  endpoint_url: http://127.0.0.1:4566
  region: eu-central-1
redis:
  addr: redis.internal:6380
  username: waybill
  password: s3cret
  db: 2
  tls: true
endpoints:
  fares:
    url: sqs://fares
    dead_letter: sqs://fares-dlq
    max_receive_count: 3
    visibility: 45s
    retention: 1d12h
    dead_letter_retention: 14d
    delay: 5s
    concurrency: 8
    pollers: 3
    min_pollers: 2
    max_message_size: 4096
    attributes: [fare, distance]
    region: eu-west-1
    endpoint_url: http://127.0.0.1:4567
  fares-completed:
    url: sns://fares-completed
    subscriptions:
      - endpoint: fares
        enveloped: true
        filter: {success: ["true"], fare: [{numeric: [">=", 50]}], day: [2026-01-02]}
        filter_scope: MessageBody
      - endpoint: fares
        filter: '{"a": [ "b<c" ]}'
`

func TestFile(t *testing.T) {
	write(t, full)
	cfg := load(t, nil)
	if cfg.Namespace != "prod" || cfg.StoreNamespace() != "prod" || cfg.File() != "waybill.yaml" {
		t.Errorf("namespace %q, store %q, file %q", cfg.Namespace, cfg.StoreNamespace(), cfg.File())
	}
	if want := (config.AWS{EndpointURL: "http://127.0.0.1:4566", Region: "eu-central-1"}); cfg.AWS != want {
		t.Errorf("AWS is %+v, want %+v", cfg.AWS, want)
	}
	want := config.Redis{Addr: "redis.internal:6380", Username: "waybill", Password: "s3cret", DB: 2, TLS: true}
	if cfg.Redis != want {
		t.Errorf("Redis is %#v, want %#v", cfg.Redis, want)
	}
	endpoints, err := cfg.Endpoints()
	if err != nil {
		t.Fatal(err)
	}
	fares, err := endpoints.Resolve("fares")
	if err != nil {
		t.Fatal(err)
	}
	wantFares := queue.Endpoint{
		Name: "fares", URL: "sqs://prod-fares", DeadLetter: "sqs://prod-fares-dlq", MaxReceiveCount: 3,
		Visibility: 45 * time.Second, Retention: 36 * time.Hour, DeadLetterRetention: 14 * 24 * time.Hour,
		Delay: 5 * time.Second, Concurrency: 8, Pollers: 3, MinPollers: 2, MaxMessageSize: 4096,
		Attributes: []string{"fare", "distance"}, Region: "eu-west-1", EndpointURL: "http://127.0.0.1:4567",
	}
	if !reflect.DeepEqual(fares, wantFares) {
		t.Errorf("fares is\n%+v, want\n%+v", fares, wantFares)
	}
	completed, err := endpoints.Resolve("fares-completed")
	if err != nil {
		t.Fatal(err)
	}
	wantSubscriptions := []queue.Subscription{
		{Endpoint: "fares", Enveloped: true, FilterScope: queue.FilterBody,
			Filter: json.RawMessage(`{"day":["2026-01-02"],"fare":[{"numeric":[">=",50]}],"success":["true"]}`)},
		{Endpoint: "fares", Filter: json.RawMessage(`{"a":["b<c"]}`), FilterScope: queue.FilterAttributes},
	}
	if got := completed.Subscriptions; !reflect.DeepEqual(got, wantSubscriptions) {
		t.Errorf("subscriptions are\n%+v, want\n%+v", got, wantSubscriptions)
	}
}

func TestNoFile(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg := load(t, nil)
	if cfg.Redis.Addr != config.DefaultRedisAddr || cfg.StoreNamespace() != config.DefaultStoreNamespace || cfg.File() != "" {
		t.Errorf("got %+v", cfg)
	}
	if endpoints, err := cfg.Endpoints(); err != nil || len(endpoints.Names()) != 0 {
		t.Errorf("endpoints %v, %v", endpoints.Names(), err)
	}
}

func TestPrecedence(t *testing.T) {
	write(t, "namespace: file\nredis: {addr: file:1}\nendpoints:\n  fares: {url: sqs://fares, visibility: 10s}\n")
	environ := []string{"WAYBILL_NAMESPACE=env", "WAYBILL_REDIS=env:2", "WAYBILL_ENDPOINTS_FARES_VISIBILITY=20s"}
	flags := []config.Option{
		config.WithFlag("--namespace", "namespace", "flag"),
		config.WithFlag("--redis", "redis.addr", "flag:3"),
		config.WithValue("endpoints.fares.visibility", "30s"),
	}
	tests := []struct {
		name    string
		environ []string
		opts    []config.Option
		want    []string
	}{
		{"file", nil, nil, []string{"file <- file waybill.yaml:1", "file:1 <- file waybill.yaml:2", "10s <- file waybill.yaml:4"}},
		{"environment", environ, nil, []string{"env <- env WAYBILL_NAMESPACE", "env:2 <- env WAYBILL_REDIS", "20s <- env WAYBILL_ENDPOINTS_FARES_VISIBILITY"}},
		{"flag", environ, flags, []string{"flag <- flag --namespace", "flag:3 <- flag --redis", "30s <- option WithValue"}},
		{"flag without environment", nil, flags, []string{"flag <- flag --namespace", "flag:3 <- flag --redis", "30s <- option WithValue"}},
		{"empty variables", []string{"WAYBILL_NAMESPACE=", "WAYBILL_REDIS=", "WAYBILL_ENDPOINTS_FARES_VISIBILITY="}, nil, []string{"file <- file waybill.yaml:1", "file:1 <- file waybill.yaml:2", "10s <- file waybill.yaml:4"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := load(t, tt.environ, tt.opts...)
			for i, key := range []string{"namespace", "redis.addr", "endpoints.fares.visibility"} {
				if got := source(t, cfg, key); got != tt.want[i] {
					t.Errorf("%s: %s, want %s", key, got, tt.want[i])
				}
			}
		})
	}
}

func TestEndpointURLVariables(t *testing.T) {
	t.Chdir(t.TempDir())
	both := []string{"AWS_ENDPOINT_URL=http://aws:1", "WAYBILL_ENDPOINT_URL=http://waybill:2", "AWS_DEFAULT_REGION=a-1"}
	cfg := load(t, both)
	if got, want := source(t, cfg, "aws.endpoint_url"), "http://waybill:2 <- env WAYBILL_ENDPOINT_URL"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	cfg = load(t, both[:1])
	if got, want := source(t, cfg, "aws.endpoint_url"), "http://aws:1 <- env AWS_ENDPOINT_URL"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	cfg = load(t, append(both, "AWS_REGION=b-1"))
	if got, want := source(t, cfg, "aws.region"), "b-1 <- env AWS_REGION"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWhichFile(t *testing.T) {
	write(t, "namespace: default\n")
	other := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(other, []byte("namespace: other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"WAYBILL_CONFIG=" + other}
	tests := []struct {
		name    string
		environ []string
		opt     config.Option
		want    []string
	}{
		{"default", nil, config.WithFileFlag(""), []string{"waybill.yaml <- default", "default"}},
		{"environment", environ, config.WithFileFlag(""), []string{other + " <- env WAYBILL_CONFIG", "other"}},
		{"flag", environ, config.WithFileFlag("waybill.yaml"), []string{"waybill.yaml <- flag --config", "default"}},
		{"option", nil, config.WithFile(other), []string{other + " <- option WithFile", "other"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := load(t, tt.environ, tt.opt)
			if got := source(t, cfg, "config"); got != tt.want[0] || cfg.Namespace != tt.want[1] {
				t.Errorf("%s, namespace %s; want %s, %s", got, cfg.Namespace, tt.want[0], tt.want[1])
			}
		})
	}
}

func TestEndpointVariables(t *testing.T) {
	const file = "endpoints:\n  fares: {url: sqs://fares}\n  fares-completed: {url: sqs://done}\n  x.y: {url: sqs://x}\n  odd_name: {url: sqs://odd}\n"
	tests := []struct {
		variable string
		want     string // key, or part of the error
	}{
		{"WAYBILL_ENDPOINTS_FARES_VISIBILITY=31s", "endpoints.fares.visibility 31s"},
		{"WAYBILL_ENDPOINTS_FARES_COMPLETED_URL=sqs://b", "endpoints.fares-completed.url sqs://b"},
		{"WAYBILL_ENDPOINTS_FARES_DEAD_LETTER_RETENTION=1h", "endpoints.fares.dead_letter_retention 1h"},
		{"WAYBILL_ENDPOINTS_FARES_ENDPOINT_URL=http://h:1", "endpoints.fares.endpoint_url http://h:1"},
		{"WAYBILL_ENDPOINTS_X_Y_REGION=r", "endpoints.x.y.region r"},
		{"WAYBILL_ENDPOINTS_ODD_NAME_DELAY=1m", "endpoints.odd_name.delay 1m"},
		{"WAYBILL_ENDPOINTS_NEW_ONE_URL=sns://new", "endpoints.new-one.url sns://new"},
		{"WAYBILL_ENDPOINTS_FARES_ATTRIBUTES=a, b", "endpoints.fares.attributes a,b"},
		{`WAYBILL_ENDPOINTS_FARES_ATTRIBUTES=["a,b", c]`, "endpoints.fares.attributes a,b,c"},
		{`WAYBILL_ENDPOINTS_NEW_URL=sns://new
WAYBILL_ENDPOINTS_NEW_SUBSCRIPTIONS=[{"endpoint":"fares","filter":{"a":["b"]}}]`, `endpoints.new.subscriptions [{"endpoint":"fares","filter":{"a":["b"]}}]`},
		{"WAYBILL_ENDPOINTS_FARES_VISIBLITY=31s", "WAYBILL_ENDPOINTS_FARES_VISIBLITY: ends in no setting of an endpoint; did you mean WAYBILL_ENDPOINTS_FARES_VISIBILITY?"},
		{"WAYBILL_ENDPOINTS_ODD_NAME_DEAD_LETTR=sqs://a", "did you mean WAYBILL_ENDPOINTS_ODD_NAME_DEAD_LETTER?"},
		{"WAYBILL_ENDPOINTS_FARES_COLOUR=red", "ends in no setting of an endpoint; want WAYBILL_ENDPOINTS_<NAME>_<SETTING>, where the setting is one of URL, DEAD_LETTER"},
		{"WAYBILL_ENDPOINTS_FARSE_VISIBILITY=31s", "WAYBILL_ENDPOINTS_FARSE_VISIBILITY: endpoints.farse is not an endpoint of the file; did you mean fares?"},
		{"WAYBILL_ENDPOINTS_SOMETHING_ELSE_DELAY=31s", "endpoints.something-else has no url"},
		{"WAYBILL_ENDPOINTS__URL=sqs://a", "names no endpoint"},
		{"WAYBILL_ENDPOINTS_FARES_VISIBILITY=31", `(endpoints.fares.visibility) is "31"; want a duration with its unit`},
		{"WAYBILL_ENDPOINTS_FARES_POLLERS=many", `is "many"; want a whole number`},
		{"WAYBILL_ENDPOINTS_FARES_SUBSCRIPTIONS={", "is not a list"},
		{"WAYBILL_NAMESPCE=x", "WAYBILL_NAMESPCE: is not a setting; did you mean WAYBILL_NAMESPACE?"},
		{"WAYBILL_TEST_REDIS=x:1", ""},
		{"WAYBILL_PORT_6379_TCP=x", ""},
	}
	for _, tt := range tests {
		t.Run(tt.variable, func(t *testing.T) {
			write(t, file)
			cfg, err := config.Load(config.WithEnviron(strings.Split(tt.variable, "\n")))
			if err != nil {
				if tt.want == "" || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("error %v, want %q", err, tt.want)
				}
				return
			}
			var got []string
			for _, v := range cfg.Values() {
				if strings.HasPrefix(v.Source, "env WAYBILL_ENDPOINTS") {
					got = append(got, v.Key+" "+v.Value)
				}
			}
			if tt.want != "" && !slices.Contains(got, tt.want) || tt.want == "" && len(got) > 0 {
				t.Errorf("set %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEndpointVariableConflict(t *testing.T) {
	write(t, "endpoints:\n  a-b: {url: sqs://a}\n  a.b: {url: sqs://b}\n  c: {url: sqs://c}\n  c-endpoint: {url: sqs://d}\n")
	for variable, want := range map[string]string{
		"WAYBILL_ENDPOINTS_A_B_URL=sqs://x":         "may mean endpoints.a-b.url or endpoints.a.b.url",
		"WAYBILL_ENDPOINTS_C_ENDPOINT_URL=http://x": "may mean endpoints.c-endpoint.url or endpoints.c.endpoint_url",
	} {
		_, err := config.Load(config.WithEnviron([]string{variable}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", variable, err, want)
		}
	}
}

func TestRedis(t *testing.T) {
	tests := []struct {
		name, file, env, flag string
		want                  config.Redis
		err                   string
	}{
		{name: "host and port", env: "h:1", want: config.Redis{Addr: "h:1"}},
		{name: "URL", env: "redis://u:p%40w@h:1/3", want: config.Redis{Addr: "h:1", Username: "u", Password: "p@w", DB: 3}},
		{name: "URL with TLS and the default port", env: "rediss://h", want: config.Redis{Addr: "h:6379", TLS: true}},
		{name: "IPv6", env: "redis://[::1]:7", want: config.Redis{Addr: "[::1]:7"}},
		{name: "cluster", env: "a:1, b:2", want: config.Redis{Addr: "a:1, b:2"}},
		{name: "parts of the file", file: "redis: {password: secret, db: 1}", want: config.Redis{Addr: config.DefaultRedisAddr, Password: "secret", DB: 1}},
		{name: "an address starts anew", file: "redis: {addr: 'rediss://u:secret@prod:1/4'}", flag: "local:2", want: config.Redis{Addr: "local:2"}},
		{name: "a URL starts anew", file: "redis: {password: secret, tls: true}", env: "redis://h:1", want: config.Redis{Addr: "h:1"}},
		{name: "no port", env: "h", err: "WAYBILL_REDIS: redis.addr has an address without a host or a port; want host:port"},
		{name: "bad port", env: "h:x", err: "WAYBILL_REDIS"},
		{name: "bad URL", env: "redis://:secret@", err: "does not name a Redis"},
		{name: "scheme", env: "http://u:secret@h:1", err: "does not name a Redis"},
		{name: "unparsable", env: "redis://u:secret@h:1:2:%", err: "does not name a Redis"},
		{name: "bad db", env: "redis://u:secret@h:1/x", err: "not the number of a database"},
		{name: "parameters", env: "redis://u:secret@h:1?x=y", err: "parameters"},
		{name: "twice", file: "redis:\n  addr: redis://u:secret@h:1\n  password: secret", err: "waybill.yaml:3: redis.password is set beside a URL"},
		{name: "cluster with db", file: "redis: {addr: 'a:1,b:1', db: 1}", err: "a cluster has only database 0"},
		{name: "negative db", file: "redis: {db: -1}", err: "want 0 or more"},
		{name: "empty", flag: " ", err: "flag"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.file)
			opts := []config.Option{config.WithEnviron([]string{"WAYBILL_REDIS=" + tt.env})}
			if tt.flag != "" {
				opts = append(opts, config.WithFlag("--redis", "redis.addr", tt.flag))
			}
			cfg, err := config.Load(opts...)
			if err != nil {
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("the error shows the password: %v", err)
				}
				if tt.err == "" || tt.err != "flag" && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if cfg.Redis != tt.want || tt.err != "" {
				t.Errorf("got %#v, want %#v, error %q", cfg.Redis, tt.want, tt.err)
			}
		})
	}
}

func TestRedisOptions(t *testing.T) {
	o := config.Redis{Addr: "a:1, b:2", Username: "u", Password: "p", TLS: true}.Options()
	if !slices.Equal(o.Addrs, []string{"a:1", "b:2"}) || o.Username != "u" || o.Password != "p" || o.TLSConfig == nil {
		t.Errorf("got %+v", o)
	}
	if o := (config.Redis{Addr: "a:1"}).Options(); o.TLSConfig != nil {
		t.Error("TLS without being asked for")
	}
}

// Secrets show in no way of printing.
func TestSecrets(t *testing.T) {
	write(t, "redis: {addr: 'redis://user:s3cret@h:1'}\n")
	cfg := load(t, nil)
	if string(cfg.Redis.Password) != "s3cret" {
		t.Fatalf("password %q", string(cfg.Redis.Password))
	}
	encoded, err := json.Marshal(cfg.Redis)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v", cfg.Redis, cfg.Redis, cfg.Redis),
		fmt.Sprintf("%v %+v", cfg, cfg),
		fmt.Sprintf("%q %s", cfg.Redis.Password, cfg.Redis.Password),
		fmt.Sprint(cfg.Values()), string(encoded),
	} {
		if strings.Contains(text, "s3cret") || !strings.Contains(text, "***") {
			t.Errorf("printed %s", text)
		}
	}
	if got, want := source(t, cfg, "redis.password"), "*** <- file waybill.yaml:1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestErrorType(t *testing.T) {
	write(t, "namespace: a\nredsi: {}\n")
	_, err := config.Load(config.WithEnviron(nil))
	var e *config.Error
	if !errors.As(err, &e) || e.Source.Line != 2 || e.Source.Name != "waybill.yaml" {
		t.Errorf("got %#v", err)
	}
}

func TestBadOptions(t *testing.T) {
	t.Chdir(t.TempDir())
	for key, want := range map[string]string{
		"redis.adr":                "did you mean redis.addr?",
		"endpoints.fares":          `"endpoints.fares" is not a setting`,
		"endpoints.fares.urll":     "is not a setting",
		"endpoints.a b.url":        "is not a setting",
		"redis.db":                 `(redis.db) is "x"; want a whole number`,
		"endpoints.fares.delay":    `is "x"; want a duration`,
		"endpoints.new.visibility": `is "x"; want a duration`,
	} {
		_, err := config.Load(config.WithEnviron(nil), config.WithFlag("--set", key, "x"))
		if err == nil || !strings.Contains(err.Error(), "--set: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", key, err, want)
		}
	}
}

// What does not fit together is reported where the endpoints are made.
func TestDanglingSubscription(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg := load(t, []string{"WAYBILL_ENDPOINTS_T_URL=sns://t", "WAYBILL_ENDPOINTS_T_SUBSCRIPTIONS=[{endpoint: q}]"})
	var e *config.Error
	if _, err := cfg.Endpoints(); !errors.Is(err, queue.ErrUnknownEndpoint) || !errors.As(err, &e) {
		t.Errorf("got %v", err)
	}
}
