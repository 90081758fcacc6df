package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/store"
)

func (a *app) dlqExportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export QUEUE",
		Short: "Write the messages of a dead-letter queue as lines of JSON",
		Long: `Write messages of a dead-letter queue, one on each line, with everything that it
takes to restore them by "waybill dlq import", to --file, which must not be there
yet, or to stdout. They stay in the queue; their receive counts rise by one, and
other receivers do not see them until all are looked at, or --limit of them. A
payload that is in the store of payloads is not fetched: the line has the reference.

Exit codes: 0 written; 3 messages of the queue were not looked at, being beyond
--limit, with other receivers or, in a FIFO queue, behind others of their group;
1 a fault ended it; 130 it was interrupted. What was written by then are whole lines.` + queueHelp,
		Args: takes("QUEUE"),
	}
	file := cmd.Flags().String("file", "", "write to this new `file` (default: stdout)")
	limit := cmd.Flags().Int("limit", dlq.DefaultLook, "look at `N` messages at most, up to "+strconv.Itoa(dlq.MaxLook))
	filter := cmd.Flags().String("filter", "", filterUsage)
	window := windowFlags(cmd)
	catalogue := catalogueFlag(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		n, err := lookLimit(cmd, *catalogue, *limit)
		if err != nil {
			return err
		}
		opts := dlq.ExportOptions{Limit: n}
		if opts.Filter, err = parseFilter(*filter); err != nil {
			return err
		}
		if opts.Since, opts.Until, err = window(); err != nil {
			return err
		}
		return a.inEither(cmd.Context(), *catalogue, noJournal, args[0], func(g *graveyard, name string) error {
			w, closeFile, err := a.archive(cmd, *file)
			if err != nil {
				return err
			}
			r, err := g.Export(cmd.Context(), name, w, opts)
			err = errors.Join(err, closeFile(err == nil || r.Bytes > 0))
			if r.Queue == "" {
				return err // it did not begin
			}
			if r.FilterErrors > 0 {
				a.note("the filter does not fit %d messages; the first: %s", r.FilterErrors, r.FilterError)
			}
			if err == nil && r.Seen < r.Total {
				err = &partialError{fmt.Errorf("%d of %d messages were looked at; the others are beyond --limit, with other receivers, or, in a FIFO queue, behind messages of their group", r.Seen, r.Total)}
			}
			if *file == "" {
				a.note("%d messages were written, of %d that were looked at", r.Written, r.Seen)
				return err
			}
			t := table{}
			t.add("queue", r.Queue)
			t.add("looked at", fmt.Sprintf("%d of %d", r.Seen, r.Total))
			t.add("written", strconv.Itoa(r.Written))
			t.addChoice(r.Choice)
			return errors.Join(a.print(r, t), err)
		})
	})
	return cmd
}

// archive opens a new file, or is stdout. Closing it makes sure that it is on disk,
// or, where it is not to be kept, not in the way of the next one.
func (a *app) archive(cmd *cobra.Command, path string) (w io.Writer, closeFile func(keep bool) error, err error) {
	if path == "" {
		if cmd.Flags().Changed("file") {
			return nil, nil, usagef("--file is empty; want the path of a new file")
		}
		return a.stdout, func(bool) error { return nil }, nil
	}
	f, err := newFile(path)
	if err != nil {
		return nil, nil, err
	}
	return f, func(keep bool) error {
		if !keep {
			return errors.Join(f.Close(), os.Remove(path))
		}
		return errors.Join(f.Sync(), f.Close())
	}, nil
}

