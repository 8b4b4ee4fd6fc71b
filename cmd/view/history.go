package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"plumb/engine"
	"plumb/engine/plan"
	"plumb/store"
)

var statusColor = map[string]string{
	"succeeded": green, "ran": green, "cached": dim, "failed": red, "canceled": yellow, "skipped": dim, "running": blue,
}

// Columns are what a list of runs shows besides: metrics, or params as "param.NAME".
// Picked says that it is of some runs only, Sorted that they are not in the usual order.
type Columns struct {
	Names  []string
	Picked bool
	Sorted bool
}

// RunList is a line a run. Of the runs it holds what is printed, and no more.
type RunList struct {
	now  time.Time
	also Columns
	rows [][]string
}

// NewRunList begins one.
func NewRunList(now time.Time, also Columns) *RunList {
	head := []string{"RUN", "WHEN", "STATUS", "TOOK", "STAGES"}
	for _, c := range also.Names {
		head = append(head, printable(c))
	}
	return &RunList{now: now, also: also, rows: [][]string{append(head, "")}}
}

// Add adds a run.
func (l *RunList) Add(r *engine.RunRow) {
	took := r.Seconds
	if r.Status == "running" {
		took = l.now.Sub(r.Started).Seconds()
	}
	row := append(make([]string, 0, len(l.rows[0])), string(r.ID), ago(l.now.Sub(r.Started)), r.Status, seconds(took), counts(r.Counts))
	for _, c := range l.also.Names {
		row = append(row, columnOf(r, c))
	}
	l.rows = append(l.rows, append(row, said(&r.Annotation)))
}

// Print prints it. More says that there are others.
func (l *RunList) Print(w io.Writer, s Style, more bool) error {
	runs := l.rows[1:]
	if len(runs) == 0 {
		_, err := fmt.Fprintln(w, map[bool]string{true: "No such runs.", false: "No runs yet."}[l.also.Picked])
		return err
	}
	out := bufio.NewWriter(w)
	for i, line := range table(l.rows) {
		if i == 0 {
			line = s.paint(dim, line)
		} else {
			st := l.rows[i][2]
			line = strings.Replace(line, st, s.paint(statusColor[st], st), 1)
		}
		fmt.Fprintln(out, line)
	}
	switch {
	case more && l.also.Sorted:
		fmt.Fprintln(out, s.paint(dim, fmt.Sprintf("There are more: --limit %d shows as many again, --limit 0 all.", 2*len(runs))))
	case more:
		fmt.Fprintln(out, s.paint(dim, fmt.Sprintf("There are more: --before %s goes on, --limit 0 shows all.", runs[len(runs)-1][0])))
	}
	return out.Flush()
}

// columnOf is a metric of a run, by its full name or its own, or a param.
func columnOf(r *engine.RunRow, column string) string {
	if name, ok := strings.CutPrefix(column, "param."); ok {
		for _, p := range r.Params {
			if p.Name == name {
				return paramValue(p.Value)
			}
		}
		return lacking
	}
	var found []string
	for _, full := range keys(r.Metrics) {
		if full == column || strings.HasSuffix(full, "."+column) {
			found = append(found, number(r.Metrics[full]))
		}
	}
	if len(found) == 0 {
		return lacking
	}
	return strings.Join(found, ", ")
}

// lacking stands where a run has nothing of a kind.
const lacking = "–"

func paramValue(json string) string {
	if json == "" {
		return "(sensitive)"
	}
	return printable(json)
}

// said is what was said of a run, in a line.
func said(a *store.Annotation) string {
	var parts []string
	if len(a.Tags) > 0 {
		parts = append(parts, strings.Join(a.Tags, ", "))
	}
	if a.Pinned {
		parts = append(parts, "pinned")
	}
	if first, _, _ := strings.Cut(a.Note, "\n"); first != "" {
		parts = append(parts, "\u201c"+printable(first)+"\u201d")
	}
	return strings.Join(parts, "  ")
}

// Compared prints runs beside each other, one a column.
func Compared(w io.Writer, s Style, doc *engine.CompareDoc) {
	if len(doc.Runs) == 0 {
		fmt.Fprintln(w, "No such runs.")
		return
	}
	head, names := []string{""}, []string{""}
	named := false
	for i := range doc.Runs {
		head = append(head, string(doc.Runs[i].ID))
		names = append(names, strings.Join(doc.Runs[i].Tags, ", "))
		named = named || len(doc.Runs[i].Tags) > 0
	}
	rows := [][]string{head}
	if named {
		rows = append(rows, names)
	}
	status := []string{"status"}
	for i := range doc.Runs {
		status = append(status, doc.Runs[i].Status)
	}
	rows = append(rows, status)
	for _, row := range doc.Rows {
		var values []float64
		for _, c := range row.Cells {
			if c.Number != nil {
				values = append(values, *c.Number)
			}
		}
		texts := apart(values...)
		line := []string{row.Kind + " " + printable(row.Name)}
		if row.Kind == row.Name {
			line[0] = row.Name
		}
		for _, c := range row.Cells {
			if c.Number == nil {
				line = append(line, cell(c))
				continue
			}
			line, texts = append(line, texts[0]), texts[1:]
		}
		rows = append(rows, line)
	}
	for i, line := range table(rows) {
		if i == 0 {
			line = s.paint(dim, line)
		}
		fmt.Fprintln(w, line)
	}
	differ := 0
	for _, row := range doc.Rows {
		if row.Differs {
			differ++
		}
	}
	if listed := len(doc.Rows) - differ; doc.Same > listed {
		fmt.Fprintln(w, s.paint(dim, fmt.Sprintf("%s the same in all of them; --same shows that too.", plural(doc.Same, "thing")+map[bool]string{true: " is", false: " are"}[doc.Same == 1])))
	}
}

