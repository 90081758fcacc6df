package emulator

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The Query protocol of SQS, which clients spoke before AWS JSON 1.0: boto3 before 1.28.63, and the AWS CLI
// that Debian 12 has. Requests and answers carry the same members as in JSON, and lists and maps are flat:
// Attribute.1.Name=DelaySeconds&Attribute.1.Value=5 is {"Attributes": {"DelaySeconds": "5"}}. So a request
// is translated to JSON, and the answer back.
const sqsNamespace = "http://queue.amazonaws.com/doc/2012-11-05/"

// A flatName is the other name of a list or map, in one protocol or the other. The entries of a map have a key
// and a value.
type flatName struct{ name, key, value string }

// flatInputs are the lists and maps of requests, by the names of their elements: the service's API model of
// before November 2023.
var flatInputs = map[string]flatName{
	"Attribute":              {"Attributes", "Name", "Value"},
	"MessageAttribute":       {"MessageAttributes", "Name", "Value"},
	"MessageSystemAttribute": {"MessageSystemAttributes", "Name", "Value"},
	"Tag":                    {"Tags", "Key", "Value"},

	"AttributeName":              {name: "AttributeNames"},
	"MessageAttributeName":       {name: "MessageAttributeNames"},
	"MessageSystemAttributeName": {name: "MessageSystemAttributeNames"},
	"TagKey":                     {name: "TagKeys"},
	"AWSAccountId":               {name: "AWSAccountIds"},
	"ActionName":                 {name: "Actions"},

	"SendMessageBatchRequestEntry":             {name: "Entries"},
	"DeleteMessageBatchRequestEntry":           {name: "Entries"},
	"ChangeMessageVisibilityBatchRequestEntry": {name: "Entries"},
}

// flatOutputs are the lists and maps of answers.
var flatOutputs = map[string]flatName{
	"Attributes":        {"Attribute", "Name", "Value"},
	"MessageAttributes": {"MessageAttribute", "Name", "Value"},
	"Tags":              {"Tag", "Key", "Value"},
	"Messages":          {name: "Message"},
	"QueueUrls":         {name: "QueueUrl"},
	"queueUrls":         {name: "QueueUrl"}, // of ListDeadLetterSourceQueues
	"Failed":            {name: "BatchResultErrorEntry"},
}

// numericInputs are the parameters that are numbers in JSON.
var numericInputs = map[string]bool{
	"DelaySeconds": true, "MaxNumberOfMessages": true, "MaxNumberOfMessagesPerSecond": true,
	"MaxResults": true, "VisibilityTimeout": true, "WaitTimeSeconds": true,
}

// answerSQSQuery serves a request of SQS's Query protocol. path is what may name the queue.
func (s *Server) answerSQSQuery(c *call, path string, f form) response {
	name := f.Get("Action")
	o, known := sqsOperations[name]
	switch {
	case name == "":
		return c.xmlError(errMissingAction(), sqsNamespace)
	case !known:
		return c.xmlError(errUnknownOperation(name), sqsNamespace)
	}
	in := o.input()
	if err := decodeQuery(f, c.base, path, in); err != nil {
		return c.xmlError(err, sqsNamespace)
	}
	if resp, err, end := s.begin(c, "sqs", name, in.resource()); end {
		if err != nil {
			return c.xmlError(err, sqsNamespace)
		}
		return resp
	}
	out, err := o.run(s, c, in)
	s.noteChange(name, out)
	if c.fault.DropAnswer {
		return response{drop: true}
	}
	if err != nil {
		return c.xmlError(err, sqsNamespace)
	}
	if out != (nothing{}) {
		out = flatOutput{operation: name, text: encodeOutput(out)}
	}
	return c.xmlAnswer(name, out, sqsNamespace)
}

// decodeQuery decodes a form into the input of an operation. A request may name its queue by its path.
func decodeQuery(f form, base, path string, in input) *Error {
	root := new(parameter)
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		if !isParameter(name) {
			continue
		}
		text := f.Get(name)
		if !utf8.ValidString(name) || !utf8.ValidString(text) {
			return errMalformed("The parameter %q is not valid UTF-8.", clip(name))
		}
		root.at(strings.Split(name, ".")).text = text
	}
	if account, _ := splitQueueURL(path); account != "" && root.members["QueueUrl"] == nil {
		root.at([]string{"QueueUrl"}).text = base + path
	}
	object, err := root.object()
	if err != nil {
		return err
	}
	return decodeJSON(mustMarshal(object), in)
}

