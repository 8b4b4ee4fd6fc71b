package cmd

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/moment"
)

type restoreOptions struct {
	global
	req engine.RestoreRequest
}

func newRestoreCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "a run's project as it was: data, code, pipeline, lock, params, exports", ArgsUsage: "RUN DIR",
		Description: "DIR must not be there yet, or be empty. A run made again there finds its results; of which gc left none is said.\nWith --at TIME the newest run that had succeeded then is meant: --at \"last tuesday\" DIR.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "at", Usage: "the newest successful run at `TIME`: 2026-11-17, \"2026-11-17 09:00\", \"last tuesday\", \"3 days ago\""},
			&cli.BoolFlag{Name: "in-place", Usage: "into the project itself, in which git must have everything"},
		},
		Action: func(c *cli.Context) error {
			o, err := readRestoreOptions(c, env)
			if err != nil {
				return err
			}
			return runRestore(c.Context, o, env)
		},
	}
}

func readRestoreOptions(c *cli.Context, env *Env) (restoreOptions, error) {
	g, err := globalsOf(c, env, true)
	if err != nil {
		return restoreOptions{}, err
	}
	o := restoreOptions{global: g, req: engine.RestoreRequest{Dir: g.dir, InPlace: c.Bool("in-place"), Place: g.place}}
	args := c.Args().Slice()
	if at := c.String("at"); at != "" {
		if o.req.At, err = moment.Parse(at, env.Now()); err != nil {
			return o, usageError("", "--at: "+err.Error())
		}
		if o.req.At.After(env.Now()) {
			return o, usageError("name a time that has been; --at now takes the newest run that succeeded", fmt.Sprintf("--at: %q is not over yet", at))
		}
	} else if len(args) > 0 {
		o.req.Run, args = args[0], args[1:]
	} else {
		return o, usageError("plumb runs lists them; --at TIME takes the one of then", "plumb restore needs a run")
	}
	switch {
	case o.req.InPlace && len(args) > 0:
		return o, usageError("leave out one of them", "--in-place restores into the project, and a directory was given")
	case o.req.InPlace:
		return o, nil
	case len(args) == 0:
		return o, usageError("name one that is not there yet, or say --in-place", "plumb restore needs a directory to restore into")
	case len(args) > 1:
		return o, usageError("plumb restore RUN DIR, or plumb restore --at TIME DIR", fmt.Sprintf("%q is one argument too many", args[1]))
	}
	o.req.To = canonical(absolute(env.Dir, args[0]))
	return o, nil
}

func runRestore(ctx context.Context, o restoreOptions, env *Env) error {
	api, done, err := env.changer(ctx, o.global)
	if err != nil {
		return err
	}
	defer done()
	w := env.work(o.global)
	doc, err := api.Restore(ctx, o.req, w.Event)
	w.Close()
	if err != nil {
		return err
	}
	in := ""
	if doc.To != canonical(env.Dir) {
		in = view.CD(doc.To)
	}
	return show(env, o.global, doc, func(s view.Style) {
		if !o.quiet {
			view.Restored(env.Stdout, s, doc, in)
		}
	})
}
