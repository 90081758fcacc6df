package emulator_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/waybill-dev/waybill/queue/emulator"
)

// Every rule of SQS holds in the Query protocol, too. The SDK speaks JSON alone, so a translator of the test's
// own stands between.
func TestConformanceInQuery(t *testing.T) {
	for _, r := range allRules() {
		if r.sns || strings.HasPrefix(r.name, "wire/") { // which are about another service, and about JSON
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := emulator.New(emulator.Config{EnforcePolicies: true})
				client := &http.Client{Transport: translator{s.Client().Transport}}
				p := newProbe(t, "http://emulator", client)
				p.server = s
				for _, complaint := range r.hold(p, nil) {
					t.Error(complaint)
				}
			})
		})
	}
}

// A translator sends requests of AWS JSON 1.0 as forms, and brings their answers back in JSON.
type translator struct{ next http.RoundTripper }

func (t translator) RoundTrip(r *http.Request) (*http.Response, error) {
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	if !ok {
		return t.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	form := url.Values{"Action": {operation}, "Version": {"2012-11-05"}}
	for name, v := range in {
		spell(form, operation, "", name, v)
	}
	query := r.Clone(r.Context())
	query.Header.Del("X-Amz-Target")
	query.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	text := form.Encode()
	query.Body, query.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	resp, err := t.next.RoundTrip(query)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return t.back(resp, operation, answer)
}

// spell adds a member of a request to a form.
func spell(form url.Values, operation, prefix, name string, v any) {
	singular := map[string]string{
		"Attributes": "Attribute", "MessageAttributes": "MessageAttribute", "MessageSystemAttributes": "MessageSystemAttribute",
		"Tags": "Tag", "AttributeNames": "AttributeName", "MessageAttributeNames": "MessageAttributeName",
		"MessageSystemAttributeNames": "MessageSystemAttributeName", "TagKeys": "TagKey", "AWSAccountIds": "AWSAccountId",
		"Actions": "ActionName", "Entries": operation + "RequestEntry",
	}
	switch v := v.(type) {
	case []any:
		for i, m := range v {
			spell(form, operation, prefix+singular[name]+".", strconv.Itoa(i+1), m)
		}
	case map[string]any:
		flat, isMap := singular[name]
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if !isMap {
				spell(form, operation, prefix+name+".", k, v[k])
				continue
			}
			key := "Name"
			if name == "Tags" {
				key = "Key"
			}
			entry := fmt.Sprintf("%s%s.%d.", prefix, flat, i+1)
			form.Set(entry+key, k)
			spell(form, operation, entry, "Value", v[k])
		}
	case float64:
		form.Set(prefix+name, strconv.Itoa(int(v)))
	default:
		form.Set(prefix+name, fmt.Sprint(v))
	}
}

// An element is a part of an answer in XML.
type element struct {
	XMLName  xml.Name
	Text     string    `xml:",chardata"`
	Elements []element `xml:",any"`
}

func (e element) named(name string) (out []element) {
	for _, c := range e.Elements {
		if c.XMLName.Local == name {
			out = append(out, c)
		}
	}
	return out
}

func (e element) text(path ...string) string {
	for _, name := range path {
		found := e.named(name)
		if len(found) != 1 {
			return ""
		}
		e = found[0]
	}
	return e.Text
}