// A parameter is a part of the tree that the dots in the names of parameters make.
type parameter struct {
	text    string
	members map[string]*parameter
}

func (p *parameter) at(path []string) *parameter {
	for _, name := range path {
		if p.members == nil {
			p.members = make(map[string]*parameter)
		}
		if p.members[name] == nil {
			p.members[name] = new(parameter)
		}
		p = p.members[name]
	}
	return p
}

// object returns what a parameter with members is in JSON.
func (p *parameter) object() (map[string]any, *Error) {
	out := make(map[string]any, len(p.members))
	for _, name := range slices.Sorted(maps.Keys(p.members)) {
		m := p.members[name]
		flat, isFlat := flatInputs[name]
		var err *Error
		switch {
		case isFlat && flat.key != "":
			out[flat.name], err = m.entries(flat.key, flat.value)
		case isFlat:
			out[flat.name], err = m.list()
		default:
			out[name], err = m.value(name)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// value returns what a parameter that is neither list nor map is in JSON.
func (p *parameter) value(name string) (any, *Error) {
	switch {
	case len(p.members) > 0:
		return p.object()
	case !numericInputs[name]:
		return p.text, nil
	}
	n, err := strconv.Atoi(p.text)
	if err != nil {
		return nil, errMalformed("%s must be an integer, not %q.", name, clip(p.text))
	}
	return n, nil
}

// list returns the members .1, .2 and so on, in the order of their numbers.
func (p *parameter) list() ([]any, *Error) {
	var out []any
	for _, m := range p.numbered() {
		v, err := m.value("")
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// entries returns the map whose entries are the members .1, .2 and so on.
func (p *parameter) entries(key, value string) (map[string]any, *Error) {
	out := make(map[string]any)
	for _, m := range p.numbered() {
		k, v := m.members[key], m.members[value]
		if k == nil {
			return nil, errMalformed("An entry of a map has no %s.", key)
		}
		if v == nil {
			v = new(parameter)
		}
		text, err := v.value("")
		if err != nil {
			return nil, err
		}
		out[k.text] = text
	}
	return out, nil
}

func (p *parameter) numbered() []*parameter {
	numbers := make(map[int]*parameter)
	for name, m := range p.members {
		if n, err := strconv.Atoi(name); err == nil {
			numbers[n] = m
		}
	}
	out := make([]*parameter, 0, len(numbers))
	for _, n := range slices.Sorted(maps.Keys(numbers)) {
		out = append(out, numbers[n])
	}
	return out
}

// flatOutput is the output of an operation in JSON, which is to be XML.
type flatOutput struct {
	operation string
	text      []byte
}

// MarshalXML writes the output with its lists and maps flat.
func (o flatOutput) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	d := json.NewDecoder(bytes.NewReader(o.text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	return o.element(e, start.Name.Local, v)
}

func (o flatOutput) element(e *xml.Encoder, name string, v any) error {
	start := xml.StartElement{Name: xml.Name{Local: name}}
	object, ok := v.(map[string]any)
	if !ok {
		return e.EncodeElement(textOf(v), start)
	}
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, member := range slices.Sorted(maps.Keys(object)) {
		if err := o.member(e, member, object[member]); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// member writes a member of an object: a flat list or map has as many elements as members.
func (o flatOutput) member(e *xml.Encoder, name string, v any) error {
	flat, ok := flatOutputs[name]
	switch {
	case name == "Successful" || name == "Results":
		flat.name = o.operation + "ResultEntry"
	case !ok:
		return o.element(e, name, v)
	}
	switch v := v.(type) {
	case []any:
		for _, m := range v {
			if err := o.element(e, flat.name, m); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := o.element(e, flat.name, map[string]any{flat.key: key, flat.value: v[key]}); err != nil {
				return err
			}
		}
	}
	return nil
}

func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// isSQS reports whether a request of the Query protocol is for SQS: by its version, or where it names none by
// the service that it is signed for.
func (f form) isSQS(authorization string) bool {
	switch f.Get("Version") {
	case "":
		return strings.Contains(authorization, "/sqs/aws4_request")
	case sqsVersion:
		return true
	}
	return false
}
