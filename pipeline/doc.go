// Package pipeline chains filters by endpoints: pipes and filters over queues.
//
// A filter is a function. It gets a value and returns a value, and knows
// nothing of queues:
//
//	func register(ctx context.Context, r Ride) (Fare, error)
//
// A pipeline runs filters on messages. Where a filter receives from and where
// its outputs go are names of endpoints, which configuration resolves to queues
// and topics:
//
//	p, err := pipeline.New(pipeline.Config{Publisher: pub, Subscriber: sub, Endpoints: endpoints, Wiring: wiring})
//	p.Handle("register", pipeline.Func(register), pipeline.From("rides"), pipeline.To("fares"))
//	p.Handle("charge", pipeline.Func(charge), pipeline.From("fares"), pipeline.To("charged"), pipeline.Outlet("declined", "refused"))
//	p.Handle("announce", pipeline.Sink(announce), pipeline.From("charged"))
//	err = p.Run(ctx) // or p.Run(ctx, "charge"): one filter in this process
//
// To put filters into another order, or other queues between them, is a matter
// of configuration alone: a [Wiring] overrides the routes in the code.
//
// [Func] is the filter with one output for each input, [Sink] that without
// output, [Split] that with several. They see the body of the message;
// [FromContext] tells them the rest, and sets metadata and outlet of their
// outputs. [Messages] is the general form. [Raw] and [Consume] run handlers of
// watermill's, and [Middleware] is watermill's, too.
//
// # What is guaranteed
//
// A message is deleted from its queue when all outputs of its filter have been
// accepted by theirs, or when it is in the dead-letter queue. A process may die
// at any moment, and nothing is lost. A filter therefore runs at least once for
// each message, and can run twice; so can one receive a message twice, from a
// process that died before it deleted its input, or from the queue itself.
//
// Outputs have ids that derive from the input's id, the filter's name and their
// index, so a message that is sent twice has one id. [Idempotent] is middleware
// that goes by the id: it keeps the outputs of each message in a store, and
// answers a duplicate with them. Effects outside, such as a payment, need an
// idempotency key where they happen; [Call.Key] is one.
//
// # What becomes of failures
//
// A filter fails by an error, by a panic, and by its [Timeout]. Then, in this
// order:
//
//   - It is retried in place, with backoff, a few times: [Retry]. Its message
//     stays hidden from other receivers meanwhile.
//   - The message goes back to its queue, hidden for a time that grows with the
//     number of its receives.
//   - On the last receive that the queue allows, the pipeline itself moves the
//     message to the endpoint's dead-letter queue, with a queue.Failure: the
//     reason, the error and what it wraps, the filter, how often it ran and was
//     received, when it failed first and last, and where it came from. The
//     record is shortened to what the size limit of the queue leaves, as
//     queue.Failure.Fit says: in the end to the reason alone. A message within
//     60 bytes of the limit has no record, and within 160 if it has to be given
//     an id, as those of other writers are, and attributes be packed for both.
//     One that leaves no room for its id either is moved by the queue itself.
//     A dead-letter queue that is FIFO knows the message by the id that SQS had
//     given it, so queues with messages of one deduplication id can share it.
//
// An error that is [Permanent], and a message that cannot be decoded, skip the
// retries. [RetryAfter] skips those in place, and so does a message whose form
// only a later release knows: a process of that release may receive it next.
// Where the move to the dead-letter
// queue fails, the message stays in its own. Where there are dead-letter queues of
// one name in several regions or accounts, each is to be an endpoint, so that the
// move finds that of its place; else [Pipeline.Run] is an error. The queue's redrive policy remains
// the safety net for processes that die; what it moves has no record. Counts and
// times in a record are those of the process that wrote it: what another process
// saw of the message, no queue remembers.
//
// The outputs of a filter that succeeded are retried likewise if they cannot be
// published, without running the filter again in this receive. One that is too
// large for its endpoint is a permanent failure.
//
// # Traces
//
// Outputs and dead letters are published in the context of their input, and so in
// its trace, where the publisher and the subscriber have the Tracer of package
// queue/otelqueue. It is told why a message failed.
//
// # Other transports
//
// Any watermill Publisher and Subscriber carry a pipeline. Without package
// queue there are no receive counts and no delays, so a message whose retries
// in place have failed goes to Config.DeadLetter at once, and without that is
// nacked.
//
// # Stopping
//
// When the context of [Pipeline.Run] ends, it stops receiving, lets the filters
// at work finish, and returns. After Config.DrainTimeout it ends their contexts;
// their messages go back to their queues at once.
package pipeline
