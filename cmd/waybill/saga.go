package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

func (a *app) sagaCommand() *cobra.Command {
	commands := []*cobra.Command{
		a.sagaListCommand(), a.sagaShowCommand(), a.sagaHistoryCommand(), a.sagaPreviewCommand(),
		a.sagaCompleteCommand(), a.sagaSignalCommand(), a.sagaRetryCommand(), a.sagaUpgradeCommand(),
	}
	return group("saga", "Look at sagas, and give them orders",
		`Look at the executions of sagas that are kept in Redis, give them orders, and tell
them what they wait for.`,
		append(commands, a.sagaOrderCommands()...)...)
}

// withSagas calls f with a client of the executions in Redis, and with their
// namespace.
func (a *app) withSagas(ctx context.Context, f func(c *saga.Client, namespace string) error) error {
	return a.withClient(ctx, 0, f)
}

// withClient is withSagas for signals that may come so long before their
// execution.
func (a *app) withClient(ctx context.Context, early time.Duration, f func(c *saga.Client, namespace string) error) (err error) {
	cfg, err := a.configuration()
	if err != nil {
		return err
	}
	client := redis.NewUniversalClient(cfg.Redis.Options())
	defer func() { err = errors.Join(err, client.Close()) }()
	st, err := redisstore.Open(ctx, redisstore.Config{
		Client: client, Namespace: cfg.StoreNamespace(), GiveUp: 3 * time.Second, Existing: true,
		AcceptUnknownEviction: true, // whoever runs the sagas has checked
	})
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w; check --namespace and --redis", err)
	}
	if err != nil {
		return err
	}
	sagas, err := saga.NewClient(saga.ClientConfig{Store: st, EarlySignals: cmp.Or(early, -1)})
	if err != nil {
		return err
	}
	return f(sagas, cfg.StoreNamespace())
}

func (a *app) sagaListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List executions",
		Long: `List executions, newest first within a definition and status. If there are more
than --limit of one, stderr says so.`,
		Args: takes(),
	}
	definition := cmd.Flags().String("definition", "", "only those of this `name`")
	status := cmd.Flags().String("status", "", "only those of this `status`: "+strings.Join(statuses(), ", "))
	limit := cmd.Flags().Int("limit", 100, "at most `N` of each definition and status")
	cmd.RunE = a.does(func(cmd *cobra.Command, _ []string) error {
		if *status != "" && !slices.Contains(statuses(), *status) {
			return usagef("--status is %q; want %s", *status, strings.Join(statuses(), ", "))
		}
		if *limit < 1 {
			return usagef("--limit is %d; want 1 or more", *limit)
		}
		return a.withSagas(cmd.Context(), func(c *saga.Client, namespace string) error {
			list, err := c.List(cmd.Context(), saga.Query{Definition: *definition, Status: saga.Status(*status), Limit: *limit + 1})
			if err != nil {
				return err
			}
			list, more := cut(list, *limit)
			switch {
			case len(more) > 0:
				a.note("not all are listed: there are more than %d %s; --limit N lists more", *limit, strings.Join(more, " and "))
			case len(list) == 0 && *definition+*status == "":
				a.note("namespace %q has no executions", namespace)
			case len(list) == 0:
				a.note("namespace %q has no such executions", namespace)
			}
			t := table{header: []string{"ID", "DEFINITION", "STATUS", "STEP", "STARTED", "CAUSE"}}
			for _, x := range list {
				t.addStyled(statusStyle(x), typed(x.ID), x.Definition, statusText(x), orDash(x.Step), timestamp(x.Started), orDash(reason(x)))
			}
			return a.print(list, t)
		})
	})
	return cmd
}

// cut leaves at most limit executions of each definition and status, and tells
// of which there are more.
func cut(list []*saga.Execution, limit int) (kept []*saga.Execution, more []string) {
	kept = []*saga.Execution{} // in JSON a list, not null
	counts := map[string]int{}
	for _, x := range list {
		group := fmt.Sprintf("%s of %s", x.Status, x.Definition)
		counts[group]++
		switch n := counts[group]; {
		case n <= limit:
			kept = append(kept, x)
		case n == limit+1:
			more = append(more, group)
		}
	}
	return kept, more
}

func statuses() []string {
	var list []string
	for _, s := range saga.Statuses() {
		list = append(list, string(s))
	}
	return list
}

func statusStyle(x *saga.Execution) style {
	switch x.Status {
	case saga.Blocked, saga.Quarantined:
		return red
	case saga.Compensated:
		return yellow
	case saga.Completed:
		return green
	default:
		return plain
	}
}

// statusText tells the status, and which way a running execution goes.
func statusText(x *saga.Execution) string {
	if x.Status == saga.Running && x.Undoing {
		return "undoing"
	}
	return string(x.Status)
}

