package sqsmetrics

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/waybill-dev/waybill/queue"
)

// A Client is the part of [*cloudwatch.Client] that is called.
type Client interface {
	GetMetricData(context.Context, *cloudwatch.GetMetricDataInput, ...func(*cloudwatch.Options)) (*cloudwatch.GetMetricDataOutput, error)
}

// A Config configures [Ages].
type Config struct {
	// AWSFor gives the queues of each [queue.Place] the configuration of their
	// client, as for a queue.Admin. Required without ClientFor.
	AWSFor func(queue.Endpoint) aws.Config

	// Everywhere asks also outside AWS, as LocalStack and moto have a CloudWatch at
	// the same URL. By default only AWS itself is asked.
	Everywhere bool

	// ClientFor returns the client for the queues of a place, or nil where there is
	// no CloudWatch. It is called once for each. Defaults to clients of AWSFor.
	ClientFor func(queue.Endpoint) Client
}

// Ages finds the ages of oldest messages. It is safe for concurrent use.
type Ages struct {
	config Config

	mu      sync.Mutex
	clients map[queue.Place]Client
}

// New returns an Ages. It makes no calls.
func New(config Config) (*Ages, error) {
	if config.ClientFor == nil {
		if config.AWSFor == nil {
			return nil, errors.New("sqsmetrics: Config has neither AWSFor nor ClientFor")
		}
		config.ClientFor = config.newClient
	}
	return &Ages{config: config, clients: map[queue.Place]Client{}}, nil
}

// newClient returns a client of AWSFor.
func (c Config) newClient(e queue.Endpoint) Client {
	cfg := c.AWSFor(e)
	if e.Region != "" {
		cfg.Region = e.Region
	}
	if e.EndpointURL != "" {
		cfg.BaseEndpoint = aws.String(e.EndpointURL)
	}
	if base := aws.ToString(cfg.BaseEndpoint); base != "" {
		switch u, err := url.Parse(base); {
		case err == nil && strings.Contains(u.Hostname()+".", ".amazonaws.com."):
			cfg.BaseEndpoint = nil // it is that of SQS
		case !c.Everywhere:
			return nil
		}
	}
	return cloudwatch.NewFromConfig(cfg)
}

const (
	// maxQueries is how many metrics a request asks for at most.
	maxQueries = 500

	// window is how far back a value may be.
	window = 30 * time.Minute

	callTimeout = 30 * time.Second
)

var errNoValue = fmt.Errorf("%w: CloudWatch has no value of the last %d minutes; SQS gives it none of queues that nobody has used for six hours", queue.ErrNoAge, window/time.Minute)

// OldestAges returns the ages of the oldest messages of the queues, in their order.
// What CloudWatch does not know is an error that matches [queue.ErrNoAge].
func (a *Ages) OldestAges(ctx context.Context, queues []*queue.Queue) []queue.OldestAge {
	ages := make([]queue.OldestAge, len(queues))
	byPlace := map[queue.Place][]int{}
	for i, q := range queues {
		p := q.Endpoint.Place()
		byPlace[p] = append(byPlace[p], i)
	}
	for _, at := range byPlace {
		client := a.client(queues[at[0]].Endpoint)
		for start := 0; start < len(at); start += maxQueries {
			part := at[start:min(start+maxQueries, len(at))]
			names := make([]string, len(part))
			for i, n := range part {
				names[i] = queues[n].Name
			}
			for i, age := range ask(ctx, client, names) {
				ages[part[i]] = age
			}
		}
	}
	return ages
}

func (a *Ages) client(e queue.Endpoint) Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := e.Place()
	c, ok := a.clients[p]
	if !ok {
		c = a.config.ClientFor(e)
		a.clients[p] = c
	}
	return c
}

// ask asks for the ages of queues by their names.
func ask(ctx context.Context, client Client, names []string) []queue.OldestAge {
	ages := make([]queue.OldestAge, len(names))
	all := func(err error) []queue.OldestAge {
		for i := range ages {
			ages[i].Err = err
		}
		return ages
	}
	all(errNoValue)
	if client == nil {
		return all(fmt.Errorf("%w: there is no CloudWatch", queue.ErrNoAge))
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now := time.Now()
	in := &cloudwatch.GetMetricDataInput{
		StartTime: aws.Time(now.Add(-window)), EndTime: aws.Time(now.Add(time.Minute)), ScanBy: types.ScanByTimestampDescending,
	}
	for i, name := range names {
		in.MetricDataQueries = append(in.MetricDataQueries, types.MetricDataQuery{
			Id: aws.String("q" + strconv.Itoa(i)),
			MetricStat: &types.MetricStat{
				Metric: &types.Metric{
					Namespace: aws.String("AWS/SQS"), MetricName: aws.String("ApproximateAgeOfOldestMessage"),
					Dimensions: []types.Dimension{{Name: aws.String("QueueName"), Value: aws.String(name)}},
				},
				Period: aws.Int32(60), Stat: aws.String("Maximum"),
			},
		})
	}
	for {
		out, err := client.GetMetricData(ctx, in)
		if err != nil {
			err = fmt.Errorf("sqsmetrics: %w", err)
			for i := range ages {
				if errors.Is(ages[i].Err, errNoValue) {
					ages[i].Err = err
				}
			}
			return ages
		}
		for _, r := range out.MetricDataResults {
			i, err := strconv.Atoi(strings.TrimPrefix(aws.ToString(r.Id), "q"))
			if err != nil || i < 0 || i >= len(ages) || len(r.Values) == 0 || ages[i].Err == nil {
				continue // the newest comes first
			}
			ages[i] = queue.OldestAge{Age: time.Duration(r.Values[0] * float64(time.Second))}
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return ages
		}
	}
}
