package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/waybill-dev/waybill/config"
)

// An app is one run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	flags   *pflag.FlagSet // the global ones
	format  format
	started bool           // the command line was right, and a command runs
	loaded  *config.Config // once a command has asked for it
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "waybill",
		Short:         "Operate sagas and pipelines over SQS, SNS and Redis",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	a.flags = root.PersistentFlags()
	a.flags.String("config", "", "the `file` of settings (env WAYBILL_CONFIG; default ./waybill.yaml if it is there)")
	a.flags.String("namespace", "", "the `name` that queues, topics and keys begin with (env WAYBILL_NAMESPACE)")
	a.flags.String("endpoint-url", "", "the base `URL` of SQS and SNS (env WAYBILL_ENDPOINT_URL, AWS_ENDPOINT_URL); outside AWS,\nmissing credentials are made up, as emulators take any")
	a.flags.String("region", "", "the AWS `region` (env AWS_REGION)")
	a.flags.String("redis", "", "`host:port` of Redis, several with commas for a cluster, or a URL redis:// or rediss://\n(env WAYBILL_REDIS; default 127.0.0.1:6379)")
	a.flags.VarP(&a.format, "output", "o", "the `format` of data: table, json, jsonl or yaml")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(a.benchCommand(), a.configCommand(), a.devCommand(), a.topologyCommand(), a.dlqCommand(), a.sagaCommand(), a.lockCommand(),
		a.schemaCommand(), a.versionCommand())
	a.help(root)
	return root
}

// configuration loads the settings, with the flags that were given over them.
func (a *app) configuration() (*config.Config, error) {
	var opts []config.Option
	for flag, key := range map[string]string{
		"namespace": "namespace", "endpoint-url": "aws.endpoint_url", "region": "aws.region", "redis": "redis.addr",
	} {
		if f := a.flags.Lookup(flag); f.Changed {
			opts = append(opts, config.WithFlag("--"+flag, key, f.Value.String()))
		}
	}
	if f := a.flags.Lookup("config"); f.Changed {
		if f.Value.String() == "" {
			return nil, usagef("--config is empty; want the path of a file")
		}
		opts = append(opts, config.WithFileFlag(f.Value.String()))
	}
	cfg, err := config.Load(opts...)
	if err == nil {
		a.loaded = cfg
	}
	return cfg, err
}

// unnamed reports whether the configuration was loaded, and names no endpoint
// for want of a file.
func (a *app) unnamed() bool {
	if a.loaded == nil || a.loaded.File() != "" {
		return false
	}
	endpoints, err := a.loaded.Endpoints()
	return err == nil && len(endpoints.Names()) == 0
}

// group makes a command of which only the subcommands do something.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return usagef("%s: want one of %s; see %s --help", cmd.CommandPath(), subcommands(cmd), cmd.CommandPath())
	}
	cmd.AddCommand(commands...)
	return cmd
}

func unknownCommand(cmd *cobra.Command, got string) error {
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(got); len(near) > 0 {
		return usagef("%s: there is no command %q; did you mean %s?", cmd.CommandPath(), got, strings.Join(near, " or "))
	}
	return usagef("%s: there is no command %q; want one of %s", cmd.CommandPath(), got, subcommands(cmd))
}

func subcommands(cmd *cobra.Command) string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return strings.Join(names, ", ")
}

// does makes a command's function. Errors before it are of usage.
func (a *app) does(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		err := f(cmd, args)
		if ofDLQ(cmd) && (err != nil || cmd.Name() == "ls") && a.unnamed() {
			a.note("there is no %s here and no endpoint is configured: queues go by their own names alone", config.DefaultFile)
		}
		return err
	}
}

// ofDLQ reports whether a command is one of waybill dlq.
func ofDLQ(cmd *cobra.Command) bool {
	for cmd.HasParent() {
		if cmd = cmd.Parent(); cmd.Name() == "dlq" {
			return true
		}
	}
	return false
}

// takes checks that a command has the arguments that its usage names.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("%s: %s is missing; want %s", cmd.CommandPath(), names[len(args)], cmd.UseLine())
		case len(args) > len(names) && len(names) == 0:
			return usagef("%s: takes no argument, and got %q", cmd.CommandPath(), args[0])
		case len(args) > len(names):
			return usagef("%s: takes %s, and got %q as well", cmd.CommandPath(), strings.Join(names, " and "), args[len(names)])
		}
		return nil
	}
}

// flagError says which flag was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var near []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if similar(unknown.GetSpecifiedName(), f.Name) {
				near = append(near, "--"+f.Name)
			}
		})
		if len(near) > 0 {
			err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
		}
	}
	return usagef("%s: %w; see %s --help", cmd.CommandPath(), err, cmd.CommandPath())
}

// similar reports whether a name was probably meant to be another: they begin
// alike, or have the same letters but one or two.
func similar(got, name string) bool {
	if len(got) < 2 {
		return false
	}
	if strings.HasPrefix(name, got) || strings.HasPrefix(got, name) {
		return true
	}
	counts := map[rune]int{}
	for _, r := range got {
		counts[r]++
	}
	for _, r := range name {
		counts[r]--
	}
	off := 0
	for _, n := range counts {
		off += max(n, -n)
	}
	return off <= 2
}