// cell is one that has no number.
func cell(c engine.Cell) string {
	if c.Lacking {
		return lacking
	}
	return paramValue(c.Value)
}

// Annotated prints what is said of a run.
func Annotated(w io.Writer, s Style, doc *engine.AnnotateDoc) {
	what := said(&doc.Annotation)
	if what == "" {
		what = s.paint(dim, "nothing is said of it")
	}
	fmt.Fprintf(w, "run %s  %s\n", s.paint(bold, string(doc.Run)), what)
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

func counts(c store.Counts) string {
	var parts []string
	add := func(n int, word string) {
		if n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+word)
		}
	}
	add(c.Ran, "ran")
	add(c.Cached, "cached")
	add(c.Failed, "failed")
	add(c.Skipped, "skipped")
	add(c.Canceled, "canceled")
	return strings.Join(parts, ", ")
}

// Show prints one run: its head, and for each stage status, outputs, metrics and
// attempts; with all that is in its key when ingredients are asked for.
func Show(w io.Writer, s Style, doc *engine.ShowDoc, ingredients bool) {
	fmt.Fprintf(w, "run %s  %s  %s\n", s.paint(bold, string(doc.ID)), s.paint(statusColor[doc.Status], doc.Status), seconds(doc.Run.Seconds))
	fmt.Fprintf(w, "started %s, by plumb %s\n", doc.Started.UTC().Format(time.RFC3339), doc.Version)
	if doc.Profile != "" {
		fmt.Fprintf(w, "profile %s\n", doc.Profile)
	}
	shownSaid(w, &doc.Annotation)
	shownOrigin(w, doc.Origin)
	for _, p := range doc.Params {
		fmt.Fprintf(w, "param %s = %s (%s)\n", p.Name, paramValue(p.Value), p.Origin)
	}
	for i := range doc.Stages {
		shownStage(w, s, &doc.Stages[i])
		if ingredients {
			shownIngredients(w, &doc.Stages[i])
		}
	}
}

// shownIngredients prints what is in the key of a stage. Its outputs stand above.
func shownIngredients(w io.Writer, st *engine.ShownStage) {
	if len(st.Fields) == 0 {
		fmt.Fprintln(w, "  what was in its key is not kept")
		return
	}
	var rows [][]string
	for _, in := range st.Inputs {
		kind := string(in.Kind)
		if in.Exec {
			kind += ", executable"
		}
		from := ""
		if in.From != "" {
			from = "from " + printable(in.From)
		}
		rows = append(rows, []string{"  input      " + printable(in.Path), kind, in.Digest.Short(), from})
	}
	for _, line := range table(rows) {
		fmt.Fprintln(w, line)
	}
	for _, f := range st.Fields {
		switch f.Kind {
		case plan.FieldInput, plan.FieldOutput, plan.FieldSandbox:
			continue
		}
		about := pad(string(f.Kind), 11)
		if f.Name != "" {
			about += printable(f.Name) + " = "
		}
		lines := strings.Split(strings.TrimSuffix(f.Value, "\n"), "\n")
		if f.Kind == plan.FieldCommand {
			lines = commandLines(f.Value)
		}
		for i, line := range lines {
			if i > 0 {
				about = pad("", 11)
			}
			fmt.Fprintln(w, "  "+about+printable(line))
		}
	}
}

// commandLines are those of a command's script, or the list that it is.
func commandLines(value string) []string {
	var args []string
	if json.Unmarshal([]byte(value), &args) != nil || len(args) != 4 || args[0] != "/bin/sh" || args[2] != "-c" {
		return []string{value}
	}
	return strings.Split(strings.TrimSuffix(args[3], "\n"), "\n")
}

func shownSaid(w io.Writer, a *store.Annotation) {
	if len(a.Tags) > 0 {
		fmt.Fprintf(w, "tags %s\n", strings.Join(a.Tags, ", "))
	}
	if a.Pinned {
		fmt.Fprintln(w, "pinned: gc keeps it, and what it needs")
	}
	for i, line := range strings.Split(strings.TrimSpace(a.Note), "\n") {
		if line != "" || i > 0 {
			fmt.Fprintf(w, "note %s\n", printable(line))
		}
	}
}

