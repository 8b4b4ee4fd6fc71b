package view

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"plumb/engine"
	"plumb/engine/compare"
	"plumb/engine/plan"
	"plumb/store"
)

// Diff prints what differs between two runs: the causes, each with the stages it is
// about, and then a line or two for each stage with what came of it.
func Diff(w io.Writer, s Style, doc *engine.DiffDoc, verbose bool) {
	for _, l := range diffHead(doc) {
		fmt.Fprintln(w, l)
	}
	fmt.Fprintln(w)
	if doc.Same {
		fmt.Fprintf(w, "Nothing differs: %s the same.\n", sameStages(doc.Equal))
	}
	if len(doc.Causes) > 0 {
		fmt.Fprintln(w, s.paint(bold, "What was changed"))
		for i := range doc.Causes {
			if i == maxChanges {
				fmt.Fprintf(w, "  and %s more; --json has them all\n", plural(len(doc.Causes)-i, "change"))
				break
			}
			cause(w, s, &doc.Causes[i])
		}
		fmt.Fprintln(w)
	}
	consequences(w, s, doc)
	for i := range doc.Unknown {
		u := &doc.Unknown[i]
		fmt.Fprintf(w, "%s stage %s: %s\n", s.paint(yellow, "unknown:"), strings.Join(u.Stages, ", "), printable(u.Detail))
	}
	for _, n := range doc.Notes {
		fmt.Fprintf(w, "%s %s\n", s.paint(yellow, "note:"), printable(n))
	}
	if verbose {
		pipelineFiles(w, s, doc)
	}
}

func sameStages(n int) string {
	if n == 1 {
		return "the stage is"
	}
	return fmt.Sprintf("all %d stages are", n)
}

// diffHead names the runs, and what surrounded them where that differs.
func diffHead(doc *engine.DiffDoc) []string {
	a, b := &doc.A, &doc.B
	out := []string{fmt.Sprintf("run %s (%s) → run %s (%s)", a.Run, a.Status, b.Run, b.Status)}
	for _, row := range surroundings(doc) {
		if row.old != row.new {
			out = append(out, fmt.Sprintf("  %s  %s → %s", pad(row.name, 8), printable(orNone(row.old)), printable(orNone(row.new))))
		}
	}
	return out
}

func orNone(v string) string {
	if v == "" {
		return "(none)"
	}
	return v
}

// surrounding is what was there when the runs ran, and is no cause.
type surrounding struct{ name, old, new string }

func surroundings(doc *engine.DiffDoc) []surrounding {
	a, b := doc.A.Origin, doc.B.Origin
	plumb := surrounding{"plumb", doc.A.Version, doc.B.Version}
	if a == nil || b == nil { // one is not known, so nothing is known to differ
		return []surrounding{plumb}
	}
	return []surrounding{
		plumb,
		{"commit", commit(a.Git), commit(b.Git)},
		{"branch", branch(a.Git), branch(b.Git)},
		{"user", a.User, b.User},
		{"ci", job(a.CI), job(b.CI)},
		{"host", a.Host.Name, b.Host.Name},
		{"kernel", a.Host.Kernel, b.Host.Kernel},
		{"cpu", fmt.Sprintf("%s, %d cores", a.Host.CPU, a.Host.Cores), fmt.Sprintf("%s, %d cores", b.Host.CPU, b.Host.Cores)},
		{"gpu", strings.Join(a.Host.GPUs, ", "), strings.Join(b.Host.GPUs, ", ")},
		{"driver", a.Host.Driver, b.Host.Driver},
	}
}

func commit(g *store.Git) string {
	if g == nil || g.Commit == "" {
		return ""
	}
	c := g.Commit[:min(12, len(g.Commit))]
	if g.Dirty {
		c += " with changes"
	}
	return c
}

func branch(g *store.Git) string {
	if g == nil {
		return ""
	}
	return g.Branch
}

func job(c *store.CI) string {
	if c == nil {
		return ""
	}
	return strings.TrimSpace(c.System + " " + c.Job)
}

