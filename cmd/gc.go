package cmd

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

func newGCCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "gc", Usage: "drop what nothing needs any more",
		Description: "Keeps what the newest runs of each project need and what was used lately. What is dropped is remembered,\nso that a later plan says when and why.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "keep-runs", Value: 10, Usage: "keep what the newest `N` runs of each project need"},
			&cli.DurationFlag{Name: "keep-age", Value: 30 * 24 * time.Hour, Usage: "keep what was used within this time"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would go"},
		},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			if c.Int("keep-runs") < 0 || c.Duration("keep-age") < 0 {
				return usageError("", "--keep-runs and --keep-age must not be negative")
			}
			return runGC(c.Context, g, engine.GCRequest{KeepRuns: c.Int("keep-runs"), KeepAge: c.Duration("keep-age"), DryRun: c.Bool("dry-run")}, env)
		},
	}
}

func runGC(ctx context.Context, g global, req engine.GCRequest, env *Env) error {
	api, done, err := env.writer(ctx, g)
	if err != nil {
		return err
	}
	defer done()
	doc, err := api.GC(ctx, req)
	if err != nil {
		return err
	}
	return show(env, g, doc, func(s view.Style) { view.GC(env.Stdout, s, doc) })
}
