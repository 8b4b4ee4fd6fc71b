package view

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"plumb/engine"
	"plumb/engine/compare"
	"plumb/engine/plan"
)

// Why prints what differs, each ingredient with its old and new value, lines or
// entries.
func Why(w io.Writer, s Style, doc *engine.WhyDoc) {
	changes := slices.DeleteFunc(slices.Clone(doc.Changes), func(c engine.Change) bool {
		return c.Kind == plan.ReasonNone // a hit's reason, which the headline says
	})
	fmt.Fprintln(w, headline(s, doc, len(changes)))
	for i, c := range changes {
		fmt.Fprintln(w)
		if i == maxChanges {
			fmt.Fprintf(w, "  and %s more; --json has them all\n", plural(len(changes)-i, "difference"))
			break
		}
		change(w, s, c)
	}
	if len(doc.Causes) == 0 {
		return
	}
	fmt.Fprintln(w, "\nBecause of the stages before it:")
	for i := range doc.Causes {
		fmt.Fprintln(w)
		cause(w, s, &doc.Causes[i])
	}
}

// Bounds of what is printed for people.
const (
	maxChanges = 40
	maxColumns = 300
	maxShifts  = 6 // columns whose distribution is told
)

func headline(s Style, doc *engine.WhyDoc, changes int) string {
	name := s.paint(bold, doc.Stage)
	switch {
	case doc.Decision == plan.Hit:
		return upToDate(name, doc, changes)
	case doc.Decision == plan.Skip:
		return name + " is skipped."
	case doc.Decision == plan.Refused:
		return name + " is not executed:"
	case doc.Decision == "" && changes == 0:
		return fmt.Sprintf("%s is the same in run %s and run %s.", name, doc.OldRun, doc.NewRun)
	case doc.Decision == "":
		return fmt.Sprintf("%s, from run %s to run %s:", name, doc.OldRun, doc.NewRun)
	case changes == 0:
		return fmt.Sprintf("%s is the same as in run %s.", name, doc.OldRun)
	case doc.Decision == plan.Pending:
		return name + " may run:"
	case doc.OldRun != "":
		return fmt.Sprintf("%s will run. Against run %s:", name, doc.OldRun)
	}
	return name + " will run:"
}

// upToDate says who made the result of a stage, and what the changes below are about.
func upToDate(name string, doc *engine.WhyDoc, changes int) string {
	switch {
	case changes == 0 && doc.OldRun != "":
		return fmt.Sprintf("%s is the same as in run %s: its result was made in run %s.", name, doc.OldRun, doc.MadeBy)
	case changes == 0 && doc.MadeFor != "":
		return fmt.Sprintf("%s is unchanged: its result was made in run %s (%s).", name, doc.MadeBy, printable(doc.MadeFor))
	case changes == 0:
		return fmt.Sprintf("%s is unchanged: its result was made in run %s.", name, doc.MadeBy)
	case doc.Since == "":
		return fmt.Sprintf("%s is cached: its result was made in run %s. Against run %s:", name, doc.MadeBy, doc.OldRun)
	case doc.Since == doc.MadeBy:
		return fmt.Sprintf("%s is unchanged: its result was made in run %s, when this differed from run %s:", name, doc.MadeBy, doc.OldRun)
	}
	return fmt.Sprintf("%s is unchanged since run %s, which took the result of run %s. It differed from run %s in this:", name, doc.Since, doc.MadeBy, doc.OldRun)
}

func change(w io.Writer, s Style, c engine.Change) {
	fmt.Fprintln(w, "  "+s.paint(yellow, title(c)))
	if c.From != "" {
		made(w, s, &c)
		return
	}
	if !opened(w, s, &c) && (c.Note == "" || c.Kind == plan.ReasonImage) && (c.Old != "" || c.New != "") {
		old, new := visiblePair(c.Old, c.New)
		if c.Old != "" || c.Detail == "" {
			fmt.Fprintf(w, "    %s\n", s.paint(red, "- "+old))
		}
		if c.New != "" || c.Detail == "" {
			fmt.Fprintf(w, "    %s\n", s.paint(green, "+ "+new))
		}
	}
	if c.Note != "" {
		fmt.Fprintf(w, "    %s\n", printable(c.Note))
	}
}

// made prints of an input that a stage made, and that differs because of it, no more
// than how much: what was changed stands below.
func made(w io.Writer, s Style, c *engine.Change) {
	fmt.Fprintf(w, "    made by stage %s, which differs\n", printable(c.From))
	if c.Table != nil {
		signedLines(w, s, "    ", []line{{"", sizes(c.Table)}, {"", rowCounts(&c.Table.Rows)}})
	}
}

// opened prints what a change is laid open to, if it is.
func opened(w io.Writer, s Style, c *engine.Change) bool {
	switch {
	case len(c.Diff) > 0:
		diffLines(w, s, "    ", c.Diff)
	case c.Table != nil:
		signedLines(w, s, "    ", tableLines(c.Table, maxShifts))
	case len(c.Entries) > 0:
		for _, e := range c.Entries {
			fmt.Fprintf(w, "    %s %s\n", entryMark[e.Change], printable(e.Path))
			diffLines(w, s, "        ", e.Diff)
			if e.Table != nil {
				signedLines(w, s, "        ", tableLines(e.Table, maxShifts))
			}
			if e.Note != "" {
				fmt.Fprintf(w, "        %s\n", printable(e.Note))
			}
		}
	case len(c.Packages)+len(c.Files) > 0:
		packages(w, s, "    ", c.Packages)
		for _, f := range c.Files {
			fmt.Fprintf(w, "    %s %s\n", s.paint(changeColor[f.Change], changeSign[f.Change]), strings.TrimRight(printable(f.Path+"  "+f.Detail), " "))
		}
	default:
		return false
	}
	return true
}

func signedLines(w io.Writer, s Style, indent string, lines []line) {
	colors := map[string]string{"+": green, "-": red, "~": yellow}
	for _, l := range lines {
		text := visible(l.text)
		if text == "" {
			continue
		}
		if l.sign != "" {
			text = l.sign + " " + text
		}
		fmt.Fprintln(w, indent+s.paint(colors[l.sign], Style{Width: maxColumns}.clip(text, 0)))
	}
}

var entryMark = map[string]string{"added": "+", "removed": "-", "changed": "~", "mode": "x"}

func title(c engine.Change) string {
	if c.Kind == compare.Varied {
		return printable(c.Name + ": " + c.Detail)
	}
	if c.Old == "" && c.New == "" {
		return printable(c.Reason.String())
	}
	t := strings.TrimSpace(string(c.Kind) + " " + c.Name)
	if c.Detail != "" {
		return printable(t + " " + c.Detail)
	}
	return printable(t)
}

func diffLines(w io.Writer, s Style, indent string, lines []string) {
	shown := clippedLines(visibleLines(lines), maxColumns)
	for i, l := range lines {
		text := shown[i]
		switch {
		case strings.HasPrefix(l, "+"):
			text = s.paint(green, text)
		case strings.HasPrefix(l, "-"):
			text = s.paint(red, text)
		case strings.HasPrefix(l, "@@"):
			text = s.paint(dim, text)
		}
		fmt.Fprintln(w, indent+text)
	}
}
