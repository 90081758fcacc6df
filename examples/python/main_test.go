package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/waybilltest"
)

// TestDemo runs the demo as the README shows it.
func TestDemo(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-python", python(t)}, &stdout, &stderr); status != exitOK || stderr.Len() > 0 {
		t.Errorf("exit status %d\n%s", status, &stderr)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n```\n(order-1.*?)```\n").FindSubmatch(text)
	if block == nil || string(block[1]) != stdout.String() {
		t.Errorf("it prints\n%s\nand the README has something else", &stdout)
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"-h"}, exitOK, "-python"},
		{[]string{"-speed"}, exitUsage, "flag provided but not defined: -speed"},
		{[]string{"serve"}, exitUsage, `"serve" is not a flag`},
		{[]string{"-python", "/nowhere/python"}, exitFailed, "/nowhere/python cannot be run, or has no boto3; install it"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), tt.args, &stdout, &stderr); status != tt.status || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("%q: exit status %d, %s", tt.args, status, &stderr)
		}
	}
}

// python is a Python with boto3. It skips the test where there is none, which in CI
// is an error.
func python(t *testing.T) string {
	t.Helper()
	path, ok := testserver.Python(t)
	if !ok {
		t.Skip("there is no python3 with boto3")
	}
	return path
}

// The kinds of queues.
const (
	standard = ""
	fifo     = ".fifo"
)

func both() []string { return []string{standard, fifo} }

// everywhere runs a test on the embedded queues, and on the servers that are
// configured, with queues of each kind.
func everywhere(t *testing.T, kinds []string, test func(t *testing.T, s *site)) {
	python := python(t)
	urls := map[string]string{"embedded": ""}
	if url, ok := testserver.LocalStack(t); ok {
		urls["LocalStack"] = url
	}
	if url, ok := testserver.ElasticMQ(t); ok {
		urls["ElasticMQ"] = url
	}
	for name, url := range urls {
		for _, kind := range kinds {
			t.Run(name+kind, func(t *testing.T) {
				t.Parallel()
				stack := waybilltest.Start(t)
				s := &site{T: t, stack: stack, aws: stack.AWS, place: place{
					python: python, script: "warehouse.py", url: stack.AWSURL, region: stack.AWS.Region,
					namespace: testserver.Namespace(t), kind: kind, database: filepath.Join(t.TempDir(), "warehouse.db"), stock: "lamp=1",
				}}
				if url != "" {
					cfg, err := config.AWS{EndpointURL: url, Region: "us-east-1"}.Load(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					s.aws, s.place.url, s.place.region = cfg, url, "us-east-1"
					s.deleteLater()
				}
				var err error
				if s.endpoints, err = endpointsOf(s.place.namespace, kind, visibility); err != nil {
					t.Fatal(err)
				}
				test(t, s)
			})
		}
	}
}

// visibility is how long the tests wait for the command of a process that died.
const visibility = 2 * time.Second

// A site is where a warehouse and its clients meet.
type site struct {
	*testing.T
	stack     *waybilltest.Stack
	aws       aws.Config
	endpoints *queue.Endpoints
	place     place
}

// deleteLater deletes the site's queues when the test ends.
func (s *site) deleteLater() {
	client := sqs.NewFromConfig(s.aws)
	s.Cleanup(func() {
		ctx := context.WithoutCancel(s.Context())
		own, err := client.ListQueues(ctx, &sqs.ListQueuesInput{QueueNamePrefix: &s.place.namespace})
		if err != nil {
			s.Error(err)
			return
		}
		for _, url := range own.QueueUrls {
			if _, err := client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
				s.Error(err)
			}
		}
	})
}

// A logbook keeps what a process writes.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start starts a warehouse that ends with the test, if it has not before. With a
// spoiler, a piece of Python, it is not quite as it should be.
func (s *site) start(spoiler string) *process {
	s.Helper()
	at := s.place
	if spoiler != "" {
		here, err := os.Getwd()
		if err != nil {
			s.Fatal(err)
		}
		at.script = filepath.Join(s.TempDir(), "spoiled.py")
		text := "import os, signal, sys\nsys.path.insert(0, " + quoted(here) + ")\nimport participant, warehouse\n" +
			"def die(*args): os.kill(os.getpid(), signal.SIGKILL)\n" + spoiler + "\nwarehouse.main()\n"
		if err := os.WriteFile(at.script, []byte(text), 0o600); err != nil {
			s.Fatal(err)
		}
	}
	log := new(logbook)
	p, err := startWarehouse(at, log)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = p.cmd.Process.Kill() // if it is there still
		<-p.exited
		if s.Failed() {
			s.Logf("the warehouse said:\n%s", log)
		}
	})
	return p
}

func quoted(text string) string {
	data, _ := json.Marshal(text) // which is Python too
	return string(data)
}

// schemaOf is the schema of a message.
func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	text, err := fs.ReadFile(saga.Schemas(), name+".json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// A dialogue sends commands, and hears the replies.
type dialogue struct {
	*site
	publisher *queue.Publisher
	replies   <-chan *message.Message
	command   *jsonschema.Schema
	reply     *jsonschema.Schema
}

// dialogue makes the queues, and speaks for a coordinator. The command of a process
// that died comes again after so long.
func (s *site) dialogue(visibility time.Duration) *dialogue {
	s.Helper()
	for _, name := range []string{"warehouse", "warehouse-dlq", "replies"} { // ElasticMQ has not all that a topology asks for
		name, attributes := s.place.namespace+"-"+name+s.place.kind, map[string]string{"VisibilityTimeout": strconv.Itoa(int(visibility.Seconds()))}
		if s.place.kind == fifo {
			attributes["FifoQueue"] = "true"
		}
		_, err := sqs.NewFromConfig(s.aws).CreateQueue(s.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			s.Fatal(err)
		}
	}
	elsewhere := *s.stack // of whose queues these may not be
	elsewhere.AWS = s.aws
	messages, err := elsewhere.Subscriber(s, s.endpoints).Subscribe(s.Context(), replies)
	if err != nil {
		s.Fatal(err)
	}
	return &dialogue{site: s, publisher: elsewhere.Publisher(s, s.endpoints), replies: messages, command: schemaOf(s.T, "command"), reply: schemaOf(s.T, "reply")}
}
