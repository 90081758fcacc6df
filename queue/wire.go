package queue

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Bounds of the wire, the same for SQS and SNS with raw delivery
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html).
const (
	maxAttributes    = 10
	maxAttributeName = 256
)

// Data types of attributes.
const (
	typeString = "String"
	typeNumber = "Number"
	typeBinary = "Binary"
)

// Values of [AttrEncoding], and the body that stands for none.
const (
	encodingBase64 = "base64"
	encodingEmpty  = "empty"
	encodingClaim  = "claim"
	emptyBody      = "(empty)"
)

// packedVersion is the version of [AttrMetadata] that this package writes.
const packedVersion = 1

// An attribute is a message attribute of either service. Its value is text
// unless its type begins with Binary.
type attribute struct {
	dataType string
	value    string
}

func (a attribute) binary() bool { return baseType(a.dataType) == typeBinary }

// baseType returns the data type without the label behind it.
func baseType(dataType string) string {
	base, _, _ := strings.Cut(dataType, ".")
	return base
}

// A wireMessage is a message as the services carry it.
type wireMessage struct {
	body       string
	attributes attributes
}

// attributes are those of a message, each of its own name. The services allow ten:
// so few are found, and kept, for less than a map takes.
type attributes []namedAttribute

type namedAttribute struct {
	name string
	attribute
}

func (all attributes) index(name string) int {
	return slices.IndexFunc(all, func(a namedAttribute) bool { return a.name == name })
}

func (all attributes) get(name string) (a attribute, ok bool) {
	if i := all.index(name); i >= 0 {
		return all[i].attribute, true
	}
	return a, false
}

func (all attributes) has(name string) bool { return all.index(name) >= 0 }

// value returns the value of an attribute, or "" where there is none.
func (all attributes) value(name string) string {
	a, _ := all.get(name)
	return a.value
}

// add adds an attribute whose name no other has.
func (all *attributes) add(name string, a attribute) { *all = append(*all, namedAttribute{name, a}) }

func (all *attributes) set(name string, a attribute) {
	if i := all.index(name); i >= 0 {
		(*all)[i].attribute = a
		return
	}
	all.add(name, a)
}

func (all *attributes) remove(name string) {
	if i := all.index(name); i >= 0 {
		*all = slices.Delete(*all, i, i+1)
	}
}

// size returns the bytes that count against the size limit.
func (w wireMessage) size() int {
	n := len(w.body)
	for _, a := range w.attributes {
		n += len(a.name) + len(a.dataType) + len(a.value)
	}
	return n
}

// packed is the JSON of [AttrMetadata].
type packed struct {
	Version int `json:"v"`

	// Text is metadata as it is, and Binary metadata with key or value in
	// base64, because SQS refuses their characters.
	Text   map[string]string `json:"s,omitempty"`
	Binary map[string]string `json:"b,omitempty"`

	// Types are the types of packed metadata that is not a String.
	Types map[string]string `json:"t,omitempty"`
}

// encode brings a message into its wire form. The keys of pinned metadata stay
// native attributes before all others.
func encode(msg *message.Message, pinned []string) (wireMessage, error) {
	return encodeCarrying(msg, pinned, nil)
}

// encodeCarrying is encode with what a tracer has the message carry.
func encodeCarrying(msg *message.Message, pinned []string, carrier map[string]string) (wireMessage, error) {
	return encodeWith(msg, pinned, carrier, func(w *wireMessage) { w.encodeBody(msg.Payload) })
}

// encodeWith is encodeCarrying with a body of another making.
func encodeWith(msg *message.Message, pinned []string, carrier map[string]string, encodeBody func(*wireMessage)) (wireMessage, error) {
	types, err := parseTypes(msg.Metadata.Get(KeyTypes))
	if err != nil {
		return wireMessage{}, err
	}
	w := wireMessage{attributes: make(attributes, 0, len(msg.Metadata)+len(carrier)+2)}
	if msg.UUID != "" {
		if !allowedText(msg.UUID) {
			return wireMessage{}, fmt.Errorf("%w: UUID %q has characters that SQS refuses", ErrInvalid, msg.UUID)
		}
		w.attributes.add(AttrUUID, attribute{typeString, msg.UUID})
	}
	encodeBody(&w)
	if len(msg.Metadata)+len(carrier) > 0 {
		err = w.encodeMetadata(msg.Metadata, types, pinned, carrier)
	}
	return w, err
}

func (w *wireMessage) encodeBody(payload []byte) {
	switch {
	case len(payload) == 0:
		w.body = emptyBody
		w.attributes.add(AttrEncoding, attribute{typeString, encodingEmpty})
	case !allowedText(string(payload)):
		w.body = base64.StdEncoding.EncodeToString(payload)
		w.attributes.add(AttrEncoding, attribute{typeString, encodingBase64})
	default:
		w.body = string(payload)
	}
}

