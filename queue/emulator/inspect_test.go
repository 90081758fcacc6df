package emulator_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/waybill-dev/waybill/queue/emulator"
)

type inspected struct {
	Messages []struct {
		MessageId, Body, MD5OfBody string
		Attributes                 map[string]string
		MessageAttributes          map[string]struct{ StringValue string }
	}
	NextToken string
}

func (i inspected) bodies() (out []string) {
	for _, m := range i.Messages {
		out = append(out, m.Body)
	}
	return out
}

func inspect(t *testing.T, s *emulator.Server, accept, query string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://emulator/_aws/sqs/messages?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// Looking at a queue shows everything, and changes nothing.
func TestInspection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSQS(t, emulator.Config{})
		q := createQueue(t, c, "q")
		look := func(query string) (out inspected) {
			t.Helper()
			status, body := inspect(t, s, "application/json", "QueueUrl="+url.QueryEscape(q)+query)
			if err := json.Unmarshal(body, &out); err != nil || status != http.StatusOK {
				t.Fatalf("%d %s: %v", status, body, err)
			}
			return out
		}
		if got := look(""); len(got.Messages) != 0 {
			t.Errorf("an empty queue has %+v", got)
		}
		send(t, c, q, "taken")
		receive(t, c, q)
		send(t, c, q, "ready")
		if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &q, MessageBody: aws.String("later"), DelaySeconds: 60}); err != nil {
			t.Fatal(err)
		}
		before := s.Requests()
		for query, want := range map[string][]string{
			"":                                     {"ready"},
			"&ShowInvisible=true":                  {"taken", "ready"},
			"&ShowDelayed=true":                    {"ready", "later"},
			"&ShowInvisible=true&ShowDelayed=true": {"taken", "ready", "later"},
			"&ShowInvisible=true&ShowDelayed=true&MaxResults=2": {"taken", "ready"},
		} {
			if got := look(query).bodies(); !slices.Equal(got, want) {
				t.Errorf("%q shows %q, want %q", query, got, want)
			}
		}
		all := look("&ShowInvisible=true&ShowDelayed=true")
		for i, want := range []map[string]string{
			{"IsVisible": "false", "IsDelayed": "false", "ApproximateReceiveCount": "1", "VisibleTimestamp": fmt.Sprint(time.Now().Add(30 * time.Second).UnixMilli())},
			{"IsVisible": "true", "IsDelayed": "false", "ApproximateReceiveCount": "0", "VisibleTimestamp": ""},
			{"IsVisible": "true", "IsDelayed": "true", "ApproximateReceiveCount": "0", "VisibleTimestamp": fmt.Sprint(time.Now().Add(60 * time.Second).UnixMilli())},
		} {
			for name, value := range want {
				if got := all.Messages[i].Attributes[name]; got != value {
					t.Errorf("%s of %s is %q, want %q", name, all.Messages[i].Body, got, value)
				}
			}
		}
		if after := s.Requests(); len(after) != len(before) {
			t.Errorf("looking counts as requests: %v", after)
		}
		if got := receive(t, c, q); len(got) != 1 || got[0].Attributes["ApproximateReceiveCount"] != "1" {
			t.Errorf("received %+v, want what was looked at for the first time", got)
		}
	})
}

// All pages together have every message once, in order.
func TestInspectionInPages(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	q := createQueue(t, c, "q")
	big := strings.Repeat("x", 1<<20-10)
	var want []string
	for i := range 25 {
		body := fmt.Sprintf("%02d", i)
		if i > 10 && i < 21 {
			body += big
		}
		want = append(want, body)
		send(t, c, q, body)
	}
	var got []string
	pages := 0
	for token := ""; ; pages++ {
		_, body := inspect(t, s, "application/json", "MaxResults=10&QueueUrl="+url.QueryEscape(q)+"&NextToken="+token)
		var page inspected
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		if n := len(body); n > 9<<20 || len(page.Messages) == 0 {
			t.Fatalf("a page has %d messages and %d bytes", len(page.Messages), n)
		}
		got = append(got, page.bodies()...)
		if token = page.NextToken; token == "" {
			break
		}
	}
	if !slices.Equal(got, want) || pages != 2 {
		t.Errorf("%d messages came in %d pages, want 25 in 3", len(got), pages+1)
	}
}

// The XML is that of ReceiveMessage, as LocalStack has it.
func TestInspectionInXML(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	q := createQueue(t, c, "q")
	send(t, c, q, "a<b")
	status, body := inspect(t, s, "", "QueueUrl="+url.QueryEscape(q))
	var out struct {
		XMLName xml.Name `xml:"http://queue.amazonaws.com/doc/2012-11-05/ ReceiveMessageResponse"`
		Bodies  []string `xml:"ReceiveMessageResult>Message>Body"`
		Names   []string `xml:"ReceiveMessageResult>Message>Attribute>Name"`
	}
	if err := xml.Unmarshal(body, &out); err != nil || status != 200 || !slices.Equal(out.Bodies, []string{"a<b"}) || !slices.Contains(out.Names, "IsVisible") {
		t.Errorf("%d %s: %v", status, body, err)
	}
	for query, want := range map[string]string{
		"": "QueueUrl",
		"QueueUrl=http://emulator/000000000000/none":                  "NonExistentQueue",
		"MaxResults=1001&QueueUrl=" + url.QueryEscape(q):              "MaxResults",
		"MaxResults=x&QueueUrl=" + url.QueryEscape(q):                 "MaxResults",
		"NextToken=%21&QueueUrl=" + url.QueryEscape(q):                "NextToken",
		"NextToken=" + "eA%3D%3D" + "&QueueUrl=" + url.QueryEscape(q): "NextToken",
	} {
		for _, accept := range []string{"", "application/json"} {
			if status, body := inspect(t, s, accept, query); status != 400 || !strings.Contains(string(body), strings.TrimPrefix(want, "NonExistent")) {
				t.Errorf("%q: %d %s, want 400 with %s", query, status, body, want)
			}
		}
	}
}

// Messages of a FIFO queue show what they have besides the others.
func TestInspectionFIFO(t *testing.T) {
	s, c := newSQS(t, emulator.Config{})
	queue := createQueue(t, c, "q.fifo", "FifoQueue", "true")
	sent, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &queue, MessageBody: aws.String("x"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var out inspected
	if status, body := inspect(t, s, "application/json", "QueueUrl="+url.QueryEscape(queue)); status != http.StatusOK || json.Unmarshal(body, &out) != nil || len(out.Messages) != 1 {
		t.Fatalf("%d %s", status, body)
	}
	for name, want := range map[string]string{"MessageGroupId": "g", "MessageDeduplicationId": "d", "SequenceNumber": *sent.SequenceNumber} {
		if got := out.Messages[0].Attributes[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
