package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// sqsTarget precedes the operation in the X-Amz-Target header of AWS JSON 1.0.
const sqsTarget = "AmazonSQS."

// input is the decoded body of an SQS request.
type input interface{ resource() string }

// operation is an operation of SQS, apart from the protocol that carries it.
type operation struct {
	input func() input
	run   func(*Server, *call, input) (any, *Error)
}

// op makes an operation of a function over its own types.
func op[In any, P interface {
	*In
	input
}, Out any](run func(*Server, *call, P) (Out, *Error)) operation {
	return operation{
		input: func() input { return P(new(In)) },
		run:   func(s *Server, c *call, in input) (any, *Error) { return run(s, c, in.(P)) },
	}
}

// nothing is the output of an operation whose answer has no body.
type nothing struct{}

// jsonAppender is an output that encodes itself, which those on the way of messages do.
type jsonAppender interface{ appendJSON([]byte) []byte }

// answerJSON serves a request of the AWS JSON 1.0 protocol.
func (s *Server) answerJSON(c *call, target string, body []byte) response {
	name, ok := strings.CutPrefix(target, sqsTarget)
	o, known := sqsOperations[name]
	if !ok || !known {
		return c.jsonError(errUnknownOperation(name))
	}
	in := o.input()
	if err := decodeJSON(body, in); err != nil {
		return c.jsonError(err)
	}
	if resp, err, end := s.begin(c, "sqs", name, in.resource()); end {
		if err != nil {
			return c.jsonError(err)
		}
		return resp
	}
	out, err := o.run(s, c, in)
	s.noteChange(name, out)
	if c.fault.DropAnswer {
		return response{drop: true}
	}
	if err != nil {
		return c.jsonError(err)
	}
	return c.jsonAnswer(out)
}

// decodeJSON decodes a request. An empty body is an empty object.
func decodeJSON(body []byte, in any) *Error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if !utf8.Valid(body) || hasLoneSurrogate(body) {
		return errMalformed("The request's body is not valid UTF-8.")
	}
	err := json.Unmarshal(body, in)
	if err == nil {
		return nil
	}
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return errMalformed("%s must be %s, not %s.", typed.Field, typed.Type, typed.Value)
	}
	return errMalformed("The request's body is not valid JSON: %v.", err)
}

// hasLoneSurrogate reports whether a JSON text has a \u escape of half a character. Package json would put
// another character in its place.
func hasLoneSurrogate(body []byte) bool {
	for {
		i := bytes.IndexByte(body, '\\')
		if i < 0 || i+1 == len(body) {
			return false
		}
		r := escaped(body[i:])
		switch {
		case !utf16.IsSurrogate(r):
			body = body[i+2:]
		case utf16.DecodeRune(r, escaped(body[i+6:])) == utf8.RuneError:
			return true
		default:
			body = body[i+12:]
		}
	}
}

// escaped returns the code unit of the \u escape that s starts with, or 0 if it starts with none.
func escaped(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(s[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

func (c *call) header(contentType string, body []byte) http.Header {
	return http.Header{
		"Content-Type":     {contentType},
		"Content-Length":   {strconv.Itoa(len(body))},
		"X-Amzn-Requestid": {c.requestID},
	}
}

const jsonContentType = "application/x-amz-json-1.0"

func (c *call) jsonAnswer(out any) response {
	body := encodeOutput(out)
	return response{status: http.StatusOK, header: c.header(jsonContentType, body), body: body}
}

func encodeOutput(out any) []byte {
	switch out := out.(type) {
	case nothing:
		return nil
	case jsonAppender:
		return out.appendJSON(make([]byte, 0, 1024))
	}
	return mustMarshal(out)
}

func (c *call) jsonError(err *Error) response {
	body := mustMarshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{"com.amazonaws.sqs#" + err.Code, err.Message})
	header := c.header(jsonContentType, body)
	header["X-Amzn-Query-Error"] = []string{err.queryCode() + ";" + err.fault()}
	return response{status: err.status(), header: header, body: body}
}

// mustMarshal encodes one of the package's own types, none of which can fail to.
func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue // what is beyond ASCII is valid UTF-8 already, and stands for itself
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendField appends "name":"value", with a comma before it unless it is the first of its object.
// Names are the package's own, and need no escapes.
func appendField(dst []byte, name, value string) []byte {
	return appendString(appendName(dst, name), value)
}

func appendName(dst []byte, name string) []byte {
	if last := dst[len(dst)-1]; last != '{' && last != '[' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}
