package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/dlq/promdlq"
	"github.com/waybill-dev/waybill/queue"
)

const watchHelp = `Watch dead-letter queues until interrupted: all of the namespace, or those named.
Each is read every --interval, with one request, and an alarm is raised when it holds
--depth messages or more, or has grown by --growth or more within --window.

SQS's counts are approximate. So an alarm is raised when --raise-after readings in a
row are at the bound or above, and cleared when --clear-after in a row are below the
lower bound, which is half of it (depth_low and growth_low in waybill.yaml). A queue
that cannot be read three times in a row, or that vanishes, is itself an alarm,
"unreadable"; its others stay as they were.

What is raised and cleared goes to stdout, a line each, and with --notify as JSON to an
endpoint, a topic or a queue, until it is published: go doc
github.com/waybill-dev/waybill/dlq.Notice has its form. With --metrics,
http://ADDR/metrics has the metrics for Prometheus. What is not said here, and limits
of single queues, stand under watch in waybill.yaml; "waybill config --help" shows it.

The watcher keeps what it knows in memory: started anew, it raises once more what is
still so. Interrupted, it ends with 0, or with 1 if a notice could not be published.`

// A watchFlags are the flags of dlq watch.
type watchFlags struct {
	interval, window, remind time.Duration
	depths, growths          []string
	raiseAfter, clearAfter   int
	notify, metrics          string
	cloudWatch               bool
}

func (a *app) dlqWatchCommand() *cobra.Command {
	var f watchFlags
	cmd := &cobra.Command{
		Use:   "watch [QUEUE]...",
		Short: "Watch dead-letter queues, and raise alarms",
		Long:  watchHelp + queueHelp,
		Args:  cobra.ArbitraryArgs,
	}
	flags := cmd.Flags()
	flags.DurationVar(&f.interval, "interval", 0, "how often queues are read (default 30s)")
	flags.StringArrayVar(&f.depths, "depth", nil, "the `number` of messages that raises an alarm, or QUEUE=number, -1 for none; repeatable (default 1)")
	flags.StringArrayVar(&f.growths, "growth", nil, "the `number` of more messages within --window that raises an alarm, or QUEUE=number,\n-1 for none; repeatable (default none)")
	flags.DurationVar(&f.window, "window", 0, "the time over which a queue grows (default 15m)")
	flags.IntVar(&f.raiseAfter, "raise-after", 0, "`N` readings in a row raise an alarm (default 2)")
	flags.IntVar(&f.clearAfter, "clear-after", 0, "`N` readings in a row clear it (default 3)")
	flags.DurationVar(&f.remind, "remind", 0, "say again that an alarm stands after so long (default never)")
	flags.StringVar(&f.notify, "notify", "", "the `endpoint` that notices are published to")
	flags.StringVar(&f.metrics, "metrics", "", "the `address` of metrics for Prometheus, such as :9464, which is on 127.0.0.1")
	flags.BoolVar(&f.cloudWatch, "cloudwatch", false, "ask CloudWatch for the age of the oldest message, each time, at $0.00001 a queue;\nwhere the endpoint shows messages without their being received, they tell")
	for _, name := range []string{"depth", "growth", "interval", "window", "remind", "raise-after", "clear-after"} {
		flags.Lookup(name).DefValue = "" // that of the configuration
	}
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		return a.watch(cmd, f, args)
	})
	return cmd
}

func (a *app) watch(cmd *cobra.Command, f watchFlags, args []string) error {
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	g, err := a.graveyard(ctx, noJournal)
	if err != nil {
		return err
	}
	defer g.close()
	settings, err := f.over(cmd, a.loaded.Watch)
	if err != nil {
		return err
	}
	wc := watchConfig(settings)
	for _, arg := range args {
		name, err := g.deadLetters(ctx, arg)
		if err != nil {
			return err
		}
		wc.Queues = append(wc.Queues, name)
	}
	wc.Ages = dlq.LookAges(nil)
	if f.cloudWatch {
		metrics, err := a.metrics(ctx, true)
		if err != nil {
			return err
		}
		wc.Ages = dlq.LookAges(metrics)
	}
	wc.OnNotice = func(n dlq.Notice) {
		if err := a.printNotice(n); err != nil {
			stop(err)
		}
	}
	if settings.Notify != "" {
		pub, err := a.noticePublisher(ctx, settings.Notify)
		if err != nil {
			return err
		}
		defer pub.Close()
		wc.Publisher, wc.Endpoint = pub, settings.Notify
	}
	w, err := g.NewWatcher(wc)
	if err != nil {
		return usagef("%w", err)
	}
	if settings.Metrics != "" {
		closeMetrics, err := a.serveMetrics(w, settings.Metrics)
		if err != nil {
			return err
		}
		defer closeMetrics()
	}
	if err := w.Run(ctx); err != nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause // stdout is gone
	}
	return nil
}

