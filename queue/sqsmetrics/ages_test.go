package sqsmetrics_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/sqsmetrics"
)

// A watch is a CloudWatch with pages of one result.
type watch struct {
	values map[string][]float64 // by queue, the newest first
	fails  int                  // the call that fails
	calls  int
	asked  int
}

func (w *watch) GetMetricData(_ context.Context, in *cloudwatch.GetMetricDataInput, _ ...func(*cloudwatch.Options)) (*cloudwatch.GetMetricDataOutput, error) {
	w.calls++
	if w.calls == w.fails {
		return nil, errors.New("access denied")
	}
	page := 0
	if in.NextToken == nil {
		w.asked += len(in.MetricDataQueries)
	} else if _, err := fmt.Sscan(*in.NextToken, &page); err != nil {
		return nil, err
	}
	if len(in.MetricDataQueries) > 500 {
		return nil, errors.New("too many queries")
	}
	q := in.MetricDataQueries[page]
	name := *q.MetricStat.Metric.Dimensions[0].Value
	out := &cloudwatch.GetMetricDataOutput{MetricDataResults: []types.MetricDataResult{{Id: q.Id, Values: w.values[name]}}}
	if page+1 < len(in.MetricDataQueries) {
		out.NextToken = aws.String(fmt.Sprint(page + 1))
	}
	return out, nil
}

func queues(names ...string) []*queue.Queue {
	var list []*queue.Queue
	for _, name := range names {
		list = append(list, &queue.Queue{Name: name, Endpoint: queue.Endpoint{Name: name, URL: "sqs://" + name}})
	}
	return list
}

func newAges(t *testing.T, config sqsmetrics.Config) *sqsmetrics.Ages {
	t.Helper()
	a, err := sqsmetrics.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOldestAges(t *testing.T) {
	w := &watch{values: map[string][]float64{"a": {90, 30}, "c": {0}}}
	config := sqsmetrics.Config{ClientFor: func(e queue.Endpoint) sqsmetrics.Client {
		if e.Region == "none" {
			return nil
		}
		return w
	}}
	list := queues("a", "b", "c", "d")
	list[3].Endpoint.Region = "none"
	got := newAges(t, config).OldestAges(t.Context(), list)
	if got[0] != (queue.OldestAge{Age: 90 * time.Second}) || got[2] != (queue.OldestAge{}) {
		t.Errorf("what is known is %+v", got)
	}
	if !errors.Is(got[1].Err, queue.ErrNoAge) || !strings.Contains(got[1].Err.Error(), "six hours") || !errors.Is(got[3].Err, queue.ErrNoAge) || !strings.Contains(got[3].Err.Error(), "there is no CloudWatch") {
		t.Errorf("what is not known is %+v", got)
	}

	// A call that fails takes nothing that is known.
	*w = watch{values: w.values, fails: 2}
	got = newAges(t, config).OldestAges(t.Context(), queues("a", "b", "c"))
	if got[0].Age != 90*time.Second || errors.Is(got[1].Err, queue.ErrNoAge) || got[1].Err == nil || got[2].Err == nil {
		t.Errorf("after a failure: %+v", got)
	}

	// More than one request may ask for.
	*w = watch{values: map[string][]float64{"q1100": {7}}}
	var many []string
	for i := range 1101 {
		many = append(many, fmt.Sprint("q", i))
	}
	if got = newAges(t, config).OldestAges(t.Context(), queues(many...)); w.asked != 1101 || got[1100].Age != 7*time.Second || got[0].Err == nil {
		t.Errorf("of 1,101: asked for %d, %+v", w.asked, got[1100])
	}
}

func TestNew(t *testing.T) {
	if _, err := sqsmetrics.New(sqsmetrics.Config{}); err == nil {
		t.Error("without a client")
	}
	// Outside AWS nobody is asked, unless that is said.
	for base, asked := range map[string]bool{"http://127.0.0.1:1": false, "": true, "https://sqs.us-east-1.amazonaws.com": true} {
		calls := 0
		cfg := aws.Config{
			Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""), RetryMaxAttempts: 1,
			HTTPClient: failing(func(host string) {
				if calls++; host != "monitoring.us-east-1.amazonaws.com" {
					t.Errorf("%s: asked at %s", base, host)
				}
			}),
		}
		if base != "" {
			cfg.BaseEndpoint = aws.String(base)
		}
		got := newAges(t, sqsmetrics.Config{AWSFor: func(queue.Endpoint) aws.Config { return cfg }}).OldestAges(t.Context(), queues("a"))
		if got[0].Err == nil || errors.Is(got[0].Err, queue.ErrNoAge) != !asked || (calls > 0) != asked {
			t.Errorf("%q: %v after %d calls", base, got[0].Err, calls)
		}
	}
}

// On moto: its CloudWatch answers with what was put there, from a release on that
// speaks the protocol of this client; one before (5.2) is an error of every queue.
func TestMoto(t *testing.T) {
	url, ok := testserver.Moto(t)
	if !ok {
		return
	}
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	name := testserver.Namespace(t) + "-dlq"
	client, answers := cloudwatch.NewFromConfig(cfg), true
	for ago, age := range map[time.Duration]float64{5 * time.Minute: 300, 10 * time.Minute: 120, time.Hour: 9} {
		_, err := client.PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{Namespace: aws.String("AWS/SQS"), MetricData: []types.MetricDatum{{
			MetricName: aws.String("ApproximateAgeOfOldestMessage"), Dimensions: []types.Dimension{{Name: aws.String("QueueName"), Value: &name}},
			Timestamp: aws.Time(time.Now().Add(-ago)), Value: &age,
		}}})
		answers = answers && err == nil
	}
	got := newAges(t, sqsmetrics.Config{AWSFor: func(queue.Endpoint) aws.Config { return cfg }, Everywhere: true}).OldestAges(t.Context(), queues(name, name+"2"))
	switch {
	case answers && (got[0] != (queue.OldestAge{Age: 5 * time.Minute}) || !errors.Is(got[1].Err, queue.ErrNoAge)):
		t.Errorf("%+v", got)
	case !answers && (got[0].Err == nil || got[1].Err == nil || errors.Is(got[0].Err, queue.ErrNoAge)):
		t.Errorf("of a server that does not answer: %+v", got)
	}
}

func ExampleNew() {
	ages, err := sqsmetrics.New(sqsmetrics.Config{ClientFor: func(queue.Endpoint) sqsmetrics.Client {
		return &watch{values: map[string][]float64{"fares-dlq": {7200}}} // a *cloudwatch.Client is one, and AWSFor makes it
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, age := range ages.OldestAges(context.Background(), queues("fares-dlq")) {
		fmt.Println(age.Age)
	}
	// Output: 2h0m0s
}

// failing is an HTTP client that reaches nothing, and tells where it was to.
type failing func(host string)

func (f failing) Do(r *http.Request) (*http.Response, error) {
	f(r.URL.Host)
	return nil, errors.New("nothing is reached")
}
