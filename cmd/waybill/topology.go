package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
)

func (a *app) topologyCommand() *cobra.Command {
	var (
		lowerRetention bool
		alarms         *alarmFlags
	)
	allowed := func() []topology.Option {
		if lowerRetention {
			return []topology.Option{topology.AllowLowerRetention()}
		}
		return nil
	}
	plan := &cobra.Command{
		Use:   "plan",
		Short: "Show what apply would do",
		Long: `Show what apply would create, adopt, change and keep, attribute by attribute. Nothing
is changed. A bucket of payloads is its owner's to make: of it plan, apply and show
tell whether its lifecycle rules fit payloads.expire_days.`,
		Args: takes(),
		RunE: a.does(func(cmd *cobra.Command, _ []string) error {
			alarmConfig, err := alarms.config()
			if err != nil {
				return err
			}
			p, err := a.plan(cmd.Context(), allowed()...)
			if err != nil {
				return err
			}
			if alarms.wanted {
				return a.printAlarms(p, alarmConfig)
			}
			if err := a.printSteps(p.Steps()); err != nil {
				return err
			}
			a.note("%s", summary(p.Steps(), p.Changes()))
			a.checkPayloads(cmd.Context())
			return nil
		}),
	}
	alarms = withAlarms(plan)
	apply := &cobra.Command{
		Use:   "apply",
		Short: "Make the queues, topics and subscriptions as configured",
		Long: `Create what is missing, adopt what exists, and change what differs from the
configuration. A queue that exists keeps what the configuration says nothing of.
No queue or topic is ever deleted, and to apply again does nothing. A queue whose
retention would be lowered is refused without --lower-retention: SQS then deletes
its older messages. What was done is printed; if it fails midway the exit code is
3, and applying again does the rest.`,
		Args: takes(),
		RunE: a.does(func(cmd *cobra.Command, _ []string) error {
			p, err := a.plan(cmd.Context(), allowed()...)
			if err != nil {
				return err
			}
			done := []topology.Step{}
			p.OnStep = func(s topology.Step) { done = append(done, s) }
			err = p.Apply(cmd.Context())
			if len(done) == 0 && err == nil {
				a.note("nothing to do: all is as configured")
			}
			a.checkPayloads(cmd.Context())
			return errors.Join(a.printSteps(done), err)
		}),
	}
	show := &cobra.Command{
		Use:   "show",
		Short: "Show each endpoint and how it stands",
		Long: "Show each endpoint: whether its queue or topic is there and as configured, where\n" +
			"it delivers, and how many messages wait.",
		Args: takes(),
		RunE: a.does(func(cmd *cobra.Command, _ []string) error {
			p, err := a.plan(cmd.Context(), topology.AllowLowerRetention()) // nothing is applied
			if err != nil {
				return err
			}
			status := p.Status()
			t := table{header: []string{"ENDPOINT", "URL", "STATE", "MESSAGES", "IN FLIGHT", "DELAYED", "DEAD LETTERS", "GOES TO"}}
			for _, s := range status {
				t.add(s.Endpoint, s.URL, s.State, number(s.Messages.String()), number(s.InFlight.String()), number(s.Delayed.String()),
					number(s.DeadLetters.String()), strings.Join(append(s.DeliversTo, strings.Fields(s.DeadLetter)...), ", "))
			}
			a.checkPayloads(cmd.Context())
			return a.print(status, t)
		}),
	}
	for _, cmd := range []*cobra.Command{plan, apply} {
		cmd.Flags().BoolVar(&lowerRetention, "lower-retention", false, "allow to lower the retention of queues, which deletes older messages")
	}
	return group("topology", "Plan, make and check queues, topics and subscriptions",
		`Plan, make and check the queues, topics, subscriptions and dead-letter queues that
the endpoints of the configuration name; "waybill config --help" shows what that may
say.`, plan, apply, a.checkCommand(), show, a.iamCommand())
}

func number(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// endpoints returns the configuration and its endpoints.
func (a *app) endpoints() (*config.Config, *queue.Endpoints, error) {
	cfg, err := a.configuration()
	if err != nil {
		return nil, nil, err
	}
	endpoints, err := cfg.Endpoints()
	return cfg, endpoints, err
}

// awsFor returns what clients of SQS and SNS are made from, for each endpoint.
func awsFor(ctx context.Context, cfg *config.Config, endpoints *queue.Endpoints) (func(queue.Endpoint) aws.Config, error) {
	f, err := cfg.AWS.LoadFor(ctx, endpoints)
	if err == nil && f(queue.Endpoint{}).Region == "" && len(endpoints.Names()) == 0 {
		err = config.ErrNoRegion
	}
	if errors.Is(err, config.ErrNoRegion) {
		err = usagef("%w; or give --region", err)
	}
	return f, err
}

// clients returns the configuration, the endpoints that it names, and the clients of
// the topology.
func (a *app) clients(ctx context.Context) (*config.Config, *queue.Endpoints, topology.Clients, error) {
	cfg, endpoints, err := a.endpoints()
	if err == nil && len(endpoints.Names()) == 0 {
		err = usagef("no endpoint is configured; name them under endpoints in %s, or set WAYBILL_ENDPOINTS_<NAME>_URL", config.DefaultFile)
	}
	if err != nil {
		return nil, nil, topology.Clients{}, err
	}
	awsFor, err := awsFor(ctx, cfg, endpoints)
	if err != nil {
		return nil, nil, topology.Clients{}, err
	}
	return cfg, endpoints, topology.NewClientsFor(awsFor), nil
}

// plan compares the configured endpoints with what is there.
func (a *app) plan(ctx context.Context, opts ...topology.Option) (*topology.Plan, error) {
	_, endpoints, clients, err := a.clients(ctx)
	if err != nil {
		return nil, err
	}
	return topology.NewPlan(ctx, clients, endpoints, opts...)
}

var actionStyles = map[topology.Action]style{
	topology.Create: green,
	topology.Adopt:  yellow,
	topology.Change: yellow,
}

func (a *app) printSteps(steps []topology.Step) error {
	t := table{header: []string{"ACTION", "KIND", "NAME", "FOR", "CHANGES"}}
	for _, s := range steps {
		var changes []string
		for _, c := range s.Attributes {
			changes = append(changes, c.String())
		}
		t.addStyled(actionStyles[s.Action], string(s.Action), s.Kind, s.Name, s.Purpose, strings.Join(changes, ", "))
	}
	return a.print(steps, t)
}

// summary counts the steps: "2 to create, 1 to change, 3 kept".
func summary(steps []topology.Step, changes int) string {
	counts := map[topology.Action]int{}
	for _, s := range steps {
		counts[s.Action]++
	}
	var parts []string
	for _, action := range []topology.Action{topology.Create, topology.Adopt, topology.Change} {
		if n := counts[action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", n, action))
		}
	}
	parts = append(parts, fmt.Sprintf("%d kept", counts[topology.Keep]))
	text := strings.Join(parts, ", ")
	if changes > 0 {
		text += "; `waybill topology apply` does it"
	}
	return text
}
