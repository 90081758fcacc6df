package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/sqsmetrics"
)

func (a *app) dlqListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [QUEUE]",
		Short: "List dead-letter queues and how many messages they hold",
		Long: `List the dead-letter queues of the namespace, or one of them, with how many
messages they hold and the queues that they belong to. A queue whose attributes
the credentials may not read is shown as unreadable: it may be one.

GROWTH is how many more messages there are than when you listed them last, which a
file keeps, --seen. OLDEST is the age of the oldest message: of the first 1,000 that
can be received, where the endpoint shows messages without their being received,
as LocalStack and "waybill dev" do; at AWS what CloudWatch says, some minutes old, at
$0.00001 a queue, for which it wants cloudwatch:GetMetricData. With --look N, where
neither tells, N messages of each queue are received and returned, which raises their
receive counts. Else it is not known, and why is on stderr.` + queueHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return takes("QUEUE")(cmd, args)
			}
			return nil
		},
	}
	look := cmd.Flags().Int("look", 0, "receive and return `N` messages of each queue whose oldest nothing else tells")
	metrics := cmd.Flags().Bool("cloudwatch", false, "ask CloudWatch, also outside AWS; --cloudwatch=false asks it nowhere (default at AWS alone)")
	seen := cmd.Flags().String("seen", "", "the `file` of what was listed before; none turns it off\n(default waybill/dlq-seen.json in $XDG_STATE_HOME, or in ~/.local/state)")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		switch {
		case *look < 0 || *look > dlq.MaxLook || *look == 0 && cmd.Flags().Changed("look"):
			return usagef("--look is %d; want 1 to %d", *look, dlq.MaxLook)
		case *seen == "" && cmd.Flags().Changed("seen"):
			return usagef("--seen is empty; want a file, or none")
		}
		ctx := cmd.Context()
		g, err := a.graveyard(ctx, noJournal)
		if err != nil {
			return err
		}
		defer g.close()
		list, err := g.list(ctx, args)
		if err != nil {
			return err
		}
		opts := dlq.AgeOptions{Receive: *look}
		if *metrics || !cmd.Flags().Changed("cloudwatch") {
			if opts.Finder, err = a.metrics(ctx, *metrics); err != nil {
				return err
			}
		}
		if err := g.FindAges(ctx, list, opts); err != nil {
			return err
		}
		a.noteSeen(list, *seen)
		a.tellAges(list, *look)
		return a.print(list, queueTable(list))
	})
	return cmd
}

// metrics returns what asks CloudWatch.
func (a *app) metrics(ctx context.Context, everywhere bool) (*sqsmetrics.Ages, error) {
	cfg, endpoints, err := a.endpoints()
	if err != nil {
		return nil, err
	}
	awsFor, err := awsFor(ctx, cfg, endpoints)
	if err != nil {
		return nil, err
	}
	return sqsmetrics.New(sqsmetrics.Config{AWSFor: awsFor, Everywhere: everywhere})
}

// noteSeen tells queues how they have grown, and keeps what they hold.
func (a *app) noteSeen(list []dlq.Queue, path string) {
	if path == "none" {
		return
	}
	var err error
	if path == "" {
		path, err = dlq.SeenPath()
	}
	if err == nil {
		err = dlq.NewSeen(path).Note(list, time.Now())
	}
	if err != nil {
		a.note("growth: %v", err)
	}
}

// tellAges says why ages are not known, and what looking has cost.
func (a *app) tellAges(list []dlq.Queue, look int) {
	unknown := map[string]int{}
	received := 0
	for _, q := range list {
		switch o := q.Oldest; {
		case o == nil:
		case o.From == dlq.AgeReceived:
			received++
		case !o.Known && q.Messages+q.InFlight+q.Delayed > 0:
			unknown[o.Reason]++
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(unknown)) {
		text := ""
		if look == 0 {
			text = "; --look N receives some to see"
		}
		a.note("the age of the oldest message is not known of %s: %s%s", plural(unknown[reason], "queue"), reason, text)
	}
	if received > 0 {
		a.note("up to %s of %s were received and returned: their receive counts have risen by one", plural(look, "message"), plural(received, "queue"))
	}
}

func queueTable(list []dlq.Queue) table {
	t := table{header: []string{"QUEUE", "MESSAGES", "IN FLIGHT", "DELAYED", "GROWTH", "OLDEST", "KEPT FOR", "DEAD LETTERS OF"}}
	for _, q := range list {
		if q.Missing || q.Unreadable {
			state := "missing"
			if q.Unreadable {
				state = "unreadable"
			}
			t.addStyled(red, q.Name, state, "-", "-", "-", "-", "-", sources(q))
			continue
		}
		s := plain
		if q.Messages+q.InFlight+q.Delayed > 0 {
			s = yellow
		}
		t.addStyled(s, q.Name, strconv.Itoa(q.Messages), strconv.Itoa(q.InFlight), strconv.Itoa(q.Delayed), growth(q.Growth), age(q.Oldest), days(q.Retention), sources(q))
	}
	return t
}

// growth tells how a queue has grown, and since when: "+12 in 3h".
func growth(g *dlq.Growth) string {
	if g == nil {
		return "-"
	}
	return fmt.Sprintf("%+d in %s", g.Messages, roughly(time.Since(g.Since)))
}

func age(o *dlq.Oldest) string {
	if o == nil || !o.Known {
		return "-"
	}
	return roughly(o.Age)
}

// roughly writes a duration in its two largest units.
func roughly(d time.Duration) string {
	d = max(d, 0)
	for _, u := range []struct {
		unit, below time.Duration
		name, small string
	}{{24 * time.Hour, time.Hour, "d", "h"}, {time.Hour, time.Minute, "h", "m"}, {time.Minute, time.Second, "m", "s"}} {
		if d >= u.unit {
			text := fmt.Sprintf("%d%s", d/u.unit, u.name)
			if rest := d % u.unit / u.below; rest > 0 {
				text += fmt.Sprintf("%d%s", rest, u.small)
			}
			return text
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// list returns all dead-letter queues, or the one that is named.
func (g *graveyard) list(ctx context.Context, names []string) ([]dlq.Queue, error) {
	var only *queue.Queue
	if len(names) > 0 {
		name, err := g.deadLetters(ctx, names[0])
		if err != nil {
			return nil, err
		}
		if only, err = g.queues.Queue(ctx, name); err != nil {
			return nil, err
		}
	}
	list, err := g.List(ctx)
	if list == nil {
		list = []dlq.Queue{} // in JSON a list, not null
	}
	if err != nil || only == nil {
		return list, err
	}
	i := slices.IndexFunc(list, func(q dlq.Queue) bool { return q.Name == only.Name && (q.URL == only.URL || q.URL == "") })
	if i < 0 {
		return nil, &notFoundError{fmt.Sprintf("%s is the dead-letter queue of no queue", only.Name)}
	}
	return list[i : i+1], nil
}

func days(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "-"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	default:
		return d.String()
	}
}

func sources(q dlq.Queue) string {
	var names []string
	for _, s := range q.Sources {
		names = append(names, s.Name)
	}
	return orDash(strings.Join(names, ", "))
}
