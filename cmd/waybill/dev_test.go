package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/config"
)

type ready struct{ AWS, Redis string }

// startDev runs `waybill dev` in this process until the function it returns is
// called, which checks its end and returns its exit code and all of its output.
func startDev(t *testing.T, args ...string) (firstLine string, stop func() (code int, rest string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, w := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code := run(ctx, append([]string{"dev", "--aws-addr", "127.0.0.1:0", "--redis-addr", "127.0.0.1:0"}, args...), strings.NewReader(""), w, &stderr)
		w.Close()
		ended <- code
	}()
	out := bufio.NewReader(r)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("dev ended with %d, stderr %s", <-ended, stderr.String())
	}
	return line, func() (int, string) {
		cancel()
		rest, err := io.ReadAll(out)
		if err != nil {
			t.Error(err)
		}
		return <-ended, string(rest) + stderr.String()
	}
}

// works checks that both servers answer, to clients that know their addresses
// alone.
func works(t *testing.T, at ready) {
	t.Helper()
	awsConfig, err := config.AWS{EndpointURL: at.AWS}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqs.NewFromConfig(awsConfig).ListQueues(t.Context(), &sqs.ListQueuesInput{}); err != nil {
		t.Error(err)
	}
	client := redis.NewClient(&redis.Options{Addr: at.Redis})
	defer client.Close()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

func TestDev(t *testing.T) {
	newCLI(t, "")
	line, stop := startDev(t, "-o", "json")
	var at ready
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&at); err != nil || !strings.HasPrefix(at.AWS, "http://127.0.0.1:") {
		t.Fatalf("printed %s: %v", line, err)
	}
	works(t, at)
	if code, rest := stop(); code != exitOK || rest != "" {
		t.Errorf("interrupted: exit code %d, further output %q", code, rest)
	}
	if conn, err := net.Dial("tcp", at.Redis); err == nil {
		conn.Close()
		t.Error("Redis is still there")
	}
}

func TestDevText(t *testing.T) {
	newCLI(t, "")
	line, stop := startDev(t, "-o", "table")
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[0] != "ready:" || !strings.HasPrefix(fields[1], "AWS_ENDPOINT_URL=http://127.0.0.1:") || !strings.HasPrefix(fields[2], "WAYBILL_REDIS=127.0.0.1:") {
		t.Errorf("printed %q", line)
	}
	if code, rest := stop(); code != exitOK || rest != "" {
		t.Errorf("interrupted: exit code %d, further output %q", code, rest)
	}
}

// What is in the queues is there again at the next start, from the file.
func TestDevData(t *testing.T) {
	newCLI(t, "")
	file := filepath.Join(t.TempDir(), "state")
	sqsAt := func(line string) *sqs.Client {
		return sqs.New(sqs.Options{
			Region: "us-east-1", BaseEndpoint: aws.String(decode[ready](t, line).AWS), Credentials: aws.AnonymousCredentials{},
		})
	}
	line, stop := startDev(t, "-o", "json", "--data", file)
	client := sqsAt(line)
	if _, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String("http://any/000000000000/q"), MessageBody: aws.String("kept")}); err != nil {
		t.Fatal(err)
	}
	if code, rest := stop(); code != exitOK || rest != "" {
		t.Fatalf("interrupted: exit code %d, further output %q", code, rest)
	}
	line, stop = startDev(t, "-o", "json", "--data", file)
	out, err := sqsAt(line).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("http://any/000000000000/q")})
	if err != nil || len(out.Messages) != 1 || *out.Messages[0].Body != "kept" {
		t.Errorf("received %+v, %v", out, err)
	}
	if code, rest := stop(); code != exitOK || rest != "" {
		t.Errorf("interrupted: exit code %d, further output %q", code, rest)
	}
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := newCLI(t, "").fails(exitFailed, file, "dev", "--aws-addr", "127.0.0.1:0", "--redis-addr", "127.0.0.1:0", "--data", file); r.stdout != "" {
		t.Errorf("printed %q", r.stdout)
	}
}

func TestDevBusyPort(t *testing.T) {
	c := newCLI(t, "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	busy := ln.Addr().String()
	for flag, other := range map[string]string{"--aws-addr": "--redis-addr", "--redis-addr": "--aws-addr"} {
		r := c.fails(exitFailed, busy, "dev", flag, busy, other, "127.0.0.1:0")
		if r.stdout != "" || !strings.Contains(r.stderr, "in use") {
			t.Errorf("stdout %q, stderr %q", r.stdout, r.stderr)
		}
	}
}

// The whole program, as a process that is interrupted.
func TestDevProcess(t *testing.T) {
	newCLI(t, "")
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "dev", "--aws-addr", "127.0.0.1:0", "--redis-addr", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), "WAYBILL_RUN_AS_COMMAND=1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(stdout)
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("no line: %v, %s", err, stderr.String())
		}
		works(t, decode[ready](t, line))
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(out)
		if err != nil || len(rest) > 0 {
			t.Errorf("further output %q, %v", rest, err)
		}
		if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
			t.Errorf("%v: %v, stderr %s", signal, err, stderr.String())
		}
	}
}
