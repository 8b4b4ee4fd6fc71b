// Package cmd is the command line: one file a verb, which reads flags, makes one
// call to the engine and hands the answer to a view.
//
//	args.go     flags may stand anywhere
//	connect.go  who answers: an agent, or for reading this process
//	exit.go     the one table of exit statuses
//	root.go     the verbs, global flags, and how an error ends the process
package cmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/hcl"
)

// global is what stands before or behind any verb.
type global struct {
	store   string // absolute
	dir     string // the project's directory, absolute
	json    bool
	quiet   bool
	verbose bool
}

// Main runs one command line and gives its exit status.
func Main(ctx context.Context, args []string, env *Env) int {
	app := newApp(env)
	// Whether an error is printed as JSON must be known also when the flags are
	// what is wrong.
	asJSON := false
	for _, a := range args {
		if a == "--" {
			break
		}
		asJSON = asJSON || a == "--json" || a == "-json"
	}
	err := app.RunContext(ctx, arrange(app, args))
	if err == nil {
		return exitOK
	}
	var quiet silentError
	if errors.As(err, &quiet) {
		return int(quiet)
	}
	e, code := classify(err)
	if asJSON {
		if werr := view.JSON(env.Stdout, view.ErrorDoc{Schema: engine.Schema, Error: e}); werr != nil {
			fmt.Fprintln(env.Stderr, "plumb: writing the error:", werr)
		}
	}
	view.Error(env.Stderr, env.style(env.Width), e)
	return code
}

// silentError is an exit status all of whose causes were told already.
type silentError int

func (s silentError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func newApp(env *Env) *cli.App {
	app := &cli.App{
		Name: "plumb", Usage: "run pipelines in pinned containers, and skip what is unchanged",
		UsageText:       "plumb [--store DIR] [-C DIR] [--json] [--quiet|--verbose] VERB …",
		Writer:          env.Stdout,
		ErrWriter:       env.Stderr,
		ExitErrHandler:  func(*cli.Context, error) {}, // the default one ends the process
		HideHelpCommand: true,
		HideVersion:     true,
		OnUsageError:    badUsage,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "store", Usage: "where results are kept", DefaultText: "$PLUMB_HOME"},
			&cli.StringFlag{Name: "C", Usage: "work in `DIR`"},
			&cli.BoolFlag{Name: "json", Usage: "machine-readable output"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "only what went wrong"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "also what happens behind the scenes"},
		},
	}
	app.Commands = []*cli.Command{
		newRunCommand(env), newPlanCommand(env), newWhyCommand(env), newValidateCommand(env), newFmtCommand(env),
		newRunsCommand(env), newShowCommand(env), newLogsCommand(env), newGetCommand(env), newGCCommand(env),
		newDoctorCommand(env), newAgentCommand(env), newVersionCommand(env), newCompletionCommand(env, app),
	}
	for _, c := range app.Commands {
		c.OnUsageError = badUsage
		c.HideHelpCommand = true
	}
	app.Action = func(c *cli.Context) error {
		if c.NArg() == 0 {
			return cli.ShowAppHelp(c)
		}
		return unknownVerb(app, c.Args().First())
	}
	return app
}

func badUsage(c *cli.Context, err error, _ bool) error {
	name := "plumb"
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != "plumb" {
		name = "plumb " + c.Command.Name
	}
	return usageError(name+" --help lists the flags", strings.TrimPrefix(err.Error(), "Incorrect Usage: "))
}

func unknownVerb(app *cli.App, verb string) error {
	var names []string
	for _, c := range app.Commands {
		names = append(names, c.Name)
	}
	hint := "plumb --help lists the verbs"
	if near := hcl.Nearest(verb, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", "plumb "+near)
	}
	return usageError(hint, fmt.Sprintf("there is no verb %q", verb))
}

// globals reads the flags that every verb has.
func globals(c *cli.Context, env *Env) (global, error) {
	g := global{json: c.Bool("json"), quiet: c.Bool("quiet"), verbose: c.Bool("verbose"), dir: env.Dir}
	if g.quiet && g.verbose {
		return g, usageError("", "--quiet and --verbose exclude each other")
	}
	if d := c.String("C"); d != "" {
		g.dir = absolute(env.Dir, d)
	}
	dir, err := filepath.EvalSymlinks(g.dir)
	if err != nil {
		return g, usageError("", fmt.Sprintf("the directory %q: %v", g.dir, err))
	}
	g.dir = dir
	g.store = absolute(env.Dir, storeDir(c, env))
	return g, nil
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// storeDir is --store, $PLUMB_HOME, $XDG_DATA_HOME/plumb, or the place that such
// data has on a Linux machine.
func storeDir(c *cli.Context, env *Env) string {
	switch {
	case c.String("store") != "":
		return c.String("store")
	case env.getenv("PLUMB_HOME") != "":
		return env.getenv("PLUMB_HOME")
	case env.getenv("XDG_DATA_HOME") != "":
		return filepath.Join(env.getenv("XDG_DATA_HOME"), "plumb")
	case isRoot():
		return "/var/lib/plumb"
	}
	return filepath.Join(env.getenv("HOME"), ".local", "share", "plumb")
}

// noArgs refuses arguments where a verb takes none.
func noArgs(c *cli.Context) error {
	if c.NArg() > 0 {
		return usageError("plumb "+c.Command.Name+" --help tells more", fmt.Sprintf("plumb %s takes no argument, and %q was given", c.Command.Name, c.Args().First()))
	}
	return nil
}
