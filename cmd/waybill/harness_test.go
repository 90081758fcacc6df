package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"github.com/waybill-dev/waybill/waybilltest"
)

// TestMain is the program itself where a test starts it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("WAYBILL_RUN_AS_COMMAND") == "1" {
		main()
	}
	logging.Disable() // as main does
	os.Exit(m.Run())
}

// A cli runs commands in a directory of its own, on a stack of its own, with
// nothing of the machine's configuration.
type cli struct {
	*testing.T
	stack *waybilltest.Stack
}

func newCLI(t *testing.T, file string) *cli {
	t.Helper()
	none := t.TempDir()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "",
		"AWS_DEFAULT_REGION": "", "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": "",
		"AWS_CONFIG_FILE": none + "/config", "AWS_SHARED_CREDENTIALS_FILE": none + "/credentials",
		"WAYBILL_CONFIG": "", "WAYBILL_NAMESPACE": "", "WAYBILL_ENDPOINT_URL": "", "WAYBILL_REDIS": "", "USER": "ada", "XDG_STATE_HOME": none,
	} {
		t.Setenv(name, value)
	}
	t.Chdir(t.TempDir())
	if file != "" {
		if err := os.WriteFile("waybill.yaml", []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &cli{T: t}
}

// newStackCLI is newCLI with flags that lead to a stack.
func newStackCLI(t *testing.T, file string) *cli {
	t.Helper()
	c := newCLI(t, file)
	c.stack = waybilltest.Start(t)
	t.Setenv("WAYBILL_NAMESPACE", c.stack.Namespace)
	t.Setenv("WAYBILL_ENDPOINT_URL", c.stack.AWSURL)
	t.Setenv("WAYBILL_REDIS", c.stack.RedisAddr)
	return c
}

// asSQS has commands reach the emulator as they would SQS, which shows no messages
// without their being received.
func (c *cli) asSQS() {
	c.Helper()
	at, err := url.Parse(c.stack.AWSURL)
	if err != nil {
		c.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(at))
	mux.Handle("/_aws/", http.NotFoundHandler())
	web := httptest.NewServer(mux)
	c.Cleanup(web.Close)
	c.T.Setenv("WAYBILL_ENDPOINT_URL", web.URL)
}

// A result is what a command did.
type result struct {
	code           int
	stdout, stderr string
}

func (c *cli) run(args ...string) result {
	c.Helper()
	return c.runContext(c.Context(), args...)
}

func (c *cli) runContext(ctx context.Context, args ...string) result {
	c.Helper()
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(""), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// ok runs a command that must succeed, and returns its data.
func (c *cli) ok(args ...string) string {
	c.Helper()
	r := c.run(args...)
	if r.code != exitOK {
		c.Fatalf("waybill %s: exit code %d, stderr %s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// fails runs a command that must fail with the code and say what is wrong.
func (c *cli) fails(code int, want string, args ...string) result {
	c.Helper()
	r := c.run(args...)
	if r.code != code || !strings.Contains(r.stderr, want) {
		c.Errorf("waybill %s: exit code %d, want %d\nstderr %s\nwant %s", strings.Join(args, " "), r.code, code, r.stderr, want)
	}
	return r
}

// equal compares output, without the space that ends its lines.
func (c *cli) equal(got, want string) {
	c.Helper()
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		c.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}
