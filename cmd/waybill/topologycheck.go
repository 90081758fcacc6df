package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
)

func (a *app) checkCommand() *cobra.Command {
	var (
		timeouts map[string]string
		ignore   []string
		failOn   string
		after    bool
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look for what loses messages when something fails",
		Long: `Look for what loses messages, or buries them where nobody looks, when something
fails: a queue without a redrive policy, a dead-letter queue whose retention is below
its queue's, one that is gone or refuses the queue, one receive for each message, a
bucket of payloads that deletes them before their messages, and the like. The queues are judged as they are, whoever made them, and as apply would
leave them; APPLY tells what apply does about a finding: it mends it, leaves it,
brings it, or refuses what is configured.

Nothing is changed, and the policy of "waybill topology iam --role viewer" is enough.
What may not be looked at is a warning, and the rest is judged. How long handlers may
take is not in the configuration: --handler-timeout has the visibility timeout of
their queue judged by it.

The exit code is 0 without errors, and 1 with some; --fail-on warning, or notice, has
the others count, too. --ignore leaves out what is as it is meant to be, and
--after-apply what apply mends, as for a configuration that is not applied yet.`,
		Args: takes(),
	}
	cmd.Flags().StringToStringVar(&timeouts, "handler-timeout", nil, "how long a handler may take, as `name=duration` of an endpoint or a filter; repeatable")
	cmd.Flags().Lookup("handler-timeout").DefValue = "" // it would say that the default is []
	cmd.Flags().StringArrayVar(&ignore, "ignore", nil, "leave out the findings of a `rule`, or of rule:endpoint; repeatable")
	cmd.Flags().Lookup("ignore").DefValue = ""
	cmd.Flags().StringVar(&failOn, "fail-on", string(topology.SeverityError), "the least `severity` that makes the exit code 1: error, warning or notice")
	cmd.Flags().BoolVar(&after, "after-apply", false, "leave out what apply mends")
	cmd.RunE = a.does(func(cmd *cobra.Command, _ []string) error {
		least := topology.Severity(failOn)
		if !slices.Contains(topology.Severities(), least) {
			return usagef("--fail-on is %q; want error, warning or notice", failOn)
		}
		cfg, endpoints, clients, err := a.clients(cmd.Context())
		if err != nil {
			return err
		}
		if err := ignorable(ignore, endpoints); err != nil {
			return err
		}
		handlers, err := handlerTimeouts(timeouts, cfg, endpoints)
		if err != nil {
			return err
		}
		findings, err := topology.Check(cmd.Context(), clients, endpoints, topology.CheckConfig{HandlerTimeouts: handlers, PayloadsKept: payloadsKept(cfg.Payloads)})
		if errors.Is(err, queue.ErrInvalid) {
			return usagef("--handler-timeout: %w", err)
		}
		if err != nil {
			return err
		}
		findings = slices.DeleteFunc(findings, func(f topology.Finding) bool {
			return after && f.Apply == topology.Mends || slices.Contains(ignore, string(f.Rule)) || slices.Contains(ignore, string(f.Rule)+":"+f.Endpoint)
		})
		if err := a.printFindings(findings); err != nil {
			return err
		}
		a.checkPayloads(cmd.Context())
		text := findingsSummary(findings)
		if slices.ContainsFunc(findings, func(f topology.Finding) bool { return f.Severity.AtLeast(least) }) {
			return errors.New("topology check: " + text)
		}
		a.note("%s", text)
		return nil
	})
	return cmd
}

// handlerTimeouts returns the timeouts by the names of endpoints. A filter's is that
// of the endpoint that it reads.
func handlerTimeouts(given map[string]string, cfg *config.Config, endpoints *queue.Endpoints) (map[string]time.Duration, error) {
	handlers := make(map[string]time.Duration)
	for name, text := range given {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, usagef("--handler-timeout %s=%s is no duration; want for example %s=90s", name, text, name)
		}
		if route := cfg.Wiring()[name]; route.From != "" && !slices.Contains(endpoints.Names(), name) {
			name = route.From
		}
		handlers[name] = max(handlers[name], d)
	}
	return handlers, nil
}

// ignorable refuses what no finding can be.
func ignorable(ignore []string, endpoints *queue.Endpoints) error {
	for _, text := range ignore {
		rule, endpoint, of := strings.Cut(text, ":")
		if !slices.Contains(topology.Rules(), topology.Rule(rule)) {
			return usagef("--ignore is %q, which begins with no rule; want one of %v", text, topology.Rules())
		}
		if of && !slices.Contains(endpoints.Names(), endpoint) {
			return usagef("--ignore is %q, and %q is no endpoint; want one of %q", text, endpoint, endpoints.Names())
		}
	}
	return nil
}

func (a *app) printFindings(findings []topology.Finding) error {
	styles := map[topology.Severity]style{topology.SeverityError: red, topology.SeverityWarning: yellow}
	t := table{header: []string{"SEVERITY", "RULE", "ENDPOINT", "RESOURCE", "APPLY"}}
	for _, f := range findings {
		t.addStyled(styles[f.Severity], string(f.Severity), string(f.Rule), f.Endpoint, f.Resource, string(f.Apply))
		t.addUnder(f.Problem + "; " + f.Remedy)
	}
	return a.print(findings, t)
}

// findingsSummary counts the findings: "2 errors, 1 notice".
func findingsSummary(findings []topology.Finding) string {
	var parts []string
	for _, s := range topology.Severities() {
		n := 0
		for _, f := range findings {
			if f.Severity == s {
				n++
			}
		}
		switch {
		case n == 1:
			parts = append(parts, "1 "+string(s))
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, s))
		}
	}
	if len(parts) == 0 {
		return "nothing is wrong"
	}
	return strings.Join(parts, ", ")
}
