package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
)

func (a *app) dlqGroupsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups QUEUE",
		Short: "Group the messages of a dead-letter queue by what went wrong",
		Long: `Group the messages of a dead-letter queue by what went wrong, with how many there
are, when they failed and the id of one, for "waybill dlq show". They stay there.
LocalStack and waybill dev show them without their being received; with SQS their
receive counts rise by one, and other receivers do not see them until all are looked
at, or --limit of them.

Messages are grouped by reason, filter, type (of the error), frame (the function
that panicked, or the text of the error, without ids) and hour, as the record of
their failure has them, and those without a record by hour, source (the queue that
SQS moved them from), attributes (their names) and body (its shape). --by chooses.

If there are more messages than were looked at, stderr says so. An interrupt (exit
code 130) returns them, and prints the groups so far.` + queueHelp,
		Args: takes("QUEUE"),
	}
	by := cmd.Flags().StringSlice("by", nil, "group by these `dimensions`: some of reason, filter, type, frame, hour, source, attributes, body,\nwith commas (default: as above)")
	limit := cmd.Flags().Int("limit", dlq.DefaultLook, "look at `N` messages at most, up to "+strconv.Itoa(dlq.MaxLook))
	filter := cmd.Flags().String("filter", "", filterUsage)
	window := windowFlags(cmd)
	catalogue := catalogueFlag(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		n, err := lookLimit(cmd, *catalogue, *limit)
		if err != nil {
			return err
		}
		opts := dlq.GroupOptions{Limit: n}
		if cmd.Flags().Changed("by") && len(*by) == 0 {
			return usagef("--by is empty; want some of %s", dimensions())
		}
		for _, name := range *by {
			name = strings.TrimSpace(name)
			if !slices.Contains(dlq.Dimensions(), dlq.Dimension(name)) {
				return usagef("--by has %q; want some of %s", name, dimensions())
			}
			opts.By = append(opts.By, dlq.Dimension(name))
		}
		if opts.Filter, err = parseFilter(*filter); err != nil {
			return err
		}
		if opts.Since, opts.Until, err = window(); err != nil {
			return err
		}
		return a.inEither(cmd.Context(), *catalogue, noJournal, args[0], func(g *graveyard, name string) error {
			r, err := g.Groups(cmd.Context(), name, opts)
			if r.Queue == "" {
				return err // it did not begin
			}
			a.tellGroups(r)
			return errors.Join(a.print(r, groupTable(r)), err)
		})
	})
	return cmd
}

// checkLook checks how many messages are to be looked at.
func checkLook(limit int) error {
	if limit < 1 || limit > dlq.MaxLook {
		return usagef("--limit is %d; want 1 to %d", limit, dlq.MaxLook)
	}
	return nil
}

func dimensions() string {
	var names []string
	for _, d := range dlq.Dimensions() {
		names = append(names, string(d))
	}
	return strings.Join(names, ", ")
}

// tellGroups says what the groups leave out.
func (a *app) tellGroups(r dlq.Grouping) {
	a.tellReceived(r.Seen, r.Looked)
	if r.Seen < r.Total {
		a.note("%d of %d messages were looked at; the others are beyond --limit, with other receivers, or, in a FIFO queue, behind messages of their group", r.Seen, r.Total)
	}
	if r.FilterErrors > 0 {
		a.note("the filter does not fit %d messages; the first: %s", r.FilterErrors, r.FilterError)
	}
	if r.Others > 0 {
		a.note("%d messages are in none of these %d groups; --by with less makes fewer", r.Others, len(r.Groups))
	}
}

// groupTable has a column for each dimension that tells something.
func groupTable(r dlq.Grouping) table {
	var columns []dlq.Dimension
	for _, d := range dlq.Dimensions() {
		if slices.ContainsFunc(r.Groups, func(g dlq.Group) bool { return g.Key[d] != "" }) {
			columns = append(columns, d)
		}
	}
	t := table{header: []string{"COUNT"}}
	for _, d := range columns {
		t.header = append(t.header, strings.ToUpper(string(d)))
	}
	t.header = append(t.header, "FIRST", "LAST", "SAMPLE")
	for _, g := range r.Groups {
		row := []string{strconv.Itoa(g.Count)}
		for _, d := range columns {
			row = append(row, orDash(shorten(g.Key[d], 60)))
		}
		t.add(append(row, timestamp(g.First), timestamp(g.Last), typed(g.Sample))...)
	}
	return t
}
