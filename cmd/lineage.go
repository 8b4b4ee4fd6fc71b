package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"

	"github.com/urfave/cli/v2"

	"plumb/cmd/openlineage"
	"plumb/cmd/view"
	"plumb/engine"
)

type lineageOptions struct {
	global
	req    engine.LineageRequest
	format string
	output string // absolute, "" for standard output
}

func newLineageCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "lineage", Usage: "what something was made of, and what came of it", ArgsUsage: "[DIGEST|FILE|RUN|STAGE.OUTPUT|IMAGE]",
		Description: "A file or directory is found by its content, wherever it is; without a name the newest run is meant.\nWith --format openlineage events are written, and sent to $OPENLINEAGE_URL when that is set.",
		Flags: append(projectFlags(),
			&cli.BoolFlag{Name: "up", Usage: "only what it was made of"},
			&cli.BoolFlag{Name: "down", Usage: "only what came of it"},
			&cli.IntFlag{Name: "depth", Usage: "at most `N` stages away; 0 for all"},
			&cli.IntFlag{Name: "limit", Value: 500, Usage: "at most `N` stages in all"},
			&cli.BoolFlag{Name: "inside", Usage: "look for a file in directories also when it is known by itself"},
			&cli.StringFlag{Name: "format", Value: "tree", Usage: "`FORM`: tree, dot, mermaid, openlineage or json"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `PATH`"},
		),
		Action: func(c *cli.Context) error {
			o, err := readLineageOptions(c, env)
			if err != nil {
				return err
			}
			return runLineage(c.Context, o, env)
		},
	}
}

