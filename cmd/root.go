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
	"io/fs"
	"path/filepath"
	"slices"
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
	place   engine.Place
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
		// A param's value may hold commas.
		DisableSliceFlagSeparator: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "store", Usage: "keep results in `DIR`", DefaultText: "$PLUMB_HOME, or what is usual for data of programs"},
			&cli.StringFlag{Name: "C", Usage: "work in `DIR`"},
			&cli.StringFlag{Name: "isolation", Usage: "keep stages apart by `HOW`: container, or chroot where no container can be made", DefaultText: "$PLUMB_ISOLATION, or container"},
			&cli.StringFlag{Name: "runtime", Usage: "make containers with `containerd=SOCKET`, the machine's own", DefaultText: "$PLUMB_RUNTIME, or the containerd inside plumb"},
			&cli.BoolFlag{Name: "json", Usage: "machine-readable output"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "only what went wrong"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "also what happens behind the scenes"},
		},
	}
	app.Commands = []*cli.Command{
		newRunCommand(env), newPlanCommand(env), newWhyCommand(env), newDiffCommand(env), newValidateCommand(env), newFmtCommand(env),
		newLockCommand(env), newImageCommand(env),
		newRunsCommand(env), newShowCommand(env), newTagCommand(env), newNoteCommand(env), newPinCommand(env), newUnpinCommand(env), newLogsCommand(env), newShellCommand(env), newGetCommand(env), newLineageCommand(env), newRestoreCommand(env), newGCCommand(env), newFsckCommand(env),
		newDoctorCommand(env), newAgentCommand(env), newVersionCommand(env), newCompletionCommand(env, app),
	}
	plainFlags(app.Flags)
	for _, c := range app.Commands {
		c.OnUsageError = badUsage
		c.HideHelpCommand = true
		plainFlags(c.Flags)
	}
	app.Action = func(c *cli.Context) error {
		if c.NArg() == 0 {
			return cli.ShowAppHelp(c)
		}
		if c.Args().First() == "help" {
			return helpFor(c, app)
		}
		return unknownVerb(app, c.Args().First())
	}
	return app
}

// plainFlags keeps from the help that what is not said is not so.
func plainFlags(flags []cli.Flag) {
	for _, f := range flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true
		}
	}
}

// helpFor answers plumb help and plumb help VERB.
func helpFor(c *cli.Context, app *cli.App) error {
	verb := c.Args().Get(1)
	if verb == "" {
		return cli.ShowAppHelp(c)
	}
	if findCommand(app, nil, verb) == nil {
		return unknownVerb(app, verb)
	}
	return cli.ShowCommandHelp(c, verb)
}

// badUsage says what the parser of flags found in plumb's words: it writes one
// dash, and tells nothing of the flag that was meant.
func badUsage(c *cli.Context, err error, _ bool) error {
	name, flags := "plumb", c.App.Flags
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != "plumb" {
		name = "plumb " + c.Command.Name
		flags = slices.Concat(c.Command.Flags, flags)
	}
	text, hint := err.Error(), name+" --help lists the flags"
	if flag, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		text = fmt.Sprintf("%s has no flag %q", name, dashed(flag))
		if near := hcl.Nearest(dashed(flag), flagWords(flags)); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
	}
	if flag, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		text = fmt.Sprintf("the flag %q needs a value", dashed(flag))
	}
	if value, rest, ok := strings.Cut(strings.TrimPrefix(text, "invalid value "), " for flag -"); ok {
		flag, _, _ := strings.Cut(rest, ":")
		text = fmt.Sprintf("%s is no value for the flag %q", value, dashed(flag))
	}
	return usageError(hint, text)
}

// dashed writes the name of a flag as it is typed.
func dashed(name string) string {
	name = strings.TrimLeft(name, "-")
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
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
func globals(c *cli.Context, env *Env) (global, error) { return globalsOf(c, env, false) }

// globalsOf also takes a project that is gone, of which there may be runs.
func globalsOf(c *cli.Context, env *Env, gone bool) (global, error) {
	g := global{json: c.Bool("json"), quiet: c.Bool("quiet"), verbose: c.Bool("verbose"), dir: env.Dir}
	if g.quiet && g.verbose {
		return g, usageError("", "--quiet and --verbose exclude each other")
	}
	if d := c.String("C"); d != "" {
		g.dir = absolute(env.Dir, d)
	}
	dir, err := filepath.EvalSymlinks(g.dir)
	if errors.Is(err, fs.ErrNotExist) && gone {
		dir, err = canonical(g.dir), nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return g, usageError("-C takes the directory of a project; a run of one that is gone is named by its id, from anywhere", fmt.Sprintf("there is no directory %q", g.dir))
	}
	if err != nil {
		return g, usageError("-C takes the directory of a project", fmt.Sprintf("entering the directory %q: %v", g.dir, err))
	}
	g.dir = dir
	g.store = canonical(absolute(env.Dir, storeDir(c, env)))
	g.place, err = engine.ParsePlace(flagOr(c, "isolation", env.getenv("PLUMB_ISOLATION")), flagOr(c, "runtime", env.getenv("PLUMB_RUNTIME")))
	return g, err
}

// flagOr is a flag's value, and where it was not given another.
func flagOr(c *cli.Context, name, other string) string {
	if v := c.String(name); v != "" {
		return v
	}
	return other
}

// canonical resolves the symlinks in as much of a path as is there: a store has one
// name, and containers mount nothing through a link.
func canonical(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(canonical(parent), filepath.Base(path))
	}
	return path
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
