package view

import (
	"fmt"
	"io"
	"strings"

	"plumb/engine/event"
)

// maxOutputs is up to how many outputs are listed with the line that gets them.
const maxOutputs = 8

// summary ends a run with what a person wants to know: what failed and what it
// printed, how many stages did what, the metrics with their change, the exported
// files, and how to get the rest.
func summary(w io.Writer, s Style, e event.Event, o RunOptions) {
	told := false
	for i := range e.Stages {
		told = failure(w, s, &e.Stages[i]) || told
	}
	if told {
		fmt.Fprintln(w)
	}
	if o.Quiet {
		return
	}
	c := e.Counts
	word := map[string]string{"succeeded": green, "failed": red, "canceled": yellow}
	text := counts(*c)
	switch {
	case e.Status == "succeeded" && text == "":
		fmt.Fprintf(w, "%s the pipeline declares no stage\n", s.paint(yellow, "nothing to do:"))
	case e.Status == "succeeded" && c.Ran == 0 && c.Cached > 0:
		fmt.Fprintf(w, "%s %s unchanged, in %s\n", s.paint(green, "nothing to do:"), plural(c.Cached, "stage"), seconds(e.Seconds))
	default:
		fmt.Fprintf(w, "%s %s, in %s  (run %s)\n", s.paint(word[e.Status], e.Status+":"), text, seconds(e.Seconds), e.Run)
	}
	metrics(w, s, e.Stages)
	exportedTo := map[string]bool{}
	for _, x := range e.Exports {
		exportedTo[x.Stage+"."+x.Output] = true
		mark := "unchanged"
		if x.Changed {
			mark = "written"
		}
		fmt.Fprintf(w, "  export  %s  %s\n", x.Path, s.paint(dim, mark))
	}
	if e.Status == "succeeded" && c.Ran > 0 {
		others(w, s, e.Stages, exportedTo)
	}
}

// failure tells what went wrong with a stage, and reports whether something did.
func failure(w io.Writer, s Style, st *event.Stage) bool {
	if st.Error == nil || st.Status == "canceled" { // by the user, who knows
		return false
	}
	f := st.Error
	fmt.Fprintln(w)
	fmt.Fprintf(w, "%s stage %s: %s\n", s.paint(red, "error:"), s.paint(bold, st.Name), printable(f.Message))
	if f.File != "" {
		fmt.Fprintf(w, "  declared at %s:%d\n", f.File, f.Line)
	}
	if len(f.Tail) > 0 {
		fmt.Fprintln(w, "  its last lines:")
		for _, l := range f.Tail {
			fmt.Fprintln(w, "  "+s.paint(dim, "|")+" "+printable(l))
		}
	}
	if f.Hint != "" {
		fmt.Fprintln(w, "  "+s.paint(bold, "hint:")+" "+f.Hint)
	}
	return true
}

func metrics(w io.Writer, s Style, stages []event.Stage) {
	var rows [][]string
	for i := range stages {
		st := &stages[i]
		for _, name := range keys(st.Metrics) {
			v := st.Metrics[name]
			row := []string{"  metric  " + st.Name + "." + name, number(v)}
			if old, ok := st.Previous[name]; ok && old != v {
				both := apart(v, old)
				row = []string{row[0], both[0], fmt.Sprintf("was %s (%s)", both[1], relative(old, v))}
			}
			rows = append(rows, row)
		}
	}
	for _, l := range table(rows) {
		fmt.Fprintln(w, l)
	}
}

func relative(old, new float64) string {
	if old == 0 {
		return fmt.Sprintf("%+g", new)
	}
	return fmt.Sprintf("%+.2g %%", 100*(new-old)/abs(old))
}

func abs(v float64) float64 {
	if v < 0 {
		return -v
	}
	return v
}

// others says how to get what ran and was not exported.
func others(w io.Writer, s Style, stages []event.Stage, exported map[string]bool) {
	var names []string
	for i := range stages {
		if stages[i].Status != "ran" {
			continue
		}
		for _, n := range keys(stages[i].Outputs) {
			if full := stages[i].Name + "." + n; !exported[full] && !stages[i].Outputs[n].Dropped {
				names = append(names, full)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	more := ""
	if len(names) > maxOutputs {
		more = fmt.Sprintf(" and %d more", len(names)-maxOutputs)
		names = names[:maxOutputs]
	}
	fmt.Fprintf(w, "  %s\n", s.paint(dim, "plumb get "+names[0]+list(names[1:])+more))
}

func list(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "   (also: " + strings.Join(names, ", ") + ")"
}
