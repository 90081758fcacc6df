package topology_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/internal/testserver"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
)

// putMetricAlarm is the input of CloudWatch's PutMetricAlarm.
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html)
type putMetricAlarm struct {
	ActionsEnabled                   *bool
	AlarmActions                     []string
	AlarmDescription                 string
	AlarmName                        string
	ComparisonOperator               string
	DatapointsToAlarm                int32
	Dimensions                       []struct{ Name, Value string }
	EvaluateLowSampleCountPercentile string
	EvaluationPeriods                int32
	ExtendedStatistic                string
	InsufficientDataActions          []string
	MetricName                       string
	Metrics                          []json.RawMessage
	Namespace                        string
	OKActions                        []string
	Period                           int32
	Statistic                        string
	Tags                             []struct{ Key, Value string }
	Threshold                        float64
	ThresholdMetricId                string
	TreatMissingData                 string
	Unit                             string
}

// put reads an alarm as the service does, and checks what it would.
func put(t testing.TB, alarm topology.Alarm) putMetricAlarm {
	t.Helper()
	text, err := json.Marshal(alarm)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var in putMetricAlarm
	if err := dec.Decode(&in); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	var exact map[string]json.RawMessage // Go's decoder does not mind the case of names
	if err := json.Unmarshal(text, &exact); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	for name := range exact {
		if !bytes.Contains(again, []byte(`"`+name+`":`)) {
			t.Errorf("%s is no field of PutMetricAlarm", name)
		}
	}
	switch {
	case in.AlarmName == "" || len(in.AlarmName) > 255, len(in.AlarmDescription) > 1024:
		t.Errorf("name or description of %s is too long", text)
	case in.Namespace != "AWS/SQS" || len(in.Dimensions) != 1 || in.Dimensions[0].Name != "QueueName" || in.Dimensions[0].Value == "":
		t.Errorf("%s is about no queue", text)
	case !slices.Contains([]string{"GreaterThanOrEqualToThreshold", "GreaterThanThreshold"}, in.ComparisonOperator),
		!slices.Contains([]string{"Maximum", "Average", "Sum"}, in.Statistic), !slices.Contains([]string{"notBreaching", "missing"}, in.TreatMissingData):
		t.Errorf("%s has a value that means nothing", text)
	case in.Period <= 0 || in.Period%60 != 0, in.EvaluationPeriods < 1, in.DatapointsToAlarm > in.EvaluationPeriods, in.Period*in.EvaluationPeriods > 86400:
		t.Errorf("%s has impossible periods", text)
	case in.MetricName == "ApproximateAgeOfOldestMessage" && in.Threshold <= 0:
		t.Errorf("%s has no threshold", text)
	}
	return in
}

