package cmd

import (
	"context"
	"slices"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

type whyOptions struct {
	global
	req engine.WhyRequest
}

func newWhyCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "precisely which ingredient of a stage differs", ArgsUsage: "STAGE",
		Description: "Compares what the stage would do now with what it did in the last run; of what is up to date it says\nwhich run made it, and what differed then; with --run A with what it did in run A;\nwith --run A --run B what it did in both.",
		Flags: append(projectFlags(),
			&cli.StringSliceFlag{Name: "run", Usage: "compare with the run `ID`; twice: compare two runs"},
			&cli.BoolFlag{Name: "no-data", Usage: "do not open tables"},
			linesFlag(),
		),
		Action: func(c *cli.Context) error {
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			o := whyOptions{global: g}
			if c.NArg() != 1 {
				return usageError("plumb plan lists the stages", "plumb why takes the name of one stage")
			}
			o.req.Stage = c.Args().First()
			if o.req.Request, err = request(c, env, g); err != nil {
				return err
			}
			o.req.NoData = c.Bool("no-data")
			if o.req.Lines, err = linesOf(c, g); err != nil {
				return err
			}
			switch runs := c.StringSlice("run"); len(runs) {
			case 2:
				o.req.RunA, o.req.RunB = runs[0], runs[1]
			case 1:
				o.req.RunA = runs[0]
			case 0:
			default:
				return usageError("", "--run can be given twice at most")
			}
			return runWhy(c.Context, o, env)
		},
	}
}

func runWhy(ctx context.Context, o whyOptions, env *Env) error {
	doc, err := env.why(ctx, o)
	if err != nil {
		return err
	}
	return show(env, o.global, doc, func(s view.Style) { view.Why(env.Stdout, s, doc) })
}

// why asks whoever is there, and an agent only when an image is to be looked into.
func (e *Env) why(ctx context.Context, o whyOptions) (*engine.WhyDoc, error) {
	api, done, err := e.reader(ctx, o.global)
	if err != nil {
		return nil, err
	}
	doc, err := api.Why(ctx, o.req)
	done()
	if err != nil || !slices.ContainsFunc(doc.Changes, func(c engine.Change) bool { return c.Unseen }) && !unseen(doc.Causes) {
		return doc, err
	}
	agent, done, err := e.writer(ctx, o.global)
	if err != nil { // the note says what is not told
		return doc, nil //nolint:nilerr // what a reader may do is done
	}
	defer done()
	return agent.Why(ctx, o.req)
}
