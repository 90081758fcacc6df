package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
)

// A Reason says why a message failed for good. Readers accept values that
// they do not know.
type Reason string

const (
	// ReasonPermanent: the handler said that to try again is useless.
	ReasonPermanent Reason = "permanent"

	// ReasonUndecodable: the message is not what its receiver can read.
	ReasonUndecodable Reason = "undecodable"

	// ReasonExhausted: the handler failed on the last receive that the queue
	// allows.
	ReasonExhausted Reason = "exhausted"

	// ReasonExpired: the message was too old to be of use.
	ReasonExpired Reason = "expired"
)

// FailureVersion is the version of the format of [Failure] that this package
// writes.
const FailureVersion = 1

// A Failure records why a message is in a dead-letter queue. It travels with
// the message as the metadata [KeyFailure], in JSON under the names of the
// field tags below; times are RFC 3339 in UTC.
type Failure struct {
	// Version is the version of the format. [Failure.Encode] sets it.
	Version int `json:"v"`

	// Reason is the kind of the failure.
	Reason Reason `json:"reason"`

	// Message is the failure in one line, for people.
	Message string `json:"message,omitempty"`

	// Chain is the error and what it wraps, outermost first, each as
	// "type: message". See [ErrorChain].
	Chain []string `json:"chain,omitempty"`

	// Cut says that the record was shortened to fit; see [Failure.Fit].
	Cut bool `json:"cut,omitempty"`

	// Filter is the name of the filter or handler that failed.
	Filter string `json:"filter,omitempty"`

	// Attempts is how many times the handler ran, as far as the process that
	// recorded the failure knows: retries in place count.
	Attempts int `json:"attempts,omitempty"`

	// ReceiveCount is how many times the message was received from Queue.
	ReceiveCount int `json:"receive_count,omitempty"`

	// FirstFailure and LastFailure are when the handler failed first and
	// last.
	FirstFailure time.Time `json:"first_failure,omitzero"`
	LastFailure  time.Time `json:"last_failure,omitzero"`

	// Endpoint is the logical name of where the message came from.
	Endpoint string `json:"endpoint,omitempty"`

	// Source is the URL of where the message came from, such as
	// sqs://dev-fares. A redrive goes back there.
	Source string `json:"source,omitempty"`

	// MessageID is the id that the queue had given the message. Its UUID is
	// unchanged.
	MessageID string `json:"message_id,omitempty"`

	// SentAt is when the message was sent to Source.
	SentAt time.Time `json:"sent_at,omitzero"`

	// Stack is where the handler panicked, if it did.
	Stack string `json:"stack,omitempty"`
}

// NewFailure returns the record of err: its reason, message and chain.
func NewFailure(reason Reason, err error) Failure {
	f := Failure{Version: FailureVersion, Reason: reason}
	if err != nil {
		f.Message, _, _ = strings.Cut(err.Error(), "\n")
		f.Chain = ErrorChain(err)
	}
	return f
}

// Bounds of what an error may add to a record, so that an error which quotes
// its input does not make the record as large as the message.
const (
	maxChain = 32
	maxLink  = 1024
)

// ErrorChain lists an error and what it wraps, outermost first and depth
// first, each as "type: message". It stops at 32 errors and cuts each to
// 1 KiB.
func ErrorChain(err error) []string {
	var chain []string
	var walk func(error)
	walk = func(err error) {
		if err == nil || len(chain) == maxChain {
			return
		}
		link := fmt.Sprintf("%v: %v", reflect.TypeOf(err), err)
		link, _ = cutText(link, maxLink)
		chain = append(chain, link)
		switch w := err.(type) {
		case interface{ Unwrap() error }:
			walk(w.Unwrap())
		case interface{ Unwrap() []error }:
			for _, err := range w.Unwrap() {
				walk(err)
			}
		}
	}
	walk(err)
	return chain
}

// Encode writes the record into the message's metadata.
func (f Failure) Encode(msg *message.Message) error {
	text, err := f.marshal()
	if err != nil {
		return err
	}
	if msg.Metadata == nil {
		msg.Metadata = message.Metadata{}
	}
	msg.Metadata.Set(KeyFailure, text)
	return nil
}

func (f Failure) marshal() (string, error) {
	f.Version = FailureVersion
	f.FirstFailure, f.LastFailure, f.SentAt = f.FirstFailure.UTC(), f.LastFailure.UTC(), f.SentAt.UTC()
	f.Message, f.Stack = cleanText(f.Message), cleanText(f.Stack)
	f.Chain = slices.Clone(f.Chain)
	for i := range f.Chain {
		f.Chain[i] = cleanText(f.Chain[i])
	}
	text, err := marshalJSON(f)
	if err != nil {
		return "", fmt.Errorf("queue: encode failure: %w", err)
	}
	return text, nil
}

// DecodeFailure reads the record from a message's metadata. It returns false
// if the message carries none, and an error if it carries one that is not
// readable or of a later version.
func DecodeFailure(metadata message.Metadata) (Failure, bool, error) {
	text := metadata.Get(KeyFailure)
	if text == "" {
		return Failure{}, false, nil
	}
	var f Failure
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return Failure{}, true, fmt.Errorf("queue: decode failure from %s: %w", KeyFailure, err)
	}
	if f.Version < 1 {
		return Failure{}, true, fmt.Errorf("queue: decode failure from %s: %w", KeyFailure, errors.New("it has no version"))
	}
	if f.Version > FailureVersion {
		return Failure{}, true, fmt.Errorf("queue: decode failure from %s: its version is %d, and this program reads up to %d", KeyFailure, f.Version, FailureVersion)
	}
	return f, true, nil
}