// shownOrigin tells where a run came from, as far as that is known.
func shownOrigin(w io.Writer, o *store.Origin) {
	if o == nil {
		return
	}
	by := o.User
	if o.Host.Name != "" {
		by += "@" + o.Host.Name
	}
	if o.CI != nil {
		by += ", " + strings.TrimSpace(o.CI.System+" "+o.CI.Job)
	}
	if by != "" {
		fmt.Fprintf(w, "from %s\n", printable(by))
	}
	if host := hostText(&o.Host); host != "" {
		fmt.Fprintf(w, "on %s\n", printable(host))
	}
	if o.Git == nil || o.Git.Commit == "" {
		return
	}
	line := o.Git.Commit
	if o.Git.Branch != "" {
		line += " on " + o.Git.Branch
	}
	if o.Git.Dirty {
		line += ", with changes"
	}
	fmt.Fprintf(w, "git %s\n", printable(line))
}

// hostText is what a machine is, in a line.
func hostText(h *store.Host) string {
	var parts []string
	if h.CPU != "" {
		parts = append(parts, h.CPU)
	}
	if h.Cores > 0 {
		parts = append(parts, plural(h.Cores, "core"))
	}
	if h.Memory > 0 {
		parts = append(parts, size(h.Memory))
	}
	parts = append(parts, h.GPUs...)
	if h.Driver != "" {
		parts = append(parts, "driver "+h.Driver)
	}
	if h.Kernel != "" {
		parts = append(parts, "kernel "+h.Kernel)
	}
	return strings.Join(parts, ", ")
}

func shownStage(w io.Writer, s Style, st *engine.ShownStage) {
	fmt.Fprintf(w, "\n%s  %s", s.paint(bold, st.Name), s.paint(statusColor[st.Status], st.Status))
	if st.Status == "ran" || st.Status == "failed" || st.Status == "running" {
		fmt.Fprintf(w, "  %s", seconds(st.Seconds))
	}
	fmt.Fprintln(w)
	if st.Reason != "" {
		fmt.Fprintf(w, "  reason   %s\n", printable(st.Reason))
	}
	if st.Status == "cached" && st.MadeBy != "" {
		fmt.Fprintf(w, "  made by  run %s\n", st.MadeBy)
	}
	if !st.Key.IsZero() {
		fmt.Fprintf(w, "  key      %s\n", st.Key)
	}
	var rows [][]string
	for _, name := range keys(st.Outputs) {
		o := st.Outputs[name]
		note := ""
		if o.Dropped {
			note = "not kept"
		}
		rows = append(rows, []string{"  output   " + name, o.Path, size(o.Size), o.Digest.String(), note})
	}
	for _, line := range table(rows) {
		fmt.Fprintln(w, line)
	}
	for _, name := range keys(st.Metrics) {
		fmt.Fprintf(w, "  metric   %s = %s\n", name, number(st.Metrics[name]))
	}
	for n, a := range st.Attempts {
		from := ""
		if a.Resumed {
			from = ", from a checkpoint"
		}
		fmt.Fprintf(w, "  attempt  %d: %s, %s, %s CPU, %s%s\n", n+1, attemptResult(a), seconds(a.Seconds), seconds(a.CPUSeconds), memory(a.PeakMemory), from)
	}
	if st.Error != "" {
		fmt.Fprintf(w, "  error    %s\n", printable(st.Error))
	}
}

func attemptResult(a store.Attempt) string {
	if a.Class == store.ClassExit {
		return fmt.Sprintf("exit status %d", a.ExitCode)
	}
	return string(a.Class)
}

func memory(n int64) string {
	if n < 0 {
		return "memory not counted"
	}
	return size(n) + " at most"
}

func keys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', digits, 64) }

// digits is how many of a number are shown where it stands alone.
const digits = 6

// apart writes numbers that stand beside each other, with as many digits as it takes to
// see which differ: six will do mostly.
func apart(values ...float64) []string {
	out := make([]string, len(values))
	for n := digits; n <= 17; n++ {
		if n == 17 {
			n = -1 // as many as it takes to read the very same again
		}
		of := map[string]float64{}
		clear := true
		for i, v := range values {
			out[i] = strconv.FormatFloat(v, 'g', n, 64)
			was, ok := of[out[i]]
			clear = clear && (!ok || was == v || math.IsNaN(v))
			of[out[i]] = v
		}
		if clear || n < 0 {
			break
		}
	}
	return out
}

// Got prints where an artifact is now.
func Got(w io.Writer, _ Style, doc *engine.GetDoc, quiet bool) {
	if quiet {
		return
	}
	fmt.Fprintf(w, "%s  %s  %s\n", doc.Path, size(doc.Size), doc.Digest)
}
