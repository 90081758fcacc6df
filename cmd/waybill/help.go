package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const rootHelp = `Waybill runs sagas and pipelines over SQS and SNS, with their state in Redis.
This command operates them.

Settings come from flags, then the environment, then the file waybill.yaml,
then defaults; "waybill config show" tells where each came from, and "waybill
config --help" what the file may say.

Data goes to stdout and all else to stderr. On a terminal data is a table,
otherwise JSON; -o chooses. NO_COLOR turns colours off.

What cannot be taken back is a dry run without --yes: "dlq redrive" and its
"resume" and "cancel", "dlq ingest", "import" and "purge", "lock break", and "saga
cancel", "skip" and "terminate". The other commands ask for no --yes.

Exit codes: 0 ok, 1 failed, 2 wrong usage or configuration, 130 interrupted; of
"topology apply" and "dlq redrive", "export", "import", "ingest" and "purge" also 3,
done in part: the same command does the rest, or stderr says what does; of "dlq
redrive", "import", "ingest" and "purge" also 5: somebody else is at it; of "dlq", "lock" and "saga" also 4: what is named is not there.`

const configHelp = `Show the configuration.

The file is ./waybill.yaml, or what --config or WAYBILL_CONFIG names. Of an
endpoint, url is required; all else is optional:

` + configExample + `
"go doc github.com/waybill-dev/waybill/config" is the reference: all settings,
their defaults, and the variables of the environment that set them.`

const configExample = `  namespace: dev                  # queues, topics and keys begin with it
  aws:
    endpoint_url: http://127.0.0.1:4566
    region: eu-central-1
  redis:
    addr: 127.0.0.1:6379
  payloads:                       # that are too large for a queue
    store: s3                     # or redis
    bucket: rides-payloads
  watch:                          # of dlq watch
    depth: 10                     # dead letters that raise an alarm
    notify: alarms                # goes to this endpoint
    queues:
      rides: {depth: 1000}        # where it differs
  endpoints:
    rides:                        # the name that programs use
      url: sqs://rides            # the queue
      dead_letter: sqs://rides-dlq
      max_receive_count: 5
      visibility: 30s
      retention: 4d
    priced:
      url: sns://priced           # a topic
      subscriptions: [{endpoint: rides, filter: {long: ["yes"]}}]
    alarms:
      url: sns://alarms
  filters:                        # routes, in place of those in the code
    price: {from: rides, to: [priced]}
`

