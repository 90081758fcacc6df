package emulator

import "strings"

// sqsOperations is the API of SQS, all of it.
var sqsOperations = map[string]operation{
	"AddPermission":                op((*Server).addPermission),
	"CancelMessageMoveTask":        op((*Server).cancelMessageMoveTask),
	"ChangeMessageVisibility":      op((*Server).changeMessageVisibility),
	"ChangeMessageVisibilityBatch": op((*Server).changeMessageVisibilityBatch),
	"CreateQueue":                  op((*Server).createQueue),
	"DeleteMessage":                op((*Server).deleteMessage),
	"DeleteMessageBatch":           op((*Server).deleteMessageBatch),
	"DeleteQueue":                  op((*Server).deleteQueue),
	"GetQueueAttributes":           op((*Server).getQueueAttributes),
	"GetQueueUrl":                  op((*Server).getQueueURL),
	"ListDeadLetterSourceQueues":   op((*Server).listDeadLetterSourceQueues),
	"ListMessageMoveTasks":         op((*Server).listMessageMoveTasks),
	"ListQueues":                   op((*Server).listQueues),
	"ListQueueTags":                op((*Server).listQueueTags),
	"PurgeQueue":                   op((*Server).purgeQueue),
	"ReceiveMessage":               op((*Server).receiveMessage),
	"RemovePermission":             op((*Server).removePermission),
	"SendMessage":                  op((*Server).sendMessage),
	"SendMessageBatch":             op((*Server).sendMessageBatch),
	"SetQueueAttributes":           op((*Server).setQueueAttributes),
	"StartMessageMoveTask":         op((*Server).startMessageMoveTask),
	"TagQueue":                     op((*Server).tagQueue),
	"UntagQueue":                   op((*Server).untagQueue),
}

// queueKey names a queue. The account is always the server's.
type queueKey struct{ region, name string }

// queueRef is the part of an input that says which queue.
type queueRef struct {
	QueueUrl string
}

func (r *queueRef) resource() string {
	_, name := splitQueueURL(r.QueueUrl)
	return name
}

// splitQueueURL returns the account and name that end the path of a queue's URL, whatever its host.
func splitQueueURL(u string) (account, name string) {
	if _, rest, ok := strings.Cut(u, "://"); ok {
		u = rest
	}
	u = strings.TrimSuffix(u, "/")
	u, name, ok := cutLast(u, "/")
	if !ok {
		return "", ""
	}
	_, account, ok = cutLast(u, "/")
	if !ok {
		return "", ""
	}
	return account, name
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
