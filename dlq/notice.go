package dlq

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/queue"
)

// An AlarmKind is what an alarm of a [Watcher] is about.
type AlarmKind string

// The alarms.
const (
	// AlarmDepth: the queue holds too many messages.
	AlarmDepth AlarmKind = "depth"

	// AlarmGrowth: the queue grows too fast.
	AlarmGrowth AlarmKind = "growth"

	// AlarmUnreadable: the queue could not be read [UnreadableAfter] times in a row:
	// it is gone, the credentials may not read it, or the service does not answer.
	// It is cleared by the first reading. Other alarms about the queue stay as they
	// were. Without a queue, it is the list of queues that cannot be had.
	AlarmUnreadable AlarmKind = "unreadable"
)

// AlarmKinds are all kinds of alarms.
func AlarmKinds() []AlarmKind { return []AlarmKind{AlarmDepth, AlarmGrowth, AlarmUnreadable} }

// UnreadableAfter is how many times in a row a queue cannot be read before that is
// an alarm.
const UnreadableAfter = 3

// An AlarmEvent is what a [Notice] tells of an alarm.
type AlarmEvent string

// The events.
const (
	EventRaised  AlarmEvent = "raised"
	EventCleared AlarmEvent = "cleared"
	EventStill   AlarmEvent = "still" // raised, see WatchConfig.Remind
)

// A Notice is what a [Watcher] says of an alarm. As a message it is this as JSON,
// and its metadata are alarm, event and queue, which a subscription can choose by.
type Notice struct {
	// Version is 1.
	Version int `json:"v"`

	Event AlarmEvent `json:"event"`
	Alarm AlarmKind  `json:"alarm"`

	// Queue is the name of the dead-letter queue, URL what SQS knows it by, and
	// Sources are the queues whose dead letters it takes, as far as is known.
	Queue   string   `json:"queue"`
	URL     string   `json:"url,omitempty"`
	Sources []string `json:"sources,omitempty"`

	// Value is the reading that the notice is about: messages, or for
	// AlarmUnreadable how often in a row the queue could not be read. High and Low
	// are the bounds.
	Value int `json:"value"`
	High  int `json:"high"`
	Low   int `json:"low"`

	// Depth, InFlight and Growth are the queue's last reading, and
	// OldestSeconds the age of its oldest message, where that is known.
	Depth         int      `json:"depth"`
	InFlight      int      `json:"in_flight"`
	Growth        int      `json:"growth"`
	WindowSeconds float64  `json:"window_seconds"`
	OldestSeconds *float64 `json:"oldest_seconds,omitempty"`

	// Since is when the alarm was raised, At when the notice was made.
	Since time.Time `json:"since"`
	At    time.Time `json:"at"`

	// Error is why the queue cannot be read.
	Error string `json:"error,omitempty"`
}

// id is the same for the same notice.
func (n Notice) id() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{n.URL, n.Queue, string(n.Alarm), string(n.Event), n.At.UTC().Format(time.RFC3339Nano)}, "\n")))
	return "alarm-" + hex.EncodeToString(sum[:16])
}

// message makes the message of the notice, which is the same each time that it is
// published. On a FIFO endpoint, the notices of a queue are in order.
func (n Notice) message() (*message.Message, error) {
	body, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	msg := message.NewMessage(n.id(), body)
	msg.Metadata.Set("alarm", string(n.Alarm))
	msg.Metadata.Set("event", string(n.Event))
	if n.Queue != "" {
		msg.Metadata.Set("queue", n.Queue)
	}
	msg.Metadata.Set(queue.KeyOrder, "alarm/"+n.Queue)
	subject := "waybill: " + cmp.Or(n.Queue, "dead-letter queues") + ": " + string(n.Alarm) + " " + string(n.Event)
	msg.Metadata.Set(queue.KeySubject, subject[:min(len(subject), 100)])
	return msg, nil
}
