package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/saga"
)

// orderFlags are what an order to an execution takes.
func orderFlags(cmd *cobra.Command) *saga.Order {
	var o saga.Order
	cmd.Flags().StringVar(&o.Note, "reason", "", "`why`, for the history")
	cmd.Flags().StringVar(&o.By, "by", operator(), "`who` gives the order, for the history")
	return &o
}

// An ordered execution is one to which an order was given, or would be, and
// how it stood before.
type ordered struct {
	Execution string      `json:"execution"`
	Order     string      `json:"order"`
	DryRun    bool        `json:"dry_run"`
	Status    saga.Status `json:"status"`
	Step      string      `json:"step,omitempty"`
}

func (a *app) printOrdered(o ordered) error {
	t := table{header: []string{"EXECUTION", "ORDER", "STATUS BEFORE", "STEP"}}
	order := o.Order
	if o.DryRun {
		order += " (dry run)"
	}
	t.add(typed(o.Execution), order, string(o.Status), orDash(o.Step))
	return a.print(o, t)
}

// order looks at an execution and gives it an order, unless it is a dry run. One
// that has ended takes none.
func (a *app) order(ctx context.Context, id, name string, dryRun bool, give func(*saga.Client) error) error {
	return a.withSagas(ctx, func(c *saga.Client, _ string) error {
		x, err := c.Get(ctx, id)
		if err != nil {
			return named(id, err)
		}
		if x.Status.Ended() {
			return fmt.Errorf("execution %q is %s: there is nothing to %s", x.ID, x.Status, name)
		}
		if dryRun {
			a.note("dry run: nothing was done; give --yes to %s", name)
		} else if err := give(c); err != nil {
			return named(x.ID, err)
		}
		return a.printOrdered(ordered{x.ID, name, dryRun, x.Status, x.Step})
	})
}

func (a *app) sagaCancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Have an execution undone",
		Long: `Have a running execution undone: what is being done now is awaited, then what was
done is compensated in reverse order. An execution past its point of no return
refuses. That cannot be taken back: without --yes nothing is done, and the
execution is shown.`,
		Args: takes("ID"),
	}
	order := orderFlags(cmd)
	yes := cmd.Flags().Bool("yes", false, "do it")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		return a.order(cmd.Context(), args[0], "cancel", !*yes, func(c *saga.Client) error {
			return c.Cancel(cmd.Context(), args[0], *order)
		})
	})
	return cmd
}

func (a *app) sagaRetryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry ID",
		Short: "Let a blocked execution try again",
		Long: `Let a blocked execution try again where it is blocked, with a fresh count of
attempts, and one that waits between attempts try at once. It undoes nothing, so
it takes no --yes.`,
		Args: takes("ID"),
	}
	order := orderFlags(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		return a.order(cmd.Context(), args[0], "retry", false, func(c *saga.Client) error {
			return c.Retry(cmd.Context(), args[0], *order)
		})
	})
	return cmd
}
