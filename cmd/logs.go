package cmd

import (
	"context"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

func newLogsCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "what stages printed", ArgsUsage: "[RUN] [STAGE]",
		Description: "Without a run the latest; without a stage all that ran. A single argument that names a stage of the latest run is taken for it.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the run is over"}},
		Action: func(c *cli.Context) error {
			if c.NArg() > 2 {
				return usageError("", "plumb logs takes a run and a stage")
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			req := engine.LogsRequest{Dir: g.dir, Run: c.Args().Get(0), Stage: c.Args().Get(1), Follow: c.Bool("follow")}
			return runLogs(c.Context, g, req, env)
		},
	}
}

func runLogs(ctx context.Context, g global, req engine.LogsRequest, env *Env) error {
	api, done, err := env.reader(ctx, g)
	if err != nil {
		return err
	}
	defer done()
	if g.json {
		lines := view.NewLines(env.Stdout)
		return api.Logs(ctx, req, lines.Log)
	}
	p := view.NewLog(env.Stdout, env.style(env.OutWidth), req.Stage == "")
	return api.Logs(ctx, req, p.Line)
}
