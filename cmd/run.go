package cmd

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/event"
	"plumb/engine/origin"
	"plumb/store"
)

type runOptions struct {
	global
	req    engine.RunRequest
	dryRun bool
}

func newRunCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "bring stages up to date", ArgsUsage: "[STAGE…]",
		Description: "Runs the named stages and what they need, or all. What is unchanged is skipped.",
		Flags: append(projectFlags(),
			&cli.StringFlag{Name: "from", Usage: "only `STAGE` and what is behind it"},
			&cli.StringSliceFlag{Name: "until", Usage: "only what `STAGE` needs, and it"},
			&cli.StringSliceFlag{Name: "force", Usage: "run `STAGE` also when it is unchanged"},
			&cli.StringSliceFlag{Name: "repeat-effect", Usage: "let the effect of `STAGE` happen again, where it may have happened or, with --force, has"},
			&cli.StringSliceFlag{Name: "keep", Usage: "have the outputs of `STAGE` and keep them, also those with retain = \"none\""},
			&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "at most `N` stages at once", DefaultText: "what fits"},
			&cli.StringFlag{Name: "memory", Usage: "at most `SIZE` of memory for all running stages"},
			&cli.BoolFlag{Name: "keep-going", Aliases: []string{"k"}, Usage: "after a failure finish what does not depend on it"},
			&cli.BoolFlag{Name: "locked", Usage: "refuse to run when plumb.lock.hcl lacks something"},
			&cli.BoolFlag{Name: "offline", Usage: "ask no container registry, and download nothing"},
			platformFlag(),
			&cli.BoolFlag{Name: "expect-cached", Usage: "run nothing; exit 4 with the reasons when anything would run"},
			&cli.BoolFlag{Name: "overwrite", Usage: "let exports replace files that plumb did not write"},
			&cli.BoolFlag{Name: "detach", Usage: "leave the run to the agent; follow it with plumb logs -f"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would run, like plumb plan"},
		),
		Action: func(c *cli.Context) error {
			o, err := readRunOptions(c, env)
			if err != nil {
				return err
			}
			return runRun(c.Context, o, env)
		},
	}
}

func readRunOptions(c *cli.Context, env *Env) (runOptions, error) {
	g, err := globals(c, env)
	if err != nil {
		return runOptions{}, err
	}
	o := runOptions{global: g, dryRun: c.Bool("dry-run")}
	if o.req.Request, err = request(c, env, g); err != nil {
		return o, err
	}
	o.req.Targets, o.req.From, o.req.Until, o.req.Force = c.Args().Slice(), c.String("from"), c.StringSlice("until"), c.StringSlice("force")
	o.req.Repeat, o.req.Keep = c.StringSlice("repeat-effect"), c.StringSlice("keep")
	o.req.Locked, o.req.Offline, o.req.KeepGoing = c.Bool("locked"), c.Bool("offline"), c.Bool("keep-going")
	o.req.ExpectCached, o.req.Overwrite, o.req.Detach = c.Bool("expect-cached"), c.Bool("overwrite"), c.Bool("detach")
	o.req.Origin = env.origin()
	o.req.Full, o.req.Jobs = g.json || g.verbose, c.Int("jobs")
	if c.IsSet("jobs") && o.req.Jobs < 1 {
		return o, usageError("", "--jobs must be at least 1")
	}
	if m := c.String("memory"); m != "" {
		if o.req.Memory, err = parseSize(m); err != nil {
			return o, err
		}
	}
	return o, nil
}

// origin tells who starts a run.
func (e *Env) origin() (o store.Origin) {
	vars := map[string]string{}
	for _, name := range origin.Variables() {
		vars[name] = e.getenv(name)
	}
	o.User, o.CI = origin.Caller(vars)
	return o
}

func runRun(ctx context.Context, o runOptions, env *Env) error {
	if o.dryRun {
		return runPlan(ctx, planOptions{o.global, o.req.Request}, env)
	}
	tell := newTeller(o, env)
	emit := tell.event
	if o.req.Detach {
		var err error
		if o.req.Report, err = env.report(); err != nil {
			return err
		}
		emit = detached(env, o.global, emit)
	}
	stop := context.AfterFunc(ctx, func() {
		if env.Again != nil {
			env.Again() // the second Ctrl-C ends the client, and with it the run
		}
	})
	defer stop()
	err := env.runThroughAgent(ctx, o.global, o.req, emit)
	code := tell.end(err)
	env.tellOpenLineage(context.WithoutCancel(ctx), o.global, tell.run())
	return code
}

// teller shows a run, for machines or for people. The event that ends a run is the
// last thing that machines get, whatever happened, so it waits for what went wrong
// behind the stages and carries that as its message.
type teller struct {
	env  *Env
	json bool
	emit func(event.Event)
	done func()
	last *event.Event // of type RunFinished
}

func newTeller(o runOptions, env *Env) *teller {
	t := &teller{env: env, json: o.json, done: func() {}}
	if o.json {
		t.emit = view.NewLines(env.Stdout).Event
		return t
	}
	r := view.NewRun(env.Stderr, env.style(env.Width), view.RunOptions{Quiet: o.quiet, Verbose: o.verbose, Now: env.Now, Size: env.size})
	t.emit, t.done = r.Event, r.Close
	return t
}

func (t *teller) event(e event.Event) {
	if e.Type == event.RunFinished {
		t.last = &e
		if t.json {
			return
		}
	}
	t.emit(e)
}

// run names the run that has ended, "" when none has.
func (t *teller) run() string {
	if t.last == nil {
		return ""
	}
	return string(t.last.Run)
}

// end takes the error of the run. What the end of the run told is not said again.
func (t *teller) end(err error) error {
	t.done()
	if t.last == nil {
		return err
	}
	if err == nil {
		if t.json {
			t.emit(*t.last)
		}
		return nil
	}
	e, code := classify(err)
	// Who canceled the run knows; when somebody else did, there is a hint.
	told := e.Kind == engine.StageFailed || e.Kind == engine.Interrupted && e.Hint == ""
	if t.json {
		if !told && t.last.Message == "" {
			t.last.Message = e.Error()
		}
		t.emit(*t.last)
	}
	if !told {
		view.Error(t.env.Stderr, t.env.style(t.env.Width), e)
	}
	return silentError(code)
}

// detached says how to follow a run that was left to the agent.
func detached(env *Env, g global, emit func(event.Event)) func(event.Event) {
	return func(e event.Event) {
		emit(e)
		if e.Type == event.RunStarted && !g.quiet {
			view.Note(env.Stderr, env.style(env.Width), fmt.Sprintf("run %s is under way; plumb logs -f follows it", e.Run))
		}
	}
}

// sizeUnits are the units of a size, by their powers of 1024 and 1000.
var sizeUnits = map[string]float64{
	"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}

// parseSize reads "512MiB", "1.5GB" or plain bytes.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(strings.ToUpper(strings.TrimSpace(s)), "KMGTIB ")
	n, err := strconv.ParseFloat(digits, 64)
	unit, ok := sizeUnits[strings.TrimSpace(strings.ToUpper(strings.TrimSpace(s))[len(digits):])]
	if err != nil || !ok || n < 0 || n*unit > math.MaxInt64/2 {
		return 0, usageError("write it like 512MiB or 2GB", fmt.Sprintf("%q is no size", s))
	}
	return int64(n * unit), nil
}