// cause prints one cause: on one line where it is a short value, else below it.
func cause(w io.Writer, s Style, d *engine.Difference) {
	head := s.paint(yellow, visible(causeTitle(d)))
	old, new := visiblePair(d.Old, d.New)
	switch {
	case !short(d):
	case d.Detail == "added":
		head += "  " + s.paint(green, new)
	case d.Detail == "removed":
		head += "  " + s.paint(red, old)
	default:
		head += "  " + s.paint(red, orNone(old)) + " → " + s.paint(green, orNone(new))
	}
	if from := whence(d); from != "" {
		head += "  (" + printable(from) + ")"
	}
	if len(d.Stages) > 0 && d.Kind != compare.Stages && d.Kind != compare.Varied {
		head += "  " + s.paint(dim, printable(stageList(d.Stages, 4)))
	}
	fmt.Fprintln(w, "  "+head)
	c := d.Change
	if !opened(w, s, &c) && !short(d) && d.Detail != plan.Renamed && c.Note == "" && !isDigest(c.Old) && !isDigest(c.New) {
		lines := clippedLines([]string{"- " + old, "+ " + new}, maxColumns)
		for i, color := range []string{red, green} {
			if [2]string{old, new}[i] != "" {
				fmt.Fprintf(w, "    %s\n", s.paint(color, lines[i]))
			}
		}
	}
	if c.Note != "" {
		fmt.Fprintf(w, "    %s\n", printable(c.Note))
	}
}

func causeTitle(d *engine.Difference) string {
	t := strings.TrimSpace(string(d.Kind) + " " + d.Name)
	switch {
	case d.Detail == plan.Renamed && d.Old != d.New:
		old, new := visiblePair(d.Old, d.New)
		return string(d.Kind) + " " + old + " renamed to " + new
	case d.Kind == compare.Varied:
		text := "stage " + d.Stage + ": " + d.Detail
		if output, ok := strings.CutPrefix(d.Name, "stage."+d.Stage+"."); ok {
			text += ", output " + output
		}
		return text
	case d.Kind == compare.Targets:
		return "targets: " + d.Detail
	case d.Detail == "added" || d.Detail == "removed":
		return t + " " + d.Detail
	case d.Detail != "":
		return t + ", " + d.Detail
	}
	return t
}

// short says that the values stand on the line of the cause.
func short(d *engine.Difference) bool {
	switch d.Kind {
	case plan.ReasonCommand, plan.ReasonInput, plan.ReasonImage, compare.Varied, compare.Stages:
		return false
	}
	return d.Detail != plan.Renamed && (d.Old != "" || d.New != "") && len(d.Old) <= 40 && len(d.New) <= 40 && !strings.ContainsRune(d.Old+d.New, '\n')
}

func isDigest(v string) bool { return strings.Contains(v, "sha256:") }

func whence(d *engine.Difference) string {
	switch {
	case d.OldFrom == d.NewFrom:
		return d.NewFrom
	case d.OldFrom == "" || d.NewFrom == "":
		return d.OldFrom + d.NewFrom
	}
	return d.OldFrom + " → " + d.NewFrom
}

// stageList names so many stages, and counts the others.
func stageList(stages []string, most int) string {
	if len(stages) <= most+1 {
		return strings.Join(stages, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(stages[:most], ", "), len(stages)-most)
}

// outcome is what came of a stage, gathered from the consequences.
type outcome struct {
	stage   string
	follows string
	status  string
	timed   bool
	took    string
	equal   []string
	changed []string
	renamed []string
	metrics []line
}

// outcomes groups consequences by stage, in their order.
func outcomes(doc *engine.DiffDoc) []*outcome {
	var out []*outcome
	at := map[string]*outcome{}
	for i := range doc.Consequences {
		d := &doc.Consequences[i]
		o := at[d.Stage]
		if o == nil {
			o = &outcome{stage: d.Stage}
			at[d.Stage] = o
			out = append(out, o)
		}
		switch d.Kind {
		case plan.ReasonUpstream:
			o.follows = strings.Join(strings.Fields(d.Name), ", ")
		case compare.Status:
			o.status = statuses(d)
		case compare.Output:
			switch {
			case d.OldName != "" && d.Equal:
				o.renamed = append(o.renamed, "output "+d.Name+" is what "+d.OldName+" was")
			case d.OldName != "":
				o.renamed = append(o.renamed, "output "+d.Name+" is not what "+d.OldName+" was")
			case d.Equal:
				o.equal = append(o.equal, d.Name)
			default:
				o.changed = append(o.changed, d.Name)
			}
		case compare.Metric:
			o.metrics = append(o.metrics, line{"", metricLine(d)})
		case compare.Duration:
			o.timed, o.took = true, took(d)
		}
	}
	return out
}

// statuses puts what is told of a status behind the one that it is about.
func statuses(d *engine.Difference) string {
	switch {
	case d.Detail == "":
		return d.Old + " → " + d.New
	case compare.HasResult(d.New):
		return d.Old + " (" + d.Detail + ") → " + d.New
	}
	return d.Old + " → " + d.New + ": " + d.Detail
}

// took is "" where a stage took about as long as before: a tenth is nothing, and
// neither is a blink.
func took(d *engine.Difference) string {
	old, errA := strconv.ParseFloat(d.Old, 64)
	new, errB := strconv.ParseFloat(d.New, 64)
	if errA != nil || errB != nil || math.Abs(new-old) < 0.1 || math.Abs(new-old) < 0.1*old {
		return ""
	}
	return seconds(old) + " → " + seconds(new)
}

func metricLine(d *engine.Difference) string {
	old, new := rounded(d.Old), rounded(d.New)
	a, errA := strconv.ParseFloat(d.Old, 64)
	b, errB := strconv.ParseFloat(d.New, 64)
	if errA == nil && errB == nil {
		both := apart(a, b)
		old, new = both[0], both[1]
	}
	text := fmt.Sprintf("%s  %s → %s", d.Name, old, new)
	if d.Relative != nil {
		text += "  " + percent(*d.Relative)
	}
	if d.Detail != "" {
		text += "  (" + d.Detail + ")"
	}
	return text
}

func rounded(v string) string {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return orNone(v)
	}
	return number(f)
}

