package queue

import (
	"maps"
	"slices"
	"strings"
)

// Restored returns the message as it was before package pipeline moved it to a
// dead-letter queue, for the queue q: without the record of its failure, and
// with the attributes that the move had to pack or rename as they were.
// A message that was not moved so stays as it is, apart from the record.
//
// The move packs attributes where the record needs one of the ten. What fits
// again becomes an attribute again; a UUID that only the move gave the message
// makes way for it. The attributes that a message could not be decoded by,
// which came as [KeyRawEncoding] and [KeyRawMetadata], get their names back.
func (m RawMessage) Restored(q *Queue) RawMessage {
	if m.Enveloped() {
		return m
	}
	e := editor{w: m.wire()}
	e.open()
	named := e.namedByMove()
	e.remove(KeyFailure)
	if named && e.crowded() {
		e.w.attributes.remove(AttrUUID)
	}
	e.dropTrace()
	e.unpack(pinnedKeys(q.Endpoint))
	e.close()
	e.rename(KeyRawEncoding, AttrEncoding)
	e.rename(KeyRawMetadata, AttrMetadata)
	e.bareEnvelope()
	m.setWire(e.w)
	return m
}

// dropTrace removes what the move packed for a tracer, where the message had
// [AttrMetadata] that could not be read and is to have the name back.
func (e *editor) dropTrace() {
	if e.packed == nil {
		return
	}
	_, packed := e.packed.Text[KeyRawMetadata]
	_, encoded := e.packed.Binary[encode64(KeyRawMetadata)]
	if !packed && !encoded && !e.w.attributes.has(KeyRawMetadata) {
		return
	}
	for _, key := range []string{keyTraceParent, keyTraceState, keyBaggage} {
		delete(e.packed.Text, key)
		delete(e.packed.Types, key)
	}
}

// namedByMove reports whether the message's UUID is the id that the queue had
// given it, which is what a receiver calls a message without one.
func (e *editor) namedByMove() bool {
	text := e.w.attributes.value(KeyFailure)
	if text == "" && e.packed != nil {
		text = e.packed.Text[KeyFailure]
	}
	f, ok, err := DecodeFailure(map[string]string{KeyFailure: text})
	return ok && err == nil && f.MessageID != "" && f.MessageID == e.w.attributes.value(AttrUUID)
}

// crowded reports whether the packed metadata would all be attributes, if there
// was room for one more.
func (e *editor) crowded() bool {
	if e.packed == nil {
		return false
	}
	able := e.unpackable()
	return len(able) == len(e.packed.Text)+len(e.packed.Binary) &&
		len(e.w.attributes)-1+len(able) == maxAttributes+1 // without the packed attribute
}

// unpackable returns the packed metadata that could be attributes, by key.
func (e *editor) unpackable() map[string]attribute {
	all, carrier := map[string]attribute{}, e.packed.carried()
	add := func(key, value string) {
		a := attribute{typeString, value}
		if t := e.packed.Types[key]; t != "" {
			a.dataType = t
		}
		if _, carried := carrier[key]; !carried && !e.w.attributes.has(key) && !parameter(key) && typeRule.MatchString(a.dataType) && nativeValue(key, a) {
			all[key] = a
		}
	}
	for key, value := range e.packed.Text {
		add(key, value)
	}
	for key, value := range e.packed.Binary {
		add(decode64(key), decode64(value))
	}
	return all
}

// unpack makes attributes of packed metadata, as far as there is room and in
// the order in which encode would, behind what gets its name back.
func (e *editor) unpack(pinned []string) {
	if e.packed == nil {
		return
	}
	able := e.unpackable()
	room := maxAttributes - len(e.w.attributes)
	if len(able) == len(e.packed.Text)+len(e.packed.Binary) && len(able) == room+1 {
		room++ // that of the packed attribute, which goes
	}
	place := func(key string) int {
		if key == KeyRawEncoding || key == KeyRawMetadata {
			return -1
		}
		return rank(key, e.packed.Types, pinned)
	}
	keys := slices.SortedFunc(maps.Keys(able), func(a, b string) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys[:min(room, len(keys))] {
		e.remove(key)
		e.w.attributes.set(key, able[key])
	}
}

// rename gives an attribute its name back, unless another has it.
func (e *editor) rename(from, to string) {
	a, ok := e.w.attributes.get(from)
	if ok && !e.w.attributes.has(to) {
		e.w.attributes.remove(from)
		e.w.attributes.set(to, a)
	}
}

// bareEnvelope takes the UUID off an envelope of SNS's that could not be opened:
// envelopes are known by the absence of attributes.
func (e *editor) bareEnvelope() {
	if len(e.w.attributes) != 1 {
		return
	}
	_, envelope, ok, err := openEnvelope(wireMessage{body: e.w.body})
	if ok && err != nil && envelope.MessageID == e.w.attributes.value(AttrUUID) {
		e.w.attributes.remove(AttrUUID)
	}
}
