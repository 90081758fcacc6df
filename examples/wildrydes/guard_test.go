package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waybill-dev/waybill/waybilltest"
)

// An account is a server with queues of somebody else's.
type account struct {
	*testing.T
	sqs *sqs.Client
	url string // of the server
}

func newAccount(t *testing.T) *account {
	stack := waybilltest.Start(t)
	return &account{t, sqs.NewFromConfig(stack.AWS), stack.AWSURL}
}

// queue makes a queue with settings of its own.
func (a *account) queue(name string) *string {
	a.Helper()
	out, err := a.sqs.CreateQueue(a.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"VisibilityTimeout": "300"}})
	if err != nil {
		a.Fatal(err)
	}
	return out.QueueUrl
}

func (a *account) send(url *string, n int) {
	a.Helper()
	for i := range n {
		if _, err := a.sqs.SendMessage(a.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String(fmt.Sprint("a real refund ", i))}); err != nil {
			a.Fatal(err)
		}
	}
}

// untouched checks that a queue is as its owner left it.
func (a *account) untouched(url *string, messages int) {
	a.Helper()
	out, err := a.sqs.GetQueueAttributes(a.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		a.Fatal(err)
	}
	if n := out.Attributes["ApproximateNumberOfMessages"]; n != fmt.Sprint(messages) {
		a.Errorf("%s holds %s messages, want %d", *url, n, messages)
	}
	if out.Attributes["VisibilityTimeout"] != "300" || out.Attributes["RedrivePolicy"] != "" {
		a.Errorf("%s has other settings: %v", *url, out.Attributes)
	}
	tags, err := a.sqs.ListQueueTags(a.Context(), &sqs.ListQueueTagsInput{QueueUrl: url})
	if err != nil {
		a.Fatal(err)
	}
	if len(tags.Tags) > 0 {
		a.Errorf("%s has the tags %v", *url, tags.Tags)
	}
}

// TestQueuesOfOthers: queues that have the names of the demo's endpoints are
// none of its business, nor are those that the environment names.
func TestQueuesOfOthers(t *testing.T) {
	a := newAccount(t)
	t.Setenv("WAYBILL_NAMESPACE", "prod")
	t.Setenv("WAYBILL_ENDPOINTS_DEBITS_URL", "sqs://prod-debits")
	var urls []*string
	for _, name := range []string{"refunds", "rides-dlq", "prod-refunds", "prod-debits"} {
		url := a.queue(name)
		a.send(url, 3)
		urls = append(urls, url)
	}
	demonstrate(t, "--endpoint", a.url, "--mode", "pipeline", "--rides", "3", "--fail", "none", "--crash", "0")
	for _, url := range urls {
		a.untouched(url, 3)
	}
}

// TestForeignQueue: a queue that has one of the demo's own names, and that
// Waybill has not made, stops it before it changes anything.
func TestForeignQueue(t *testing.T) {
	a := newAccount(t)
	url := a.queue("wildrydes-refunds")
	a.send(url, 3)
	status, _, stderr := execute(t, "--endpoint", a.url, "--rides", "3", "--crash", "0", "--yes")
	if status != exitFailed || !strings.Contains(stderr, "sqs://wildrydes-refunds: it exists without the tag waybill:managed") {
		t.Errorf("exit status %d, stderr %s", status, stderr)
	}
	a.untouched(url, 3)
	all, err := a.sqs.ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.QueueUrls) != 1 {
		t.Errorf("it made queues before it refused: %v", all.QueueUrls)
	}
}

// TestClearOnAWS: on AWS, what is in the demo's own queues is deleted only with
// --yes; elsewhere it is in any case, as the help says.
func TestClearOnAWS(t *testing.T) {
	a := newAccount(t)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": a.url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
	} {
		t.Setenv(name, value)
	}
	few := []string{"--rides", "3", "--fail", "none", "--crash", "0"}
	demonstrate(t, append(few, "--endpoint", "aws")...) // the queues are empty
	out, err := a.sqs.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("wildrydes-refunds-dlq")})
	if err != nil {
		t.Fatal(err)
	}
	left := func() string {
		attributes, err := a.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: out.QueueUrl, AttributeNames: []types.QueueAttributeName{"All"}})
		if err != nil {
			t.Fatal(err)
		}
		return attributes.Attributes["ApproximateNumberOfMessages"]
	}
	a.send(out.QueueUrl, 2)
	status, _, stderr := execute(t, append(few, "--endpoint", "aws")...)
	if status != exitFailed || !strings.Contains(stderr, "about 2 messages in the queues; give --yes to delete them") || left() != "2" {
		t.Errorf("exit status %d, %s messages left, stderr %s", status, left(), stderr)
	}
	for _, args := range [][]string{{"--endpoint", "aws", "--yes"}, {"--endpoint", a.url}} {
		demonstrate(t, append(few, args...)...)
		if n := left(); n != "0" {
			t.Errorf("%v: %s messages are left", args, n)
		}
		a.send(out.QueueUrl, 2)
	}
}
