package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

func (a *app) dlqShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show QUEUE MESSAGE",
		Short: "Show a message of a dead-letter queue, and all that is known of its failure",
		Long: `Show a message of a dead-letter queue: its body and attributes, the errors on
record, how often it was tried, and when it failed first and last. MESSAGE is its
own id, or SQS's.

SQS finds no message by its id, so one after the other is looked at, up to --limit.
They stay there; but with SQS their receive counts rise by one. Where the message is
not among them, the exit code is 4.` + queueHelp,
		Args: takes("QUEUE", "MESSAGE"),
	}
	limit := cmd.Flags().Int("limit", dlq.DefaultLook, "look at `N` messages at most, up to "+strconv.Itoa(dlq.MaxLook))
	catalogue := catalogueFlag(cmd)
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		n, err := lookLimit(cmd, *catalogue, *limit)
		if err != nil {
			return err
		}
		if args[1] == "" {
			return usagef("MESSAGE is empty; want the id of a message")
		}
		return a.inEither(cmd.Context(), *catalogue, noJournal, args[0], func(g *graveyard, name string) error {
			l, err := g.Show(cmd.Context(), name, args[1], n)
			if err != nil {
				return err
			}
			a.tellStored([]*dlq.Letter{l}, g.stores)
			return a.print(l, showTable(l))
		})
	})
	return cmd
}

// showTable has all of a letter.
func showTable(l *dlq.Letter) table {
	t := table{}
	add := func(name, text string) {
		if text != "" {
			t.add(name, text)
		}
	}
	t.add("id", typed(l.ID))
	t.add("message id", l.MessageID)
	add("from", queueName(l.Source))
	if l.Problem != nil {
		t.addStyled(red, "problem", l.Problem.Error())
	}
	if f := l.Failure; f != nil {
		t.add("reason", string(f.Reason))
		add("filter", f.Filter)
		add("endpoint", f.Endpoint)
		add("message", f.Message)
		t.addLines("chain", f.Chain)
		if f.Attempts > 0 {
			t.add("attempts", strconv.Itoa(f.Attempts))
		}
		if !f.FirstFailure.IsZero() {
			t.add("first failure", timestamp(f.FirstFailure))
		}
		if !f.LastFailure.IsZero() {
			t.add("last failure", timestamp(f.LastFailure))
		}
		if f.Stack != "" {
			t.addLines("stack", strings.Split(strings.TrimSpace(strings.ReplaceAll(f.Stack, "\t", "    ")), "\n"))
		}
		if f.Cut {
			t.add("record", "shortened")
		}
	} else {
		t.add("reason", "unrecorded")
	}
	t.add("received", strconv.Itoa(l.ReceiveCount)+" times")
	t.add("sent", timestamp(l.SentAt))
	if l.Generation > 0 {
		t.add("redriven", strconv.Itoa(l.Generation)+" times, last by job "+l.RedriveID)
	}
	var attributes []string
	for _, key := range slices.Sorted(maps.Keys(l.Metadata)) {
		if key != queue.KeyFailure {
			attributes = append(attributes, key+": "+l.Metadata[key])
		}
	}
	t.addLines("attributes", attributes)
	body := "body"
	if l.Stored {
		body = "reference"
	}
	t.addLines(body, bodyText(l.Body))
	return t
}

// addLines adds a row for each line, of which the first has the name.
func (t *table) addLines(name string, lines []string) {
	for _, line := range lines {
		t.add(name, line)
		name = ""
	}
}

// bodyText returns a body in lines: indented if it is JSON.
func bodyText(body []byte) []string {
	var text bytes.Buffer
	switch {
	case len(body) == 0:
		return []string{"(empty)"}
	case !utf8.Valid(body):
		return []string{"base64 " + base64.StdEncoding.EncodeToString(body)}
	case json.Indent(&text, body, "", "  ") == nil:
		body = text.Bytes()
	}
	return strings.Split(strings.TrimRight(string(body), "\n"), "\n")
}
