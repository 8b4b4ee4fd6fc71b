package view

import (
	"fmt"
	"io"
	"strings"

	"plumb/engine"
)

// Restored prints what was restored, and how the run is made again. When in is set, that
// is how to get there.
func Restored(w io.Writer, s Style, doc *engine.RestoreDoc, in string) {
	fmt.Fprintf(w, "restored run %s of %s into %s: %s, %s\n", s.paint(bold, string(doc.Run)), doc.Started.Local().Format("2006-01-02 15:04"), doc.To, plural(len(doc.Files), "path"), size(doc.Bytes))
	for _, name := range doc.Removed {
		fmt.Fprintf(w, "removed %s, which the run did not have\n", name)
	}
	if doc.Status != "succeeded" {
		verb := map[bool]string{true: "was", false: "had"}[doc.Status == "canceled"]
		fmt.Fprintf(w, "that run %s %s\n", verb, s.paint(statusColor[doc.Status], doc.Status))
	}
	const most = 10
	if n := len(doc.Reruns); n > 0 {
		fmt.Fprintf(w, "%s will run again:\n", plural(n, "stage"))
		for _, r := range doc.Reruns[:min(n, most)] {
			fmt.Fprintf(w, "  %s: %s\n", r.Stage, r.Reason)
		}
		if n > most {
			fmt.Fprintf(w, "  and %d more\n", n-most)
		}
	}
	command := make([]string, len(doc.Command))
	for i, word := range doc.Command {
		command[i] = shellWord(word)
	}
	fmt.Fprintf(w, "run it again with\n  %s%s\n", in, s.paint(bold, strings.Join(command, " ")))
}

// shellWord quotes what a shell would take for more than a word.
func shellWord(word string) string {
	if word != "" && strings.IndexFunc(word, func(r rune) bool {
		return !strings.ContainsRune("-_./=,:@%+…", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// CD is the command that leads into a directory.
func CD(dir string) string { return "cd " + shellWord(dir) + " && " }
