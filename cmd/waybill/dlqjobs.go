package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// journals opens the store of the journals of redrives, and of who works on a
// queue. Who only reads makes none where there is none.
func (a *app) journals(ctx context.Context, cfg *config.Config, use journalling) (*redisstore.Store, func() error, error) {
	client := redis.NewUniversalClient(cfg.Redis.Options())
	st, err := redisstore.Open(ctx, redisstore.Config{
		Client: client, Namespace: cfg.StoreNamespace(), GiveUp: 3 * time.Second, Existing: use == readJournal, AcceptUnknownEviction: true,
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = fmt.Errorf("%w; check --namespace and --redis", err)
	case err != nil && use == writeRecords:
		err = fmt.Errorf("who works on the queue, and what was done to it, is kept in Redis, which fails: %w", err)
	case err != nil && use == writeJournal:
		err = fmt.Errorf("the journal of the redrive is kept in Redis, which fails; --no-journal goes without, and what is then interrupted cannot be resumed: %w", err)
	}
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return st, client.Close, nil
}

// An orderer is who has a redrive do something, and why.
type orderer struct{ owner, reason string }

func ordererFlags(cmd *cobra.Command) *orderer {
	var o orderer
	cmd.Flags().StringVar(&o.owner, "owner", operator(), "`who` does it, for others to see and for the audit record")
	cmd.Flags().StringVar(&o.reason, "reason", "", "`why`, for the audit record")
	return &o
}

func (o *orderer) check() error {
	if o.owner == "" || len(o.owner) > store.MaxID {
		return usagef("--owner has %d bytes; want 1 to %d", len(o.owner), store.MaxID)
	}
	return nil
}

// tellHolder adds to the error of a redrive what the operator can do.
func (a *app) tellHolder(err error, arg string) error {
	var (
		held  *store.JobHeldError
		open  *store.JobOpenError
		going *dlq.ResumableError
	)
	resume, cancel := a.commandLine("dlq redrive resume", arg, "--yes"), a.commandLine("dlq redrive cancel", arg, "--yes")
	switch {
	case errors.As(err, &held):
		return fmt.Errorf("%w\n%s works on it since %s, as job %s, and was to be heard of until %s\n%s tells how far it is\n%s stops it",
			err, held.Owner, timestamp(held.Since), held.ID, timestamp(held.Until), a.commandLine("dlq redrive status", arg), cancel)
	case errors.As(err, &open):
		return fmt.Errorf("%w\n%s began job %s at %s\n%s goes on with it\n%s gives it up", err, open.Owner, open.ID, timestamp(open.Since), resume, cancel)
	case errors.As(err, &going):
		return fmt.Errorf("%w\n%s goes on with it\n%s gives it up", err, resume, cancel)
	}
	return err
}

// commandLine returns a command with the global flags that this one was given, but
// for the format, and for the passwords in URLs.
func (a *app) commandLine(path, arg string, flags ...string) string {
	line := "waybill " + path + " " + typed(arg)
	for _, f := range flags {
		line += " " + f
	}
	a.flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed && f.Name != "output" {
			line += " --" + f.Name + " " + typed(redacted(f.Value.String()))
		}
	})
	return line
}

// redacted returns a value without the password that it has as a URL.
func redacted(value string) string {
	if u, err := url.Parse(value); err == nil && u.User != nil {
		return u.Redacted()
	}
	return value
}

// redriveEnded returns what a redrive has come to as the command's error.
func (a *app) redriveEnded(err error, report dlq.Report, arg string) error {
	var going *dlq.ResumableError
	err = a.tellHolder(err, arg)
	if errors.As(err, &going) || err != nil && report.Sent > 0 && !errors.Is(err, dlq.ErrCancelled) {
		err = &partialError{err}
	}
	return err
}

const jobHelp = ` A redrive's job is kept in Redis,
with its journal, for 90 days after its end.`

func (a *app) redriveJobCommands() []*cobra.Command {
	return []*cobra.Command{a.redriveStatusCommand(), a.redriveResumeCommand(), a.redriveCancelCommand(), a.redriveHistoryCommand()}
}

