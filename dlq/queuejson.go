package dlq

import (
	"encoding/json"
	"time"
)

// plainQueue is a Queue without its methods.
type plainQueue Queue

// A jsonQueue is a Queue as JSON has it: durations are in seconds.
type jsonQueue struct {
	plainQueue
	RetentionSeconds float64 `json:"retention_seconds"`
}

// MarshalJSON encodes the queue with its retention in seconds.
func (q Queue) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonQueue{plainQueue(q), q.Retention.Seconds()})
}

// UnmarshalJSON decodes what MarshalJSON encodes.
func (q *Queue) UnmarshalJSON(data []byte) error {
	var j jsonQueue
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*q = Queue(j.plainQueue)
	q.Retention = time.Duration(j.RetentionSeconds * float64(time.Second))
	return nil
}
