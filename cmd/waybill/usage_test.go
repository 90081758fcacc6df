package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestUsage(t *testing.T) {
	c := newCLI(t, "")
	for _, tt := range []struct {
		args string
		want string
	}{
		{"topolgy", `waybill: there is no command "topolgy"; did you mean topology?`},
		{"nonsense", `waybill: there is no command "nonsense"; want one of bench, completion, config, dev`},
		{"topology", "waybill topology: want one of apply, check, iam, plan, show; see waybill topology --help"},
		{"topology aply", `waybill topology: there is no command "aply"; did you mean apply?`},
		{"saga show", "waybill saga show: ID is missing; want waybill saga show ID"},
		{"saga show a b", `waybill saga show: takes ID, and got "b" as well`},
		{"config show x", `waybill config show: takes no argument, and got "x"`},
		{"config show --redsi x", "waybill config show: unknown flag: --redsi; did you mean --redis?; see waybill config show --help"},
		{"config show -o xml", "want table, json, jsonl or yaml"},
		{"config show --redis", "flag needs an argument: --redis"},
		{"config show --config=", "--config is empty"},
		{"config show --config none.yaml", "config: none.yaml: does not exist"},
		{"config show --redis nowhere", "config: --redis: redis.addr has an address without a host or a port; want host:port"},
		{"config show --endpoint-url nowhere", "config: --endpoint-url: aws.endpoint_url is not the base URL of a service"},
		{"saga ls --status sleeping", `--status is "sleeping"; want running, blocked, quarantined, completed, compensated`},
		{"saga ls --limit 0", "--limit is 0; want 1 or more"},
		{"topology plan", "no endpoint is configured; name them under endpoints in waybill.yaml"},
		{"dev --aws-addr=", `--aws-addr is ""; want host:port, such as 127.0.0.1:4566`},
		{"dev --aws-addr foo", `--aws-addr is "foo"; want host:port, such as 127.0.0.1:4566: missing port in address`},
		{"dev --redis-addr localhost:redis", `--redis-addr is "localhost:redis"; want host:port, such as 127.0.0.1:6379: port "redis" is not a number from 0 to 65535`},
	} {
		r := c.fails(exitUsage, tt.want, strings.Fields(tt.args)...)
		if r.stdout != "" {
			t.Errorf("waybill %s wrote to stdout: %s", tt.args, r.stdout)
		}
		if !strings.HasPrefix(r.stderr, "waybill") {
			t.Errorf("waybill %s: stderr does not begin with the program: %s", tt.args, r.stderr)
		}
	}
}

func TestHelp(t *testing.T) {
	c := newCLI(t, "")
	for _, args := range [][]string{nil, {"help"}, {"--help"}, {"help", "dev"}, {"topology", "apply", "--help"}} {
		if out := c.ok(args...); !strings.Contains(out, "Usage:") {
			t.Errorf("waybill %v printed %s", args, out)
		}
	}
	for _, want := range []string{"AWS_ENDPOINT_URL", "WAYBILL_REDIS", "missing credentials are made up", "130 interrupted"} {
		if out := c.ok("--help"); !strings.Contains(out, want) {
			t.Errorf("the help does not tell %s:\n%s", want, out)
		}
	}
}

// Each command has an example that it takes, and its help shows the global flags
// that mean something to it, and no other.
func TestHelpOfCommands(t *testing.T) {
	c := newCLI(t, "")
	a := &app{}
	root := a.command()
	root.InitDefaultCompletionCmd()
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		path := strings.Fields(cmd.CommandPath())[1:]
		if cmd.HasSubCommands() || path[0] == "completion" {
			return
		}
		out := c.ok(append(path, "--help")...)
		for _, f := range []string{"config", "namespace", "endpoint-url", "region", "redis", "output"} {
			used, limited := uses[path[0]]
			if want := !limited || slices.Contains(used, f); strings.Contains(out, " --"+f+" ") != want {
				t.Errorf("the help of %s shows --%s: %t, want %t", path, f, !want, want)
			}
		}
		for example := range strings.Lines(cmd.Example) {
			words := regexp.MustCompile(`'[^']*'|\S+`).FindAllString(example, -1)
			found, rest, err := root.Find(words[1:])
			if err != nil || found != cmd || !strings.Contains(out, example) {
				t.Errorf("example %q is of %v, %v", example, found, err)
				continue
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("example %q: %v", example, err)
			} else if err := cmd.Args(cmd, cmd.Flags().Args()); err != nil {
				t.Errorf("example %q: %v", example, err)
			}
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", path)
		}
	}
	for _, cmd := range root.Commands() {
		visit(cmd)
	}
}

