package cmd

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/hcl"
)

type lockOptions struct {
	global
	req engine.LockRequest
}

func newLockCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "lock", Usage: "pin images and data from outside", ArgsUsage: "[NAME…]",
		Description: "Writes " + hcl.LockFile + ": the digest of every image, and of every source that is not in the project.\nWhat is pinned stays; --update moves the pins of the named images and sources, or all.",
		Flags: append(projectFlags(), platformsFlag(),
			&cli.BoolFlag{Name: "update", Usage: "look up anew what the named images and sources stand for; without names, all"},
			&cli.BoolFlag{Name: "check", Usage: "write nothing; exit 4 when anything is not pinned, or would move"},
			&cli.BoolFlag{Name: "offline", Usage: "ask no container registry"},
		),
		Action: func(c *cli.Context) error {
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			o := lockOptions{global: g}
			if o.req.Request, err = request(c, env, g); err != nil {
				return err
			}
			o.req.Check, o.req.Offline = c.Bool("check"), c.Bool("offline")
			for _, p := range c.StringSlice("platform") {
				if !hcl.IsPlatform(p) {
					return usageError("write it like linux/amd64", fmt.Sprintf("--platform %q is not an operating system and an architecture", p))
				}
			}
			o.req.Platforms = c.StringSlice("platform")
			names := c.Args().Slice()
			switch {
			case c.Bool("update") && o.req.Check:
				return usageError("", "--update and --check exclude each other")
			case c.Bool("update"):
				o.req.Update, o.req.UpdateAll = names, len(names) == 0
			case len(names) > 0:
				return usageError("plumb lock --update "+names[0]+" moves its pin", "plumb lock takes names only with --update")
			}
			return runLock(c.Context, o, env)
		},
	}
}

// platformsFlag names platforms that are pinned besides the machine's.
func platformsFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "platform", Usage: "pin for `OS/ARCH`, too, such as linux/arm64; may be repeated"}
}

func runLock(ctx context.Context, o lockOptions, env *Env) error {
	api, done, err := env.writer(ctx, o.global)
	if err != nil {
		return err
	}
	defer done()
	w := env.work(o.global)
	doc, err := api.Lock(ctx, o.req, w.Event)
	w.Close()
	if err != nil {
		return err
	}
	if err := show(env, o.global, doc, func(s view.Style) { view.Lock(env.Stdout, s, doc, o.req.Check, o.quiet) }); err != nil {
		return err
	}
	if o.req.Check && doc.Differs {
		return silentError(exitDiffers)
	}
	return nil
}

// work shows how far something is that is no run. Machines are told the document alone.
func (e *Env) work(g global) *view.Run {
	return view.NewRun(e.Stderr, e.style(e.Width), view.RunOptions{Quiet: g.quiet || g.json, Verbose: g.verbose, Now: e.Now, Size: e.size})
}