// Size returns how many bytes the record adds to a message: its key, its
// value and the name of its type.
func (f Failure) Size() int {
	text, err := f.marshal()
	if err != nil {
		return 0
	}
	return len(KeyFailure) + len(typeString) + len(text)
}

// Fit returns the record shortened so that its [Failure.Size] is at most
// limit, and whether that is possible. It gives up the stack first, then the
// chain from its middle, so that the outermost error and the root cause stay
// longest. Then it cuts the message, and where less than its beginning would be
// left, gives up before it: SentAt and MessageID, Endpoint, the times of the
// failures. What remains of the message goes before the counts, Filter and
// Source. Where not even the reason alone fits, Fit returns false.
func (f Failure) Fit(limit int) (Failure, bool) {
	f.Chain = slices.Clone(f.Chain)
	f.shorten(&f.Stack, limit)
	for len(f.Chain) > 2 && f.Size() > limit {
		f.Cut = true
		f.Chain = slices.Delete(f.Chain, len(f.Chain)/2, len(f.Chain)/2+1)
	}
	for i := range f.Chain {
		f.shorten(&f.Chain[i], limit)
	}
	if f.Size() > limit && len(f.Chain) > 0 {
		f.Chain, f.Cut = nil, true
	}
	whole := f.Message
	for step := 0; ; step++ {
		f.Message = whole
		f.shorten(&f.Message, limit)
		enough := len(f.Message) >= min(len(whole), leastMessage) || step >= stepsForMessage
		if enough && f.Size() <= limit {
			return f, true
		}
		if !f.giveUp(step) {
			return f, false
		}
	}
}

const (
	// leastMessage is how much of the message is worth more than what
	// stepsForMessage steps of giveUp cost.
	leastMessage    = 40
	stepsForMessage = 3
)

// giveUp empties the fields of one step, and reports whether there is such a
// step.
func (f *Failure) giveUp(step int) bool {
	switch step {
	case 0:
		f.SentAt, f.MessageID = time.Time{}, ""
	case 1:
		f.Endpoint = ""
	case 2:
		f.FirstFailure, f.LastFailure = time.Time{}, time.Time{}
	case 3:
		f.Attempts, f.ReceiveCount = 0, 0
	case 4:
		f.Filter = ""
	case 5:
		f.Source = ""
	default:
		return false
	}
	f.Cut = true
	return true
}

// shorten cuts one text of the record so that the record fits, or as far as
// there is something to cut.
func (f *Failure) shorten(text *string, limit int) {
	over := f.Size() - limit
	if over <= 0 || *text == "" {
		return
	}
	f.Cut = true
	// JSON may write a character as several bytes, so one cut can fall
	// short; each further one takes at least an eighth.
	for over = f.Size() - limit; over > 0 && *text != ""; over = f.Size() - limit {
		keep := len(*text) - max(over+len(ellipsis), len(*text)/8+1)
		*text, _ = cutText(*text, max(keep, 0))
	}
}

const ellipsis = "..."

// cutText shortens text to at most limit bytes, without splitting a character,
// and reports whether it did.
func cutText(text string, limit int) (string, bool) {
	if len(text) <= limit {
		return text, false
	}
	if limit <= len(ellipsis) {
		return "", true
	}
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis, true
}

// Attach writes the record into the message's metadata, shortened so that the
// message keeps within the size limit of the endpoint it is to be sent to; one
// that does not even without a record, with its payload in a [PayloadStore]. It
// returns an error that matches [ErrTooLarge] if not even the shortest record
// fits; the message is then as it was.
func (f Failure) Attach(msg *message.Message, to Endpoint) error {
	to = to.WithDefaults()
	limit := to.MaxMessageSize
	plain := msg.Copy()
	delete(plain.Metadata, KeyFailure)
	claimed := len(msg.Payload) > limit
	room, err := roomFor(plain, to, claimed)
	if err == nil && room < 0 && len(msg.Payload) > leastClaimed && !claimed {
		claimed = true // only by a claim check can this be sent
		room, err = roomFor(plain, to, claimed)
	}
	if err != nil {
		return err
	}
	// What else the message carries can grow when the record takes its place
	// among the attributes, so a first fit can be too large.
	for {
		short, ok := f.Fit(room)
		if !ok {
			return fmt.Errorf("queue: %w: the record of the failure takes %d bytes, and the message leaves %d of the %d that endpoint %q allows", ErrTooLarge, short.Size(), max(room, 0), limit, to.Name)
		}
		if err := short.Encode(plain); err != nil {
			return err
		}
		left, err := roomFor(plain, to, claimed)
		if err != nil {
			return err
		}
		if left >= 0 {
			msg.Metadata = plain.Metadata
			return nil
		}
		room = short.Size() + left
	}
}

// roomFor returns how many bytes the message leaves of the endpoint's limit, with
// its payload or with a claim for that.
func roomFor(msg *message.Message, to Endpoint, claimed bool) (int, error) {
	var w wireMessage
	var err error
	if claimed {
		w, err = encodeClaim(msg, newClaim(msg.Payload), pinnedKeys(to), nil)
	} else {
		w, err = encode(msg, pinnedKeys(to))
	}
	if err != nil {
		return 0, fmt.Errorf("queue: %w", err)
	}
	return to.MaxMessageSize - w.size(), nil
}
