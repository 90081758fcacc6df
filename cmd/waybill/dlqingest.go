package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
)

func (a *app) dlqIngestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ingest QUEUE",
		Short: "Move messages of a dead-letter queue into the catalogue in Redis",
		Long: `Move the messages of a dead-letter queue into the catalogue in Redis, where they stay
until they are redriven or purged, whatever the queue's retention is. There hundreds
of thousands can be grouped, filtered and redriven: with --catalogue, waybill dlq peek,
groups, show, export, purge and redrive work on it, and not on the queue.

A message is deleted from the queue when Redis has it. What is interrupted, or killed,
leaves no message in neither; the same command goes on. What Redis has acknowledged is
as safe as its settings say: with appendfsync everysec, a crash of its machine may lose
the last second of it. A Redis that is set to evict is refused; where it does not tell
its maxmemory-policy, make sure that it is noeviction. A payload that is in the store of
payloads stays there, for the time that it had.

Without --yes nothing is moved, and the report says what would be. One at a time works
on a queue, and what is moved is on record in Redis, with who did it and why.

Exit codes: 0 all that was chosen is moved; 3 some of it is not, or not all messages
were looked at, and the same command takes it up; 5 somebody else works on the queue; 1 a fault ended it before anything was
moved; 130 it was interrupted: what it held is back in the queue.` + queueHelp,
		Args: takes("QUEUE"),
	}
	filter := cmd.Flags().String("filter", "", filterUsage)
	window := windowFlags(cmd)
	limit := cmd.Flags().Int("limit", 0, "at most `N` messages (default: all)")
	yes := cmd.Flags().Bool("yes", false, "do it")
	by := ordererFlags(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if *limit < 0 || *limit == 0 && cmd.Flags().Changed("limit") {
			return usagef("--limit is %d; want 1 or more", *limit)
		}
		if err := by.check(); err != nil {
			return err
		}
		opts := dlq.IngestOptions{Limit: *limit, DryRun: !*yes, Owner: by.owner, Reason: by.reason}
		var err error
		if opts.Filter, err = parseFilter(*filter); err != nil {
			return err
		}
		if opts.Since, opts.Until, err = window(); err != nil {
			return err
		}
		use := writeRecords
		if opts.DryRun {
			use = noJournal
		}
		return a.inQueueWith(cmd.Context(), use, args[0], func(g *graveyard, name string) error {
			r, err := g.Ingest(cmd.Context(), name, opts)
			if err == nil {
				err = unreached(*limit > 0, r.Seen+r.Newer, r.Total)
			}
			return a.tellIngest(ingested{r, by.owner, by.reason}, a.tellHolder(err, args[0]))
		})
	})
	return cmd
}

// An ingested queue is a report with who asked for it and why.
type ingested struct {
	dlq.IngestReport
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

func (a *app) tellIngest(r ingested, err error) error {
	if r.Queue == "" {
		return err // it did not begin
	}
	if err != nil && r.Deleted > 0 {
		err = &partialError{err}
	}
	if r.DryRun {
		a.note("dry run: nothing was moved; give --yes to ingest")
	}
	if r.FilterErrors > 0 {
		a.note("the filter does not fit %d messages; the first: %s", r.FilterErrors, r.FilterError)
	}
	t := table{}
	t.add("queue", r.Queue)
	t.add("looked at", fmt.Sprintf("%d of %d", r.Seen, r.Total))
	if r.DryRun {
		t.add("would be moved", strconv.Itoa(r.WouldIngest))
	} else {
		t.add("in the catalogue", strconv.Itoa(r.Ingested))
		t.add("deleted from the queue", strconv.Itoa(r.Deleted))
	}
	t.addChoice(r.Choice)
	t.addCount("newer than the command", r.Newer)
	t.addCount("beyond the limit", r.Beyond)
	t.addFailures(r.Failed, r.Failures)
	if !r.DryRun {
		t.add("letters in the catalogue", strconv.FormatInt(r.Letters, 10))
	}
	return errors.Join(a.print(r, t), err)
}

func (a *app) dlqCatalogueCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "catalogue",
		Short: "List the queues whose dead letters are in the catalogue",
		Long: `List the dead-letter queues of which "waybill dlq ingest" has put messages into the
catalogue in Redis, and how many there are.`,
		Args: cobra.NoArgs,
		RunE: a.does(func(cmd *cobra.Command, _ []string) error {
			g, err := a.graveyard(cmd.Context(), readJournal)
			if err != nil {
				return err
			}
			defer g.close()
			list, err := g.Catalogued(cmd.Context())
			if err != nil {
				return err
			}
			t := table{header: []string{"QUEUE", "LETTERS"}}
			for _, q := range list {
				t.add(queueName(q.Queue), strconv.FormatInt(q.Letters, 10))
			}
			return a.print(list, t)
		}),
	}
}

// catalogueFlag adds the flag --catalogue.
func catalogueFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("catalogue", false, "work on what waybill dlq ingest has put into the catalogue in Redis, not on the queue")
}

// inEither is inQueueWith, or with catalogue does it on the catalogue.
func (a *app) inEither(ctx context.Context, catalogue bool, use journalling, arg string, do func(g *graveyard, name string) error) error {
	if !catalogue {
		return a.inQueueWith(ctx, use, arg, do)
	}
	if use == noJournal {
		use = readJournal
	}
	return a.inQueueWith(ctx, use, arg, func(g *graveyard, name string) error {
		g.Client = g.Client.Catalogue()
		return do(g, name)
	})
}

// lookLimit returns how many messages are to be looked at: of the catalogue all,
// unless --limit says less.
func lookLimit(cmd *cobra.Command, catalogue bool, limit int) (int, error) {
	switch {
	case !catalogue:
		return limit, checkLook(limit)
	case !cmd.Flags().Changed("limit"):
		return 0, nil
	case limit < 1:
		return 0, usagef("--limit is %d; want 1 or more", limit)
	}
	return limit, nil
}
