package cmd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/hcl"
)

type fmtOptions struct {
	global
	check, diff bool
}

func newFmtCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "fmt", Usage: "bring the pipeline's files into canonical form",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "check", Usage: "change nothing; exit 4 when a file is not in canonical form"},
			&cli.BoolFlag{Name: "diff", Usage: "change nothing; print what would change"},
		},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			return runFmt(fmtOptions{g, c.Bool("check"), c.Bool("diff")}, env)
		},
	}
}

// runFmt formats all files or, when one is broken, none.
func runFmt(o fmtOptions, env *Env) error {
	files, diags := hcl.ReadFiles(o.dir)
	if diags.HasErrors() {
		return diags
	}
	formatted := make([][]byte, len(files))
	for i, f := range files {
		out, d := hcl.FormatSource(f.Name, f.Data)
		diags = append(diags, d...)
		formatted[i] = out
	}
	if diags.HasErrors() {
		return diags
	}
	doc := view.FmtDoc{Schema: engine.Schema, Changed: []string{}}
	for i, f := range files {
		if bytes.Equal(f.Data, formatted[i]) {
			continue
		}
		doc.Changed = append(doc.Changed, f.Name)
		if err := formatOne(o, env, f, formatted[i]); err != nil {
			return err
		}
	}
	if o.json {
		if err := view.JSON(env.Stdout, doc); err != nil {
			return err
		}
	}
	if o.check && len(doc.Changed) > 0 {
		e := &engine.Error{Kind: engine.Differs, Message: "not in canonical form: " + strings.Join(doc.Changed, ", "), Hint: "plumb fmt rewrites it"}
		if !o.json {
			return e
		}
		view.Error(env.Stderr, env.style(env.Width), e) // the document said it to machines
		return silentError(exitDiffers)
	}
	return nil
}

func formatOne(o fmtOptions, env *Env, f hcl.File, out []byte) error {
	switch {
	case o.json && (o.diff || o.check):
		return nil
	case o.diff:
		_, err := env.Stdout.Write(diff.Diff(f.Name, f.Data, f.Name+" (formatted)", out))
		return err
	case !o.quiet && !o.json:
		fmt.Fprintln(env.Stdout, f.Name)
	}
	if o.check {
		return nil
	}
	return replaceFile(filepath.Join(o.dir, f.Name), out)
}

// replaceFile writes beside the file and renames, so that a crash leaves the old
// or the new content, and keeps the file's mode.
func replaceFile(path string, data []byte) error {
	fi, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("formatting %q: %w", path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("formatting %q: %w", path, err)
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(fi.Mode().Perm())
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name()) //nolint:errcheck // the first error says more
		return fmt.Errorf("formatting %q: %w", path, err)
	}
	return nil
}