// over returns the settings with the flags that are given over them.
func (f watchFlags) over(cmd *cobra.Command, w config.Watch) (config.Watch, error) {
	given := cmd.Flags().Changed
	queues := map[string]config.WatchLimits{}
	for name, l := range w.Queues {
		queues[name] = l
	}
	w.Queues = queues
	for _, d := range []struct {
		flag  string
		value time.Duration
		to    *time.Duration
	}{{"interval", f.interval, &w.Interval}, {"window", f.window, &w.Window}, {"remind", f.remind, &w.Remind}} {
		if given(d.flag) {
			if d.value <= 0 {
				return w, usagef("--%s is %v; want more than 0", d.flag, d.value)
			}
			*d.to = d.value
		}
	}
	for _, n := range []struct {
		flag  string
		value int
		to    *int
	}{{"raise-after", f.raiseAfter, &w.RaiseAfter}, {"clear-after", f.clearAfter, &w.ClearAfter}} {
		if given(n.flag) {
			if n.value < 1 {
				return w, usagef("--%s is %d; want 1 or more", n.flag, n.value)
			}
			*n.to = n.value
		}
	}
	set := func(flag string, texts []string, to func(*config.WatchLimits, int)) error {
		for _, text := range texts {
			name, number, of := text, text, false
			if i := strings.LastIndexByte(text, '='); i >= 0 {
				name, number, of = text[:i], text[i+1:], true
			}
			n, err := strconv.Atoi(number)
			if err != nil || n == 0 || n < -1 || of && name == "" {
				return usagef("--%s is %q; want a number of 1 or more, or -1 for none, or QUEUE=number", flag, text)
			}
			if !of {
				to(&w.WatchLimits, n)
				continue
			}
			l := w.Queues[name]
			to(&l, n)
			w.Queues[name] = l
		}
		return nil
	}
	// The lower bound of the file is not that of another upper one.
	err := errors.Join(
		set("depth", f.depths, func(l *config.WatchLimits, n int) { l.Depth, l.DepthLow = n, 0 }),
		set("growth", f.growths, func(l *config.WatchLimits, n int) { l.Growth, l.GrowthLow = n, 0 }))
	if given("notify") {
		w.Notify = f.notify
	}
	if given("metrics") {
		w.Metrics = f.metrics
	}
	return w, err
}

func watchConfig(w config.Watch) dlq.WatchConfig {
	wc := dlq.WatchConfig{Interval: w.Interval, Limits: dlq.Limits(w.WatchLimits), Remind: w.Remind, ByQueue: map[string]dlq.Limits{}}
	for name, l := range w.Queues {
		wc.ByQueue[name] = dlq.Limits(l)
	}
	if w.Interval > dlq.DefaultDiscover {
		wc.Discover = w.Interval
	}
	return wc
}

// noticePublisher returns what publishes to an endpoint.
func (a *app) noticePublisher(ctx context.Context, name string) (*queue.Publisher, error) {
	cfg, endpoints, err := a.endpoints()
	if err != nil {
		return nil, err
	}
	if _, err := endpoints.Resolve(name); err != nil {
		return nil, usagef("--notify: %w", err)
	}
	awsFor, err := awsFor(ctx, cfg, endpoints)
	if err != nil {
		return nil, err
	}
	return queue.NewPublisher(queue.PublisherConfig{AWSFor: awsFor, Endpoints: endpoints})
}

// serveMetrics serves the metrics of a watcher, on loopback if the address has no
// host, until it is told to stop.
func (a *app) serveMetrics(w *dlq.Watcher, addr string) (stop func(), err error) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		err = checkAddr(addr)
	}
	if err != nil {
		return nil, usagef("--metrics is %q; want host:port, such as 127.0.0.1:9464: %w", addr, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(promdlq.NewCollector(w)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.note("metrics: %v", err)
		}
	}()
	a.note("metrics are at http://%s/metrics", listener.Addr())
	return func() {
		_ = server.Close()
		<-done
	}, nil
}

// printNotice prints a notice on a line.
func (a *app) printNotice(n dlq.Notice) error {
	switch a.output() {
	case formatTable:
	case formatYAML:
		if _, err := fmt.Fprintln(a.stdout, "---"); err != nil {
			return err
		}
		return a.printYAML(n)
	default:
		return a.printJSON(n, "")
	}
	text := fmt.Sprintf("%s  %-7s  %-10s  %s", timestamp(n.At), n.Event, n.Alarm, orDash(n.Queue))
	switch {
	case n.Alarm == dlq.AlarmUnreadable && n.Error != "":
		text += "  " + n.Error
	case n.Alarm == dlq.AlarmGrowth:
		text += fmt.Sprintf("  %d more in %s; holds %d", n.Value, days(time.Duration(n.WindowSeconds*float64(time.Second))), n.Depth)
	case n.Alarm == dlq.AlarmDepth:
		text += fmt.Sprintf("  holds %d", n.Value)
	}
	text = printable(text)
	if s := (map[dlq.AlarmEvent]style{dlq.EventRaised: red, dlq.EventStill: yellow, dlq.EventCleared: green})[n.Event]; a.coloured() {
		text = string(s) + text + reset
	}
	_, err := fmt.Fprintln(a.stdout, text)
	return err
}
