package view

import (
	"fmt"
	"io"

	"plumb/engine"
)

// Fsck prints what is wrong with a store, what that means and what was done about it.
func Fsck(w io.Writer, s Style, doc *engine.FsckDoc, quiet bool) {
	left := 0
	for _, f := range doc.Findings {
		mark, what := s.paint(red, "✘"), "remedy"
		if f.Repaired {
			mark, what = s.paint(yellow, "▲"), "repaired"
		} else {
			left++
		}
		fmt.Fprintf(w, "%s %s: %s\n", mark, printable(f.Object), printable(f.Detail))
		fmt.Fprintf(w, "    effect: %s\n    %s %s\n", printable(f.Effect), s.paint(bold, what+":"), f.Remedy)
	}
	if len(doc.Findings) > 0 {
		fmt.Fprintln(w)
	}
	acceptedRuns(w, doc)
	if quiet && doc.OK {
		return
	}
	fmt.Fprintf(w, "looked at %s, %s, %s (%s): ", plural(doc.Records, "record"), plural(doc.Runs, "run"), plural(doc.Blobs, "blob"), size(doc.Bytes))
	switch {
	case len(doc.Findings) == 0:
		fmt.Fprintln(w, "nothing is wrong")
	case left == 0:
		fmt.Fprintf(w, "%s repaired\n", plural(len(doc.Findings), "thing"))
	case doc.Repair:
		fmt.Fprintf(w, "%s not repaired\n", plural(left, "thing"))
	default:
		fmt.Fprintf(w, "%s wrong; plumb fsck --repair mends what can be mended\n", plural(left, "thing"))
	}
	if doc.SetAside != "" {
		fmt.Fprintf(w, "what was set aside is in %s; nothing reads it, delete it when you like\n", printable(doc.SetAside))
	}
}

// acceptedRuns tells of what repairing accepted before, which is not forgotten by that.
func acceptedRuns(w io.Writer, doc *engine.FsckDoc) {
	const most = 20
	for i, a := range doc.Accepted {
		if i == most {
			fmt.Fprintf(w, "and %s more, which --json lists\n", plural(len(doc.Accepted)-most, "run"))
			break
		}
		what := map[string]string{"altered": "is not as it was recorded", "lost": "is lost", "added": "was not recorded by a run"}[a.State]
		name := "run " + printable(string(a.Run))
		if a.Run == "" {
			name = fmt.Sprintf("number %d of the chain of runs", a.Number)
		}
		fmt.Fprintf(w, "known since %s: %s %s\n", a.When.UTC().Format("2006-01-02 15:04"), name, what)
	}
	if doc.UnchainedUntil != "" {
		fmt.Fprintf(w, "up to run %s it would not be noticed if one were removed: an older plumb recorded them\n", printable(string(doc.UnchainedUntil)))
	}
}