func reason(x *saga.Execution) string {
	switch {
	case x.Trouble != nil:
		return x.Trouble.String()
	case x.Cause != nil:
		return x.Cause.String()
	default:
		return ""
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func timestamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// named says which execution an error is about, unless it does so itself.
func named(id string, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &notFoundError{fmt.Sprintf("execution %q: not found; check --namespace and --redis", id)}
	case err != nil && !strings.Contains(err.Error(), strconv.Quote(id)):
		return fmt.Errorf("execution %q: %w", id, err)
	default:
		return err
	}
}

func (a *app) sagaShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show an execution",
		Long: `Show an execution: where it stands, what it waits for, its input and its state.
One that has ended is kept for a while; in JSON its next_wake is the end of that.`,
		Args: takes("ID"),
		RunE: a.does(func(cmd *cobra.Command, args []string) error {
			return a.withSagas(cmd.Context(), func(c *saga.Client, _ string) error {
				x, err := c.Get(cmd.Context(), args[0])
				if err != nil {
					return named(args[0], err)
				}
				return a.print(x, executionTable(x))
			})
		}),
	}
}

func executionTable(x *saga.Execution) table {
	t := table{}
	t.add("id", typed(x.ID))
	t.add("definition", x.Definition+" ("+x.Version+")")
	t.addStyled(statusStyle(x), "status", statusText(x))
	t.add("step", orDash(x.Step))
	if x.Step != "" && x.Attempt > 0 {
		t.add("attempt", strconv.Itoa(x.Attempt))
	}
	if x.Child != "" {
		t.add("child", typed(x.Child))
	}
	if x.Parent != "" {
		t.add("parent", typed(x.Parent))
	}
	if x.Part != "" {
		t.add("part of", x.Part)
	}
	for i, b := range x.Branches {
		if i == mostBranches {
			t.add("branch", fmt.Sprintf("%d more; -o json has all", len(x.Branches)-i))
			break
		}
		t.add("branch", branchText(b))
	}
	for _, l := range x.Locks {
		t.add("lock", lockText(l))
	}
	t.add("started", timestamp(x.Started))
	switch {
	case x.Held:
		t.add("held", "it is undone if its parent is")
	case x.NextWake.IsZero(), x.Status == saga.Blocked, x.Status == saga.Quarantined: // which waits for an order alone
	case x.Status.Ended():
		t.add("kept until", timestamp(x.NextWake))
	default:
		t.add("next wake", timestamp(x.NextWake))
	}
	if !x.HeldUntil.IsZero() {
		t.add("held until", timestamp(x.HeldUntil))
	}
	if x.UnreadMail > 0 {
		t.add("unread mail", strconv.FormatInt(x.UnreadMail, 10))
	}
	if x.Cause != nil {
		t.add("cause", x.Cause.String())
	}
	if x.Trouble != nil {
		by := "blocked by"
		if x.Status == saga.Quarantined {
			by = "quarantined"
		}
		t.add(by, x.Trouble.String())
	}
	if x.Unsure {
		t.add("unsure", "an attempt has an unknown outcome; with another input confirm that you have seen to it")
	}
	if x.UndoInput != nil {
		t.add("undo input", compact(x.UndoInput)+" (edited)")
	}
	t.add("input", compact(x.Input))
	t.add("state", compact(x.State))
	return t
}

// mostBranches are listed of an execution.
const mostBranches = 20

// branchText tells where a branch or an item stands.
func branchText(b saga.Position) string {
	text := b.Frame + " " + orDash(b.Step)
	switch {
	case b.Failed != nil:
		return b.Frame + " failed: " + b.Failed.String()
	case b.Step == "":
		return b.Frame + " has ended"
	case b.Blocked:
		text += " blocked"
		if b.Undoing {
			text += ", undoing"
		}
		if b.Unsure {
			text += ", unsure"
		}
		return text
	case b.Child != "":
		return text + " waits for " + typed(b.Child)
	case b.Undoing:
		return text + " undoing"
	case b.Waiting:
		return text + " waits"
	}
	return text
}

// compact returns JSON in one line, or the bytes as they are if a codec made
// them something else.
func compact(text json.RawMessage) string {
	if len(text) == 0 {
		return "-"
	}
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	return b.String()
}

func (a *app) sagaHistoryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history ID",
		Short: "Show what happened to an execution",
		Long:  "Show what happened to an execution, event by event, with the states that it went through (-o json).",
		Args:  takes("ID"),
		RunE: a.does(func(cmd *cobra.Command, args []string) error {
			return a.withSagas(cmd.Context(), func(c *saga.Client, _ string) error {
				events, err := c.History(cmd.Context(), args[0])
				if err != nil {
					return named(args[0], err)
				}
				t := table{header: []string{"#", "TIME", "EVENT", "STEP", "ATTEMPT", "OUTCOME", "DETAIL"}}
				for _, e := range events {
					attempt := "-"
					if e.Attempt > 0 {
						attempt = strconv.Itoa(e.Attempt)
					}
					t.add(strconv.Itoa(e.ID), timestamp(e.Time), string(e.Type), orDash(e.Step), attempt, orDash(string(e.Outcome)), orDash(detail(e)))
				}
				return a.print(events, t)
			})
		}),
	}
}

func detail(e saga.Event) string {
	var parts []string
	if e.Lock != "" && e.Error == "" { // which names it
		parts = append(parts, "lock "+e.Lock)
	}
	if e.Fence > 0 {
		parts = append(parts, fmt.Sprint("fence ", e.Fence))
	}
	if e.Error != "" {
		parts = append(parts, e.Error)
	}
	if e.By != "" {
		parts = append(parts, "by "+e.By)
	}
	if e.Note != "" {
		parts = append(parts, e.Note)
	}
	return strings.Join(parts, "; ")
}
