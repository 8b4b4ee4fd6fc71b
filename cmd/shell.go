package cmd

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/agent"
	"plumb/engine/event"
)

type shellOptions struct {
	global
	req engine.ShellRequest
}

func newShellCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "shell", Usage: "look around in a stage's sandbox", ArgsUsage: "STAGE[@RUN] [-- COMMAND…]",
		Description: "Opens a shell, or runs a command, in the container that the stage would have now, or had in a run: with its inputs, its\n" +
			"environment and its limits. After a failed attempt what it wrote in its workspace is there. Nothing that is done there is\n" +
			"recorded. The exit status is the command's.",
		Flags: append(projectFlags(),
			&cli.BoolFlag{Name: "fresh", Usage: "an empty workspace, not the one that a failed attempt left"},
			&cli.BoolFlag{Name: "locked", Usage: "refuse when plumb.lock.hcl lacks something"},
			&cli.BoolFlag{Name: "offline", Usage: "ask no container registry, and download nothing"},
			platformFlag(),
		),
		Action: func(c *cli.Context) error {
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			o := shellOptions{global: g}
			args := c.Args().Slice()
			if len(args) == 0 {
				return usageError("plumb plan lists the stages", "plumb shell takes the name of a stage")
			}
			o.req.Stage, o.req.Run = splitRun(args[0])
			if o.req.Args = args[1:]; len(o.req.Args) > 0 && o.req.Args[0] == "--" {
				o.req.Args = o.req.Args[1:]
			}
			if o.req.Request, err = request(c, env, g); err != nil {
				return err
			}
			o.req.Fresh, o.req.Locked, o.req.Offline = c.Bool("fresh"), c.Bool("locked"), c.Bool("offline")
			return runShell(c.Context, o, env)
		},
	}
}

// splitRun parts "train[at=x@y]@latest" at the last @ that is outside brackets.
func splitRun(name string) (stage, run string) {
	end := strings.LastIndexByte(name, ']') + 1
	if at := strings.LastIndexByte(name[end:], '@'); at >= 0 {
		return name[:end+at], name[end+at+1:]
	}
	return name, ""
}

func runShell(ctx context.Context, o shellOptions, env *Env) error {
	s, err := env.openStreams(o.json)
	if err != nil {
		return err
	}
	o.req.Term = s.term
	w := env.work(o.global)
	progress := sync.OnceFunc(w.Close)
	doc, err := env.shellThroughAgent(ctx, o, s, func(e event.Event) {
		if e.Type != event.ShellOpened {
			w.Event(e)
			return
		}
		progress()
		if !o.quiet && !o.json {
			view.Shell(env.Stderr, env.style(env.Width), e.Message, e.Hint)
		}
		s.begin()
	})
	progress()
	err = errors.Join(err, s.close())
	if err != nil {
		return err
	}
	if o.json {
		if err := view.JSON(env.Stdout, doc); err != nil {
			return err
		}
	}
	if doc.OOM && !o.quiet {
		view.Note(env.Stderr, env.style(env.Width), "the memory limit of stage "+doc.Stage+" ended it")
	}
	if doc.ExitCode != 0 {
		return silentError(doc.ExitCode)
	}
	return nil
}

// shellThroughAgent asks again with the secrets that the stage wants, and when the agent
// was just leaving.
func (e *Env) shellThroughAgent(ctx context.Context, o shellOptions, s *streams, emit func(event.Event)) (*engine.ShellDoc, error) {
	const tries = 4
	for n := 1; ; n++ {
		c, done, err := e.writer(ctx, o.global)
		if err != nil {
			return nil, err
		}
		doc, err := c.Shell(ctx, o.req, s.theirs, emit)
		done()
		wanted := wantedSecrets(err, o.req.Secrets)
		switch {
		case err == nil || ctx.Err() != nil || n == tries:
			return doc, err
		case len(wanted) > 0:
			if o.req.Secrets, err = e.addSecrets(ctx, o.req.Project, o.req.Secrets, wanted); err != nil {
				return nil, err
			}
		case errors.Is(err, agent.ErrLeaving):
		case errors.Is(err, agent.ErrGone):
			return nil, &engine.Error{Kind: engine.Machine, Message: "the agent ended, and the shell with it", Hint: "call it again"}
		default:
			return nil, err
		}
	}
}

var errNoTerminal = errors.New("the container sent no terminal")
