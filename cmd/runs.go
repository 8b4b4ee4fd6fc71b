package cmd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"plumb/cmd/report"
	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/moment"
	"plumb/store"
)

func newRunsCommand(env *Env) *cli.Command {
	compare := &cli.Command{
		Name: "compare", Usage: "runs beside each other: params and metrics, what differs first", ArgsUsage: "[RUN…]",
		Description: "Without runs, the newest ten of those that the flags pick, the newest on the right; with --sort the largest is on the left.",
		Flags:       append(pickFlags(0), &cli.BoolFlag{Name: "same", Usage: "also what is the same in all of them"}),
		Action:      func(c *cli.Context) error { return runCompare(c, env) },
	}
	export := &cli.Command{
		Name: "export", Usage: "runs for other tools", ArgsUsage: "",
		Description: "csv and parquet are tables with a row for each run; text stands in csv as it is, so have a spreadsheet read it as text, not as formulas. mlflow is a directory that mlflow ui --backend-store-uri PATH shows.",
		Flags: append(pickFlags(0),
			&cli.StringFlag{Name: "format", Usage: "`FORM`: csv, parquet or mlflow", Value: "csv"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `PATH`; - prints csv"},
		),
		Action: func(c *cli.Context) error { return runExport(c, env) },
	}
	for _, c := range []*cli.Command{compare, export} {
		c.OnUsageError, c.HideHelpCommand = badUsage, true
		plainFlags(c.Flags)
	}
	return &cli.Command{
		Name: "runs", Usage: "the runs of this project, newest first", Subcommands: []*cli.Command{compare, export},
		Flags: append(pickFlags(20), &cli.StringSliceFlag{Name: "show", Usage: "also a column with the metric, or param.NAME, `NAME`"}),
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			g, req, err := pickRequest(c, env)
			if err != nil {
				return err
			}
			picked := slices.ContainsFunc([]string{"before", "since", "until", "status", "param", "metric", "changed", "tag"}, c.IsSet)
			req.Show = c.StringSlice("show")
			return runRuns(c.Context, runsOptions{g, req, view.Columns{Names: columnsFor(req), Picked: picked, Sorted: req.Sort != "" || req.Reverse}}, env)
		},
	}
}

// pickFlags are how runs are picked.
func pickFlags(limit int) []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: limit, Usage: "at most `N`; 0 for all"},
		&cli.BoolFlag{Name: "all", Usage: "of all projects in the store"},
		&cli.StringFlag{Name: "since", Usage: "that began at `TIME` or later: yesterday, '3 days ago', 2026-11-17"},
		&cli.StringFlag{Name: "until", Usage: "that began at `TIME` or earlier"},
		&cli.StringFlag{Name: "status", Usage: "that `STATUS`: succeeded, failed, canceled, running"},
		&cli.StringSliceFlag{Name: "param", Usage: "of which a param meets `CONDITION`: lr=0.1, 'lr<=0.1', model!=small"},
		&cli.StringSliceFlag{Name: "metric", Usage: "of which a metric meets `CONDITION`: 'acc>0.9', 'train.loss<1'"},
		&cli.StringFlag{Name: "changed", Usage: "in which the key of `STAGE` is another than in the run before"},
		&cli.StringFlag{Name: "tag", Usage: "that `TAG` names"},
		&cli.StringFlag{Name: "sort", Usage: "by `WHAT`: started, seconds, param.NAME, or a metric, in each case the largest first"},
		&cli.BoolFlag{Name: "reverse", Usage: "the other way round: the smallest first, without --sort the oldest"},
		&cli.StringFlag{Name: "before", Usage: "older than the run `RUN`: the next page"},
	}
}

// where is the context whose flag was given: those of runs may stand before the verb
// below it.
func where(c *cli.Context, name string) *cli.Context {
	for _, at := range c.Lineage() {
		if at.Command != nil && slices.Contains(at.LocalFlagNames(), name) {
			return at
		}
	}
	return c
}

func pickRequest(c *cli.Context, env *Env) (g global, req engine.RunsRequest, err error) {
	if g, err = globals(c, env); err != nil {
		return g, req, err
	}
	text := func(name string) string { return where(c, name).String(name) }
	req = engine.RunsRequest{
		Dir: g.dir, Limit: where(c, "limit").Int("limit"), Before: text("before"), Status: text("status"), Changed: text("changed"), Tag: text("tag"), Sort: text("sort"),
		Params: where(c, "param").StringSlice("param"), Metrics: where(c, "metric").StringSlice("metric"), Reverse: where(c, "reverse").Bool("reverse"),
	}
	if req.Limit < 0 {
		return g, req, usageError("0 is for all", "--limit must not be negative")
	}
	if where(c, "all").Bool("all") {
		if req.Dir = ""; req.Tag != "" {
			return g, req, usageError("go to the project, or name it with -C", "--tag is a name of one project, and --all asks for all")
		}
	}
	if req.Since, err = timeFlag("since", text("since"), env.Now(), moment.Begin); err != nil {
		return g, req, err
	}
	req.Until, err = timeFlag("until", text("until"), env.Now(), moment.Parse)
	return g, req, err
}