// back makes an answer in JSON of one in XML.
func (t translator) back(resp *http.Response, operation string, answer []byte) (*http.Response, error) {
	var root element
	if err := xml.Unmarshal(answer, &root); err != nil {
		return nil, fmt.Errorf("%s: %w in %s", operation, err, answer)
	}
	resp.Header.Set("Content-Type", "application/x-amz-json-1.0")
	var out any
	if resp.StatusCode == http.StatusOK {
		if root.XMLName != (xml.Name{Space: "http://queue.amazonaws.com/doc/2012-11-05/", Local: operation + "Response"}) || root.text("ResponseMetadata", "RequestId") == "" {
			return nil, fmt.Errorf("%s is answered with %s", operation, answer)
		}
		out = map[string]any{}
		if result := root.named(operation + "Result"); len(result) == 1 {
			out = meaning(operation, result[0])
		}
	} else {
		code := root.text("Error", "Code")
		resp.Header.Set("X-Amzn-Query-Error", code+";"+root.text("Error", "Type"))
		shape := strings.TrimPrefix(code, "AWS.SimpleQueueService.")
		if shape == "NonExistentQueue" {
			shape = "QueueDoesNotExist"
		}
		out = map[string]string{"__type": "com.amazonaws.sqs#" + shape, "message": root.text("Error", "Message")}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	resp.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return resp, nil
}

// meaning returns what an element is in JSON.
func meaning(operation string, e element) any {
	if len(e.Elements) == 0 {
		switch e.XMLName.Local {
		case "SenderFault":
			return e.Text == "true"
		case "ApproximateNumberOfMessagesMoved", "ApproximateNumberOfMessagesToMove", "MaxNumberOfMessagesPerSecond", "StartedTimestamp":
			return json.Number(e.Text)
		}
		if !strings.HasSuffix(e.XMLName.Local, "Result") {
			return e.Text
		}
	}
	out := make(map[string]any)
	list := func(name string, v any) {
		have, _ := out[name].([]any)
		out[name] = append(have, v)
	}
	entry := func(name, key string, c element) {
		if out[name] == nil {
			out[name] = make(map[string]any)
		}
		out[name].(map[string]any)[c.text(key)] = meaning(operation, c.named("Value")[0])
	}
	for _, c := range e.Elements {
		switch name := c.XMLName.Local; name {
		case "Attribute", "MessageAttribute":
			entry(name+"s", "Name", c)
		case "Tag":
			entry("Tags", "Key", c)
		case "Message":
			if operation == "ReceiveMessage" {
				list("Messages", meaning(operation, c))
			} else {
				out[name] = c.Text
			}
		case "QueueUrl":
			switch operation {
			case "ListQueues":
				list("QueueUrls", c.Text)
			case "ListDeadLetterSourceQueues":
				list("queueUrls", c.Text)
			default:
				out[name] = c.Text
			}
		case operation + "ResultEntry":
			if operation == "ListMessageMoveTasks" {
				list("Results", meaning(operation, c))
			} else {
				list("Successful", meaning(operation, c))
			}
		case "BatchResultErrorEntry":
			list("Failed", meaning(operation, c))
		default:
			out[name] = meaning(operation, c)
		}
	}
	return out
}

// What SDKs do not do, other clients of the Query protocol did.
func TestQuery(t *testing.T) {
	s := emulator.New(emulator.Config{})
	client := s.Client()
	post := func(path, form, authorization string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, "http://sqs.example"+path, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		r.Header.Set("Authorization", authorization)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	const v = "&Version=2012-11-05"
	for _, tt := range []struct {
		name, path, form, authorization string
		status                          int
		contains                        string
	}{
		{name: "create", path: "/", form: "Action=CreateQueue&QueueName=q&Attribute.1.Name=DelaySeconds&Attribute.1.Value=0" + v, status: 200, contains: "<CreateQueueResult><QueueUrl>http://sqs.example/000000000000/q</QueueUrl></CreateQueueResult>"},
		{name: "by path", path: "/000000000000/q", form: "Action=SendMessage&MessageBody=a%26b" + v, status: 200, contains: "<MD5OfMessageBody>"},
		{name: "path and QueueUrl", path: "/000000000000/none", form: "Action=ReceiveMessage&QueueUrl=http://sqs.example/000000000000/q" + v, status: 200, contains: "<Body>a&amp;b</Body>"},
		{name: "in the URL", path: "/000000000000/q?Action=GetQueueAttributes&AttributeName.1=QueueArn" + v, status: 200, contains: "<Attribute><Name>QueueArn</Name><Value>arn:aws:sqs:us-east-1:000000000000:q</Value></Attribute>"},
		{name: "without an answer", path: "/000000000000/q", form: "Action=SetQueueAttributes&Attribute.1.Name=DelaySeconds&Attribute.1.Value=1" + v, status: 200, contains: `"><ResponseMetadata><RequestId>`},
		{name: "by its signature", path: "/", form: "Action=ListQueues", authorization: "AWS4-HMAC-SHA256 Credential=K/20260102/us-east-1/sqs/aws4_request, SignedHeaders=host", status: 200, contains: "<QueueUrl>http://sqs.example/000000000000/q</QueueUrl>"},
		{name: "no queue", path: "/", form: "Action=ReceiveMessage" + v, status: 400, contains: "<Type>Sender</Type><Code>MissingParameter</Code>"},
		{name: "no such queue", path: "/000000000000/none", form: "Action=ReceiveMessage" + v, status: 400, contains: "<Code>AWS.SimpleQueueService.NonExistentQueue</Code>"},
		{name: "no number", path: "/000000000000/q", form: "Action=ReceiveMessage&MaxNumberOfMessages=ten" + v, status: 400, contains: "MaxNumberOfMessages must be an integer, not &#34;ten&#34;"},
		{name: "an entry without its key", path: "/000000000000/q", form: "Action=SetQueueAttributes&Attribute.1.Value=1" + v, status: 400, contains: "An entry of a map has no Name."},
		{name: "members where text belongs", path: "/000000000000/q", form: "Action=SendMessage&MessageBody.1=x" + v, status: 400, contains: "MessageBody must be string"},
		{name: "no action", path: "/", form: "QueueName=q" + v, status: 400, contains: "<Code>MissingAction</Code>"},
		{name: "no such action", path: "/", form: "Action=FoldQueue" + v, status: 400, contains: "<Code>InvalidAction</Code>"},
		{name: "an action of SNS", path: "/", form: "Action=CreateTopic&Name=t" + v, status: 400, contains: "<Code>InvalidAction</Code>"},
		{name: "of SNS", path: "/", form: "Action=CreateTopic&Name=t&Version=2010-03-31", status: 200, contains: "<TopicArn>"},
	} {
		status, body := post(tt.path, tt.form, tt.authorization)
		if status != tt.status || !strings.Contains(body, tt.contains) {
			t.Errorf("%s: %d %s\nwant %d with %s", tt.name, status, body, tt.status, tt.contains)
		}
	}
	if n := s.Requests()["sqs.ReceiveMessage"]; n != 3 { // what cannot be read is no request
		t.Errorf("%d requests of ReceiveMessage are counted, want 3", n)
	}
}

// TestQueryOfNoText holds that what is no UTF-8 is refused, and not taken for something else.
func TestQueryOfNoText(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	q := createQueue(t, c, "q")
	resp, err := s.Client().PostForm("http://emulator/", url.Values{"Action": {"SendMessage"}, "Version": {"2012-11-05"}, "QueueUrl": {q}, "MessageBody": {"a\xffb"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "MessageBody") {
		t.Errorf("the answer is %s %s, %v", resp.Status, body, err)
	}
}
