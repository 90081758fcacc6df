// Package emulator is Amazon SQS and SNS in one process, speaking their wire protocols on one port. It is
// what Waybill's tests, demos and examples run on, so that they need no Docker and no account.
//
// It is not for production: it keeps everything in memory, in a file at most now and then, checks no
// credentials, and is one process. For production there is the service itself.
//
// # Use
//
// A [Server] is an [http.Handler]. Any SDK that can be given an endpoint works with it:
//
//	server := emulator.New(emulator.Config{})
//	go server.ListenAndServe(ctx, "127.0.0.1:4566")
//
// and then AWS_ENDPOINT_URL=http://127.0.0.1:4566, with any credentials. An SDK in the same process needs
// no port: [Server.Client] is an HTTP client whose requests the server answers directly.
//
//	cfg.HTTPClient = server.Client()
//	cfg.BaseEndpoint = aws.String("http://emulator")
//
// Queues and topics belong to one account, 000000000000 unless [Config] says otherwise, and to the region
// that a request is signed for. The URL of a queue starts with the host that the request came by; in
// requests its path alone counts.
//
// # What it does
//
// SQS, by AWS JSON 1.0 and by the Query protocol of before: standard and FIFO queues with all their
// attributes; sends, receives, deletes and changes of visibility, alone and in batches with an error for each
// entry; delays, long polls that wake when a message arrives, receive counts, redrive policies and move tasks,
// retention, purges, tags, permissions. FIFO queues have groups in order, deduplication by id and by content
// in both scopes, sequence numbers, receive attempts, and receipt handles that expire. Standard queues are
// fair to the groups of their messages. SNS, by the Query protocol: standard and FIFO topics, batches, tags
// and permissions; subscriptions of queues, of URLs, which are asked for their confirmation first, and of functions of
// the program that holds the server ([Config.Functions]), with raw and enveloped delivery, filter policies
// of both scopes, retries by delivery policies, and dead-letter queues.
//
// Each rule that it keeps is a row of the table in CONFORMANCE.md, with its source, and with what
// LocalStack, ElasticMQ and moto do in its place. What is left to the service's discretion, it does in the
// way that is easiest to reason about: counts are exact, messages come in the order in which they became
// visible, a short poll sees all messages, and publishing has delivered to queues when it answers. In a FIFO
// queue, a message can be received when all that are before it in its group can; groups come in the order in
// which they became free, and one that was received from goes behind the others. A group of a standard queue
// is noisy while it has at least 30 messages in flight that are more than a tenth of all: then the others'
// messages come first. How long messages take does not count.
//
// FIFO queues have no limits of throughput, so FifoThroughputLimit is kept and does nothing (a test of being
// throttled sets a fault); and they find
// what is free however much waits before it, where AWS looks at the first 120,000 messages.
//
// It has no encryption, no archive of topics, and no e-mail, SMS or push. What it does not have, it refuses
// with a clear error. Access policies are kept, and enforced only on what topics deliver, with
// [Config.EnforcePolicies]: AWS silently drops what a topic publishes for a queue whose policy does not let
// it. The signature of a notification is a placeholder.
//
// # Time
//
// The server asks [Config.Clock] for all its time. By default that is package time, so that a server used
// through [Server.Client] inside a testing/synctest bubble runs in the bubble's virtual time: a test of a
// visibility timeout of twelve hours takes no longer than any other.
//
// # Persistence
//
// [Server.Save] writes all queues and topics, and [Server.Restore] reads them into another server, where receipt
// handles stay good and FIFO queues remember what they have had. [Server.KeepFile] does so with a file, at
// intervals: a laptop may sleep, and a process be started again.
//
// # Inspection
//
// GET /_aws/sqs/messages?QueueUrl=URL shows the messages of a queue without receiving them, as LocalStack does:
// in the XML of ReceiveMessage's answer, or in its JSON with Accept: application/json. ShowInvisible=true and
// ShowDelayed=true add those in flight and those delayed; the attributes IsVisible, IsDelayed and, of these,
// VisibleTimestamp tell them apart. An answer has up to MaxResults messages, by default 1,000, and up to 8 MiB;
// its NextToken leads to the rest.
//
// # Faults
//
// [Server.SetFault] installs a hook that decides about each request: fail it with an error of AWS, delay
// it, drop it or its answer, fail single entries of a batch, or deliver messages twice. [Faults] makes a hook
// of rules by operation, queue and probability, which fails the same requests each time. [Server.Requests]
// counts requests by operation, exactly.
package emulator
