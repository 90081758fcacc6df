package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzRequest sends any bytes as a request of either protocol. The server must answer, in the protocol, and
// never by its own fault.
func FuzzRequest(f *testing.F) {
	f.Add("AmazonSQS.SendMessage", `{"QueueUrl":"http://h/000000000000/q","MessageBody":"x","MessageAttributes":{"a":{"DataType":"Binary","BinaryValue":"AP8="}}}`)
	f.Add("AmazonSQS.SendMessageBatch", `{"QueueUrl":"http://h/000000000000/q","Entries":[{"Id":"a","MessageBody":"x","DelaySeconds":3}]}`)
	f.Add("AmazonSQS.ReceiveMessage", `{"QueueUrl":"http://h/000000000000/q","MaxNumberOfMessages":10,"AttributeNames":["All"],"MessageAttributeNames":["a.*"]}`)
	f.Add("AmazonSQS.SetQueueAttributes", `{"QueueUrl":"http://h/000000000000/q","Attributes":{"RedrivePolicy":"{\"deadLetterTargetArn\":\"a\",\"maxReceiveCount\":\"3\"}"}}`)
	f.Add("AmazonSQS.SetQueueAttributes", `{"QueueUrl":"http://h/000000000000/q","Attributes":{"Policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":[\"sqs:*\"],\"Condition\":{\"ArnLike\":{\"aws:SourceArn\":\"*\"}}}}"}}`)
	f.Add("AmazonSQS.SendMessage", `{"QueueUrl":"http://h/000000000000/q.fifo","MessageBody":"x","MessageGroupId":"g","MessageDeduplicationId":"d"}`)
	f.Add("AmazonSQS.SendMessageBatch", `{"QueueUrl":"http://h/000000000000/q.fifo","Entries":[{"Id":"a","MessageBody":"x","MessageGroupId":"g","MessageDeduplicationId":"m"},{"Id":"b","MessageBody":"x","MessageGroupId":"h","MessageDeduplicationId":"m"}]}`)
	f.Add("AmazonSQS.ReceiveMessage", `{"QueueUrl":"http://h/000000000000/q.fifo","MaxNumberOfMessages":10,"ReceiveRequestAttemptId":"!","VisibilityTimeout":0}`)
	f.Add("AmazonSQS.CreateQueue", `{"QueueName":"r.fifo","Attributes":{"FifoQueue":"true","ContentBasedDeduplication":"true","DeduplicationScope":"messageGroup","FifoThroughputLimit":"perMessageGroupId"}}`)
	f.Add("AmazonSQS.SetQueueAttributes", `{"QueueUrl":"http://h/000000000000/q.fifo","Attributes":{"FifoQueue":"true","DelaySeconds":"9","DeduplicationScope":"messageGroup"}}`)
	f.Add("AmazonSQS.ListQueues", `{"MaxResults":1,"NextToken":"eA=="}`)
	f.Add("", "Action=Publish&TopicArn=arn:aws:sns:us-east-1:000000000000:t&Message=x&MessageAttributes.entry.1.Name=a&MessageAttributes.entry.1.Value.DataType=Number&MessageAttributes.entry.1.Value.StringValue=1e3")
	f.Add("", "Action=PublishBatch&TopicArn=arn:aws:sns:us-east-1:000000000000:t&PublishBatchRequestEntries.member.1.Id=a&PublishBatchRequestEntries.member.1.Message=x")
	f.Add("", "Action=Subscribe&TopicArn=arn:aws:sns:us-east-1:000000000000:t&Protocol=sqs&Endpoint=arn:aws:sqs:us-east-1:000000000000:q&Attributes.entry.1.key=FilterPolicy&Attributes.entry.1.value={}")
	f.Add("", "Version=2012-11-05&Action=SendMessageBatch&QueueUrl=http://h/000000000000/q&SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=x&SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=a&SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=String")
	f.Add("", "Version=2012-11-05&Action=SetQueueAttributes&QueueUrl=http://h/000000000000/q&Attribute.1.Name=DelaySeconds&Attribute.1.Value=3")
	f.Add("", "Version=2012-11-05&Action=ReceiveMessage&QueueUrl=http://h/000000000000/q&WaitTimeSeconds=0&AttributeName.1=All")
	f.Fuzz(func(t *testing.T, target, body string) {
		s := New(Config{})
		for _, in := range []struct{ operation, body string }{
			{"CreateQueue", `{"QueueName":"q"}`},
			{"CreateQueue", `{"QueueName":"q.fifo","Attributes":{"FifoQueue":"true"}}`},
			{"SendMessage", `{"QueueUrl":"http://h/000000000000/q.fifo","MessageBody":"x","MessageGroupId":"g","MessageDeduplicationId":"m"}`},
		} {
			if made := s.exchange(t, "AmazonSQS."+in.operation, in.body); made.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", in.operation, made.Code, made.Body)
			}
		}
		s.exchange(t, "", "Action=CreateTopic&Name=t")
		w := s.exchange(t, target, body)
		if w.Code >= 500 {
			t.Fatalf("%s of %q: %d %s", target, body, w.Code, w.Body)
		}
		if !utf8.Valid(w.Body.Bytes()) {
			t.Fatalf("%s of %q: the answer is no UTF-8", target, body)
		}
		if w.Header().Get("Content-Type") == jsonContentType {
			if w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s of %q: the answer is no JSON: %s", target, body, w.Body)
			}
			return
		}
		d := xml.NewDecoder(w.Body)
		for {
			if _, err := d.Token(); err == io.EOF {
				return
			} else if err != nil {
				t.Fatalf("%s of %q: the answer is no XML: %v", target, body, err)
			}
		}
	})
}

