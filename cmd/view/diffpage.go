package view

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"plumb/engine"
	"plumb/engine/plan"
)

//go:embed diffpage.html
var diffPage string

// DiffPage writes what differs as one page that needs nothing else: no script, no other
// file, light or dark as the reader likes it. The same document gives the same bytes.
func DiffPage(w io.Writer, doc *engine.DiffDoc) error {
	t, err := template.New("diff").Parse(diffPage)
	if err != nil {
		return fmt.Errorf("reading the page's template: %w", err)
	}
	if err := t.Execute(w, pageOf(doc)); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// page is a document as the template wants it.
type page struct {
	*engine.DiffDoc
	Around   []pageRow
	Changed  []pageCause
	Outcomes []pageOutcome
	Untold   []string
	Texts    []pageText
}

type pageRow struct{ Name, Old, New string }

type pageCause struct {
	Title    string
	Old, New string // "" on both sides when they say nothing to people
	From     string
	Stages   []string
	Blocks   []pageText
	Note     string
}

type pageText struct {
	Title string
	Lines []pageLine
	Note  string
}

// pageLine has a class: add, del, hunk, mod or none.
type pageLine struct{ Class, Text string }

type pageOutcome struct {
	Stage, Text string
	Metrics     []string
}

func pageOf(doc *engine.DiffDoc) *page {
	p := &page{DiffDoc: doc, Around: []pageRow{
		{"run", string(doc.A.Run), string(doc.B.Run)}, {"status", doc.A.Status, doc.B.Status},
		{"started", doc.A.Started.UTC().Format(time.RFC3339), doc.B.Started.UTC().Format(time.RFC3339)},
		{"took", seconds(doc.A.Seconds), seconds(doc.B.Seconds)},
	}}
	for _, r := range surroundings(doc) {
		if r.old != r.new {
			p.Around = append(p.Around, pageRow{r.name, orNone(r.old), orNone(r.new)})
		}
	}
	for i := range doc.Causes {
		p.Changed = append(p.Changed, pageCauseOf(&doc.Causes[i]))
	}
	for _, o := range outcomes(doc) {
		po := pageOutcome{Stage: o.stage, Text: o.line()}
		for _, m := range o.metrics {
			po.Metrics = append(po.Metrics, m.text)
		}
		p.Outcomes = append(p.Outcomes, po)
	}
	for i := range doc.Unknown {
		p.Untold = append(p.Untold, "stage "+strings.Join(doc.Unknown[i].Stages, ", ")+": "+doc.Unknown[i].Detail)
	}
	p.Untold = append(p.Untold, doc.Notes...)
	for _, f := range doc.Files {
		p.Texts = append(p.Texts, pageText{f.Path + " " + f.Change, pageLines(f.Diff), f.Note})
	}
	return p
}

func pageCauseOf(d *engine.Difference) pageCause {
	c := pageCause{Title: causeTitle(d), From: whence(d), Stages: d.Stages, Note: d.Note}
	if d.Detail != plan.Renamed && d.Kind != plan.ReasonCommand && !isDigest(d.Old) && !isDigest(d.New) && (d.Old != "" || d.New != "") {
		old, new := visiblePair(d.Old, d.New)
		c.Old, c.New = orNone(old), orNone(new)
	}
	if len(d.Diff) > 0 {
		c.Blocks = append(c.Blocks, pageText{"lines", pageLines(d.Diff), ""})
	}
	if d.Table != nil {
		c.Blocks = append(c.Blocks, pageText{"as a table", signed(tableLines(d.Table, len(d.Table.Shifts))), ""})
	}
	for _, e := range d.Entries {
		t := pageText{Title: e.Path + " " + e.Change, Lines: pageLines(e.Diff), Note: e.Note}
		if e.Table != nil {
			t.Lines = append(t.Lines, signed(tableLines(e.Table, len(e.Table.Shifts)))...)
		}
		c.Blocks = append(c.Blocks, t)
	}
	var inside []line
	for _, p := range d.Packages {
		versions := p.Old + " → " + p.New
		if p.Old == "" || p.New == "" {
			versions = p.Old + p.New
		}
		inside = append(inside, line{changeSign[p.Change], p.Name + "  " + versions})
	}
	for _, f := range d.Files {
		inside = append(inside, line{changeSign[f.Change], strings.TrimRight(f.Path+"  "+f.Detail, " ")})
	}
	if len(inside) > 0 {
		c.Blocks = append(c.Blocks, pageText{"inside the image", signed(inside), ""})
	}
	return c
}

func pageLines(diff []string) []pageLine {
	var out []pageLine
	shown := visibleLines(diff)
	for i, l := range diff {
		class := ""
		switch {
		case strings.HasPrefix(l, "@@"):
			class = "hunk"
		case strings.HasPrefix(l, "+"):
			class = "add"
		case strings.HasPrefix(l, "-"):
			class = "del"
		}
		out = append(out, pageLine{class, shown[i]})
	}
	return out
}

func signed(lines []line) []pageLine {
	classes := map[string]string{"+": "add", "-": "del", "~": "mod"}
	var out []pageLine
	for _, l := range lines {
		text := visible(l.text)
		if l.sign != "" {
			text = l.sign + " " + text
		}
		out = append(out, pageLine{classes[l.sign], text})
	}
	return out
}
