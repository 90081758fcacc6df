package topology

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/queue"
)

// An AlarmConfig says when the alarms of [Plan.Alarms] go off, and what they do.
type AlarmConfig struct {
	// Depth is the number of dead letters above which an alarm goes off. Defaults
	// to 0: the first is enough.
	Depth int

	// Depths are those of the dead-letter queues of some endpoints, by the
	// endpoint's name. Of endpoints that share a queue, the least counts.
	Depths map[string]int

	// Endpoints are those whose dead-letter queues have alarms. Defaults to all.
	Endpoints []string

	// Actions and OKActions are the ARNs of what is done when an alarm goes off and
	// when it is over: topics of SNS, in the alarm's own region. Default to none.
	Actions, OKActions []string
}

// An Alarm is an alarm of CloudWatch. In JSON it is what `aws cloudwatch
// put-metric-alarm --cli-input-json` takes, in the region and the account that it
// names beside it.
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html)
type Alarm struct {
	// Region and Account are where the queue is, and so where the alarm has to be;
	// empty if they are not known. Queue is its URL (sqs://dev-fares-dlq), and
	// Endpoints are those whose dead letters it takes.
	Region    string   `json:"-"`
	Account   string   `json:"-"`
	Queue     string   `json:"-"`
	Endpoints []string `json:"-"`

	AlarmName          string
	AlarmDescription   string
	OKActions          []string `json:",omitempty"`
	AlarmActions       []string `json:",omitempty"`
	MetricName         string
	Namespace          string
	Statistic          string
	Dimensions         []AlarmDimension
	Period             int // in seconds
	EvaluationPeriods  int
	DatapointsToAlarm  int
	Threshold          float64
	ComparisonOperator string
	TreatMissingData   string
}

// An AlarmDimension says which queue's metric it is.
type AlarmDimension struct{ Name, Value string }

// Alarms returns two alarms for each dead-letter queue of the configuration, as an
// apply would leave it, by their names:
//
//	waybill-dev-fares-dlq-depth    there are dead letters
//	waybill-dev-fares-dlq-age      the oldest will be deleted if nobody acts
//
// The alarm of the age goes off at three quarters of the time that a dead letter
// has at least. That is the retention of the queue, and on a standard queue, where
// SQS counts from when the message was first sent and the metric from the move, less
// the longest retention of the queues whose letters it takes; but no less than a
// quarter of its own.
//
// A later call with the same configuration returns the same, and to put an alarm
// again changes the one of its name. Errors are of a kind [queue.ErrInvalid].
func (p *Plan) Alarms(cfg AlarmConfig) ([]Alarm, error) {
	if err := p.checkAlarms(cfg); err != nil {
		return nil, err
	}
	var list []Alarm
	for _, q := range p.desire.queues {
		a := alarmsOf{queueNode: q, depth: cfg.Depth}
		own := false
		for name, source := range p.desire.served {
			if source.deadLetter != q {
				continue
			}
			a.sources = append(a.sources, name)
			a.longest = max(a.longest, source.keeps())
			depth, ok := cfg.Depths[name]
			if ok && (!own || depth < a.depth) {
				a.depth, own = depth, true
			}
		}
		slices.Sort(a.sources)
		asked := len(cfg.Endpoints) == 0 || slices.ContainsFunc(a.sources, func(s string) bool { return slices.Contains(cfg.Endpoints, s) })
		if len(a.sources) == 0 || !asked {
			continue
		}
		for _, alarm := range []Alarm{p.depthAlarm(a), p.ageAlarm(a)} {
			alarm.AlarmActions, alarm.OKActions = slices.Clone(cfg.Actions), slices.Clone(cfg.OKActions)
			if err := alarm.reaches(); err != nil {
				return nil, err
			}
			list = append(list, alarm)
		}
	}
	slices.SortStableFunc(list, func(a, b Alarm) int {
		return cmp.Or(strings.Compare(a.AlarmName, b.AlarmName), strings.Compare(a.Region, b.Region), strings.Compare(a.Account, b.Account))
	})
	return list, nil
}