func alarms(t testing.TB, s *server, set *queue.Endpoints, cfg topology.AlarmConfig) []topology.Alarm {
	t.Helper()
	list, err := plan(t, s, set).Alarms(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Each dead-letter queue has an alarm of its depth and one of its age, in its own
// region, and the same ones whether it exists or is to be made.
func TestAlarms(t *testing.T) {
	s := embedded()
	set := endpoints(t, "dev",
		queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://dlq"},
		queue.Endpoint{Name: "rides", URL: "sqs://rides", DeadLetter: "sqs://dlq", Retention: 10 * 24 * time.Hour},
		queue.Endpoint{Name: "cabs", URL: "sqs://cabs.fifo", DeadLetter: "sqs://cabs-dlq.fifo", DeadLetterRetention: 4 * 24 * time.Hour, Region: "eu-west-1"},
		queue.Endpoint{Name: "short", URL: "sqs://short", DeadLetter: "sqs://short-dlq", DeadLetterRetention: 4 * 24 * time.Hour},
		queue.Endpoint{Name: "none", URL: "sqs://none"}, queue.Endpoint{Name: "topic", URL: "sns://topic"})
	const hours = 3600
	want := []string{
		"eu-west-1 waybill-dev-cabs-dlq.fifo-age dev-cabs-dlq.fifo ApproximateAgeOfOldestMessage > " + fmt.Sprint(72*hours), // 3/4 of all
		"eu-west-1 waybill-dev-cabs-dlq.fifo-depth dev-cabs-dlq.fifo ApproximateNumberOfMessagesVisible > 0",
		"us-east-1 waybill-dev-dlq-age dev-dlq ApproximateAgeOfOldestMessage > " + fmt.Sprint(72*hours), // 3/4 of 14d - 10d
		"us-east-1 waybill-dev-dlq-depth dev-dlq ApproximateNumberOfMessagesVisible > 0",
		"us-east-1 waybill-dev-short-dlq-age dev-short-dlq ApproximateAgeOfOldestMessage > " + fmt.Sprint(18*hours), // 3/4 of a quarter
		"us-east-1 waybill-dev-short-dlq-depth dev-short-dlq ApproximateNumberOfMessagesVisible > 0",
	}
	for _, existing := range []bool{false, true} {
		if existing {
			apply(t, s, set)
		}
		var got []string
		for _, a := range alarms(t, s, set, topology.AlarmConfig{}) {
			in := put(t, a)
			got = append(got, fmt.Sprintf("%s %s %s %s > %v", a.Region, in.AlarmName, in.Dimensions[0].Value, in.MetricName, in.Threshold))
			if len(in.AlarmActions)+len(in.OKActions) > 0 || existing && a.Account != "000000000000" {
				t.Errorf("%+v", a)
			}
		}
		equal(t, got, want)
	}

	// A queue to be made is in the account of the others.
	more := endpoints(t, "dev", queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://a-dlq"}, queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://dlq"})
	if a := alarms(t, s, more, topology.AlarmConfig{Endpoints: []string{"a"}})[0]; a.Account != "000000000000" {
		t.Errorf("its account is %q", a.Account)
	}

	// The retention that counts is that of the queue, where configuration has none.
	s.set(t, "dev-short-dlq", map[string]string{"MessageRetentionPeriod": "1209600"})
	set = endpoints(t, "dev", queue.Endpoint{Name: "short", URL: "sqs://short", DeadLetter: "sqs://short-dlq"})
	if got := alarms(t, s, set, topology.AlarmConfig{})[0].Threshold; got != 10*24*hours*3/4 {
		t.Errorf("the threshold is %v s", got)
	}
}

// Thresholds are of an endpoint, or of all; actions are those of both alarms.
func TestAlarmsOfEndpoints(t *testing.T) {
	s := embedded()
	set := endpoints(t, "",
		queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"}, queue.Endpoint{Name: "b", URL: "sqs://b", DeadLetter: "sqs://dlq"},
		queue.Endpoint{Name: "c", URL: "sqs://c", DeadLetter: "sqs://c-dlq"}, queue.Endpoint{Name: "d", URL: "sqs://d", DeadLetter: "sqs://d-dlq"})
	const topic, mended = "arn:aws:sns:us-east-1:123456789012:alarms", "arn:aws:lambda:eu-west-1:123456789012:function:mended"
	depths := map[string]float64{}
	for _, a := range alarms(t, s, set, topology.AlarmConfig{Depth: 7, Depths: map[string]int{"a": 100, "b": 10, "c": 0}, Actions: []string{topic}, OKActions: []string{mended}}) {
		in := put(t, a)
		if !slices.Equal(in.AlarmActions, []string{topic}) || !slices.Equal(in.OKActions, []string{mended}) {
			t.Errorf("%+v", in)
		}
		if in.MetricName == "ApproximateNumberOfMessagesVisible" {
			depths[in.Dimensions[0].Value] = in.Threshold
		}
	}
	if depths["dlq"] != 10 || depths["c-dlq"] != 0 || depths["d-dlq"] != 7 {
		t.Errorf("the thresholds are %v", depths)
	}
	list := alarms(t, s, set, topology.AlarmConfig{Endpoints: []string{"b"}})
	if len(list) != 2 || list[0].Queue != "sqs://dlq" || !slices.Equal(list[0].Endpoints, []string{"a", "b"}) {
		t.Errorf("those of b are %+v", list)
	}
	for want, cfg := range map[string]topology.AlarmConfig{
		"an alarm's depth is -1":           {Depth: -1},
		`the depth of "a" is -1`:           {Depths: map[string]int{"a": -1}},
		`"x", which is no endpoint`:        {Depths: map[string]int{"x": 1}},
		`"y", which is no endpoint`:        {Endpoints: []string{"y"}},
		`action is "alarms"; want an ARN`:  {Actions: []string{"alarms"}},
		"is in us-east-1, and CloudWatch ": {OKActions: []string{"arn:aws:sns:eu-west-1:123456789012:alarms"}},
	} {
		if _, err := plan(t, s, set).Alarms(cfg); !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A description names only so many endpoints as there is room for.
func TestAlarmsOfManyEndpoints(t *testing.T) {
	var list []queue.Endpoint
	for i := range 100 {
		name := fmt.Sprintf("endpoint-with-a-rather-long-name-%03d", i)
		list = append(list, queue.Endpoint{Name: name, URL: "sqs://" + name, DeadLetter: "sqs://dlq"})
	}
	for _, a := range alarms(t, embedded(), endpoints(t, "", list...), topology.AlarmConfig{}) {
		if in := put(t, a); !strings.Contains(in.AlarmDescription, "and 92 more") {
			t.Error(in.AlarmDescription)
		}
	}
}

// The AWS CLI takes an alarm, and would not take a field that there is not.
func TestAlarmsByAWSCLI(t *testing.T) {
	aws, ok := testserver.AWSCLI(t)
	if !ok {
		return
	}
	set := endpoints(t, "", queue.Endpoint{Name: "a", URL: "sqs://a", DeadLetter: "sqs://dlq"})
	list := alarms(t, embedded(), set, topology.AlarmConfig{Actions: []string{"arn:aws:sns:us-east-1:123456789012:alarms"}})
	inputs := []string{`{"AlarmName":"a","EvaluationPeriods":1,"ComparisonOperator":"GreaterThanThreshold","Region":"us-east-1"}`}
	for _, a := range list {
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, string(text))
	}
	for i, in := range inputs {
		cmd := exec.CommandContext(t.Context(), aws, "cloudwatch", "put-metric-alarm", "--region", "us-east-1", "--generate-cli-skeleton", "output", "--cli-input-json", in)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_PAGER=", "LC_ALL=C.UTF-8"}
		if out, err := cmd.CombinedOutput(); (err == nil) != (i > 0) || i == 0 && !bytes.Contains(out, []byte(`Unknown parameter in input: "Region"`)) {
			t.Errorf("%s: %v\n%s", in, err, out)
		}
	}
}