func timeFlag(name, text string, now time.Time, parse func(string, time.Time) (time.Time, error)) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := parse(text, now)
	if err != nil {
		return t, usageError("", fmt.Sprintf("--%s: %v", name, err))
	}
	return t, nil
}

type runsOptions struct {
	global
	req     engine.RunsRequest
	columns view.Columns
}

// columnsFor are what the runs were picked and sorted by, and what is asked for.
func columnsFor(req engine.RunsRequest) []string {
	var out []string
	add := func(name string) {
		if name != "" && name != "started" && name != "seconds" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, m := range req.Metrics {
		add(engine.ConditionName(m))
	}
	for _, p := range req.Params {
		add("param." + engine.ConditionName(p))
	}
	add(req.Sort)
	for _, m := range req.Show {
		add(m)
	}
	return out
}

func runRuns(ctx context.Context, o runsOptions, env *Env) error {
	api, done, err := env.reader(ctx, o.global)
	if err != nil {
		return err
	}
	defer done()
	runs, err := pagesOf(ctx, api, o.req)
	if err != nil {
		return err
	}
	if o.json {
		return runs.json(env.Stdout)
	}
	list := view.NewRunList(env.Now(), o.columns)
	if err := runs.each(func(r *engine.RunRow) error { list.Add(r); return nil }); err != nil {
		return err
	}
	return list.Print(env.Stdout, env.style(env.OutWidth), runs.more)
}

func runCompare(c *cli.Context, env *Env) error {
	g, req, err := pickRequest(c, env)
	if err != nil {
		return err
	}
	api, done, err := env.reader(c.Context, g)
	if err != nil {
		return err
	}
	defer done()
	doc, err := api.Compare(c.Context, engine.CompareRequest{RunsRequest: req, Names: c.Args().Slice(), All: c.Bool("same")})
	if err != nil {
		return err
	}
	return show(env, g, doc, func(s view.Style) { view.Compared(env.Stdout, s, doc) })
}

// exportDoc says what was written.
type exportDoc struct {
	Schema int    `json:"schema"`
	Format string `json:"format"`
	Path   string `json:"path"`
	Runs   int    `json:"runs"`
}

func runExport(c *cli.Context, env *Env) error {
	g, req, err := pickRequest(c, env)
	if err != nil {
		return err
	}
	format, to := c.String("format"), c.String("output")
	switch {
	case c.NArg() > 0:
		return usageError("plumb runs export --help tells more", "plumb runs export takes no argument")
	case !slices.Contains(report.Formats(), format):
		return usageError("there are: "+strings.Join(report.Formats(), ", "), fmt.Sprintf("runs are not exported as %q", format))
	case to == "":
		return usageError("-o PATH; -o - prints csv", "plumb runs export needs to know where to")
	case to == "-" && (format != "csv" || g.json):
		return usageError("-o PATH", "only csv is printed, and not with --json")
	}
	api, done, err := env.reader(c.Context, g)
	if err != nil {
		return err
	}
	defer done()
	runs, err := pagesOf(c.Context, api, req)
	if err != nil {
		return err
	}
	if to == "-" {
		_, err := report.CSV(env.Stdout, runs.each)
		return err
	}
	path := absolute(env.Dir, to)
	n, err := report.Write(format, path, runs.each)
	if err != nil {
		return err
	}
	return show(env, g, exportDoc{engine.Schema, format, path, n}, func(view.Style) {
		if !g.quiet {
			fmt.Fprintf(env.Stdout, "%s  %s\n", to, view.Plural(n, "run"))
		}
	})
}

// pages are the runs that were asked for, in their order: known by their ids, and read so
// many at a time.
type pages struct {
	ctx   context.Context
	api   engine.API
	first []engine.RunRow // the only ones, where there are no more than a page
	ids   []store.RunID
	more  bool // there are others, which were not asked for
}

const pageSize = 500

// pagesOf picks runs.
func pagesOf(ctx context.Context, api engine.API, req engine.RunsRequest) (*pages, error) {
	req.Bare = req.Limit == 0 || req.Limit > pageSize
	doc, err := api.Runs(ctx, req)
	if err != nil {
		return nil, err
	}
	return &pages{ctx: ctx, api: api, first: doc.Runs, ids: doc.IDs, more: doc.More}, nil
}

func (p *pages) each(fn func(*engine.RunRow) error) error {
	for i := range p.first {
		if err := fn(&p.first[i]); err != nil {
			return err
		}
	}
	for ids := range slices.Chunk(p.ids, pageSize) {
		doc, err := p.api.Runs(p.ctx, engine.RunsRequest{IDs: ids})
		if err != nil {
			return err
		}
		for i := range doc.Runs {
			if err := fn(&doc.Runs[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// json writes the runs as they come, in the form of engine.RunsDoc.
func (p *pages) json(to io.Writer) error {
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, `{"schema":%d,"runs":[`, engine.Schema)
	comma := ""
	err := p.each(func(r *engine.RunRow) error {
		w.WriteString(comma)
		comma = ","
		var b bytes.Buffer
		if err := view.JSON(&b, r); err != nil {
			return err
		}
		_, err := w.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
		return err
	})
	if err != nil {
		return err
	}
	w.WriteByte(']')
	if p.more {
		w.WriteString(`,"more":true`)
	}
	w.WriteString("}\n")
	return w.Flush()
}
