// Package queue carries messages over SQS and SNS as a watermill Publisher and
// Subscriber, and records why messages failed.
//
// # Endpoints
//
// Code names an [Endpoint]; configuration says where it is:
//
//	endpoints, err := queue.NewEndpoints("dev",
//		queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"},
//		queue.Endpoint{Name: "receipts", URL: "sqs://receipts"},
//		queue.Endpoint{Name: "fare-events", URL: "sns://fare-events",
//			Subscriptions: []queue.Subscription{{Endpoint: "receipts"}}},
//	)
//
// In the namespace "dev" the queue of "fares" is dev-fares. Package config
// reads endpoints from a file, the environment and flags; package
// queue/topology makes the queues and topics that they name. This package makes
// none: what does not exist is an error.
//
// Endpoints of several accounts or regions are served by one publisher and one
// subscriber with AWSFor:
//
//	AWSFor: func(e queue.Endpoint) aws.Config { return accounts[e.Name] }
//
// Package config's AWS.LoadFor returns such a function for endpoints whose Region,
// Profile or RoleARN say where they are. A dead-letter queue is where its endpoint
// is.
//
// # Publishing
//
//	pub, err := queue.NewPublisher(queue.PublisherConfig{AWS: cfg, Endpoints: endpoints})
//	...
//	msg := message.NewMessage(watermill.NewUUID(), payload)
//	err = pub.Publish("fares", msg)
//
// Publish returns when the service has the messages. Calls that run at the same
// time share requests of ten, and each gets the result of its own messages; a
// lone message waits for company for 5 ms. A [*PublishError] says which messages
// of a call failed and why, and its errors are of the kinds that this package
// names: [ErrNotFound], [ErrAccess], [ErrTooLarge], [ErrInvalid],
// [ErrConfiguration], [ErrThrottled], [ErrUnavailable].
//
// Metadata with the keys of this package steers a message: [SetDelay] hides it
// for a time, [SetNumber] lets SNS compare it with numbers, [KeyGroup] orders
// it on a FIFO queue ([KeyOrder] on that alone), [KeySubject] is the subject of e-mails.
//
// SQS hides a message for 15 minutes at most. One with a longer delay, of up to
// 14 days, carries in [KeyDue] when it is due, and comes to a subscription every
// 15 minutes, which sends it to its queue again and then deletes it; so its
// receiver needs the right to send there, and no store. It is never out of the
// queue: a process that dies in between leaves it there twice, and both come, with
// the same UUID. A day takes 96 receives, sends and deletes, a tenth of a request
// each under backlog. While no subscription runs it waits; in its 15 minutes, a
// consumer that does not know KeyDue takes it for due. Publisher's and
// subscriber's clocks count, and Delivery.SentAt is when it was last sent. Without
// the right to send, a subscription hides the message by its visibility for up to
// 12 hours, each time at the cost of one receive of MaxReceiveCount.
//
// # Subscribing
//
//	sub, err := queue.NewSubscriber(queue.SubscriberConfig{AWS: cfg, Endpoints: endpoints})
//	...
//	messages, err := sub.Subscribe(ctx, "fares")
//	for msg := range messages {
//		go handle(msg) // and msg.Ack() or msg.Nack()
//	}
//
// watermill's Router does that loop. Up to Endpoint.Concurrency messages are
// out at once. While a handler has its message, a heartbeat keeps it hidden
// from other receivers, so Endpoint.Visibility bounds how soon a message comes
// back after its receiver died, and not how long a handler may take (that is
// SQS's 12 hours). A message's context carries its [Delivery]:
//
//	d := queue.FromContext(msg.Context())
//	if d.Last() {
//		// The next failure sends the message to the dead-letter queue.
//	}
//	d.Retry(10*time.Minute, "the provider is down") // then msg.Nack()
//
// A nacked message comes back after a delay that grows with its receive count
// from 1 s to 15 minutes, unless Retry says otherwise. Messages come at least
// once: what is delivered twice has the same UUID. A subscription goes on trying
// for ten minutes to delete what was handled while the service is gone or the
// credentials have expired, and does not deliver it again meanwhile.
//
// When the context of Subscribe ends, or on Close, the subscription drains: it
// receives no more, gives back the little that it has received and not delivered
// ([Endpoint.Concurrency] tells what that can be), and waits up to
// SubscriberConfig.DrainTimeout for the messages that are out. Their contexts
// stay alive meanwhile.
//
// # Order, and fairness
//
// On a FIFO queue or topic, [KeyGroup] is the unit of order, and it is required.
// The deduplication id is [KeyDeduplication], or else the message's UUID, so a
// message that is published again within five minutes is not there twice.
//
// Publishing keeps the order of each group, while groups go side by side. A
// message that fails holds those behind it that the same call of Publish was
// given: they fail with [ErrHeld]. What the service fails to take is sent again,
// unless a message behind it, in the same request, was accepted.
//
// A subscription delivers a group's messages one after the other. One that is
// nacked, is lost with its receiver, or has lost its visibility holds those
// behind it, and no other group. What was received behind it goes back to the
// queue, and becomes visible a second later than it does, so that it is received
// alone the next time; still, every other failure of a message takes one of the
// receives of those behind it, which may so have fewer attempts than
// MaxReceiveCount. With its last failure, by the queue's redrive policy, a message
// goes to the dead-letter queue at once, and its group goes on.
//
// On a standard queue, or a standard topic with such queues, KeyGroup names a
// tenant, and orders nothing: SQS's fair queues keep the backlog of one tenant
// from delaying the messages of others.
//
// # The wire
//
// A message is a plain SQS or SNS message, which any client can read and write.
// The body is the payload. Each key of the metadata is a message attribute of
// type String, and so is the UUID, as _watermill_message_uuid: this is the form
// of watermill-aws, which reads these messages and is read.
//
// The services take ten attributes of certain names and characters, and no
// empty or binary text. What does not fit is carried so:
//
//   - A body that is empty is "(empty)", with the attribute Waybill-Encoding set
//     to "empty". One with characters that SQS refuses is in base64, with
//     Waybill-Encoding set to "base64".
//   - A payload that is in a [PayloadStore] (see below) is the body
//     {"v":1,"sha256":HEX,"size":BYTES}, with Waybill-Encoding set to "claim".
//   - Metadata beyond ten attributes, of other names, or with values that are
//     empty or have refused characters, is packed into the attribute
//     Waybill-Metadata, as the JSON {"v":1,"s":{KEY:VALUE},"b":{KEY:VALUE},
//     "t":{KEY:TYPE}}: keys and values under "b" are in base64, and "t" has the
//     types other than String. The keys that Endpoint.Attributes and the filters
//     of Endpoint.Subscriptions name are packed last.
//
// Messages in SNS's JSON envelope, which a subscription without raw delivery
// gets, are unwrapped.
//
// A body that does not have the MD5 that the queue says was damaged on its way.
// The message in the queue is intact, and is what counts: the damaged one is
// never delivered, but returned, at once at first and then with a backoff.
//
// A received message that does not keep to this form is undecodable. It goes
// back to the queue, and so to the dead-letter queue by the queue's redrive
// policy, unless SubscriberConfig.DeliverUndecodable has it delivered as it
// arrived. One whose form only a later release knows is [ErrNewer] as well:
// another receiver may be able to read it.
//
// # Large payloads
//
// With PublisherConfig.Payloads, the payload of a message that is too large goes
// to a [PayloadStore], and the message carries its SHA-256 and size. A subscriber
// with SubscriberConfig.Payloads fetches it, no more than the message says and
// MaxPayload allows, compares it, and delivers the message whole. Filters of a
// topic on the body see the reference. Packages queue/redispayload and
// queue/s3payload are stores.
//
// The store keeps a payload for the endpoint's Retention and then, in the
// dead-letter queue, DeadLetterRetention, or for 28 days from when it was
// published to a topic, or to a URL that is no endpoint's. Retentions that the queues
// have beyond their endpoints' are to be configured. It is not deleted before: a topic's queues share it, and a
// message can come twice. A message that package pipeline moves to a dead-letter
// queue is published anew, with its payload; one that SQS moves, or that a redrive
// sends back, carries the reference that it had, for which package dlq has the
// store keep the payload on ([RawMessage.KeepPayload]) if it is told of the store. When a payload is gone
// ([ErrPayloadGone]) or another, the message is undecodable, but for its metadata; when the store cannot
// be reached, it goes back to its queue. Neither loses it.
//
// # Failures
//
// A [Failure] in a message's metadata says why it is in a dead-letter queue.
// Package pipeline writes it when it moves a message there, and package dlq
// reads it. [Failure.Attach] cuts it so that the message still fits. The record
// takes one of the ten attributes, so the move may have to pack others;
// [RawMessage.Restored] is the message as it was before.
//
// # Breakers
//
// While something that the handlers need is down, every message that is received
// spends a receive on a handler that must fail. A [Breaker] stops receiving
// instead:
//
//	breaker := queue.NewBreaker(queue.BreakerConfig{})
//	...
//	BreakerFor: func(e queue.Endpoint) *queue.Breaker { return breaker }, // of the SubscriberConfig
//	...
//	fares, err := provider.Quote(ctx, trip)
//	breaker.Report(err) // in the handler; or breaker.Middleware around it
//
// Five failures in a row open it. After a cooldown one message is received and
// tries; when it works, receiving goes on.
//
// # Traces
//
// With a Tracer, publisher and subscriber tell of each message and request, and
// messages carry their trace. Package queue/otelqueue has one for OpenTelemetry.
// [Delivery.Trace] is the header of X-Ray's that a message came with; it stays
// with the message in a redrive and in a long delay.
//
// # Requests
//
// Under backlog a message costs 0.31 requests a hop: a tenth of a receive, of a
// send and of a delete. [Stats] counts them. An idle subscription costs one
// receive in 20 s, which is 4,320 a day, for each of its MinPollers, of which there
// is one by default, and whatever its Pollers.
//
// Pollers join while receives come back full, up to Endpoint.Pollers, and leave,
// but for MinPollers, when the backlog is gone. When SQS throttles, their number is halved once a
// second down to one, which then also pauses between receives; without throttling
// one comes back every 5 s.
package queue
