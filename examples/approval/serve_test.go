package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	hidden   = regexp.MustCompile(`name="(id|token)" value="([^"]+)"`)
	commands = regexp.MustCompile(`<pre>(.*)</pre>`)
)

// A browser is somebody at the desk.
type browser struct {
	*testing.T
	client *http.Client
	url    string
	told   <-chan string // what the program prints
}

// serving runs the program with -serve until the test ends.
func serving(t *testing.T) *browser {
	t.Helper()
	r, w := io.Pipe()
	ctx, interrupt := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"-serve", "-addr", "127.0.0.1:0"}, w, &stderr)
		w.Close()
	}()
	told := make(chan string, 100)
	go func() {
		defer close(told)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			told <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		interrupt()
		if status := <-done; status != exitOK || stderr.Len() > 0 {
			t.Errorf("exit status %d, stderr %s", status, &stderr)
		}
	})
	b := &browser{T: t, client: http.DefaultClient, told: told}
	b.url = regexp.MustCompile(`http://[^/]+`).FindString(b.awaits("The desk is at "))
	return b
}

// awaits waits for a line that has a text.
func (b *browser) awaits(text string) string {
	b.Helper()
	for line := range b.told {
		if strings.Contains(line, text) {
			return line
		}
	}
	b.Fatalf("it has ended without %q", text)
	return ""
}

func (b *browser) gets(path string) string {
	b.Helper()
	resp, err := b.client.Get(b.url + path)
	if err != nil {
		b.Fatal(err)
	}
	return b.reads(resp)
}

func (b *browser) posts(path string, form url.Values) string {
	b.Helper()
	resp, err := b.client.PostForm(b.url+path, form)
	if err != nil {
		b.Fatal(err)
	}
	return b.reads(resp)
}

func (b *browser) reads(resp *http.Response) string {
	b.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s: %s %s, %v", resp.Request.URL, resp.Status, body, err)
	}
	return string(body)
}

// asks files a claim by the form on the page, and returns its id and the page on
// which it can be answered.
func (b *browser) asks(purpose string) (id, body string) {
	b.Helper()
	id = hidden.FindStringSubmatch(b.gets("/"))[2]
	b.posts("/claims", url.Values{"id": {id}, "employee": {"Ann"}, "purpose": {purpose}, "amount": {"99.90"}})
	b.awaits(id + ": the manager is asked")
	b.until("whoever asked has noted that", func() bool {
		body = b.gets("/")
		return strings.Contains(body, `name="token"`)
	})
	return id, body
}

// until waits until something holds, but not for ever.
func (b *browser) until(what string, holds func() bool) {
	b.Helper()
	for end := time.Now().Add(time.Minute); !holds(); {
		if time.Now().After(end) {
			b.Fatalf("it is not so that %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// The page is answered by its forms, and by the command that it shows.
func TestServe(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "waybill")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", bin, "../../cmd/waybill").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b := serving(t)
	if body := b.gets("/"); !strings.Contains(body, "There are no claims yet.") {
		t.Errorf("the first page is\n%s", body)
	}
	// prints runs a command line as it stands on the page.
	prints := func(line string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", html.UnescapeString(line))
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if errors.As(err, new(*exec.ExitError)) {
			err = nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	shell := func(line, want string) {
		t.Helper()
		if out := prints(line); !strings.Contains(out, want) {
			t.Errorf("%s\nprints %s, want %q", line, out, want)
		}
	}
	const used = "waybill: saga: nobody waits for this task token"

	_, page := b.asks("a lamp")
	token := hidden.FindAllStringSubmatch(page, -1)[1]
	b.posts("/answer", url.Values{token[1]: {token[2]}, "by": {"manager"}, "verdict": {"approve"}})
	b.awaits("the bank pays 99.90 to Ann")

	id, page := b.asks("a chair")
	lines := commands.FindAllStringSubmatch(page, -1)
	const approval = `{"by": "manager"}`
	if !strings.Contains(lines[0][1], approval) {
		t.Fatalf("the page shows the command %s", lines[0][1])
	}
	shell(strings.Replace(lines[0][1], approval, "true", 1), `"told": "complete"`)
	redis := regexp.MustCompile(`--redis \S+ --namespace \S+`).FindString(lines[0][1])
	b.until("what was said is noted as no approval", func() bool {
		return strings.Contains(prints("waybill saga history "+id+" "+redis), "the result of step AskManager")
	})
	shell(lines[0][1], `"told": "complete"`)
	b.awaits("the bank pays 99.90 to Ann")
	shell(lines[0][1], used)

	_, page = b.asks("a vase")
	lines = commands.FindAllStringSubmatch(page, -1)
	shell(lines[1][1], `"told": "complete"`)
	b.awaits("the budget has 99.90 back")
	shell(lines[0][1], used)
	b.until("the page shows it", func() bool {
		body := b.gets("/")
		return strings.Contains(body, "<i>rejected: AskManager failed: no receipt</i>") && strings.Count(body, "<i>paid</i>") == 2
	})
}
