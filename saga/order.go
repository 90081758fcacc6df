package saga

import (
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
)

// The metadata that package queue takes the message group and the deduplication id
// of a FIFO endpoint from. On others they have no effect there.
const (
	keyOrder         = "Waybill-Order"
	keyDeduplication = "Waybill-Deduplication"
)

// newMessage returns a message that keeps its place among those of its group on a
// FIFO endpoint.
//
// Such an endpoint drops what it has had within five minutes, whatever became of
// that. So it knows a message by its id and what is in it: a letter that is sent
// again, because nobody knows whether it went out, is the same; an attempt that is
// dispatched anew, under the same id, after a store has forgotten the first, has
// another commit in it, and must not be dropped.
func newMessage(id, group string, body []byte) *message.Message {
	msg := message.NewMessage(id, body)
	msg.Metadata.Set(keyOrder, fifoText(group))
	msg.Metadata.Set(keyDeduplication, digest([]byte(id+"\x00"+string(body))))
	return msg
}

// groupOf names the group of what is about one frame of an execution: a step and
// its undo, and the steps of its branch, keep their order. Branches do not wait
// for each other.
func groupOf(execution, frame string) string {
	if frame == "" {
		return execution
	}
	return execution + "/" + frame
}

// fifoText is a text as SQS takes it for a group: itself, or a digest of it.
func fifoText(text string) string {
	const most = 128
	if text == "" || len(text) > most || strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' }) {
		return digest([]byte(text))
	}
	return text
}

// MessageGroup has the commands of a [Remote] step ordered with others, where its
// endpoint is a FIFO queue or topic: those of one group are handled one after the
// other, whichever executions they are of. A command that keeps failing holds its
// group. of is given the state that the command is made of; for an undo that is a
// later one, so what it returns should not change. Defaults to the execution, and
// in a branch to the branch; so does an empty text.
func (s *Step[T]) MessageGroup(of func(state *T) string) *Step[T] {
	s.fault(s.state.Remote == "", "MessageGroup belongs to a Remote")
	s.fault(of == nil, "its MessageGroup is nil")
	if of != nil {
		s.state.group = func(data []byte) (string, error) {
			v, err := decodeInto[T](data)
			if err != nil {
				return "", err
			}
			return of(v), nil
		}
	}
	return s
}
