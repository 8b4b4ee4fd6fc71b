package cmd

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/agent"
	"plumb/engine/event"
	"plumb/engine/runtime/containerd/early"
	"plumb/store"
)

func newFsckCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "fsck", Usage: "read all of the store, and say what is damaged",
		Description: "Reads every record and hashes every file. With --repair, what is damaged is set aside and what needed it\nforgotten, so that the next run makes it again. Exits 3 when something is wrong that is not repaired.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "repair", Usage: "set aside what is damaged, and forget what needs it"},
		},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			return runFsck(c.Context, g, engine.FsckRequest{Repair: c.Bool("repair")}, env)
		},
	}
}

func runFsck(ctx context.Context, g global, req engine.FsckRequest, env *Env) error {
	w := env.work(g)
	doc, err := env.fsck(ctx, g, req, w.Event)
	w.Close()
	if err != nil {
		return err
	}
	if err := show(env, g, doc, func(s view.Style) { view.Fsck(env.Stdout, s, doc, g.quiet) }); err != nil {
		return err
	}
	if !doc.OK {
		return silentError(exitMachine)
	}
	return nil
}

// fsck asks the agent when there is one. Else this process looks itself: no agent
// starts on a store whose records are damaged, and one is not needed to read.
func (e *Env) fsck(ctx context.Context, g global, req engine.FsckRequest, emit func(event.Event)) (*engine.FsckDoc, error) {
	c, _, err := agent.Dial(ctx, g.store)
	if errors.Is(err, agent.ErrSilent) {
		return nil, err
	}
	if err != nil {
		cfg := engine.Config{Dir: g.store, Version: Version(), PID: early.OuterPID(), Logger: e.logger(g.verbose), Now: e.Now}
		doc, err := engine.FsckStore(ctx, cfg, req, emit)
		if !errors.Is(err, store.ErrInUse) {
			return doc, err
		}
	} else {
		c.Close()
	}
	api, done, err := e.writer(ctx, g)
	if err != nil {
		return nil, err
	}
	defer done()
	return api.Fsck(ctx, req, emit)
}
