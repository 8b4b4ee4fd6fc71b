package cmd

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/store"
)

type getOptions struct {
	global
	req    engine.GetRequest
	stdout bool
}

func newGetCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "one artifact", ArgsUsage: "STAGE.OUTPUT|DIGEST",
		Description: "Writes it to PATH, by default its own name in this directory; -o - prints a file.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `PATH`"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace what is at PATH"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageError("plumb show lists them", "plumb get takes one artifact: STAGE.OUTPUT or a digest")
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			name := c.Args().First()
			o := getOptions{global: g, req: engine.GetRequest{Project: engine.Project{Dir: g.dir}, Name: name, Force: c.Bool("overwrite")}}
			switch to := c.String("output"); {
			case to == "-" && g.json:
				return usageError("leave out one of them", "-o - prints the artifact and --json a document, and there is one standard output")
			case to == "-":
				o.stdout = true
			case to != "":
				o.req.Path = absolute(env.Dir, to)
			default:
				o.req.Path = filepath.Join(env.Dir, defaultName(name))
			}
			return runGet(c.Context, o, env)
		},
	}
}

// defaultName is what an artifact is called when nobody says: the output, or the
// digest's digits.
func defaultName(name string) string {
	if h, ok := strings.CutPrefix(name, "sha256:"); ok {
		return h
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		name = name[i+1:]
	}
	return path.Base(name)
}

func runGet(ctx context.Context, o getOptions, env *Env) (err error) {
	api, done, err := env.reader(ctx, o.global)
	if err != nil {
		return err
	}
	defer done()
	if o.stdout {
		return printArtifact(ctx, api, o, env)
	}
	doc, err := api.Get(ctx, o.req)
	if err != nil {
		return err
	}
	return show(env, o.global, doc, func(s view.Style) { view.Got(env.Stdout, s, doc, o.quiet) })
}

// printArtifact gets a file beside its way and copies it to standard output.
func printArtifact(ctx context.Context, api engine.API, o getOptions, env *Env) (err error) {
	dir, err := os.MkdirTemp("", "plumb-get-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.req.Path = filepath.Join(dir, "artifact")
	probe := o.req
	probe.Path = ""
	doc, err := api.Get(ctx, probe)
	if err != nil {
		return err
	}
	if doc.Kind == store.KindTree {
		return usageError("name a directory with -o", "a directory cannot be printed")
	}
	if _, err := api.Get(ctx, o.req); err != nil {
		return err
	}
	f, err := os.Open(o.req.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(env.Stdout, f)
	return err
}
