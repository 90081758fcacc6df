// Package otelqueue traces messages with OpenTelemetry: from where they are
// published, through queues, topics and filters, to where they are handled.
//
// One [Tracer] goes into the publisher and the subscriber. Who does without
// imports nothing of OpenTelemetry's, and pays nothing.
//
//	tracer := otelqueue.New(otelqueue.Config{})
//	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Endpoints: endpoints, Tracer: tracer})
//	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Endpoints: endpoints, Tracer: tracer})
//
// It uses the program's TracerProvider and propagator, as otel.SetTracerProvider
// and otel.SetTextMapPropagator have set them, unless its [Config] says
// otherwise. It needs the API alone; the SDK is the program's.
//
// A message is published in the context that it has: msg.SetContext(ctx) puts it
// in the span of ctx. Package pipeline does so with what a filter returns. Under
// watermill's Router, [Tracer.Middleware] does.
//
// # Spans
//
// Names and attributes are those of the semantic conventions for messaging,
// version 1.43.0, which are not stable yet. The destination is the queue or topic
// as the account has it; waybill.endpoint is the endpoint's name.
//
//	span                kind      is                                     child of              links to
//	create <dest>       producer  a message from Publish to its result   the publishing span
//	send/publish <dest> client    a request of up to ten messages        see below             its messages' create
//	receive <dest>      client    a receive that brought messages, or    nothing               its messages' create
//	                              that failed
//	process <dest>      consumer  a message from delivery to ack or      its create            its create and receive
//	                              nack
//
// Calls of Publish share requests, so a send is a child of the publishing span if
// all its messages have the same, and else the root of a trace. What runs in a
// handler is in the span of process, and so are the messages that it publishes:
// one trace leads through all filters. A receive that brings nothing has no span.
//
// A message that comes again has a process for each time, with the attribute
// messaging.aws_sqs.message.receive_count; waybill.settlement tells how it ended
// (acked, nacked; abandoned where the handler did not end in the time of the
// drain; undelivered where nobody took it), and waybill.visibility_lost that
// another receiver may have it, too. It has failed if it was nacked, and also if
// it was acked because it went to the dead-letter queue. What failed is known
// from package pipeline, from Middleware, or from queue.Delivery.Failed.
//
// error.type is the kind of an error of package queue (not_found, access,
// too_large, invalid, throttled, unavailable, held, closed, visibility_lost,
// undecodable), timeout or canceled of a context's end, what the error's method
// ErrorType() string says, or else its type in Go, that of a wrapper apart. The
// text of an error is in the span's status, and in Middleware's event. Of such
// texts, and of a message's UUID and correlation id, spans have 1 KiB, and what is
// not UTF-8 as question marks.
//
// What waits for long is better off in a trace of its own, which links to the one
// before: see Config.NewTrace. Where there are too many spans, Config.NoCreate
// leaves out those of messages that are published.
//
// # What a message carries
//
// A message carries the context of its create as W3C's traceparent, tracestate
// and baggage, or whatever else Config.Propagator writes. It takes one of the ten
// attributes at most:
//
//   - A traceparent alone is the attribute traceparent, which other programs
//     understand.
//   - Where there is more than one, all are in the attribute Waybill-Metadata (see
//     package queue), which is there once, whatever is in it. A plain traceparent
//     for others is had by a propagator without state and baggage, or by naming
//     traceparent in the endpoint's Attributes, which takes a second attribute.
//   - Where there are ten attributes already, it is in Waybill-Metadata as well,
//     which one of the message's other attributes then has to join. Those that
//     filters of a subscription or Endpoint.Attributes name are not taken.
//   - A message that would be too large with it goes without. A baggage or state
//     of more than 8 KiB is left out.
//
// Metadata of those names that a message has when it is published stays: a valid
// traceparent is its context, and then there is no create; the name baggage is a
// user's own. Handlers do not see what was carried: it is taken off the metadata,
// so that a filter which copies that does not pass on the context of its input.
//
// It comes through topics, raw and in SNS's envelope, FIFO queues, payload stores
// and long delays. A dead letter carries that of the process which failed, if a
// pipeline moved it, and its own if SQS did; a redrive leaves it as it is.
//
// # Messages of others
//
// The parent of a message is, of those that are well-formed, the first of
//
//  1. what the propagator reads of its metadata, where an attribute wins over
//     what is in Waybill-Metadata;
//  2. a plain traceparent, with tracestate;
//  3. AWSTraceHeader, the system attribute of X-Ray, with a root and a parent.
//     It comes last because services of AWS's on the way write it anew.
//     "Sampled=?" and a header that does not tell count as not sampled.
//
// What is malformed, or longer than 8 KiB (1 KiB of AWSTraceHeader), counts for
// nothing, and the message begins a trace. A sender decides about sampling and
// baggage: where strangers may send, use a sampler that is not bound by remote
// parents, and no baggage.
//
// # Sagas
//
// Commands and replies go through the same publishers and subscribers: a command
// to a participant begins a trace, in which are the participant's work, its
// reply, and the coordinator's reading of it. A saga as a whole, which may take
// weeks and change workers, is no trace: its history is in its execution.
//
// # The command
//
// waybill makes no spans: it runs no filters, and what it redrives keeps what it
// carries.
package otelqueue
