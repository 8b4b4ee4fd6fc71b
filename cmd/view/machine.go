package view

import (
	"fmt"
	"io"
	"time"

	"plumb/engine"
	"plumb/engine/agent"
)

// DoctorDoc is what doctor found.
type DoctorDoc struct {
	Schema   int       `json:"schema"`
	OK       bool      `json:"ok"`
	Store    string    `json:"store"`
	Findings []Finding `json:"findings"`
}

// Finding is one thing that a machine has or lacks.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// Doctor prints what was found, with the remedy for what is missing.
func Doctor(w io.Writer, s Style, doc DoctorDoc) {
	var rows [][]string
	for _, f := range doc.Findings {
		rows = append(rows, []string{f.Name, f.Detail})
	}
	for i, line := range table(rows) {
		f := doc.Findings[i]
		mark := s.paint(green, "✔")
		if f.OK && f.Remedy != "" {
			mark = s.paint(yellow, "▲")
		}
		if !f.OK {
			mark = s.paint(red, "✘")
		}
		fmt.Fprintln(w, mark+" "+line)
		if f.Remedy != "" {
			fmt.Fprintln(w, "    "+s.paint(bold, "remedy:")+" "+f.Remedy)
		}
	}
	if doc.OK {
		fmt.Fprintln(w, "\nThis machine can run stages.")
	} else {
		fmt.Fprintln(w, "\nThis machine cannot run stages yet.")
	}
}

// Agent prints what an agent says of itself.
func Agent(w io.Writer, _ Style, st *agent.Status) {
	if !st.Running {
		fmt.Fprintf(w, "no agent owns %s\n", st.Store)
		return
	}
	fmt.Fprintf(w, "agent %d owns %s\n  plumb %s, up %s, %s resident, %s under way\n",
		st.PID, st.Store, st.Version, seconds(st.Seconds), size(st.Memory), plural(st.Runs, "run"))
}

// GC prints what was dropped, or what would be.
func GC(w io.Writer, s Style, doc *engine.GCDoc) {
	verb := "dropped"
	if doc.DryRun {
		verb = "would drop"
	}
	fmt.Fprintf(w, "%s %s, %s and %s: %s\n", verb, plural(doc.Records, "result"), plural(doc.Blobs, "blob"), plural(doc.Runs, "run"), size(doc.Bytes))
	if doc.Checkpoints > 0 {
		fmt.Fprintf(w, "  and %s of stages that did not succeed\n", plural(doc.Checkpoints, "checkpoint"))
	}
	for _, d := range doc.Dropped {
		fmt.Fprintf(w, "  %s  %s of run %s, used %s  %s\n", d.Key.Short(), printable(d.Stage), d.Run, d.Used.Format(time.DateOnly), s.paint(dim, d.Rule))
	}
	if doc.Kept > 0 {
		fmt.Fprintf(w, "kept %s: %s\n", plural(doc.Kept, "result"), size(doc.KeptBytes))
	}
}
