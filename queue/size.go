package queue

import "github.com/ThreeDotsLabs/watermill/message"

// Size returns how many bytes of the endpoint's MaxMessageSize the message
// takes, with its attributes. It returns the error that Publish would, if the
// message cannot be encoded.
func (e Endpoint) Size(msg *message.Message) (int, error) {
	w, err := encode(msg, pinnedKeys(e))
	if err != nil {
		return 0, err
	}
	return w.size(), nil
}