func percent(v float64) string { return fmt.Sprintf("%+.3g %%", v*100) }

// line says what came of a stage, but for its metrics.
func (o *outcome) line() string {
	var parts []string
	if o.follows != "" {
		parts = append(parts, "differs because of "+o.follows)
	}
	if o.status != "" {
		parts = append(parts, o.status)
	}
	if len(o.changed) > 0 {
		parts = append(parts, "output "+strings.Join(o.changed, ", ")+" changed")
	}
	if len(o.equal) > 0 {
		parts = append(parts, "output "+strings.Join(o.equal, ", ")+" is what it was")
	}
	parts = append(parts, o.renamed...)
	if o.took != "" {
		parts = append(parts, o.took)
	}
	if len(parts)+len(o.metrics) == 0 && o.timed { // nothing else is known of it
		return "took as long as before"
	}
	return strings.Join(parts, "; ")
}

// maxOutcomes is how many stages are told for people.
const maxOutcomes = 20

func consequences(w io.Writer, s Style, doc *engine.DiffDoc) {
	all := outcomes(doc)
	if len(all) > 0 {
		fmt.Fprintln(w, s.paint(bold, "What came of it"))
	}
	wide := 0
	for _, o := range all[:min(len(all), maxOutcomes)] {
		wide = max(wide, columns(printable(o.stage)))
	}
	for i, o := range all {
		if i == maxOutcomes {
			fmt.Fprintf(w, "  and of %s more; --json has them all\n", plural(len(all)-i, "stage"))
			break
		}
		text, metrics := o.line(), o.metrics
		if text == "" && len(metrics) > 0 {
			text, metrics = "metric "+metrics[0].text, metrics[1:]
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %s  %s", pad(printable(o.stage), wide), printable(text)), " "))
		for _, m := range metrics {
			fmt.Fprintf(w, "  %s  metric %s\n", pad("", wide), printable(m.text))
		}
	}
	if len(all) > 0 && doc.Equal > 0 && !doc.Same {
		fmt.Fprintf(w, "%s the same in both.\n", areTheSame(doc.Equal))
	} else if doc.Equal > 0 && !doc.Same {
		fmt.Fprintf(w, "No key differs: %s the same in both.\n", strings.ToLower(areTheSame(doc.Equal)))
	}
}

func areTheSame(n int) string {
	if n == 1 {
		return "1 stage is"
	}
	return fmt.Sprintf("%d stages are", n)
}

func pipelineFiles(w io.Writer, s Style, doc *engine.DiffDoc) {
	for _, f := range doc.Files {
		fmt.Fprintf(w, "\n%s %s\n", printable(f.Path), f.Change)
		diffLines(w, s, "  ", f.Diff)
		if f.Note != "" {
			fmt.Fprintf(w, "  %s\n", printable(f.Note))
		}
	}
}
