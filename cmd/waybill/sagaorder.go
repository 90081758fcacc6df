package main

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	// Heeded says that a coordinator has taken the order.
	Heeded bool `json:"heeded"`
}

func (a *app) printOrdered(o ordered) error {
	t := table{header: []string{"EXECUTION", "ORDER", "STATUS BEFORE", "STEP"}}
	order := o.Order
	switch {
	case o.DryRun:
		order += " (dry run)"
	case !o.Heeded:
		order += " (not read yet)"
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
		switch {
		case x.Status.Ended():
			return fmt.Errorf("execution %q is %s: there is nothing to %s", x.ID, x.Status, name)
		case name == "cancel" && x.Pivoted:
			return fmt.Errorf("execution %q is past its point of no return, and only goes forward: it cannot be cancelled", x.ID)
		case name == "cancel" && x.Undoing && x.Cause != nil:
			return fmt.Errorf("execution %q is being undone already: %s", x.ID, x.Cause)
		}
		o := ordered{Execution: x.ID, Order: name, DryRun: dryRun, Status: x.Status, Step: x.Step}
		if dryRun {
			a.note("dry run: nothing was done; give --yes to %s", name)
			return a.printOrdered(o)
		}
		before, err := c.History(ctx, x.ID)
		if err != nil {
			return named(x.ID, err)
		}
		if err := give(c); err != nil {
			return named(x.ID, err)
		}
		if o.Heeded, err = heeded(ctx, c, x.ID, len(before)); err != nil {
			return err
		}
		if !o.Heeded {
			a.note("no coordinator has read the order yet; waybill saga history %s will tell what came of it", typed(x.ID))
		}
		return a.printOrdered(o)
	})
}

// Between looks for what came of an order, and for how long there are any.
const (
	heedEvery  = 50 * time.Millisecond
	heedWithin = 5 * time.Second
)

// heeded waits until a coordinator has read an order, before which the history had
// so many events. One that was refused is an error.
func heeded(ctx context.Context, c *saga.Client, id string, before int) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, heedWithin)
	defer cancel()
	for {
		x, err := c.Get(ctx, id)
		if err == nil && x.UnreadMail == 0 {
			break
		}
		timer := time.NewTimer(heedEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, nil // it is given all the same
		}
	}
	events, err := c.History(ctx, id)
	if err != nil {
		return true, named(id, err)
	}
	for _, e := range slices.Backward(events[min(before, len(events)):]) {
		switch e.Type {
		case saga.CancelRefused, saga.RetryRefused, saga.OrderRefused:
			return true, fmt.Errorf("execution %q refused: %s", id, e.Error)
		case saga.ExecutionAborted, saga.ExecutionRedriven, saga.CompensationEdited, saga.TaskEdited, saga.ExecutionSuspended, saga.ExecutionResumed,
			saga.ExecutionTerminated, saga.ExecutionReleased, saga.TaskSkipped, saga.CompensationSkipped:
			return true, nil
		}
	}
	return true, nil
}

// An orderVerb is a command that gives an order which takes nothing but its
// reason.
type orderVerb struct {
	name, short, long string
	yes               bool // it cannot be taken back, and wants --yes
	give              func(*saga.Client, context.Context, string, saga.Order) error
}

var orderVerbs = []orderVerb{
	{
		name: "cancel", short: "Have an execution undone", yes: true, give: (*saga.Client).Cancel,
		long: `Have a running execution undone: what is being done now is awaited, then what was
done is compensated in reverse order. An execution past its point of no return
refuses. That cannot be taken back: without --yes nothing is done, and the
execution is shown.`,
	},
	{
		name: "suspend", short: "Stop an execution and its clocks", give: (*saga.Client).Suspend,
		long: `Stop an execution: what runs may finish and is heard, and nothing more begins. The
clocks of its steps and of the saga stand still until waybill saga resume.`,
	},
	{
		name: "resume", short: "Let a suspended execution go on", give: (*saga.Client).Resume,
		long: "Let an execution that was suspended go on. Deadlines come as much later.",
	},
	{
		name: "release", short: "Let a quarantined execution go on", yes: true, give: (*saga.Client).Release,
		long: `Let an execution go on that is quarantined, because a reply has proved that Redis
lost a write of its: from where it stands, as if nothing had been lost. See first to
what its steps have done, and undo by hand what it does not know of; say so with
--reason. Otherwise terminate it. That cannot be taken back: without --yes nothing is
done, and the execution is shown.`,
	},
	{
		name: "terminate", short: "End an execution where it stands", yes: true, give: (*saga.Client).Terminate,
		long: `End an execution where it stands. Nothing is undone: waybill saga cancel is what
undoes, and waybill saga preview-undo tells what that would be. That cannot be
taken back: without --yes nothing is done, and the execution is shown.`,
	},
}

func (a *app) sagaOrderCommands() []*cobra.Command {
	var commands []*cobra.Command
	for _, verb := range orderVerbs {
		cmd := &cobra.Command{
			Use: verb.name + " ID", Short: verb.short, Long: verb.long, Args: takes("ID"),
		}
		order := orderFlags(cmd)
		yes := new(bool)
		if verb.yes {
			yes = cmd.Flags().Bool("yes", false, "do it")
		}
		cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
			return a.order(cmd.Context(), args[0], verb.name, verb.yes && !*yes, func(c *saga.Client) error {
				return verb.give(c, cmd.Context(), args[0], *order)
			})
		})
		commands = append(commands, cmd)
	}
	return append(commands, a.sagaSkipCommand())
}

func (a *app) sagaSkipCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "skip ID",
		Short: "Take what is blocked for done",
		Long: `Take what an execution is blocked at for done, because you have seen to it: say how
with --reason. A compensation that is skipped does not run, and those before it
do. After an action that is skipped the saga goes on with its state as it is; if it
fails later, the compensation of that action runs, and is told that nobody knows
whether the action was done, or with --done that it was.

Where several are blocked, say which one is meant with --step and --frame. What is
blocked by the time of the order is not skipped if it is blocked again later; with
--attempt it is not if it was tried again since you have looked at it.

That cannot be taken back: without --yes nothing is done, and the execution is
shown.`,
		Args: takes("ID"),
	}
	order := orderFlags(cmd)
	yes := cmd.Flags().Bool("yes", false, "do it")
	step := cmd.Flags().String("step", "", "the blocked step that is meant, where there are several")
	frame := cmd.Flags().String("frame", "", "the branch or item of that step, as in waybill saga show")
	attempt := cmd.Flags().Int("attempt", 0, "the `number` of the attempt after which it is blocked, as in waybill saga show")
	done := cmd.Flags().Bool("done", false, "the action that is skipped had its effect")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("attempt") && *attempt < 1 {
			return usagef("--attempt is %d; want 1 or more", *attempt)
		}
		opts := []saga.SkipOption{saga.SkipAt(*frame, *step), saga.SkipAttempt(*attempt)}
		if *done {
			opts = append(opts, saga.SkipDone())
		}
		return a.order(cmd.Context(), args[0], "skip", !*yes, func(c *saga.Client) error {
			return c.Skip(cmd.Context(), args[0], *order, opts...)
		})
	})
	return cmd
}
