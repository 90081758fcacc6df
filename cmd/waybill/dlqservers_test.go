package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
)

// onServers runs a test with commands that reach the emulator, LocalStack and
// ElasticMQ, with queues of a namespace of its own and an empty Redis.
func onServers(t *testing.T, test func(c *cli, bury func(n int))) {
	servers := map[string]func(testing.TB) (string, bool){"emulator": nil, "localstack": testserver.LocalStack, "elasticmq": testserver.ElasticMQ}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		t.Run(name, func(t *testing.T) {
			c := newStackCLI(t, "endpoints:\n  fares: {url: sqs://fares, dead_letter: sqs://fares-dlq}\n")
			url := c.stack.AWSURL
			if find := servers[name]; find != nil {
				var ok bool
				if url, ok = find(t); !ok {
					t.Skip("no such server")
				}
			}
			namespace := testserver.Namespace(t)
			t.Setenv("WAYBILL_ENDPOINT_URL", url)
			t.Setenv("WAYBILL_NAMESPACE", namespace)
			cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
			makeQueues(t, cfg, namespace)
			test(c, func(n int) {
				publisher, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg})
				if err != nil {
					t.Fatal(err)
				}
				for i := range n {
					msg := message.NewMessage(fmt.Sprintf("m%02d", i), fmt.Appendf(nil, `{"n":%d}`, i))
					f := queue.NewFailure(queue.ReasonPermanent, errors.New("card declined"))
					f.Source, f.Filter = "sqs://"+namespace+"-fares", fmt.Sprint("filter", i%3)
					if err := errors.Join(f.Encode(msg), publisher.Publish("sqs://"+namespace+"-fares-dlq", msg)); err != nil {
						t.Fatal(err)
					}
				}
				if err := publisher.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// makeQueues makes a queue with a dead-letter queue.
func makeQueues(t *testing.T, cfg aws.Config, namespace string) {
	t.Helper()
	client := sqs.NewFromConfig(cfg)
	dead, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(namespace + "-fares-dlq")})
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: dead.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}})
	if err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":3}`, a.Attributes["QueueArn"])
	if _, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(namespace + "-fares"), Attributes: map[string]string{"RedrivePolicy": policy}}); err != nil {
		t.Fatal(err)
	}
}

// The verbs that take messages out of a queue, and bring them back, on all servers.
func TestDLQOnServers(t *testing.T) {
	onServers(t, func(c *cli, bury func(n int)) {
		bury(12)
		all := os.Getenv("WAYBILL_NAMESPACE") + "-fares-dlq"
		counts := func(args ...string) string {
			c.Helper()
			var got []string
			for _, g := range decode[dlq.Grouping](c, c.ok(append([]string{"dlq", "groups", "fares", "--by", "filter"}, args...)...)).Groups {
				got = append(got, fmt.Sprint(g.Key[dlq.ByFilter], " ", g.Count))
			}
			slices.Sort(got)
			return strings.Join(got, ", ")
		}
		for _, step := range []struct {
			args []string
			code int
			want string // fields of the report, as JSON
			left string // the groups of the queue, after it; not looked at if empty
			kept string // and of the catalogue
		}{
			{args: []string{"export", "--file", "all.jsonl"}, want: `{"written":12,"seen":12}`},
			{args: []string{"purge", "--all", all}, want: `{"would_delete":12,"deleted":0}`, left: "filter0 4, filter1 4, filter2 4"},
			{args: []string{"purge", "--all", all, "--archive", "purged.jsonl", "--yes", "--reason", "r"}, want: `{"deleted":12,"archived":12,"reason":"r"}`},
			{args: []string{"import", "purged.jsonl"}, want: `{"would_send":12,"sent":0}`},
			{args: []string{"import", "purged.jsonl", "--yes"}, want: `{"sent":12,"skipped":0}`, left: "filter0 4, filter1 4, filter2 4"},
			{args: []string{"import", "all.jsonl", "--yes"}, want: `{"sent":0,"skipped":12}`},
			{args: []string{"ingest"}, want: `{"would_ingest":12,"ingested":0}`},
			{args: []string{"ingest", "--yes", "--filter", `.failure.filter != "filter2"`, "--reason", "r"}, want: `{"ingested":8,"deleted":8,"letters":8,"filtered":4,"reason":"r"}`, left: "filter2 4", kept: "filter0 4, filter1 4"},
			{args: []string{"ingest", "--yes"}, want: `{"ingested":4,"letters":12}`, kept: "filter0 4, filter1 4, filter2 4"},
			{args: []string{"export", "--catalogue", "--file", "kept.jsonl"}, want: `{"written":12}`, kept: "filter0 4, filter1 4, filter2 4"},
			{args: []string{"redrive", "--catalogue", "--filter", `.failure.filter == "filter1"`}, want: `{"would_send":4,"sent":0}`, kept: "filter0 4, filter1 4, filter2 4"},
			{args: []string{"redrive", "--catalogue", "--filter", `.failure.filter == "filter1"`, "--yes"}, want: `{"sent":4,"deleted":4,"remaining":8}`, kept: "filter0 4, filter2 4"},
			{args: []string{"purge", "--catalogue", "--filter", `.id == "m00"`, "--archive", "one.jsonl", "--yes"}, want: `{"deleted":1,"archived":1}`, kept: "filter0 3, filter2 4"},
			{args: []string{"redrive", "--catalogue", "--to", "fares-dlq", "--yes"}, code: exitFailed, kept: "filter0 3, filter2 4"},
			{args: []string{"redrive", "--catalogue", "--yes"}, want: `{"sent":7,"remaining":0}`},
		} {
			r := c.run(append([]string{"dlq", step.args[0], "fares"}, step.args[1:]...)...)
			if r.code != step.code {
				c.Fatalf("%q: exit code %d, want %d\n%s%s", step.args, r.code, step.code, r.stdout, r.stderr)
			}
			if step.want != "" {
				got, want := decode[map[string]json.RawMessage](c, r.stdout), decode[map[string]json.RawMessage](c, step.want)
				for name := range want {
					if string(got[name]) != string(want[name]) {
						c.Errorf("%q: %s is %s, want %s", step.args, name, got[name], want[name])
					}
				}
			}
			if step.left != "" {
				if got := counts(); got != step.left {
					c.Errorf("after %q the queue has %s, want %s", step.args, got, step.left)
				}
			}
			if step.kept != "" {
				if got := counts("--catalogue"); got != step.kept {
					c.Errorf("after %q the catalogue has %s, want %s", step.args, got, step.kept)
				}
			}
		}
		letter := c.run("dlq", "show", "fares", "m01", "--catalogue")
		if letter.code != exitNotFound {
			c.Errorf("show of what was redriven: %+v", letter)
		}
		if got := decode[[]dlq.Catalogued](c, c.ok("dlq", "catalogue")); len(got) != 0 {
			c.Errorf("the catalogue has %+v", got)
		}
	})
}
