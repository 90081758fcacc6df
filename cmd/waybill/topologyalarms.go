package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/topology"
)

const alarmsHelp = `

With --alarms it shows instead the alarms of CloudWatch for each dead-letter queue, as
JSON: one for when there are dead letters, and one for when the oldest will be deleted
if nobody acts. None is made. Their names are always the same, so to put them again
changes them; what makes them is

  waybill topology plan --alarms -o jsonl | while read -r alarm
  do aws cloudwatch put-metric-alarm --cli-input-json "$alarm"; done

An alarm is made where its queue is. If queues are in several regions or accounts, --for
chooses endpoints of one.`

// alarmFlags are those of the alarms of a plan.
type alarmFlags struct {
	wanted             bool
	depths             []string
	actions, okActions []string
	endpoints          []string
}

// withAlarms adds the flags to the command that plans.
func withAlarms(cmd *cobra.Command) *alarmFlags {
	f := &alarmFlags{}
	cmd.Long += alarmsHelp
	cmd.Flags().BoolVar(&f.wanted, "alarms", false, "show the alarms of CloudWatch for the dead-letter queues")
	cmd.Flags().StringArrayVar(&f.depths, "alarm-depth", nil, "with --alarms: the `number` of dead letters above which an alarm goes off, or endpoint=number; repeatable (default 0)")
	cmd.Flags().StringArrayVar(&f.actions, "alarm-action", nil, "with --alarms: the `ARN` of what an alarm tells, such as a topic; repeatable")
	cmd.Flags().StringArrayVar(&f.okActions, "ok-action", nil, "with --alarms: the `ARN` of what is told when it is over; repeatable")
	cmd.Flags().StringArrayVar(&f.endpoints, "for", nil, "with --alarms: those of the `endpoint` alone; repeatable")
	for _, name := range []string{"alarm-depth", "alarm-action", "ok-action", "for"} {
		cmd.Flags().Lookup(name).DefValue = "" // it would say that the default is []
	}
	return f
}

// config returns what the flags ask for.
func (f *alarmFlags) config() (topology.AlarmConfig, error) {
	cfg := topology.AlarmConfig{Endpoints: f.endpoints, Actions: f.actions, OKActions: f.okActions, Depths: map[string]int{}}
	if !f.wanted {
		if len(f.depths)+len(f.actions)+len(f.okActions)+len(f.endpoints) > 0 {
			return cfg, usagef("--alarm-depth, --alarm-action, --ok-action and --for are of --alarms, which is not given")
		}
		return cfg, nil
	}
	for _, text := range f.depths {
		name, number, of := strings.Cut(text, "=")
		if !of {
			number = name
		}
		n, err := strconv.Atoi(number)
		switch {
		case err != nil:
			return cfg, usagef("--alarm-depth is %q; want a number, or endpoint=number", text)
		case of:
			cfg.Depths[name] = n
		default:
			cfg.Depth = n
		}
	}
	return cfg, nil
}

// printAlarms prints the alarms of a plan: as JSON on a terminal, too, for it is what
// is asked for.
func (a *app) printAlarms(p *topology.Plan, cfg topology.AlarmConfig) error {
	alarms, err := p.Alarms(cfg)
	if errors.Is(err, queue.ErrInvalid) {
		return usagef("%w", err)
	}
	if err != nil {
		return err
	}
	var places []string
	seen := make(map[[2]string]bool)
	for _, alarm := range alarms {
		if at := [2]string{alarm.Region, alarm.Account}; !seen[at] {
			seen[at] = true
			places = append(places, fmt.Sprintf("region %s, account %s (--for %s)", alarm.Region, number(alarm.Account), alarm.Endpoints[0]))
		}
	}
	if a.format == "" {
		a.format = formatJSON
	}
	if len(places) > 1 && a.format != formatTable {
		return usagef("the alarms are of several places, and an alarm is made in one: %s; choose with --for, or see them all with -o table", strings.Join(places, ", "))
	}
	t := table{header: []string{"ALARM", "REGION", "ACCOUNT", "ENDPOINTS", "METRIC", "ABOVE"}}
	for _, alarm := range alarms {
		t.add(alarm.AlarmName, alarm.Region, number(alarm.Account), strings.Join(alarm.Endpoints, ", "), alarm.MetricName, strconv.FormatFloat(alarm.Threshold, 'f', -1, 64))
	}
	if err := a.print(alarms, t); err != nil {
		return err
	}
	a.note("%d alarms; nothing was made", len(alarms))
	return nil
}
