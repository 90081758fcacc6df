package main

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// What others hold was not looked at: a purge and an ingestion say so, by exit code 3,
// unless they were told to do with less.
func TestDLQUnreached(t *testing.T) {
	c := buried(t, 5)
	client := sqs.NewFromConfig(c.stack.AWS)
	out, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("test-fares-dlq")})
	if err != nil {
		t.Fatal(err)
	}
	held, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: out.QueueUrl, MaxNumberOfMessages: 2, VisibilityTimeout: 3600})
	if err != nil || len(held.Messages) != 2 {
		t.Fatal(held, err)
	}
	for _, args := range []string{"ingest fares", "ingest fares --filter false --yes", "purge fares --filter false --yes", "purge fares --all test-fares-dlq"} {
		c.fails(exitPartial, "3 of 5 messages were looked at; the others are with other receivers", append([]string{"dlq"}, strings.Fields(args)...)...)
	}
	c.ok("dlq", "purge", "fares", "--all", "test-fares-dlq", "--limit", "1", "--yes")
	if r := decode[purged](t, c.fails(exitPartial, "2 of 4 messages", "dlq", "purge", "fares", "--all", "test-fares-dlq", "--yes").stdout); r.Deleted != 2 {
		t.Errorf("%+v", r)
	}
}
