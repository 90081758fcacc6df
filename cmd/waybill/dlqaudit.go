package main

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
)

func (a *app) dlqAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit [JOB]",
		Short: "Show who did what to dead-letter queues",
		Long: `Show what was done to dead-letter queues, the newest first: when, by whom, why, to
how many messages, and what came of it. With JOB, the id of a job, all that is on
record of it, with SQS's ids of the messages. Records are kept in Redis, for 400
days; what was done without one, as by redrive --no-journal, is not among them.` + queueHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return takes("JOB")(cmd, args)
			}
			return nil
		},
	}
	name := cmd.Flags().String("queue", "", "only what was done to this `QUEUE`")
	who := cmd.Flags().String("who", "", "only what this `person` did, with or without the machine's name after an @")
	limit := cmd.Flags().Int("limit", dlq.DefaultAuditLimit, "at most `N`")
	window := timeFlags(cmd, "only what began at this `time` or after it, such as 2026-01-02T03:04:05Z,\nor not longer ago than that, such as 90m or 2d", "only what began before this `time`, or longer ago")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if *limit < 1 {
			return usagef("--limit is %d; want 1 or more", *limit)
		}
		q := dlq.AuditQuery{By: *who, Limit: *limit}
		var err error
		if q.Since, q.Until, err = window(); err != nil {
			return err
		}
		if len(args) > 0 {
			if q.Job = args[0]; q.Job == "" {
				return usagef("JOB is empty; want the id of a job")
			}
		}
		return a.inJournal(cmd.Context(), *name, func(g *graveyard, name string) error {
			q.Queue = name
			list, err := g.Audits(cmd.Context(), q)
			switch {
			case err != nil:
				return err
			case q.Job == "":
				return a.print(list, auditTable(list))
			case len(list) == 0:
				return &notFoundError{fmt.Sprintf("nothing is on record of job %s", q.Job)}
			}
			detailed := make([]auditedIDs, len(list))
			for i, d := range list {
				detailed[i] = auditedIDs{Audited: d, IDs: []string{}}
				for id, err := range g.AuditItems(cmd.Context(), d) {
					if err != nil {
						return err
					}
					detailed[i].IDs = append(detailed[i].IDs, id)
				}
			}
			return a.print(detailed, auditDetails(detailed))
		})
	})
	return cmd
}

// An auditedIDs is something that was done, with the messages.
type auditedIDs struct {
	dlq.Audited
	IDs []string `json:"ids"`
}

func auditTable(list []dlq.Audited) table {
	t := table{header: []string{"BEGAN", "VERB", "QUEUE", "BY", "MESSAGES", "OUTCOME", "JOB", "REASON"}}
	for _, d := range list {
		s, outcome := auditOutcome(d)
		count := strconv.Itoa(d.Count)
		if d.Ended.IsZero() {
			count = "-"
		}
		t.addStyled(s, timestamp(d.Began), d.Verb, d.Queue, d.By, count, shorten(outcome, 40), d.Job, orDash(shorten(d.Reason, 60)))
	}
	return t
}

// auditOutcome tells in a word what came of it.
func auditOutcome(d dlq.Audited) (style, string) {
	switch {
	case d.Error != "":
		return red, d.Error
	case !d.Ended.IsZero():
		return plain, "done"
	case d.Verb == dlq.AuditCancel:
		return plain, "ordered"
	}
	return yellow, "not ended"
}

func auditDetails(list []auditedIDs) table {
	t := table{}
	for i, d := range list {
		if i > 0 {
			t.add("")
		}
		s, outcome := auditOutcome(d.Audited)
		t.add("job", d.Job)
		t.add("verb", d.Verb)
		t.add("queue", d.Queue)
		t.add("by", d.By)
		t.add("reason", orDash(d.Reason))
		t.add("began", timestamp(d.Began))
		t.add("ended", timestamp(d.Ended))
		t.addStyled(s, "outcome", outcome)
		for _, part := range []struct {
			name string
			text json.RawMessage
		}{{"what", d.Spec}, {"report", d.Report}} {
			if len(part.text) > 0 {
				t.addLines(part.name, bodyText(part.text))
			}
		}
		t.add("messages", strconv.Itoa(len(d.IDs)))
		for _, id := range d.IDs {
			t.add("", id)
		}
	}
	return t
}
