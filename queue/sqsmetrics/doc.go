// Package sqsmetrics asks CloudWatch how old the oldest messages of queues are,
// which SQS itself does not tell:
//
//	ages, err := sqsmetrics.New(sqsmetrics.Config{AWSFor: awsFor})
//	w, err := client.NewWatcher(dlq.WatchConfig{Ages: ages})
//
// It is a dlq.AgeFinder. CloudWatch's metric is ApproximateAgeOfOldestMessage, in the
// namespace AWS/SQS. It is some minutes old. SQS reports none for a queue that nobody
// has used for six hours, and leaves out messages that were received three times or
// more. Each metric that is asked for costs $0.00001.
//
// The credentials need cloudwatch:GetMetricData. The package is apart so that who
// asks for no ages has no client of CloudWatch.
package sqsmetrics
