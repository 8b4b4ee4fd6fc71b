package cmd

import (
	"context"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

func newShowCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "one run in full, or one stage of it", ArgsUsage: "[RUN [STAGE]]",
		Description: "RUN is an id, its beginning, or latest. Of a STAGE all that is in its key is shown, too; --json has that of every stage.",
		Action: func(c *cli.Context) error {
			if c.NArg() > 2 {
				return usageError("", "plumb show takes one run, and one stage of it")
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			return runShow(c.Context, g, engine.ShowRequest{Dir: g.dir, Run: c.Args().First(), Stage: c.Args().Get(1)}, env)
		},
	}
}

func runShow(ctx context.Context, g global, req engine.ShowRequest, env *Env) error {
	api, done, err := env.reader(ctx, g)
	if err != nil {
		return err
	}
	defer done()
	doc, err := api.Show(ctx, req)
	if err != nil {
		return err
	}
	return show(env, g, doc, func(s view.Style) { view.Show(env.Stdout, s, doc, req.Stage != "") })
}
