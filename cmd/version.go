package cmd

import (
	"fmt"
	goruntime "runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

// version is set by the release build; a build from source has its commit.
var version string

// Version is what this build calls itself.
func Version() string {
	if version != "" {
		return version
	}
	revision, dirty := "", ""
	if bi, ok := debug.ReadBuildInfo(); ok {
		for _, s := range bi.Settings {
			switch {
			case s.Key == "vcs.revision" && len(s.Value) >= 12:
				revision = "+" + s.Value[:12]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = ".dirty"
			}
		}
	}
	return "0.1.0-dev" + revision + dirty
}

func newVersionCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "what this build calls itself",
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			doc := view.VersionDoc{Schema: engine.Schema, Version: Version(), Go: goruntime.Version(), Platform: goruntime.GOOS + "/" + goruntime.GOARCH}
			return show(env, g, doc, func(view.Style) {
				fmt.Fprintf(env.Stdout, "plumb %s (%s, %s)\n", doc.Version, doc.Platform, doc.Go)
			})
		},
	}
}
