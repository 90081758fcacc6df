package emulator

import (
	"bytes"
	"encoding/xml"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The Query protocol: a form with an Action goes in, XML comes out. SNS speaks it, and SQS did.
const (
	snsNamespace = "http://sns.amazonaws.com/doc/2010-03-31/"
	snsVersion   = "2010-03-31"
	sqsVersion   = "2012-11-05"
)

// form holds the parameters of a request.
type form struct {
	url.Values
	members map[string]bool // "Entries.member.1" for "Entries.member.1.Id"
}

// snsOperation is an operation of SNS. Its output is encoded as the operation's Result element; nothing
// gives an answer without one.
type snsOperation func(*Server, *call, form) (any, *Error)

// answerQuery serves a request of the Query protocol.
func (s *Server) answerQuery(c *call, r *http.Request, body []byte) response {
	f, err := parseForm(r, body)
	if err != nil {
		return c.xmlError(err, snsNamespace)
	}
	if f.isSQS(r.Header.Get("Authorization")) {
		return s.answerSQSQuery(c, r.URL.Path, f)
	}
	name := f.Get("Action")
	run, known := snsOperations[name]
	switch {
	case name == "":
		return c.xmlError(errMissingAction(), snsNamespace)
	case !known:
		return c.xmlError(errUnknownOperation(name), snsNamespace)
	}
	if resp, err, end := s.begin(c, "sns", name, f.resource()); end {
		if err != nil {
			return c.xmlError(err, snsNamespace)
		}
		return resp
	}
	out, err := run(s, c, f)
	s.noteChange(name, out)
	if c.fault.DropAnswer {
		return response{drop: true}
	}
	if err != nil {
		return c.xmlError(err, snsNamespace)
	}
	return c.xmlAnswer(name, out, snsNamespace)
}

func parseForm(r *http.Request, body []byte) (form, *Error) {
	values := r.URL.Query()
	if r.Method == http.MethodPost {
		mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || mediaType != "application/x-www-form-urlencoded" {
			return form{}, errMalformed("A request is either AWS JSON 1.0 with an X-Amz-Target header, or a form (application/x-www-form-urlencoded) with an Action.")
		}
		if len(body) > maxForm {
			return form{}, errTooLong(maxForm)
		}
		posted, err := url.ParseQuery(string(body))
		if err != nil {
			return form{}, errMalformed("The form cannot be parsed: %v.", err)
		}
		for k, v := range posted {
			values[k] = append(values[k], v...)
		}
	}
	return newForm(values), nil
}

// Bounds of the names that are taken apart. The longest that an operation has is of less than 100 bytes, and the
// deepest of eight parts.
const (
	maxParameterName  = 256
	maxParameterParts = 10
)

// isParameter reports whether an operation may have a parameter of a name.
func isParameter(name string) bool {
	return len(name) <= maxParameterName && strings.Count(name, ".") < maxParameterParts
}

func newForm(values url.Values) form {
	f := form{Values: values, members: make(map[string]bool)}
	for name := range values {
		if !isParameter(name) {
			continue
		}
		for i := range len(name) + 1 {
			if (i == len(name) || name[i] == '.') && i > 0 && isDigit(name[i-1]) {
				f.members[name[:i]] = true
			}
		}
	}
	return f
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// resource returns the name of the topic that a request is about, or "".
func (f form) resource() string {
	for _, name := range []string{"TopicArn", "TargetArn", "SubscriptionArn", "ResourceArn"} {
		if arn := f.Get(name); arn != "" {
			if key, err := parseTopicARN(topicOfSubscription(arn)); err == nil {
				return key.name
			}
			return arn
		}
	}
	return f.Get("Name")
}

// list returns the prefixes of a list's members: "Entries.member.1", and so on while one is there.
func (f form) list(name string) []string {
	var out []string
	for i := 1; ; i++ {
		prefix := name + "." + strconv.Itoa(i)
		if !f.members[prefix] {
			return out
		}
		out = append(out, prefix)
	}
}

// stringMap returns the map of "Attributes.entry.1.key" and "Attributes.entry.1.value".
func (f form) stringMap(name string) map[string]string {
	out := make(map[string]string)
	for _, p := range f.list(name + ".entry") {
		out[f.Get(p+".key")] = f.Get(p + ".value")
	}
	return out
}

func (c *call) xmlAnswer(name string, out any, namespace string) response {
	return c.xml(http.StatusOK, func(e *xml.Encoder) {
		root := xml.StartElement{Name: xml.Name{Local: name + "Response"}, Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}}}
		mustEncode(e.EncodeToken(root))
		if out != (nothing{}) {
			mustEncode(e.EncodeElement(out, xml.StartElement{Name: xml.Name{Local: name + "Result"}}))
		}
		meta := struct{ RequestId string }{c.requestID}
		mustEncode(e.EncodeElement(meta, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}))
		mustEncode(e.EncodeToken(root.End()))
	})
}

func (c *call) xmlError(err *Error, namespace string) response {
	return c.xml(err.status(), func(e *xml.Encoder) {
		mustEncode(e.Encode(struct {
			XMLName   xml.Name `xml:"ErrorResponse"`
			Namespace string   `xml:"xmlns,attr"`
			Type      string   `xml:"Error>Type"`
			Code      string   `xml:"Error>Code"`
			Message   string   `xml:"Error>Message"`
			RequestId string
		}{Namespace: namespace, Type: err.fault(), Code: err.queryCode(), Message: err.Message, RequestId: c.requestID}))
	})
}

func (c *call) xml(status int, encode func(*xml.Encoder)) response {
	var buf bytes.Buffer
	buf.WriteString(xml.Header)
	e := xml.NewEncoder(&buf)
	encode(e)
	mustEncode(e.Flush())
	return response{status: status, header: c.header("text/xml", buf.Bytes()), body: buf.Bytes()}
}

// mustEncode is for encoding the package's own types to memory, which cannot fail.
func mustEncode(err error) {
	if err != nil {
		panic(err)
	}
}
