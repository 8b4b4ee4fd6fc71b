package view

import (
	"fmt"
	"io"
	"strings"

	"plumb/engine"
	"plumb/engine/plan"
	"plumb/hcl"
)

var verdictColor = map[plan.Verdict]string{plan.Hit: green, plan.Execute: yellow, plan.Pending: blue, plan.Skip: dim, plan.Refused: red}

// Plan prints one line a stage with its first reason, and the sum.
func Plan(w io.Writer, s Style, doc *engine.PlanDoc) {
	var rows [][]string
	for _, st := range doc.Stages {
		reason := ""
		if len(st.Reasons) > 0 {
			reason = printable(st.Reasons[0].String())
			if n := len(st.Reasons) - 1; n > 0 {
				reason += fmt.Sprintf(" (and %d more)", n)
			}
		}
		if st.Effect {
			reason = effectMark(st.Idempotent) + reason
		}
		rows = append(rows, []string{st.Name, string(st.Decision), reason})
	}
	for i, line := range table(rows) {
		line = s.clip(line, 0)
		v := string(doc.Stages[i].Decision)
		at := strings.Index(line[min(len(doc.Stages[i].Name), len(line)):], v)
		if at >= 0 {
			at += len(doc.Stages[i].Name)
			line = line[:at] + s.paint(verdictColor[doc.Stages[i].Decision], v) + line[at+len(v):]
		}
		fmt.Fprintln(w, line)
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
	}
	if doc.Hits == len(doc.Stages) {
		fmt.Fprintf(w, "Nothing to do: %s unchanged.\n", plural(doc.Hits, "stage"))
		return
	}
	parts := []string{fmt.Sprintf("%d to run", doc.Runs)}
	if doc.Pending > 0 {
		parts = append(parts, fmt.Sprintf("%d pending", doc.Pending))
	}
	if doc.Refused > 0 {
		parts = append(parts, fmt.Sprintf("%d refused", doc.Refused))
	}
	if doc.Skips > 0 {
		parts = append(parts, fmt.Sprintf("%d skipped", doc.Skips))
	}
	fmt.Fprintf(w, "%s: %s, %d unchanged.\n", plural(len(doc.Stages), "stage"), strings.Join(parts, ", "), doc.Hits)
}

// effectMark tells stages that write outside from all others.
func effectMark(idempotent bool) string {
	if idempotent {
		return "(idempotent effect) "
	}
	return "(effect) "
}

// ValidDoc is what validate says of a pipeline that is right.
type ValidDoc struct {
	Schema      int             `json:"schema"`
	Valid       bool            `json:"valid"`
	Pipeline    string          `json:"pipeline"`
	Stages      int             `json:"stages"`
	Diagnostics hcl.Diagnostics `json:"diagnostics"` // warnings
}

// Valid prints that a pipeline is right.
func Valid(w, _ io.Writer, s Style, doc ValidDoc) {
	fmt.Fprintf(w, "%s %s\n", s.paint(green, "valid:"), plural(doc.Stages, "stage"))
}

// FmtDoc names the files that were, or with --check and --diff would be, rewritten.
type FmtDoc struct {
	Schema  int      `json:"schema"`
	Changed []string `json:"changed"`
}

// VersionDoc is what version prints.
type VersionDoc struct {
	Schema   int    `json:"schema"`
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}
