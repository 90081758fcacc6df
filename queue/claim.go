package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// A PayloadStore keeps payloads that are too large for a queue: a message then
// carries a reference, and the subscriber fetches the payload (the claim check
// pattern). Packages queue/redispayload and queue/s3payload have one each. It is
// safe for concurrent use.
//
// The key of a payload is the SHA-256 of its bytes in hexadecimal: what is under
// a key never changes, and the same payload is stored once.
//
// Nobody deletes a payload. Who might need it cannot be known: a topic has
// copies of a message in many queues, SQS delivers some twice, and dead letters
// wait for weeks. So it goes when the time for which it was put is over.
type PayloadStore interface {
	// Put stores a payload for at least the time keep from now on. One that is
	// there is kept on, and never for less than it was to be. What cannot be
	// stored until somebody mends the store, or what the program says of it, is
	// an [ErrConfiguration].
	Put(ctx context.Context, key string, payload []byte, keep time.Duration) error

	// Get returns a payload of at most limit bytes; it reads no more from the
	// store than shows that there are more, which is an [ErrTooLarge]. A key
	// that is not there is an [ErrPayloadGone].
	Get(ctx context.Context, key string, limit int) ([]byte, error)
}

// DefaultMaxPayload is the default of SubscriberConfig.MaxPayload.
const DefaultMaxPayload = 64 << 20

// payloadTimeout bounds one call of a PayloadStore.
const payloadTimeout = time.Minute

// claimVersion is the version of a claim that this package writes.
const claimVersion = 1

// leastClaimed is the size of payloads that stay in their message: a claim takes as
// much. A claim is none of a claim.
const leastClaimed = 128

// A claim is the body of a message whose payload is in a store.
type claim struct {
	Version int    `json:"v"`
	SHA256  string `json:"sha256"`
	Size    int    `json:"size"`
}

func newClaim(payload []byte) claim {
	sum := sha256.Sum256(payload)
	return claim{claimVersion, hex.EncodeToString(sum[:]), len(payload)}
}

// parseClaim reads a body that is marked as a claim.
func parseClaim(body string) (claim, error) {
	var c claim
	// The version comes first: a later one may have other fields.
	var format struct {
		Version int `json:"v"`
	}
	err := json.Unmarshal([]byte(body), &format)
	if format.Version > claimVersion {
		return c, fmt.Errorf("%w: the version of the reference is %d, and this program reads %d", ErrNewer, format.Version, claimVersion)
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &c)
	}
	if err != nil {
		return c, fmt.Errorf("%s is %q, but the body is no reference: %w", AttrEncoding, encodingClaim, err)
	}
	sum, err := hex.DecodeString(c.SHA256)
	if err != nil || len(sum) != sha256.Size || c.SHA256 != hex.EncodeToString(sum) || c.Size <= 0 || c.Version != claimVersion {
		return c, fmt.Errorf(`%s is %q, but the body is no reference; want {"v":%d,"sha256":HEX,"size":BYTES}`, AttrEncoding, encodingClaim, claimVersion)
	}
	return c, nil
}

// encodeClaim brings a message into its wire form with a claim for its payload.
func encodeClaim(msg *message.Message, c claim, pinned []string, carrier map[string]string) (wireMessage, error) {
	body, err := marshalJSON(c)
	if err != nil {
		return wireMessage{}, err
	}
	return encodeWith(msg, pinned, carrier, func(w *wireMessage) {
		w.body = body
		w.attributes.add(AttrEncoding, attribute{typeString, encodingClaim})
	})
}

// encode brings a message into its wire form, with what a tracer has it carry. The
// payload of one that would be too large goes to the store, if there is one.
func (o *outlet) encode(msg *message.Message, delay time.Duration, carrier map[string]string) (wireMessage, error) {
	w, err := encodeCarrying(msg, o.pinned, carrier)
	if o.payloads == nil || err != nil || w.size() <= o.claimAbove || len(msg.Payload) <= leastClaimed {
		return w, err
	}
	return o.check(msg, delay, carrier)
}

// check puts a payload into the store, and encodes the message with a claim. It is
// apart because of what its variables take of the stack.
func (o *outlet) check(msg *message.Message, delay time.Duration, carrier map[string]string) (w wireMessage, err error) {
	c := newClaim(msg.Payload)
	ctx, cancel := context.WithTimeout(msg.Context(), payloadTimeout)
	defer cancel()
	if err := o.put(ctx, c, msg.Payload, delay); err != nil {
		if errors.Is(err, ErrConfiguration) {
			return w, fmt.Errorf("its payload of %d bytes cannot be stored: %w", c.Size, err)
		}
		return w, fmt.Errorf("%w: its payload of %d bytes cannot be stored: %w", ErrUnavailable, c.Size, err)
	}
	return encodeClaim(msg, c, o.pinned, carrier)
}

// put puts a payload into the store. That the store panics fails this message, and
// not those that are published with it.
func (o *outlet) put(ctx context.Context, c claim, payload []byte, delay time.Duration) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return o.payloads.Put(ctx, c.SHA256, payload, delay+o.keep)
}

