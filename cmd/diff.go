package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

type diffOptions struct {
	global
	req  engine.DiffRequest
	html string // absolute, "" for none
}

func newDiffCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "what differs between two runs: first what was changed, then what came of it", ArgsUsage: "[RUN [RUN]]",
		Description: "RUN is an id, its beginning, or latest. One run is compared with the one before it, none stands for the latest.\n" +
			"Files are compared line by line, CSV, JSON Lines and Parquet as tables, images by their packages.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-data", Usage: "do not open tables"},
			linesFlag(),
			&cli.StringFlag{Name: "html", Usage: "write a page that needs nothing else into `FILE`"},
		},
		Action: func(c *cli.Context) error {
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			o := diffOptions{global: g}
			o.req.Request = engine.Request{Project: engine.Project{Dir: g.dir}, Place: g.place}
			o.req.NoData = c.Bool("no-data")
			if o.req.Lines, err = linesOf(c, g); err != nil {
				return err
			}
			switch runs := c.Args().Slice(); len(runs) {
			case 0:
			case 1:
				o.req.B = runs[0]
			case 2:
				o.req.A, o.req.B = runs[0], runs[1]
			default:
				return usageError("plumb runs compare puts more side by side", "plumb diff takes two runs")
			}
			if f := c.String("html"); f != "" {
				o.html = absolute(env.Dir, f)
			}
			return runDiff(c.Context, o, env)
		},
	}
}

// linesFlag bounds what is told line by line.
func linesFlag() cli.Flag {
	return &cli.IntFlag{Name: "lines", Value: 200, Usage: "tell `N` lines of each file that is compared line by line, 0 for all; with --json all unless it is given"}
}

func linesOf(c *cli.Context, g global) (int, error) {
	n := c.Int("lines")
	switch {
	case n < 0:
		return 0, usageError("0 is for all", "--lines must not be negative")
	case g.json && !c.IsSet("lines"):
		return 0, nil
	}
	return n, nil
}

func runDiff(ctx context.Context, o diffOptions, env *Env) error {
	doc, err := env.diff(ctx, o)
	if err != nil {
		return err
	}
	if o.html != "" {
		if err := writePage(o.html, func(w io.Writer) error { return view.DiffPage(w, doc) }); err != nil {
			return err
		}
		if o.quiet && !o.json {
			return malformed(doc, o)
		}
		if !o.json {
			view.Note(env.Stderr, env.style(env.Width), "wrote "+o.html)
			return malformed(doc, o)
		}
	}
	if err := show(env, o.global, doc, func(s view.Style) { view.Diff(env.Stdout, s, doc, o.verbose) }); err != nil {
		return err
	}
	return malformed(doc, o)
}

// malformed is the error of an answer that is whole but for tables that were none.
func malformed(doc *engine.DiffDoc, o diffOptions) error {
	switch n := len(doc.Malformed); {
	case n == 0:
		return nil
	case o.json: // the document has them
		return silentError(exitInvalid)
	case n == 1:
		return usageError("it was compared line by line, which plumb diff --no-data asks for, and then ends with 0", doc.Malformed[0]+" is not what its name says")
	default:
		return usageError("they were compared line by line, which plumb diff --no-data asks for, and then ends with 0", fmt.Sprintf("%d files are not what their names say: %s", n, strings.Join(doc.Malformed, ", ")))
	}
}

// diff asks whoever is there, and an agent only when an image is to be looked into.
func (e *Env) diff(ctx context.Context, o diffOptions) (*engine.DiffDoc, error) {
	api, done, err := e.reader(ctx, o.global)
	if err != nil {
		return nil, err
	}
	doc, err := api.Diff(ctx, o.req)
	done()
	if err != nil || !unseen(doc.Causes) {
		return doc, err
	}
	agent, done, err := e.writer(ctx, o.global)
	if err != nil { // the note says what is not told
		return doc, nil //nolint:nilerr // what a reader may do is done
	}
	defer done()
	return agent.Diff(ctx, o.req)
}

func unseen(all []engine.Difference) bool {
	for i := range all {
		if all[i].Unseen {
			return true
		}
	}
	return false
}

// writePage writes a file at once or not at all, in place of what was there.
func writePage(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing %q: %w", name, err), os.Remove(f.Name()))
		}
	}()
	err = write(f)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
