// Package promdlq has the metrics of Prometheus for dead-letter queues that a
// [dlq.Watcher] watches:
//
//	w, err := client.NewWatcher(dlq.WatchConfig{})
//	registry := prometheus.NewRegistry()
//	registry.MustRegister(promdlq.NewCollector(w))
//	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
//
// Each scrape tells what the watcher has read last, and asks the queues nothing:
//
//	waybill_dlq_messages{queue}             messages in the queue, those in flight and delayed among them
//	waybill_dlq_in_flight{queue}            messages that receivers have in hand
//	waybill_dlq_growth{queue}               how many more messages than a window before
//	waybill_dlq_oldest_age_seconds{queue}   age of the oldest message, where that is known
//	waybill_dlq_alarm{queue,alarm}          1 where the alarm is raised, else 0: depth, growth, unreadable
//	waybill_dlq_read_errors_total{queue}    how often the queue could not be read
//	waybill_dlq_last_read_timestamp_seconds{queue}   when it was read last
//	waybill_dlq_list_errors_total           how often the queues could not be listed
//	waybill_dlq_polls_total                 how often all queues were read
//	waybill_dlq_last_success_timestamp_seconds       when all of them could be read last
//	waybill_dlq_notices_sent_total, waybill_dlq_notices_pending, waybill_dlq_notice_errors_total
//
// A queue that could not be read yet has no counts, and one that can no longer be
// read keeps its last: judge it by the alarm unreadable, or by when it was read last.
// The label queue is the queue's name; of queues of one name in several places, only
// the first is told.
//
// The package is apart so that who needs no metrics has no client of Prometheus.
package promdlq
