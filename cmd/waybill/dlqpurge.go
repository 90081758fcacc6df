package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
)

func (a *app) dlqPurgeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "purge QUEUE",
		Short: "Delete messages of a dead-letter queue",
		Long: `Delete the messages of a dead-letter queue that --filter chooses, or all of them
where --all has the name of the queue, in full. With --archive, each is in that file,
which must not be there yet, before it is deleted, and "waybill dlq import" restores
them. A payload that is in the store of payloads stays there until its time is over.

Without --yes nothing is deleted, and the report says what would be. One at a time
works on a queue, and what is deleted is on record in Redis, by SQS's ids, with who
did it and why.

Exit codes: 0 all that was chosen is deleted; 3 some of it is not, or not all
messages were looked at, and the same command takes it up; 5 somebody else works on the queue; 1 a fault ended it before anything was deleted; 130 it was
interrupted: what it held is back in the queue.` + queueHelp,
		Args: takes("QUEUE"),
	}
	filter := cmd.Flags().String("filter", "", filterUsage)
	all := cmd.Flags().String("all", "", "delete whatever is in the queue: its `name`, as a precaution")
	archive := cmd.Flags().String("archive", "", "write what is deleted to this new `file` first")
	limit := cmd.Flags().Int("limit", 0, "at most `N` messages (default: all)")
	window := windowFlags(cmd)
	catalogue := catalogueFlag(cmd)
	yes := cmd.Flags().Bool("yes", false, "do it")
	plain := cmd.Flags().Bool("no-journal", false, "keep nobody else from the queue, and no audit record: it needs no Redis")
	by := ordererFlags(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		switch changed := cmd.Flags().Changed; {
		case *limit < 0 || *limit == 0 && changed("limit"):
			return usagef("--limit is %d; want 1 or more", *limit)
		case *filter == "" && *all == "":
			return usagef("want --filter, or --all with the name of the queue")
		case *filter != "" && *all != "":
			return usagef("--filter and --all exclude each other")
		case *catalogue && *plain:
			return usagef("--catalogue and --no-journal exclude each other: both are in Redis")
		case changed("archive") && *archive == "":
			return usagef("--archive is empty; want the path of a new file")
		}
		if err := by.check(); err != nil {
			return err
		}
		opts := dlq.PurgeOptions{All: *all, Limit: *limit, DryRun: !*yes, Owner: by.owner, Reason: by.reason}
		var err error
		if opts.Filter, err = parseFilter(*filter); err != nil {
			return err
		}
		if opts.Since, opts.Until, err = window(); err != nil {
			return err
		}
		use := writeRecords
		if opts.DryRun || *plain {
			use = noJournal
		}
		return a.inEither(cmd.Context(), *catalogue, use, args[0], func(g *graveyard, name string) error {
			closeFile := func(int) error { return nil }
			if *archive != "" && *yes {
				f, err := newFile(*archive)
				if err != nil {
					return err
				}
				opts.Archive = f
				closeFile = func(archived int) error {
					if err := f.Close(); err != nil || archived > 0 {
						return err
					}
					return os.Remove(*archive) // nothing is in it
				}
			}
			r, err := g.Purge(cmd.Context(), name, opts)
			err = errors.Join(err, closeFile(r.Archived))
			if err == nil {
				err = unreached(*limit > 0, r.Seen+r.Newer, r.Total)
			}
			return a.tellPurge(purged{r, by.owner, by.reason}, a.tellHolder(err, args[0]))
		})
	})
	return cmd
}

// unreached is the error of what has not looked at all messages that its queue said
// it had, unless it has a limit.
func unreached(limited bool, seen, total int) error {
	if limited || seen >= total {
		return nil
	}
	return &partialError{fmt.Errorf("%d of %d messages were looked at; the others are with other receivers or, in a FIFO queue, behind messages of their group", seen, total)}
}

// A purged queue is a report with who asked for it and why.
type purged struct {
	dlq.PurgeReport
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

func (a *app) tellPurge(r purged, err error) error {
	switch {
	case errors.Is(err, dlq.ErrPurgeAll):
		return &usageError{err}
	case r.Queue == "":
		return err // it did not begin
	}
	if err != nil && r.Deleted > 0 {
		err = &partialError{err}
	}
	if r.DryRun {
		a.note("dry run: nothing was deleted; give --yes to purge")
	}
	if r.FilterErrors > 0 {
		a.note("the filter does not fit %d messages; the first: %s", r.FilterErrors, r.FilterError)
	}
	t := table{}
	t.add("queue", r.Queue)
	t.add("looked at", fmt.Sprintf("%d of %d", r.Seen, r.Total))
	if r.DryRun {
		t.add("would be deleted", strconv.Itoa(r.WouldDelete))
	} else {
		t.add("deleted", strconv.Itoa(r.Deleted))
	}
	t.addCount("archived", r.Archived)
	t.addChoice(r.Choice)
	t.addCount("newer than the purge", r.Newer)
	t.addCount("beyond the limit", r.Beyond)
	t.addFailures(r.Failed, r.Failures)
	return errors.Join(a.print(r, t), err)
}
