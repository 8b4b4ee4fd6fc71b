package view

import (
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	"plumb/engine"
	"plumb/store"
)

var statusColor = map[string]string{
	"succeeded": green, "ran": green, "cached": dim, "failed": red, "canceled": yellow, "skipped": dim, "running": blue,
}

// Runs prints a line a run.
func Runs(w io.Writer, s Style, doc *engine.RunsDoc, now time.Time) {
	if len(doc.Runs) == 0 {
		fmt.Fprintln(w, "No runs yet.")
		return
	}
	rows := [][]string{{"RUN", "WHEN", "STATUS", "TOOK", "STAGES"}}
	for i := range doc.Runs {
		r := &doc.Runs[i]
		took := r.Seconds
		if r.Status == "running" {
			took = now.Sub(r.Started).Seconds()
		}
		rows = append(rows, []string{string(r.ID), ago(now.Sub(r.Started)), r.Status, seconds(took), counts(r.Counts)})
	}
	for i, line := range table(rows) {
		if i == 0 {
			line = s.paint(dim, line)
		} else {
			st := doc.Runs[i-1].Status
			line = strings.Replace(line, st, s.paint(statusColor[st], st), 1)
		}
		fmt.Fprintln(w, line)
	}
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
// attempts.
func Show(w io.Writer, s Style, doc *engine.ShowDoc) {
	fmt.Fprintf(w, "run %s  %s  %s\n", s.paint(bold, string(doc.ID)), s.paint(statusColor[doc.Status], doc.Status), seconds(doc.Run.Seconds))
	fmt.Fprintf(w, "started %s, by plumb %s\n", doc.Started.UTC().Format(time.RFC3339), doc.Version)
	if doc.Profile != "" {
		fmt.Fprintf(w, "profile %s\n", doc.Profile)
	}
	for _, p := range doc.Params {
		v := p.Value
		if v == "" {
			v = "(sensitive)"
		}
		fmt.Fprintf(w, "param %s = %s (%s)\n", p.Name, printable(v), p.Origin)
	}
	for i := range doc.Stages {
		shownStage(w, s, &doc.Stages[i])
	}
}

func shownStage(w io.Writer, s Style, st *engine.ShownStage) {
	fmt.Fprintf(w, "\n%s  %s", s.paint(bold, st.Name), s.paint(statusColor[st.Status], st.Status))
	if st.Status == "ran" || st.Status == "failed" {
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

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// Got prints where an artifact is now.
func Got(w io.Writer, _ Style, doc *engine.GetDoc, quiet bool) {
	if quiet {
		return
	}
	fmt.Fprintf(w, "%s  %s  %s\n", doc.Path, size(doc.Size), doc.Digest)
}
