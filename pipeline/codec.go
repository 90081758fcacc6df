package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/waybill-dev/waybill/queue"
)

// A Codec turns the bodies of messages into values and back. It must be safe
// for concurrent use. Encryption and other formats go here.
type Codec interface {
	Marshal(v any) ([]byte, error)

	// Unmarshal decodes data into v, which is a pointer. Data that it refuses
	// is refused for good: the message goes to the dead-letter queue and is
	// not retried. An error with a method Permanent() bool that returns false
	// is retried instead, as when a key cannot be fetched.
	Unmarshal(data []byte, v any) error
}

// JSON is the default [Codec]: encoding/json.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// decode decodes a body.
func decode[T any](c Codec, data []byte) (T, error) {
	var v T
	err := c.Unmarshal(data, &v)
	if err == nil {
		return v, nil
	}
	var p interface{ Permanent() bool }
	if errors.As(err, &p) && !p.Permanent() {
		return v, fmt.Errorf("decode the body as %T: %w", v, err)
	}
	return v, fmt.Errorf("decode the body as %T: %w: %w", v, queue.ErrUndecodable, err)
}