// examples are of every command that does something.
var examples = map[string]string{
	"bench saga":          "waybill bench saga --redis 127.0.0.1:6379\nwaybill bench saga --redis 127.0.0.1:6379 --steps 5 --fail-last -o json",
	"config show":         "waybill config show -o table",
	"dev":                 "waybill dev\nwaybill dev --aws-addr 127.0.0.1:0 --redis-addr 127.0.0.1:0 -o json",
	"dlq audit":           "waybill dlq audit --queue rides --since 7d\nwaybill dlq audit --who ann -o jsonl\nwaybill dlq audit 01KB0C6Y8WWQ5W8W3J6Z8M4RTN",
	"dlq catalogue":       "waybill dlq catalogue",
	"dlq export":          "waybill dlq export rides --limit 100\nwaybill dlq export rides --file rides.jsonl --filter '.failure.filter == \"price\"'",
	"dlq groups":          "waybill dlq groups rides\nwaybill dlq groups rides --by filter,hour --since 6h\nwaybill dlq groups rides --catalogue",
	"dlq import":          "waybill dlq import rides rides.jsonl\nwaybill dlq import rides rides.jsonl --yes --reason 'purged by mistake'",
	"dlq ingest":          "waybill dlq ingest rides\nwaybill dlq ingest rides --yes --reason 'too many to look at'",
	"dlq ls":              "waybill dlq ls\nwaybill dlq ls rides --look 100",
	"dlq peek":            "waybill dlq peek rides\nwaybill dlq peek rides --limit 100 --filter '.failure.reason == \"permanent\"'",
	"dlq purge":           "waybill dlq purge rides --filter '.attributes.tenant == \"test\"' --archive purged.jsonl --yes --reason 'a test run'\nwaybill dlq purge rides --all prod-rides-dlq",
	"dlq redrive":         "waybill dlq redrive rides\nwaybill dlq redrive rides --yes --reason 'the tariff is mended'\nwaybill dlq redrive rides --since 2h --edit '.body.currency = \"EUR\"'\nwaybill dlq redrive rides --native --to rides --yes",
	"dlq redrive cancel":  "waybill dlq redrive cancel rides --yes --reason 'the wrong queue'",
	"dlq redrive history": "waybill dlq redrive history rides",
	"dlq redrive resume":  "waybill dlq redrive resume rides --yes",
	"dlq redrive status":  "waybill dlq redrive status rides",
	"dlq show":            "waybill dlq show rides ride-2",
	"dlq watch":           "waybill dlq watch --depth 10 --depth rides=1000 --growth 100 --notify alarms --metrics :9464\nwaybill dlq watch rides -o jsonl",
	"lock break":          "waybill lock break account/4711\nwaybill lock break account/4711 --yes --reason 'trip-42 hangs, and changes nothing'",
	"lock ls":             "waybill lock ls",
	"lock show":           "waybill lock show account/4711",
	"saga cancel":         "waybill saga cancel trip-42\nwaybill saga cancel trip-42 --yes --reason 'the customer has left'",
	"saga history":        "waybill saga history trip-42",
	"saga ls":             "waybill saga ls\nwaybill saga ls --status blocked --definition trip",
	"saga retry":          "waybill saga retry trip-42 --reason 'refunds work again'\nwaybill saga retry trip-42 --input @mended.json --reason 'another account'",
	"saga show":           "waybill saga show trip-42",
	"saga skip":           "waybill saga skip trip-42 --yes --reason 'refunded by hand'",
	"saga suspend":        "waybill saga suspend trip-42 --reason 'the bank is down'",
	"saga resume":         "waybill saga resume trip-42",
	"saga release":        "waybill saga release trip-42 --yes --reason 'the charge is refunded by hand'",
	"saga terminate":      "waybill saga terminate trip-42 --yes --reason 'a test run'",
	"saga preview-undo":   "waybill saga preview-undo trip-42",
	"saga check-upgrade":  "waybill saga check-upgrade trip --graph trip.json\nwaybill saga check-upgrade trip --version 2 --from 1\nwaybill saga check-upgrade trip --graph trip.json --register",
	"saga complete":       "waybill saga complete TOKEN --result '{\"by\": \"ann\"}'\nwaybill saga complete TOKEN --error Refused --cause 'too much'",
	"saga signal":         "waybill saga signal trip-42 paid --payload '{\"cents\": 2000}'",
	"schema":              "waybill schema\nwaybill schema command",
	"topology apply":      "waybill topology apply",
	"topology check":      "waybill topology check\nwaybill topology check --handler-timeout rides=90s --ignore no-redrive-policy:replies --fail-on warning",
	"topology iam":        "waybill topology iam --role worker --account 123456789012\nwaybill topology iam --role operator --account 123456789012 --look-up",
	"topology plan":       "waybill topology plan\nwaybill topology plan --namespace prod --region eu-central-1\nwaybill topology plan --alarms --alarm-depth replies=10 --alarm-action arn:aws:sns:eu-west-1:123456789012:alarms -o jsonl",
	"topology show":       "waybill topology show",
	"version":             "waybill version",
}

// uses are the global flags that mean something to the commands below root.
// The help of a command leaves out the others.
var uses = map[string][]string{
	"bench":      {"config", "redis", "output"},
	"completion": {},
	"dev":        {"output"},
	"dlq":        {"config", "namespace", "endpoint-url", "region", "redis", "output"},
	"lock":       {"config", "namespace", "redis", "output"},
	"saga":       {"config", "namespace", "redis", "output"},
	"schema":     {"output"},
	"topology":   {"config", "namespace", "endpoint-url", "region", "output"},
	"version":    {"output"},
}

// help completes what the commands say of themselves.
func (a *app) help(root *cobra.Command) {
	for path, example := range examples {
		if cmd, _, err := root.Find(strings.Fields(path)); err == nil {
			cmd.Example = "  " + strings.ReplaceAll(example, "\n", "\n  ")
		}
	}
	show := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		top := cmd
		for top.HasParent() && top.Parent() != root {
			top = top.Parent()
		}
		if used, limited := uses[top.Name()]; limited {
			a.flags.VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(used, f.Name) })
		}
		show(cmd, args)
	})
}
