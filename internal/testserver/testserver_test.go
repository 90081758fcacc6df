package testserver

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// recorder is a testing.TB that keeps the message of Fatalf.
type recorder struct {
	testing.TB
	fatal string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	panic(r)
}

// call runs f and returns its results, or the message it failed with.
func call(f func(testing.TB) (string, bool)) (value string, ok bool, fatal string) {
	r := &recorder{}
	defer func() {
		if p := recover(); p != nil {
			if p != any(r) {
				panic(p)
			}
			fatal = r.fatal
		}
	}()
	value, ok = f(r)
	return value, ok, ""
}

var servers = []struct {
	env   string
	get   func(testing.TB) (string, bool)
	good  string
	wrong string
}{
	{RedisEnv, Redis, "127.0.0.1:6379", "redis://127.0.0.1:6379"},
	{LocalStackEnv, LocalStack, "http://127.0.0.1:4566", "127.0.0.1:4566"},
	{ElasticMQEnv, ElasticMQ, "http://127.0.0.1:9324", "http://127.0.0.1:9324/queue"},
	{MotoEnv, Moto, "http://127.0.0.1:5000", "ftp://127.0.0.1:5000"},
	{PostgresEnv, Postgres, "postgres://postgres@127.0.0.1:5432/postgres", "postgres://127.0.0.1:5432/postgres"},
	{MySQLEnv, MySQL, "root@tcp(127.0.0.1:3306)/test", "root@127.0.0.1:3306/test"},
}

func TestServers(t *testing.T) {
	for _, s := range servers {
		tests := []struct {
			name, ci, value string
			want            string
			ok              bool
			fatal           bool
		}{
			{name: "set", value: s.good, want: s.good, ok: true},
			{name: "set in CI", ci: "true", value: s.good, want: s.good, ok: true},
			{name: "trailing slash", value: s.good + "/", want: s.good, ok: true, fatal: s.env == RedisEnv || s.env == MySQLEnv},
			{name: "unset"},
			{name: "unset in CI", ci: "true", fatal: true},
			{name: "not an address", value: s.wrong, fatal: true},
			{name: "no host", value: ":6379", fatal: true},
			{name: "a password", value: "me:secret@host", fatal: true},
		}
		for _, tt := range tests {
			t.Run(s.env+"/"+tt.name, func(t *testing.T) {
				t.Setenv("CI", tt.ci)
				t.Setenv(s.env, tt.value)
				value, ok, fatal := call(s.get)
				if tt.fatal {
					if !strings.Contains(fatal, s.env) || !strings.Contains(fatal, s.good[strings.LastIndexByte(s.good, ':'):]) {
						t.Fatalf("failed with %q, want a message that names %s and shows a right value", fatal, s.env)
					}
					if strings.Contains(fatal, "secret") {
						t.Errorf("failed with %q, which tells the password", fatal)
					}
					return
				}
				if value != tt.want || ok != tt.ok || fatal != "" {
					t.Fatalf("got %q, %t, failure %q; want %q, %t", value, ok, fatal, tt.want, tt.ok)
				}
			})
		}
	}
}

func TestNamespace(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z][a-z0-9]{10}$`)
	seen := map[string]bool{}
	for range 1000 {
		ns := Namespace(&recorder{})
		if !valid.MatchString(ns) {
			t.Fatalf("namespace %q, want it to match %s", ns, valid)
		}
		if seen[ns] {
			t.Fatalf("namespace %q twice", ns)
		}
		seen[ns] = true
	}
}
