// Package queue carries messages over SQS and SNS as a watermill Publisher and
// Subscriber.
package queue
