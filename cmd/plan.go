package cmd

import (
	"context"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

type planOptions struct {
	global
	req engine.Request
}

func newPlanCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "what would run, and why", ArgsUsage: "[STAGE…]",
		Description: "One line a stage with its first reason. Nothing is run or written.",
		Flags: append(projectFlags(),
			&cli.StringFlag{Name: "from", Usage: "only `STAGE` and what is behind it"},
			&cli.StringSliceFlag{Name: "until", Usage: "only what `STAGE` needs, and it"},
			&cli.StringSliceFlag{Name: "force", Usage: "as if run were given --force `STAGE`"},
			&cli.StringSliceFlag{Name: "repeat-effect", Usage: "as if run were given --repeat-effect `STAGE`"},
			&cli.StringSliceFlag{Name: "keep", Usage: "as if run were given --keep `STAGE`"},
			&cli.BoolFlag{Name: "locked", Usage: "refuse when plumb.lock.hcl lacks something"},
			platformFlag(),
		),
		Action: func(c *cli.Context) error {
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			o := planOptions{global: g}
			if o.req, err = request(c, env, g); err != nil {
				return err
			}
			o.req.Targets, o.req.From, o.req.Until = c.Args().Slice(), c.String("from"), c.StringSlice("until")
			o.req.Force, o.req.Locked = c.StringSlice("force"), c.Bool("locked")
			o.req.Repeat, o.req.Keep = c.StringSlice("repeat-effect"), c.StringSlice("keep")
			return runPlan(c.Context, o, env)
		},
	}
}

func runPlan(ctx context.Context, o planOptions, env *Env) error {
	api, done, err := env.reader(ctx, o.global)
	if err != nil {
		return err
	}
	defer done()
	doc, err := api.Plan(ctx, o.req)
	if err != nil {
		return err
	}
	return show(env, o.global, doc, func(s view.Style) { view.Plan(env.Stdout, s, doc) })
}

// show prints a document for machines or for people.
func show(env *Env, g global, doc any, people func(view.Style)) error {
	if g.json {
		return view.JSON(env.Stdout, doc)
	}
	people(env.style(env.OutWidth))
	return nil
}
