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
			return runLogs(c.Context, g, req, c.NArg() == 1, env)
		},
	}
}

// runLogs prints lines. What stands alone may be a run or a stage of the latest.
func runLogs(ctx context.Context, g global, req engine.LogsRequest, alone bool, env *Env) error {
	api, done, err := env.reader(ctx, g)
	if err != nil {
		return err
	}
	defer done()
	lines := 0
	emit := func(as engine.LogsRequest) error {
		show := view.NewLog(env.Stdout, env.style(env.OutWidth), as.Stage == "").Line
		if g.json {
			show = view.NewLines(env.Stdout).Log
		}
		return api.Logs(ctx, as, func(l engine.LogLine) { lines++; show(l) })
	}
	err = emit(req)
	if err != nil && alone && lines == 0 && engine.AsError(err).Kind == engine.Invalid {
		stage := req
		stage.Run, stage.Stage = "", req.Run
		if emit(stage) == nil {
			err = nil
		}
	}
	if err == nil && lines == 0 && !g.json && !g.quiet {
		view.Note(env.Stderr, env.style(env.Width), "nothing was printed; for a stage that was cached, plumb logs RUN STAGE shows what its result was made with")
	}
	return err
}