// The file that the help shows is one.
func TestHelpOfConfig(t *testing.T) {
	c := newCLI(t, configExample)
	values := c.ok("config", "show", "-o", "table")
	for line := range strings.Lines(configExample) {
		key, value, _ := strings.Cut(strings.TrimSpace(strings.SplitN(line, "#", 2)[0]), ": ")
		if value != "" && !strings.ContainsAny(value, "[{") && !strings.Contains(squeeze(values), key+" "+value+" file waybill.yaml:") {
			t.Errorf("%s is not in\n%s", line, values)
		}
	}
	if out := c.ok("config", "--help"); !strings.Contains(out, configExample) {
		t.Errorf("the help lacks the example:\n%s", out)
	}
	if out := c.ok("topology", "--help"); !strings.Contains(out, `"waybill config --help"`) {
		t.Errorf("the help of topology does not lead there:\n%s", out)
	}
}

// A queue that is not found may be an endpoint whose file is elsewhere.
func TestNoFile(t *testing.T) {
	const want = "there is no waybill.yaml here and no endpoint is configured"
	c := newStackCLI(t, "")
	if r := c.run("dlq", "ls"); r.code != exitOK || !strings.Contains(r.stderr, want) {
		t.Errorf("dlq ls: %+v", r)
	}
	c.fails(exitNotFound, want, "dlq", "peek", "fares")
	c = newStackCLI(t, fares)
	if r := c.run("dlq", "ls"); strings.Contains(r.stderr, want) {
		t.Errorf("with a file: %s", r.stderr)
	}
}