func (a *app) redriveStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status QUEUE",
		Short: "Show the redrive of a dead-letter queue, and how far it is",
		Long:  "Show the redrive of a dead-letter queue that is under way, or the last one:\nwho works on it, and how far it has come." + jobHelp + queueHelp,
		Args:  takes("QUEUE"),
	}
	id := cmd.Flags().String("job", "", "the job of this `id`; by default the last one")
	bySQS := cmd.Flags().Bool("native", false, "show the moves by SQS itself, the newest first")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if *bySQS {
			return a.printMoves(cmd.Context(), args[0])
		}
		return a.inJournal(cmd.Context(), args[0], func(g *graveyard, name string) error {
			j, err := g.Status(cmd.Context(), name, *id)
			if err != nil {
				return err
			}
			return a.print(j, jobTable(j))
		})
	})
	return cmd
}

func jobTable(j dlq.Job) table {
	t := table{}
	some := func(name, text string) {
		if text != "" {
			t.add(name, text)
		}
	}
	t.add("job", j.ID)
	t.add("queue", j.Queue)
	t.addStyled(jobStyle(j), "state", jobText(j))
	t.add("by", j.Owner+" since "+timestamp(j.Since))
	if j.State == dlq.JobRunning || j.State == dlq.JobLost {
		t.add("lease", "until "+timestamp(j.LeaseUntil))
	}
	t.add("made", timestamp(j.Created))
	if j.Openings > 1 {
		t.add("resumed", fmt.Sprintf("%d times", j.Openings-1))
	}
	some("to", j.Spec.To)
	some("filter", j.Spec.Filter)
	some("edit", j.Spec.Edit)
	if j.Report.Canary != nil {
		t.add("canary", canaryText(j.Report.Canary))
	}
	t.add("looked at", fmt.Sprintf("%d of %d", j.Report.Seen, j.Spec.Snapshot))
	t.add("sent", strconv.Itoa(j.Report.Sent))
	t.add("deleted", strconv.Itoa(j.Report.Deleted))
	t.add("in hand", strconv.FormatInt(j.InHand, 10))
	if j.Report.Failed > 0 {
		t.add("failed", strconv.Itoa(j.Report.Failed))
	}
	if j.CancelledBy != "" {
		t.add("cancelled by", j.CancelledBy+" at "+timestamp(j.CancelledAt))
	}
	if !j.Ended.IsZero() {
		t.add("ended", timestamp(j.Ended))
	}
	return t
}

func jobText(j dlq.Job) string {
	if j.Status == "" {
		return string(j.State)
	}
	return string(j.State) + ", " + j.Status
}

func jobStyle(j dlq.Job) style {
	switch {
	case j.State == dlq.JobLost:
		return red
	case j.State == dlq.JobStopped:
		return yellow
	}
	return plain
}

func (a *app) redriveHistoryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history [QUEUE]",
		Short: "List redrives, the newest first",
		Long:  "List the redrives of a dead-letter queue, or of all, the newest first." + jobHelp + queueHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return takes("QUEUE")(cmd, args)
			}
			return nil
		},
	}
	limit := cmd.Flags().Int("limit", 20, "at most `N`")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if *limit < 1 {
			return usagef("--limit is %d; want 1 or more", *limit)
		}
		arg := ""
		if len(args) > 0 {
			arg = args[0]
		}
		return a.inJournal(cmd.Context(), arg, func(g *graveyard, name string) error {
			list, err := g.History(cmd.Context(), name, *limit)
			if err != nil {
				return err
			}
			t := table{header: []string{"JOB", "QUEUE", "STATE", "BY", "MADE", "SENT", "DELETED", "IN HAND", "FAILED"}}
			for _, j := range list {
				t.addStyled(jobStyle(j), j.ID, j.Queue, jobText(j), j.Owner, timestamp(j.Created), strconv.Itoa(j.Report.Sent),
					strconv.Itoa(j.Report.Deleted), strconv.FormatInt(j.InHand, 10), strconv.Itoa(j.Report.Failed))
			}
			return a.print(list, t)
		})
	})
	return cmd
}

