package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
)

const canaryHelp = `

With --canary, so many messages are sent first and watched: by the records that
their receivers keep in Redis, or, where there are none, by whether they come back
in the time that --canary-wait gives them, which is said to be inferred. The rest is
sent if not more of them died than may, where one that nothing tells of counts as
dead; otherwise the redrive ends there, with exit code 3.`

// canaryFlags adds the flags of a canary, and returns what reads them.
func canaryFlags(cmd *cobra.Command) func() (dlq.Canary, error) {
	var c dlq.Canary
	cmd.Flags().IntVar(&c.Messages, "canary", 0, "send `N` messages first, and the others when it is seen what became of them")
	cmd.Flags().DurationVar(&c.Wait, "canary-wait", 0, "watch them for this `time` at most, such as 5m (default: as long as a receiver\nthat always fails keeps a message from the dead-letter queue)")
	failures := cmd.Flags().String("canary-max-failures", "0", "go on if no more than `P` of them died, or have nothing tell of them: a number,\nor a share such as 10%")
	cmd.Flags().StringVar(&c.Receiver, "canary-receiver", "", "the `name` of the filter whose records tell (default: the one that each failed in)")
	return func() (dlq.Canary, error) {
		changed := cmd.Flags().Changed
		switch {
		case !changed("canary") && (changed("canary-wait") || changed("canary-max-failures") || changed("canary-receiver")):
			return c, usagef("--canary-wait, --canary-max-failures and --canary-receiver go with --canary")
		case changed("canary-receiver") && c.Receiver == "":
			return c, usagef("--canary-receiver is empty; want the name of a filter")
		case !changed("canary"):
			return c, nil
		case c.Messages < 1 || c.Messages > dlq.MaxCanary:
			return c, usagef("--canary is %d; want 1 to %d", c.Messages, dlq.MaxCanary)
		case changed("canary-wait") && (c.Wait <= 0 || c.Wait > dlq.MaxCanaryWait):
			return c, usagef("--canary-wait is %v; want more than 0, up to %v", c.Wait, dlq.MaxCanaryWait)
		}
		var err error
		c.MaxFailures, err = parseShare(*failures, c.Messages)
		if err != nil {
			return c, usagef("--canary-max-failures is %q; want a number, or a share such as 10%%", *failures)
		}
		return c, nil
	}
}

// parseShare reads a number, or a share of n, rounded down.
func parseShare(text string, n int) (int, error) {
	share, ok := strings.CutSuffix(text, "%")
	if !ok {
		k, err := strconv.ParseUint(text, 10, 31)
		return int(k), err
	}
	percent, err := strconv.ParseFloat(share, 64)
	if err == nil && !(percent >= 0 && percent <= 100) {
		err = strconv.ErrRange
	}
	return int(float64(n) * percent / 100), err
}

// canaryText tells in a line what became of a canary.
func canaryText(r *dlq.CanaryReport) string {
	text := fmt.Sprintf("%d sent: %d done", r.Messages, r.Done+r.Inferred)
	if r.Inferred > 0 {
		text += fmt.Sprintf(" (%d inferred, from their not coming back)", r.Inferred)
	}
	text += fmt.Sprintf(", %d died", r.Died)
	if r.Undecided > 0 {
		text += fmt.Sprintf(", of %d nothing tells", r.Undecided)
	}
	if r.Waiting > 0 {
		text += fmt.Sprintf(", %d awaited for up to %v", r.Waiting, r.Wait.Round(time.Second))
	}
	return text
}