func TestVersion(t *testing.T) {
	c := newCLI(t, "")
	b := decode[build](t, c.ok("version"))
	if b.Version == "" || !strings.HasPrefix(b.Go, "go") {
		t.Errorf("got %+v", b)
	}
	if out := c.ok("version", "-o", "table"); !strings.HasPrefix(out, "waybill") || strings.Count(out, "\n") != 1 {
		t.Errorf("got %q", out)
	}
	for want, b := range map[string]build{
		"waybill v1.0.0, built without a revision, go1.26, linux/amd64": {Version: "v1.0.0"},
		"waybill (devel), revision abc of 2026-01-02T03:04:05Z, modified since, go1.26, linux/amd64": {
			Version: "(devel)", Revision: "abc", Time: "2026-01-02T03:04:05Z", Modified: true,
		},
	} {
		b.Go, b.Platform = "go1.26", "linux/amd64"
		if got := b.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

const fares = `redis:
  password: s3cret
endpoints:
  fares:
    url: sqs://fares
    dead_letter: sqs://fares-dlq
    visibility: 45s
  rides:
    url: sns://rides
    subscriptions: [{endpoint: fares, filter: {long: ["yes"]}}]
`

func TestConfigShow(t *testing.T) {
	c := newCLI(t, fares)
	t.Setenv("WAYBILL_NAMESPACE", "dev")
	c.equal(c.ok("config", "show", "-o", "table", "--endpoint-url", "http://127.0.0.1:4566"), `
KEY                                    VALUE                                             SOURCE
config                                 waybill.yaml                                      default
namespace                              dev                                               env WAYBILL_NAMESPACE
aws.endpoint_url                       http://127.0.0.1:4566                             flag --endpoint-url
aws.region                             -                                                 default
redis.addr                             127.0.0.1:6379                                    default
redis.username                         -                                                 default
redis.password                         ***                                               file waybill.yaml:2
redis.db                               0                                                 default
redis.tls                              false                                             default
endpoints.fares.url                    sqs://fares                                       file waybill.yaml:5
endpoints.fares.dead_letter            sqs://fares-dlq                                   file waybill.yaml:6
endpoints.fares.max_receive_count      5                                                 default
endpoints.fares.visibility             45s                                               file waybill.yaml:7
endpoints.fares.retention              4d                                                default
endpoints.fares.dead_letter_retention  14d                                               default
endpoints.fares.concurrency            64                                                default
endpoints.fares.pollers                4                                                 default
endpoints.fares.min_pollers            1                                                 default
endpoints.fares.max_message_size       1048576                                           default
endpoints.rides.url                    sns://rides                                       file waybill.yaml:9
endpoints.rides.max_message_size       262144                                            default
endpoints.rides.subscriptions          [{"endpoint":"fares","filter":{"long":["yes"]}}]  file waybill.yaml:10
`)
	values := decode[[]map[string]any](t, c.ok("config", "show"))
	if got := values[1]; got["key"] != "namespace" || got["value"] != "dev" || got["source"] != "env WAYBILL_NAMESPACE" {
		t.Errorf("got %v", got)
	}
	for _, format := range []string{"json", "jsonl", "yaml", "table"} {
		if out := c.ok("config", "show", "-o", format); strings.Contains(out, "s3cret") || !strings.Contains(out, "***") {
			t.Errorf("-o %s shows\n%s", format, out)
		}
	}
}

// Another precedence shows, too: an address on the command line leaves the
// file's password out.
func TestConfigShowRedisFlag(t *testing.T) {
	c := newCLI(t, fares)
	out := c.ok("config", "show", "-o", "table", "--redis", "rediss://:other@r:1/2")
	for _, want := range []string{"redis.addr  r:1  flag --redis", "redis.password  ***  flag --redis", "redis.tls  true  flag --redis", "redis.db  2  flag --redis"} {
		if !strings.Contains(squeeze(out), squeeze(want)) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	if strings.Contains(out, "other") {
		t.Errorf("the password is in\n%s", out)
	}
}

func squeeze(text string) string { return strings.Join(strings.Fields(text), " ") }

// Endpoints that do not fit together are reported behind the values.
func TestConfigShowDangling(t *testing.T) {
	c := newCLI(t, "endpoints: {t: {url: 'sns://t', subscriptions: [{endpoint: q}]}}\n")
	r := c.fails(exitUsage, `endpoint "q" is not configured`, "config", "show")
	if !strings.Contains(r.stdout, "sns://t") {
		t.Errorf("stdout is %s", r.stdout)
	}
}

func TestFormats(t *testing.T) {
	c := newCLI(t, "namespace: \"no\"\n")
	c.equal(strings.Join(strings.SplitAfter(c.ok("config", "show", "-o", "yaml"), "\n")[:6], ""), `
- key: config
  value: waybill.yaml
  source: default
- key: namespace
  value: "no"
  source: file waybill.yaml:1`)
	lines := strings.Split(strings.TrimSpace(c.ok("config", "show", "-o", "jsonl")), "\n")
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("jsonl has the line %s", line)
		}
	}
	if len(lines) != 9 {
		t.Errorf("jsonl has %d lines", len(lines))
	}
}

// What comes from outside cannot play with the terminal.
func TestTablesArePrintable(t *testing.T) {
	var out strings.Builder
	a := &app{stdout: &out, format: formatTable}
	tbl := table{header: []string{"A", "B"}}
	tbl.addStyled(red, "\x1b[2Jcleared\r", "two\nlines\tand tab")
	tbl.add("x", "")
	if err := a.print(nil, tbl); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "A             B\n\uFFFD[2Jcleared\uFFFD  two lines and tab\nx\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestColour(t *testing.T) {
	tty, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	a := &app{stdout: tty}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if a.output() != formatTable || !a.coloured() {
		t.Errorf("on a terminal: %s, colours %t", a.output(), a.coloured())
	}
	t.Setenv("NO_COLOR", "1")
	if a.coloured() {
		t.Error("colours in spite of NO_COLOR")
	}
	a.stdout = &strings.Builder{}
	if a.output() != formatJSON || a.coloured() {
		t.Errorf("elsewhere: %s, colours %t", a.output(), a.coloured())
	}
}

// TestNoSuchHost holds that a mistyped region, which is part of a host's name, is named
// as what to look at.
func TestNoSuchHost(t *testing.T) {
	err := fmt.Errorf("topology: %w", &net.OpError{Op: "dial", Err: &net.DNSError{
		Err: "no such host", Name: "sqs.eu.amazonaws.com", IsNotFound: true,
	}})
	if got := new(app).explain(err); !strings.Contains(got, "sqs.eu.amazonaws.com") || !strings.Contains(got, "check the region, --endpoint-url and --redis") {
		t.Errorf("explained as %s", got)
	}
}
