package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

func (a *app) sagaPreviewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "preview-undo ID",
		Short: "Show what would be undone if an execution failed now",
		Long: `Show which compensations would run if an execution failed now, in their order, and
what they would be given; those of children are among them. What is under way counts as unknown. Nothing is changed.`,
		Args: takes("ID"),
		RunE: a.does(func(cmd *cobra.Command, args []string) error {
			return a.withSagas(cmd.Context(), func(c *saga.Client, _ string) error {
				list, err := c.PreviewUndo(cmd.Context(), args[0])
				switch {
				case errors.Is(err, saga.ErrPivoted):
					return fmt.Errorf("execution %q is past its point of no return: nothing would be undone", args[0])
				case errors.Is(err, store.ErrEnded):
					return fmt.Errorf("execution %q has ended: nothing will be undone", args[0])
				case err != nil:
					return named(args[0], err)
				}
				t := table{header: []string{"EXECUTION", "FRAME", "STEP", "VISIT", "OUTCOME", "STATE"}}
				for _, u := range list {
					t.add(typed(u.Execution), orDash(u.Frame), u.Step, fmt.Sprint(u.Visit), string(u.Outcome), compact(u.State))
				}
				if list == nil {
					list = []saga.Undo{}
					a.note("nothing has been done that would be undone")
				}
				return a.print(list, t)
			})
		}),
	}
}

// A told execution is one that was told something.
type told struct {
	Told      string `json:"told"`
	Execution string `json:"execution,omitempty"`
}

func (a *app) sagaCompleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "complete TOKEN",
		Short: "Complete the task of a token",
		Long: `Complete the task of a token, such as an approval that somebody was asked for: with
a result in JSON, or with an error, by its name and a cause. A token is good for
one time. TOKEN may be -, and is read from the standard input then, so that it
stands in no list of processes.`,
		Args: takes("TOKEN"),
	}
	result := cmd.Flags().String("result", "null", "the result, as `JSON`")
	errorName := cmd.Flags().String("error", "", "fail the task with an error of this `name`")
	cause := cmd.Flags().String("cause", "", "`why`, with --error")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		token, err := a.secret(args[0])
		switch {
		case err != nil:
			return err
		case !json.Valid([]byte(*result)):
			return usagef("--result is %q; want JSON", *result)
		case *errorName != "" && cmd.Flags().Changed("result"):
			return usagef("--result and --error: want one of them")
		case *cause != "" && *errorName == "":
			return usagef("--cause goes with --error")
		}
		return a.withSagas(cmd.Context(), func(c *saga.Client, _ string) error {
			if *errorName != "" {
				err = c.Fail(cmd.Context(), token, *errorName, *cause)
			} else {
				err = c.Complete(cmd.Context(), token, json.RawMessage(*result))
			}
			if errors.Is(err, saga.ErrToken) {
				return &notFoundError{fmt.Sprintf("%v: it is another's, was used, or its time is over", saga.ErrToken)}
			}
			if err != nil {
				return err
			}
			return a.print(told{Told: "complete"}, table{header: []string{"TOLD"}, rows: [][]string{{"complete"}}})
		})
	})
	return cmd
}

// maxSecret bounds what is read as a token.
const maxSecret = 32 << 10

// secret is an argument that may stand on the standard input instead.
func (a *app) secret(arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	data, err := io.ReadAll(io.LimitReader(a.stdin, maxSecret))
	if err != nil {
		return "", fmt.Errorf("read the token from the standard input: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func (a *app) sagaSignalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "signal ID NAME",
		Short: "Send a signal to an execution",
		Long: `Send a signal to a running execution, with a payload in JSON. The execution takes
it when it comes to a step that waits for a signal of that name. A signal of the
same --id is sent once. With --early it may come before its execution is started.`,
		Args: takes("ID", "NAME"),
	}
	payload := cmd.Flags().String("payload", "null", "what the signal brings, as `JSON`")
	id := cmd.Flags().String("id", "", "the signal's own `id`; by default a new one")
	early := cmd.Flags().Duration("early", 0, "how long it waits for an execution that is not there yet; by default that is an error")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if !json.Valid([]byte(*payload)) {
			return usagef("--payload is %q; want JSON", *payload)
		}
		if *early < 0 {
			return usagef("--early is %s; want it positive", *early)
		}
		return a.withClient(cmd.Context(), *early, func(c *saga.Client, _ string) error {
			if err := c.Signal(cmd.Context(), args[0], args[1], *id, json.RawMessage(*payload)); err != nil {
				return named(args[0], err)
			}
			return a.print(told{Told: "signal", Execution: args[0]}, table{header: []string{"EXECUTION", "TOLD"}, rows: [][]string{{typed(args[0]), "signal " + args[1]}}})
		})
	})
	return cmd
}
