package emulator_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue/emulator"
)

// boto3 works with the server as it does with AWS.
func TestBoto3(t *testing.T) {
	t.Parallel()
	python, ok := testserver.Python(t)
	if !ok {
		return
	}
	out, err := stranger(t, python, "testdata/strangers.py", listen(t, emulator.New(emulator.Config{})))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.HasSuffix(out, "pages done\n") {
		t.Errorf("the script ended early:\n%s", out)
	}
}

// The AWS CLI works with the server as it does with AWS. The one that Debian 12 has speaks the Query protocol.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	aws, ok := testserver.AWSCLI(t)
	if !ok || raceDetector { // which sees the Query protocol in TestConformanceInQuery, and strangers in TestBoto3
		return
	}
	endpoint := listen(t, emulator.New(emulator.Config{Account: "111122223333"}))
	url := endpoint + "/111122223333/"
	var receipt string
	for _, step := range []struct {
		command string
		want    string // a regular expression
	}{
		{"sqs create-queue --queue-name dlq", `^` + url + `dlq$`},
		{`sqs create-queue --queue-name fares --attributes {"VisibilityTimeout":"0","RedrivePolicy":"{\"deadLetterTargetArn\":\"arn:aws:sqs:us-west-2:111122223333:dlq\",\"maxReceiveCount\":2}"} --tags team=rides`, `^` + url + `fares$`},
		{"sqs list-queues --query QueueUrls", `^` + url + `dlq\t` + url + `fares$`},
		{"sqs get-queue-url --queue-name fares", `fares$`},
		{"sqs get-queue-attributes --queue-url URL --attribute-names QueueArn VisibilityTimeout --query Attributes.[QueueArn,VisibilityTimeout]", `^arn:aws:sqs:us-west-2:111122223333:fares\t0$`},
		{"sqs list-queue-tags --queue-url URL", `^TAGS\trides$`},
		{`sqs send-message --queue-url URL --message-body a&b<c --message-attributes {"n":{"DataType":"Number","StringValue":"7"}} --query MD5OfMessageBody`, `^bde0855ef275206f964a8c0a982ae949$`},
		{"sqs receive-message --queue-url URL --message-attribute-names All --query Messages[0].[Body,MessageAttributes.n.StringValue]", `^a&b<c\t7$`},
		{"sqs receive-message --queue-url URL --visibility-timeout 60 --query Messages[0].ReceiptHandle", `^\S+$`},
		{"sqs change-message-visibility --queue-url URL --receipt-handle RECEIPT --visibility-timeout 0", `^$`},
		{"sqs receive-message --queue-url URL --wait-time-seconds 0 --query Messages", `^None$`},
		{"sqs receive-message --queue-url DLQ --attribute-names All --query Messages[0].[Body,Attributes.ApproximateReceiveCount,Attributes.DeadLetterQueueSourceArn] --visibility-timeout 0", `^a&b<c\t3\tarn:aws:sqs:us-west-2:111122223333:fares$`},
		{`sqs send-message-batch --queue-url URL --entries [{"Id":"a","MessageBody":"1"},{"Id":"b","MessageBody":"2","DelaySeconds":901}] --query [Successful[].Id,Failed[].[Id,Code]]`, `^a\nb\tInvalidParameterValue$`},
		{"sqs purge-queue --queue-url URL", `^$`},
		{"sqs purge-queue --queue-url URL", `PurgeQueueInProgress`},
		{"sqs add-permission --queue-url URL --label share --aws-account-ids 444455556666 --actions SendMessage", `^$`},
		{"sqs get-queue-attributes --queue-url URL --attribute-names Policy", `"Sid":"share"`},
		{"sqs receive-message --queue-url URLnone", `AWS\.SimpleQueueService\.NonExistentQueue`},
		{"sns create-topic --name events", `^arn:aws:sns:us-west-2:111122223333:events$`},
		{"sns subscribe --topic-arn arn:aws:sns:us-west-2:111122223333:events --protocol sqs --notification-endpoint arn:aws:sqs:us-west-2:111122223333:fares --attributes RawMessageDelivery=true", `^arn:aws:sns:us-west-2:111122223333:events:\S+$`},
		{"sns publish --topic-arn arn:aws:sns:us-west-2:111122223333:events --message hello", `^[0-9a-f-]{36}$`},
		{"sqs receive-message --queue-url URL --query Messages[0].Body", `^hello$`},
		{"sqs delete-queue --queue-url URL", `^$`},
		{`sqs create-queue --queue-name rides.fifo --attributes {"FifoQueue":"true"}`, `^` + url + `rides\.fifo$`},
		{"sqs send-message --queue-url FIFO --message-body 1 --message-group-id car --message-deduplication-id a --query SequenceNumber", `^[0-9]{20}$`},
		{"sqs send-message --queue-url FIFO --message-body 2 --message-group-id car --message-deduplication-id a --query MD5OfMessageBody", `^c81e728d9d4c2f636f067f89cc14862c$`},
		{"sqs send-message --queue-url FIFO --message-body 3 --message-group-id car", `InvalidParameterValue.*ContentBasedDeduplication`},
		{"sqs receive-message --queue-url FIFO --attribute-names All --receive-request-attempt-id try --query Messages[].[Body,Attributes.MessageGroupId,Attributes.MessageDeduplicationId]", `^1\tcar\ta$`},
		{"sqs receive-message --queue-url FIFO --receive-request-attempt-id try --query Messages[].Body", `^1$`},
	} {
		var args []string
		for _, arg := range strings.Fields(step.command) {
			arg = strings.NewReplacer("URL", url+"fares", "DLQ", url+"dlq", "FIFO", url+"rides.fifo", "RECEIPT", receipt).Replace(arg)
			args = append(args, arg)
		}
		args = append(args, "--endpoint-url", endpoint, "--region", "us-west-2", "--output", "text")
		out, err := stranger(t, aws, args...)
		out = strings.TrimSpace(out)
		if ok, _ := regexp.MatchString(step.want, out); !ok {
			t.Fatalf("aws %s: %v\n%s\nwant %s", step.command, err, out, step.want)
		}
		if strings.HasSuffix(step.command, "ReceiptHandle") {
			receipt = out
		}
	}
}

// stranger runs a program that gets its credentials and nothing else of this machine's.
func stranger(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "LC_ALL=C.UTF-8"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