// withCarrier returns the metadata with what the message carries for a tracer.
func withCarrier(metadata message.Metadata, carrier map[string]string) message.Metadata {
	all := make(message.Metadata, len(metadata)+len(carrier))
	maps.Copy(all, metadata)
	maps.Copy(all, carrier)
	return all
}

func (w *wireMessage) encodeMetadata(metadata message.Metadata, types map[string]string, pinned []string, carrier map[string]string) error {
	if len(carrier) > 0 {
		metadata = withCarrier(metadata, carrier)
		for key := range carrier {
			delete(types, key) // whatever its name meant in the metadata
		}
	}
	native := make(attributes, 0, len(metadata))
	var rest []string
	for key, value := range metadata {
		if parameter(key) {
			continue
		}
		dataType := typeString
		if t, ok := types[key]; ok {
			dataType = t
		}
		a := attribute{dataType, value}
		if baseType(dataType) == typeNumber && !isNumber(value) {
			return fmt.Errorf("%w: metadata %s is declared a Number in %s, and %q is none", ErrInvalid, key, KeyTypes, value)
		}
		if nativeValue(key, a) && !packedCarrier(key, carrier, pinned) {
			native.add(key, a)
		} else {
			rest = append(rest, key)
		}
	}
	room := maxAttributes - len(w.attributes)
	if len(native) > room || len(rest) > 0 {
		slices.SortFunc(native, func(a, b namedAttribute) int {
			if d := rankCarrying(a.name, types, pinned, carrier) - rankCarrying(b.name, types, pinned, carrier); d != 0 {
				return d
			}
			return strings.Compare(a.name, b.name)
		})
		most := min(room-1, len(native))
		for _, a := range native[most:] {
			rest = append(rest, a.name)
		}
		native = native[:most]
	}
	w.attributes = append(w.attributes, native...)
	if len(rest) == 0 {
		return nil
	}
	return w.pack(metadata, types, rest)
}

// rank orders the metadata that competes for native attributes: what is
// pinned, what has a type, the user's own, and Waybill's.
func rank(key string, types map[string]string, pinned []string) int {
	switch {
	case slices.Contains(pinned, key):
		return 0
	case types[key] != "":
		return 1
	case strings.HasPrefix(key, reservedPrefix):
		return 3
	default:
		return 2
	}
}

// rankCarrying is rank, with what is carried for a tracer behind all that is not
// pinned.
func rankCarrying(key string, types map[string]string, pinned []string, carrier map[string]string) int {
	r := rank(key, types, pinned)
	if _, ok := carrier[key]; ok && r > 0 {
		return 4
	}
	return r
}

// packedCarrier reports whether a key is carried for a tracer, which may take one
// attribute, with others.
func packedCarrier(key string, carrier map[string]string, pinned []string) bool {
	_, ok := carrier[key]
	return ok && len(carrier) > 1 && !slices.Contains(pinned, key)
}

func (w *wireMessage) pack(metadata message.Metadata, types map[string]string, keys []string) error {
	p := packed{Version: packedVersion}
	for _, key := range keys {
		value := metadata[key]
		if allowedText(key) && allowedText(value) {
			setIn(&p.Text, key, value)
		} else {
			setIn(&p.Binary, encode64(key), encode64(value))
		}
		if t, ok := types[key]; ok {
			setIn(&p.Types, key, t)
		}
	}
	text, err := marshalJSON(p)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, AttrMetadata, err)
	}
	w.attributes.add(AttrMetadata, attribute{typeString, text})
	return nil
}

func setIn(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
}

func encode64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// decode64 reverses encode64, for text that is known to come from it.
func decode64(text string) string {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return text
	}
	return string(b)
}