// checkAlarms refuses thresholds and names that mean nothing.
func (p *Plan) checkAlarms(cfg AlarmConfig) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("topology: %w: %s", queue.ErrInvalid, fmt.Sprintf(format, args...))
	}
	if cfg.Depth < 0 {
		return bad("an alarm's depth is %d; want 0 or more", cfg.Depth)
	}
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(cfg.Depths)), cfg.Endpoints) {
		if q := p.desire.served[name]; q == nil || q.deadLetter == nil {
			return bad("alarms are asked for %q, which is no endpoint with a dead-letter queue", name)
		}
		if cfg.Depths[name] < 0 {
			return bad("the depth of %q is %d; want 0 or more", name, cfg.Depths[name])
		}
	}
	for _, arn := range slices.Concat(cfg.Actions, cfg.OKActions) {
		if part := strings.SplitN(arn, ":", 6); len(part) != 6 || part[0] != "arn" || part[5] == "" {
			return bad("an alarm's action is %q; want an ARN, for example that of a topic: arn:aws:sns:eu-west-1:123456789012:alarms", arn)
		}
	}
	return nil
}

// reaches refuses topics of another region, to which CloudWatch sends nothing.
func (a *Alarm) reaches() error {
	for _, arn := range slices.Concat(a.AlarmActions, a.OKActions) {
		if part := strings.SplitN(arn, ":", 6); part[2] == "sns" && a.Region != "" && part[3] != a.Region {
			return fmt.Errorf("topology: %w: the alarm %s is in %s, and CloudWatch sends nothing to a topic of another region (%s)", queue.ErrInvalid, a.AlarmName, a.Region, arn)
		}
	}
	return nil
}

// alarmsOf is a dead-letter queue with what its alarms are made of.
type alarmsOf struct {
	*queueNode
	sources []string      // the endpoints whose dead letters it takes
	longest time.Duration // that they keep messages
	depth   int
}

// some names endpoints, as a description has room for.
func (a alarmsOf) some() string {
	const most = 8
	if n := len(a.sources) - most; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(a.sources[:most], ", "), n)
	}
	return strings.Join(a.sources, ", ")
}

// keeps returns the retention that the queue has after an apply.
func (q *queueNode) keeps() time.Duration {
	v := queueView{queueNode: q}
	v.read(q.have)
	v.configure()
	return v.retention
}

func (p *Plan) alarm(a alarmsOf, what string) Alarm {
	region, account := p.whereabouts(a.queueNode)
	return Alarm{
		Region: region, Account: account, Queue: a.url, Endpoints: a.sources,
		AlarmName: "waybill-" + a.name + "-" + what,
		Namespace: "AWS/SQS", Statistic: "Maximum",
		Dimensions:        []AlarmDimension{{Name: "QueueName", Value: a.name}},
		EvaluationPeriods: 1, DatapointsToAlarm: 1,
		ComparisonOperator: "GreaterThanThreshold",
		// CloudWatch has no data of a queue that is empty and that nobody asks.
		TreatMissingData: "notBreaching",
	}
}

// depthAlarm counts what is visible. What SQS itself moves is not in
// NumberOfMessagesSent.
func (p *Plan) depthAlarm(a alarmsOf) Alarm {
	alarm := p.alarm(a, "depth")
	alarm.MetricName, alarm.Period, alarm.Threshold = "ApproximateNumberOfMessagesVisible", 60, float64(a.depth)
	some := "There are"
	if a.depth > 0 {
		some = fmt.Sprintf("There are more than %d", a.depth)
	}
	alarm.AlarmDescription = fmt.Sprintf("%s dead letters of %s in %s. waybill dlq peek %s shows why.", some, a.some(), a.name, a.sources[0])
	return alarm
}

func (p *Plan) ageAlarm(a alarmsOf) Alarm {
	keeps := a.keeps()
	least := keeps
	if !fifo(a.name) {
		least = max(keeps-a.longest, keeps/4)
	}
	threshold := (least * 3 / 4).Truncate(time.Second)
	alarm := p.alarm(a, "age")
	alarm.MetricName, alarm.Period, alarm.Threshold = "ApproximateAgeOfOldestMessage", 300, threshold.Seconds()
	alarm.AlarmDescription = fmt.Sprintf("A dead letter of %s has been in %s for %s, and is deleted after as little as %s (the queue keeps messages for %s). Redrive it, or keep it elsewhere.",
		a.some(), a.name, days(threshold), days(least), days(keeps))
	return alarm
}

// whereabouts returns the region and the account of a queue, as far as they are
// known: those of its ARN, or of configuration. The account is also that of others
// that are made by the same credentials.
func (p *Plan) whereabouts(q *queueNode) (region, account string) {
	if part := strings.Split(q.arn, ":"); len(part) == 6 {
		return part[3], part[4]
	}
	account = cmp.Or(q.account, accountOf(q.site))
	for _, other := range p.desire.queues {
		if part := strings.Split(other.arn, ":"); account == "" && other.account == "" && other.site == q.site && len(part) == 6 {
			account = part[4]
		}
	}
	return cmp.Or(q.site.Region, p.observer.clients[q.site].region()), account
}
