package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/saga"
)

func (a *app) lockCommand() *cobra.Command {
	return group("lock", "Look at the locks of sagas, and break them",
		`Look at the semantic locks that executions of sagas hold or wait for, and take one
from its holder. A lock is named by its name and key, such as account/4711.`,
		a.lockListCommand(), a.lockShowCommand(), a.lockBreakCommand())
}

func (a *app) lockListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List locks that are held",
		Long: `List locks that are held, those first that have been for longest. If there are
more than --limit, stderr says so.`,
		Args: takes(),
	}
	limit := cmd.Flags().Int("limit", 100, "at most `N`")
	cmd.RunE = a.does(func(cmd *cobra.Command, _ []string) error {
		if *limit < 1 {
			return usagef("--limit is %d; want 1 or more", *limit)
		}
		return a.withSagas(cmd.Context(), func(c *saga.Client, namespace string) error {
			list, err := c.Locks(cmd.Context(), 0, *limit+1)
			if err != nil {
				return err
			}
			switch {
			case len(list) > *limit:
				list = list[:*limit]
				a.note("not all are listed: there are more than %d; --limit N lists more", *limit)
			case len(list) == 0:
				list = []*saga.LockInfo{} // in JSON a list, not null
				a.note("namespace %q has no locks that are held", namespace)
			}
			t := table{header: []string{"LOCK", "HOLDER", "SINCE", "FENCE", "WAITING"}}
			for _, l := range list {
				t.add(typed(l.Resource), typed(l.Holder.Execution), timestamp(l.Holder.Since), fenceText(l.Holder.Fence), strconv.Itoa(l.Waiting))
			}
			return a.print(list, t)
		})
	})
	return cmd
}

func fenceText(fence int64) string { return strconv.FormatInt(fence, 10) }

func (a *app) lockShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show LOCK",
		Short: "Show a lock",
		Long: `Show a lock: the execution that holds it, those of its family that share it, and
the first of those that wait for it, in order.`,
		Args: takes("LOCK"),
		RunE: a.does(func(cmd *cobra.Command, args []string) error {
			return a.withSagas(cmd.Context(), func(c *saga.Client, _ string) error {
				l, err := c.Lock(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("lock %q: %w", args[0], err)
				}
				return a.print(l, lockTable(l))
			})
		}),
	}
}

func lockTable(l *saga.LockInfo) table {
	t := table{}
	t.add("lock", typed(l.Resource))
	if l.Holder == nil {
		t.add("holder", "nobody")
		return t
	}
	t.add("holder", typed(l.Holder.Execution))
	t.add("since", timestamp(l.Holder.Since))
	t.add("fence", fenceText(l.Holder.Fence))
	for _, u := range l.Sharing {
		t.add("shared by", typed(u.Execution))
	}
	for i, u := range l.Queue {
		t.add("waiting", fmt.Sprintf("%d. %s since %s", i+1, typed(u.Execution), timestamp(u.Since)))
	}
	if more := l.Waiting - len(l.Queue); more > 0 {
		t.add("waiting", fmt.Sprintf("%d more", more))
	}
	return t
}

// A brokenLock is one that was taken from its holder, or would be.
type brokenLock struct {
	Lock   string `json:"lock"`
	DryRun bool   `json:"dry_run"`
	Holder string `json:"holder"` // there was
	Fence  int64  `json:"fence"`
	Next   string `json:"next,omitempty"` // has it now, or would
}

func (a *app) lockBreakCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "break LOCK",
		Short: "Take a lock from its holder",
		Long: `Take a lock from the execution that holds it, and from its family, and give it to
the next that waits. The holder is not stopped: what it does from then on it does
beside the next holder, under a fence that is too low, which helps only where what
is locked looks at fences. To end a holder, with its locks, say waybill saga cancel
or terminate. That cannot be taken back: without --yes nothing is done, and the
holder is shown.`,
		Args: takes("LOCK"),
	}
	order := orderFlags(cmd)
	yes := cmd.Flags().Bool("yes", false, "do it")
	fence := cmd.Flags().Int64("fence", 0, "only if it is held under this `fence`; by default whoever holds it")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		return a.withSagas(cmd.Context(), func(c *saga.Client, _ string) error {
			l, err := c.Lock(cmd.Context(), args[0])
			switch {
			case err != nil:
				return fmt.Errorf("lock %q: %w", args[0], err)
			case l.Holder == nil:
				return &notFoundError{fmt.Sprintf("lock %q: nobody holds it; check --namespace and --redis", args[0])}
			case *fence != 0 && *fence != l.Holder.Fence:
				return fmt.Errorf("lock %q is held by %q under fence %d, and not under %d", args[0], l.Holder.Execution, l.Holder.Fence, *fence)
			}
			b := brokenLock{Lock: l.Resource, DryRun: !*yes, Holder: l.Holder.Execution, Fence: l.Holder.Fence}
			if len(l.Queue) > 0 {
				b.Next = l.Queue[0].Execution
			}
			if b.DryRun {
				a.note("dry run: nothing was done; give --yes to break it")
				return a.printBroken(b)
			}
			err = c.BreakLock(cmd.Context(), l.Resource, l.Holder.Fence, *order)
			if errors.Is(err, saga.ErrNotHolder) {
				return fmt.Errorf("lock %q was given back by %q meanwhile: nothing was broken", args[0], b.Holder)
			}
			if err != nil {
				return err
			}
			if l, err = c.Lock(cmd.Context(), l.Resource); err != nil {
				return fmt.Errorf("lock %q is broken; look who has it: %w", args[0], err)
			}
			if b.Next = ""; l.Holder != nil {
				b.Next = l.Holder.Execution
			}
			return a.printBroken(b)
		})
	})
	return cmd
}

func (a *app) printBroken(b brokenLock) error {
	t := table{header: []string{"LOCK", "HOLDER BEFORE", "FENCE", "NEXT"}}
	holder := typed(b.Holder)
	if b.DryRun {
		holder += " (dry run)"
	}
	next := "-"
	if b.Next != "" {
		next = typed(b.Next)
	}
	t.add(typed(b.Lock), holder, fenceText(b.Fence), next)
	return a.print(b, t)
}

// lockText tells how an execution stands to a lock of its own.
func lockText(l saga.LockHeld) string {
	text := typed(l.Resource)
	switch {
	case l.Broken:
		return fmt.Sprintf("%s was broken, under fence %d", text, l.Fence)
	case l.Fence > 0:
		return fmt.Sprintf("%s since %s, under fence %d", text, timestamp(l.Since), l.Fence)
	case l.Place > 0:
		return fmt.Sprintf("%s is waited for since %s, at place %d; %s holds it", text, timestamp(l.Since), l.Place, typed(l.Holder))
	}
	return fmt.Sprintf("%s is asked for since %s", text, timestamp(l.Since))
}
