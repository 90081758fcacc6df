package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/saga"
)

// A schemaEntry tells what a schema is of.
type schemaEntry struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [NAME]",
		Short: "Print the JSON Schemas of messages",
		Long: `Print the JSON Schema of a message that sagas exchange with other services, or
without a NAME list which there are. What a participant in another language reads
is a command, and what it sends a reply; "go doc github.com/waybill-dev/waybill/saga"
tells what it must keep to.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return takes("NAME")(cmd, args)
		},
		RunE: a.does(func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listSchemas()
			}
			text, err := fs.ReadFile(saga.Schemas(), args[0]+".json")
			if err != nil {
				return usagef("there is no schema %q; waybill schema lists them", args[0])
			}
			if a.output() == formatTable {
				_, err := a.stdout.Write(text)
				return err
			}
			return a.print(json.RawMessage(text), table{})
		}),
	}
}

func (a *app) listSchemas() error {
	files, err := fs.Glob(saga.Schemas(), "*.json")
	if err != nil {
		return err
	}
	t, list := table{header: []string{"NAME", "MESSAGE"}}, []schemaEntry{}
	for _, file := range files {
		text, err := fs.ReadFile(saga.Schemas(), file)
		if err != nil {
			return err
		}
		var e schemaEntry
		if err := json.Unmarshal(text, &e); err != nil {
			return fmt.Errorf("schema %s: %w", file, err)
		}
		e.Name = strings.TrimSuffix(file, ".json")
		list = append(list, e)
		t.add(e.Name, e.Title)
	}
	return a.print(list, t)
}
