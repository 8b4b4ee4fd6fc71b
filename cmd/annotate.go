package cmd

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

// What can be said of a run is four verbs, and not flags of one: plumb pin v1 says what it
// does, and each takes other arguments.

func newTagCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "tag", Usage: "names for a run", ArgsUsage: "RUN NAME…",
		Description: "A name stands for its run wherever a run is named, and for one run of a project at a time.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "remove", Usage: "take the names from the run"},
			&cli.BoolFlag{Name: "move", Usage: "take the names from the runs that have them"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() < 2 {
				return usageError("like plumb tag latest v1", "plumb tag takes a run and the names for it")
			}
			req := engine.AnnotateRequest{Tags: c.Args().Slice()[1:], Move: c.Bool("move")}
			if c.Bool("remove") {
				req.Tags, req.Untag = nil, req.Tags
			}
			return annotate(c, env, req)
		},
	}
}

func newNoteCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "note", Usage: "a text about a run", ArgsUsage: "RUN TEXT…", Description: "It takes the place of the text that was there; plumb note RUN '' removes that.",
		Action: func(c *cli.Context) error {
			if c.NArg() < 2 {
				return usageError("like plumb note latest 'the one for the paper'", "plumb note takes a run and a text")
			}
			text := strings.TrimSpace(strings.Join(c.Args().Slice()[1:], " "))
			return annotate(c, env, engine.AnnotateRequest{Note: &text})
		},
	}
}

func newPinCommand(env *Env) *cli.Command {
	return pinCommand(env, true, &cli.Command{Name: "pin", Usage: "keep a run from gc, with all that it needs", ArgsUsage: "RUN"})
}

func newUnpinCommand(env *Env) *cli.Command {
	return pinCommand(env, false, &cli.Command{Name: "unpin", Usage: "let gc treat a run like any other", ArgsUsage: "RUN"})
}

func pinCommand(env *Env, pinned bool, command *cli.Command) *cli.Command {
	command.Action = func(c *cli.Context) error {
		if c.NArg() != 1 {
			return usageError("plumb runs lists them", "plumb "+command.Name+" takes one run")
		}
		return annotate(c, env, engine.AnnotateRequest{Pinned: &pinned})
	}
	return command
}

func annotate(c *cli.Context, env *Env, req engine.AnnotateRequest) error {
	g, err := globals(c, env)
	if err != nil {
		return err
	}
	req.Dir, req.Run = g.dir, c.Args().First()
	return runAnnotate(c.Context, g, req, env)
}

func runAnnotate(ctx context.Context, g global, req engine.AnnotateRequest, env *Env) error {
	api, done, err := env.changer(ctx, g)
	if err != nil {
		return err
	}
	defer done()
	doc, err := api.Annotate(ctx, req)
	if err != nil {
		return err
	}
	return show(env, g, doc, func(s view.Style) {
		if !g.quiet {
			view.Annotated(env.Stdout, s, doc)
		}
	})
}
