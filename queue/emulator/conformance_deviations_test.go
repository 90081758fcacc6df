package emulator_test

const (
	noMoves        = "has no move tasks, and answers with an internal error"
	noConfirmation = "asks no endpoint of http for a confirmation"
)

// plainDeviations are the deviations from all rules but those of FIFO and fair queues.
var plainDeviations = map[string]map[peer]deviation{
	"queues/names": {
		elasticMQ: {"refuses a bad name as InvalidAttributeName", "refused with InvalidAttributeName"},
	},
	"queues/recreate": {
		localStack: {"makes the queue at once; SQS_DELAY_RECENTLY_DELETED turns the wait on (LocalStack documentation, SQS configuration)", "accepted, want QueueDeletedRecently"},
		elasticMQ:  {"makes the queue at once", "accepted, want QueueDeletedRecently"},
		moto:       {"makes the queue at once", "accepted, want QueueDeletedRecently"},
	},
	"queues/list-pages": {
		elasticMQ: {"ignores MaxResults", "a page has 3 queues"},
		moto:      {"ignores MaxResults", "a page has 3 queues"},
	},
	"queues/purge-twice": {
		elasticMQ: {"purges again", "accepted, want PurgeQueueInProgress"},
		moto:      {"purges again", "accepted, want PurgeQueueInProgress"},
	},

	"attributes/DelaySeconds": {
		localStack: {"does not check the bounds", "SetQueueAttributes to -1: accepted"},
		elasticMQ:  {"checks the bounds on creation at most", "SetQueueAttributes to -1: accepted"},
		moto:       {"does not check the bounds", "SetQueueAttributes to -1: accepted"},
	},
	"attributes/ReceiveMessageWaitTimeSeconds": {
		localStack: {"does not check the bounds", "SetQueueAttributes to -1: accepted"},
		elasticMQ:  {"checks the bounds on creation at most", "SetQueueAttributes to -1: accepted"},
		moto:       {"does not check the bounds", "SetQueueAttributes to -1: accepted"},
	},
	"attributes/VisibilityTimeout": {
		localStack: {"does not check the bounds", "SetQueueAttributes to -1: accepted"},
		elasticMQ:  {"checks the bounds on creation at most", "SetQueueAttributes to -1: accepted"},
		moto:       {"does not check the bounds", "SetQueueAttributes to -1: accepted"},
	},
	"attributes/MaximumMessageSize": {
		localStack: {"does not check the bounds", "SetQueueAttributes to 1023: accepted"},
		elasticMQ:  {"does not have the attribute", "the default is , want 1048576"},
		moto:       {"does not check the bounds", "SetQueueAttributes to 1023: accepted"},
	},
	"attributes/MessageRetentionPeriod": {
		localStack: {"does not check the bounds", "SetQueueAttributes to 59: accepted"},
		elasticMQ:  {"does not have the attribute", "the default is , want 345600"},
		moto:       {"does not check the bounds", "SetQueueAttributes to 59: accepted"},
	},
	"attributes/all": {
		elasticMQ: {"lacks the attributes that it does not act on", "MaximumMessageSize is missing"},
	},
	"attributes/arn": {
		elasticMQ: {"has one region of its own, elasticmq, by default", "the ARN is arn:aws:sqs:elasticmq:"},
	},
	"attributes/unknown": {
		elasticMQ: {"takes unknown attributes on creation", "CreateQueue: accepted"},
		moto:      {"takes unknown attributes", "SetQueueAttributes: accepted"},
	},
	"attributes/unknown-to-get": {
		elasticMQ: {"leaves unknown attributes out", "the status is 200"},
	},
	"attributes/read-only": {
		moto: {"answers with an internal error", "the count: refused with no API error"},
	},
	"attributes/all-or-none": {
		localStack: {"does not check the bounds", "a VisibilityTimeout out of bounds: accepted"},
		elasticMQ:  {"does not check the bounds", "a VisibilityTimeout out of bounds: accepted"},
		moto:       {"does not check the bounds", "a VisibilityTimeout out of bounds: accepted"},
	},
	"attributes/policy": {
		elasticMQ: {"does not keep a policy", "the policy is , want"},
		moto:      {"formats the policy anew", `the policy is {"Version": "2012-10-17", `},
	},

	"messages/characters-refused": {
		elasticMQ: {"refuses them as InvalidAttributeValue", "refused with InvalidAttributeValue"},
		moto:      {"takes all characters", "accepted, want InvalidMessageContents"},
	},
	"messages/empty": {
		moto: {"takes an empty body", "an empty body was accepted"},
	},
	"messages/size": {
		elasticMQ: {"refuses it as InvalidAttributeValue", "refused with InvalidAttributeValue"},
	},
	"messages/queue-size": {
		elasticMQ: {"does not have MaximumMessageSize", "a body over MaximumMessageSize: accepted"},
		moto:      {"counts the body alone", "body and attribute over MaximumMessageSize: accepted"},
	},
	"messages/attributes-ten": {
		localStack: {"takes any number", "eleven attributes: accepted"},
		elasticMQ:  {"refuses them as InvalidAttributeValue", "refused with InvalidAttributeValue"},
		moto:       {"takes any number", "eleven attributes: accepted"},
	},
	"messages/attribute-names": {
		localStack: {"takes two periods in a row", "the name a..b: accepted"},
		elasticMQ:  {"takes any name", "the name .a: accepted"},
		moto:       {"takes any name", "the name .a: accepted"},
	},
	"messages/attribute-values": {
		localStack: {"takes an empty Binary", "an empty Binary: accepted"},
		elasticMQ:  {"refuses an empty value as InvalidAttributeValue", "refused with InvalidAttributeValue"},
		moto:       {"takes an empty String", "an empty String: accepted"},
	},
	"messages/attribute-characters": {
		elasticMQ: {"refuses them as InvalidAttributeValue", "InvalidAttributeValue"},
		moto:      {"takes all characters", "a control character: <nil>"},
	},
	"messages/attribute-numbers": {
		localStack: {"takes any text", "the Number x: accepted"},
		elasticMQ:  {"refuses other text as InvalidAttributeValue", "refused with InvalidAttributeValue"},
		moto:       {"takes any text", "the Number x: accepted"},
	},
	"messages/trace": {
		localStack: {"takes other system attributes", "another system attribute: accepted"},
		elasticMQ:  {"takes other system attributes", "another system attribute: accepted"},
		moto:       {"takes other system attributes", "another system attribute: accepted"},
	},
	"messages/delay-bounds": {
		localStack: {"does not check the bounds", "DelaySeconds -1: accepted"},
		moto:       {"does not check the bounds", "DelaySeconds -1: accepted"},
	},
	"messages/deduplication": {
		moto: {"takes it on standard queues too", "MessageDeduplicationId: accepted"},
	},

	"receive/bounds": {
		localStack: {"takes what is below", "MaxNumberOfMessages -1: accepted"},
		elasticMQ:  {"refuses it as InvalidAttributeValue", "refused with InvalidAttributeValue"},
		moto:       {"does not check VisibilityTimeout", "VisibilityTimeout -1: accepted"},
	},
	"receive/zero": {
		localStack: {"takes 0 for 1", "is 200, want 400"},
	},
	"receive/attributes-chosen": {
		elasticMQ: {"takes names alone, and no prefix", `for ["a.*"] is 0, want 2`},
	},
	"receive/delete": {
		elasticMQ: {"refuses a second deletion as ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"},
	},
	"receive/delete-stale": {
		localStack: {"deletes by any receipt handle of the message", "nothing came"},
		elasticMQ:  {"refuses an older receipt handle as ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"},
		moto:       {"deletes by any receipt handle of the message", "nothing came"},
	},

	"visibility/bounds": {
		localStack: {"does not check the bounds", "VisibilityTimeout -1: accepted"},
		elasticMQ:  {"does not check the bounds", "VisibilityTimeout -1: accepted"},
		moto:       {"does not check the bounds", "VisibilityTimeout -1: accepted"},
	},
	"visibility/not-in-flight": {
		localStack: {"hides the visible message", "a visible message: accepted"},
		elasticMQ:  {"hides the visible message", "a visible message: accepted"},
		moto:       {"hides the visible message", "a visible message: accepted"},
	},
	"visibility/deleted": {
		elasticMQ: {"answers ReceiptHandleIsInvalid", "refused with ReceiptHandleIsInvalid"},
		moto:      {"answers ReceiptHandleIsInvalid", "refused with ReceiptHandleIsInvalid"},
	},

	"redrive/source": {
		moto: {"leaves DeadLetterQueueSourceArn out", "DeadLetterQueueSourceArn is , want"},
	},
	"redrive/checked": {
		localStack: {"answers with an internal error to what is no JSON, and takes a queue that is not there", "nonsense: refused with InternalError"},
		elasticMQ:  {"answers with an internal error to a count that is no number", "refused with no API error"},
		moto:       {"does not check the count", `"maxReceiveCount":0}: accepted`},
	},
	"redrive/removed": {
		elasticMQ: {"refuses an empty policy", "The attribute value for RedrivePolicy is inva"},
	},
	"redrive/allow": {
		localStack: {"does not act on RedriveAllowPolicy", "denyAll: accepted"},
		elasticMQ:  {"does not have RedriveAllowPolicy", "denyAll: accepted"},
		moto:       {"does not act on RedriveAllowPolicy", "denyAll: accepted"},
	},

	"moves/home": {
		elasticMQ: {"moves all messages to one of the queues", "nothing came"},
		moto:      {noMoves, "StatusCode: 500"},
	},
	"moves/destination": {
		moto: {noMoves, "StatusCode: 500"},
	},
	"moves/anew": {
		localStack: {"moves the message as it is, with its id, its count and its time", "ApproximateReceiveCount is 3"},
		elasticMQ:  {"keeps the message's id", "has its old id"},
		moto:       {noMoves, "StatusCode: 500"},
	},
	"moves/unknown-source": {
		localStack: {"fails the task, by an error of its own", "the reason is AttributeError"},
		elasticMQ:  {"moves it to one of the queues", "the status is COMPLETED"},
		moto:       {noMoves, "StatusCode: 500"},
	},
	"moves/source": {
		elasticMQ: {"answers 503 after 20 s where the source is no dead-letter queue", "a queue that is no dead-letter queue: refused with no API error"},
		moto:      {noMoves, "StatusCode: 500"},
	},
	"moves/bounds": {
		localStack: {"does not check the bounds", "a rate of -1: accepted"},
		elasticMQ:  {"does not check the bounds", "a rate of -1: accepted"},
		moto:       {noMoves, "StatusCode: 500"},
	},
	"moves/rate": {
		moto: {noMoves, "StatusCode: 500"},
	},
	"moves/one": {
		localStack: {"takes the cancellation of a task that is over", "cancelling it again: accepted"},
		elasticMQ:  {"refuses a second task as UnsupportedOperation", "a second task: refused with UnsupportedOperation"},
		moto:       {noMoves, "StatusCode: 500"},
	},
	"moves/listed": {
		elasticMQ: {"does not end a task whose messages come back", "has not ended"},
		moto:      {noMoves, "StatusCode: 500"},
	},

	"permissions/added": {
		elasticMQ: {"takes the request and keeps nothing", "the number of statements is 0"},
	},
	"permissions/kept": {
		elasticMQ: {"takes the request and keeps nothing", "the number of statements is 0"},
	},
	"permissions/labels": {
		elasticMQ: {"takes the request and keeps nothing", "the same label: accepted"},
	},
	"permissions/actions": {
		localStack: {"lets others create queues", "CreateQueue: accepted"},
		elasticMQ:  {"takes the request and keeps nothing", "CreateQueue: accepted"},
	},

	"batch/empty": {
		elasticMQ: {"takes an empty batch", "the answer is 200"},
	},
	"batch/ids": {
		localStack: {"takes letters of any alphabet", `the id "ä": accepted`},
		elasticMQ:  {"takes any id", `the id "": accepted`},
		moto:       {"takes letters of any alphabet", `the id "ä": accepted`},
	},
	"batch/size": {
		elasticMQ: {"refuses it as InvalidAttributeValue", "refused with InvalidAttributeValue"},
	},
	"batch/partial-characters": {
		localStack: {"does not blame the sender", "SenderFault is false"},
		elasticMQ:  {"calls it InvalidAttributeValue", "code is InvalidAttributeValue"},
		moto:       {"takes all characters", "the number of successful entries is 3"},
	},
	"batch/partial-size": {
		elasticMQ: {"does not have MaximumMessageSize", "the number of successful entries is 2"},
		moto:      {"refuses the whole batch", "InvalidParameterValue"},
	},
	"batch/partial-delay": {
		localStack: {"does not check the bounds", "the number of successful entries is 2"},
		moto:       {"fails the entry in an answer whose SenderFault is no boolean", "expected bool"},
	},
	"batch/delete": {
		localStack: {"does not blame the sender", "SenderFault is false"},
	},
	"batch/visibility": {
		localStack: {"does not blame the sender", "SenderFault is false"},
	},
	"batch/receive-and-delete-rules": {
		moto: {"looks at the receipt handles first: the same one twice is BatchEntryIdsNotDistinct", "refused with BatchEntryIdsNotDistinct"},
	},

	"wire/error": {
		localStack: {"calls the answer application/json", "Content-Type is application/json"},
		elasticMQ:  {"calls the answer application/json", "Content-Type is application/json"},
	},
	"wire/query-error": {
		elasticMQ: {"repeats the shape, without a fault", "x-amzn-query-error is com.amazonaws.sqs#QueueDoesNotExist"},
	},
	"wire/request-id": {
		elasticMQ: {"sends no id", "has no x-amzn-RequestId"},
	},
	"wire/unknown-operation": {
		localStack: {"answers with an internal error", "the answer is 500"},
		moto:       {"answers with an internal error", "the answer is 500"},
	},
	"wire/malformed": {
		localStack: {"answers with an internal error", "is 500"},
		elasticMQ:  {"answers with an internal error to another type", "is 500"},
		moto:       {"answers with an internal error to what is no object", "is 500"},
	},
	"wire/missing-parameter": {
		elasticMQ: {"answers with an internal error", "the answer is 500"},
	},

	"topics/delete": {
		localStack: {"keeps the subscriptions", "GetSubscriptionAttributes: accepted"},
	},
	"topics/attributes": {
		localStack: {"does not count subscriptions", "SubscriptionsConfirmed is 0"},
		moto:       {"does not count subscriptions", "SubscriptionsConfirmed is 0"},
	},
	"topics/unknown-operation": {
		localStack: {"answers with an internal error", "the answer is 500"},
		moto:       {"answers with an internal error", "the answer is 500"},
	},

	"subscriptions/otherwise": {
		moto: {"returns the subscription as it was", "other attributes: accepted"},
	},
	"subscriptions/protocol": {
		moto: {"takes any protocol", "the protocol pigeon: accepted"},
	},
	"subscriptions/set": {
		moto: {"takes any value", "RawMessageDelivery maybe: accepted"},
	},

	"delivery/envelope": {
		moto: {"signs by version 2 from the start", "SignatureVersion is 2"},
	},
	"delivery/raw": {
		moto: {"answers the receive of a Binary attribute with an internal error", "StatusCode: 500"},
	},
	"delivery/raw-eleven": {
		localStack: {"delivers any number of attributes", "received eleven"},
		moto:       {"delivers any number of attributes", "received eleven"},
	},
	"delivery/raw-eleven-dead": {
		localStack: {"delivers any number of attributes", "nothing came"},
		moto:       {"delivers any number of attributes", "nothing came"},
	},
	"delivery/gone-dead": {
		moto: {"fails the Publish", "NonExistentQueue"},
	},
	"delivery/policy": {
		localStack: {"delivers whatever the policy says", "without a policy, want none"},
		moto:       {"delivers whatever the policy says", "without a policy, want none"},
	},
	"delivery/policy-dead": {
		localStack: {"delivers whatever the policy says", "nothing came"},
		moto:       {"delivers whatever the policy says", "nothing came"},
	},
	"delivery/structure": {
		moto: {"does not want a default", `{"sqs":"q"}: accepted`},
	},
	"delivery/empty": {
		moto: {"takes an empty message", "an empty message: accepted"},
	},
	"delivery/size": {
		moto: {"counts the message alone", "message and attribute over 256 KiB: accepted"},
	},
	"delivery/subject": {
		localStack: {"takes any subject", "accepted, want InvalidParameter"},
		moto:       {"takes line breaks", `the subject "a\nb": accepted`},
	},
	"delivery/attributes": {
		localStack: {"takes any text as a Number", `a Number of "x": <nil>`},
	},
	"delivery/batch-refused": {
		localStack: {"answers with an internal error to an empty batch", "refused with InternalError"},
		moto:       {"takes an empty batch and any id", "no entries: accepted"},
	},
	"delivery/batch-size": {
		moto: {"does not check the size", "a batch over 256 KiB: accepted"},
	},
	"delivery/batch-partial": {
		localStack: {"takes an empty message", "2 entries succeeded"},
		moto:       {"takes an empty message", "2 entries succeeded"},
	},

	"filters/anything-but": {
		moto: {"wants all elements of a String.Array to be other values", "did not pass"},
	},
	"filters/ignore-case": {
		moto: {"lowers the case of one side only", "did not pass"},
	},
	"filters/cidr": {
		moto: {"does not have cidr", "Unrecognized match type cidr"},
	},
	"filters/numeric": {
		localStack: {"takes a String for a number", `received "stop 2"`},
	},
	"filters/number": {
		localStack: {"compares the number with the text", "did not pass"},
	},
	"filters/binary": {
		localStack: {"takes a Binary attribute for present", "did not pass"},
		moto:       {"takes a Binary attribute for present", "did not pass"},
	},
	"filters/body-numeric": {
		localStack: {"takes a string for a number", `what passed is {"a":"50"}`},
		moto:       {"answers the Publish of a string with an internal error", "StatusCode: 500"},
	},
	"filters/body-null": {
		moto: {"takes null for absent", "what passed is , want"},
	},
	"filters/body-array": {
		localStack: {"combines fields of different elements", `{"a":[{"b":"x"},{"c":"y"}]}`},
		moto:       {"combines fields of different elements", `{"a":[{"b":"x"},{"c":"y"}]}`},
	},
	"filters/scope": {
		moto: {"takes any scope", "the scope Subject: accepted"},
	},
	"filters/checked": {
		localStack: {"takes an array", "[]: accepted"},
		moto:       {"answers with an internal error to what is no JSON", "nonsense: refused with no API error"},
	},

	"http/confirmation": {
		moto: {noConfirmation, "nothing was delivered"},
	},
	"http/token": {
		moto: {noConfirmation, "nothing was delivered"},
	},
	"http/notification": {
		moto: {noConfirmation, "nothing was delivered"},
	},
	"http/raw": {
		moto: {noConfirmation, "nothing was delivered"},
	},
	"http/refused": {
		moto: {noConfirmation, "nothing was delivered"},
	},
	"http/retried": {
		localStack: {"tries once", "nothing was delivered"},
		moto:       {noConfirmation, "nothing was delivered"},
	},

	"fifo-topics/attributes": {
		localStack: {"takes it for a standard topic, too", "of a standard topic: accepted"},
		moto:       {"takes it for a standard topic, too", "of a standard topic: accepted"},
	},
	"fifo-topics/required": {
		moto: {"answers MissingParameter", "no group: refused with MissingParameter"},
	},
	"fifo-topics/numbers": {
		moto: {"has no numbers", "the numbers are"},
	},
	"fifo-topics/deduplication": {
		localStack: {"answers with a new id and number", "the message id is"},
		moto:       {"answers with a new id", "the message id is"},
	},
	"fifo-topics/by-content": {
		moto: {"leaves the id to the queue's own ContentBasedDeduplication", "Publish: operation error"},
	},
	"fifo-topics/scope": {
		moto: {"has one scope", "2 messages came, want 3"},
	},
	"fifo-topics/queues": {
		localStack: {"takes subscriptions by http", "the protocol http: accepted"},
		moto:       {"takes subscriptions by http", "the protocol http: accepted"},
	},
}