// decode reverses encode. It always returns a message: where the wire form is
// broken, or is known to be, the message has the body as it arrived,
// the attributes that could not be applied under [KeyRawEncoding] and
// [KeyRawMetadata], and an error beside it that matches [ErrUndecodable]; so it
// has where its payload is in a store, but for its metadata, which is read. The
// id becomes the UUID of a message without one.
func decode(w wireMessage, id string, broken error) (*message.Message, error) {
	if uuid := w.attributes.value(AttrUUID); uuid != "" {
		id = uuid
	}
	metadata := make(message.Metadata, len(w.attributes))
	var types map[string]string
	for _, a := range w.attributes {
		if a.name == AttrUUID || a.name == AttrEncoding || a.name == AttrMetadata || parameter(a.name) {
			continue
		}
		metadata[a.name] = a.value
		if a.dataType != typeString && a.dataType != "" {
			setIn(&types, a.name, a.dataType)
		}
	}
	payload, bodyErr := decodeBody(w)
	p, packErr := unpack(w)
	err := errors.Join(broken, bodyErr, packErr)
	if err != nil {
		payload = []byte(w.body)
		setRaw(metadata, &types, KeyRawEncoding, w.attributes, AttrEncoding)
	}
	if err == nil || broken == nil && packErr == nil && isClaim(bodyErr) {
		p.apply(metadata, &types)
	} else {
		setRaw(metadata, &types, KeyRawMetadata, w.attributes, AttrMetadata)
	}
	if text := formatTypes(types); text != "" {
		metadata[KeyTypes] = text
	}
	msg := message.NewMessage(id, payload)
	msg.Metadata = metadata
	if err != nil {
		return msg, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	return msg, nil
}

func setRaw(metadata message.Metadata, types *map[string]string, key string, all attributes, name string) {
	a, _ := all.get(name)
	if a.value == "" {
		return
	}
	metadata[key] = a.value
	if a.dataType != typeString && a.dataType != "" {
		setIn(types, key, a.dataType)
	}
}

func decodeBody(w wireMessage) ([]byte, error) {
	a, ok := w.attributes.get(AttrEncoding)
	switch {
	case !ok:
		return []byte(w.body), nil
	case a.value == encodingEmpty && w.body == emptyBody:
		return nil, nil
	case a.value == encodingEmpty:
		return nil, fmt.Errorf("%s is %q, but the body is not %s", AttrEncoding, a.value, emptyBody)
	case a.value == encodingBase64:
		payload, err := base64.StdEncoding.Strict().DecodeString(w.body)
		if err != nil {
			return nil, fmt.Errorf("%s is %q, but the body is not: %w", AttrEncoding, a.value, err)
		}
		return payload, nil
	case a.value == encodingClaim:
		c, err := parseClaim(w.body)
		if err != nil {
			return nil, err
		}
		return nil, &claimedError{c}
	default:
		return nil, fmt.Errorf("%w: %s is %q; want %s, %s or %s", ErrNewer, AttrEncoding, a.value, encodingBase64, encodingEmpty, encodingClaim)
	}
}

// unpack reads [AttrMetadata], with keys and values out of base64 again.
func unpack(w wireMessage) (packed, error) {
	var p packed
	a, ok := w.attributes.get(AttrMetadata)
	if !ok {
		return p, nil
	}
	// The version comes first: a later one may have other fields.
	var format struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal([]byte(a.value), &format); err != nil {
		return packed{}, fmt.Errorf("%s: %w", AttrMetadata, err)
	}
	switch v := format.Version; {
	case v > packedVersion:
		return packed{}, fmt.Errorf("%w: %s: its version is %d, and this program reads 1 to %d", ErrNewer, AttrMetadata, v, packedVersion)
	case v < 1:
		return packed{}, fmt.Errorf("%s: its version is %d, and this program reads 1 to %d", AttrMetadata, v, packedVersion)
	}
	if err := json.Unmarshal([]byte(a.value), &p); err != nil {
		return packed{}, fmt.Errorf("%s: %w", AttrMetadata, err)
	}
	binary := make(map[string]string, len(p.Binary))
	for key, value := range p.Binary {
		k, err := base64.StdEncoding.DecodeString(key)
		if err != nil {
			return packed{}, fmt.Errorf("%s: key %q: %w", AttrMetadata, key, err)
		}
		v, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return packed{}, fmt.Errorf("%s: value of %q: %w", AttrMetadata, k, err)
		}
		binary[string(k)] = string(v)
	}
	p.Binary = binary
	return p, nil
}

// apply adds what was packed. A native attribute of the same name wins.
func (p packed) apply(metadata message.Metadata, types *map[string]string) {
	for _, m := range []map[string]string{p.Text, p.Binary} {
		for key, value := range m {
			if _, ok := metadata[key]; ok || parameter(key) {
				continue
			}
			metadata[key] = value
			if t := p.Types[key]; t != "" {
				setIn(types, key, t)
			}
		}
	}
}

const reservedPrefix = "Waybill-"

// parameter reports whether the metadata becomes a parameter of the call, and
// is not carried by the message.
func parameter(key string) bool {
	switch key {
	case KeyTypes, KeyDelay, KeyGroup, KeyOrder, KeyDeduplication:
		return true
	}
	return false
}

// nativeValue reports whether metadata can be an attribute of its own.
func nativeValue(key string, a attribute) bool {
	return nativeName(key) && a.value != "" && (a.binary() || allowedText(a.value))
}

// nativeName reports whether metadata of this key can be an attribute of its
// own. The names of the wire's own attributes cannot.
func nativeName(key string) bool {
	if key == "" || len(key) >= maxAttributeName || key[0] == '.' || key[len(key)-1] == '.' || strings.Contains(key, "..") {
		return false
	}
	if lower := strings.ToLower(key); strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon.") {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			return false
		}
	}
	return key != AttrUUID && key != AttrEncoding && key != AttrMetadata
}