// newFile makes a file that only the operator reads: it has what messages have. It
// is in its directory on disk, too, so that a power failure does not lose it.
func newFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, usagef("%s is there already; want a new file", path)
	}
	if err != nil {
		return nil, err
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// syncDirectory writes a directory to disk. Where a system has no such thing, a
// file is as safe as it gets.
func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return nil // it can be written, and not read
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) || runtime.GOOS == "windows" {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// addChoice adds what was not chosen.
func (t *table) addChoice(c dlq.Choice) {
	t.addCount("not chosen by the filter", c.Filtered)
	t.addCount("that the filter does not fit", c.FilterErrors)
	t.addCount("that failed at another time", c.Outside)
}

func (t *table) addCount(name string, n int) {
	if n > 0 {
		t.add(name, strconv.Itoa(n))
	}
}

// addFailures adds how many messages failed, and why those did that are listed.
func (t *table) addFailures(n int, listed []dlq.Failure) {
	t.addCount("failed", n)
	for _, f := range listed {
		t.addStyled(red, "  "+f.ID, string(f.Stage)+": "+f.Error)
	}
}

func (a *app) dlqImportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import QUEUE FILE",
		Short: "Send messages that were exported to a queue",
		Long: `Send the messages that "waybill dlq export" or "waybill dlq purge --archive" wrote
to FILE, or to stdin where that is -, to a queue, as they were. Redis has on record
what was sent for 90 days, so that the same command, run again after a failure or a
crash, sends what is left. To send an archive a second time, give it another --id.

One at a time works on a queue, and what is done to it is on record in Redis.
Without --yes the lines are read and checked, nothing is sent, and no Redis is needed.

Exit codes: 0 all is sent, now or before; 5 somebody else works on the queue; 3 some lines are not, and the same command
takes them up; 1 a fault ended it, or a line cannot be read and none was sent; 130 it
was interrupted, and the same command goes on.` + queueHelp,
		Args: takes("QUEUE", "FILE"),
	}
	id := cmd.Flags().String("id", "", "`name` the import: under each name a line is sent once")
	exact := cmd.Flags().Bool("exact", false, "give no message an id of its own that had none")
	yes := cmd.Flags().Bool("yes", false, "do it")
	by := ordererFlags(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("id") && (*id == "" || len(*id) > store.MaxID) {
			return usagef("--id has %d bytes; want 1 to %d", len(*id), store.MaxID)
		}
		if err := by.check(); err != nil {
			return err
		}
		in := a.stdin
		if args[1] != "-" {
			f, err := os.Open(args[1])
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		opts := dlq.ImportOptions{ID: *id, Exact: *exact, DryRun: !*yes, Owner: by.owner, Reason: by.reason}
		use := writeRecords
		if opts.DryRun {
			use = noJournal
		}
		return a.inQueueWith(cmd.Context(), use, args[0], func(g *graveyard, name string) error {
			if !opts.DryRun {
				opts.Records = g.store
			}
			r, err := g.Import(cmd.Context(), name, in, opts)
			return a.tellImport(importedQueue{r, by.owner, by.reason}, a.tellHolder(err, args[0]))
		})
	})
	return cmd
}

// An importedQueue is a report with who asked for it and why.
type importedQueue struct {
	dlq.ImportReport
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

func (a *app) tellImport(r importedQueue, err error) error {
	if r.Queue == "" {
		return err // it did not begin
	}
	if err != nil && r.Sent+r.Skipped > 0 {
		err = &partialError{err}
	}
	if r.DryRun && err == nil {
		a.note("dry run: nothing was sent; give --yes to import")
	}
	t := table{}
	t.add("queue", r.Queue)
	t.add("lines", strconv.Itoa(r.Lines))
	if r.DryRun {
		t.add("would be sent", strconv.Itoa(r.WouldSend))
	} else {
		t.add("sent", strconv.Itoa(r.Sent))
	}
	t.addCount("imported before", r.Skipped)
	t.addCount("perhaps sent before", r.Unsure)
	t.addCount("without an id of their own", r.Unnamed)
	t.addCount("failed", r.Failed)
	for _, f := range r.Failures {
		t.addStyled(red, fmt.Sprintf("  line %d", f.Line), f.Text)
	}
	return errors.Join(a.print(r, t), err)
}
