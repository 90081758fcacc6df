package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
)

// windowFlags adds the flags of a time, and returns what reads them.
func windowFlags(cmd *cobra.Command) func() (since, until time.Time, err error) {
	return timeFlags(cmd, "only messages that failed last at this `time` or after it, such as 2026-01-02T03:04:05Z,\nor not longer ago than that, such as 90m or 2d; without a record of it, that were sent then",
		"only messages that failed last before this `time`, or longer ago")
}

// timeFlags adds the flags --since and --until, and returns what reads them.
func timeFlags(cmd *cobra.Command, sinceUsage, untilUsage string) func() (since, until time.Time, err error) {
	sinceText, untilText := cmd.Flags().String("since", "", sinceUsage), cmd.Flags().String("until", "", untilUsage)
	return func() (since, until time.Time, err error) {
		now := time.Now()
		for _, f := range []struct {
			name, text string
			at         *time.Time
		}{{"since", *sinceText, &since}, {"until", *untilText, &until}} {
			if !cmd.Flags().Changed(f.name) {
				continue
			}
			at, ok := parseTime(f.text, now)
			if !ok {
				return since, until, usagef("--%s is %q; want a time such as 2026-01-02T03:04:05Z, or how long ago, such as 90m, 36h or 2d", f.name, f.text)
			}
			*f.at = at
		}
		if !since.IsZero() && !until.IsZero() && !since.Before(until) {
			return since, until, usagef("--since %s is not before --until %s", *sinceText, *untilText)
		}
		return since, until, nil
	}
}

// parseTime reads a time of RFC 3339, or one that was so long before now.
func parseTime(text string, now time.Time) (time.Time, bool) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, true
	}
	ago, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		ago = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || ago < 0 {
		return time.Time{}, false
	}
	return now.Add(-ago), true
}

// rampFlag adds the flag of a ramp, and returns what sets its option.
func rampFlag(cmd *cobra.Command) func(*dlq.Options) error {
	ramp := cmd.Flags().Duration("ramp", dlq.DefaultRamp, "begin at a tenth of --rate, and reach it in this `time`; 0 for at once")
	return func(opts *dlq.Options) error {
		switch opts.Ramp = *ramp; {
		case *ramp < 0:
			return usagef("--ramp is %v; want 0 or more", *ramp)
		case *ramp == 0:
			opts.Ramp = -1
		}
		return nil
	}
}

// editFlags adds the flags of an edit, and returns what sets its options.
func editFlags(cmd *cobra.Command) func(*dlq.Options) error {
	text := cmd.Flags().String("edit", "", "change messages by this expression of `jq`, as in '.body.currency //= \"EUR\"'")
	sample := cmd.Flags().Int("sample", 3, "of a dry run: show what --edit changes of the first `N` messages that it does")
	return func(opts *dlq.Options) error {
		switch {
		case !cmd.Flags().Changed("edit") && cmd.Flags().Changed("sample"):
			return usagef("--sample goes with --edit")
		case !cmd.Flags().Changed("edit"):
			return nil
		case *sample < 1 || *sample > 1000:
			return usagef("--sample is %d; want 1 to 1000", *sample)
		case *text == "":
			return usagef("--edit is empty; want an expression of jq")
		}
		edit, err := dlq.ParseEdit(*text)
		if err != nil {
			return usagef("--edit: %w", err)
		}
		opts.Edit, opts.EditText, opts.Diffs = edit.Apply, edit.String(), *sample
		return nil
	}
}

// addDiff adds the lines of a difference in the unified format.
func (t *table) addDiff(text string) {
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		s := plain
		switch {
		case i < 2: // the names
		case strings.HasPrefix(line, "-"):
			s = red
		case strings.HasPrefix(line, "+"):
			s = green
		}
		t.addStyled(s, line)
	}
}
