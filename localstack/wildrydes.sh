#!/bin/sh
# Makes the queues, topics, subscriptions and redrive policies of
# examples/wildrydes. LocalStack runs it when it is ready; the names and numbers
# are those of examples/wildrydes/waybill.yaml.
set -eu

arn() { echo "arn:aws:$1:${AWS_DEFAULT_REGION:-us-east-1}:000000000000:$2"; }

# queue NAME makes a queue and its dead-letter queue.
queue() {
	awslocal sqs create-queue --queue-name "$1-dlq" --attributes '{
		"MessageRetentionPeriod": "1209600"
	}'
	awslocal sqs create-queue --queue-name "$1" --attributes '{
		"VisibilityTimeout": "30",
		"MessageRetentionPeriod": "345600",
		"RedrivePolicy": "{\"deadLetterTargetArn\": \"'"$(arn sqs "$1-dlq")"'\", \"maxReceiveCount\": \"5\"}"
	}'
}

# subscribe TOPIC QUEUE FILTER delivers raw what matches FILTER.
subscribe() {
	awslocal sns subscribe --topic-arn "$(arn sns "$1")" \
		--protocol sqs --notification-endpoint "$(arn sqs "$2")" \
		--attributes '{
			"RawMessageDelivery": "true",
			"FilterPolicy": "'"$(echo "$3" | sed 's/"/\\"/g')"'"
		}'
}

queue fares
queue fares-registered
queue fares-charged
queue fares-credited
queue refunds

awslocal sns create-topic --name fare-results
queue fares-completed
queue fares-failed
subscribe fare-results fares-completed '{"IsSuccessful": ["true"]}'
subscribe fare-results fares-failed '{"IsSuccessful": ["false"]}'