// keepPayload returns for how long a payload must be there for messages to the
// endpoint: until they have spent their retention in the queue, and then that of
// the dead-letter queue, which can begin anew. Behind a dead-letter queue of the
// endpoints comes none. Of what subscribes to a topic, and of a queue that has no
// endpoint but its URL, nothing is known but SQS's limit. A delay comes before that.
func keepPayload(e Endpoint, endpoints *Endpoints) time.Duration {
	switch {
	case e.IsTopic() || e.Retention == 0:
		return 2 * maxRetention
	case e.DeadLetter == "" && endpoints.deadLetterRetention(e) != 0:
		return e.Retention
	case e.Name == e.URL:
		return 2 * maxRetention
	}
	return e.Retention + max(e.DeadLetterRetention, e.Retention)
}

// KeepPayload returns for how long a [Publisher] with the endpoints asks its
// [PayloadStore] to keep the payloads of messages to the endpoint of a name, or to
// an URL, beyond the delay of the message: its retention, and that of its
// dead-letter queue, or SQS's limits where they are not known.
func (s *Endpoints) KeepPayload(name string) (time.Duration, error) {
	e, err := s.Resolve(name)
	if err != nil {
		return 0, err
	}
	return keepPayload(e, s), nil
}

// KeepPayload has the store keep the payload that the message refers to for as
// long as if the message were published to the queue now: who sends a dead letter
// back gives it more time than its payload has. It reads the payload and puts it
// again. A message that has its payload itself is left alone. An error says that
// the message would come without its payload, and matches [ErrPayloadGone] if that
// is gone.
func (m RawMessage) KeepPayload(ctx context.Context, store PayloadStore, q *Queue) error {
	_, err := m.Decode()
	var e *claimedError
	if !errors.As(err, &e) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*payloadTimeout)
	defer cancel()
	payload, err := store.Get(ctx, e.SHA256, e.Size)
	switch {
	case err != nil:
		return fmt.Errorf("queue: payload %s of %d bytes: %w", e.SHA256, e.Size, err)
	case newClaim(payload) != e.claim:
		return fmt.Errorf("queue: %w: the store has another payload under %s than the message's, of %d bytes", ErrUndecodable, e.SHA256, e.Size)
	}
	if err := store.Put(ctx, e.SHA256, payload, keepPayload(q.Endpoint, nil)); err != nil {
		return fmt.Errorf("queue: payload %s of %d bytes: %w", e.SHA256, e.Size, err)
	}
	return nil
}

// A claimedError is why a message has not the payload that it stands for.
type claimedError struct{ claim }

func (e *claimedError) Error() string {
	return fmt.Sprintf("the payload of %d bytes is not in the message, but in a store, under %s", e.Size, e.SHA256)
}

// isClaim reports whether all that is missing of a message is its payload.
func isClaim(err error) bool {
	if err == nil {
		return false // e would be allocated
	}
	var e *claimedError
	return errors.As(err, &e)
}

// fetchAll fetches the payloads of the messages that refer to one and are due, until
// ctx ends.
func (s *subscription) fetchAll(ctx context.Context, all []*held, received []sqstypes.Message) {
	var fetching sync.WaitGroup
	for i, h := range all {
		if h.damage != nil || !h.unfetched() || s.early(h) != 0 {
			continue
		}
		var e *claimedError
		errors.As(h.delivery.Undecodable, &e)
		fetching.Go(func() {
			fetch, cancel := context.WithTimeout(h.ctx, payloadTimeout)
			defer cancel()
			defer context.AfterFunc(ctx, cancel)()
			defer func() {
				if r := recover(); r != nil {
					h.damage = fmt.Errorf("payload %s: panic: %v\n%s", e.SHA256, r, debug.Stack())
				}
			}()
			s.fetch(fetch, h, received[i], e.claim)
		})
	}
	fetching.Wait()
}

// fetch gives a message its payload. Where another try may mend what is wrong,
// the message counts as damaged, and otherwise as undecodable.
func (s *subscription) fetch(ctx context.Context, h *held, received sqstypes.Message, c claim) {
	payload, err := s.payload(ctx, c)
	switch {
	case errors.Is(err, ErrUndecodable):
		h.delivery.Undecodable = err
	case err != nil:
		h.damage = err
	default:
		whole := readMessage(received, h.delivery, payload)
		h.message.Payload, h.message.Metadata = whole.Payload, whole.Metadata
	}
}

func (s *subscription) payload(ctx context.Context, c claim) ([]byte, error) {
	switch {
	case s.config.Payloads == nil:
		return nil, fmt.Errorf("its payload of %d bytes is in a store; set SubscriberConfig.Payloads to the one of its publisher", c.Size)
	case c.Size > s.config.MaxPayload:
		return nil, fmt.Errorf("%w: its payload has %d bytes, and SubscriberConfig.MaxPayload is %d", ErrTooLarge, c.Size, s.config.MaxPayload)
	}
	payload, err := s.config.Payloads.Get(ctx, c.SHA256, c.Size)
	switch {
	case errors.Is(err, ErrPayloadGone):
		return nil, fmt.Errorf("%w: payload %s of %d bytes: %w", ErrUndecodable, c.SHA256, c.Size, err)
	case err != nil && !errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("payload %s: %w", c.SHA256, err)
	case err != nil || newClaim(payload) != c:
		return nil, fmt.Errorf("%w: the store has another payload under %s than the message's, of %d bytes", ErrUndecodable, c.SHA256, c.Size)
	}
	return payload, nil
}
