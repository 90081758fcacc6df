#!/bin/sh
# Makes the queues, topics, subscriptions and redrive policies of
# examples/wildrydes/waybill.yaml, as `waybill topology apply` does. LocalStack
# runs it when it is ready. All names begin with the file's namespace.
set -eu

namespace=${WILDRYDES_NAMESPACE:-wildrydes}

arn() { echo "arn:aws:$1:${AWS_DEFAULT_REGION:-us-east-1}:000000000000:$2"; }

# text JSON prints it as a JSON string.
text() { printf '"%s"' "$(printf %s "$1" | tr -d '\n\t' | sed 's/"/\\"/g')"; }

managed='waybill:managed'

# queue NAME [POLICY] makes a queue and its dead-letter queue.
queue() {
	dead_letter=$(arn sqs "$1-dlq")
	awslocal sqs create-queue --queue-name "$1-dlq" --tags "{\"$managed\": \"true\"}" --attributes '{
		"MessageRetentionPeriod": "1209600"
	}'
	awslocal sqs create-queue --queue-name "$1" --tags "{\"$managed\": \"true\"}" --attributes '{
		"VisibilityTimeout": "5",
		"MessageRetentionPeriod": "345600",
		"RedrivePolicy": '"$(text "{\"deadLetterTargetArn\": \"$dead_letter\", \"maxReceiveCount\": \"8\"}")"',
		"Policy": '"$(text "${2-}")"'
	}'
}

# subscriber QUEUE TOPIC FILTER makes a queue that receives, as they were
# published, the messages of a topic that match the filter.
subscriber() {
	queue "$1" '{"Version": "2012-10-17", "Statement": [{
		"Sid": "'"$2"'",
		"Effect": "Allow",
		"Principal": {"Service": "sns.amazonaws.com"},
		"Action": "sqs:SendMessage",
		"Resource": "'"$(arn sqs "$1")"'",
		"Condition": {"ArnEquals": {"aws:SourceArn": "'"$(arn sns "$2")"'"}}
	}]}'
	awslocal sns subscribe --topic-arn "$(arn sns "$2")" \
		--protocol sqs --notification-endpoint "$(arn sqs "$1")" --attributes '{
		"RawMessageDelivery": "true",
		"FilterPolicyScope": "MessageAttributes",
		"FilterPolicy": '"$(text "$3")"'
	}'
}

queue "$namespace-rides"
queue "$namespace-fares-registered"
queue "$namespace-fares-charged"
queue "$namespace-fares-credited"
queue "$namespace-debits"
queue "$namespace-refunds"

awslocal sns create-topic --name "$namespace-fare-results" --tags "Key=$managed,Value=true"
subscriber "$namespace-fares-completed" "$namespace-fare-results" '{"IsSuccessful": ["true"]}'
subscriber "$namespace-fares-failed" "$namespace-fare-results" '{"IsSuccessful": ["false"]}'
