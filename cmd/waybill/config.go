package main

import (
	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	show := &cobra.Command{
		Use:   "show",
		Short: "Show each setting, its value and where it came from",
		Long: `Show each setting, its value, and where it came from: a flag, a variable of the
environment, a line of the file, or the default. Passwords are shown as ***. The
table shortens long values.`,
		Args: takes(),
		RunE: a.does(func(*cobra.Command, []string) error {
			cfg, err := a.configuration()
			if err != nil {
				return err
			}
			values := cfg.Values()
			t := table{header: []string{"KEY", "VALUE", "SOURCE"}}
			for _, v := range values {
				value := v.Value
				if value == "" {
					value = "-"
				}
				t.add(v.Key, shorten(value, 60), v.Source)
			}
			if err := a.print(values, t); err != nil {
				return err
			}
			_, err = cfg.Endpoints()
			return err
		}),
	}
	return group("config", "Show the configuration", configHelp, show)
}
