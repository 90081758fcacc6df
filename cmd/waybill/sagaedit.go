package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/saga"
)

func (a *app) sagaRetryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry ID",
		Short: "Let a blocked execution try again",
		Long: `Let a blocked execution try again where it is blocked, with a fresh budget of
attempts, and one that waits between attempts try at once. It undoes nothing, so
it takes no --yes.

With --input, what is blocked is tried with that instead of the state: a
compensation, or a step after the point of no return. It then has an idempotency
key of its own, so that nobody takes it for a repeat. If an attempt under the old
key has an unknown outcome, its effect may come on top: see to that, and say so
with --confirm-unknown.`,
		Args: takes("ID"),
	}
	order := orderFlags(cmd)
	input := cmd.Flags().String("input", "", "another input, as `JSON`, or @FILE (@- is the standard input)")
	var edit saga.Edit
	cmd.Flags().StringVar(&edit.Step, "step", "", "the blocked step whose input that is, where there are several")
	cmd.Flags().StringVar(&edit.Frame, "frame", "", "the branch or item of that step, as in waybill saga show")
	cmd.Flags().BoolVar(&edit.ConfirmUnknown, "confirm-unknown", false, "you have seen to attempts whose outcome is unknown")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("input") {
			for _, name := range []string{"step", "frame", "confirm-unknown"} {
				if cmd.Flags().Changed(name) {
					return usagef("--%s goes with --input", name)
				}
			}
			return a.order(cmd.Context(), args[0], "retry", false, func(c *saga.Client) error {
				return c.Retry(cmd.Context(), args[0], *order)
			})
		}
		data, err := a.jsonFlag("input", *input)
		if err != nil {
			return err
		}
		edit.Input = data
		return a.order(cmd.Context(), args[0], "retry", false, func(c *saga.Client) error {
			return retryWith(cmd.Context(), c, args[0], edit, *order)
		})
	})
	return cmd
}

func retryWith(ctx context.Context, c *saga.Client, id string, edit saga.Edit, order saga.Order) error {
	err := c.RetryWith(ctx, id, edit, order)
	if unconfirmed := (*saga.UnconfirmedError)(nil); errors.As(err, &unconfirmed) {
		return fmt.Errorf("%w with --confirm-unknown", err)
	}
	return err
}

// maxInput bounds the JSON that is read from a file.
const maxInput = 16 << 20

// jsonFlag is the JSON of a flag, or of the file that it names after an @.
func (a *app) jsonFlag(name, value string) (json.RawMessage, error) {
	data := []byte(value)
	if file, ok := strings.CutPrefix(value, "@"); ok {
		var err error
		if data, err = a.read(file, maxInput); err != nil {
			return nil, fmt.Errorf("--%s: %w", name, err)
		}
		if !json.Valid(data) {
			return nil, usagef("--%s: %s is not JSON", name, file)
		}
		return data, nil
	}
	if !json.Valid(data) {
		return nil, usagef("--%s is %q; want JSON, or @FILE", name, value)
	}
	return data, nil
}
