package cmd

import (
	"context"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

func newRunsCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "runs", Usage: "the runs of this project, newest first",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 20, Usage: "at most `N`; 0 for all"},
			&cli.BoolFlag{Name: "all", Usage: "of all projects in the store"},
		},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			if c.Int("limit") < 0 {
				return usageError("0 is for all", "--limit must not be negative")
			}
			req := engine.RunsRequest{Dir: g.dir, Limit: c.Int("limit")}
			if c.Bool("all") {
				req.Dir = ""
			}
			return runRuns(c.Context, g, req, env)
		},
	}
}

func runRuns(ctx context.Context, g global, req engine.RunsRequest, env *Env) error {
	api, done, err := env.reader(ctx, g)
	if err != nil {
		return err
	}
	defer done()
	doc, err := api.Runs(ctx, req)
	if err != nil {
		return err
	}
	return show(env, g, doc, func(s view.Style) { view.Runs(env.Stdout, s, doc, env.Now()) })
}