func readLineageOptions(c *cli.Context, env *Env) (lineageOptions, error) {
	g, err := globals(c, env)
	if err != nil {
		return lineageOptions{}, err
	}
	o := lineageOptions{global: g, format: c.String("format")}
	if g.json {
		if c.IsSet("format") && o.format != "json" {
			return o, usageError("leave out one of them", "--json and --format "+o.format+" exclude each other")
		}
		o.format = "json"
	}
	switch {
	case c.NArg() > 1:
		return o, usageError("", "plumb lineage takes one name")
	case c.Bool("up") && c.Bool("down"):
		return o, usageError("without either both are told", "--up and --down exclude each other")
	case o.writer() == nil:
		return o, usageError("it is tree, dot, mermaid, openlineage or json", fmt.Sprintf("%q is no format", o.format))
	}
	if o.req.Request, err = request(c, env, g); err != nil {
		return o, err
	}
	o.req.Name, o.req.Up, o.req.Down, o.req.Inside = c.Args().First(), c.Bool("up"), c.Bool("down"), c.Bool("inside")
	o.req.Depth, o.req.Limit = c.Int("depth"), c.Int("limit")
	if to := c.String("output"); to != "" && to != "-" {
		o.output = absolute(env.Dir, to)
	}
	if o.req.Name != "" {
		for _, base := range []string{g.dir, env.Dir} { // the one at hand counts
			if at := absolute(base, o.req.Name); isThere(at) {
				o.req.File = at
			}
		}
	}
	return o, nil
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// writer is how the document is written, nil for a format that is none.
func (o *lineageOptions) writer() func(io.Writer, view.Style, *engine.LineageDoc, *Env) error {
	switch o.format {
	case "tree":
		return func(w io.Writer, s view.Style, doc *engine.LineageDoc, env *Env) error {
			view.Lineage(w, s, doc, env.Now())
			return nil
		}
	case "dot":
		return func(w io.Writer, _ view.Style, doc *engine.LineageDoc, _ *Env) error {
			view.LineageDOT(w, doc)
			return nil
		}
	case "mermaid":
		return func(w io.Writer, _ view.Style, doc *engine.LineageDoc, _ *Env) error {
			view.LineageMermaid(w, doc)
			return nil
		}
	case "openlineage":
		return func(w io.Writer, _ view.Style, doc *engine.LineageDoc, env *Env) error {
			return openlineage.Write(w, openlineage.Events(doc, openLineage(env.getenv)))
		}
	case "json":
		return func(w io.Writer, _ view.Style, doc *engine.LineageDoc, _ *Env) error { return view.JSON(w, doc) }
	}
	return nil
}

func runLineage(ctx context.Context, o lineageOptions, env *Env) error {
	api, done, err := env.reader(ctx, o.global)
	if err != nil {
		return err
	}
	defer done()
	doc, err := api.Lineage(ctx, o.req)
	if err != nil {
		return err
	}
	style := env.style(env.OutWidth)
	var b bytes.Buffer
	if o.output != "" {
		style = view.Style{}
	}
	if err := o.writer()(&b, style, doc, env); err != nil {
		return err
	}
	if o.output != "" {
		err = os.WriteFile(o.output, b.Bytes(), 0o666)
	} else {
		_, err = env.Stdout.Write(b.Bytes())
	}
	if err != nil {
		return fmt.Errorf("writing the lineage: %w", err)
	}
	if o.format != "openlineage" {
		return nil
	}
	server, err := openlineage.ServerOf(env.getenv)
	if err != nil {
		return usageError("set it to the address of the server", err.Error())
	}
	if server == nil {
		return nil
	}
	if err := server.Send(ctx, openlineage.Events(doc, openLineage(env.getenv))); err != nil {
		return &engine.Error{Kind: engine.Machine, Message: err.Error(), Hint: "$OPENLINEAGE_URL says where to"}
	}
	return nil
}

func openLineage(getenv func(string) string) openlineage.Options {
	o := openlineage.Options{Namespace: getenv("OPENLINEAGE_NAMESPACE"), Version: Version()}
	if o.Namespace == "" {
		o.Namespace = "plumb"
	}
	return o
}

// tellOpenLineage sends the events of a run that has ended, when there is where to. What
// goes wrong with that is a warning, and no failure of the run.
func (e *Env) tellOpenLineage(ctx context.Context, g global, run string) {
	server, err := openlineage.ServerOf(e.getenv)
	if server == nil && err == nil || run == "" {
		return
	}
	if err == nil {
		err = e.sendLineage(ctx, g, run, server)
	}
	if err != nil {
		view.Note(e.Stderr, e.style(e.Width), fmt.Sprintf("the run is not in OpenLineage: %v; plumb lineage %s --format openlineage sends it again", err, run))
	}
}

func (e *Env) sendLineage(ctx context.Context, g global, run string, server *openlineage.Server) error {
	api, done, err := e.reader(ctx, g)
	if err != nil {
		return err
	}
	defer done()
	return sendLineage(ctx, lineageOf{api, engine.Project{Dir: g.dir}, run}, server, e.getenv)
}

// lineageOf is whose lineage is sent.
type lineageOf struct {
	api     engine.API
	project engine.Project
	run     string
}

func sendLineage(ctx context.Context, of lineageOf, server *openlineage.Server, getenv func(string) string) error {
	// With those that made what it read, since data is named after them.
	doc, err := of.api.Lineage(ctx, engine.LineageRequest{Request: engine.Request{Project: of.project}, Name: of.run, Up: true, Depth: 2, Limit: math.MaxInt32})
	if err != nil {
		return err
	}
	o := openLineage(getenv)
	o.Own = true
	return server.Send(ctx, openlineage.Events(doc, o))
}

// report is what the agent has to know to send the events of a detached run; nil when
// there is nowhere to.
func (e *Env) report() (map[string]string, error) {
	if server, err := openlineage.ServerOf(e.getenv); server == nil {
		if err != nil {
			return nil, usageError("set it to the address of the server", err.Error())
		}
		return nil, nil
	}
	report := map[string]string{}
	for _, name := range []string{"OPENLINEAGE_URL", "OPENLINEAGE_ENDPOINT", "OPENLINEAGE_API_KEY", "OPENLINEAGE_NAMESPACE"} {
		if v := e.getenv(name); v != "" {
			report[name] = v
		}
	}
	return report, nil
}

// reporter sends what detached runs did, when they are over and nobody waits for them.
func reporter(api engine.API, log *slog.Logger) func(context.Context, engine.RunRequest, string) {
	return func(ctx context.Context, req engine.RunRequest, run string) {
		getenv := func(name string) string { return req.Report[name] }
		server, err := openlineage.ServerOf(getenv)
		if server == nil && err == nil {
			return
		}
		if err == nil {
			err = sendLineage(ctx, lineageOf{api, req.Project, run}, server, getenv)
		}
		if err != nil {
			log.Warn("a detached run is not in OpenLineage", "run", run, "error", err)
		}
	}
}
