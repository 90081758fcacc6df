package queue

// Metadata keys that Waybill reserves. On SQS and SNS they are message
// attributes like all metadata, unless their comment says otherwise, and so
// any client in any language can set and read them. Keys that start with
// "Waybill-" are reserved for later versions as well.
const (
	// KeyCorrelation carries the correlation id: the same for all messages
	// that descend from one. It is the key of watermill's CorrelationID
	// middleware.
	KeyCorrelation = "correlation_id"

	// KeyCausation carries the UUID of the message that this one answers.
	KeyCausation = "Waybill-Causation"

	// KeyFailure carries the [Failure] of a dead letter, as JSON.
	KeyFailure = "Waybill-Failure"

	// KeyRedriveID carries the id of the redrive job that last sent the
	// message back from a dead-letter queue.
	KeyRedriveID = "Waybill-Redrive-Id"

	// KeyRedriveGeneration carries how many times the message was redriven,
	// as a decimal number. A message without it was never redriven.
	KeyRedriveGeneration = "Waybill-Redrive-Generation"

	// KeyDelay hides the message for a time after it was published: a Go
	// duration ("90s") of at most [MaxDelay], rounded up to whole seconds. It
	// becomes a parameter of the call and is not sent. Topics cannot delay,
	// and FIFO queues only as a whole. See [SetDelay].
	KeyDelay = "Waybill-Delay"

	// KeyDue is when a message is to be delivered that was delayed by more than
	// SQS's 15 minutes, as in 2006-01-02T15:04:05.999Z. A publisher sets it, and
	// a subscriber that receives the message before sends it to its queue
	// again. Delivered messages do not have it.
	KeyDue = "Waybill-Due"

	// KeyGroup is the message group id: the unit of order on a FIFO queue,
	// and of fairness between tenants on a standard one. It becomes a
	// parameter of the call, and is set again on a received message.
	KeyGroup = "Waybill-Group"

	// KeyOrder is the message group id of a message without [KeyGroup] on a FIFO
	// queue or topic. It has no effect on standard ones, where a group is a
	// tenant's, and so is for those who do not know which they send to. It becomes
	// a parameter of the call, and is not sent.
	KeyOrder = "Waybill-Order"

	// KeyDeduplication is the deduplication id on a FIFO queue or topic. It
	// defaults to the message's UUID, becomes a parameter of the call, and is
	// set again on a received message.
	KeyDeduplication = "Waybill-Deduplication"

	// KeySubject is the subject that SNS gives the e-mails of a topic. It is
	// a parameter of the call to SNS as well as metadata.
	KeySubject = "Waybill-Subject"

	// KeyTypes lists the metadata whose attribute has a type other than
	// String, as "fare=Number,photo=Binary". SNS compares numbers only with
	// attributes of type Number. It is itself not sent: a received message
	// gets it from the types of its attributes, so that a message which is
	// passed on keeps them. See [SetNumber].
	KeyTypes = "Waybill-Types"
)

// Attributes of the wire that are not metadata: a subscriber takes them off.
const (
	// AttrUUID carries the message's UUID. The name is watermill-aws's, so
	// that messages keep their UUID between it and this package.
	AttrUUID = "_watermill_message_uuid"

	// AttrEncoding says how the body is encoded: "base64", "empty" for a body
	// of no bytes, which SQS refuses, or "claim" for a reference to a payload
	// in a [PayloadStore]. Without it the body is as it is.
	AttrEncoding = "Waybill-Encoding"

	// AttrMetadata carries the metadata that cannot be attributes of their
	// own, as JSON: {"v":1,"s":{key:value},"b":{base64 key:base64 value}}.
	AttrMetadata = "Waybill-Metadata"
)

// Metadata keys of a message that could not be decoded. Its payload is the
// body as it arrived, and these are the attributes that could not be applied
// to it. A redrive gives them their names back. See [Delivery].
const (
	KeyRawEncoding = "Waybill-Raw-Encoding"
	KeyRawMetadata = "Waybill-Raw-Metadata"
)
