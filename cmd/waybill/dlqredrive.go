package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
)

func (a *app) dlqRedriveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redrive QUEUE",
		Short: "Send the messages of a dead-letter queue back to where they failed",
		Long: `Send the messages of a dead-letter queue back to where they failed, by the source
that each has on record, or to another queue. A message is deleted only when its
destination has accepted it, and keeps its id. If its payload is in the store of
payloads, and the configuration names it, that is kept for as long as if the
message were sent for the first time; a message whose payload is gone stays.

With --edit, an expression of jq has the message as --filter has it, and its
result takes the place of its .body and .attributes, and of nothing else; without
a result the message stays.

Without --yes nothing is sent, and the report says what would be, with what --edit
changes of the first messages.

With --rate, it begins at a tenth of that, and reaches it in the time of --ramp:
what its messages do to their receivers shows before there are many. On a terminal,
or with --progress, stderr tells how far it is, how fast, and how long it takes
still.

What is in hand is in a journal in Redis, and one redrive at a time works on a
queue. So what was interrupted, or killed, goes on with waybill dlq redrive resume
where it was, and no other begins before that, or before it is cancelled. With
--no-journal it needs no Redis, and after an interruption the same command takes up
what is left, and may send again what was sent.` + canaryHelp + `

With --native, SQS moves all messages to --to by a task of its own, which this
command watches: the quickest way where nothing is chosen or edited, and where
receivers need not know of a redrive. It needs no Redis; where there is one, the
move holds the queue and is on record. When this command is interrupted, the move
goes on.

Exit codes: 0 all that was chosen is sent; 3 some of it is not, or in a dry
run would not be, and stderr says what takes it up; 1 a fault of the queues ended
it before anything was sent, or somebody cancelled it; 4 a queue does not exist;
5 somebody else redrives the queue, or did and was interrupted; 130 it was
interrupted: what it held is back in the queue.` + queueHelp,
		Args: takes("QUEUE"),
	}
	to := cmd.Flags().String("to", "", "the `queue` to send to, in place of each message's own source")
	live := cmd.Flags().Bool("live", false, "take a QUEUE that has a redrive policy itself, though looking at its\nmessages, in a dry run too, may make dead letters of them")
	filter := cmd.Flags().String("filter", "", filterUsage)
	window := windowFlags(cmd)
	catalogue := catalogueFlag(cmd)
	edit := editFlags(cmd)
	limit := cmd.Flags().Int("limit", 0, "at most `N` messages (default: all)")
	canary := canaryFlags(cmd)
	rate := cmd.Flags().Float64("rate", 0, "at most `N` messages a second (default: no limit)")
	ramp := rampFlag(cmd)
	yes := cmd.Flags().Bool("yes", false, "do it")
	progress := a.progressFlag(cmd)
	plain := cmd.Flags().Bool("no-journal", false, "keep no journal in Redis, nor others from the queue, and no audit record")
	bySQS := cmd.Flags().Bool("native", false, "have SQS itself move all messages, as they are, to --to; needs no Redis")
	by := ordererFlags(cmd)
	cmd.AddCommand(a.redriveJobCommands()...)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if *limit < 0 || *limit == 0 && cmd.Flags().Changed("limit") {
			return usagef("--limit is %d; want 1 or more", *limit)
		}
		if *rate < 0 || *rate == 0 && cmd.Flags().Changed("rate") {
			return usagef("--rate is %v; want more than 0", *rate)
		}
		if cmd.Flags().Changed("to") && *to == "" {
			return usagef("--to is empty; want a queue")
		}
		if err := by.check(); err != nil {
			return err
		}
		if *bySQS {
			if err := checkNative(cmd, *to, *rate); err != nil {
				return err
			}
			return a.move(cmd.Context(), args[0], *to, int(*rate), *yes, *plain, by, progress)
		}
		if *catalogue && *plain {
			return usagef("--catalogue and --no-journal exclude each other: both are in Redis")
		}
		f, err := parseFilter(*filter)
		if err != nil {
			return err
		}
		since, until, err := window()
		if err != nil {
			return err
		}
		opts := dlq.Options{To: *to, Live: *live, Filter: f, Since: since, Until: until, Limit: *limit, Rate: *rate, DryRun: !*yes, Owner: by.owner, Reason: by.reason}
		if err := errors.Join(edit(&opts), ramp(&opts)); err != nil {
			return err
		}
		if opts.Canary, err = canary(); err != nil {
			return err
		}
		use := writeJournal
		if opts.DryRun || *plain {
			use = noJournal
		}
		return a.inEither(cmd.Context(), *catalogue, use, args[0], func(g *graveyard, name string) error {
			opts.From = name
			p := progress()
			opts.Progress = p.report
			report, err := g.Redrive(cmd.Context(), opts)
			p.end()
			err = a.redriveEnded(err, report, args[0])
			if report.ID == "" {
				return err // it did not begin
			}
			if *plain && errors.Is(err, context.Canceled) {
				err = fmt.Errorf("%w\nthe same command takes up what is left", err)
			}
			if report.DryRun && err == nil {
				a.note("dry run: nothing was sent; give --yes to redrive")
			}
			return errors.Join(a.printRedrive(redriven{report, by.owner, by.reason}), err)
		})
	})
	return cmd
}

// A redriven queue is a report with who asked for it and why.
type redriven struct {
	dlq.Report
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

func (a *app) printRedrive(r redriven) error {
	t := table{}
	t.add("job", r.ID)
	t.add("queue", r.Queue)
	t.add("looked at", fmt.Sprintf("%d of %d", r.Seen, r.Snapshot))
	if r.DryRun {
		t.add("would be sent", strconv.Itoa(r.WouldSend))
	} else {
		t.add("sent", strconv.Itoa(r.Sent))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Destinations)) {
		t.add("  to "+name, strconv.Itoa(r.Destinations[name]))
	}
	if r.Canary != nil {
		t.add("canary", canaryText(r.Canary))
	}
	t.addCount("not chosen by the filter", r.Filtered)
	t.addCount("that the filter does not fit", r.FilterErrors)
	t.addCount("that failed at another time", r.Outside)
	t.addCount("beyond the limit", r.Beyond)
	t.addCount("edited", r.Edited)
	t.addCount("left by the edit", r.Skipped)
	t.addCount("came back", r.CameBack)
	t.addCount("newer than the redrive", r.Newer)
	t.addCount("without marks", r.Unmarked)
	t.addCount("payloads not kept on", r.Unkept)
	t.addCount("not reached", r.NotReached)
	t.addFailures(r.Failed, r.Failures)
	t.addCount("deleted by the queue for their age", r.Expired)
	if r.Warning != "" {
		t.addStyled(yellow, "warning", r.Warning)
	}
	t.add("left in the queue", strconv.Itoa(r.Remaining))
	for _, d := range r.Diffs {
		t.addDiff(d.Text)
	}
	if r.FilterError != "" {
		a.note("the filter does not fit %d messages; the first: %s", r.FilterErrors, r.FilterError)
	}
	a.tellUnkept(r.Unkept)
	return a.print(r, t)
}
