package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// A build says what this binary was made from.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // empty where the build recorded none
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String tells all of it in a line.
func (b build) String() string {
	revision := "built without a revision"
	if b.Revision != "" {
		revision = "revision " + b.Revision
		if b.Time != "" {
			revision += " of " + b.Time
		}
		if b.Modified {
			revision += ", modified since"
		}
	}
	return fmt.Sprintf("waybill %s, %s, %s, %s", b.Version, revision, b.Go, b.Platform)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of this binary",
		Long: `Show the version of this binary, and what it was built from: the revision, if the
build recorded one.`,
		Args: takes(),
		RunE: a.does(func(*cobra.Command, []string) error {
			b := thisBuild()
			return a.print(b, table{rows: [][]string{{b.String()}}})
		}),
	}
}
