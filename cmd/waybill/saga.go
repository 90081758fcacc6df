package main

import (
	"bytes"
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
	return group("saga", "Look at sagas, cancel and retry them",
		`Look at the executions of sagas that are kept in Redis, cancel those that run,
and retry those that are blocked.`,
		a.sagaListCommand(), a.sagaShowCommand(), a.sagaHistoryCommand(), a.sagaCancelCommand(), a.sagaRetryCommand())
}

// withSagas calls f with a client of the executions in Redis.
func (a *app) withSagas(ctx context.Context, f func(*saga.Client) error) (err error) {
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
	sagas, err := saga.NewClient(saga.ClientConfig{Store: st})
	if err != nil {
		return err
	}
	return f(sagas)
}

func (a *app) sagaListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List executions",
		Long:  "List executions, newest first within a definition and status.",
		Args:  takes(),
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
		return a.withSagas(cmd.Context(), func(c *saga.Client) error {
			list, err := c.List(cmd.Context(), saga.Query{Definition: *definition, Status: saga.Status(*status), Limit: *limit})
			if err != nil {
				return err
			}
			t := table{header: []string{"ID", "DEFINITION", "STATUS", "STEP", "STARTED", "CAUSE"}}
			for _, x := range list {
				t.addStyled(statusStyle(x), x.ID, x.Definition, statusText(x), orDash(x.Step), timestamp(x.Started), orDash(reason(x)))
			}
			if list == nil {
				list = []*saga.Execution{}
			}
			return a.print(list, t)
		})
	})
	return cmd
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
	case saga.Blocked:
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

// named says which execution an error is about.
func named(id string, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("execution %q: %w; check --namespace and --redis", id, err)
	case err != nil:
		return fmt.Errorf("execution %q: %w", id, err)
	default:
		return nil
	}
}

func (a *app) sagaShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show an execution",
		Long:  "Show an execution: where it stands, what it waits for, its input and its state.",
		Args:  takes("ID"),
		RunE: a.does(func(cmd *cobra.Command, args []string) error {
			return a.withSagas(cmd.Context(), func(c *saga.Client) error {
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
	t.add("id", x.ID)
	t.add("definition", x.Definition+" ("+x.Version+")")
	t.addStyled(statusStyle(x), "status", statusText(x))
	t.add("step", orDash(x.Step))
	if x.Attempt > 0 {
		t.add("attempt", strconv.Itoa(x.Attempt))
	}
	t.add("started", timestamp(x.Started))
	if !x.NextWake.IsZero() {
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
		t.add("blocked by", x.Trouble.String())
	}
	t.add("input", compact(x.Input))
	t.add("state", compact(x.State))
	return t
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
			return a.withSagas(cmd.Context(), func(c *saga.Client) error {
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

// orderFlags are what an order to an execution takes.
func orderFlags(cmd *cobra.Command) *saga.Order {
	var o saga.Order
	cmd.Flags().StringVar(&o.Note, "reason", "", "`why`, for the history")
	cmd.Flags().StringVar(&o.By, "by", operator(), "`who` gives the order, for the history")
	return &o
}

// An ordered execution is what an order did.
type ordered struct {
	Execution string      `json:"execution"`
	Order     string      `json:"order"`
	Given     bool        `json:"given"` // false in a dry run
	Status    saga.Status `json:"status"`
	Step      string      `json:"step,omitempty"`
}

func (a *app) printOrdered(o ordered) error {
	t := table{header: []string{"EXECUTION", "ORDER", "GIVEN", "STATUS", "STEP"}}
	t.add(o.Execution, o.Order, strconv.FormatBool(o.Given), string(o.Status), orDash(o.Step))
	return a.print(o, t)
}

func (a *app) sagaCancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Have an execution undone",
		Long: `Have a running execution undone: what is being done now is awaited, then what was
done is compensated in reverse order. An execution past its point of no return
refuses. Without --yes nothing is done, and the execution is shown.`,
		Args: takes("ID"),
	}
	order := orderFlags(cmd)
	yes := cmd.Flags().Bool("yes", false, "do it")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		return a.withSagas(cmd.Context(), func(c *saga.Client) error {
			x, err := c.Get(cmd.Context(), args[0])
			if err != nil {
				return named(args[0], err)
			}
			if x.Status.Ended() {
				return fmt.Errorf("execution %q is %s: there is nothing to cancel", x.ID, x.Status)
			}
			if *yes {
				if err := c.Cancel(cmd.Context(), x.ID, *order); err != nil {
					return named(x.ID, err)
				}
			} else {
				a.note("dry run: nothing was done; give --yes to cancel")
			}
			return a.printOrdered(ordered{x.ID, "cancel", *yes, x.Status, x.Step})
		})
	})
	return cmd
}

func (a *app) sagaRetryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry ID",
		Short: "Let a blocked execution try again",
		Long: `Let a blocked execution try again where it is blocked, with a fresh count of
attempts, and one that waits between attempts try at once.`,
		Args: takes("ID"),
	}
	order := orderFlags(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		return a.withSagas(cmd.Context(), func(c *saga.Client) error {
			x, err := c.Get(cmd.Context(), args[0])
			if err != nil {
				return named(args[0], err)
			}
			if err := c.Retry(cmd.Context(), x.ID, *order); err != nil {
				return named(x.ID, err)
			}
			return a.printOrdered(ordered{x.ID, "retry", true, x.Status, x.Step})
		})
	})
	return cmd
}