func (s *Server) exchange(t *testing.T, target, body string) *httptest.ResponseRecorder {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the client has left, so no long poll waits
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(body))
	if target != "" {
		r.Header["X-Amz-Target"] = []string{target}
	} else {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func FuzzReceiptHandle(f *testing.F) {
	f.Add(receiptHandle(1, 2, 3))
	f.Add("nonsense")
	f.Fuzz(func(t *testing.T, s string) {
		serial, number, receive, ok := parseReceiptHandle(s)
		if ok && receiptHandle(serial, number, receive) != s {
			t.Errorf("%q is read as %d, %d, %d", s, serial, number, receive)
		}
	})
}

func FuzzLike(f *testing.F) {
	f.Add("arn:aws:sns:*:?:t*", "arn:aws:sns:us-east-1:1:topic")
	f.Add("*a*a*a*b", "aaaaaaaaaaaaaaaa")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		for _, s := range pattern + text {
			if s < ' ' || s > '~' {
				return // ARNs are of plain characters
			}
		}
		expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
		if want := regexp.MustCompile("^" + expression + "$").MatchString(text); like(pattern, text) != want {
			t.Errorf("like(%q, %q) is %v, want %v", pattern, text, !want, want)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"b\\c\n\r\t\x00\x1f\u2028<&>\U0001F600")
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil || got != s {
			t.Errorf("%q is written as %s (%v)", s, appendString(nil, s), err)
		}
	})
}

func FuzzLoneSurrogate(f *testing.F) {
	f.Add(`"\ud83d\ude00 \ud83d \\ud83d \u00e4"`)
	f.Add(`"\ude00\ud83d"`)
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if strings.ContainsRune(s, utf8.RuneError) || strings.Contains(strings.ToLower(s), `\ufffd`) || json.Unmarshal([]byte(s), &got) != nil {
			return
		}
		if replaced := strings.ContainsRune(got, utf8.RuneError); replaced != hasLoneSurrogate([]byte(s)) {
			t.Errorf("hasLoneSurrogate(%s) = %v, want %v", s, !replaced, replaced)
		}
	})
}

func FuzzForm(f *testing.F) {
	f.Add("Attributes.entry.1.key=a&Attributes.entry.1.value=b&Tags.member.1.Key=x")
	f.Add("a.1=x&a.2=y&a.4=z&a.1.1.1=w")
	f.Fuzz(func(t *testing.T, s string) {
		values, err := url.ParseQuery(s)
		if err != nil {
			return
		}
		form := newForm(values)
		form.stringMap("Attributes")
		for name := range values {
			if i := strings.IndexByte(name, '.'); i >= 0 && len(form.list(name[:i])) > len(form.members) {
				t.Errorf("the list %s has more members than there are", name[:i])
			}
		}
		form.resource()
	})
}

func TestNumbers(t *testing.T) {
	for s, want := range map[string]bool{
		"0": true, "-0": true, "+1": true, "1.": true, ".5": true, "1e3": true, "1E-3": true, "00012": true, "0e9999": true,
		"1e126": true, "1.1e126": false, "2e126": false, "9e125": true, "1e127": false,
		"1e-128": true, "1e-129": false, "0.1e-127": true, "100e124": true, "100e125": false,
		"": false, ".": false, "e3": false, "1e": false, "x": false, "1 ": false, "0x1": false, "1_0": false, "--1": false, "NaN": false, "1e99999": false,
		"12345678901234567890123456789012345678": true, "123456789012345678901234567890123456789": false,
		"0.00012345678901234567890123456789012345678000": true,
	} {
		if got := validNumber(s); got != want {
			t.Errorf("validNumber(%q) = %v, want %v", s, got, want)
		}
	}
}

// Answers that encode themselves are the same as those that package json encodes.
func TestAppendJSON(t *testing.T) {
	out := &batchOutput{
		successful: []batchSuccess{{id: "a"}, {id: "b", sent: sentMessage{&content{id: "1", bodyMD5: "2", attrsMD5: "3", traceMD5: "4"}, "5"}}},
		failed:     []batchFailure{{"c", errMissingParameter("X")}, {"d", &Error{Code: "E", Message: "\"m\"", Receiver: true}}},
	}
	const want = `{"Successful":[{"Id":"a"},{"Id":"b","MessageId":"1","MD5OfMessageBody":"2","MD5OfMessageAttributes":"3","MD5OfMessageSystemAttributes":"4","SequenceNumber":"5"}],` +
		`"Failed":[{"Id":"c","Code":"MissingParameter","Message":"The request must contain the parameter X.","SenderFault":true},{"Id":"d","Code":"E","Message":"\"m\"","SenderFault":false}]}`
	if got := out.appendJSON(nil); !bytes.Equal(got, []byte(want)) {
		t.Errorf("the answer is %s, want %s", got, want)
	}
}