func (a *app) redriveResumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume QUEUE",
		Short: "Go on with a redrive that was interrupted",
		Long: `Go on with the redrive of a dead-letter queue that was interrupted, as it was told
to begin with. What is known to have been sent is only deleted; what may have been
sent is sent again under the same id, by which an idempotent receiver drops it.
Where the process was killed, its messages show again after two minutes, which
resume waits for. One that was cancelled is brought to its end.

Without --yes nothing is done, and the job is shown. Exit codes are those of waybill
dlq redrive, and 5 if somebody works on it.` + queueHelp,
		Args: takes("QUEUE"),
	}
	id := cmd.Flags().String("job", "", "the job of this `id`; by default the one that has not ended")
	rate := cmd.Flags().Float64("rate", 0, "at most `N` messages a second (default: as the job began)")
	ramp := rampFlag(cmd)
	yes := cmd.Flags().Bool("yes", false, "do it")
	progress := a.progressFlag(cmd)
	by := ordererFlags(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if *rate < 0 || *rate == 0 && cmd.Flags().Changed("rate") {
			return usagef("--rate is %v; want more than 0", *rate)
		}
		if err := by.check(); err != nil {
			return err
		}
		opts := dlq.Options{Owner: by.owner, Reason: by.reason, Rate: *rate}
		if err := ramp(&opts); err != nil {
			return err
		}
		return a.inJournal(cmd.Context(), args[0], func(g *graveyard, name string) error {
			j, err := g.unended(cmd.Context(), name, *id)
			if err != nil {
				return err
			}
			if !*yes {
				a.note("dry run: nothing was done; give --yes to resume")
				return a.print(j, jobTable(j))
			}
			p := progress()
			opts.Progress = p.report
			report, err := g.Resume(cmd.Context(), name, j.ID, opts)
			p.end()
			var going *dlq.ResumableError
			if j.CancelledBy != "" && errors.Is(err, dlq.ErrCancelled) && !errors.As(err, &going) {
				a.note("job %s was cancelled by %s, and has ended", j.ID, j.CancelledBy)
				err = nil
			}
			err = a.redriveEnded(err, report, args[0])
			if report.ID == "" {
				return err
			}
			return errors.Join(a.printRedrive(redriven{report, by.owner, by.reason}), err)
		})
	})
	return cmd
}

// unended returns a job that has not ended.
func (g *graveyard) unended(ctx context.Context, name, id string) (dlq.Job, error) {
	j, err := g.Status(ctx, name, id)
	if err == nil && j.State == dlq.JobEnded {
		err = &notFoundError{fmt.Sprintf("%s has no redrive that has not ended; the last one, %s, is %s", name, j.ID, cmp.Or(j.Status, "over"))}
	}
	return j, err
}

func (a *app) redriveCancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel QUEUE",
		Short: "Stop a redrive",
		Long: `Stop the redrive of a dead-letter queue. Who works on it hears of it within ten
seconds, returns what it holds, and ends it. What was sent stays sent, and the rest
stays in the queue. Where nobody works on it, and it had messages in hand, waybill
dlq redrive resume brings it to its end.

Without --yes nothing is done, and the job is shown.` + queueHelp,
		Args: takes("QUEUE"),
	}
	id := cmd.Flags().String("job", "", "the job of this `id`; by default the one that has not ended")
	yes := cmd.Flags().Bool("yes", false, "do it")
	bySQS := cmd.Flags().Bool("native", false, "stop the move by SQS itself that runs")
	by := ordererFlags(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if err := by.check(); err != nil {
			return err
		}
		if *bySQS {
			return a.cancelMove(cmd.Context(), args[0], *yes, by)
		}
		return a.inJournal(cmd.Context(), args[0], func(g *graveyard, name string) error {
			j, err := g.unended(cmd.Context(), name, *id)
			if err != nil {
				return err
			}
			if !*yes {
				a.note("dry run: nothing was done; give --yes to cancel")
				return a.print(j, jobTable(j))
			}
			if j, err = g.Cancel(cmd.Context(), name, j.ID, by.owner, by.reason); err != nil {
				return err
			}
			switch j.State {
			case dlq.JobRunning:
				a.note("%s hears of it within ten seconds, and ends it", j.Owner)
			case dlq.JobEnded:
			default:
				a.note("%d messages are in hand; this brings the job to its end:\n%s", j.InHand, a.commandLine("dlq redrive resume", args[0], "--yes"))
			}
			return a.print(j, jobTable(j))
		})
	})
	return cmd
}
