package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/config"
)

func TestBadFiles(t *testing.T) {
	tests := []struct {
		name, file string
		want       []string
	}{
		{"unknown at the top", "namespcae: x\n", []string{`waybill.yaml:1: "namespcae" is not a setting; did you mean namespace?`}},
		{"unknown section", "kafka: x\n", []string{`waybill.yaml:1: "kafka" is not a setting; want one of namespace, aws, redis, payloads, watch, endpoints, filters`}},
		{"unknown in a section", "aws:\n  regoin: x\n", []string{`waybill.yaml:2: aws has no setting "regoin"; did you mean region?`}},
		{"unknown in an endpoint", "endpoints:\n  fares:\n    url: sqs://fares\n    visiblity: 3s\n",
			[]string{`waybill.yaml:4: endpoints.fares has no setting "visiblity"; did you mean visibility?`}},
		{"unknown in a subscription", "endpoints:\n  t:\n    url: sns://t\n    subscriptions:\n      - endpoint: x\n      - {endpoint: t, raw: true}\n",
			[]string{`waybill.yaml:6: endpoints.t.subscriptions[1] has the unknown key "raw"; want one of endpoint, enveloped, filter, filter_scope`}},
		{"all at once", "x: 1\nredis: {db: many}\nendpoints:\n  a: {url: nowhere}\n  b: {}\n",
			[]string{`waybill.yaml:1: "x"`, `waybill.yaml:2: redis.db is "many"; want a whole number`, `waybill.yaml:4: endpoints.a is invalid`, `waybill.yaml:5: endpoints.b has no url; want for example sqs://b`}},
		{"twice", "namespace: a\nnamespace: b\n", []string{"waybill.yaml:2: namespace is set twice; the first time on line 1"}},
		{"endpoint twice", "endpoints:\n  a: {url: sqs://a}\n  a: {url: sqs://b}\n", []string{"waybill.yaml:3: endpoints.a is set twice"}},
		{"not YAML", "namespace: [\n", []string{"waybill.yaml:", "is not YAML"}},
		{"tab", "aws:\n\tregion: x\n", []string{"waybill.yaml:2: is not YAML"}},
		{"two documents", "namespace: a\n---\nnamespace: b\n", []string{"waybill.yaml:2: starts a second YAML document"}},
		{"a list", "- a\n", []string{"waybill.yaml:1: is a list; want a mapping"}},
		{"section a text", "redis: localhost:6379\n", []string{`waybill.yaml:1: redis is "localhost:6379"; want a mapping`}},
		{"setting a list", "namespace: [a]\n", []string{"waybill.yaml:1: namespace is a list; want a text"}},
		{"duration without unit", "endpoints: {a: {url: sqs://a, visibility: 30}}\n", []string{`waybill.yaml:1: endpoints.a.visibility is "30"; want a duration with its unit, such as 30s`}},
		{"duration out of bounds", "endpoints: {a: {url: sqs://a, visibility: 13h}}\n", []string{"waybill.yaml:1: endpoints.a is invalid", "Visibility is 13h0m0s"}},
		{"bool", "redis: {tls: maybe}\n", []string{`redis.tls is "maybe"; want true or false`}},
		{"attributes", "endpoints: {a: {url: sqs://a, attributes: fare}}\n", []string{`endpoints.a.attributes is "fare"; want a list`}},
		{"name", "endpoints:\n  a b: {url: sqs://a}\n", []string{`waybill.yaml:2: "a b" cannot name an endpoint`}},
		{"namespace", "namespace: a.b\n", []string{`waybill.yaml:1: namespace is "a.b"; want`}},
		{"filter", "endpoints:\n  t:\n    url: sns://t\n    subscriptions:\n      - {endpoint: q, filter: [a]}\n", []string{"waybill.yaml:5: endpoints.t.subscriptions[0] filter is not a JSON object"}},
		{"filter of NaN", "endpoints:\n  t:\n    url: sns://t\n    subscriptions:\n      - {endpoint: q, filter: {a: [.nan]}}\n", []string{"waybill.yaml:5:", "JSON lacks"}},
		{"endpoint url", "aws: {endpoint_url: localhost:4566}\n", []string{"aws.endpoint_url is not the base URL of a service; want for example http://127.0.0.1:4566"}},
		{"endpoint url with a password", "aws: {endpoint_url: 'http://u:p@h'}\n", []string{"aws.endpoint_url has a user name or password"}},
		{"no expansion", "namespace: ${HOME}\n", []string{`namespace is "${HOME}"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.file)
			_, err := config.Load(config.WithEnviron(nil))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error\n%v\nwant %q", err, want)
				}
			}
		})
	}
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "none.yaml: does not exist",
		dir:                             "is a directory",
	} {
		_, err := config.Load(config.WithEnviron([]string{"WAYBILL_CONFIG=" + path}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// What YAML allows to leave out, or to write once, works.
func TestYAML(t *testing.T) {
	write(t, `# nothing but a comment
namespace: ~
aws:
redis: {}
endpoints:
  a: &common
    url: sqs://a
    visibility: 40s
    concurrency: 3
  b:
    <<: *common
    url: sqs://b
  c: *common
`)
	cfg := load(t, nil)
	endpoints, err := cfg.Endpoints()
	if err != nil {
		t.Fatal(err)
	}
	b, err := endpoints.Resolve("b")
	if err != nil || b.URL != "sqs://b" || b.Concurrency != 3 {
		t.Errorf("b is %+v, %v", b, err)
	}
	c, err := endpoints.Resolve("c")
	if err != nil || c.URL != "sqs://a" || c.Concurrency != 3 {
		t.Errorf("c is %+v, %v", c, err)
	}
	if got, want := source(t, cfg, "endpoints.b.visibility"), "40s <- file waybill.yaml:8"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A file may be anything; reading it ends in a configuration or an error.
func FuzzFile(f *testing.F) {
	f.Add(full)
	f.Add(bucket)
	f.Add("a: &a [*a]\n")
	f.Add("endpoints: &e {a: &a {<<: *e}, b: {<<: [*a, *a]}}\n")
	f.Add("? [a]\n: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "waybill.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.WithEnviron(nil), config.WithFile(path))
		if err != nil {
			return
		}
		cfg.Values()
		_, _ = cfg.Endpoints()
	})
}
