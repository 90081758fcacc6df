package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// checkNative refuses what SQS's own move cannot do.
func checkNative(cmd *cobra.Command, to string, rate float64) error {
	for _, name := range []string{"filter", "since", "until", "edit", "sample", "limit", "live", "ramp", "canary", "canary-wait", "canary-max-failures", "catalogue"} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			return usagef("--native has SQS move all messages as they are, and takes no --%s", name)
		}
	}
	switch {
	case to == "":
		return usagef("--native wants --to: where a message came from that was sent to its dead-letter queue, SQS does not know")
	case rate != float64(int(rate)) || rate > queue.MaxMoveRate:
		return usagef("--rate is %v; want a whole number up to %d with --native", rate, queue.MaxMoveRate)
	}
	return nil
}

// move has SQS move the messages of a queue.
func (a *app) move(ctx context.Context, arg, to string, rate int, yes, plain bool, by *orderer, begin func() *progress) error {
	use := writeJournal
	if plain || !yes {
		use = noJournal
	}
	g, err := a.graveyard(ctx, use)
	if err != nil && use == writeJournal && !errors.As(err, new(*usageError)) {
		a.note("the move is not on record, and does not keep others off: %v", err)
		g, err = a.graveyard(ctx, noJournal)
	}
	if err != nil {
		return err
	}
	defer g.close()
	name, err := g.deadLetters(ctx, arg)
	if err != nil {
		return err
	}
	if !yes {
		return a.previewMove(ctx, g, name, to)
	}
	show := begin()
	task, err := g.Move(ctx, dlq.MoveOptions{From: name, To: to, Rate: rate, Owner: by.owner, Reason: by.reason, Progress: func(t queue.MoveTask) {
		show.report(dlq.Report{Snapshot: t.ToMove, Seen: t.Moved, Sent: t.Moved})
	}})
	show.end()
	if task.Status == "" {
		return a.tellHolder(err, arg) // it did not begin
	}
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w\n%s tells how far it is\n%s stops it", err,
			a.commandLine("dlq redrive status", arg, "--native"), a.commandLine("dlq redrive cancel", arg, "--native", "--yes"))
	} else if err != nil && task.Moved > 0 {
		err = &partialError{err}
	}
	return errors.Join(a.print(task, moveTable(task)), err)
}

func (a *app) previewMove(ctx context.Context, g *graveyard, name, to string) error {
	counts := map[string]queue.QueueAttributes{}
	for _, n := range []string{name, to} {
		q, err := g.queues.Queue(ctx, n)
		if err != nil {
			return err
		}
		if counts[n], err = q.Attributes(ctx); err != nil {
			return err
		}
	}
	from := counts[name]
	task := queue.MoveTask{Status: "DRY RUN", Source: from.ARN, Destination: counts[to].ARN, ToMove: from.Visible + from.InFlight + from.Delayed}
	a.note("dry run: nothing was moved; give --yes to move")
	return a.print(task, moveTable(task))
}

func moveTable(m queue.MoveTask) table {
	t := table{}
	t.add("by", "SQS")
	t.addStyled(moveStyle(m), "state", m.Status)
	t.add("queue", queueName(m.Source))
	t.add("to", queueName(m.Destination))
	t.add("moved", fmt.Sprintf("%d of %d", m.Moved, m.ToMove))
	if m.Failure != "" {
		t.addStyled(red, "failed", m.Failure)
	}
	return t
}

func moveStyle(m queue.MoveTask) style {
	switch m.Status {
	case queue.MoveFailed:
		return red
	case queue.MoveCancelled, queue.MoveCancelling:
		return yellow
	}
	return plain
}

// printMoves lists the move tasks of a queue, the newest first.
func (a *app) printMoves(ctx context.Context, arg string) error {
	return a.inQueue(ctx, arg, func(g *graveyard, name string) error {
		list, err := g.Moves(ctx, name)
		if err != nil {
			return err
		}
		t := table{header: []string{"QUEUE", "STATE", "BEGUN", "MOVED", "OF", "TO", "FAILED"}}
		for _, m := range list {
			begun := "-"
			if !m.Started.IsZero() {
				begun = timestamp(m.Started)
			}
			t.addStyled(moveStyle(m), queueName(m.Source), m.Status, begun, strconv.Itoa(m.Moved), strconv.Itoa(m.ToMove), orDash(queueName(m.Destination)), orDash(m.Failure))
		}
		return a.print(list, t)
	})
}

// cancelMove has SQS stop the move task of a queue.
func (a *app) cancelMove(ctx context.Context, arg string, yes bool, by *orderer) error {
	if !yes {
		a.note("dry run: nothing was done; give --yes to cancel")
		return a.printMoves(ctx, arg)
	}
	g, err := a.graveyard(ctx, writeRecords)
	if err != nil && !errors.As(err, new(*usageError)) { // a move needs no Redis, nor does its end
		a.note("the order is not on record: %v", err)
		g, err = a.graveyard(ctx, noJournal)
	}
	if err != nil {
		return err
	}
	defer g.close()
	name, err := g.deadLetters(ctx, arg)
	if err != nil {
		return err
	}
	m, err := g.CancelMove(ctx, name, by.owner, by.reason)
	if errors.Is(err, queue.ErrNoMove) {
		err = &notFoundError{err.Error()}
	}
	if err != nil {
		return err
	}
	a.note("SQS stops it in its own time; what was moved stays moved")
	return a.print(m, moveTable(m))
}
