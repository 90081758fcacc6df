package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
)

// An upgradeReport tells which open executions do not fit a graph.
type upgradeReport struct {
	Definition string              `json:"definition"`
	Version    string              `json:"version"` // the graph's
	Checked    int                 `json:"checked"`
	Misfits    int                 `json:"misfits"`
	Executions []saga.UpgradeCheck `json:"executions"` // that do not fit
	// Registered says that the graph is registered now under its version.
	Registered bool `json:"registered,omitempty"`
}

func (a *app) sagaUpgradeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check-upgrade NAME",
		Short: "Tell which open executions would not fit another graph",
		Long: `Tell which open executions of a saga could not go on with another graph: their
histories are replayed along it, and it is looked whether where they stand, what
they are to undo and what they wait for is in it. Those that do not fit are listed,
each with the first thing that does not and its place; then the exit code is 1.
Nothing is changed.

The graph is a file with the JSON of a saga's Definition() (- is the standard
input), or a version that a service has registered; the only one there is by
default. Executions stay on the version that they began with. So keep the old
definition among a coordinator's sagas for those that do not fit, or for all.
Whether code and state fit as well, no graph can tell.

A service whose graph has changed under the version that it had does not start.
With --register it may keep the version: only the executions of that version are
looked at, and if all of them fit, the graph takes the place of the registered one.
Stop the old release before that. What it does meanwhile is not looked at, and when
it starts again, it is refused.`,
		Args: takes("NAME"),
	}
	file := cmd.Flags().String("graph", "", "the `file` with the graph's JSON")
	version := cmd.Flags().String("version", "", "the registered `version` that is the graph")
	from := cmd.Flags().String("from", "", "only executions of this `version`")
	register := cmd.Flags().Bool("register", false, "if all fit, register the graph under its version")
	limit := cmd.Flags().Int("limit", 100, "list at most `N` of those that do not fit")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		switch {
		case *file != "" && *version != "":
			return usagef("--graph and --version: want one of them")
		case *register && *file == "":
			return usagef("--register: want the graph as --graph")
		case *register && *from != "":
			return usagef("--register looks at the executions of the graph's own version: remove --from")
		case *limit < 1:
			return usagef("--limit is %d; want 1 or more", *limit)
		}
		var graph *saga.Definition
		if *file != "" {
			var err error
			if graph, err = a.graphFile(*file, args[0]); err != nil {
				return &usageError{fmt.Errorf("--graph: %w", err)}
			}
		}
		return a.withSagas(cmd.Context(), func(c *saga.Client, _ string) (err error) {
			if graph == nil {
				if graph, err = registered(cmd.Context(), c, args[0], *version); err != nil {
					return err
				}
			}
			if *register {
				*from = graph.Version()
			}
			return a.checkUpgrade(cmd.Context(), c, graph, *from, *limit, *register)
		})
	})
	return cmd
}

func (a *app) checkUpgrade(ctx context.Context, c *saga.Client, graph *saga.Definition, from string, limit int, register bool) error {
	r := upgradeReport{Definition: graph.Name(), Version: graph.Version(), Executions: []saga.UpgradeCheck{}}
	t := table{header: []string{"EXECUTION", "VERSION", "STATUS", "MISFIT"}}
	for check, err := range c.CheckUpgrade(ctx, graph, from) {
		if err != nil {
			return err
		}
		r.Checked++
		if check.Misfit == nil {
			continue
		}
		if r.Misfits++; r.Misfits <= limit {
			r.Executions = append(r.Executions, check)
			t.add(typed(check.Execution), orDash(check.Version), string(check.Status), check.Misfit.String())
		}
	}
	if register && r.Misfits == 0 {
		if err := c.Register(ctx, graph); err != nil {
			return err
		}
		r.Registered = true
	}
	if r.Misfits > limit {
		a.note("not all are listed: there are %d that do not fit; --limit N lists more", r.Misfits)
	}
	if err := a.print(r, t); err != nil {
		return err
	}
	if r.Misfits > 0 {
		return fmt.Errorf("%d of %d open executions of %s would not fit version %s", r.Misfits, r.Checked, r.Definition, r.Version)
	}
	if r.Registered {
		a.note("version %s of %s is registered with this graph", r.Version, r.Definition)
	}
	if r.Checked == 0 {
		a.note("%s has no such open executions", r.Definition)
	} else {
		a.note("all %d open executions of %s would fit version %s", r.Checked, r.Definition, r.Version)
	}
	return nil
}

// graphFile reads the graph of a saga.
func (a *app) graphFile(file, name string) (*saga.Definition, error) {
	data, err := a.read(file, maxGraph)
	if err != nil {
		return nil, err
	}
	graph, err := saga.ParseDefinition(data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", file, err)
	case graph.Name() != name:
		return nil, fmt.Errorf("%s: it is the graph of %q, want that of %q", file, graph.Name(), name)
	}
	return graph, nil
}

// registered is a graph that a service has registered.
func registered(ctx context.Context, c *saga.Client, name, version string) (*saga.Definition, error) {
	all, err := c.Definitions(ctx)
	if err != nil {
		return nil, err
	}
	versions := slices.Sorted(slices.Values(all[name]))
	switch {
	case len(versions) == 0:
		return nil, &notFoundError{fmt.Sprintf("no definition %q is registered; check --namespace and --redis", name)}
	case version == "" && len(versions) == 1:
		version = versions[0]
	case version == "":
		return nil, usagef("%q is registered in the versions %s: want one of them as --version, or a file as --graph", name, strings.Join(versions, ", "))
	}
	graph, err := c.Definition(ctx, name, version)
	if errors.Is(err, store.ErrNotFound) {
		return nil, &notFoundError{fmt.Sprintf("definition %q is not registered in version %q; it is in %s", name, version, strings.Join(versions, ", "))}
	}
	return graph, err
}

// maxGraph bounds what is read as a graph.
const maxGraph = 16 << 20

// read reads a file, or the standard input where it is named -.
func (a *app) read(file string, most int64) ([]byte, error) {
	var in io.Reader = a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file, err)
	case int64(len(data)) > most:
		return nil, fmt.Errorf("%s: it has more than %d bytes", file, most)
	}
	return data, nil
}
