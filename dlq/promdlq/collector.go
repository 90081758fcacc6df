package promdlq

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-dev/waybill/dlq"
)

// A Collector is the metrics of a watcher. It is a [prometheus.Collector] for any
// registry, and registers itself with none.
type Collector struct {
	status func() dlq.WatchStatus

	messages, inFlight, growth, oldest, alarm, readErrors, lastRead *prometheus.Desc

	listErrors, polls, lastSuccess, sent, pending, noticeErrors *prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns the metrics of a watcher.
func NewCollector(w *dlq.Watcher) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("waybill_dlq_"+name, help, labels, nil)
	}
	return &Collector{
		status: w.Status,

		messages:   desc("messages", "Messages in the dead-letter queue, those in flight and delayed among them.", "queue"),
		inFlight:   desc("in_flight", "Messages of the dead-letter queue that receivers have in hand.", "queue"),
		growth:     desc("growth", "How many more messages the dead-letter queue holds than a window before.", "queue"),
		oldest:     desc("oldest_age_seconds", "Age of the oldest message of the dead-letter queue.", "queue"),
		alarm:      desc("alarm", "Whether the alarm is raised.", "queue", "alarm"),
		readErrors: desc("read_errors_total", "How often the dead-letter queue could not be read.", "queue"),
		lastRead:   desc("last_read_timestamp_seconds", "When the dead-letter queue was read last.", "queue"),

		listErrors:   desc("list_errors_total", "How often the dead-letter queues could not be listed."),
		polls:        desc("polls_total", "How often all dead-letter queues were read."),
		lastSuccess:  desc("last_success_timestamp_seconds", "When all dead-letter queues could be read last."),
		sent:         desc("notices_sent_total", "Notices that were published."),
		pending:      desc("notices_pending", "Notices that are not published yet."),
		noticeErrors: desc("notice_errors_total", "How often a notice could not be published."),
	}
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.messages, c.inFlight, c.growth, c.oldest, c.alarm, c.readErrors, c.lastRead,
		c.listErrors, c.polls, c.lastSuccess, c.sent, c.pending, c.noticeErrors,
	} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	s := c.status()
	seen := map[string]bool{}
	for _, q := range s.Queues {
		if seen[q.Name] {
			continue
		}
		seen[q.Name] = true
		if q.Read {
			gauge(c.messages, float64(q.Depth), q.Name)
			gauge(c.inFlight, float64(q.InFlight), q.Name)
			gauge(c.growth, float64(q.Growth), q.Name)
			gauge(c.lastRead, unix(q.LastSuccess), q.Name)
		}
		if q.OldestKnown {
			gauge(c.oldest, q.Oldest.Seconds(), q.Name)
		}
		for _, a := range dlq.AlarmKinds() {
			raised := 0.0
			if slices.Contains(q.Alarms, a) {
				raised = 1
			}
			gauge(c.alarm, raised, q.Name, string(a))
		}
		counter(c.readErrors, q.Errors, q.Name)
	}
	counter(c.listErrors, s.ListErrors)
	counter(c.polls, s.Polls)
	if !s.LastSuccess.IsZero() {
		gauge(c.lastSuccess, unix(s.LastSuccess))
	}
	counter(c.sent, s.Sent)
	gauge(c.pending, float64(s.Pending))
	counter(c.noticeErrors, s.Failed)
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
